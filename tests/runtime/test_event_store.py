"""Events of a run in its workspace: while it runs, when it is over, and when it was killed."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from l3ae_dist.config.load import make_config
from l3ae_dist.errors import L3AEError
from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime.event_log import EventLog
from l3ae_dist.runtime.event_store import (
    EventReader,
    EventStore,
    attempts,
    json_lines,
    read_events,
    stream_events,
)
from l3ae_dist.runtime.events import MemorySample, Message, RunEnd, StageStart, TileDone, event_of
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace


def event(k, **more):
    return Message(time=float(k), message=f"message {k}", **more)


@pytest.fixture
def workspace(tmp_path):
    return Workspace.create(tmp_path / "w")


def test_a_reader_sees_each_event_once_while_the_run_goes_on_and_when_it_is_over(workspace):
    reader, store = EventReader(workspace), EventStore(workspace, "run")
    assert reader.poll() == (False, [])
    events = [event(k) for k in range(7)]
    store.append(events[:3])
    assert reader.poll() == (True, events[:3])
    assert reader.poll() == (False, [])
    store.append(events[3:4])
    store.append(events[4:5])
    assert reader.poll() == (False, events[3:5])
    store.finish(events)
    assert reader.poll() == (True, events)  # the whole, whatever became of single segments
    assert reader.finished
    assert reader.poll() == (False, [])
    names = [f"{layout.EVENTS}/{store.name}.{form}" for form in ("jsonl", "parquet")]
    assert sorted(workspace.blobs.list(layout.EVENTS)) == names
    assert read_events(workspace, attempts(workspace)[0]) == events


def test_a_reader_turns_to_the_run_that_began_last(workspace):
    for name, first in (("old-100", 0), ("new-200", 50)):
        workspace.blobs.put(f"{layout.EVENTS}/{name}/000001.jsonl", [json_lines([event(first)])])
    workspace.blobs.put(f"{layout.EVENTS}/.nfs0001", [b"not ours"])
    assert EventReader(workspace).poll() == (True, [event(50)])
    assert [attempt.run for attempt in attempts(workspace)] == ["old", "new"]


def test_parquet_and_json_lines_hold_the_same(workspace):
    events = [
        event(1),
        TileDone(time=2.0, stage="factor", array="L", i=3, j=1, skipped=True, flops=5.0, seconds=0.25, pid=7,
                 host="a"),
        event_of({"kind": "worker_lost", "time": 3.0, "worker": "tcp://x", "tasks": [["L", 1, 0]]}),
    ]  # fmt: skip
    store = EventStore(workspace, "run")
    store.finish(events)
    table = pq.read_table(
        io.BytesIO(workspace.blobs.get(f"{layout.EVENTS}/{store.name}.parquet"))
    ).to_pylist()
    lines = [
        json.loads(line) for line in workspace.blobs.get(f"{layout.EVENTS}/{store.name}.jsonl").splitlines()
    ]
    assert lines == events
    for line, found in zip(table, events, strict=True):
        more = json.loads(line.pop("more") or "{}")
        assert {key: value for key, value in line.items() if value is not None} | more == found


def test_a_long_run_is_written_in_groups_of_rows(workspace, monkeypatch):
    monkeypatch.setattr("l3ae_dist.runtime.event_store._GROUP", 3)
    events = [event(k) for k in range(10)]
    store = EventStore(workspace, "run")
    store.finish(events)
    (attempt,) = attempts(workspace)
    assert list(stream_events(workspace, attempt)) == events


def test_events_of_another_thread_keep_the_order_of_time():
    log = EventLog(None)
    log.later(MemorySample(time=2.0))
    log.later(MemorySample(time=9.0))
    log(Message(time=5.0, message="between"))
    assert [one.time for one in log.kept] == [2.0, 5.0]
    log.flush()
    assert [one.time for one in log.kept] == [2.0, 5.0, 9.0]
    assert log.kept[-1].stage == ""  # that of the run when it was reported


def test_followers_are_told_in_batches_of_everything_in_order():
    log, told = EventLog(None), []
    log(Message(message="before"))
    end = log.follow(told.append, seconds=1000)
    for k in range(3):
        log(Message(message=str(k)))
    log.later(MemorySample())
    log(StageStart(stage="gram"))
    log(TileDone(stage="gram"))
    end()
    log(Message(message="after"))
    batches = [[(e["kind"], e.get("message")) for e in batch] for batch in told]
    assert batches == [
        [("log", "before"), ("log", "0")],
        [("log", "1"), ("log", "2"), ("memory", None), ("stage_start", None)],
        [("tile", None)],
    ]


def test_who_is_told_and_raises_loses_no_event():
    def cancel(event):
        raise KeyboardInterrupt

    log, told = EventLog(None), []
    end = log.follow(told.extend, seconds=1000)
    log(StageStart(stage="gram"))
    log._on_event = cancel
    log.later(MemorySample())
    log.later(RunEnd())
    with pytest.raises(KeyboardInterrupt):
        end()
    assert [e["kind"] for e in log.kept] == ["stage_start", "memory", "run_end"]
    assert told == log.kept


def small_run(where, address, **compute):
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, 60, 500), "item_id": rng.integers(0, 40, 500)})
    values = {"cluster": "address", "address": address, "dtype": "float64", "tile_size": 16, **compute}
    config = make_config({"workspace": str(where), "model": {"name": "ease", "reg_x": 5}, "compute": values})
    return run(config, interactions=log, items=pd.DataFrame({"item_id": range(40)}), until="fit")


@pytest.mark.dask
def test_a_run_leaves_its_start_its_memory_its_tiles_and_its_end(tmp_path, dask_session):
    result = small_run(tmp_path / "w", dask_session.client.scheduler.address)
    (file,) = (tmp_path / "w" / layout.EVENTS).glob("*.parquet")
    frame = pd.read_parquet(file)
    assert frame["kind"].iloc[[0, -1]].tolist() == ["run_start", "run_end"]
    assert frame["run"].dropna().unique().tolist() == [result["run"]]
    assert frame["outcome"].iloc[-1] == "finished"
    assert frame["time"].is_monotonic_increasing
    versions = json.loads(frame["more"].iloc[0])["versions"]
    assert {"python", "numpy", "distributed"} <= set(versions)
    assert len(frame[(frame["kind"] == "tile") & (frame["stage"] == "factor")]) == 6
    assert {"plan", "memory", "stage_start", "stage_end"} <= set(frame["kind"])


@pytest.mark.dask
def test_a_run_that_fails_leaves_its_events_and_says_how_it_ended(tmp_path, dask_session):
    address = dask_session.client.scheduler.address
    with pytest.raises(L3AEError):
        small_run(tmp_path / "w", address, memory_budget="300MiB")
    (file,) = (tmp_path / "w" / layout.EVENTS).glob("*.parquet")
    assert pd.read_parquet(file)["outcome"].iloc[-1] == "failed: BudgetError"


SCRIPT = """
import sys
import numpy as np, pandas as pd
from l3ae_dist.config.load import make_config
from l3ae_dist.pipeline.run import run

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, 500, 9000), "item_id": rng.integers(0, 1200, 9000)})
    compute = {"cluster": "synchronous", "dtype": "float32", "tile_size": 32, "threads": 1}
    config = make_config({"workspace": sys.argv[1], "model": {"name": "ease", "reg_x": 5}, "compute": compute})
    run(config, interactions=log, items=pd.DataFrame({"item_id": range(1200)}), until="fit")
"""


@pytest.mark.timeout(120)
def test_a_killed_run_leaves_what_happened_up_to_the_last_seconds(tmp_path):
    script, where = tmp_path / "job.py", tmp_path / "w"
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(script), str(where)], start_new_session=True)
    deadline = time.monotonic() + 100
    while sum('"tile"' in file.read_text() for file in (where / layout.EVENTS).rglob("*.jsonl")) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    another, events = EventReader(Workspace.open(where)).poll()
    assert another
    assert events[0]["kind"] == "run_start"
    assert sum(e["kind"] == "tile" for e in events) > 10
    assert events[-1]["kind"] != "run_end"
