"""Events of a run and the processes that belong to it."""

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Event = dict[str, Any]
OnEvent = Callable[[Event], None]


@dataclass
class _Follower:
    """Somebody who is told of events in batches, not more often than every ``seconds``."""

    tell: Callable[[list[Event]], None]
    seconds: float
    told: int = 0
    when: float = 0.0


class EventLog:
    """Passes events on and keeps them, to be written into the workspace."""

    def __init__(self, on_event: OnEvent | None) -> None:
        self._on_event = on_event
        self.kept: list[Event] = []
        self.name = ""
        """What the files of this run are called."""
        self.check: Callable[[], None] = lambda: None
        self._stage = ""
        self._later: deque[Event] = deque()
        self._followers: list[_Follower] = []

    def __call__(self, event: Event) -> None:
        """Take one event; raises what ``check`` raises, so that a run that lost its lock stops."""
        self.check()
        if event["kind"] == "stage_start":
            self._stage = str(event["stage"])
        self.flush()
        self._take({"time": round(time.time(), 3), **event})
        self._tell(now=event["kind"] in ("stage_start", "stage_end"))

    def later(self, event: Event) -> None:
        """Take an event from another thread; it is passed on before the next one of the run's own."""
        self._later.append({"time": round(time.time(), 3), "stage": self._stage, **event})

    def flush(self) -> None:
        """Pass on what other threads have reported."""
        while self._later:
            self._take(self._later.popleft())

    def follow(self, tell: Callable[[list[Event]], None], seconds: float) -> Callable[[], None]:
        """Tell of all events, in batches at least ``seconds`` apart, and when a stage starts or ends.

        Returns a function that ends it, after the last batch.
        """
        follower = _Follower(tell, seconds)
        self._followers.append(follower)

        def end() -> None:
            try:
                self.flush()
            finally:
                self.kept.extend(self._later)  # nothing, unless who is told of them raised
                self._later.clear()
                self._followers.remove(follower)
                self._batch(follower)

        return end

    def _tell(self, *, now: bool) -> None:
        for follower in self._followers:
            if now or time.monotonic() - follower.when >= follower.seconds:
                self._batch(follower)

    def _batch(self, follower: _Follower) -> None:
        new = self.kept[follower.told :]
        if new:
            follower.tell(new)
        follower.told += len(new)
        follower.when = time.monotonic()

    def _take(self, event: Event) -> None:
        self.kept.append(event)
        if self._on_event is not None:
            self._on_event({key: value for key, value in event.items() if key != "time"})


class ProcessGroups:
    """Process ids of the engines that are up right now."""

    def __init__(self) -> None:
        self.workers: Callable[[], list[int]] = list
        self.scheduler: Callable[[], list[int]] = list
        self.ray: Callable[[], list[int]] = list
        self.elsewhere: Callable[[], list[int]] = list
        """Bytes of each worker on another machine."""

    def groups(self) -> dict[str, Callable[[], list[int]]]:
        """Functions that give the current process ids of each group."""
        return {
            "workers": lambda: self.workers(),
            "scheduler": lambda: self.scheduler(),
            "client": lambda: [os.getpid()],
            # Dask's actors are processes of Ray too
            "ray": lambda: sorted({*self.ray()} - {*self.workers(), *self.scheduler()}),
        }
