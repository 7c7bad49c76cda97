"""Faults drawn by a seed against a small job: the same bits after them, or a sentence; ``make chaos``."""
