"""The plan: the tile size, the memory of a worker and the stages, from numbers alone."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3ae_dist.config.load import make_config
from l3ae_dist.errors import BudgetError
from l3ae_dist.graphs.blocks import BlockShape
from l3ae_dist.graphs.device_tiles import MOST_IO_THREADS
from l3ae_dist.linalg.kernels import CpuKernels
from l3ae_dist.linalg.staging import PIECE_BYTES
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.data_size import given_size
from l3ae_dist.planning.plan import make_plan
from l3ae_dist.planning.plan_inputs import POPULAR_TILE, UNEVEN_USERS, DataSize, Machine, ModelNeeds
from l3ae_dist.planning.plan_of_config import fitting_plan
from l3ae_dist.planning.smallest_change import plan_or_smallest_change, plan_with_tile
from l3ae_dist.planning.tile_size import MAX_TILE, TileLimits, choose_tile, tile_limits
from l3ae_dist.planning.traffic import tiles_read
from l3ae_dist.planning.worker_memory import (
    GPU_HOST_BYTES,
    INTERPRETER_BYTES,
    PEER_BYTES,
    TILES_HELD,
    WIDENED_TILES,
    WorkerMemory,
    device_bytes,
    device_cache_bytes,
    host_tiles,
    process_bytes,
    users_that_fit,
)
from l3ae_dist.runtime.peer_reads import SERVED
from l3ae_dist.units import GIB, MIB

BOOKS = DataSize(38_519, 38_234, 403_843, dim=384, block_interactions=lambda tile: 47_440)


@given(st.integers(1, 10**6), st.sampled_from([4, 8]), st.integers(512 * MIB, 64 * GIB), st.integers(1, 256))
def test_a_chosen_tile_is_within_every_limit(n, itemsize, budget, workers):
    limits = tile_limits(n, itemsize, budget, workers)
    tile = choose_tile(n, itemsize, budget, workers)
    assert 1 <= tile <= limits.side <= min(n, MAX_TILE)
    assert tile % 32 == 0 or tile == n
    # no smaller number of tiles a side would do with the largest tile that is allowed
    assert -(-n // tile) == -(-n // limits.side)


def test_the_first_of_equal_limits_is_told():
    assert TileLimits(memory=512, workers=512, largest=4096, items=9000).binding == "memory"
    assert TileLimits(memory=2048, workers=512, largest=4096, items=9000).binding == "workers"
    assert TileLimits(memory=9000, workers=9000, largest=4096, items=100).side == 100


def test_several_workers_hold_what_they_send_and_receive_unless_peers_are_off():
    def memory(workers, **given):
        return WorkerMemory.of(
            TileGrid(20_000, 1000), Machine(GIB, workers, tile=1000, block=2, **given), None
        )

    one, two, off = memory(1), memory(2), memory(2, peer_reads=False)
    assert two.beside_cache - off.beside_cache == SERVED * two.tile_bytes + PEER_BYTES
    assert off.cache - two.cache == SERVED * two.tile_bytes + PEER_BYTES
    assert off.beside_cache == one.beside_cache


def test_too_small_a_budget_is_refused_with_one_that_is_enough():
    with pytest.raises(BudgetError, match="256 MiB per worker is too small: at least 370 MiB is needed"):
        choose_tile(100_000, 8, 256 * MIB, workers=1)
    assert choose_tile(100_000, 8, 370 * MIB, workers=1) >= 128


@given(st.sampled_from(["float32", "float64"]), st.booleans(), st.integers(1, 4), st.integers(2, 60))
def test_the_memory_of_a_worker_is_divided_within_its_budget(dtype, gpu, gib, count):
    machine = Machine(gib * GIB + GPU_HOST_BYTES, dtype=dtype, gpu=gpu)
    tile = 512
    memory = WorkerMemory.of(TileGrid(count * tile, tile), machine, None)
    assert memory.tile_bytes == tile**2 * machine.itemsize
    pinned = 2 * PIECE_BYTES * (3 * MOST_IO_THREADS + 1)  # two pieces of each thread that copies
    assert process_bytes(gpu=gpu) - INTERPRETER_BYTES == (GPU_HOST_BYTES + pinned) * gpu
    tiles = host_tiles(BlockShape(), gpu=gpu)
    assert tiles == TILES_HELD if not gpu else tiles > TILES_HELD
    assert memory.streaming == process_bytes(gpu=gpu) + tiles * memory.tile_bytes
    assert memory.beside_cache >= memory.streaming
    assert memory.beside_cache + memory.cache <= machine.memory_budget


def test_no_memory_is_set_aside_for_blocks_larger_than_the_matrix():
    grid = TileGrid(3 * 1024, 1024)
    asked, whole = (WorkerMemory.of(grid, Machine(4 * GIB, block=block), None) for block in (9, 3))
    assert asked == whole
    assert asked.block == BlockShape(3, 3)


def test_blocks_fit_the_memory_of_a_device():
    grid, machine = TileGrid(16 * 1024, 1024), Machine(8 * GIB, gpu=True, block=8)
    assert WorkerMemory.of(grid, machine, None).block == BlockShape(8, 8)
    for arithmetic in ("float32", "float64"):
        asked = replace(machine, arithmetic=arithmetic)
        small = replace(asked, device_memory=device_bytes(BlockShape(3, 3), grid, asked))
        assert WorkerMemory.of(grid, small, None).block == BlockShape(3, 3)
    with pytest.raises(
        BudgetError, match=r"compute.device_memory is 64 MiB; raise it or lower compute.tile_size"
    ):
        WorkerMemory.of(grid, replace(machine, device_memory=64 * MIB), None)
    assert WorkerMemory.of(grid, replace(machine, gpu=False, device_memory=64 * MIB), None).block.rows == 8


def test_a_gram_matrix_of_another_precision_takes_copies_of_the_staged_tiles():
    grid, machine = TileGrid(4096, 1024), Machine(4 * GIB, dtype="float64")
    alike, converted = (WorkerMemory.of(grid, machine, itemsize) for itemsize in (8, 4))
    assert converted.streaming - alike.streaming == alike.tile_bytes
    assert WorkerMemory.of(grid, machine, None) == alike


def test_a_gram_matrix_of_another_precision_is_converted_by_every_thread_that_reads_for_a_gpu():
    grid = TileGrid(16 * 1024, 1024)
    for machine, gram in ((Machine(8 * GIB, gpu=True), 8), (Machine(8 * GIB, dtype="float64", gpu=True), 4)):
        alike, converted = (
            device_bytes(BlockShape(), grid, machine, one) for one in (machine.itemsize, gram)
        )
        assert converted - alike == MOST_IO_THREADS * gram * 1024**2
        kept = [device_cache_bytes(BlockShape(), grid, machine, one) for one in (machine.itemsize, gram)]
        assert kept[0] - kept[1] == converted - alike
    wide = host_tiles(BlockShape(), gpu=True, gram=2.0) - host_tiles(BlockShape(), gpu=True)
    assert wide == MOST_IO_THREADS  # of each tile that is read, the half that no tile at work takes
    large, plain = (WorkerMemory.of(grid, Machine(8 * GIB, gpu=True), one) for one in (8, None))
    assert large.streaming - plain.streaming == MOST_IO_THREADS * plain.tile_bytes


def test_tiles_computed_in_another_dtype_take_copies_on_a_processor_and_none_on_a_gpu():
    grid, machine = TileGrid(40_960, 1024), Machine(4 * GIB)
    wide = replace(machine, arithmetic="float64")
    for alike in (machine, replace(machine, arithmetic="float32"), replace(machine, dtype="float64")):
        assert not alike.widened
    plain, widened = (WorkerMemory.of(grid, one, None) for one in (machine, wide))
    assert widened.streaming - plain.streaming == WIDENED_TILES * plain.tile_bytes
    assert widened.beside_cache + widened.cache <= machine.memory_budget
    gpus = (replace(one, gpu=True) for one in (machine, wide))
    assert len({WorkerMemory.of(grid, one, None) for one in gpus}) == 1
    tight = (replace(one, memory_budget=400 * MIB) for one in (machine, wide))
    plans = [make_plan(BOOKS, ModelNeeds(), one) for one in tight]
    assert plans[1].grid.tile < plans[0].grid.tile
    assert max(plan.peak_bytes for plan in plans) <= GIB
    assert [plan.precision for plan in plans] == ["float32", "float32 computed in float64"]


def test_the_copies_of_a_kernel_in_another_dtype_are_those_of_the_plan():
    tile = 1024  # what other threads of the process allocate meanwhile is nothing beside it
    start, left, right = (np.ones((tile, tile), np.float32) for _ in range(3))
    kernels = CpuKernels("float64")
    tracemalloc.start()
    handle = kernels.load(start)
    kernels.gemm_nt(handle, left, right)
    kernels.trsm_rt(handle, np.eye(tile, dtype=np.float32))
    kernels.store(handle, start)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.9 * WIDENED_TILES < peak / start.nbytes < 1.05 * WIDENED_TILES


def test_users_of_a_block_take_a_share_of_what_is_free():
    assert users_that_fit(10**6, per_user=1000, free=10**6) == 600
    assert users_that_fit(10**6, per_user=1, free=10**9) == 16_384
    assert users_that_fit(10, per_user=1, free=10**9) == 64
    assert users_that_fit(10**6, per_user=1000, free=-5) == 64


def test_what_is_not_known_of_the_data_is_assumed():
    size = DataSize(items=1000, users=100, interactions=10_000)
    assert size.widest_block(100) == POPULAR_TILE * 1000
    assert size.widest_block(1000) == 10_000
    assert size.pairs() == UNEVEN_USERS * 10_000**2 / 100
    known = replace(size, block_interactions=lambda tile: 7, pair_count=lambda: 3.0)
    assert (known.widest_block(100), known.pairs()) == (7, 3.0)


def test_every_model_adds_the_stages_that_it_needs():
    machine = Machine(2 * GIB)
    solve = ["gram", "factor", "linv", "invert"]

    def names(models, size=BOOKS):
        return [stage.name for stage in make_plan(size, models, machine).stages]

    assert names(ModelNeeds(), replace(BOOKS, dim=0)) == [*solve, "score"]
    assert names(ModelNeeds()) == [*solve, "assemble", "score"]
    assert names(ModelNeeds(dense_features=False)) == [*solve, "score"]
    semantic = [f"semantic {name}" for name in solve]
    direct = ModelNeeds(semantic_tiles=True, product=True, dense_features=False)
    assert names(direct) == [*solve, *semantic, "product", "score"]


def test_the_three_stages_of_a_solve_take_n_cubed_flops():
    for workers in (1, 8):
        plan = make_plan(BOOKS, ModelNeeds(), Machine(2 * GIB, workers))
        factor, linv, invert = plan.stages[1:4]
        assert factor.flops + linv.flops + invert.flops == pytest.approx(38_519.0**3)
        # several workers sum up partial products, which are tiles too
        assert (factor.tasks > linv.tasks) == (workers > 1)


def test_a_cache_that_holds_all_tiles_reads_only_what_it_must():
    assert tiles_read(1, 1, 0) == 1
    assert tiles_read(10, 1, 10**6) < tiles_read(10, 1, 9) < tiles_read(10, 1, 0)


def test_a_sample_of_users_is_what_is_scored():
    everyone, sample = (
        make_plan(BOOKS, ModelNeeds(scored_users=count), Machine(2 * GIB)).stages[-1]
        for count in (None, 1000)
    )
    assert sample.flops / everyone.flops == pytest.approx(1000 / BOOKS.users)


def test_a_stage_that_does_not_fit_is_named_with_the_budget_that_would():
    plan = make_plan(BOOKS, ModelNeeds(), Machine(512 * MIB, tile=4096))
    with pytest.raises(BudgetError, match=r"stage \w+ needs [\d,]+ MiB per worker with tiles of 4096"):
        plan.validate()


def test_a_chosen_tile_gives_way_to_popular_items_and_a_given_one_does_not():
    crowded = replace(BOOKS, block_interactions=lambda tile: 24_000 * tile)
    machine = Machine(2 * GIB)
    first, fitting = make_plan(crowded, ModelNeeds(), machine), fitting_plan(crowded, ModelNeeds(), machine)
    assert first.peak_bytes > machine.memory_budget >= fitting.peak_bytes
    assert fitting.grid.tile < first.grid.tile
    given_tile = replace(machine, tile=first.grid.tile)
    assert fitting_plan(crowded, ModelNeeds(), given_tile) == first


def test_the_smallest_change_that_is_named_fits():
    def configured(**compute):
        return make_config({"workspace": "w", "model": {"name": "ease"}, "compute": compute})

    tight = configured(memory_budget="1GiB", tile_size=8192)
    size = given_size(tight, 50_000, 100_000, 10**6, None)
    with pytest.raises(
        BudgetError, match=r"memory_budget = (\d+)MiB, or compute.tile_size = (\d+)"
    ) as refused:
        plan_or_smallest_change(tight, size)
    budget, tile = (part.split()[0].rstrip(".,") for part in str(refused.value).split(" = ")[1:])
    assert plan_or_smallest_change(configured(memory_budget=budget, tile_size=8192), size).grid.tile == 8192
    assert plan_with_tile(tight, size, int(tile)) is not None
    assert plan_with_tile(tight, size, int(tile) + 128) is None
