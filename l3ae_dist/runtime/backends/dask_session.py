"""A connected Dask cluster, whoever started it: its workers, their memory, and which of them are lost."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l3ae_dist.errors import ClusterError
from l3ae_dist.runtime.events import Message, OnEvent, WorkerLost
from l3ae_dist.runtime.executors import DaskExecutor, task_targets
from l3ae_dist.runtime.versions import Environment, environment
from l3ae_dist.storage.lock import boot_id

if TYPE_CHECKING:
    from distributed import Client

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
    _joined: bool = False
    _elsewhere: list[int] = field(default_factory=list)
    _asked: float = 0.0

    def executor(self) -> DaskExecutor:
        """Return an executor that runs tasks on the workers."""
        return DaskExecutor(self.client, worker_limit=self.memory_limit())

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
        self.worker_pids = {address: pid for address, (machine, pid) in found.items() if machine == boot_id()}
        self._elsewhere = [0] * (len(found) - len(self.worker_pids))

    def bytes_elsewhere(self) -> list[int]:
        """Return the resident bytes of every worker on another machine; asked for once a second."""
        if self._elsewhere and time.monotonic() > self._asked + 1:
            workers = self.client.scheduler_info(n_workers=-1)["workers"]
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
    def watched(self, report: OnEvent) -> Iterator[None]:
        """Report every worker that is lost during the ``with`` block, with the chunks it was to make.

        ``report`` is called from the client's own thread.
        """

        def on_scheduler_event(event: tuple[float, Mapping[str, Any]]) -> None:
            message = event[1]
            if message["action"] == "add-worker":
                self._joined = True
            if message["action"] == "remove-worker" and not message["expected"]:
                tasks = task_targets(message["processing-tasks"])
                report(WorkerLost(worker=message["worker"], tasks=tasks))

        def on_restart(event: tuple[float, Mapping[str, Any]]) -> None:
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
    return boot_id(), os.getpid()
