"""What somebody who watches a run sees, from events alone."""

import json

import numpy as np
import pytest

from l3ae_dist.runtime.events import event_of, events_of
from l3ae_dist.runtime.watch.dashboard_page import stages_html
from l3ae_dist.runtime.watch.run_view import RunView, TileState

LOWER = {"array": "L", "rows": 4, "columns": 4, "lower": True, "done": [[0, 0], [1, 0]]}


def tile(i, j, done, array="L", stage="factor", **more):
    return {"kind": "tile", "stage": stage, "array": array, "i": i, "j": j, "done": done, "total": 10, **more}


def view_of(*events):
    view = RunView()
    view.take_all(events_of({"time": 100.0 + k, **event} for k, event in enumerate(events)))
    return view


def started(**more):
    return {"kind": "stage_start", "stage": "factor", "done": 2, "total": 10, "map": LOWER, **more}


def test_tiles_above_the_diagonal_are_absent_and_those_of_before_are_done():
    states = view_of(started()).current.matrix()
    assert (states[np.triu_indices(4, 1)] == TileState.ABSENT).all()
    assert states[0, 0] == states[1, 0] == TileState.DONE
    assert (states[np.tril_indices(4)] == TileState.PENDING).sum() == 8


def test_a_tile_runs_while_a_worker_has_it():
    view = view_of(started())
    view.mark_running("L", 2, 1, on=True)
    view.mark_running("partial0", 3, 2, on=True)
    view.mark_running("P", 3, 3, on=True)
    states = view.current.matrix()
    assert states[2, 1] == states[3, 2] == TileState.RUNNING
    assert states[3, 3] == TileState.PENDING
    view.mark_running("L", 2, 1, on=False)
    view.take(event_of({"time": 200.0, **tile(3, 2, 3, array="partial0")}))
    assert view.current.matrix()[2, 1] == view.current.matrix()[3, 2] == TileState.PENDING
    view.mark_running("L", 1, 0, on=True)
    assert view.current.matrix()[1, 0] == TileState.DONE


def test_a_damaged_tile_is_bad_until_it_is_made_again_and_then_recomputed():
    bad = {"kind": "bad_tile", "stage": "factor", "array": "L", "i": 1, "j": 0}
    assert view_of(started(), bad).current.matrix()[1, 0] == TileState.BAD
    again = view_of(started(), bad, tile(1, 0, 2)).current
    assert again.matrix()[1, 0] == TileState.AGAIN
    assert again.summary(200.0).tiles == {"pending": 8, "running": 0, "done": 1, "recomputed": 1, "bad": 0}


def test_tiles_of_a_lost_worker_are_pending_and_then_recomputed():
    view = view_of(started())
    view.mark_running("L", 2, 0, on=True)
    lost = {"kind": "worker_lost", "worker": "tcp://x", "tasks": [["L", 2, 0], ["P", 0, 0]]}
    view.take(event_of({"time": 110.0, **lost}))
    assert view.current.matrix()[2, 0] == TileState.PENDING
    view.take(event_of({"time": 111.0, **tile(2, 0, 3)}))
    view.take(event_of({"time": 112.0, **tile(3, 0, 4)}))
    assert view.current.matrix()[2, 0] == TileState.AGAIN
    assert view.current.matrix()[3, 0] == TileState.DONE
    assert view.workers_lost == 1


def test_blocks_of_tiles_show_what_needs_a_look():
    stage = view_of(started(map={**LOWER, "rows": 1000, "columns": 1000, "done": []})).current
    stage.mark_bad(999, 500)
    stage.mark_running(3, 0, on=True)
    states = stage.matrix(10)
    assert states.shape == (10, 10)
    assert states[9, 5] == TileState.BAD
    assert states[0, 0] == TileState.RUNNING
    assert states[0, 9] == TileState.ABSENT
    assert stage.matrix(512).shape == (500, 500)


def test_maps_of_stages_that_are_long_over_are_given_up_and_their_counts_stay():
    view = view_of(*(started(stage=f"s{k}") for k in range(7)))
    assert [stage.name for stage in view.maps()] == ["s3", "s4", "s5", "s6"]
    assert view.stages[0].states is None
    assert view.stages[0].summary(200.0).tiles["done"] == 2
    view.take(event_of({"time": 300.0, **tile(2, 0, 3, stage="s0")}))
    assert view.stages[0].matrix().shape == (0, 0)


def test_rates_and_time_left_are_those_of_the_stage():
    view = view_of(started(), tile(1, 1, 3, flops=4e9, bytes=2_000_000), tile(2, 1, 4, flops=4e9, bytes=0))
    found = view.current.summary(104.0)
    assert found.rate == "2.0 GFLOP/s"
    assert found.bytes_per_second == 500_000
    assert found.left == "0:12 left"
    view.take(event_of({"time": 108.0, "kind": "stage_end", "stage": "factor"}))
    assert view.current is None
    ended = view.stages[0].summary(500.0)
    assert (ended.seconds, ended.done, ended.left, ended.running) == (8.0, 10, "", False)


def test_bytes_from_peers_are_told_beside_those_of_the_workspace():
    view = view_of(started(), tile(1, 1, 3, bytes=2_000_000, bytes_from_peers=6_000_000), tile(2, 1, 4))
    found = view.current.summary(104.0)
    assert (found.bytes, found.bytes_per_second) == (2_000_000, 500_000)
    assert (found.bytes_from_peers, found.bytes_from_peers_per_second) == (6_000_000, 1_500_000)
    view.run = "r"
    assert "<th>from peers</th>" in stages_html(view)


def test_another_run_begins_with_an_empty_view_and_an_end_stays_seen():
    view = view_of(started(), {"kind": "run_start", "run": "b"})
    assert (view.run, view.stages) == ("b", [])
    view.take(event_of({"time": 300.0, **started()}))
    view.take(event_of({"time": 301.0, "kind": "run_end", "run": "b", "outcome": "failed: ClusterError"}))
    assert view.outcome == "failed: ClusterError"
    assert view.current is None


@pytest.mark.parametrize("kind", ["something_new", "__init__", "chunk"])
def test_unknown_events_change_nothing(kind):
    view = view_of({"kind": kind, "stage": "embed", "done": 3})
    assert (view.stages, view.outcome) == ([], "")


def test_the_document_is_json():
    view = view_of({"kind": "run_start", "run": "a"}, started(), tile(1, 1, 3, flops=1.0, bytes=1))
    view.take(event_of({"time": 120.0, "kind": "memory", "stage": "factor", "worker_max": 5}))
    found = json.loads(json.dumps(view.document()))
    assert found["stages"][0]["stage"] == "factor"
    assert found["maps"][0]["states"][1] == [TileState.DONE, TileState.DONE, 0, 0]
    assert found["memory"] == {"worker_max": 5, "workers_sum": 0, "scheduler": 0, "client": 0, "ray": 0}
