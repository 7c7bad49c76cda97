"""Tells how far the passes of an ingest are, wherever their tasks run."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, update_wrapper
from socket import gethostname
from typing import Generic, TypeVar

from l3ae_dist.data.shuffle.each import Each, Execution
from l3ae_dist.runtime.events import ChunkDone, OnEvent
from l3ae_dist.storage.stages import Stage

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Timed(Generic[Result]):
    """Result of a task, with the seconds it took in which process."""

    result: Result
    seconds: float
    pid: int
    host: str


class WatchedPasses:
    """A way to run tasks that reports each of them when its result is taken.

    Parameters
    ----------
    each
        Runs the tasks.
    report
        Takes a ``chunk`` event for each task; its ``total`` counts the tasks of all passes so far.
    """

    def __init__(self, each: Each, report: OnEvent) -> None:
        self._each, self._report = each, report
        self._done = self._total = 0

    def __call__(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield the results of ``function`` in the order of ``tasks``; the first error ends it."""
        self._total += len(tasks)
        clocked = update_wrapper(partial(run_timed, function), function)
        for timed in self._each(clocked, tasks):
            self._done += 1
            self._report(
                ChunkDone(
                    stage=Stage.INGEST,
                    done=self._done,
                    total=self._total,
                    chunk=self._done - 1,
                    seconds=timed.seconds,
                    pid=timed.pid,
                    host=timed.host,
                )
            )
            yield timed.result


def run_timed(function: Callable[[Task], Result], task: Task) -> Timed[Result]:
    """Run a task, and return its result with the seconds it took and the process."""
    started = time.perf_counter()
    result = function(task)
    return Timed(result, time.perf_counter() - started, os.getpid(), gethostname())


def watched_passes(execution: Execution, report: OnEvent) -> Execution:
    """Return where passes run as before, each of whose tasks is reported."""
    return replace(execution, each=WatchedPasses(execution.each, report))
