"""The back end ``synchronous``: no cluster, tasks run in this process when they are waited for."""

import contextlib
from collections.abc import Iterator

from l3ae_dist.runtime.events import OnEvent
from l3ae_dist.runtime.executors import SynchronousExecutor
from l3ae_dist.runtime.versions import Environment


class InProcess:
    """Session without a cluster: tasks run in this process, one after the other, when they are waited for."""

    dashboard_url = None

    def __init__(self) -> None:
        self.scheduler_pids: list[int] = []

    def executor(self) -> SynchronousExecutor:
        """Return an executor that runs each task in this process."""
        return SynchronousExecutor()

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

    def watched(self, report: OnEvent) -> contextlib.AbstractContextManager[None]:
        """Do nothing: there is no worker to lose."""
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
