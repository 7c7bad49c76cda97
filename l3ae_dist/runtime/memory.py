"""Measures the memory of the processes of a run: sizes now and peaks, by group.

A process counts with its proportional set size (PSS): private pages plus its share of shared ones, so
that the sum over processes is what the machine really holds.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from types import TracebackType
from typing import Self

import psutil

TELL_SECONDS = 5.0
# Ray's servers and agents are many and change slowly; a sample of them takes 15 ms of a core.
RAY_SECONDS = 2.0
GROUPS = ("workers", "scheduler", "client", "ray")
_log = logging.getLogger(__name__)


def process_bytes(pid: int) -> int:
    """Return the PSS of a process in bytes, its resident set where there is no PSS, 0 when it is gone."""
    try:
        process = psutil.Process(pid)
        try:
            sizes = process.memory_full_info()
        except psutil.AccessDenied:  # a process of another user
            return int(process.memory_info().rss)
        return int(getattr(sizes, "pss", sizes.rss))
    except psutil.Error:
        return 0


@dataclass(frozen=True, slots=True)
class MemorySizes:
    """Bytes of the processes of a run; a group that is not measured is 0.

    ``worker_max`` is the largest single worker; the others are sums over the workers, the scheduler, the
    client and the processes of Ray.
    """

    worker_max: int = 0
    workers_sum: int = 0
    scheduler: int = 0
    client: int = 0
    ray: int = 0

    def maximum(self, other: "MemorySizes") -> "MemorySizes":
        """Return the larger of each two sizes."""
        return MemorySizes(*map(max, astuple(self), astuple(other)))


@dataclass
class ProcessGroups:
    """Functions that list the processes of the engines that are up right now, by group."""

    workers: Callable[[], list[int]] = list
    scheduler: Callable[[], list[int]] = list
    ray: Callable[[], list[int]] = list
    elsewhere: Callable[[], list[int]] = list
    """Bytes, not ids, of each worker on another machine."""

    def groups(self) -> dict[str, Callable[[], list[int]]]:
        """Return functions that give the current process ids of each group."""
        return {
            "workers": lambda: self.workers(),
            "scheduler": lambda: self.scheduler(),
            "client": lambda: [os.getpid()],
            # Dask's actors are processes of Ray too
            "ray": lambda: sorted({*self.ray()} - {*self.workers(), *self.scheduler()}),
        }


class MemorySampler:
    """Samples groups of processes in a thread while the ``with`` block runs.

    Parameters
    ----------
    pids
        For each of ``workers``, ``scheduler``, ``client``, ``ray`` (any subset): a function that
        returns the group's current process ids. It is called from the sampling thread.
    interval
        Seconds between samples, ``RAY_SECONDS`` for the group ``ray`` if that is longer. One sample costs
        about a millisecond per process and GiB.
    elsewhere
        Bytes of each worker that is no process of this machine.
    tell
        Called from the sampling thread with the sizes of now, at most every ``TELL_SECONDS``.
    """

    def __init__(
        self,
        pids: Mapping[str, Callable[[], list[int]]],
        *,
        interval: float = 0.2,
        elsewhere: Callable[[], list[int]] = list,
        tell: Callable[[MemorySizes], None] | None = None,
    ) -> None:
        unknown = sorted(set(pids) - set(GROUPS))
        if unknown:
            raise ValueError(f"unknown process groups {unknown}; known are {list(GROUPS)}")
        self._pids = dict(pids)
        self._interval = interval
        self._elsewhere = elsewhere
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._tell = tell
        self._told = 0.0
        self._now = MemorySizes()
        self.peak = MemorySizes()
        """Peaks so far: of ``worker_max`` over time and single workers, of the others over time."""
        self._warned: set[str] = set()

    def __enter__(self) -> Self:
        self._stop.clear()
        self.sample()
        self._thread = threading.Thread(target=self._run, name="l3ae-memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def sample(self) -> None:
        """Take one sample of every group now."""
        self._sample(self._pids)

    def _sample(self, groups: Iterable[str]) -> None:
        found: dict[str, int] = {}
        for group in groups:
            sizes = [process_bytes(pid) for pid in self._ask(group, self._pids[group])]
            if group == "workers":
                sizes += self._ask("workers on other machines", self._elsewhere)
                found |= {"worker_max": max(sizes, default=0), "workers_sum": sum(sizes)}
            else:
                found[group] = sum(sizes)
        self._now = replace(self._now, **found)
        self.peak = self.peak.maximum(self._now)
        if self._tell is not None and time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            self._tell(self._now)

    def _run(self) -> None:
        often = [group for group in self._pids if group != "ray"]
        asked = time.monotonic()
        while not self._stop.wait(self._interval):
            seldom = time.monotonic() - asked >= RAY_SECONDS
            asked = time.monotonic() if seldom else asked
            self._sample(self._pids if seldom else often)

    def _ask(self, group: str, function: Callable[[], list[int]]) -> list[int]:
        try:
            return function()
        except Exception as error:  # a cluster that is closing must not end the measurement of the others
            if group not in self._warned:
                self._warned.add(group)
                _log.warning("memory of group %s is not measured for now: %s", group, error)
            return []
