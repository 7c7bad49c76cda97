"""Stores the events of a run in its workspace: in segments while it runs, at its end as one file of a form.

While a run goes on, ``meta/events/NAME/000001.jsonl`` and so on hold what happened since the last of them;
a run that is killed leaves them. At the end they give way to ``NAME.jsonl`` and ``NAME.parquet``.
"""

import io
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from l3ae_dist.errors import DamagedDocumentError
from l3ae_dist.runtime.events import Event, event_of, events_of
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

_NAME = re.compile(r"(.+)-(\d+)")
# Seconds between two segments; a request to an object store takes longer than a file.
LOCAL_SECONDS, REMOTE_SECONDS = 4.0, 15.0
# Columns of the Parquet form; what has none of them is in ``more``, as JSON.
_FLOATS = ("time", "flops", "started", "seconds", "began", "computed", "staged", "loaded", "stalled")
_INTEGERS = ("i", "j", "done", "total", "bytes", "bytes_from_peers", "bytes_from_copies", "pid", "rows")
_STRINGS = ("kind", "stage", "array", "host", "worker", "message", "run", "outcome")
_BOOLEANS = ("skipped",)
# Rows read at once, and rows of a group that is written at once.
_BATCH, _GROUP = 4096, 65536


class EventStore:
    """Writes the events of one run below ``meta/events``.

    Parameters
    ----------
    workspace
        Where the run keeps everything else.
    run_id
        The run; ``name`` is made of it and of the Unix time in milliseconds.
    """

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self._blobs = workspace.blobs
        self.name = f"{run_id}-{int(1000 * time.time())}"
        self.seconds = LOCAL_SECONDS if workspace.blobs.concurrency == 1 else REMOTE_SECONDS
        self._segments = 0

    def append(self, events: list[Event]) -> None:
        """Write one more segment of events."""
        self._segments += 1
        self._blobs.put(layout.event_segment(self.name, self._segments), [json_lines(events)])

    def finish(self, events: list[Event]) -> None:
        """Write all events as one JSON Lines file and as Parquet, then delete the segments."""
        self._blobs.put(layout.events(self.name, "jsonl"), [json_lines(events)])
        self._blobs.put(layout.events(self.name, "parquet"), [parquet(events)])
        self._blobs.delete_prefix(layout.event_segments(self.name))


def json_lines(events: Iterable[Event]) -> bytes:
    """Return the events as JSON Lines: one object a line."""
    return "".join(json.dumps(event.plain(), default=str) + "\n" for event in events).encode()


def parquet(events: list[Event]) -> bytes:
    """Return the events as a Parquet table, one row an event."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [(_FLOATS, pa.float64()), (_INTEGERS, pa.int64()), (_STRINGS, pa.string()),
             (_BOOLEANS, pa.bool_()), (("more",), pa.string())]  # fmt: skip
    schema = pa.schema([(name, kind) for names, kind in kinds for name in names])
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for start in range(0, len(events), _GROUP):
            rows = [_row(event, schema.names) for event in events[start : start + _GROUP]]
            writer.write_table(pa.Table.from_pylist(rows, schema))
    return sink.getvalue()


def _row(event: Event, columns: list[str]) -> dict[str, object]:
    """Return an event as a row of the table; fields without a column are JSON in ``more``."""
    record = event.plain()
    more = {name: record.pop(name) for name in list(record) if name not in columns}
    return {**record, "more": json.dumps(more, default=str)} if more else record


@dataclass(frozen=True)
class Attempt:
    """Files with the events of one execution of a run; ``started`` is the Unix time of its start."""

    name: str
    run: str
    started: float
    finished: bool
    files: tuple[str, ...]


def attempts(workspace: Workspace) -> list[Attempt]:
    """List the executions that have left events, the latest last."""
    files: dict[str, list[str]] = {}
    for key in workspace.blobs.list(layout.EVENTS):
        files.setdefault(layout.execution_of(key), []).append(key)
    named = ((_NAME.fullmatch(name), keys) for name, keys in files.items())
    found = [
        Attempt(
            match[0],
            match[1],
            int(match[2]) / 1000,
            layout.events(match[0], "jsonl") in keys,
            tuple(sorted(keys)),
        )
        for match, keys in named
        if match
    ]
    return sorted(found, key=lambda attempt: (attempt.started, attempt.name))


def read_events(workspace: Workspace, attempt: Attempt) -> list[Event]:
    """Read all events of an execution, of its one file or of its segments."""
    whole = layout.events(attempt.name, "jsonl")
    keys = [whole] if attempt.finished else [key for key in attempt.files if layout.is_event_segment(key)]
    return [event for key in keys for event in _lines(workspace, key)]


def stream_events(workspace: Workspace, attempt: Attempt) -> Iterator[Event]:
    """Yield the events of an execution, read from its Parquet file in batches, so that few are in memory."""
    import pyarrow.parquet as pq

    data = workspace.blobs.get(layout.events(attempt.name, "parquet")) if attempt.finished else None
    if data is None:
        keys = [key for key in attempt.files if key.endswith(".jsonl")]
        for key in keys:
            yield from _lines(workspace, key)
        return
    for batch in pq.ParquetFile(io.BytesIO(data)).iter_batches(_BATCH):
        for row in batch.to_pylist():
            more = row.pop("more")
            event = event_of(row if more is None else {**row, **json.loads(more)})
            if event is not None:
                yield event


def _lines(workspace: Workspace, key: str) -> list[Event]:
    lines = (workspace.blobs.get(key) or b"").splitlines()
    try:
        return list(events_of(json.loads(line) for line in lines))
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedDocumentError(
            f"{key} of {workspace.url} is damaged (a line is no event); delete it: it tells only what "
            "happened in one run.",
            path=key,
        ) from error


class EventReader:
    """Reads the events of the latest run of a workspace while it goes on, or when it is over."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.name: str | None = None
        self.finished = False
        self._segments = 0

    def poll(self) -> tuple[bool, list[Event]]:
        """Return whether to begin anew, and the events that are new.

        A view begins anew for another run, and for the whole of one that is over.
        """
        found = attempts(self._workspace)
        if not found:
            return False, []
        latest = found[-1]
        anew = (latest.name, latest.finished) != (self.name, self.finished)
        if latest.name != self.name:
            self._segments = 0
        self.name, self.finished = latest.name, latest.finished
        if latest.finished:
            return anew, read_events(self._workspace, latest) if anew else []
        segments = [key for key in latest.files if layout.is_event_segment(key)]
        new = segments[self._segments :]
        self._segments = len(segments)
        return anew, [event for key in new for event in _lines(self._workspace, key)]
