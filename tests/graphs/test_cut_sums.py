"""Sums cut into parts for many workers: the same bits, none left over, resumed where they were."""

from dataclasses import replace

import numpy as np
import pytest
from tile_runs import read_lower, run_all, setup, spd

from l3ae_dist.graphs import cut_sums
from l3ae_dist.graphs.blocks import BlockShape, BlockTask
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.cut_sums import group_cuts, in_flight, in_flight_shape
from l3ae_dist.graphs.inverse import TriangularInverseGraph
from l3ae_dist.graphs.tasks import TileTask
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.runtime.executors import SerialExecutor
from l3ae_dist.runtime.run_graph import run_graph
from l3ae_dist.runtime.submission_window import SubmissionWindow
from l3ae_dist.storage.chunks import ChunkArray

TILE, COUNT, WORKERS, BLOCK = 4, 40, 12, BlockShape(8, 8)
N = TILE * COUNT - 1
GRAPHS = [
    CholeskyGraph(TileGrid(N, TILE), WORKERS, 1.0, BLOCK),
    TriangularInverseGraph(TileGrid(N, TILE), WORKERS, BLOCK),
]
IDS = ["factor", "linv"]


@pytest.mark.parametrize("graph", GRAPHS, ids=IDS)
def test_every_tile_is_made_once_after_what_it_waits_for(graph):
    made = set()
    tiles = {(i, j) for i in range(COUNT) for j in range(i + 1)}
    blocks = partials = 0
    for task in graph.tasks():
        assert made.issuperset(task.deps)
        assert made.isdisjoint(task.targets)
        made.update(task.targets)
        blocks += isinstance(task, BlockTask)
        for tile in task.tiles if isinstance(task, BlockTask) else (task,):
            assert graph.task_for(tile.target) == tile
            partials += bool(tile.feeds)
    final = "L" if graph is GRAPHS[0] else "Linv"
    assert {(ref.i, ref.j) for ref in made if ref.array == final} == tiles
    assert {ref.array for ref in made} == {final, *graph.partials}
    assert len(made) == len(graph)
    assert blocks
    assert partials


@pytest.mark.parametrize("graph", GRAPHS, ids=IDS)
def test_the_parts_of_a_sum_are_the_whole_in_its_order(graph):
    alone = type(graph)(graph.grid, *([1, 1.0] if graph is GRAPHS[0] else []))
    parts = {}
    for task in graph.tasks():
        for tile in task.tiles if isinstance(task, BlockTask) else (task,):
            parts.setdefault((tile.target.i, tile.target.j), []).extend(tile.actions())
    assert parts == {
        (task.target.i, task.target.j): list(task.actions())
        for task in alone.tasks()
        if isinstance(task, TileTask)
    }


def test_few_panels_are_left_for_the_task_that_finishes_a_tile():
    graph = GRAPHS[0]
    for task in graph.tasks():
        for tile in task.tiles if isinstance(task, BlockTask) else (task,):
            assert len(tile.operands) <= (24 if tile.feeds else 4)


def test_blocks_get_smaller_and_sums_are_cut_where_workers_are_many():
    assert [in_flight(workers) for workers in (1, 2, 8, 9, 256)] == [False, False, False, True, True]
    sides = [in_flight_shape(BLOCK, 245, workers).rows for workers in (2, 16, 64, 256, 2000)]
    assert sides == [8, 8, 5, 3, 1]


def test_cuts_lie_between_groups():
    groups = [range(3 * n, 3 * n + 3) for n in range(20)]
    found = dict(group_cuts(groups))
    assert [found[groups[n]] for n in (0, 1, 2, 9, 10, 19)] == [
        (0,), (0,), (0, 3), (0, 24), (0, 24, 27), (0, 24, 48, 54),
    ]  # fmt: skip


@pytest.mark.parametrize("kill_at", [None, 60, 190])
def test_bits_are_those_of_one_worker_and_nothing_is_left_over(tmp_path, monkeypatch, kill_at):
    monkeypatch.setattr(cut_sums, "_MANY", 2)
    monkeypatch.setattr(cut_sums, "_PANELS", 6)
    grid = TileGrid(16 * TILE - 1, TILE)
    graphs = CholeskyGraph(grid, 2, 1.0, BLOCK), TriangularInverseGraph(grid, 2, BLOCK)
    assert [len(graph.partials) for graph in graphs] == [2, 2]
    matrix = spd(grid.n)
    alone, context = setup(tmp_path / "alone", matrix, TILE, "float32")
    run_all(context)
    arrays, context = setup(tmp_path / "many", matrix, TILE, "float32")
    ws = arrays["L"].workspace
    context = replace(context, accumulators=BLOCK.tiles + 1)
    for graph, name in zip(graphs, ("L", "Linv"), strict=True):
        for partial in graph.partials:
            ChunkArray.create(ws, partial, shape=(grid.n, grid.n), chunks=(TILE, TILE), dtype="float32")
            context.paths[partial] = partial
        events = []

        def stop(event, events=events):
            events.append(event)
            if len(events) == kill_at:
                raise KeyboardInterrupt

        written = {name, *graph.partials}
        if kill_at is not None:
            with pytest.raises(KeyboardInterrupt):
                run_graph(graph, context, SerialExecutor(), targets=written, on_event=stop)
        run_graph(graph, context, SerialExecutor(), targets=written, on_event=events.append)
        made = [(e["array"], e["i"], e["j"]) for e in events if e["kind"] == "tile" and not e["skipped"]]
        assert len(made) == len(set(made))
        np.testing.assert_array_equal(read_lower(arrays[name]), read_lower(alone[name]))
        for partial in graph.partials:
            assert not ChunkArray.open(ws, partial).done()
            assert not list(ws.blobs.list(f"{partial}/c"))


def test_parts_whose_tile_is_done_are_not_made_again():
    graph = GRAPHS[0]
    order = [task for task in graph.tasks() if isinstance(task, BlockTask) and task.tiles[0].feeds]
    block = order[-1]
    kept, *others = block.tiles
    window = SubmissionWindow(iter([block]), {kept.feeds[-1], *(ref for ref in block.deps)})
    left = window.pop()
    assert left.targets == tuple(tile.target for tile in others)
    done = {tile.feeds[-1] for tile in block.tiles}
    assert SubmissionWindow(iter([block]), done).finished
