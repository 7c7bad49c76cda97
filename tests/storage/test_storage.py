"""Direct transfers, and the tile reader with its cache."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from l3ae_dist.errors import DamagedTileError
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.runtime.submission_window import SubmissionWindow
from l3ae_dist.storage import direct_io
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.direct_io import aligned_buffer, open_direct
from l3ae_dist.storage.local_blobs import LocalBlobs
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest
from l3ae_dist.storage.workspace import Workspace

MIB = 2**20


def is_direct(path, size=2 * MIB):
    descriptor = open_direct(Path(path), os.O_RDONLY, memoryview(aligned_buffer(size)))
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


@pytest.mark.parametrize("where", ["disk", "memory"])
@pytest.mark.parametrize("length", [100, MIB, 2 * MIB + 4, 2 * MIB + 5000])
def test_objects_of_every_length_come_back_from_aligned_memory(tmp_path, where, length):
    folder = tmp_path if where == "disk" else Path("/dev/shm") / tmp_path.name
    if where == "memory" and not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no file system in memory to write to")
    blobs = LocalBlobs(folder)
    source = aligned_buffer(length)[:length]
    source[:] = np.random.default_rng(0).integers(0, 256, length, dtype=np.uint8)
    try:
        blobs.put("a/b", [source.data, b"tail"])
        target = aligned_buffer(length + 4)
        assert blobs.get_into("a/b", target.data) == length + 4
        assert target[: length + 4].tobytes() == source.tobytes() + b"tail" == blobs.get("a/b")
        short = aligned_buffer(length // 2)[: length // 2]
        assert blobs.get_into("a/b", short.data) > len(short)
        assert blobs.get_into("a/c", target.data) == -1
    finally:
        blobs.delete_prefix("a")
        if where == "memory":
            folder.rmdir()


def test_direct_transfers_can_be_turned_off(tmp_path, monkeypatch):
    LocalBlobs(tmp_path).put("x", [b"0" * 2 * MIB])
    before = is_direct(tmp_path / "x")
    monkeypatch.setenv("L3AE_DIRECT_IO", "0")
    assert not is_direct(tmp_path / "x")
    monkeypatch.delenv("L3AE_DIRECT_IO")
    assert is_direct(tmp_path / "x") == before
    assert open_direct(tmp_path / "x", os.O_RDONLY, memoryview(aligned_buffer(2 * MIB))[1:]) is None


@pytest.mark.parametrize("direct", ["0", "1"])
@pytest.mark.parametrize("damage", ["cut", "long", "empty", "gone", "flip"])
def test_a_large_damaged_chunk_is_told_apart_by_either_way_of_reading(tmp_path, monkeypatch, damage, direct):
    monkeypatch.setenv("L3AE_DIRECT_IO", direct)
    array = ChunkArray.create(
        Workspace.create(tmp_path / "w"), "a", shape=(600, 600), chunks=(600, 600), dtype="f4"
    )
    block = np.random.default_rng(0).standard_normal((600, 600)).astype("f4")
    array.write(0, 0, block)
    np.testing.assert_array_equal(array.read(0, 0), block)
    path = tmp_path / "w/a/c/0/0"
    data = path.read_bytes()
    changed = {"cut": data[:-4096], "long": data + b"1", "empty": b"", "flip": b"\x01" + data[1:]}
    path.unlink()
    if damage != "gone":
        path.write_bytes(changed[damage])
    with pytest.raises(DamagedTileError, match=r"chunk \(0, 0\) of a"):
        array.read(0, 0)


@pytest.fixture
def tiles(tmp_path):
    ws = Workspace.create(tmp_path / "w")
    array = ChunkArray.create(ws, "a", shape=(80, 80), chunks=(8, 8), dtype="float32")
    for i in range(10):
        for j in range(10):
            array.write(i, j, np.full((8, 8), 10 * i + j, np.float32))
    return array


# a chunk of 260 bytes lies in a buffer of one page
PAGE = direct_io.ALIGNMENT


def read(reader, requests):
    count = ReadCount()
    values = [tuple(int(tile[0, 0]) for tile in entry) for entry in reader.stream(requests, count)]
    return values, count.bytes // 260


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_chunk_at_the_edge_is_stored_whole_and_one_of_whole_rows_without_a_copy(tmp_path, place):
    ws = Workspace.create(tmp_path / "w")
    array = ChunkArray.create(ws, "a", shape=(1023, 1023), chunks=(512, 512), dtype="float64")
    block = np.random.default_rng(0).standard_normal(array.valid_shape(*place))
    tracemalloc.start()
    array.write(*place, block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert place[1] or peak < array.chunk_nbytes / 4
    np.testing.assert_array_equal(array.read(*place), block)
    full = np.zeros((512, 512))
    full[: block.shape[0], : block.shape[1]] = block
    stored = (tmp_path / "w" / "a" / "c" / str(place[0]) / str(place[1])).read_bytes()
    assert stored[:-4] == full.tobytes()
    assert array.holds(*place, block)


def test_a_stream_gives_every_entry_in_order_and_empty_ones_too(tiles):
    requests = [(), (TileRequest(tiles, 1, 2), TileRequest(tiles, 3, 4)), (), (TileRequest(tiles, 5, 6),), ()]
    assert read(TileReader(), requests) == ([(), (12, 34), (), (56,), ()], 3)
    assert read(TileReader(), []) == ([], 0)


def test_a_panel_stays_in_a_full_cache_and_other_tiles_only_where_there_is_room(tiles):
    reader = TileReader(4 * PAGE)
    panel = [(TileRequest(tiles, 0, j, "s", "panel 0"),) for j in range(3)]
    others = [(TileRequest(tiles, i, i, "s"),) for i in range(1, 6)]
    assert read(reader, panel + others)[1] == 8
    assert read(reader, panel + others)[1] == 4  # three of the panel and the first of the others were kept
    newer = [(TileRequest(tiles, 9, j, "s", "panel 9"),) for j in range(4)]
    assert read(reader, newer)[1] == 4
    assert read(reader, newer)[1] == 0
    assert read(reader, panel)[1] == 3
    other_stage = [(TileRequest(tiles, 7, j, "t"),) for j in range(4)]
    assert read(reader, other_stage)[1] == 4
    assert read(reader, other_stage)[1] == 0
    reader.resize(0)
    assert read(reader, other_stage)[1] == 4


def test_a_taken_tile_is_a_copy_and_a_kept_one_is_not_read_again(tiles):
    reader, count = TileReader(8 * PAGE), ReadCount()
    request = TileRequest(tiles, 2, 3, "s")
    held = reader.take(request, np.dtype("float64"), count)
    held.tile[...] = -1
    assert read(reader, [(request,)])[0] == [(23,)]
    again = reader.take(request, np.dtype("float32"), count)
    again.tile[...] = 7
    reader.keep(TileRequest(tiles, 9, 9, "s"), again)
    assert read(reader, [(request,), (TileRequest(tiles, 9, 9, "s"),)]) == ([(23,), (7,)], 0)
    reader.release(held)


def test_a_tile_in_use_survives_its_eviction(tiles):
    reader = TileReader(PAGE)
    stream = iter(
        reader.stream([(TileRequest(tiles, 1, 1, "s", "p"),), (TileRequest(tiles, 2, 2),)], ReadCount())
    )
    (tile,) = next(stream)
    for j in range(5):
        read(reader, [(TileRequest(tiles, 4, j, "s", "q"),)])
    assert (tile == 11).all()
    assert [int(tile[0, 0]) for (tile,) in stream] == [22]


class Chain:
    """Task j waits for task j - 1; two chains one after the other."""

    def __init__(self, i, j):
        self.target, self.feeds = TileRef("x", i, j), ()
        self.targets = (self.target,)
        self.deps = (TileRef("x", i, j - 1),) if j else ()


def test_the_window_gives_the_earliest_ready_task_and_never_holds_more_than_its_bound():
    tasks = [Chain(i, j) for i in range(2) for j in range(3)]
    window = SubmissionWindow(iter(tasks), {TileRef("x", 0, 0)}, lookahead=4)
    first, second = window.pop(), window.pop()
    assert (first, second) == (tasks[1], tasks[3])
    assert window.pop() is None
    window.complete(second)
    window.complete(first)
    assert [window.pop(), window.pop(), window.pop()] == [tasks[2], tasks[4], None]
    window.retry(tasks[4], after=tasks[3])
    assert [window.pop(), window.pop()] == [tasks[3], None]
    window.complete(tasks[3])
    assert window.pop() is tasks[4]
    for task in (tasks[2], tasks[4]):
        window.complete(task)
    assert window.pop() is tasks[5]
    window.complete(tasks[5])
    assert window.finished
