"""Pinned tiles of a cache: nothing displaces them, they take no more than its limit, and give it back."""

import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3ae_dist.errors import DamagedTileError, LostTileError
from l3ae_dist.storage import tile_reader
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.direct_io import ALIGNMENT, aligned_buffer
from l3ae_dist.storage.tile_cache import MADE, TileCache
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest
from l3ae_dist.storage.workspace import Workspace


def test_a_pinned_tile_displaces_others_and_stays():
    cache = TileCache(3)
    for key in "abc":
        cache.put(key, key, 1, "L", "panel")
    assert cache.pin("p", "p", 1) == (True, ["a"])
    cache.put("d", "d", 1, "L", "later")
    cache.put("e", "e", 1, "Linv", None)
    assert "p" in cache
    assert cache.get("p", "Linv", "panel") == "p"
    cache.put("f", "f", 1, "P", "panel")
    assert (cache.pinned, "p" in cache) == (1, True)


def test_without_room_beside_pinned_tiles_nothing_is_pinned():
    cache = TileCache(2)
    assert [cache.pin(key, key, 1)[0] for key in "abc"] == [True, True, False]
    assert "c" not in cache
    assert cache.put("d", "d", 1, "L", "panel") == (False, [])


def test_a_tile_that_is_pinned_again_takes_the_place_of_itself():
    cache = TileCache(1)
    cache.pin("a", 1, 1)
    assert cache.pin("a", 2, 1) == (True, [1])
    assert cache.put("a", 3, 1, "L", None) == (False, [])
    assert cache.get("a", None, None) == 2


def test_what_is_unpinned_is_given_back():
    cache = TileCache(4)
    for key in "abcd":
        cache.pin(key, key, 1)
    assert cache.unpin(lambda key: key in "ad") == ["b", "c"]
    assert (cache.used, cache.pinned, len(cache)) == (2, 2, 2)
    assert sorted(cache.resize(1)) == ["a", "d"]
    assert (cache.used, cache.pinned) == (0, 0)


ACTIONS = st.tuples(
    st.sampled_from(["put", "pin", "get", "unpin"]),
    st.integers(0, 12),
    st.integers(1, 3),
    st.sampled_from(["L", "Linv", "P"]),
    st.sampled_from([None, "one", "two", MADE]),
)


@given(limit=st.integers(0, 9), actions=st.lists(ACTIONS, max_size=60))
def test_pinned_tiles_stay_until_they_are_given_up_and_the_limit_holds(limit, actions):
    cache, pinned, sizes = TileCache(limit), set(), {}
    for action, key, size, stage, panel in actions:
        size = sizes.setdefault(key, size)
        if action == "put":
            cache.put(key, key, size, stage, panel)
        elif action == "get":
            cache.get(key, stage, panel)
        elif action == "pin":
            if cache.pin(key, key, size)[0]:
                pinned.add(key)
        else:
            cache.unpin(lambda one, key=key: one != key)
            pinned.discard(key)
        assert all(one in cache for one in pinned)
        assert cache.used == sum(sizes[one] for one in sizes if one in cache) <= limit
        assert cache.pinned == sum(sizes[one] for one in pinned)


@pytest.fixture
def tiles(tmp_path):
    """Requests for the four tiles of an array that may be in memory alone."""
    array = ChunkArray.create(
        Workspace.create(tmp_path / "w"), "L", shape=(8, 8), chunks=(4, 4), dtype="float64"
    )
    return [TileRequest(array, i, j, "L", None, unwritten=True) for i in range(2) for j in range(2)]


def pinned(reader, request):
    """Pin a tile of ones; tells whether there was room, and gives its memory."""
    held = reader.blank(request)
    held.tile[...] = 1
    kept = reader.pin(request, held)
    reader.release(held)
    return kept, weakref.ref(held.buffer)


