"""What the parts of the engine's benchmark share: their budget and types, a peer, a run as a record."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tile_solve import GIB, MIB, Solved

Rows = list[dict[str, Any]]
Details = dict[str, Any]
# 512 MiB of tiles beside what a worker's interpreter is projected to take.
BUDGET = 832 * MIB

__all__ = ["BUDGET", "GIB", "MIB", "Details", "Rows", "peer", "rate", "summary"]


def peer(name: str, *arguments: Any, threads: int = 2) -> dict[str, Any]:
    """Run a peer in a process of its own, with so many threads, and return what it measured."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, str(Path(__file__).with_name("engine_peers.py")), name, *map(str, arguments)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


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
