"""Ways to run the tasks of a pass: one after the other, in threads, or wherever a caller sends them.

A task is a frozen dataclass that is pickled whole: parts of a table, options, the URL of the spills, offsets.
The function of a pass takes one task, reads and writes objects below the URL of the spills, and returns a
small result. It depends on nothing else, so that a task may run in any process that reaches the URL, and
may run twice. Results come back in the order of the tasks.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class Each(Protocol):
    """A way to run a function on tasks."""

    def __call__(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield the results of ``function`` in the order of ``tasks``; the first error ends it."""


def in_turn(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    """Run the tasks one after the other in this thread."""
    return map(function, tasks)


@dataclass(frozen=True, slots=True)
class InThreads:
    """Threads of this process, in each of which one task is held at a time.

    Parameters
    ----------
    count
        Number of threads.
    """

    count: int

    def __call__(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield the results of ``function`` in the order of ``tasks``; results wait for no more than one."""
        if self.count == 1 or len(tasks) < 2:
            yield from map(function, tasks)
            return
        with ThreadPoolExecutor(self.count) as pool:
            waiting: deque[Future[Result]] = deque()
            try:
                for task in tasks:
                    waiting.append(pool.submit(function, task))
                    if len(waiting) > self.count:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


@contextlib.contextmanager
def beside(threads: int) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Provide a function that runs others beside this thread, in turn; the first error ends the block.

    With one thread they run at once, in this one.
    """
    if threads == 1:
        yield lambda function: function()
        return
    with ThreadPoolExecutor(1) as pool:
        started: list[Future[None]] = []
        yield lambda function: started.append(pool.submit(function))
        for one in started:
            one.result()


@dataclass(frozen=True, slots=True)
class Execution:
    """Place in which the passes of an ingest run, and the sizes that they hold.

    Parameters
    ----------
    each
        Runs the tasks whose inputs every process can read.
    spill_root
        Path or URL that all of those processes reach, below which the passes keep what they pass on; it is
        emptied at the end. None for a local folder of this machine.
    rows_per_group
        Rows of the log that are read and encoded at a time.
    records_per_block
        Records that may be sorted at a time, where blocks of the usual size would be many.
    threads
        Threads of this process for its own work between the tasks.
    """

    each: Each = in_turn
    spill_root: str | None = None
    rows_per_group: int = 1 << 21
    records_per_block: int = 1 << 20
    threads: int = 1


IN_THIS_THREAD = Execution()
"""One task after the other, spilled to a local folder."""
