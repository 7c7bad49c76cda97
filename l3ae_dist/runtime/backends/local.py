"""The back end ``local``: Dask workers that are processes of this machine."""

import contextlib
import itertools
import logging
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

from l3ae_dist.errors import ClusterError, ConfigError
from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.linalg.visible_gpus import gpu_of
from l3ae_dist.runtime import streams
from l3ae_dist.runtime.backends.certificate import certificate_kept, temporary_certificate
from l3ae_dist.runtime.backends.dask_session import HTTP_ROUTES, LOOPBACK, WORKER_CONFIG, DaskSession
from l3ae_dist.runtime.backends.frozen import ended_while_stopped
from l3ae_dist.runtime.main_guard import call_is_unguarded

if TYPE_CHECKING:
    from tornado.ioloop import IOLoop

# How OpenBLAS, MKL and OpenMP are told their number of threads before they are loaded.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# Here a worker is only away while its nanny starts it again.
_NO_WORKERS_SECONDS = 45
# For a cluster that was interrupted while it started.
_CLOSE_SECONDS = 5


@contextlib.contextmanager
def local_cluster(
    *,
    workers: int,
    threads: int,
    memory_budget: int,
    dashboard: bool = True,
    dashboard_address: str = LOOPBACK,
    encrypted: bool = True,
) -> Iterator[DaskSession]:
    """Start worker processes on this machine, bound to the loopback, for the ``with`` block.

    Scheduler and workers speak TLS with a certificate made for this cluster alone: the loopback is open to
    every user of the machine, and whoever reaches a scheduler runs code in its processes.

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
    encrypted
        False only to measure what the encryption costs.
    """
    import dask
    from distributed import Client, LocalCluster, Nanny

    config = {
        **WORKER_CONFIG,
        "distributed.scheduler.no-workers-timeout": f"{_NO_WORKERS_SECONDS}s",
        "distributed.scheduler.http.routes": HTTP_ROUTES if dashboard else [],
        "distributed.worker.preload": [*dask.config.get("distributed.worker.preload"), streams.__name__],
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(THREADS, str(threads)),
    }
    security = temporary_certificate() if encrypted else None
    nannies: list[Nanny] = []
    numbers = itertools.count()

    class RememberedNanny(Nanny):  # type: ignore[misc]  # distributed has no types
        """A nanny of this cluster, which is known before the cluster is; its workers see one GPU."""

        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options, env=gpu_of(next(numbers)))
            nannies.append(self)

    def worker_pids() -> set[int]:
        return {nanny.pid for nanny in tuple(nannies) if nanny.pid is not None}

    with (
        _without(THREADS),
        dask.config.set(config),
        _loop() as loop,
        _started(),
        _closed_when_interrupted(),
        ended_while_stopped(watching := threading.Event(), worker_pids),
        LocalCluster(
            loop=loop,
            n_workers=workers,
            threads_per_worker=STAGED,
            worker_class=RememberedNanny,
            memory_limit=memory_budget,
            host="127.0.0.1",
            security=security,
            # the scheduler's HTTP server listens even without pages
            dashboard_address=dashboard_address if dashboard else LOOPBACK,
            scheduler_kwargs={"dashboard": dashboard},
            silence_logs=logging.CRITICAL,  # a failing task and a lost worker are told by this package
        ) as cluster,
        Client(cluster) as client,
        certificate_kept(cluster.scheduler_address, security),
    ):
        session = DaskSession(
            client,
            cluster.dashboard_link if dashboard else None,
            worker_limit=memory_budget,
            watching=watching,
        )
        session.refresh_pids()
        yield session


@contextlib.contextmanager
def _loop() -> "Iterator[IOLoop]":
    """Provide an event loop in a thread that Ctrl-C is hidden from, and so from the workers it starts.

    A terminal sends the signal to every process; this one alone tells people and ends the workers.
    """
    from distributed.utils import LoopRunner

    with _silent_tracker():
        resource_tracker.ensure_running()  # whose start shows the signal to its thread again
    runner = LoopRunner()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        runner.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield runner.loop
    finally:
        runner.stop()


@contextlib.contextmanager
def _silent_tracker() -> Iterator[None]:
    """Start Python's tracker of semaphores, which then removes those of an interrupted start silently."""
    kept = os.environ.get("PYTHONWARNINGS")
    rule = "ignore::UserWarning:multiprocessing.resource_tracker"
    os.environ["PYTHONWARNINGS"] = f"{kept},{rule}" if kept else rule
    try:
        yield
    finally:
        if kept is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = kept


@contextlib.contextmanager
def _closed_when_interrupted() -> Iterator[None]:
    """Close a cluster whose start was interrupted: else Dask does at the exit, with tracebacks."""
    from distributed.deploy.spec import SpecCluster

    before = set(SpecCluster._instances)
    try:
        yield
    except BaseException:
        for cluster in set(SpecCluster._instances) - before:
            with contextlib.suppress(Exception):  # half started, so that parts of it are not there
                cluster.close(timeout=_CLOSE_SECONDS)
            SpecCluster._instances.discard(cluster)
        for name in ("distributed.process", "distributed.nanny"):  # at the exit they tell whom they end
            logging.getLogger(name).setLevel(logging.CRITICAL)
        raise


@contextlib.contextmanager
def _started() -> Iterator[None]:
    """Tell why no worker process starts, when Dask says so."""
    try:
        yield
    except RuntimeError as error:
        if "Nanny failed to start" not in str(error):
            raise
        if call_is_unguarded():
            raise ConfigError(
                "every worker process runs this script again, as Python starts processes; put the call, and "
                'what should run once, under `if __name__ == "__main__":`.'
            ) from None
        raise ClusterError(
            "the worker processes ended as soon as they were started; look at what they printed, check the "
            "memory and the limits of this machine (ulimit -a), and run the same command again."
        ) from error


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
