"""The submission window: tells which tasks may run now, and holds few tasks at a time.

Pure bookkeeping, shared by every executor: tasks come from a generator in an order that respects
their dependencies, at most ``lookahead`` of them are held, and a task is ready when the chunks it
waits for are done. Of the ready ones the earliest in the generator's order runs first, so that later
tasks fill the gaps that the critical path leaves.
"""

import heapq
from collections.abc import Iterator

from l3ae_dist.graphs.blocks import BlockTask, is_missing
from l3ae_dist.graphs.tasks import Task, TileRef

# Before every task that the generator gave.
_FIRST = -1
# A block holds its tiles' operands, a few hundred bytes each: half a gigabyte at a million items.
_MOST_CHUNKS = 16_000


class SubmissionWindow:
    """Gives out the tasks of a stage when they are ready, in the generator's order.

    Parameters
    ----------
    tasks
        All tasks of the stage, dependencies before dependants.
    done
        Chunks that are already complete; their tasks, and those that only feed them, are dropped, and blocks
        are left to the tiles that are missing.
    lookahead
        Tasks held that are not yet complete, at most.
    most_chunks
        Chunks of which that many tasks are held, at most, but for the last task.
    """

    def __init__(
        self,
        tasks: Iterator[Task],
        done: set[TileRef],
        lookahead: int = 2000,
        most_chunks: int = _MOST_CHUNKS,
    ) -> None:
        self._tasks = enumerate(tasks)
        self._done = set(done)
        self._lookahead, self._most_chunks = lookahead, most_chunks
        self._chunks = 0
        self._open: dict[TileRef, tuple[int, Task]] = {}
        self._missing: dict[TileRef, int] = {}
        self._waiting: dict[TileRef, list[TileRef]] = {}
        self._ready: list[tuple[int, TileRef]] = []
        self._fill()

    @property
    def finished(self) -> bool:
        """True when every task has completed."""
        return not self._open

    def pop(self) -> Task | None:
        """Take out the next ready task; None while all wait for others."""
        return self._open[heapq.heappop(self._ready)[1]][1] if self._ready else None

    def complete(self, task: Task) -> None:
        """Record that ``task`` is done; its dependants may become ready."""
        if self._open.pop(task.target, None) is not None:
            self._chunks -= len(task.targets)
        self._done.update(task.targets)
        for done in task.targets:
            for target in self._waiting.pop(done, []):
                self._missing[target] -= 1
                if not self._missing[target]:
                    del self._missing[target]
                    self._push(target)
        self._fill()

    def retry(self, task: Task, *, after: Task | None = None) -> None:
        """Run ``task`` again; ``after`` another task (a repair of its input) when given."""
        self._open[task.target] = (_FIRST, task)
        if after is None:
            self._push(task.target)
            return
        self._done.discard(after.target)
        self._waiting.setdefault(after.target, []).append(task.target)
        self._missing[task.target] = 1
        if after.target not in self._open:
            self._open[after.target] = (_FIRST, after)
            self._chunks += len(after.targets)
            self._push(after.target)

    def _push(self, target: TileRef) -> None:
        heapq.heappush(self._ready, (self._open[target][0], target))

    def _fill(self) -> None:
        while len(self._open) < self._lookahead and self._chunks < self._most_chunks:
            serial, task = next(self._tasks, (0, None))
            if task is None:
                return
            left = task.without(self._done) if isinstance(task, BlockTask) else task
            if left is None or not is_missing(left, self._done):
                continue
            task = left
            self._open[task.target] = (serial, task)
            self._chunks += len(task.targets)
            missing = {ref for ref in task.deps if ref not in self._done}
            if not missing:
                self._push(task.target)
                continue
            self._missing[task.target] = len(missing)
            for ref in missing:
                self._waiting.setdefault(ref, []).append(task.target)
