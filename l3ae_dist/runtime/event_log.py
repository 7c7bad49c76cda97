"""Collects the events of a run: passes them on to the caller, keeps them, tells followers in batches."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from l3ae_dist.runtime.events import (
    Event,
    MemorySample,
    Message,
    OnEvent,
    RunEnd,
    StageEnd,
    StageStart,
    WorkerLost,
)


@dataclass
class _Follower:
    """A function that is told of events in batches, at most once in ``seconds``."""

    tell: Callable[[list[Event]], None]
    seconds: float
    told: int = 0
    when: float = float("-inf")  # the clock begins where the machine does


class EventLog:
    """Passes events on and keeps them, to be written into the workspace."""

    def __init__(self, on_event: OnEvent | None) -> None:
        self._on_event = on_event
        self.kept: list[Event] = []
        self.name = ""
        """Name of the files that keep these events."""
        self.check: Callable[[], None] = lambda: None
        self._stage = ""
        self._later: deque[Event] = deque()
        self._followers: list[_Follower] = []

    def __call__(self, event: Event) -> None:
        """Take one event; raises what ``check`` raises, so that a run that lost its lock stops."""
        self.check()
        if isinstance(event, StageStart):
            self._stage = event.stage
        self._flush(event.time)
        self._take(event)
        self._tell(now=isinstance(event, StageStart | StageEnd))

    def later(self, event: Event) -> None:
        """Take an event from another thread; it is passed on before the next one of the run's own."""
        if isinstance(event, MemorySample | Message | RunEnd | WorkerLost):
            event = replace(event, stage=self._stage)
        self._later.append(event)

    def flush(self) -> None:
        """Take the events that other threads have reported."""
        self._flush(float("inf"))

    def idle(self) -> None:
        """Pass on, while the run waits, what other threads have reported; raises what ``check`` raises."""
        self.check()
        self.flush()
        self._tell(now=False)

    def follow(self, tell: Callable[[list[Event]], None], seconds: float) -> Callable[[], None]:
        """Tell a function of all events from now on, in batches.

        Parameters
        ----------
        tell
            Called with each batch.
        seconds
            Time between two batches at least, unless a stage starts or ends.

        Returns
        -------
        A function that ends it, after the last batch.
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

    def _flush(self, until: float) -> None:
        """Take what other threads have reported up to a time, so that the events stay in order."""
        while self._later and self._later[0].time <= until:
            self._take(self._later.popleft())

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
            self._on_event(event)


def told_as_events(on_event: OnEvent | None) -> Callable[[str], None] | None:
    """Return what passes sentences on as events, before a log exists; None where nobody takes events."""
    return None if on_event is None else lambda text: on_event(Message(message=text))
