"""Events as dataclasses, as mappings, and as records that other versions have written."""

import pickle

import pytest

from l3ae_dist.runtime.events import (
    KINDS,
    ChunkDone,
    Message,
    StageStart,
    TileDone,
    TileMap,
    WorkerKey,
    event_of,
    events_of,
)
from l3ae_dist.runtime.watch.task_times import TaskTimes, worker_seconds


def test_an_event_reads_like_the_record_that_is_kept_of_it():
    event = TileDone(time=1.0, stage="factor", array="L", i=3, j=1, done=2, total=9, pid=5, host="a")
    assert (event["kind"], event["i"], event.get("message"), "skipped" in event) == ("tile", 3, None, True)
    assert dict(event) == event == event.plain()
    assert list(event)[:3] == ["kind", "time", "stage"]
    with pytest.raises(KeyError):
        event["plain"]  # a method is no field


@pytest.mark.parametrize("cls", KINDS.values())
def test_what_is_kept_of_an_event_gives_the_event_back(cls):
    event = cls(time=3.0)
    assert event_of(event.plain()) == event
    assert type(event_of(event.plain())) is cls
    assert pickle.loads(pickle.dumps(event)) == event


def test_the_map_of_a_stage_is_kept_as_plain_values():
    tiles = TileMap(array="L", rows=3, columns=3, lower=True, done=[[0, 0]])
    event = StageStart(time=1.0, stage="factor", total=6, map=tiles)
    assert event.plain()["map"] == {"array": "L", "rows": 3, "columns": 3, "lower": True, "done": [[0, 0]]}
    assert event_of(event.plain()).map.done == [[0, 0]]
    assert event["map"]["rows"] == 3


def test_records_of_other_versions_are_read_as_far_as_they_are_known():
    old = {"kind": "tile", "time": 1.0, "stage": "factor", "pid": 5, "flops": None}
    new = {"kind": "log", "time": 2.0, "message": "hello", "colour": "red"}
    assert event_of(old) == TileDone(time=1.0, stage="factor", pid=5)
    assert event_of(new) == Message(time=2.0, message="hello")
    assert event_of({"kind": "something_new", "time": 3.0}) is None
    assert list(events_of([{"kind": "__init__"}, {}, new])) == [event_of(new)]


def test_processes_of_two_hosts_with_the_same_id_are_two_workers():
    def tile(host, computed):
        times = {"started": 0.0, "staged": 0.0, "loaded": 0.0, "began": 0.0, "seconds": 4.0, "stalled": 0.0}
        return TileDone(host=host, pid=7, computed=computed, **times)

    tiles = [tile("a", 4.0), tile("b", 3.0)]
    assert [one.worker for one in tiles] == [WorkerKey("a", 7), WorkerKey("b", 7)]
    assert ChunkDone(host="a", pid=7).worker == tiles[0].worker
    seconds = worker_seconds(map(TaskTimes.of, tiles))
    assert seconds == {"computing": 7.0, "reading": 0.0, "writing": 1.0, "waiting": 0.0}
