"""One way to every back end: :func:`open_cluster` gives a session with an executor, whatever is behind it."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Protocol

from l3ae_dist.runtime.backends.local import DaskSession, existing_cluster, local_cluster
from l3ae_dist.runtime.events import OnEvent
from l3ae_dist.runtime.executors import Executor, SynchronousExecutor


class ClusterOptions(Protocol):
    """What a back end needs to know; ``ComputeConfig`` has it."""

    @property
    def cluster(self) -> str:
        """``local``, ``ray``, ``address`` or ``synchronous``."""

    @property
    def address(self) -> str | None:
        """The scheduler of ``address``."""

    @property
    def insecure(self) -> bool:
        """Allow that scheduler to be unencrypted off this machine."""

    @property
    def workers(self) -> int:
        """Worker processes."""

    @property
    def threads(self) -> int | None:
        """BLAS threads of each."""

    @property
    def memory_budget(self) -> int:
        """Bytes of each."""

    @property
    def device(self) -> str:
        """``auto``, ``cpu`` or ``cuda``."""

    @property
    def dashboard(self) -> bool:
        """Whether to serve the Dask dashboard."""

    @property
    def dashboard_address(self) -> str:
        """Where."""

    @property
    def start_timeout(self) -> float:
        """Seconds to wait for the resources of ``ray``."""


class Session(Protocol):
    """An open back end."""

    dashboard_url: str | None
    scheduler_pids: list[int]

    def executor(self) -> Executor:
        """Where tasks run."""

    def pids(self) -> list[int]:
        """Process ids of the workers on this machine."""

    def bytes_elsewhere(self) -> list[int]:
        """Resident bytes of every worker on another machine."""

    def memory_limit(self) -> int | None:
        """The smallest memory limit of a worker in bytes; None when none of them has one."""

    def watched(self, report: OnEvent) -> contextlib.AbstractContextManager[None]:
        """Report lost workers while the ``with`` block runs."""


class InProcess:
    """Tasks run in this process, one after the other, when they are waited for."""

    dashboard_url = None

    def __init__(self) -> None:
        self.scheduler_pids: list[int] = []

    def executor(self) -> SynchronousExecutor:
        """See :meth:`Session.executor`."""
        return SynchronousExecutor()

    def pids(self) -> list[int]:
        """None beside the client."""
        return []

    def bytes_elsewhere(self) -> list[int]:
        """None."""
        return []

    def memory_limit(self) -> int | None:
        """None."""
        return None

    def watched(self, report: OnEvent) -> contextlib.AbstractContextManager[None]:
        """Nothing to watch."""
        return contextlib.nullcontext()


def open_cluster(
    options: ClusterOptions, report: OnEvent
) -> contextlib.AbstractContextManager[DaskSession | InProcess]:
    """The back end that ``options.cluster`` names, for a ``with`` block.

    Parameters
    ----------
    options
        A run's ``ComputeConfig``.
    report
        Takes a ``log`` event when the start waits for resources.

    Raises
    ------
    ClusterError, ConfigError
        What the back end raises when it cannot start.
    """
    if options.cluster == "address":
        return existing_cluster(str(options.address), insecure=options.insecure)
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.workers)
    if options.cluster == "synchronous":
        return in_process(threads=options.threads or os.cpu_count() or 1)
    shape: dict[str, Any] = {
        "workers": options.workers,
        "threads": threads,
        "memory_budget": options.memory_budget,
        "dashboard": options.dashboard,
        "dashboard_address": options.dashboard_address,
    }
    if options.cluster == "local":
        return local_cluster(**shape)
    from l3ae_dist.runtime.backends.ray_workers import ray_cluster

    return ray_cluster(**shape, device=options.device, patience=options.start_timeout, report=report)


@contextlib.contextmanager
def in_process(*, threads: int) -> Iterator[InProcess]:
    """No cluster: for debugging, with breakpoints and tracebacks in this process.

    Parameters
    ----------
    threads
        BLAS threads of this process during the ``with`` block.
    """
    import scipy.linalg.blas  # noqa: F401  (only a BLAS that is loaded can be limited)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads, user_api="blas"):
        yield InProcess()
