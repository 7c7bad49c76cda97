"""The events of one execution, added up as they are read: totals of stages, bars of a timeline, memory."""

from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from l3ae_dist.linalg.arrays import Floats
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
    WorkerKey,
    WorkerLost,
)
from l3ae_dist.runtime.watch.task_times import TaskTimes, worker_seconds
from l3ae_dist.storage.stages import Stage

# Bars of a timeline, workers that have a lane of their own, and points of a curve over time.
MOST_BARS = 4000
MOST_LANES = 24
MOST_POINTS = 600
_MOST_MESSAGES = 60


@dataclass
class StageTotals:
    """All passes of one stage together; a grid factors once for each ridge.

    ``seconds`` is wall time, ``doing`` seconds of all workers by what they did, ``worker_peak`` the largest
    worker in the samples taken meanwhile.
    """

    name: str
    passes: int = 0
    seconds: float = 0.0
    tasks: int = 0
    written: int = 0
    reused: int = 0
    flops: float = 0.0
    bytes_read: float = 0.0
    bytes_written: float = 0.0
    bytes_from_peers: float = 0.0
    bytes_from_copies: float = 0.0
    rows: int = 0
    worker_peak: int = 0
    doing: dict[str, float] = field(default_factory=dict)
    spans: list[tuple[float, float]] = field(default_factory=list)


class Trace:
    """Sums over the events of one execution: holds 16 bytes of each task, and the tasks of one stage."""

    def __init__(self) -> None:
        self.start: RunStart | None = None
        self.plan: PlanMade | None = None
        self.outcome = ""
        self.first = self.last = 0.0
        self.stages: dict[str, StageTotals] = {}
        self.messages: list[str] = []
        self.memory: list[tuple[float, int, int]] = []
        """Unix time, bytes of the largest worker and of all Ray processes."""
        self.lost: list[str] = []
        self.bad: dict[str, int] = defaultdict(int)
        self.bars: dict[tuple[WorkerKey, str], array[float]] = defaultdict(lambda: array("d"))
        """Starts and ends of the tasks of each (worker, stage), one after the other."""
        self._open: dict[str, float] = {}
        self._tasks: list[TaskTimes] = []
        self._partial: dict[str, int] = defaultdict(int)

    @classmethod
    def of(cls, events: Iterable[Event]) -> "Trace":
        """Add up the events of one execution, given in order."""
        trace = cls()
        for event in events:
            trace.take(event)
        for stage in list(trace._open):
            trace._close(StageEnd(stage=stage, time=trace.last))
        return trace

    @property
    def workers(self) -> list[WorkerKey]:
        """Processes that made something, in the order of their first task."""
        starts = ((values[0], worker) for (worker, _), values in self.bars.items())
        return list(dict.fromkeys(worker for _, worker in sorted(starts)))

    def lane_names(self) -> dict[WorkerKey, str]:
        """Name each process: embedding actors and workers, each numbered by their first task.

        With the host where there are several.
        """
        counts: dict[str, int] = defaultdict(int)
        names, hosts = {}, {worker.host for worker in self.workers}
        for worker in self.workers:
            kind = "actor" if (worker, Stage.EMBED) in self.bars else "worker"
            counts[kind] += 1
            names[worker] = f"{kind} {counts[kind]}" + (f" on {worker.host}" if len(hosts) > 1 else "")
        return names

    def take(self, event: Event) -> None:
        """Take one event."""
        self.last = event.time
        self.first = self.first or self.last
        match event:
            case RunStart():
                self.start = event
            case RunEnd():
                self.outcome = event.outcome
            case PlanMade():
                self.plan = event
            case Message():
                if len(self.messages) < _MOST_MESSAGES:
                    self.messages.append(event.message)
            case WorkerLost():
                self.lost.append(event.worker)
            case BadTile():
                self.bad[event.array] += 1
            case MemorySample():
                self._sample(event)
            case StageStart():
                self._open_stage(event)
            case StageEnd():
                self._close(event)
            case TileDone(skipped=False):
                self._add_tile(event)
            case ChunkDone(skipped=False):
                self._add_chunk(event)

    def merged_bars(self, most: int = MOST_BARS) -> dict[tuple[WorkerKey, str], Floats]:
        """Return starts and ends, (bars, 2), of each worker and stage; bars that look like one are joined.

        At most about ``most`` bars of at most ``MOST_LANES`` workers.
        """
        lanes = set(self.workers[:MOST_LANES])
        resolution = max(self.last - self.first, 1e-9) * max(len(lanes), 1) / most
        return {
            key: _joined(np.asarray(values).reshape(-1, 2), resolution)
            for key, values in self.bars.items()
            if key[0] in lanes
        }

    def _totals(self, stage: str) -> StageTotals:
        return self.stages.setdefault(stage, StageTotals(stage))

    def _sample(self, event: MemorySample) -> None:
        self.memory.append((event.time, event.worker_max, event.ray))
        if len(self.memory) > 2 * MOST_POINTS:
            self.memory = _thinned(self.memory)
        if event.stage:
            totals = self._totals(event.stage)
            totals.worker_peak = max(totals.worker_peak, event.worker_max)

    def _open_stage(self, event: StageStart) -> None:
        if event.stage in self._open:  # it was reopened, or its end was lost
            self._close(StageEnd(stage=event.stage, time=event.time))
        self._open[event.stage] = event.time
        self._totals(event.stage).passes += 1

    def _add_tile(self, event: TileDone) -> None:
        task = TaskTimes.of(event)
        bar = (task.began, task.began + task.computed) if task.computed else (task.started, task.ended)
        self.bars[event.worker, event.stage].extend(bar)
        if task.computed:
            self._tasks.append(task)
        self._partial[event.stage] += 1

    def _add_chunk(self, event: ChunkDone) -> None:
        self.bars[event.worker, event.stage].extend((event.time - event.seconds, event.time))
        totals = self._totals(event.stage)
        totals.rows += event.rows
        totals.bytes_written += event.bytes
        self._partial[event.stage] += 1

    def _close(self, event: StageEnd) -> None:
        """Add one pass of a stage; where its end was lost, what its tasks say."""
        totals, began = self._totals(event.stage), self._open.pop(event.stage, event.time)
        totals.spans.append((began, event.time))
        totals.seconds += event.time - began if event.seconds is None else event.seconds
        written = self._partial.pop(event.stage, 0)
        totals.written += written if event.written is None else event.written
        totals.tasks += written if event.tasks is None else event.tasks
        totals.reused += event.reused or 0
        totals.flops += event.flops or 0.0
        totals.bytes_read += event.bytes_read or 0.0
        totals.bytes_written += event.bytes_written or 0.0
        totals.bytes_from_peers += event.bytes_from_peers or 0.0
        totals.bytes_from_copies += event.bytes_from_copies or 0.0
        if self._tasks:
            for kind, seconds in worker_seconds(self._tasks).items():
                totals.doing[kind] = totals.doing.get(kind, 0.0) + seconds
            self._tasks.clear()


def _joined(spans: Floats, resolution: float) -> Floats:
    """Sort (spans, 2) starts and ends, and join those between which there is less than ``resolution``."""
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    ends = np.maximum.accumulate(spans[:, 1])
    fresh = np.flatnonzero(np.append(True, spans[1:, 0] > ends[:-1] + resolution))
    return np.column_stack([spans[fresh, 0], ends[np.append(fresh[1:], len(spans)) - 1]])


def _thinned(samples: list[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
    """Keep the larger of every two samples that follow each other."""
    pairs = zip(samples[::2], samples[1::2], strict=False)
    return [max(pair, key=lambda sample: sample[1]) for pair in pairs]
