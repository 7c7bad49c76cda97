"""Benchmarks in the form of asv: ``cd benchmarks && asv run --python=same``, or ``make bench-once``."""
