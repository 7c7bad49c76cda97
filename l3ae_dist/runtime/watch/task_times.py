"""The workers' time of a stage by what it was spent on, from what each of its tasks measured."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from l3ae_dist.runtime.events import TileDone, WorkerKey

Span = tuple[float, float]
KINDS = ("computing", "reading", "writing", "waiting")


class TaskTimes(NamedTuple):
    """Times of one task, as in :class:`~l3ae_dist.runtime.events.TileDone`."""

    worker: WorkerKey
    started: float
    seconds: float
    began: float
    computed: float
    staged: float
    loaded: float
    stalled: float

    @classmethod
    def of(cls, event: TileDone) -> "TaskTimes":
        """Return the times that an event tells of its task."""
        return cls(event.worker, *(getattr(event, name) for name in cls._fields[1:]))

    @property
    def ended(self) -> float:
        """Unix time at which its result was written."""
        return self.started + self.seconds


def covered(spans: Iterable[Span]) -> float:
    """Return the seconds that lie in at least one of the spans."""
    length, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        length += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return length


def worker_seconds(tasks: Iterable[TaskTimes]) -> dict[str, float]:
    """Add up the seconds of all workers between the first task and the last, by what they did.

    A worker computes while a kernel runs; else it reads while it waits for a tile, else it writes while a
    result is on its way, else it waits for a task.
    """
    workers: dict[WorkerKey, list[TaskTimes]] = defaultdict(list)
    for task in tasks:
        workers[task.worker].append(task)
    every = [task for mine in workers.values() for task in mine]
    wall = max(task.ended for task in every) - min(task.started for task in every)
    total = dict.fromkeys(KINDS, 0.0)
    for mine in workers.values():
        arithmetic = [(t.began, t.began + t.computed) for t in mine]
        loading = [(t.staged, t.staged + t.loaded) for t in mine]
        writing = [(t.began + t.computed, t.ended) for t in mine]
        busy, read = covered(arithmetic), covered(arithmetic + loading)
        all_busy = covered(arithmetic + loading + writing)
        stalled = sum(t.stalled for t in mine)
        total["computing"] += busy - stalled
        total["reading"] += read - busy + stalled
        total["writing"] += all_busy - read
        total["waiting"] += wall - all_busy
    return total
