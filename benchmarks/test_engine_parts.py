"""Parts of the engine's benchmark on small sizes and real workers (make bench-once)."""

import engine
import pytest
from engine_runs import MIB
from engine_scaling import scaling
from engine_traffic import traffic


def by_name(rows, words):
    return [line for line in rows if words in line["name"]]


def test_traffic_is_measured_beside_the_plan_and_single_tiles():
    details = {}
    rows = traffic(details, n=256)
    planned = by_name(rows, "against those planned")
    assert len(planned) == 8  # reads and writes of four runs
    assert all(line["met"] for line in planned)
    assert [line["target"] for line in by_name(rows, "words read by the factor stage")] == [1.5] * 5
    assert len(by_name(rows, "n = 1024, budget 2048 MiB: counted, not run")) == 1
    time, read = by_name(rows, "against single tiles")
    assert (time["unit"], read["unit"], read["ratio"]) == ("s", "GB", 1.0)  # all tiles stay in the cache
    assert [run["n"] for run in details["traffic"]["runs"]] == [256, 512, 256, 512]
    assert details["traffic"]["single"]["block"] == 1


def test_two_workers_are_compared_with_one_worker_and_with_its_threads():
    details = {}
    rows = scaling(details, n=256, tile=32, repeats=1)
    together = by_name(rows, "factor + invert, n = 256, 8 tiles a side: 2 workers x 1 thread against")
    assert [(line["name"][-5:], line["target"]) for line in together] == [("1 x 1", 1.65), ("1 x 2", 0.9)]
    assert set(details["scaling"]) == {"1 x 1", "2 x 1", "1 x 2"}
    assert all(line["ours"] == pytest.approx(together[0]["ours"]) for line in together)
    for line in by_name(rows, "its task graph"):
        assert 0 < line["ours"] <= line["peer"]
    assert len(by_name(rows, ", 2 workers")) == 4


def test_the_headline_is_measured_on_a_small_size(monkeypatch):
    monkeypatch.setattr(engine, "REPEATS", 1)
    monkeypatch.setattr(engine, "peer", lambda name, n: {"seconds": 1.0, "sgemm_gflops": 1.0})
    rows = engine.headline({}, n=256)
    assert rows[0]["target"] == 0.93
    assert by_name(rows, "against those planned, n = 256, budget 832 MiB")
    assert engine.BUDGET == 832 * MIB
    assert list(engine.PARTS)[:4] == ["headline", "traffic", "dask_array", "scaling"]
