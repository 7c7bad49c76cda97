"""The command line: one file for each command, ``app`` brings them together."""

from l3ae_dist.cli.app import main

__all__ = ["main"]
