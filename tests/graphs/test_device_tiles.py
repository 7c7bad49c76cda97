"""Tiles that stay on a device, on CPU tensors: what is read again, what it holds, and the same bits."""

from dataclasses import replace

import numpy as np
import pytest
from tile_runs import read_lower, run_all, setup, spd

from l3ae_dist.errors import BudgetError, LostTileError
from l3ae_dist.graphs import device_tiles, tile_memory
from l3ae_dist.graphs.blocks import SINGLE, BlockShape
from l3ae_dist.graphs.context import Unwritten
from l3ae_dist.graphs.inverse import TriangularInverseGraph
from l3ae_dist.planning.worker_memory import accumulators, tiles_held
from l3ae_dist.runtime.executors import SerialExecutor
from l3ae_dist.runtime.run_graph import run_graph
from l3ae_dist.storage.chunks import TRAILER, ChunkArray
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import TileRequest
from l3ae_dist.storage.workspace import Workspace

N, TILE = 91, 16
TILE_BYTES = TILE * TILE * 8


def run_on_device(folder, device_memory, block=SINGLE, arithmetic="float32", dtype="float64", cache_bytes=0):
    """Run all stages on CPU tensors; gives the arrays, and what each stage read."""
    arrays, context = setup(folder, spd(N), TILE, dtype)
    context = replace(
        context, device="torch", device_memory=device_memory, cache_bytes=cache_bytes, arithmetic=arithmetic,
        accumulators=accumulators(block), tiles_held=tiles_held(block),
    )  # fmt: skip
    return arrays, context, run_all(context, block=block)


@pytest.mark.parametrize("block", [SINGLE, BlockShape(4, 4)], ids=["single", "4x4"])
def test_what_fits_on_a_device_is_read_once_for_all_stages(tmp_path, block):
    arrays, context, stages = run_on_device(tmp_path, 2**30, block)
    gram = context.grid.lower_count * (arrays["gram"].chunk_nbytes + TRAILER)
    assert [stage.bytes_read for stage in stages] == [gram, 0, 0]


def test_tiles_that_a_device_has_room_for_are_kept_in_host_memory_too_where_others_may_ask(tmp_path):
    reader = tile_memory.process_reader()
    before, made = reader.peers, {}
    try:
        for peers in (object(), None):  # nobody is asked: no task is told of a holder
            reader.peers = peers
            folder = tmp_path / str(peers is None)
            _, context, _ = run_on_device(folder, 2**30, cache_bytes=2**24)
            url = context.workspace().url
            made[peers is None] = sum(
                reader.holds((url, name, i, j)) for name in ("L", "Linv") for i, j in context.grid.lower()
            )
    finally:
        reader.peers = before
    assert made == {False: 2 * context.grid.lower_count, True: 0}


def at_work(block=SINGLE):
    """Bytes of the tiles at work."""
    tiles = tiles_held(block) + tile_memory.io_threads() + device_tiles.TEMPORARY_TILES
    return tiles * TILE_BYTES


def test_the_bits_do_not_depend_on_what_stays_on_the_device(tmp_path):
    found = []
    for number, (memory, block) in enumerate(
        [
            (at_work(), SINGLE),
            (at_work() + 9 * TILE_BYTES, SINGLE),
            (2**30, SINGLE),
            (2**30, BlockShape(3, 2)),
        ]
    ):
        arrays, _, stages = run_on_device(tmp_path / str(number), memory, block)
        found.append({name: read_lower(arrays[name]) for name in ("L", "Linv", "P")})
        assert (sum(stage.bytes_read for stage in stages[1:]) == 0) == (memory == 2**30)
    for others in found[1:]:
        for name, values in others.items():
            np.testing.assert_array_equal(values, found[0][name])


@pytest.mark.parametrize("spare", [0, 1, 5])
def test_a_device_keeps_no_more_than_its_memory_leaves(tmp_path, spare):
    tiles, _ = tile_memory._on_device("cpu")
    run_on_device(tmp_path, at_work() + spare * TILE_BYTES)
    assert tiles._cache.limit == spare * TILE_BYTES
    assert tiles._cache.used <= spare * TILE_BYTES
    assert (tiles._cache.used > 0) == (spare > 0)


def test_tiles_at_work_that_a_device_has_no_room_for_are_refused_before_any_is_made(tmp_path):
    needed = at_work()
    message = (
        f"take {needed:,} bytes of the memory of cpu and {needed - 1:,} may be used; .* lower compute.block"
    )
    with pytest.raises(BudgetError, match=message):
        run_on_device(tmp_path, needed - 1)


def test_tiles_of_a_gram_matrix_that_are_converted_on_a_device_are_counted(tmp_path):
    tiles = tiles_held(SINGLE) + tile_memory.io_threads() + device_tiles.TEMPORARY_TILES
    needed = (4 * tiles + 8 * tile_memory.io_threads()) * TILE * TILE
    run_on_device(tmp_path / "fits", needed, dtype="float32")
    with pytest.raises(BudgetError, match=f"take {needed:,} bytes"):
        run_on_device(tmp_path / "not", needed - 1, dtype="float32")


