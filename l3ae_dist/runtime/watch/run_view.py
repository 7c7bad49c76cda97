"""The state of a run for those who watch it: its stages and their tiles, from its events alone.

The dashboard page, which lives in the scheduler, and ``l3ae-dist watch``, which reads the workspace, show
the same view.
"""

import re
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum

import numpy as np

from l3ae_dist.linalg.arrays import Array
from l3ae_dist.runtime.events import (
    BadTile,
    ChunkDone,
    Event,
    MemorySample,
    Message,
    PlanMade,
    RunEnd,
    RunStart,
    StageEnd,
    StageStart,
    TileDone,
    WorkerLost,
)
from l3ae_dist.runtime.watch.run_history import RunHistory
from l3ae_dist.runtime.watch.run_progress import RunProgress, run_progress
from l3ae_dist.runtime.watch.stage_progress import StageProgress, clock
from l3ae_dist.storage.stages import Stage

MESSAGES = 6
# Sides of maps whose tiles are told one by one.
_MOST_TOLD = 256
MAPS = 4
"""Number of the latest stages whose tiles are kept."""


class TileState(IntEnum):
    """State of one tile; a block of several tiles shows the largest of theirs."""

    ABSENT = 0
    DONE = 1
    PENDING = 2
    AGAIN = 3
    RUNNING = 4
    BAD = 5


TIER_NAMES = ("workspace or memory", "other workers", "a local copy")
"""Places that a task read its tiles from, by their number."""
STATE_NAMES = {
    TileState.PENDING: "pending",
    TileState.RUNNING: "running",
    TileState.DONE: "done",
    TileState.AGAIN: "recomputed",
    TileState.BAD: "bad",
}


@dataclass(frozen=True, slots=True)
class StageSummary:
    """Figures of a stage for a table: seconds, bytes and bytes per second as numbers, the rest as text.

    ``bytes`` are those of the workspace; ``bytes_from_peers`` were read from other workers instead, and
    ``bytes_from_copies`` from copies on local disks.
    ``tiles`` counts the tiles by the names of their states.
    """

    stage: str
    array: str
    done: int
    total: int
    seconds: float
    rate: str
    bytes_per_second: int
    bytes: int
    bytes_from_peers_per_second: int
    bytes_from_peers: int
    bytes_from_copies_per_second: int
    bytes_from_copies: int
    left: str
    running: bool
    tiles: dict[str, int]


