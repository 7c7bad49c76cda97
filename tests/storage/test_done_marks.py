"""A chunk is what its done-mark names: swapped, copied and stale ones are damage for every reader."""

import json
import shutil

import numpy as np
import pytest
import zarr

from l3ae_dist.errors import DamagedDocumentError, DamagedTileError, WorkspaceError
from l3ae_dist.model.saving import copy_array
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.completeness import damaged_chunks
from l3ae_dist.storage.local_blobs import LocalBlobs
from l3ae_dist.storage.mend import mend_documents
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest
from l3ae_dist.storage.vectors import Vector, write_vector
from l3ae_dist.storage.workspace import Workspace

SIDE = 4


def fill(array, seed, epoch=1):
    """Write random chunks and return them."""
    rng = np.random.default_rng(seed)
    blocks = {
        (i, j): rng.standard_normal(array.chunks).astype("f4") for i in range(SIDE) for j in range(i + 1)
    }
    for (i, j), block in blocks.items():
        array.write(i, j, block, epoch=epoch)
    return blocks


def create(workspace, path, seed):
    array = ChunkArray.create(workspace, path, shape=(32, 32), chunks=(8, 8), dtype="f4")
    fill(array, seed)
    return array


@pytest.fixture(params=["disk", "s3"])
def url(request, tmp_path, monkeypatch):
    """A location on each kind of store."""
    if request.param == "disk":
        return str(tmp_path / "w")
    for name, value in request.getfixturevalue("s3_environment").items():
        monkeypatch.setenv(name, value)
    return f"s3://bucket/{tmp_path.name}"


@pytest.fixture
def arrays(url):
    """The inverses of two ridges, as a writer left them."""
    workspace = Workspace.create(url)
    return [create(workspace, f"factors/g/{ridge}/float32/P", seed) for seed, ridge in enumerate((1.0, 2.0))]


def opened(array):
    """The array as another process opens it."""
    return ChunkArray.open(Workspace.open(array.workspace.url), array.path)


def replace(target, i, j, data):
    target.workspace.blobs.put(layout.chunk(target.path, i, j), [data])


def bytes_of(array, i, j):
    return array.workspace.blobs.get(layout.chunk(array.path, i, j))


def read_by_all(array, i, j):
    """Read a chunk by every way that leads to it; all of them must agree on the damage."""
    ways = (
        lambda: opened(array).read(i, j),
        lambda: TileReader().load(TileRequest(opened(array), i, j), ReadCount()),
        lambda: TileReader().take(TileRequest(opened(array), i, j), np.dtype("f8"), ReadCount()),
        lambda: opened(array).as_dask().compute(scheduler="synchronous"),
        lambda: copy_array(array.workspace, Workspace.create(f"{array.workspace.url}-copy"), array.path),
    )
    messages = []
    for way in ways:
        with pytest.raises(DamagedTileError) as caught:
            way()
        messages.append(str(caught.value))
    target = ChunkArray.create(array.workspace, "other", shape=(32, 32), chunks=(8, 8), dtype="f4")
    assert not target.adopt(opened(array), i, j, target.buffer())
    assert [(one.i, one.j) for one in damaged_chunks(opened(array))] == [(i, j)]
    return messages


def test_two_tiles_swapped_within_an_array_are_both_damaged(arrays):
    p, _ = arrays
    first, second = bytes_of(p, 2, 1), bytes_of(p, 3, 0)
    replace(p, 2, 1, second)
    replace(p, 3, 0, first)
    assert [(one.i, one.j) for one in damaged_chunks(opened(p))] == [(2, 1), (3, 0)]
    for place in ((2, 1), (3, 0)):
        with pytest.raises(DamagedTileError, match=r"swapped, copied or restored"):
            opened(p).read(*place)
    assert opened(p).done() == opened(p).marked() - {(2, 1), (3, 0)}


def test_a_tile_of_another_ridge_is_damage_for_every_reader(arrays):
    p, other = arrays
    replace(p, 2, 1, bytes_of(other, 2, 1))
    for message in read_by_all(p, 2, 1):
        assert message.startswith(f"chunk (2, 1) of {p.path} in {p.workspace.url} has the CRC32C")
    assert damaged_chunks(opened(other)) == []