class Card:
    """Kernels of a device of 1,000 bytes, of which less and less is free."""

    device = "cuda:0"

    def __init__(self, *free):
        self.free = iter(free)

    def memory_bytes(self):
        return next(self.free), 1000


@pytest.mark.parametrize("sharers", [1, 3])
def test_workers_divide_their_device_as_it_was_at_first(sharers):
    tiles = device_tiles.DeviceTiles(TileReader(), Card(1000, 10))
    tiles.note_free()
    tiles.resize(0, 200, sharers)
    assert tiles._cache.limit == 900 // sharers - 200
    tiles.resize(700, 200, sharers)  # as configured
    assert tiles._cache.limit == 500
    said = r" by each of the 3 workers on it; .* or lower compute.workers, " if sharers > 1 else "; raise"
    with pytest.raises(BudgetError, match=rf"and {900 // sharers} may be used{said}"):
        tiles.resize(0, 901, sharers)


def test_a_worker_that_is_started_again_gets_the_share_that_the_first_had():
    """Two others hold 300 bytes each; more than is free is given to none."""
    for free, share in ((1000, 300), (400, 300), (200, 180)):
        tiles = device_tiles.DeviceTiles(TileReader(), Card(free))
        tiles.resize(0, 150, sharers=3)
        assert tiles._cache.limit == share - 150


def test_a_device_has_one_name_in_all_processes_and_a_cpu_none():
    assert tile_memory.device_place("torch") == tile_memory.device_place("torch:cpu")
    assert tile_memory.device_place("cpu") is None
    assert tile_memory.device_place("cuda:77") is None


def test_tiles_stay_on_the_device_as_they_are_stored(tmp_path):
    tiles, _ = tile_memory._on_device("cpu")
    tiles.resize(1, 1)
    run_on_device(tmp_path, 2**30, arithmetic="float64", dtype="float32")
    linv, count = ChunkArray.open(Workspace.open(tmp_path / "w"), "Linv"), -(-N // TILE)
    kept = [tiles.cached(TileRequest(linv, i, 0)) for i in range(count)]
    assert {one.tile.element_size() for one in kept} == {4}


def test_a_full_device_is_one_error_and_nothing_is_held(tmp_path, monkeypatch):
    import torch

    def full(*arguments):
        raise torch.OutOfMemoryError("no room")

    _, held = tile_memory._on_device("cpu")
    with monkeypatch.context() as patched:
        patched.setattr("l3ae_dist.linalg.torch_kernels.tensor_view", full)
        with pytest.raises(
            BudgetError, match=r"has no room for a tile of 2,048 bytes .* lower compute.block"
        ):
            run_on_device(tmp_path / "full", 2**30)
    assert held.held == 0
    run_on_device(tmp_path / "again", 2**30)


@pytest.mark.parametrize("block", [SINGLE, BlockShape(3, 2)], ids=["single", "3x2"])
def test_tiles_that_are_not_written_stay_on_the_device_then_in_the_process_and_the_rest_is_written(
    tmp_path, block
):
    arrays, _, _ = run_on_device(tmp_path / "written", 2**30, block)
    expected, lower = read_lower(arrays["P"]), 21
    for device, host in ((50, 0), (5, 50), (5, 10), (0, 0)):
        where = tmp_path / f"{device}-{host}"
        arrays, context = setup(where, spd(N), TILE, "float64")
        context = replace(
            context, device="torch", device_memory=at_work(block) + device * TILE_BYTES,
            cache_bytes=host * 4096, accumulators=accumulators(block), tiles_held=tiles_held(block),
            unwritten=Unwritten(str(where), frozenset({"L", "Linv"})),
        )  # fmt: skip
        stages = run_all(context, block=block)
        stay = min(2 * lower, device + host)
        assert sum(stage.unwritten for stage in stages) == stay
        assert len(arrays["L"].marked()) + len(arrays["Linv"].marked()) == 2 * lower - stay
        np.testing.assert_array_equal(read_lower(arrays["P"]), expected)


def test_tiles_of_another_solve_are_given_up_and_their_loss_is_an_error(tmp_path):
    arrays, context = setup(tmp_path, spd(N), TILE, "float64")
    context = replace(
        context, device="torch", device_memory=2**30, unwritten=Unwritten("one", frozenset({"L", "Linv"}))
    )
    run_all(context)
    assert arrays["L"].marked() == set()
    other = replace(context, unwritten=Unwritten("other", context.unwritten.names))
    linv = TriangularInverseGraph(context.grid, 1)
    with pytest.raises(LostTileError, match=r"tile \(0, 0\) of L was kept in memory alone"):
        run_graph(linv, other, SerialExecutor(), targets={"Linv"})
