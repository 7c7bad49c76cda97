"""A connected Dask cluster, whoever started it: its workers, their memory, and which of them are lost."""

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from l3ae_dist.errors import ClusterError, L3AEError
from l3ae_dist.graphs.tile_memory import device_place
from l3ae_dist.linalg.arithmetic import float64_share
from l3ae_dist.messages import shown
from l3ae_dist.runtime.backends.frozen import FrozenWorkers
from l3ae_dist.runtime.backends.frozen_scheduler import FrozenScheduler
from l3ae_dist.runtime.events import Message, OnEvent, WorkerLost
from l3ae_dist.runtime.executors import DaskExecutor, result_of, task_targets
from l3ae_dist.runtime.on_workers import OnWorkers
from l3ae_dist.runtime.peer_reads import TOPIC
from l3ae_dist.runtime.tile_holders import TileHolders
from l3ae_dist.runtime.versions import Environment, environment
from l3ae_dist.storage.holder import machine as this_machine
from l3ae_dist.storage.kept import Kept

if TYPE_CHECKING:
    from distributed import Client

R = TypeVar("R")
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
# Dask's own pages for reading; its proxy, which reaches other ports of the network, is left out.
HTTP_ROUTES = [
    "distributed.http.scheduler.prometheus",
    "distributed.http.scheduler.info",
    "distributed.http.scheduler.json",
    "distributed.http.health",
    "distributed.http.statics",
]


