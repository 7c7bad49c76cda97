"""Executors, which run the tasks of a stage; the serial one is the readable specification of the others."""

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.graphs.tasks import Task, TileRef
from l3ae_dist.runtime.tile_holders import TileHolders

if TYPE_CHECKING:
    from distributed import Client, Future

RunTask = Callable[..., object]
# What waits for workers looks so often whether one of them stands still.
IDLE_SECONDS = 0.5
_WAIT_SECONDS = 0.1
# A result is asked for again so long while no connection can be made; Dask gives up the one it has in 30 s.
_CUT_SECONDS = 45.0


class TaskOutcome(NamedTuple):
    """A task that is over, with its result or its error."""

    task: Task
    result: object
    error: BaseException | None


class Executor(Protocol):
    """Runs submitted tasks; at most ``slots`` of them should be in flight at once."""

    slots: int
    holders: TileHolders | None
    """Account of which worker holds which tile; None where workers do not read from each other."""

    def worker_limit(self) -> int | None:
        """Return the smallest memory limit of a worker in bytes; None where none is known."""

    def submit(self, function: RunTask, task: Task, context: object) -> None:
        """Start a task: ``function(task, context)``.

        Parameters
        ----------
        function
            Called with ``task`` and ``context``; returns something small.
        task
            Task to run.
        context
            Numbers of the stage that all its tasks share.
        """

    def wait(self) -> TaskOutcome:
        """Wait until any submitted task is over."""

    def cancel(self) -> None:
        """Forget tasks that have not finished."""


class SerialExecutor:
    """Runs each task in this process when it is waited for."""

    slots = 1
    holders: TileHolders | None = None

    def __init__(self) -> None:
        self._queue: deque[tuple[RunTask, Task, object]] = deque()

    def worker_limit(self) -> int | None:
        """Return None: nothing limits this process."""
        return None

    def submit(self, function: RunTask, task: Task, context: object) -> None:
        """Queue a task, to be run when it is waited for.

        Parameters
        ----------
        function, task, context
            As for :meth:`Executor.submit`.
        """
        self._queue.append((function, task, context))

    def wait(self) -> TaskOutcome:
        """Run the task that was submitted first of those that wait."""
        function, task, context = self._queue.popleft()
        try:
            return TaskOutcome(task, self._call(function, task, context), None)
        except Exception as error:  # handed to the caller, which decides
            return TaskOutcome(task, None, error)

    def cancel(self) -> None:
        """Forget the tasks that wait."""
        self._queue.clear()

    def _call(self, function: RunTask, task: Task, context: object) -> object:
        return function(task, context)


class SynchronousExecutor(SerialExecutor):
    """Runs each task in this process by Dask's synchronous scheduler, whose callbacks see every task."""

    def _call(self, function: RunTask, task: Task, context: object) -> object:
        from dask.local import get_sync

        key = f"{task.target.array}-{task.target.i}-{task.target.j}"
        return get_sync({key: (partial(function, task, context),)}, key)


_TASK_KEY = re.compile(r"(\w+)-((?:\d+-\d+_)*\d+-\d+)-[0-9a-f]+-\d+")


def task_key(targets: Sequence[TileRef], serial: str) -> str:
    """Return the key of a task, which names all chunks that it makes.

    Parameters
    ----------
    targets
        The chunks, of one array.
    serial
        Tells two tasks of the same chunks apart.

    >>> task_key([TileRef("L", 4, 2), TileRef("L", 4, 3)], "7f-1")
    'L-4-2_4-3-7f-1'
    """
    chunks = "_".join(f"{ref.i}-{ref.j}" for ref in targets)
    return f"{targets[0].array}-{chunks}-{serial}"


def task_targets(keys: Iterable[object]) -> list[tuple[str, int, int]]:
    """Return array, row and column of the chunks that tasks of a :class:`DaskExecutor` make."""
    found = (_TASK_KEY.fullmatch(str(key)) for key in keys)
    places = [(match[1], place.split("-")) for match in found if match for place in match[2].split("_")]
    return sorted((array, int(i), int(j)) for array, (i, j) in places)


