"""Dask clusters: ``local`` (processes on this machine) and ``address`` (an existing scheduler)."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from l3ae_dist.errors import ClusterError, ConfigError
from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.runtime.events import Message, OnEvent, WorkerLost
from l3ae_dist.runtime.executors import DaskExecutor, task_targets
from l3ae_dist.runtime.versions import environment
from l3ae_dist.storage.lock import boot_id

LOOPBACK = "127.0.0.1:0"
# Tiles never travel as task results, so spilling would only ever write small records.
WORKER_CONFIG = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.98,
    "distributed.scheduler.allowed-failures": 10,
    "distributed.scheduler.no-workers-timeout": "120s",
    # a nanny restarts its worker itself; by default it is closed for good when its worker happens to be
    # away 15 s after an earlier loss
    "distributed.deploy.lost-worker-timeout": "1000 hours",
    "distributed.admin.system-monitor.gil.enabled": False,
}
# How OpenBLAS, MKL and OpenMP are told their number of threads before they are loaded.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class DaskSession:
    """A connected client and what is known about its cluster."""

    client: Any
    dashboard_url: str | None
    worker_pids: dict[str, int] = field(default_factory=dict)
    scheduler_pids: list[int] = field(default_factory=list)
    """The scheduler's process, where it is one of its own on this machine."""
    worker_limit: int | None = None
    """Bytes that each worker was given, where this package started them."""
    _joined: bool = False
    _elsewhere: list[int] = field(default_factory=list)
    _asked: float = 0.0

    def executor(self) -> DaskExecutor:
        """Where tasks run."""
        return DaskExecutor(self.client, worker_limit=self.memory_limit())

    def pids(self) -> list[int]:
        """Process ids of the workers on this machine; asked for again after one has joined."""
        if self._joined:
            self._joined = False
            self.refresh_pids()
        return list(self.worker_pids.values())

    def refresh_pids(self) -> None:
        """Ask the workers for their process ids again (after one was restarted)."""
        answers = self.client.run(whereabouts, on_error="return")
        # a worker that died while it was asked is asked again at the next call
        found = {address: answer for address, answer in answers.items() if not isinstance(answer, OSError)}
        self._joined = self._joined or len(found) < len(answers)
        _refuse_strangers({f"worker {address}": answer for address, answer in found.items()})
        self.worker_pids = {address: pid for address, (machine, pid) in found.items() if machine == boot_id()}
        self._elsewhere = [0] * (len(found) - len(self.worker_pids))

    def bytes_elsewhere(self) -> list[int]:
        """Resident bytes of every worker on another machine by Dask's heartbeats, asked for once a second."""
        if self._elsewhere and time.monotonic() > self._asked + 1:
            workers = self.client.scheduler_info(n_workers=-1)["workers"]
            others = (worker for address, worker in workers.items() if address not in self.worker_pids)
            self._elsewhere = [int(worker["metrics"]["memory"]) for worker in others] or [0]
            self._asked = time.monotonic()
        return self._elsewhere

    def memory_limit(self) -> int | None:
        """The smallest memory limit of a worker in bytes; None when none of them has one."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        limits = (int(worker["memory_limit"]) for worker in workers if worker["memory_limit"])
        return min(limits, default=self.worker_limit)  # none may have joined yet

    def environments(self) -> dict[str, dict[str, Any]]:
        """Versions and BLAS of every worker that answers, by address."""
        answers = self.client.run(environment, on_error="return")
        _refuse_strangers({f"worker {address}": answer for address, answer in answers.items()})
        return {address: found for address, found in answers.items() if not isinstance(found, OSError)}

    def performance_report(self, path: Path) -> Callable[[], None]:
        """Begin Dask's report; returns a function that writes it to ``path``, as one file of its own."""
        from distributed import performance_report

        report = performance_report(str(path), mode="inline")
        with self.client.as_current():
            report.__enter__()

        def write() -> None:
            with self.client.as_current():
                report.__exit__(None, None, None)

        return write

    @contextlib.contextmanager
    def watched(self, report: OnEvent) -> Iterator[None]:
        """Report every worker that is lost, with the chunks it was to make, as a ``worker_lost`` event.

        ``report`` is called from the client's own thread.
        """

        def on_scheduler_event(event: tuple[float, dict[str, Any]]) -> None:
            message = event[1]
            if message["action"] == "add-worker":
                self._joined = True
            if message["action"] == "remove-worker" and not message["expected"]:
                tasks = task_targets(message["processing-tasks"])
                report(WorkerLost(worker=message["worker"], tasks=tasks))

        def on_restart(event: tuple[float, dict[str, Any]]) -> None:
            message = event[1]
            size = f"{message['rss'] / 2**20:,.0f} MiB"
            text = f"worker {message['worker']} was ended at {size}, over its memory limit"
            report(Message(message=text))

        handlers = {"all": on_scheduler_event, "worker-restart-memory": on_restart}
        for topic, handler in handlers.items():
            self.client.subscribe_topic(topic, handler)
        try:
            yield
        finally:
            for topic in handlers:
                self.client.unsubscribe_topic(topic)


def _refuse_strangers(answers: Mapping[str, Any]) -> None:
    """Raise what processes answered instead of a value, but for those that died while they were asked."""
    for name, answer in answers.items():
        # workers tell the class of some errors in their text alone
        if isinstance(answer, (ImportError, AttributeError)) or "ModuleNotFoundError" in str(answer):
            raise ClusterError(
                f"the {name} cannot import this package, or has another version of it ({answer}); "
                "install the versions of constraints.txt on every node and run the same command again."
            )
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise answer


def _ask_scheduler(client: Any) -> Any:
    try:
        return client.run_on_scheduler(whereabouts)
    except Exception as error:  # looked at by the caller
        return error


def whereabouts() -> tuple[str, int]:
    """Machine and id of the process that this runs in."""
    return boot_id(), os.getpid()


@contextlib.contextmanager
def local_cluster(
    *,
    workers: int,
    threads: int,
    memory_budget: int,
    dashboard: bool = True,
    dashboard_address: str = LOOPBACK,
) -> Iterator[DaskSession]:
    """Worker processes on this machine, bound to the loopback.

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
        Where, as ``HOST:PORT``; a free port of 127.0.0.1 if not given.
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


@contextlib.contextmanager
def existing_cluster(address: str, *, insecure: bool = False) -> Iterator[DaskSession]:
    """Connect to a scheduler that runs already; it is left running.

    Raises
    ------
    ConfigError
        For an unencrypted address off this machine, unless ``insecure``.
    ClusterError
        When nothing answers there.
    """
    from distributed import Client

    parts = urlsplit(address)
    if parts.scheme == "tcp" and parts.hostname not in ("127.0.0.1", "localhost", "::1") and not insecure:
        raise ConfigError(
            f"the scheduler {address} is neither on this machine nor encrypted; use a tls:// address "
            "or allow it with --insecure (compute.insecure = true)."
        )
    try:
        client = Client(address, timeout="20s")
    except OSError as error:
        raise ClusterError(f"no Dask scheduler answers at {address}; check that it runs.") from error
    with client:
        _refuse_strangers({f"scheduler {address}": _ask_scheduler(client)})
        session = DaskSession(client, client.dashboard_link)
        session.refresh_pids()
        yield session
