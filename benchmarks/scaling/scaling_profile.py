"""Where the time of a stage went, from its tile events, and what its task graph allows.

The graph's bound replays its tasks through the package's own submission window, with the seconds that each
was measured to compute, as if reading, writing and submitting took no time.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from l3ae_dist.graphs.tasks import Graph, TileRef
from l3ae_dist.runtime.window import SubmissionWindow

Event = Mapping[str, Any]
Span = tuple[float, float]
KINDS = ("computing", "reading", "writing", "waiting")


def tile_events(events: Iterable[Event], *stages: str) -> list[Event]:
    """Of the tiles that were computed in these stages."""
    return [e for e in events if e["kind"] == "tile" and e["stage"] in stages and not e["skipped"]]


def shares(tiles: list[Event]) -> dict[str, float]:
    """Mean shares of the workers' time between the first task and the last; they add up to 1.

    A worker computes while a kernel runs; else it reads while it waits for a tile, else it writes while a
    result is on its way, else it waits for a task.
    """
    first = min(e["started"] for e in tiles)
    wall = max(e["started"] + e["seconds"] for e in tiles) - first
    workers: dict[int, list[Event]] = defaultdict(list)
    for e in tiles:
        workers[e["pid"]].append(e)
    total = dict.fromkeys(KINDS, 0.0)
    for mine in workers.values():
        arithmetic = [(e["began"], e["began"] + e["computed"]) for e in mine]
        loading = [(e["staged"], e["staged"] + e["loaded"]) for e in mine]
        writing = [(e["began"] + e["computed"], e["started"] + e["seconds"]) for e in mine]
        busy, read = covered(arithmetic), covered(arithmetic + loading)
        all_busy = covered(arithmetic + loading + writing)
        stalled = sum(e["stalled"] for e in mine)
        total["computing"] += busy - stalled
        total["reading"] += read - busy + stalled
        total["writing"] += all_busy - read
        total["waiting"] += wall - all_busy
    return {kind: seconds / wall / len(workers) for kind, seconds in total.items()}


def covered(spans: list[Span]) -> float:
    """Seconds in at least one of the spans."""
    length, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        length += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return length


def kernel_seconds(tiles: list[Event]) -> dict[TileRef, float]:
    """What each tile took to compute, without waiting for tiles to be read."""
    return {TileRef(e["array"], e["i"], e["j"]): e["computed"] - e["stalled"] for e in tiles}


def kernel_rate(tiles: list[Event]) -> float:
    """GFLOP/s of one worker while a kernel runs."""
    return sum(e["flops"] for e in tiles) / sum(kernel_seconds(tiles).values()) / 1e9


def makespan(graph: Graph, tiles: list[Event], workers: int) -> float:
    """Seconds of the whole graph when only arithmetic takes time."""
    seconds = kernel_seconds(tiles)
    window = SubmissionWindow(graph.tasks(), set())
    running: list[tuple[float, TileRef, Any]] = []
    now = 0.0
    while not window.finished:
        while len(running) < workers and (task := window.pop()) is not None:
            heapq.heappush(running, (now + seconds[task.target], task.target, task))
        now, _, task = heapq.heappop(running)
        window.complete(task)
    return now


def overlapping_groups(events: list[Event]) -> int:
    """Partial tiles whose computation overlapped that of a tile of an earlier column."""
    tiles = tile_events(events, "factor")

    def overlap(a: Event, b: Event) -> bool:
        return a["began"] < b["began"] + b["computed"] and b["began"] < a["began"] + a["computed"]

    groups = [e for e in tiles if e["array"].startswith("partial")]
    return sum(any(t["j"] < g["j"] and t["pid"] != g["pid"] and overlap(g, t) for t in tiles) for g in groups)
