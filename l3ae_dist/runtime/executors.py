"""Executors, which run the tasks of a stage; the serial one is the readable specification of the others."""

import re
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.graphs.tasks import Task

if TYPE_CHECKING:
    from distributed import Client, Future

RunTask = Callable[..., object]


class TaskOutcome(NamedTuple):
    """A task that is over, with its result or its error."""

    task: Task
    result: object
    error: BaseException | None


class Executor(Protocol):
    """Runs submitted tasks; at most ``slots`` of them should be in flight at once."""

    slots: int

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

    def dask_scheduler(self) -> object:
        """Return the scheduler, as ``dask.config`` takes it, that computes Dask collections here."""


class SerialExecutor:
    """Runs each task in this process when it is waited for."""

    slots = 1

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

    def dask_scheduler(self) -> object:
        """Return the name of Dask's scheduler in this process."""
        return "synchronous"

    def _call(self, function: RunTask, task: Task, context: object) -> object:
        return function(task, context)


class SynchronousExecutor(SerialExecutor):
    """Runs each task in this process by Dask's synchronous scheduler, whose callbacks see every task."""

    def _call(self, function: RunTask, task: Task, context: object) -> object:
        from dask.local import get_sync

        key = f"{task.target.array}-{task.target.i}-{task.target.j}"
        return get_sync({key: (partial(function, task, context),)}, key)


_TASK_KEY = re.compile(r"(\w+)-(\d+)-(\d+)-[0-9a-f]+-\d+")


def task_targets(keys: Iterable[object]) -> list[tuple[str, int, int]]:
    """Return array, row and column of the chunks that tasks of a :class:`DaskExecutor` make."""
    found = (_TASK_KEY.fullmatch(str(key)) for key in keys)
    return sorted((match[1], int(match[2]), int(match[3])) for match in found if match)


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
    """

    def __init__(
        self, client: "Client", *, per_worker: int = STAGED + 1, worker_limit: int | None = None
    ) -> None:
        from distributed import as_completed

        self.client = client
        workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        self.slots = workers * per_worker
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
        ref = task.target
        key = f"{ref.array}-{ref.i}-{ref.j}-{id(self):x}-{self._serial}"
        future = self.client.submit(function, task, context, key=key, pure=False, priority=-self._serial)
        self._tasks[key] = (task, future)
        self._completed.add(future)

    def wait(self) -> TaskOutcome:
        """Wait until the scheduler reports that any task is over."""
        future = next(self._completed)
        while future.status in ("lost", "pending"):
            # its result went down with its worker before it was fetched: Dask runs it again, which finds
            # the finished tile
            self._completed.add(future)
            future = next(self._completed)
        task, _ = self._tasks.pop(future.key)
        result, error = None, None
        try:
            result = future.result()
        except Exception as raised:  # its own error, or what became of its worker
            error = raised
        future.release()
        return TaskOutcome(task, result, error)

    def dask_scheduler(self) -> object:
        """Return the scheduler of the client's cluster."""
        return self.client.get

    def cancel(self) -> None:
        """Cancel the tasks that have not finished."""
        futures = [future for _, future in self._tasks.values()]
        self.client.cancel(futures, force=True)
        self._tasks.clear()
        self._completed = self._as_completed([])  # the old one would still give the cancelled futures
