"""Events of a run: one small frozen dataclass for each kind, and the one reader of what is stored of them.

An event is also a read-only mapping, of the record ``{"kind": "tile", "time": ...}`` that is kept of it: a
callback may ask for ``event["kind"]`` or ``event.get("message")``. What is None is left out of the record.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Self

from l3ae_dist.messages import redacted


class WorkerKey(NamedTuple):
    """Identifies a process of a run: processes of several hosts may have the same id."""

    host: str
    pid: int


class Record(Mapping[str, Any]):
    """Dataclass that is also a mapping of the names of its fields to their values, None left out."""

    __slots__ = ()

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Return the object of a stored record; names that it does not know are ignored."""
        known = (one.name for one in fields(cls))  # type: ignore[arg-type]  # subclasses are dataclasses
        return cls(**{name: record[name] for name in known if record.get(name) is not None})

    def plain(self) -> dict[str, object]:
        """Return the record as a dictionary that JSON can hold."""
        values = ((name, getattr(self, name)) for name in self._names())
        return {
            name: value.plain() if isinstance(value, Record) else value
            for name, value in values
            if value is not None
        }

    def __getitem__(self, key: str) -> Any:
        value = getattr(self, key, None) if key in self._names() else None
        if value is None:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names() if getattr(self, name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _names(self) -> Iterable[str]:
        # with those of the class: the kind of an event
        return self.__dataclass_fields__  # type: ignore[attr-defined, no-any-return]  # as above


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Event(Record):
    """Something that happened in a run at a Unix ``time`` in seconds; ``kind`` names its class in files."""

    kind: ClassVar[str] = ""
    time: float = field(default_factory=lambda: round(time.time(), 3))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunStart(Event):
    """A run began, with its configuration (without secrets), the versions of packages, and the machine."""

    kind = "run_start"
    run: str = ""
    workspace: str = ""
    config: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunEnd(Event):
    """A run ended: ``outcome`` is ``finished``, or ``failed:`` and the class of the error."""

    kind = "run_end"
    run: str = ""
    outcome: str = ""
    stage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlanMade(Event):
    """A run was planned: bytes that a worker may use, its projected peak, and that of each stage by name.

    ``work`` has the estimated seconds of each stage, of all its runs, of which there are ``repeats``; the
    progress of the run is weighted by them.
    """

    kind = "plan"
    memory_budget: int = 0
    projected_peak_bytes: int = 0
    stages: Mapping[str, int] = field(default_factory=dict)
    work: Mapping[str, float] = field(default_factory=dict)
    repeats: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Message(Event):
    """A run has something to say to people."""

    kind = "log"
    message: str = ""
    stage: str | None = None

    def __post_init__(self) -> None:
        # it is kept, and libraries quote URLs
        object.__setattr__(self, "message", redacted(self.message))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileMap(Record):
    """Grid of the tiles that a stage makes: its array, its shape in tiles, and the tiles that are there."""

    array: str = ""
    rows: int = 0
    columns: int = 0
    lower: bool = False
    """True when the tiles above the diagonal are absent."""
    done: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StageStart(Event):
    """A stage began; of its ``total`` units (tasks, row chunks) ``done`` were there already."""

    kind = "stage_start"
    stage: str = ""
    done: int = 0
    total: int = 0
    map: TileMap | None = None
    paths: Sequence[str] | None = None
    """Arrays that the stage writes, by their paths in the workspace."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Return the event of a stored record."""
        tiles = record.get("map")
        return super(StageStart, cls).of({**record, "map": None if tiles is None else TileMap.of(tiles)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileDone(Event):
    """A task of a stage wrote its tile, or found it written (``skipped``).

    ``flops`` and ``bytes`` (read from and written to the workspace) are those of the task, as are the bytes
    that it read from other workers. It ran for ``seconds`` from ``started``,
    read its first tile for ``loaded`` seconds from ``staged``, and computed for ``computed`` seconds from
    ``began``, of which the arithmetic waited ``stalled`` for further tiles; times are Unix times.
    """

    kind = "tile"
    stage: str = ""
    array: str = ""
    i: int = 0
    j: int = 0
    done: int = 0
    total: int = 0
    skipped: bool = False
    flops: float = 0.0
    bytes: int = 0
    bytes_from_peers: int = 0
    bytes_from_copies: int = 0
    started: float = 0.0
    seconds: float = 0.0
    began: float = 0.0
    computed: float = 0.0
    staged: float = 0.0
    loaded: float = 0.0
    stalled: float = 0.0
    pid: int = 0
    host: str = ""

    @property
    def worker(self) -> WorkerKey:
        """Process that ran the task."""
        return WorkerKey(self.host, self.pid)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChunkDone(Event):
    """A chunk of rows was embedded or read, or found complete (``skipped``), in ``seconds``."""

    kind = "chunk"
    stage: str = ""
    done: int = 0
    total: int = 0
    chunk: int = 0
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    skipped: bool = False
    device: str = ""
    gpus: Sequence[str] = ()
    pid: int = 0
    host: str = ""

    @property
    def worker(self) -> WorkerKey:
        """Process that made the chunk."""
        return WorkerKey(self.host, self.pid)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StageEnd(Event):
    """A stage ended: with the totals of its tiles, the rows that were embedded, or figures of the data."""

    kind = "stage_end"
    stage: str = ""
    seconds: float | None = None
    tasks: int | None = None
    written: int | None = None
    reused: int | None = None
    flops: float | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    bytes_from_peers: int | None = None
    bytes_from_copies: int | None = None
    unwritten: int | None = None
    rows: int | None = None
    data: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemorySample(Event):
    """The memory of the processes of a run was measured on ``host``: bytes by group."""

    kind = "memory"
    worker_max: int = 0
    workers_sum: int = 0
    scheduler: int = 0
    client: int = 0
    ray: int = 0
    host: str = ""
    stage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkerLost(Event):
    """The scheduler lost a worker, which was to make the chunks ``tasks``: array, row and column of each."""

    kind = "worker_lost"
    worker: str = ""
    tasks: Sequence[tuple[str, int, int]] = ()
    stage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BadTile(Event):
    """A stored tile was found damaged; it is made again."""

    kind = "bad_tile"
    stage: str = ""
    array: str = ""
    i: int = 0
    j: int = 0


OnEvent = Callable[[Event], None]
KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        *(RunStart, RunEnd, PlanMade, StageStart, StageEnd, TileDone, ChunkDone),
        *(BadTile, WorkerLost, MemorySample, Message),
    )
}


def event_of(record: Mapping[str, Any]) -> Event | None:
    """Return the event of a stored record; None for a kind that this version does not know.

    >>> event_of({"kind": "log", "time": 1.0, "message": "hello", "colour": "red"})
    Message(time=1.0, message='hello', stage=None)
    """
    cls = KINDS.get(str(record.get("kind")))
    return None if cls is None else cls.of(record)


def events_of(records: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
    """Yield the events of stored records, without those of unknown kinds."""
    return (event for record in records if (event := event_of(record)) is not None)


def ignore(event: Event) -> None:
    """Drop an event that nobody asked for."""
