"""The latest minutes of a run: tasks of each worker, memory and traffic, for the lines of the page."""

from collections import deque
from dataclasses import dataclass, field

from l3ae_dist.runtime.events import MemorySample, TileDone, WorkerKey

# Tasks and samples that are kept, and the seconds whose bytes are added up.
_TASKS, _SAMPLES, _SECONDS = 600, 600, 2.0


@dataclass(frozen=True, slots=True)
class TaskSpan:
    """A task of a worker: number of the worker, stage, tile, and Unix times."""

    worker: int
    stage: str
    tile: str
    started: float
    ended: float


@dataclass
class RunHistory:
    """Bounded history of a run."""

    workers: dict[WorkerKey, int] = field(default_factory=dict)
    """Processes that made tiles, numbered by their first."""
    tasks: deque[TaskSpan] = field(default_factory=lambda: deque(maxlen=_TASKS))
    memory: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    """Unix times, and bytes of the largest worker."""
    traffic: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    """Ends of spans of two seconds, and the bytes a second that were moved in them."""
    _moved: float = 0.0
    _until: float = 0.0

    def worker(self, event: TileDone) -> int:
        """Return the number of the worker that made a tile, from 1."""
        return self.workers.setdefault(event.worker, len(self.workers) + 1)

    def take_tile(self, event: TileDone) -> None:
        """Keep the task of a tile, and count its bytes."""
        if event.skipped:
            return
        span = (event.started or event.time - event.seconds, event.started + event.seconds or event.time)
        self.tasks.append(TaskSpan(self.worker(event), event.stage, f"({event.i}, {event.j})", *span))
        while self._until and event.time >= self._until:
            self.traffic.append((self._until, self._moved / _SECONDS))
            self._moved, self._until = 0.0, self._until + _SECONDS
            if event.time - self._until > _SECONDS * _SAMPLES:
                self._until = event.time
        self._until = self._until or event.time + _SECONDS
        self._moved += event.bytes + event.bytes_from_peers + event.bytes_from_copies

    def take_memory(self, event: MemorySample) -> None:
        """Keep a sample of the memory."""
        self.memory.append((event.time, event.worker_max))