def result_of(future: "Future", idle: Callable[[], None]) -> object:
    """Fetch the result of a task that is over; calls ``idle`` while it does not come.

    The worker that keeps it may stand still, and the network may be cut for a moment.
    """
    seconds, until = 4 * IDLE_SECONDS, time.monotonic() + _CUT_SECONDS
    while True:
        try:
            return future.result(timeout=seconds)
        except TimeoutError:
            if future.status == "error":
                raise
            idle()
            seconds *= 2
        except OSError:  # no new connection to the scheduler
            if future.status == "error" or future.client.status != "running" or time.monotonic() > until:
                raise
            idle()
            time.sleep(_WAIT_SECONDS)


class _QuietGather(logging.Filter):
    """Leaves out what asyncio says of a wait for a result whose worker died: Dask's task is left behind."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is to be written."""
        return not (record.exc_info and type(record.exc_info[1]).__name__ == "AllExit")


_QUIET = _QuietGather()


class DaskExecutor:
    """Runs tasks on a Dask cluster; results are small records, dependencies stay with the window.

    Parameters
    ----------
    client
        Client of the cluster.
    per_worker
        Tasks in flight for each worker: those it holds tiles of, and one that waits beside them.
    worker_limit
        Bytes a worker may use, told when workers are killed; None if it is not known.
    idle
        Called twice a second while :meth:`wait` waits; what it raises ends the wait.
    holders
        Which worker holds which tile; None where workers do not read tiles from each other. One worker has
        nobody to read from.
    """

    def __init__(
        self,
        client: "Client",
        *,
        per_worker: int = STAGED + 1,
        worker_limit: int | None = None,
        idle: Callable[[], None] = lambda: None,
        holders: TileHolders | None = None,
    ) -> None:
        from distributed import as_completed

        logging.getLogger("asyncio").addFilter(_QUIET)  # one and the same is added once
        self._idle = idle
        self.client = client
        workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        self.slots = workers * per_worker
        self.holders = holders if workers > 1 else None
        self._limit = worker_limit
        self._as_completed = as_completed
        self._completed = as_completed([])
        self._tasks: dict[str, tuple[Task, Future]] = {}
        self._serial = 0

    def worker_limit(self) -> int | None:
        """Return the memory limit of a worker in bytes; None where it is not known."""
        return self._limit

    def submit(self, function: RunTask, task: Task, context: object) -> None:
        """Send a task to the scheduler, after those that were sent before it.

        Parameters
        ----------
        function, task, context
            As for :meth:`Executor.submit`.
        """
        self._serial += 1
        key = task_key(task.targets, f"{id(self):x}-{self._serial}")
        future = self.client.submit(function, task, context, key=key, pure=False, priority=-self._serial)
        self._tasks[key] = (task, future)
        self._completed.add(future)

    def wait(self) -> TaskOutcome:
        """Wait until the scheduler reports that any task is over."""
        future = self._next()
        while future.status in ("lost", "pending"):
            # its result went down with its worker before it was fetched: Dask runs it again, which finds
            # the finished tile
            self._completed.add(future)
            future = self._next()
        task, _ = self._tasks.pop(future.key)
        result, error = None, None
        try:
            result = result_of(future, self._idle)
        except Exception as raised:  # its own error, or what became of its worker
            error = raised
        future.release()
        return TaskOutcome(task, result, error)

    def _next(self) -> "Future":
        called = time.monotonic()
        while not self._completed.has_ready() and not self._completed.is_empty():
            with self._completed.thread_condition:
                self._completed.thread_condition.wait(_WAIT_SECONDS)
            if time.monotonic() - called > IDLE_SECONDS:
                called = time.monotonic()
                self._idle()
        return next(self._completed)

    def cancel(self) -> None:
        """Cancel the tasks that have not finished."""
        futures = [future for _, future in self._tasks.values()]
        self.client.cancel(futures, force=True)
        self._tasks.clear()
        self._completed = self._as_completed([])  # the old one would still give the cancelled futures
