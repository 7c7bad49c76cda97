"""The back end ``synchronous``: no cluster, tasks run in this process when they are waited for."""

import contextlib
from collections.abc import Callable, Iterator

from l3ae_dist.data.shuffle.each import InThreads
from l3ae_dist.linalg.arithmetic import float64_share
from l3ae_dist.runtime.events import OnEvent
from l3ae_dist.runtime.executors import SynchronousExecutor
from l3ae_dist.runtime.versions import Environment
from l3ae_dist.storage.kept import Kept


class InProcess:
    """Session without a cluster: tasks run in this process, one after the other, when they are waited for."""

    dashboard_url = None

    def __init__(self) -> None:
        self.scheduler_pids: list[int] = []

    def executor(self, *, peer_reads: bool = False) -> SynchronousExecutor:
        """Return an executor that runs each task in this process, which has no peers."""
        return SynchronousExecutor()

    def each(self, threads: int) -> InThreads:
        """Return threads of this process."""
        return InThreads(threads)

    def trouble(self, function: Callable[[], object]) -> str | None:
        """Return None: there is no worker but this process."""
        return None

    def pids(self) -> list[int]:
        """Return no process: all is done by the client."""
        return []

    def bytes_elsewhere(self) -> list[int]:
        """Return no worker: all is done by the client."""
        return []

    def memory_limit(self) -> int | None:
        """Return None: nothing limits this process."""
        return None

    def environments(self) -> dict[str, Environment]:
        """Return no worker: all is done by the client."""
        return {}

    def float64_shares(self, device: str) -> list[tuple[str, float]]:
        """Measure how quick the device of this process is in float64."""
        return [float64_share(device)]

    def device_sharers(self, device: str) -> int:
        """Return 1: there is no worker but this process."""
        return 1

    def watched(
        self, report: OnEvent, idle: Callable[[], None] = lambda: None, kept: Kept | None = None
    ) -> contextlib.AbstractContextManager[None]:
        """Do nothing: there is no worker to lose.

        Parameters
        ----------
        report, idle, kept
            As for :meth:`~l3ae_dist.runtime.backends.session.Session.watched`.
        """
        return contextlib.nullcontext()


@contextlib.contextmanager
def in_process(*, threads: int) -> Iterator[InProcess]:
    """Open a session that runs every task in this process, with its breakpoints and tracebacks.

    Parameters
    ----------
    threads
        BLAS threads of this process during the ``with`` block.
    """
    import scipy.linalg.blas  # noqa: F401  (only a BLAS that is loaded can be limited)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads, user_api="blas"):
        yield InProcess()
