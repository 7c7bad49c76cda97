"""Estimators, and what a fitted model answers."""
