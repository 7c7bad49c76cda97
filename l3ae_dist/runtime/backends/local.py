"""The back end ``local``: Dask workers that are processes of this machine."""

import contextlib
import logging
import os
from collections.abc import Iterator

from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.runtime.backends.dask_session import LOOPBACK, WORKER_CONFIG, DaskSession

# How OpenBLAS, MKL and OpenMP are told their number of threads before they are loaded.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def local_cluster(
    *,
    workers: int,
    threads: int,
    memory_budget: int,
    dashboard: bool = True,
    dashboard_address: str = LOOPBACK,
) -> Iterator[DaskSession]:
    """Start worker processes on this machine, bound to the loopback, for the ``with`` block.

    Parameters
    ----------
    workers
        Worker processes; each computes one task at a time, and reads or writes for another.
    threads
        BLAS threads of each worker.
    memory_budget
        Bytes per worker process; a worker that exceeds it is restarted by its nanny.
    dashboard
        Whether to serve the Dask dashboard.
    dashboard_address
        Address of the dashboard as ``HOST:PORT``; a free port of 127.0.0.1 if not given.
    """
    import dask
    from distributed import Client, LocalCluster

    config = {
        **WORKER_CONFIG,
        # here a worker is only away while its nanny starts it again
        "distributed.scheduler.no-workers-timeout": "45s",
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(THREADS, str(threads)),
    }
    with (
        _without(THREADS),
        dask.config.set(config),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=STAGED,
            processes=True,
            memory_limit=memory_budget,
            host="127.0.0.1",
            # the scheduler's HTTP server listens even without pages
            dashboard_address=dashboard_address if dashboard else LOOPBACK,
            scheduler_kwargs={"dashboard": dashboard},
            silence_logs=logging.CRITICAL,  # a failing task and a lost worker are told by this package
        ) as cluster,
        Client(cluster) as client,
    ):
        session = DaskSession(
            client, cluster.dashboard_link if dashboard else None, worker_limit=memory_budget
        )
        session.refresh_pids()
        yield session


@contextlib.contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    """Hide environment variables: a nanny lets them win over its configuration, and changes them itself."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(kept)
