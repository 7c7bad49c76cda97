"""The one way to every back end: :func:`open_cluster` gives a session with an executor."""

import contextlib
import os
from collections.abc import Callable
from typing import Protocol

from l3ae_dist.data.shuffle.each import Each
from l3ae_dist.runtime.backends.address import existing_cluster
from l3ae_dist.runtime.backends.in_process import in_process
from l3ae_dist.runtime.backends.local import local_cluster
from l3ae_dist.runtime.events import OnEvent
from l3ae_dist.runtime.executors import Executor
from l3ae_dist.runtime.versions import Environment
from l3ae_dist.storage.forked import use_engine
from l3ae_dist.storage.kept import Kept


class ClusterOptions(Protocol):
    """Settings of a back end, which ``ComputeConfig`` has."""

    @property
    def cluster(self) -> str:
        """Name of the back end: ``local``, ``ray``, ``address`` or ``synchronous``."""

    @property
    def address(self) -> str | None:
        """Address of the scheduler, for ``address``."""

    @property
    def insecure(self) -> bool:
        """True to allow a scheduler off this machine that is not encrypted."""

    @property
    def workers(self) -> int:
        """Number of worker processes."""

    @property
    def threads(self) -> int | None:
        """BLAS threads of each worker; None to share out the cores."""

    @property
    def memory_budget(self) -> int:
        """Bytes that each worker may use."""

    @property
    def device(self) -> str:
        """Device that workers compute on: ``auto``, ``cpu`` or ``cuda``."""

    @property
    def dashboard(self) -> bool:
        """True to serve the Dask dashboard."""

    @property
    def dashboard_address(self) -> str:
        """Address of the dashboard as ``HOST:PORT``."""

    @property
    def start_timeout(self) -> float:
        """Seconds to wait for the resources of ``ray``."""


class Session(Protocol):
    """An open back end."""

    @property
    def dashboard_url(self) -> str | None:
        """Address of the Dask dashboard; None without one."""

    @property
    def scheduler_pids(self) -> list[int]:
        """Process id of the scheduler, where it is a process of its own on this machine."""

    def executor(self, *, peer_reads: bool = False) -> Executor:
        """Return what runs the tasks, on workers that may read tiles from each other."""

    def each(self, threads: int) -> Each:
        """Return what runs the passes of an ingest, with so many threads in each process."""

    def trouble(self, function: Callable[[], object]) -> str | None:
        """Run a function in every worker; returns the error of one of them, None when it works in all."""

    def pids(self) -> list[int]:
        """Return the process ids of the workers on this machine."""

    def bytes_elsewhere(self) -> list[int]:
        """Return the resident bytes of every worker on another machine."""

    def memory_limit(self) -> int | None:
        """Return the smallest memory limit of a worker in bytes; None when none of them has one."""

    def environments(self) -> dict[str, Environment]:
        """Return the versions and the BLAS of every worker that answers, by address."""

    def float64_shares(self, device: str) -> list[tuple[str, float]]:
        """Measure the rate in float64 of each worker's device; returns names and shares of float32's."""

    def device_sharers(self, device: str) -> int:
        """Count the workers that compute on the same GPU, at most; 1 on CPUs."""

    def watched(
        self, report: OnEvent, idle: Callable[[], None] = ..., kept: Kept | None = None
    ) -> contextlib.AbstractContextManager[None]:
        """Report the workers that are lost or stand still during the ``with`` block.

        Parameters
        ----------
        report
            Takes the events, from other threads.
        idle
            Called now and then while the executor waits.
        kept
            What the run keeps when it ends; all that is finished when None.
        """


def forget_copies_of(session: Session) -> None:
    """Delete the copies of tiles that workers which stay, and this process, keep on local disks."""
    from l3ae_dist.graphs.tile_memory import forget_copies

    session.trouble(forget_copies)
    forget_copies()


def default_threads(workers: int) -> int:
    """Return the threads of each of some workers that share this machine."""
    return max(1, (os.cpu_count() or 1) // workers)


def workers_text(options: ClusterOptions) -> str:
    """Name the workers that a run waits for."""
    if options.cluster == "address":
        return "on the workers of the scheduler that runs already"
    count = "a Dask worker" if options.workers == 1 else f"{options.workers:,} Dask workers"
    return f"{count} inside Ray" if options.cluster == "ray" else count


def open_cluster(options: ClusterOptions, report: OnEvent) -> contextlib.AbstractContextManager[Session]:
    """Open the back end that ``options.cluster`` names, for a ``with`` block.

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
    if options.cluster != "synchronous":
        use_engine("Dask")
    if options.cluster == "address":
        return existing_cluster(str(options.address), insecure=options.insecure)
    threads = options.threads or default_threads(options.workers)
    if options.cluster == "synchronous":
        return in_process(threads=options.threads or os.cpu_count() or 1)
    if options.cluster == "local":
        return local_cluster(
            workers=options.workers,
            threads=threads,
            memory_budget=options.memory_budget,
            dashboard=options.dashboard,
            dashboard_address=options.dashboard_address,
        )
    from l3ae_dist.runtime.backends.dask_on_ray import ray_cluster

    return ray_cluster(
        workers=options.workers,
        threads=threads,
        memory_budget=options.memory_budget,
        device=options.device,
        dashboard=options.dashboard,
        dashboard_address=options.dashboard_address,
        patience=options.start_timeout,
        report=report,
    )
