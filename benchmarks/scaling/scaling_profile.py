"""Shares of the time of a stage, from its tile events, and the bound that its task graph sets.

The graph's bound replays its tasks through the package's own submission window, with the seconds that each
was measured to compute, as if reading, writing and submitting took no time.
"""

import heapq
from collections.abc import Iterable
from typing import Any

from l3ae_dist.graphs.tasks import Graph, TileRef
from l3ae_dist.runtime.events import Event, TileDone
from l3ae_dist.runtime.submission_window import SubmissionWindow
from l3ae_dist.runtime.watch.task_times import TaskTimes, worker_seconds


def tile_events(events: Iterable[Event], *stages: str) -> list[TileDone]:
    """Return the events of the tiles that were computed in these stages."""
    return [e for e in events if isinstance(e, TileDone) and e.stage in stages and not e.skipped]


def shares(tiles: list[TileDone]) -> dict[str, float]:
    """Return mean shares of the workers' time between the first task and the last; they add up to 1."""
    seconds = worker_seconds(TaskTimes.of(e) for e in tiles)
    return {kind: part / sum(seconds.values()) for kind, part in seconds.items()}


def kernel_seconds(tiles: list[TileDone]) -> dict[TileRef, float]:
    """Return the seconds that each tile took to compute, without waiting for tiles to be read."""
    return {TileRef(e.array, e.i, e.j): e.computed - e.stalled for e in tiles}


def kernel_rate(tiles: list[TileDone]) -> float:
    """Return the GFLOP/s of one worker while a kernel runs."""
    return sum(e.flops for e in tiles) / sum(kernel_seconds(tiles).values()) / 1e9


def makespan(graph: Graph, tiles: list[TileDone], workers: int) -> float:
    """Return the seconds of the whole graph when only arithmetic takes time."""
    seconds = kernel_seconds(tiles)
    window = SubmissionWindow(graph.tasks(), set())
    running: list[tuple[float, TileRef, Any]] = []
    now = 0.0
    while not window.finished:
        while len(running) < workers and (task := window.pop()) is not None:
            takes = sum(seconds[target] for target in task.targets)
            heapq.heappush(running, (now + takes, task.target, task))
        now, _, task = heapq.heappop(running)
        window.complete(task)
    return now


def overlapping_groups(events: list[Event]) -> int:
    """Partial tiles whose computation overlapped that of a tile of an earlier column."""
    tiles = tile_events(events, "factor")

    def overlap(a: TileDone, b: TileDone) -> bool:
        return a.began < b.began + b.computed and b.began < a.began + a.computed

    groups = [e for e in tiles if e.array.startswith("partial")]
    return sum(any(t.j < g.j and t.worker != g.worker and overlap(g, t) for t in tiles) for g in groups)
