"""Events of a run and the processes that belong to it."""

import json
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

OnEvent = Callable[[dict[str, Any]], None]


class EventLog:
    """Passes events on and keeps them, to be written into the workspace."""

    def __init__(self, on_event: OnEvent | None) -> None:
        self._on_event = on_event
        self.kept: list[dict[str, Any]] = []
        self.check: Callable[[], None] = lambda: None
        self._stage = ""
        self._later: deque[dict[str, Any]] = deque()

    def __call__(self, event: dict[str, Any]) -> None:
        """Take one event; raises what ``check`` raises, so that a run that lost its lock stops."""
        self.check()
        if event["kind"] == "stage_start":
            self._stage = str(event["stage"])
        self.flush()
        self._take({"time": round(time.time(), 3), **event})

    def later(self, event: dict[str, Any]) -> None:
        """Take an event from another thread; it is passed on before the next one of the run's own."""
        self._later.append({"time": round(time.time(), 3), "stage": self._stage, **event})

    def flush(self) -> None:
        """Pass on what other threads have reported."""
        while self._later:
            self._take(self._later.popleft())

    def _take(self, event: dict[str, Any]) -> None:
        self.kept.append(event)
        if self._on_event is not None:
            self._on_event({key: value for key, value in event.items() if key != "time"})

    def json_lines(self) -> bytes:
        """All kept events, one JSON object a line."""
        self.flush()
        return "".join(json.dumps(event, default=str) + "\n" for event in self.kept).encode()


class ProcessGroups:
    """Process ids of the engines that are up right now."""

    def __init__(self) -> None:
        self.workers: Callable[[], list[int]] = list
        self.scheduler: Callable[[], list[int]] = list
        self.ray: Callable[[], list[int]] = list

    def groups(self) -> dict[str, Callable[[], list[int]]]:
        """Functions that give the current process ids of each group."""
        return {
            "workers": lambda: self.workers(),
            "scheduler": lambda: self.scheduler(),
            "client": lambda: [os.getpid()],
            # Dask's actors are processes of Ray too
            "ray": lambda: sorted({*self.ray()} - {*self.workers(), *self.scheduler()}),
        }
