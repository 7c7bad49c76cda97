"""Workers that stand still: stopped by a signal, or not heard of. Dask itself notices those that die.

On this machine the kernel says which process is stopped, so a worker in one long call is never taken for a
frozen one; elsewhere the scheduler says how long it has not heard of a worker.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l3ae_dist.errors import ClusterError
from l3ae_dist.runtime.events import Message, OnEvent
from l3ae_dist.storage.holder import proc_is_ours
from l3ae_dist.storage.kept import Kept

if TYPE_CHECKING:
    from distributed import Client, Scheduler

_LOOK_SECONDS = 1.0
STOPPED_SECONDS = 3.0
"""Seconds that a process is stopped before it counts as frozen: a debugger stops one for a moment."""
# Heartbeats come every second or so, but not while one call holds the interpreter lock.
_UNHEARD_SECONDS, _SILENT_SECONDS = 20.0, 60.0
# The only worker may be continued so long, before it is started anew.
_PATIENCE_SECONDS = 30.0
_RESTART_SECONDS = 10.0
_log = logging.getLogger(__name__)


def is_stopped(pid: int) -> bool:
    """Tell whether a process of this machine is stopped, by a signal or by its terminal."""
    import psutil

    if not proc_is_ours():  # the kernel tells of other processes by these ids
        return False
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:  # it has ended
        return False


def end_process(pid: int) -> None:
    """End a process of this machine that stands still, and obeys no other signal."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def ended_while_stopped(watched: threading.Event, workers: Callable[[], set[int]]) -> Iterator[None]:
    """End worker processes of this machine that are stopped while nobody watches them yet.

    A cluster starts, and is asked what its workers are, before a run watches it; the nanny of a worker that
    is ended starts another.

    Parameters
    ----------
    watched
        Set when :class:`FrozenWorkers` takes over.
    workers
        Returns the process ids of the workers of this cluster, and of no other.
    """
    thread = threading.Thread(target=_end_stopped, args=(watched, workers), name="l3ae-start", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watched.set()
        thread.join()


def _end_stopped(watched: threading.Event, workers: Callable[[], set[int]]) -> None:
    since: dict[int, float] = {}
    while not watched.wait(_LOOK_SECONDS):
        stopped = {pid for pid in workers() if is_stopped(pid)}
        since = {pid: since.get(pid, time.monotonic()) for pid in stopped}
        for pid, began in since.items():
            if time.monotonic() - began >= STOPPED_SECONDS:
                _log.warning("worker process %d was stopped by a signal; another is started", pid)
                end_process(pid)


@dataclass
class _Stillness:
    """A worker that stands still: since when, and what was done about it."""

    began: float
    pid: int | None
    told: bool = False
    replaced: bool = False

    @property
    def seconds(self) -> float:
        """Seconds for which it has stood still."""
        return time.monotonic() - self.began

    @property
    def settled(self) -> bool:
        """True when it has stood still for too long to be an accident of timing."""
        return self.seconds >= (_UNHEARD_SECONDS if self.pid is None else STOPPED_SECONDS)

    @property
    def words(self) -> str:
        """Say what is known of it, as the middle of a sentence."""
        since = time.strftime("%H:%M:%S", time.localtime(time.time() - self.seconds))
        if self.pid is None:
            return f"has not been heard of since {since}"
        return f"(pid {self.pid} of this machine) has stood still since {since}, stopped by a signal"


class FrozenWorkers:
    """Finds workers that stand still, says so, and has others do their tasks.

    Parameters
    ----------
    client
        Client of the cluster.
    pids
        Returns the process ids of the workers on this machine by their addresses.
    report
        Takes a ``log`` event for each of them, from a thread of its own.
    kept
        What the run keeps when it ends.
    """

    def __init__(
        self, client: "Client", pids: Callable[[], Mapping[str, int]], report: OnEvent, kept: Kept
    ) -> None:
        self._client = client
        self._kept = kept
        self._pids = pids
        self._report = report
        self._still: dict[str, _Stillness] = {}
        self._ended = threading.Event()
        self.failure: ClusterError | None = None
        """Error that ends the run, when no worker is left that does not stand still."""

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the workers every second during the ``with`` block."""
        thread = threading.Thread(target=self._run, name="l3ae-frozen", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(_LOOK_SECONDS)  # it may wait for a scheduler that does not answer

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                self.look()
            except Exception as error:  # the cluster ends, or its scheduler is lost, which others say
                _log.debug("cannot look at the workers", exc_info=error)

    def look(self) -> None:
        """Look at every worker once."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        pids = {address: pid for address, pid in self._pids().items() if address in workers}
        unheard = self._unheard() if len(pids) < len(workers) else {}
        for address in workers:
            began = self._began(pids.get(address), unheard.get(address, 0.0))
            if began is None:
                self._moves(address)
            else:
                self._still.setdefault(address, _Stillness(began, pids.get(address)))
        self._still = {address: one for address, one in self._still.items() if address in workers}
        alive = len(workers) - sum(one.settled for one in self._still.values())
        for address, one in list(self._still.items()):
            if one.settled:
                self._stands(address, one, alive)

    def _began(self, pid: int | None, unheard: float) -> float | None:
        """Tell since when a worker stands still; None when it does not."""
        if pid is not None:
            return time.monotonic() if is_stopped(pid) else None
        return time.monotonic() - unheard if unheard > _UNHEARD_SECONDS else None

    def _unheard(self) -> dict[str, float]:
        found: dict[str, float] = self._client.run_on_scheduler(seconds_unheard)
        return found

    def _moves(self, address: str) -> None:
        one = self._still.pop(address, None)
        if one is not None and one.told:
            self._report(Message(message=f"worker {address} goes on"))

    def _stands(self, address: str, one: _Stillness, alive: int) -> None:
        """Say that a worker stands still, and start it anew once others, or nobody any more, wait for it."""
        limit = STOPPED_SECONDS if one.pid is not None else _SILENT_SECONDS
        limit = limit if alive else limit + _PATIENCE_SECONDS
        if not one.told:
            one.told = True
            others = "its tasks go to the other workers" if alive else "no other worker is left for its tasks"
            left = max(0.0, limit - one.seconds)
            when = "now" if left < 1 else f"in {left:.0f} s, unless it goes on"
            by = f" (kill -CONT {one.pid})" if one.pid is not None and left >= 1 else ""
            message = f"worker {address} {one.words}; {others}, and it is replaced {when}{by}"
            self._report(Message(message=message))
        if one.seconds >= limit and not one.replaced:
            one.replaced = True
            self._replace(address, one, alive)

    def _replace(self, address: str, one: _Stillness, alive: int) -> None:
        nanny = self._client.run_on_scheduler(restart_worker, address=address, timeout=_RESTART_SECONDS)
        if not nanny and not alive:
            self.failure = ClusterError(
                f"worker {address} {one.words}, and no other worker is left; continue or end it, see why it "
                f"was stopped, and run the same command again: {self._kept}."
            )


def seconds_unheard(dask_scheduler: "Scheduler") -> dict[str, float]:
    """Return for each worker how many seconds ago the scheduler heard of it."""
    now = time.time()
    return {address: now - worker.last_seen for address, worker in dask_scheduler.workers.items()}


async def restart_worker(address: str, timeout: float, dask_scheduler: "Scheduler") -> bool:
    """Have a worker's nanny start it anew, or take it out where it has none; its tasks go to others.

    Parameters
    ----------
    address
        Of the worker.
    timeout
        Seconds for the nanny to end it.
    dask_scheduler
        Given by Dask.

    Returns
    -------
    Whether it has a nanny.
    """
    worker = dask_scheduler.workers.get(address)
    if worker is None:
        return True
    await dask_scheduler.restart_workers(
        [address], timeout=timeout, wait_for_workers=False, on_error="return", stimulus_id="l3ae-frozen"
    )
    return worker.nanny is not None
