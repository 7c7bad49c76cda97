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
import numpy.typing as npt

from l3ae_dist.runtime.stage_progress import StageProgress

Event = dict[str, Any]
MESSAGES = 6


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

    ``rows`` and ``columns`` are those of the chunk grid of ``array``; ``lower`` leaves out what is above the
    diagonal.
    """

    array: str = ""
    rows_of_tiles: int = 0
    columns_of_tiles: int = 0
    lower: bool = False
    tiles: dict[tuple[int, int], TileState] = field(default_factory=dict)
    lost: set[tuple[int, int]] = field(default_factory=set)
    ended: float | None = None

    @classmethod
    def of(cls, event: Event) -> "StageView":
        """The view of a stage that starts."""
        found = event.get("map") or {"array": "", "rows": 0, "columns": 0, "lower": False, "done": []}
        stage = cls(
            str(event["stage"]),
            done=int(event.get("done", 0)),
            total=int(event.get("total", 0)),
            already=int(event.get("done", 0)),
            started=float(event["time"]),
            array=found["array"],
            rows_of_tiles=found["rows"],
            columns_of_tiles=found["columns"],
            lower=found["lower"],
        )
        stage.tiles = dict.fromkeys(((i, j) for i, j in found["done"]), TileState.DONE)
        return stage

    def finish(self, i: int, j: int) -> None:
        """A tile is there; one that was bad, or held by a worker that was lost, was computed again."""
        again = (i, j) in self.lost or self.tiles.get((i, j)) in (TileState.BAD, TileState.AGAIN)
        self.tiles[i, j] = TileState.AGAIN if again else TileState.DONE
        self.lost.discard((i, j))

    def spoil(self, i: int, j: int) -> None:
        """A tile is damaged."""
        self.tiles[i, j] = TileState.BAD

    def run(self, i: int, j: int, *, on: bool) -> None:
        """A worker takes a tile, or gives it up."""
        state = self.tiles.get((i, j), TileState.PENDING)
        if on and state == TileState.PENDING:
            self.tiles[i, j] = TileState.RUNNING
        elif not on and state == TileState.RUNNING:
            del self.tiles[i, j]

    def matrix(self, most: int = 512) -> npt.NDArray[np.uint8]:
        """States, (rows, columns) uint8; blocks of tiles where there are more than ``most`` a side."""
        rows, columns = self.rows_of_tiles, self.columns_of_tiles
        states = np.full((rows, columns), TileState.PENDING, np.uint8)
        if self.lower:
            states[np.triu_indices(rows, 1, columns)] = TileState.ABSENT
        for (i, j), state in list(self.tiles.items()):
            if i < rows and j < columns:
                states[i, j] = state
        step = -(-max(rows, columns) // most) if max(rows, columns) > most else 1
        if step == 1:
            return states
        padded = np.pad(states, [(0, -rows % step), (0, -columns % step)])
        blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
        return np.asarray(blocks.max(axis=(1, 3)), np.uint8)

    def summary(self, now: float) -> dict[str, Any]:
        """Figures as plain values."""
        end = self.ended or now
        seconds = max(end - self.started, 1e-9)
        counts = np.bincount(self.matrix().ravel(), minlength=len(TileState))
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

    def maps(self, most: int = 4) -> list[StageView]:
        """The latest stages that make tiles."""
        return [stage for stage in self.stages if stage.rows_of_tiles and stage.columns_of_tiles][-most:]

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
