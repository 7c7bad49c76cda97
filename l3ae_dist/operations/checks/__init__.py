"""Checks of a machine, a store and a cluster."""
