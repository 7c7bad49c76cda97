"""A run as somebody who watches it sees it: its stages and their tiles, from its events alone.

The dashboard page, which lives in the scheduler, and ``l3ae-dist watch``, which reads the workspace, show
the same view.
"""

import re
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from l3ae_dist.linalg.arrays import Array
from l3ae_dist.runtime.events import Event
from l3ae_dist.runtime.watch.stage_progress import StageProgress

MESSAGES = 6
MAPS = 4
"""Stages whose tiles are kept."""


class TileState(IntEnum):
    """What is known of one tile; a block of several tiles shows the largest."""

    ABSENT = 0
    DONE = 1
    PENDING = 2
    AGAIN = 3
    RUNNING = 4
    BAD = 5


STATE_NAMES = {
    TileState.PENDING: "pending",
    TileState.RUNNING: "running",
    TileState.DONE: "done",
    TileState.AGAIN: "recomputed",
    TileState.BAD: "bad",
}


@dataclass
class StageView(StageProgress):
    """One stage and the map of the tiles it makes.

    ``states`` is that of each chunk of ``array``, (rows, columns) uint8; None for a stage without tiles, or
    whose map is not shown any more, when ``counts`` says how many there were of each state.
    """

    array: str = ""
    states: Array | None = None
    counts: Array | None = None
    lost: set[tuple[int, int]] = field(default_factory=set)
    ended: float | None = None

    @classmethod
    def of(cls, event: Event) -> "StageView":
        """The view of a stage that starts."""
        stage = cls(
            str(event["stage"]),
            done=int(event.get("done", 0)),
            total=int(event.get("total", 0)),
            already=int(event.get("done", 0)),
            started=float(event["time"]),
        )
        found = event.get("map")
        if found:
            stage.array = found["array"]
            stage.states = np.full((found["rows"], found["columns"]), TileState.PENDING, np.uint8)
            if found["lower"]:
                stage.states[np.triu_indices(found["rows"], 1, found["columns"])] = TileState.ABSENT
            for i, j in found["done"]:
                stage.states[i, j] = TileState.DONE
        return stage

    def finish(self, i: int, j: int) -> None:
        """A tile is there; one that was bad, or held by a worker that was lost, was computed again."""
        if self.states is None:
            return
        again = (i, j) in self.lost or self.states[i, j] in (TileState.BAD, TileState.AGAIN)
        self.states[i, j] = TileState.AGAIN if again else TileState.DONE
        self.lost.discard((i, j))

    def spoil(self, i: int, j: int) -> None:
        """A tile is damaged."""
        if self.states is not None:
            self.states[i, j] = TileState.BAD

    def run(self, i: int, j: int, *, on: bool) -> None:
        """A worker takes a tile, or gives it up."""
        before, after = (TileState.PENDING, TileState.RUNNING)[:: 1 if on else -1]
        if self.states is None or i >= self.states.shape[0] or j >= self.states.shape[1]:
            return  # another run of the same scheduler may use the name
        if self.states[i, j] == before:
            self.states[i, j] = after

    def forget(self) -> None:
        """Keep the counts of the map alone."""
        self.counts, self.states = self.tile_counts(), None
        self.lost.clear()

    def tile_counts(self) -> Array:
        """How many tiles are in each state."""
        if self.counts is not None:
            return self.counts
        states = np.zeros(0, np.uint8) if self.states is None else self.states
        return np.bincount(states.ravel(), minlength=len(TileState))

    def matrix(self, most: int = 512) -> Array:
        """States, (rows, columns) uint8; blocks of tiles where there are more than ``most`` a side."""
        states = np.zeros((0, 0), np.uint8) if self.states is None else self.states
        step = -(-max(states.shape) // most) if max(states.shape) > most else 1
        if step == 1:
            return states.copy()
        padded = np.pad(states, [(0, -size % step) for size in states.shape])
        rows, columns = padded.shape
        blocks = padded.reshape(rows // step, step, columns // step, step)
        return np.asarray(blocks.max(axis=(1, 3)))

    def summary(self, now: float) -> dict[str, Any]:
        """Figures as plain values."""
        end = self.ended or now
        seconds = max(end - self.started, 1e-9)
        counts = self.tile_counts()
        return {
            "stage": self.name,
            "array": self.array,
            "done": self.done,
            "total": self.total,
            "seconds": round(seconds, 1),
            "rate": self.rate(end),
            "bytes_per_second": round(self.bytes / seconds),
            "bytes": round(self.bytes),
            "left": "" if self.ended else self.time_left(now),
            "running": self.ended is None,
            "tiles": {name: int(counts[state]) for state, name in STATE_NAMES.items()},
        }


_PARTIAL = re.compile(r"partial\d+")


class RunView:
    """Takes the events of a run in order; see :class:`~l3ae_dist.runtime.events.EventLog`."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything: another run begins."""
        self.run = ""
        self.stages: list[StageView] = []
        self.plan: Event = {}
        self.memory: Event = {}
        self.messages: deque[str] = deque(maxlen=MESSAGES)
        self.workers_lost = 0
        self.outcome = ""
        self.seen = 0.0

    def take_all(self, events: Iterable[Event]) -> None:
        """Take several events."""
        for event in events:
            self.take(event)

    def take(self, event: Event) -> None:
        """Take one event, which has a ``time``; kinds that are not known are ignored."""
        self.seen = float(event["time"])
        handler = getattr(self, f"_on_{event['kind']}", None)
        if handler is not None:
            handler(event)

    def mark(self, array: str, i: int, j: int, *, on: bool) -> None:
        """A worker takes the task of a tile, or gives it up."""
        stage = self.current
        if stage is not None and (array == stage.array or _PARTIAL.fullmatch(array)):
            stage.run(i, j, on=on)

    @property
    def current(self) -> StageView | None:
        """The stage that began last, unless it has ended."""
        return self.stages[-1] if self.stages and self.stages[-1].ended is None else None

    def headline(self, now: float) -> str:
        """Which run, and how it stands."""
        if self.outcome:
            state = self.outcome
        elif self.current is None:
            state = "between two stages"
        else:
            state = ", ".join(part for part in (self.current.name, self.current.time_left(now)) if part)
        return f"Run {self.run}: {state}"

    def maps(self) -> list[StageView]:
        """The latest stages that make tiles, at most ``MAPS``."""
        return [stage for stage in self.stages if stage.states is not None and stage.states.size]

    def document(self) -> dict[str, Any]:
        """The view as JSON-like values."""
        now = time.time()
        return {
            "run": self.run,
            "outcome": self.outcome,
            "stages": [stage.summary(now) for stage in self.stages],
            "maps": [
                {"stage": stage.name, "array": stage.array, "states": stage.matrix(64).tolist()}
                for stage in self.maps()
            ],
            "states": {int(state): name for state, name in STATE_NAMES.items()},
            "plan": self.plan,
            "memory": self.memory,
            "workers_lost": self.workers_lost,
            "messages": list(self.messages),
        }

    def _on_run_start(self, event: Event) -> None:
        self.clear()
        self.run = str(event["run"])

    def _on_run_end(self, event: Event) -> None:
        self.outcome = str(event["outcome"])
        if self.current is not None:
            self.current.ended = float(event["time"])

    def _on_plan(self, event: Event) -> None:
        self.plan = {key: event[key] for key in ("memory_budget", "projected_peak_bytes", "stages")}

    def _on_memory(self, event: Event) -> None:
        self.memory = {key: value for key, value in event.items() if key not in ("kind", "time", "stage")}

    def _on_stage_start(self, event: Event) -> None:
        self.stages.append(StageView.of(event))
        for old in self.maps()[:-MAPS]:
            old.forget()

    def _on_tile(self, event: Event) -> None:
        stage = self._stage(event)
        if stage is None:
            return
        stage.update(event)
        if event["array"] == stage.array:
            stage.finish(event["i"], event["j"])
        else:
            stage.run(event["i"], event["j"], on=False)

    def _on_chunk(self, event: Event) -> None:
        stage = self._stage(event)
        if stage is not None:
            stage.update(event)

    def _on_bad_tile(self, event: Event) -> None:
        self.messages.append(f"tile ({event['i']}, {event['j']}) of {event['array']} is damaged; made again")
        stage = self._stage(event)
        if stage is not None and event["array"] == stage.array:
            stage.spoil(event["i"], event["j"])

    def _on_stage_end(self, event: Event) -> None:
        stage = self._stage(event)
        if stage is not None:
            stage.ended = float(event["time"])
            stage.done = stage.total

    def _on_worker_lost(self, event: Event) -> None:
        self.workers_lost += 1
        self.messages.append(
            f"worker {event['worker']} was lost; its {len(event['tasks'])} tasks go to others"
        )
        stage = self.current
        for array, i, j in event["tasks"]:
            if stage is not None and array == stage.array:
                stage.run(i, j, on=False)
                stage.lost.add((i, j))

    def _on_log(self, event: Event) -> None:
        self.messages.append(str(event["message"]))

    def _stage(self, event: Event) -> StageView | None:
        named = (stage for stage in reversed(self.stages) if stage.name == event["stage"])
        return next(named, None)
