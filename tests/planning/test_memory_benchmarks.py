"""Rates of tiles between memories, by the code that moves them in a run."""

import pytest

from l3ae_dist.planning import calibrate, memory_benchmarks
from l3ae_dist.planning.memory_benchmarks import measure_device_copies
from l3ae_dist.runtime import peer_reads
from l3ae_dist.storage.workspace import Workspace


def test_copies_to_and_from_a_device_are_measured_by_the_threads_of_a_run():
    pytest.importorskip("torch")
    found = measure_device_copies("cpu", 64, 0.0)
    assert min(found) > 0


@pytest.mark.dask
def test_each_worker_reads_the_tiles_of_the_next_out_of_its_cache_and_verifies_them(
    dask_session, tmp_path, monkeypatch
):
    monkeypatch.setattr(calibrate, "_STORED", {64: 4})
    workspace = Workspace.create(tmp_path / "w")
    assert calibrate.peer_rate(dask_session, workspace) > 0
    # the workers hold none of the tiles afterwards, and then nothing arrives
    held = dask_session.client.run(_held)
    assert set(held.values()) == {0}
    monkeypatch.setattr(calibrate, "hold_tiles", _join_only)
    assert calibrate.peer_rate(dask_session, workspace) is None


def _held():
    from l3ae_dist.graphs.tile_memory import process_reader

    return len(process_reader()._cache)


def _join_only(url, path, number, start):
    peer_reads.join_peers()


def test_a_tile_that_does_not_arrive_is_not_counted():
    class Refusing:
        def read(self, request, buffer):
            return None

    class Array:
        def buffer(self):
            return None

    class Request:
        array = Array()

    reader = memory_benchmarks.process_reader()
    before, reader.peers = reader.peers, Refusing()
    try:
        assert memory_benchmarks._received([Request()], 3) == 0
    finally:
        reader.peers = before
