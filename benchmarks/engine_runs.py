"""What the parts of the engine's benchmark share: their budget, the types of a part, a run as a record."""

from dataclasses import asdict
from typing import Any

from tile_solve import GIB, MIB, Solved

Rows = list[dict[str, Any]]
Details = dict[str, Any]
# 512 MiB of tiles beside what a worker's interpreter is projected to take.
BUDGET = 832 * MIB

__all__ = ["BUDGET", "GIB", "MIB", "Details", "Rows", "rate", "summary"]


def rate(n: int, seconds: float) -> float:
    """Return the GFLOP/s of a factorisation with its inverse, counted as n^3."""
    return n**3 / seconds / 1e9


def summary(solved: Solved) -> Details:
    """Return a run as values of JSON."""
    stages = {name: asdict(stats) for name, stats in solved.stages.items()}
    plan = solved.plan
    return {
        "n": plan.grid.n, "tile": plan.grid.tile, "block": plan.block.rows, "workers": plan.workers,
        "stages": stages, "projected": plan.peak_bytes, "peak": solved.peak["worker_max"],
        "residual": solved.residual,
    }  # fmt: skip
