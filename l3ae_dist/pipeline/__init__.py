"""Runs from the sources to a fitted model: run, sweep, append."""
