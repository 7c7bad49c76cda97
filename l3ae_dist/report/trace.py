"""The events of one execution, added up as they are read: totals of stages, bars of a timeline, memory."""

from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from l3ae_dist.linalg.arrays import Floats
from l3ae_dist.runtime.events import Event
from l3ae_dist.runtime.watch.task_times import TaskTimes, worker_seconds

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
    rows: int = 0
    worker_peak: int = 0
    doing: dict[str, float] = field(default_factory=dict)
    spans: list[tuple[float, float]] = field(default_factory=list)


class Trace:
    """Takes the events of one execution in order; holds 16 bytes of each task, and one stage's tasks."""

    def __init__(self) -> None:
        self.start: Event = {}
        self.plan: Event = {}
        self.outcome = ""
        self.first = self.last = 0.0
        self.stages: dict[str, StageTotals] = {}
        self.messages: list[str] = []
        self.memory: list[tuple[float, int, int]] = []
        """Unix time, bytes of the largest worker and of all Ray processes."""
        self.lost: list[str] = []
        self.bad: dict[str, int] = defaultdict(int)
        self.bars: dict[tuple[str, str], array[float]] = defaultdict(lambda: array("d"))
        """Starts and ends of the tasks of each (worker, stage), one after the other."""
        self._open: dict[str, float] = {}
        self._tasks: list[TaskTimes] = []
        self._partial: dict[str, int] = defaultdict(int)

    @classmethod
    def of(cls, events: Iterable[Event]) -> "Trace":
        """Everything that the events tell."""
        trace = cls()
        for event in events:
            trace.take(event)
        for stage in list(trace._open):
            trace._close(stage, trace.last, {})
        return trace

    @property
    def workers(self) -> list[str]:
        """Names of the processes that made something, in the order of their first task."""
        found = ((values[0], lane) for (lane, _), values in self.bars.items())
        return list(dict.fromkeys(lane for _, lane in sorted(found)))

    def lane_names(self) -> dict[str, str]:
        """What to call each process: embedding actors and workers, each numbered by their first task."""
        counts: dict[str, int] = defaultdict(int)
        found = {}
        for pid in self.workers:
            kind = "actor" if (pid, "embed") in self.bars else "worker"
            counts[kind] += 1
            found[pid] = f"{kind} {counts[kind]}"
        return found

    def take(self, event: Event) -> None:
        """Take one event; kinds that are not known are ignored."""
        self.last = float(event["time"])
        self.first = self.first or self.last
        handler = getattr(self, f"_on_{event['kind']}", None)
        if handler is not None:
            handler(event)

    def merged_bars(self, most: int = MOST_BARS) -> dict[tuple[str, str], Floats]:
        """(bars, 2) starts and ends of each worker and stage, joined where they are too close to be seen.

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

    def _on_run_start(self, event: Event) -> None:
        self.start = event

    def _on_run_end(self, event: Event) -> None:
        self.outcome = str(event["outcome"])

    def _on_plan(self, event: Event) -> None:
        self.plan = event

    def _on_log(self, event: Event) -> None:
        if len(self.messages) < _MOST_MESSAGES:
            self.messages.append(str(event["message"]))

    def _on_worker_lost(self, event: Event) -> None:
        self.lost.append(str(event["worker"]))

    def _on_bad_tile(self, event: Event) -> None:
        self.bad[str(event["array"])] += 1

    def _on_memory(self, event: Event) -> None:
        largest = int(event["worker_max"])
        self.memory.append((float(event["time"]), largest, int(event["ray"])))
        if len(self.memory) > 2 * MOST_POINTS:
            self.memory = _thinned(self.memory)
        if event["stage"]:
            totals = self._totals(str(event["stage"]))
            totals.worker_peak = max(totals.worker_peak, largest)

    def _on_stage_start(self, event: Event) -> None:
        stage = str(event["stage"])
        if stage in self._open:  # it was reopened, or its end was lost
            self._close(stage, self.last, {})
        self._open[stage] = self.last
        self._totals(stage).passes += 1

    def _on_stage_end(self, event: Event) -> None:
        self._close(str(event["stage"]), self.last, event)

    def _on_tile(self, event: Event) -> None:
        if event["skipped"]:
            return
        task = TaskTimes.of(event)
        stage, lane = str(event["stage"]), str(task.pid)
        bar = (task.began, task.began + task.computed) if task.computed else (task.started, task.ended)
        self.bars[lane, stage].extend(bar)
        if task.computed:
            self._tasks.append(task)
        self._partial[stage] += 1

    def _on_chunk(self, event: Event) -> None:
        stage = str(event["stage"])
        if event.get("skipped"):
            return
        self.bars[f"{event['pid']}", stage].extend((self.last - float(event["seconds"]), self.last))
        totals = self._totals(stage)
        totals.rows += int(event["rows"])
        totals.bytes_written += float(event.get("bytes", 0))
        self._partial[stage] += 1

    def _close(self, stage: str, ended: float, event: Event) -> None:
        """Add one pass of a stage; without its event, what the tasks say."""
        totals, began = self._totals(stage), self._open.pop(stage, ended)
        totals.spans.append((began, ended))
        totals.seconds += float(event.get("seconds", ended - began))
        written = self._partial.pop(stage, 0)
        totals.written += int(event.get("written", written))
        totals.tasks += int(event.get("tasks", written))
        totals.reused += int(event.get("reused", 0))
        for name in ("flops", "bytes_read", "bytes_written"):
            setattr(totals, name, getattr(totals, name) + float(event.get(name, 0.0)))
        if self._tasks:
            for kind, seconds in worker_seconds(self._tasks).items():
                totals.doing[kind] = totals.doing.get(kind, 0.0) + seconds
            self._tasks.clear()


def _joined(spans: Floats, resolution: float) -> Floats:
    """Floats in order, those joined between which there is less than ``resolution``."""
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    ends = np.maximum.accumulate(spans[:, 1])
    fresh = np.flatnonzero(np.append(True, spans[1:, 0] > ends[:-1] + resolution))
    return np.column_stack([spans[fresh, 0], ends[np.append(fresh[1:], len(spans)) - 1]])


def _thinned(samples: list[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
    """The larger of every two samples that follow each other."""
    pairs = zip(samples[::2], samples[1::2], strict=False)
    return [max(pair, key=lambda sample: sample[1]) for pair in pairs]
