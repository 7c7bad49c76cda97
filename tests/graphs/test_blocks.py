"""Macro blocks: the same bits as tile by tile, each operand read once for a block, resumed tile by tile."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tile_runs import read_lower, run_all, setup, spd

from l3ae_dist.errors import DamagedTileError
from l3ae_dist.graphs import tile_memory
from l3ae_dist.graphs.blocks import BlockShape, BlockTask, even_groups, program, tiles_of
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.inverse import InverseGraph, TriangularInverseGraph
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.runtime.executors import SerialExecutor
from l3ae_dist.runtime.run_graph import run_graph
from l3ae_dist.storage.chunks import ChunkArray

SHAPES = [BlockShape(2, 2), BlockShape(3, 2), BlockShape(1, 4), BlockShape(4, 1), BlockShape(9, 9)]
GRAPHS = (
    lambda grid, workers, block: CholeskyGraph(grid, workers, 0.5, block),
    TriangularInverseGraph,
    InverseGraph,
)

shapes = st.builds(BlockShape, st.integers(1, 6), st.integers(1, 6))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.rows}x{shape.columns}")
def test_blocks_have_the_bits_of_lone_tiles(tmp_path, shape, dtype):
    matrix = spd(149)
    alone, context = setup(tmp_path / "alone", matrix, 16, dtype)
    run_all(context)
    for workers in (1, 2):
        arrays, context = setup(tmp_path / str(workers), matrix, 16, dtype)
        stats = run_all(context, workers=workers, block=shape)
        for name in ("L", "Linv", "P"):
            np.testing.assert_array_equal(read_lower(arrays[name]), read_lower(alone[name]))
        assert [one.written >= context.grid.lower_count for one in stats] == [True] * 3


@pytest.mark.parametrize("arithmetic", ["float32", "float64"])
@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_blocks_have_the_bits_of_lone_tiles_on_every_device(tmp_path, device, arithmetic):
    found = []
    for name, block in (("alone", BlockShape()), ("blocks", BlockShape(3, 2))):
        arrays, context = setup(tmp_path / name, spd(100), 16, "float32")
        run_all(replace(context, device=device, arithmetic=arithmetic), block=block)
        found.append({array: read_lower(arrays[array]) for array in ("L", "Linv", "P")})
    for name, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][name])


@given(st.integers(1, 14), st.integers(1, 5), shapes, st.sampled_from(GRAPHS))
def test_every_tile_is_made_once_after_what_it_needs(count, workers, shape, make):
    graph = make(TileGrid(4 * count, 4), workers, shape)
    done = set()
    for task in graph.tasks():
        assert done.issuperset(task.deps)
        assert done.isdisjoint(task.targets)
        done.update(task.targets)
        assert len(task.targets) <= shape.tiles
    assert len(done) == len(graph)


@given(st.integers(1, 10), st.integers(1, 3), shapes, st.sampled_from(GRAPHS))
def test_a_program_runs_every_kernel_of_each_tile_in_its_order(count, workers, shape, make):
    for task in make(TileGrid(4 * count, 4), workers, shape).tasks():
        tiles, kernels = tiles_of(task), program(tiles_of(task))
        own = [tile.target for tile in tiles]
        found = {number: [] for number in range(len(tiles))}
        finished, over = set(), set()
        for operation in kernels.operations:
            refs = []
            for operand in operation.operands:
                assert (operand.own, operand.number) not in over
                refs.append(own[operand.number] if operand.own else kernels.reads[operand.number])
                assert not operand.own or operand.number in finished
                if operand.last:
                    over.add((operand.own, operand.number))
            found[operation.tile].append((operation.step, tuple(refs)))
            assert operation.tile not in finished
            if operation.last:
                finished.add(operation.tile)
        assert found == {number: list(tile.actions()) for number, tile in enumerate(tiles)}
        assert {number for own_, number in over if not own_} == set(range(len(kernels.reads)))


def test_an_operand_is_read_once_for_a_row_and_a_column_of_a_block():
    graph = CholeskyGraph(TileGrid(120, 10), block=BlockShape(3, 3))
    block = next(task for task in graph.tasks() if task.target == TileRef("L", 9, 6))
    assert isinstance(block, BlockTask)
    operands = [ref for ref in program(block.tiles).reads if ref.array == "L"]
    # six panels before, of three tiles each for its rows and its columns; then the diagonal block
    assert len(operands) == 6 * (3 + 3) + 6


@pytest.mark.parametrize("lost", [[(7, 4)], [(6, 4), (7, 5), (8, 8)], [(4, 4), (8, 0)]])
def test_only_the_missing_tiles_of_a_block_are_made_again(tmp_path, lost):
    arrays, context = setup(tmp_path, spd(140), 16, "float64")
    block = BlockShape(3, 2)
    run_all(context, block=block)
    before = {name: read_lower(arrays[name]) for name in ("L", "Linv", "P")}
    for i, j in lost:
        arrays["L"].discard(i, j)
    first, *others = run_all(context, block=block)
    assert (first.written, [one.written for one in others]) == (len(lost), [0, 0])
    np.testing.assert_array_equal(read_lower(arrays["L"]), before["L"])


def test_what_a_failed_block_wrote_stays_and_what_it_held_is_given_back(tmp_path):
    arrays, context = setup(tmp_path, spd(100), 16, "float64")
    block = BlockShape(4, 2)
    run_all(context, block=block)
    arrays["P"].workspace.delete("P")
    ChunkArray.create(arrays["P"].workspace, "P", shape=(100, 100), chunks=(16, 16), dtype="float64")
    with open(tmp_path / "w" / "Linv" / "c" / "6" / "1", "r+b") as tile:
        tile.seek(40)
        tile.write(b"noise")
    graph = InverseGraph(context.grid, block=block)
    with pytest.raises(DamagedTileError, match="Linv"):
        run_graph(graph, context, SerialExecutor(), targets={"P"})
    assert tile_memory.process_accumulators().held == 0
    linv = TriangularInverseGraph(context.grid, block=block)
    assert run_graph(linv, context, SerialExecutor(), targets={"Linv"}).written == 1
    run_graph(graph, context, SerialExecutor(), targets={"P"})
    p = read_lower(arrays["P"])
    expected = np.linalg.inv(spd(100) + np.eye(100))
    np.testing.assert_allclose(np.tril(p), np.tril(expected), atol=1e-10)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 9))
def test_groups_cover_everything_and_differ_by_one_at_most(start, length, most):
    groups = even_groups(start, start + length, most)
    assert list(itertools.chain.from_iterable(groups)) == list(range(start, start + length))
    sizes = {len(group) for group in groups}
    assert not sizes or (max(sizes) <= most and max(sizes) - min(sizes) <= 1)
