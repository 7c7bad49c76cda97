"""Runs the passes of an ingest on the workers of a Dask cluster; their results come back in order."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast
from uuid import uuid4

from l3ae_dist.data.shuffle.each import InThreads
from l3ae_dist.errors import ClusterError, L3AEError
from l3ae_dist.graphs.make_tiles import ARITHMETIC
from l3ae_dist.messages import shown
from l3ae_dist.runtime.executors import IDLE_SECONDS, result_of

if TYPE_CHECKING:
    from distributed import Client, Future

Task = TypeVar("Task")
Result = TypeVar("Result")
# Bundles of tasks for each worker that are sent and not fetched: one runs, one waits, one is on its way.
_AHEAD = 3


@dataclass(frozen=True, slots=True)
class OnWorkers:
    """The workers of a Dask cluster, each of which holds as many tasks at a time as it has threads.

    A task whose worker dies is run again by Dask, elsewhere or by the worker that comes back.

    Parameters
    ----------
    client
        Client of the cluster.
    threads
        Threads of each worker.
    worker_limit
        Bytes a worker may use, told when workers are killed; None if it is not known.
    idle
        Called twice a second while a result is waited for; what it raises ends the wait.
    """

    client: "Client"
    threads: int = 1
    worker_limit: int | None = None
    idle: Callable[[], None] = lambda: None

    def __call__(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield the results of ``function`` in the order of ``tasks``; the first error ends it.

        Raises
        ------
        ClusterError
            When workers are killed again and again, or for an error that is none of this package's.
        """
        most = _AHEAD * max(1, len(self.client.scheduler_info(n_workers=-1)["workers"]))
        name = f"{getattr(function, '__name__', 'pass').strip('_')}-{uuid4().hex}"
        waiting: deque[Future] = deque()
        try:
            for first in range(0, len(tasks), self.threads):
                bundle = tasks[first : first + self.threads]
                arguments = (function, bundle, self.threads)
                waiting.append(self.client.submit(run_bundle, *arguments, key=f"{name}-{first}", pure=False))
                if len(waiting) >= most:
                    yield from self._results(waiting.popleft(), function)
            while waiting:
                yield from self._results(waiting.popleft(), function)
        finally:
            self.client.cancel(list(waiting), force=True)

    def _results(self, future: "Future", function: Callable[[Task], Result]) -> list[Result]:
        """Wait for the results of a bundle of tasks of ``function``."""
        from distributed import wait

        with self._told():
            while not future.done():
                with contextlib.suppress(TimeoutError):
                    wait([future], timeout=IDLE_SECONDS)
                self.idle()
            return cast(list[Result], result_of(future, self.idle))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what became of workers, and errors that are none of this package's, into sentences."""
        from distributed.scheduler import KilledWorker, NoValidWorkerError, NoWorkerError

        try:
            yield
        except L3AEError:
            raise
        except KilledWorker as error:
            times = error.allowed_failures + 1
            raise self._killed(f"{times} worker processes in a row were killed at one task") from error
        except (NoWorkerError, NoValidWorkerError) as error:
            raise self._killed("no worker process stayed alive") from error
        except Exception as error:
            raise ClusterError(
                f"the ingest failed on a worker ({type(error).__name__}: {shown(str(error))}); look into the "
                "worker's log, or read the data in this process with compute.distributed_ingest_rows: null."
            ) from error

    def _killed(self, what: str) -> ClusterError:
        limit = self.worker_limit
        bound = f" (their memory limit is {limit / 2**20:,.0f} MiB)" if limit else ""
        return ClusterError(
            f"the ingest failed: {what}{bound}; raise compute.memory_budget or lower compute.workers, and "
            "run the same command again."
        )


def run_bundle(function: Callable[[Task], Result], tasks: Sequence[Task], threads: int) -> list[Result]:
    """Run some tasks in the threads of a worker, after whatever else computes there.

    Parameters
    ----------
    function
        Called with each task.
    tasks
        At most as many as there are threads.
    threads
        Threads of the worker.
    """
    with ARITHMETIC:
        return list(InThreads(threads)(function, tasks))