@dataclass
class DaskSession:
    """A connected client of a Dask cluster and what is known about the cluster.

    ``worker_pids`` holds the process ids of the workers on this machine by their addresses.
    """

    client: "Client"
    dashboard_url: str | None
    worker_pids: dict[str, int] = field(default_factory=dict)
    scheduler_pids: list[int] = field(default_factory=list)
    """Id of the scheduler's process, where it is one of its own on this machine."""
    worker_limit: int | None = None
    """Bytes that each worker was given, where this package started them."""
    watching: threading.Event = field(default_factory=threading.Event)
    """Set when a run begins to watch the workers; until then whoever started them does."""
    scheduler: FrozenScheduler | None = None
    """Watch over a scheduler that is another process."""
    _idle: Callable[[], None] = lambda: None
    _holders: TileHolders = field(default_factory=TileHolders)
    _joined: bool = False
    _elsewhere: list[int] = field(default_factory=list)
    _asked: float = 0.0

    def executor(self, *, peer_reads: bool = False) -> DaskExecutor:
        """Return an executor that runs tasks on the workers, which may read tiles from each other."""
        holders = self._holders if peer_reads else None
        return DaskExecutor(self.client, worker_limit=self.memory_limit(), idle=self._idle, holders=holders)

    def each(self, threads: int) -> OnWorkers:
        """Return what runs the passes of an ingest on the workers, with so many threads in each."""
        return OnWorkers(self.client, threads, self.memory_limit(), self._idle)

    def trouble(self, function: Callable[[], object]) -> str | None:
        """Run a function in every worker; returns the error of one of them, None when it works in all."""
        answers = self.client.run(function, on_error="return")
        return next((str(answer) for answer in answers.values() if isinstance(answer, Exception)), None)

    def pids(self) -> list[int]:
        """Return the process ids of the workers on this machine; asked for again after one has joined."""
        if self._joined:
            self._joined = False
            self.refresh_pids()
        return list(self.worker_pids.values())

    def refresh_pids(self) -> None:
        """Ask the workers for their process ids again, after one was restarted."""
        answers = self.client.run(machine_and_pid, on_error="return")
        # a worker that died while it was asked is asked again at the next call
        found = {address: answer for address, answer in answers.items() if not isinstance(answer, OSError)}
        self._joined = self._joined or len(found) < len(answers)
        refuse_unusable_workers({f"worker {address}": answer for address, answer in found.items()})
        here = this_machine()
        self.worker_pids = {address: pid for address, (machine, pid) in found.items() if machine == here}
        self._elsewhere = [0] * (len(found) - len(self.worker_pids))

    def bytes_elsewhere(self) -> list[int]:
        """Return the resident bytes of every worker on another machine; asked for once a second."""
        if self._elsewhere and time.monotonic() > self._asked + 1:
            # there are none any more once the client closes
            workers = self.client.scheduler_info(n_workers=-1).get("workers", {})
            others = (worker for address, worker in workers.items() if address not in self.worker_pids)
            self._elsewhere = [int(worker["metrics"]["memory"]) for worker in others] or [0]
            self._asked = time.monotonic()
        return self._elsewhere

    def memory_limit(self) -> int | None:
        """Return the smallest memory limit of a worker in bytes; None when none of them has one."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        limits = (int(worker["memory_limit"]) for worker in workers if worker["memory_limit"])
        return min(limits, default=self.worker_limit)  # none may have joined yet

    def environments(self) -> dict[str, Environment]:
        """Ask every worker for its versions and BLAS; returns the answers by address."""
        answers = self.client.run(environment, on_error="return")
        refuse_unusable_workers({f"worker {address}": answer for address, answer in answers.items()})
        return {address: found for address, found in answers.items() if not isinstance(found, OSError)}

    def float64_shares(self, device: str) -> list[tuple[str, float]]:
        """Measure how quick each worker's device is in float64; returns names and shares of float32's rate.

        Raises
        ------
        ClusterError
            When a worker cannot.
        """
        return self._of_each(float64_share, device, "compute.arithmetic")

    def device_sharers(self, device: str) -> int:
        """Count the workers that compute on the same GPU, at most; 1 on CPUs.

        Raises
        ------
        ClusterError
            When a worker does not say what it computes on.
        """
        places = Counter(self._of_each(device_place, device, "compute.device_memory"))
        return max((count for place, count in places.items() if place is not None), default=1)

    def _of_each(self, function: Callable[[str], R], device: str, setting: str) -> list[R]:
        """Ask every worker for something about its device, which a setting makes superfluous."""
        futures = [
            self.client.submit(function, device, workers=[address], allow_other_workers=True, pure=False)
            for address in self.client.scheduler_info(n_workers=-1)["workers"]
        ]
        try:
            return [cast(R, result_of(future, self._idle)) for future in futures]
        except L3AEError:
            raise
        except Exception as error:
            raise ClusterError(
                f"a worker could not measure its device ({type(error).__name__}: {shown(str(error))}); look "
                f"into the worker's log, or set {setting}, which needs no measurement."
            ) from error

    def performance_report(self, path: Path) -> Callable[[], None]:
        """Begin Dask's performance report; returns a function that writes it to ``path``, as one file."""
        from distributed import performance_report

        report = performance_report(str(path), mode="inline")
        with self.client.as_current():
            report.__enter__()

        def write() -> None:
            with self.client.as_current():
                report.__exit__(None, None, None)

        return write

    @contextlib.contextmanager
    def watched(
        self, report: OnEvent, idle: Callable[[], None] = lambda: None, kept: Kept | None = None
    ) -> Iterator[None]:
        """Report every worker that is lost or stands still during the ``with`` block.

        Parameters
        ----------
        report
            Takes the events, from other threads; a lost worker's tells the chunks that it was to make.
        idle
            Called now and then while the executor waits.
        kept
            What the run keeps when it ends; all that is finished when None.
        """

        def on_scheduler_event(event: tuple[float, Mapping[str, Any]]) -> None:
            message = event[1]
            if message["action"] == "add-worker":
                self._joined = True
            if message["action"] == "remove-worker" and not message["expected"]:
                self._holders.forget(message["worker"])
                tasks = task_targets(message["processing-tasks"])
                report(WorkerLost(worker=message["worker"], tasks=tasks))

        def on_restart(event: tuple[float, Mapping[str, Any]]) -> None:
            message = event[1]
            size = f"{message['rss'] / 2**20:,.0f} MiB"
            text = f"worker {message['worker']} was ended at {size}, over its memory limit"
            report(Message(message=text))

        def on_wrong_tile(event: tuple[float, Mapping[str, Any]]) -> None:
            message = event[1]
            i, j = message["place"]
            text = (
                f"worker {message['peer']} sent tile ({i}, {j}) of {message['path']} with other bytes than "
                "its done-mark names; it was read from the workspace instead"
            )
            report(Message(message=text))

        handlers = {
            "all": on_scheduler_event,
            "worker-restart-memory": on_restart,
            TOPIC: on_wrong_tile,
        }
        for topic, handler in handlers.items():
            self.client.subscribe_topic(topic, handler)
        kept = kept or Kept()
        frozen = FrozenWorkers(self.client, lambda: dict(self.worker_pids), report, kept)

        def wait() -> None:
            idle()
            if frozen.failure is not None:
                raise frozen.failure
            if self.scheduler is not None:
                self.scheduler.check()

        if self.scheduler is not None:
            self.scheduler.tell(report, kept)
        self._idle = wait
        self.watching.set()
        try:
            with frozen.watched():
                yield
        finally:
            for topic in handlers:
                self.client.unsubscribe_topic(topic)


def refuse_unusable_workers(answers: Mapping[str, object]) -> None:
    """Raise an error for a process that cannot run this package.

    Parameters
    ----------
    answers
        Values or exceptions that processes answered, by what a message calls them. One that died while it was
        asked, whose answer is an ``OSError``, is left to later calls.

    Raises
    ------
    ClusterError
        When a process cannot import the package.
    """
    for name, answer in answers.items():
        # workers tell the class of some errors in their text alone
        if isinstance(answer, (ImportError, AttributeError)) or "ModuleNotFoundError" in str(answer):
            raise ClusterError(
                f"the {name} cannot import this package, or has another version of it ({answer}); "
                "install the versions of constraints.txt on every node and run the same command again."
            )
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise answer


def machine_and_pid() -> tuple[str, int]:
    """Return the machine and the id of the process that this runs in."""
    return this_machine(), os.getpid()