@dataclass
class StageView(StageProgress):
    """Progress of one stage, and the map of the tiles that it makes.

    ``states`` is that of each chunk of ``array``, (rows, columns) uint8; None for a stage without tiles, or
    whose map is not shown any more, when ``counts`` says how many there were of each state. ``told`` has the
    number of the worker, the milliseconds and the tier of each tile that was made, (3, rows, columns) int32;
    None for a map of very many tiles.
    """

    array: str = ""
    states: Array | None = None
    counts: Array | None = None
    told: Array | None = None
    version: int = 0
    """Number of changes of the map."""
    lost: set[tuple[int, int]] = field(default_factory=set)

    @classmethod
    def of(cls, event: StageStart) -> "StageView":
        """Return the view of a stage that starts."""
        stage = cls(event.stage, done=event.done, total=event.total, already=event.done, started=event.time)
        tiles = event.map
        if tiles is not None:
            stage.array = tiles.array
            shape = (tiles.rows, tiles.columns)
            stage.states = np.full(shape, TileState.PENDING, np.uint8)
            stage.told = np.zeros((3, *shape), np.int32) if max(shape) <= _MOST_TOLD else None
            if tiles.lower:
                stage.states[np.triu_indices(tiles.rows, 1, tiles.columns)] = TileState.ABSENT
            for i, j in tiles.done:
                stage.states[i, j] = TileState.DONE
        return stage

    def finish(self, event: TileDone, worker: int) -> None:
        """Mark a tile as there, or as recomputed when it was bad or held by a worker that was lost.

        Parameters
        ----------
        event, worker
            The tile, and the number of the worker that made it.
        """
        i, j = event.i, event.j
        if self.states is None:
            return
        self.version += 1
        if self.told is not None and not event.skipped:
            tier = 1 if event.bytes_from_peers else 2 if event.bytes_from_copies else 0
            self.told[:, i, j] = worker, round(1000 * event.seconds), tier
        again = (i, j) in self.lost or self.states[i, j] in (TileState.BAD, TileState.AGAIN)
        self.states[i, j] = TileState.AGAIN if again else TileState.DONE
        self.lost.discard((i, j))

    def mark_bad(self, i: int, j: int) -> None:
        """Mark a tile as damaged."""
        if self.states is not None:
            self.version += 1
            self.states[i, j] = TileState.BAD

    def mark_running(self, i: int, j: int, *, on: bool) -> None:
        """Mark a tile that a worker takes or gives up.

        Parameters
        ----------
        i, j
            Row and column of the tile.
        on
            True when the worker takes it, False when it gives it up.
        """
        before, after = (TileState.PENDING, TileState.RUNNING)[:: 1 if on else -1]
        if self.states is None or i >= self.states.shape[0] or j >= self.states.shape[1]:
            return  # another run of the same scheduler may use the name
        if self.states[i, j] == before:
            self.version += 1
            self.states[i, j] = after

    def forget(self) -> None:
        """Drop the map of tiles; its counts stay."""
        self.counts, self.states, self.told = self.tile_counts(), None, None
        self.lost.clear()

    def tile_counts(self) -> Array:
        """Count the tiles in each state, by the values of :class:`TileState`."""
        if self.counts is not None:
            return self.counts
        states = np.zeros(0, np.uint8) if self.states is None else self.states
        return np.bincount(states.ravel(), minlength=len(TileState))

    def matrix(self, most: int = 512) -> Array:
        """Return the states, (rows, columns) uint8: of blocks of tiles where a side has over ``most``."""
        states = np.zeros((0, 0), np.uint8) if self.states is None else self.states
        step = -(-max(states.shape) // most) if max(states.shape) > most else 1
        if step == 1:
            return states.copy()
        padded = np.pad(states, [(0, -size % step) for size in states.shape])
        rows, columns = padded.shape
        blocks = padded.reshape(rows // step, step, columns // step, step)
        return np.asarray(blocks.max(axis=(1, 3)))

    def summary(self, now: float) -> StageSummary:
        """Return the figures of the stage at the Unix time ``now``."""
        end = self.ended or now
        seconds = max(end - self.started, 1e-9)
        counts = self.tile_counts()
        return StageSummary(
            stage=self.name,
            array=self.array,
            done=self.done,
            total=self.total,
            seconds=round(seconds, 1),
            rate=self.rate(end),
            bytes_per_second=round(self.bytes / seconds),
            bytes=round(self.bytes),
            bytes_from_peers_per_second=round(self.bytes_from_peers / seconds),
            bytes_from_peers=round(self.bytes_from_peers),
            bytes_from_copies_per_second=round(self.bytes_from_copies / seconds),
            bytes_from_copies=round(self.bytes_from_copies),
            left="" if self.ended else self.time_left(now),
            running=self.ended is None,
            tiles={name: int(counts[state]) for state, name in STATE_NAMES.items()},
        )


# Names of the document, which ``l3ae-dist watch --json`` prints.
_PLAN = ("memory_budget", "projected_peak_bytes", "stages")
_MEMORY = ("worker_max", "workers_sum", "scheduler", "client", "ray")
_PARTIAL = re.compile(r"partial\d+")


def _plain(event: Event | None, names: tuple[str, ...]) -> dict[str, object]:
    return {} if event is None else {name: event[name] for name in names}


class RunView:
    """State of a run, from its events taken in order."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything: another run begins."""
        self.run = ""
        self.stages: list[StageView] = []
        self.plan: PlanMade | None = None
        self.memory: MemorySample | None = None
        self.history = RunHistory()
        self.messages: deque[str] = deque(maxlen=MESSAGES)
        self.hosts: Counter[str] = Counter()
        """Tiles made on each host."""
        self.workers_lost = 0
        self.outcome = ""
        self.workspace = ""
        self._most_done = 0.0
        self.started = self.seen = 0.0

    def take_all(self, events: Iterable[Event]) -> None:
        """Take several events in order."""
        for event in events:
            self.take(event)

    def take(self, event: Event) -> None:
        """Bring the view up to date with one event."""
        self.seen = event.time
        match event:
            case RunStart():
                self.clear()
                self.run, self.workspace = event.run, event.workspace
                self.started = self.seen = event.time
            case RunEnd():
                self.outcome = event.outcome
                if self.current is not None:
                    self.current.ended = event.time
            case PlanMade():
                self.plan = event
            case MemorySample():
                self.memory = event
                self.history.take_memory(event)
            case Message():
                self.messages.append(event.message)
            case WorkerLost():
                self._lose(event)
            case StageStart():
                self.stages.append(StageView.of(event))
                for old in self.maps()[:-MAPS]:
                    old.forget()
            case _:
                self._take_of_stage(event)

    def mark_running(self, array: str, i: int, j: int, *, on: bool) -> None:
        """Mark a tile whose task a worker takes or gives up; tiles of other arrays are ignored.

        Parameters
        ----------
        array, i, j
            Array, row and column of the tile.
        on
            True when the worker takes the task, False when it gives it up.
        """
        stage = self.current
        if stage is not None and (array == stage.array or _PARTIAL.fullmatch(array)):
            stage.mark_running(i, j, on=on)

    @property
    def current(self) -> StageView | None:
        """Stage that began last, unless it has ended."""
        return self.stages[-1] if self.stages and self.stages[-1].ended is None else None

    def headline(self, now: float) -> str:
        """Return a line for people: the run, and how far it is."""
        if self.outcome:
            return f"Run {self.run}: {self.outcome} after {clock(self.seen - self.started)}"
        progress, stage = self.progress(now), self.current
        parts = [] if progress is None else [str(progress)]
        if stage is None:
            parts.append("between two stages")
        else:
            left = stage.time_left(now)
            parts.append(f"now {self.stage_name(stage)}" + (f" ({left})" if left else ""))
        return f"Run {self.run}: {'; '.join(parts)}"

    def progress(self, now: float) -> RunProgress | None:
        """Return how much of the planned work is done at the Unix time ``now``; None before the plan.

        What is done never becomes less, whatever a stage is found to need.
        """
        found = run_progress(self.plan, self.stages, now)
        if found is not None:
            self._most_done = max(self._most_done, found.done)
            found = replace(found, done=self._most_done)
        return found

    def stage_name(self, stage: StageView) -> str:
        """Return the name of a stage, with its number where the run has several of the name.

        The stages that assemble a model have none: each has several parts of one name.
        """
        repeats = 1
        if self.plan is not None and stage.name not in (Stage.ASSEMBLE, Stage.PRODUCT):
            repeats = self.plan.repeats.get(stage.name, 1)
        number = sum(one.name == stage.name for one in self.stages)
        return stage.name if repeats == 1 or number > repeats else f"{stage.name} {number} of {repeats}"

    def maps(self) -> list[StageView]:
        """Return the latest stages that make tiles, at most ``MAPS``."""
        return [stage for stage in self.stages if stage.states is not None and stage.states.size]

    def document(self) -> dict[str, object]:
        """Return the view as values that JSON can hold."""
        now = time.time() if not self.outcome else self.seen
        progress = None if self.outcome else self.progress(now)
        return {
            "run": self.run,
            "outcome": self.outcome,
            "headline": self.headline(now) if self.run else "",
            "progress": None if progress is None else asdict(progress),
            "stages": [asdict(stage.summary(now)) for stage in self.stages],
            "maps": [
                {"stage": stage.name, "array": stage.array, "states": stage.matrix(64).tolist()}
                for stage in self.maps()
            ],
            "states": {int(state): name for state, name in STATE_NAMES.items()},
            "plan": _plain(self.plan, _PLAN),
            "memory": _plain(self.memory, _MEMORY),
            "workers_lost": self.workers_lost,
            "hosts": dict(self.hosts),
            "messages": list(self.messages),
        }

    def _take_of_stage(self, event: Event) -> None:
        """Take an event of a stage that has begun."""
        stage = next((one for one in reversed(self.stages) if one.name == event.get("stage")), None)
        if isinstance(event, BadTile):
            self.messages.append(f"tile ({event.i}, {event.j}) of {event.array} is damaged; made again")
        if stage is None:
            return
        match event:
            case TileDone(i=i, j=j):
                stage.update(event)
                self.hosts[event.host] += not event.skipped
                self.history.take_tile(event)
                if event.array == stage.array:
                    stage.finish(event, 0 if event.skipped else self.history.worker(event))
                else:
                    stage.mark_running(i, j, on=False)
            case ChunkDone():
                stage.update(event)
            case BadTile(array=stage.array, i=i, j=j):
                stage.mark_bad(i, j)
            case StageEnd():
                stage.ended, stage.done = event.time, stage.total

    def _lose(self, event: WorkerLost) -> None:
        """Count a lost worker; the tiles that it was to make are pending again."""
        self.workers_lost += 1
        self.messages.append(f"worker {event.worker} was lost; its {len(event.tasks)} tasks go to others")
        stage = self.current
        for array, i, j in event.tasks:
            if stage is not None and array == stage.array:
                stage.mark_running(i, j, on=False)
                stage.lost.add((i, j))