def test_a_mark_of_another_array_or_chunk_marks_nothing(arrays):
    """A tile is copied together with its mark, over those that were there; then both are renamed."""
    p, other = arrays
    blobs = p.workspace.blobs
    for source, (i, j) in ((other, (2, 1)), (p, (3, 0))):
        (mark,) = (key for key in blobs.list(layout.done_marks(source.path)) if layout.is_mark_of(key, i, j))
        (own,) = (key for key in blobs.list(layout.done_marks(p.path)) if layout.is_mark_of(key, 2, 1))
        blobs.delete(own)
        replace(p, 2, 1, bytes_of(source, i, j))
        name = mark.rpartition("/")[2].replace(f"{i}.{j}.", "2.1.", 1)
        blobs.put(f"{layout.done_marks(p.path)}/{name}", [blobs.get(mark)])
        with pytest.raises(DamagedTileError, match="has no done-mark of its own"):
            opened(p).read(2, 1)
        assert (2, 1) not in opened(p).done()


def test_an_older_version_of_a_tile_is_damage_even_with_its_mark(arrays):
    p, _ = arrays
    blobs, folder = p.workspace.blobs, layout.done_marks(p.path)
    stale = bytes_of(p, 2, 1)
    (old,) = (key for key in blobs.list(folder) if layout.is_mark_of(key, 2, 1))
    record = blobs.get(old)
    block = np.full((8, 8), 3.0, "f4")
    opened(p).write(2, 1, block, epoch=2, anew=True)
    replace(p, 2, 1, stale)
    with pytest.raises(DamagedTileError, match="restored"):
        opened(p).read(2, 1)
    blobs.put(old, [record])  # two marks: that of the later epoch counts
    with pytest.raises(DamagedTileError, match="restored"):
        opened(p).read(2, 1)
    assert (2, 1) not in opened(p).done()
    opened(p).discard(2, 1)
    assert not any(layout.is_mark_of(key, 2, 1) for key in blobs.list(folder))
    array = opened(p)
    array.write(2, 1, block, epoch=3)
    np.testing.assert_array_equal(opened(p).read(2, 1), block)


def test_a_vector_of_another_place_is_damage(url):
    workspace = Workspace.create(url)
    write_vector(workspace, "v/a", np.arange(9.0))
    write_vector(workspace, "v/b", np.arange(9.0) + 1)
    blobs = workspace.blobs
    blobs.put(layout.chunk("v/a", 0, 0, flat=True), [blobs.get(layout.chunk("v/b", 0, 0, flat=True))])
    with pytest.raises(DamagedTileError, match=r"chunk \(0, 0\) of v/a .* swapped"):
        Vector(Workspace.open(url), "v/a")[:]


def test_a_finished_chunk_is_never_overwritten_with_other_bytes(arrays):
    p, _ = arrays
    block = np.array(p.read(2, 1))
    for array in (p, opened(p)):
        array.write(2, 1, block)
        with pytest.raises(WorkspaceError, match="never overwritten with other bytes"):
            array.write(2, 1, block + 1)
        np.testing.assert_array_equal(array.read(2, 1), block)
    replace(p, 2, 1, b"cut")
    opened(p).write(2, 1, block + 1)  # what is there is not finished
    np.testing.assert_array_equal(opened(p).read(2, 1), block + 1)
    assert len(opened(p).marked()) == SIDE * (SIDE + 1) // 2


def test_marks_of_an_older_version_count_in_its_workspaces_alone(tmp_path):
    array = create(Workspace.create(tmp_path / "new"), "grams/g", 0)
    (mark,) = (tmp_path / "new" / layout.done_marks("grams/g")).glob("2.1.*")
    mark.rename(mark.with_name(mark.name[:-8]))
    with pytest.raises(DamagedTileError, match="no done-mark of its own"):
        opened(array).read(2, 1)
    root = zarr.create_group(tmp_path / "w", attributes={"l3ae_dist_format": 3})
    root.create_array("meta", shape=(0,), chunks=(1,), dtype="uint8")
    array = create(Workspace.open(tmp_path / "w"), "grams/g", 0)
    folder = tmp_path / "w" / layout.done_marks("grams/g")
    for mark in folder.iterdir():
        mark.rename(mark.with_name(mark.name[:-8]))
    again = opened(array)
    assert damaged_chunks(again) == []
    assert len(again.done()) == SIDE * (SIDE + 1) // 2
    again.delete(0, 0)
    assert (0, 0) not in opened(array).marked()
    again.discard(1, 0)
    assert (1, 0) not in opened(array).marked()