def test_a_reader_pins_what_has_room_and_gives_the_memory_back_with_the_solve(tiles):
    reader = TileReader(2 * ALIGNMENT)
    reader.hold_only("one", frozenset({"L"}))
    found = [pinned(reader, tile) for tile in tiles]
    assert [kept for kept, _ in found] == [True, True, False, False]
    assert [reader.has_room(tile) for tile in tiles] == [False] * 4
    np.testing.assert_array_equal(reader.load(tiles[0], ReadCount()).tile, np.ones((4, 4)))
    reader.hold_only("one", frozenset({"L"}))
    assert reader.holds(tiles[1].key)
    reader.hold_only("other", frozenset({"L"}))
    assert not any(reader.holds(tile.key) for tile in tiles)
    assert found[1][1]() is None


def test_memory_of_tiles_of_one_size_is_given_back_for_those_of_another(tmp_path, monkeypatch):
    """A worker that goes on with another system holds no more than its cache, and what is in use."""
    buffers: list[weakref.ref] = []

    def allocated(nbytes):
        buffer = aligned_buffer(nbytes)
        buffers.append(weakref.ref(buffer))
        return buffer

    monkeypatch.setattr(tile_reader, "aligned_buffer", allocated)
    workspace, limit = Workspace.create(tmp_path / "w"), 24 * ALIGNMENT
    reader, held = TileReader(limit), []
    for side in (16, 40, 24, 40):
        tiles = ChunkArray.create(
            workspace,
            f"side{side}-{len(held)}",
            shape=(4 * side, 4 * side),
            chunks=(side, side),
            dtype="float64",
        )
        for i in range(4):
            for j in range(4):
                tiles.write(i, j, np.ones((side, side)))
        for _ in range(2):
            for i in range(4):
                for j in range(4):
                    reader.release(reader.load(TileRequest(tiles, i, j, "L", ("L", "i", i)), ReadCount()))
        held.append(sum(one().nbytes for one in buffers if one() is not None))
    assert max(held) <= limit + ALIGNMENT * 4
    assert min(held) > limit / 2


def test_a_tile_that_is_neither_in_memory_nor_written_is_lost_and_leaves_no_note_of_damage(tiles):
    reader, array = TileReader(2 * ALIGNMENT), tiles[0].array
    with pytest.raises(LostTileError, match=r"tile \(0, 0\) of L was kept in memory alone"):
        reader.load(tiles[0], ReadCount())
    assert list(array.workspace.blobs.list("meta/bad")) == []
    array.write(0, 0, np.full((4, 4), 2.0))
    np.testing.assert_array_equal(reader.load(tiles[0], ReadCount()).tile, np.full((4, 4), 2.0))


@pytest.mark.parametrize(
    ("harm", "wrong"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:50]), "has 50 bytes instead of 132"),
        (lambda path: path.write_bytes(path.read_bytes()[::-1]), "fails its CRC32C checksum"),
    ],
    ids=["deleted", "cut", "changed"],
)
def test_a_written_tile_that_is_damaged_is_no_lost_one(tiles, tmp_path, harm, wrong):
    reader, array = TileReader(2 * ALIGNMENT), tiles[0].array
    array.write(0, 0, np.full((4, 4), 2.0))
    harm(tmp_path / "w" / array._key(0, 0))
    with pytest.raises(
        DamagedTileError, match=rf"chunk \(0, 0\) of L .* {wrong}; `l3ae-dist run` repairs it"
    ):
        reader.load(tiles[0], ReadCount())


def test_a_chunk_without_its_mark_was_written(tiles):
    reader, array = TileReader(2 * ALIGNMENT), tiles[0].array
    array._marks.remove_known(array.write(0, 0, np.full((4, 4), 2.0)))
    with pytest.raises(DamagedTileError, match="has no done-mark"):
        reader.load(tiles[0], ReadCount())


def test_a_pinned_tile_is_not_changed_by_a_task_that_starts_from_it(tiles):
    reader = TileReader(2 * ALIGNMENT)
    pinned(reader, tiles[0])
    taken = reader.take(tiles[0], np.dtype("float64"), ReadCount())
    taken.tile[...] = 5
    assert reader.load(tiles[0], ReadCount()).tile[0, 0] == 1
