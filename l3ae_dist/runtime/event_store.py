"""Events of a run in its workspace: written while it runs, one file of each form when it ends.

While a run goes on, ``meta/events/NAME/000001.jsonl`` and so on hold what happened since the last of them;
a run that is killed leaves them. At the end they give way to ``NAME.jsonl`` and ``NAME.parquet``.
"""

import io
import json
import time
from collections.abc import Iterable
from typing import Any

from l3ae_dist.runtime.events import Event
from l3ae_dist.storage.workspace import Workspace

EVENTS = "meta/events"
# Seconds between two segments; a request to an object store takes longer than a file.
LOCAL_SECONDS, REMOTE_SECONDS = 4.0, 15.0
# Columns of the Parquet form; what has none of them is in ``more``, as JSON.
_FLOATS = ("time", "flops", "started", "seconds", "began", "computed", "staged", "loaded", "stalled")
_INTEGERS = ("i", "j", "done", "total", "bytes", "pid", "rows")
_STRINGS = ("kind", "stage", "array", "worker", "message", "run", "outcome")
_BOOLEANS = ("skipped",)


class EventStore:
    """Writes the events of one run below ``meta/events``.

    Parameters
    ----------
    workspace
        Where the run keeps everything else.
    run_id
        The run; the name is made of it and of the Unix time.
    """

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self._blobs = workspace.blobs
        self.name = f"{EVENTS}/{run_id}-{int(time.time())}"
        self.seconds = LOCAL_SECONDS if workspace.blobs.concurrency == 1 else REMOTE_SECONDS
        self._segments = 0

    def append(self, events: list[Event]) -> None:
        """Write one more segment."""
        self._segments += 1
        self._blobs.put(f"{self.name}/{self._segments:06}.jsonl", [json_lines(events)])

    def finish(self, events: list[Event]) -> None:
        """Write all events as one JSON Lines file and as Parquet, then delete the segments."""
        self._blobs.put(f"{self.name}.jsonl", [json_lines(events)])
        self._blobs.put(f"{self.name}.parquet", [parquet(events)])
        self._blobs.delete_prefix(self.name)


def json_lines(events: Iterable[Event]) -> bytes:
    """One JSON object a line."""
    return "".join(json.dumps(event, default=str) + "\n" for event in events).encode()


def parquet(events: list[Event]) -> bytes:
    """The same as a Parquet table, one row an event."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [(_FLOATS, pa.float64()), (_INTEGERS, pa.int64()), (_STRINGS, pa.string()),
             (_BOOLEANS, pa.bool_())]  # fmt: skip
    columns: dict[str, pa.Array] = {}
    for names, kind in kinds:
        for name in names:
            columns[name] = pa.array([event.get(name) for event in events], kind)
    rest = [{key: value for key, value in event.items() if key not in columns} for event in events]
    columns["more"] = pa.array([json.dumps(more, default=str) if more else None for more in rest])
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue()


class EventReader:
    """Reads the events of the latest run of a workspace while it goes on, or when it is over."""

    def __init__(self, workspace: Workspace) -> None:
        self._blobs = workspace.blobs
        self.name: str | None = None
        self._read = 0
        self._segments = 0
        self.finished = False

    def poll(self) -> tuple[bool, list[Event]]:
        """Whether another run has begun since the last call, and the events that are new."""
        names, segments = self._names()
        latest = max(names, key=lambda name: int(name.rpartition("-")[2]), default=None)
        another = latest != self.name
        if another:
            self.name, self._read, self._segments, self.finished = latest, 0, 0, False
        if latest is None or self.finished:
            return another, []
        self.finished = names[latest]
        found = self._lines(f"{latest}.jsonl")[self._read :] if self.finished else self._newer(segments)
        self._read += len(found)
        return another, found

    def _names(self) -> tuple[dict[str, bool], list[str]]:
        """Runs that have events, each with whether it is over; and all segments."""
        names: dict[str, bool] = {}
        segments = []
        for key in self._blobs.list(EVENTS):
            name, _, rest = key.removeprefix(f"{EVENTS}/").partition("/")
            if rest:
                names.setdefault(f"{EVENTS}/{name}", False)
                segments.append(key)
            elif name.endswith(".jsonl"):
                names[f"{EVENTS}/{name.removesuffix('.jsonl')}"] = True
        return names, segments

    def _newer(self, segments: list[str]) -> list[Event]:
        own = sorted(key for key in segments if key.startswith(f"{self.name}/"))
        found = [event for key in own[self._segments :] for event in self._lines(key)]
        self._segments = len(own)
        return found

    def _lines(self, key: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self._blobs.get(key) or b"").splitlines()]