class Counting(LocalBlobs):
    """A store that counts its requests by kind."""

    def __init__(self, root):
        super().__init__(root)
        self.requests = []

    def __getattribute__(self, name):
        if name in ("get", "get_into", "tail", "size", "list", "put", "modified"):
            self.requests.append(name)
        return super().__getattribute__(name)


def test_reads_cost_one_listing_for_an_array_and_no_request_for_a_chunk(tmp_path):
    create(Workspace.create(tmp_path / "w"), "grams/g", 0)
    write_vector(Workspace.open(tmp_path / "w"), "v/x", np.arange(5))
    blobs = Counting(tmp_path / "w")
    workspace = Workspace(blobs)
    array = ChunkArray.open(workspace, "grams/g")
    blobs.requests.clear()
    for _ in range(3):
        for i in range(SIDE):
            for j in range(i + 1):
                ChunkArray.open(workspace, "grams/g").read(i, j)
    reads = 3 * SIDE * (SIDE + 1) // 2
    assert blobs.requests.count("get_into") == reads
    assert blobs.requests.count("list") == 1
    assert set(blobs.requests) == {"get", "get_into", "list"}  # the header of each opening
    blobs.requests.clear()
    for _ in range(4):
        Vector(workspace, "v/x")[1:3]
    assert blobs.requests.count("list") == 1
    # what another process wrote meanwhile costs one small request, once
    blobs.requests.clear()
    opened(array).write(0, 3, np.ones((8, 8), "f4"))
    for _ in range(3):
        array.read(0, 3)
    assert blobs.requests == ["get_into", "get", "get_into", "get_into"]


def test_a_folder_restored_from_another_ridge_marks_nothing(arrays, tmp_path):
    if arrays[0].workspace.url.startswith("s3"):
        pytest.skip("folders are local")
    p, other = arrays
    for folder in (p.path, layout.done_marks(p.path)):
        shutil.rmtree(tmp_path / "w" / folder)
        shutil.copytree(tmp_path / "w" / folder.replace(p.path, other.path), tmp_path / "w" / folder)
    with pytest.raises(DamagedDocumentError, match="was changed since it was written"):
        opened(p)
    sizes = {"shape": p.shape, "chunks": p.chunks, "dtype": p.dtype}
    assert [one.path for one in mend_documents(Workspace.open(tmp_path / "w"))] == [layout.header(p.path)]
    ChunkArray.create(Workspace.open(tmp_path / "w"), p.path, **sizes)
    assert opened(p).marked() == set()
    with pytest.raises(DamagedTileError, match="no done-mark of its own"):
        opened(p).read(1, 0)
    record = next((tmp_path / "w" / layout.done_marks(p.path)).iterdir()).read_bytes()
    assert json.loads(record)["epoch"] == 1


def test_a_chunk_of_a_run_that_lost_its_lock_does_not_stand_for_that_of_the_run_that_took_over(url):
    ours = ChunkArray.create(
        Workspace.create(url), layout.embeddings("e"), shape=(16, 8), chunks=(8, 8), dtype="f4"
    )
    stale, reader = opened(ours), opened(ours)
    for array in (stale, reader):
        assert array._marks.of_chunk(0, 0) is None  # both have listed none
    for i in range(2):
        ours.write(i, 0, np.full((8, 8), 2, "f4"), epoch=2)
    stale.write(1, 0, np.full((8, 8), 1, "f4"), epoch=1)
    assert (reader.read(0, 0) == 2).all()
    with pytest.raises(DamagedTileError, match="where its done-mark says"):
        reader.read(1, 0)
    ours.write(1, 0, np.full((8, 8), 2, "f4"), epoch=2, anew=True)
    assert (reader.read(1, 0) == 2).all()
    # one that nobody made again is as good as any
    other = ChunkArray.create(
        ours.workspace, layout.embeddings("f"), shape=(16, 8), chunks=(8, 8), dtype="f4"
    )
    reader = opened(other)
    assert reader._marks.of_chunk(0, 0) is None
    other.write(0, 0, np.full((8, 8), 2, "f4"), epoch=2)
    other.write(1, 0, np.full((8, 8), 1, "f4"), epoch=1)
    assert (reader.read(0, 0) == 2).all()
    assert (reader.read(1, 0) == 1).all()
