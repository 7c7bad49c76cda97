"""Tasks that compute one chunk: which there are, what a stage needs, what the runner writes and records."""

import json
import pickle

import numpy as np
import pytest

from l3ae_dist.graphs.chunk_tasks import ChunkGraph, ChunkTask
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.execute import Timing, run_task
from l3ae_dist.graphs.gram import GramParams, gram_graph
from l3ae_dist.graphs.score import ScoreParams
from l3ae_dist.graphs.score_terms import MatrixTerm, ProductTerm, ScoreTerms, Shares, terms_of_part
from l3ae_dist.graphs.semantic_product import product_graph
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.linalg.kernels import CpuKernels, Kernel, Kernels, apply_kernel
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.chunks import TRAILER, ChunkArray
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

GRID = TileGrid(10, 4)


def two_chunks(ref, context, count):
    count.bytes += 7
    shape = context.array("main").valid_shape(ref.i, ref.j)
    return [(TileRef("beside", ref.i, 0), np.ones(shape)), (ref, np.full(shape, 2.0))]


def graph(**options):
    return ChunkGraph(Stage.ASSEMBLE, GRID, "main", two_chunks, GRID.count, **options)


@pytest.fixture
def context(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    for name in ("main", "beside"):
        ChunkArray.create(workspace, name, shape=(10, 1), chunks=(4, 1), dtype="float64")
    return StageContext(workspace.url, {"main": "main", "beside": "beside"}, GRID, "float64")


def test_a_graph_has_one_task_for_each_chunk_and_finds_it_by_its_chunk():
    for made, want in ((graph(), 3), (graph(columns=2), 6), (gram_graph(GRID), 6), (product_graph(GRID), 9)):
        tasks = list(made.tasks())
        assert len(tasks) == len(made) == want
        assert len({task.target for task in tasks}) == want
        assert all(made.task_for(task.target) == task for task in tasks)
        assert made.task_for(TileRef("another", 0, 0)) is None


def test_flops_are_counted_for_products_alone():
    assert sum(task.flops(GRID) for task in product_graph(GRID).tasks()) == 2.0 * 10**3
    assert not any(task.flops(GRID) for task in gram_graph(GRID).tasks())


def test_tasks_are_small_and_travel_by_the_name_of_their_function():
    for task in (next(gram_graph(GRID).tasks()), next(product_graph(GRID).tasks())):
        data = pickle.dumps(task)
        assert pickle.loads(data) == task
        assert len(data) < 500


def test_the_runner_writes_every_chunk_once_and_says_what_it_took(context):
    first, again = (run_task(graph().task_for(TileRef("main", 2, 0)), context)[0] for _ in range(2))
    assert (first.skipped, first.bytes_read, first.bytes_written) == (False, 7, 2 * (4 * 8 + TRAILER))
    assert first.timing == Timing()
    assert (again.skipped, again.crc, again.bytes_written) == (True, first.crc, 0)
    np.testing.assert_array_equal(context.array("main").read(2, 0), np.full((2, 1), 2.0))
    np.testing.assert_array_equal(context.array("beside").read(2, 0), np.ones((2, 1)))


def test_arithmetic_is_measured_where_flops_are_counted(context):
    (record,) = run_task(ChunkTask(TileRef("main", 0, 0), two_chunks, inner=10), context)
    assert record.flops == 2.0 * 4 * 4 * 10
    assert record.started <= record.timing.began
    assert 0 < record.timing.computed <= record.seconds


def test_parameters_of_another_stage_are_refused(context):
    with pytest.raises(TypeError, match="needs ScoreParams, not NoneType"):
        context.params_as(ScoreParams)
    assert GramParams("data").roots is None


def test_every_kernel_is_a_method_of_the_back_ends_and_is_called():
    called = []

    class Recorder:
        def __getattr__(self, name):
            return lambda *arguments: called.append((name, arguments))

    for kernel in Kernel:
        assert callable(getattr(Kernels, kernel))
        assert callable(getattr(CpuKernels, kernel))
        apply_kernel(Recorder(), kernel, "acc", ridge=3.0)
    assert called == [
        (kernel.value, ("acc", 3.0) if kernel is Kernel.ADD_RIDGE else ("acc",)) for kernel in Kernel
    ]


def test_terms_are_read_back_from_json_and_split_by_part():
    terms = ScoreTerms(
        "L3AE",
        (MatrixTerm("P", "c"), MatrixTerm("PC", 2.0, "semantic", symmetric=False)),
        (ProductTerm("Q", "V", 3.0),),
    )
    assert ScoreTerms.from_document(json.loads(json.dumps(terms.document()))) == terms
    assert terms.paths() == ["P", "c", "PC", "Q", "V"]
    semantic = terms_of_part(terms, "semantic")
    assert (semantic.matrices, semantic.products) == (terms.matrices[1:], terms.products)
    assert (semantic.diagonal, terms_of_part(terms, "collaborative").diagonal) == (0.0, 1.0)


def test_a_term_of_both_parts_is_divided_by_its_shares():
    matrix = MatrixTerm("P", "c", shares=Shares("own", "text"))
    terms = ScoreTerms("L3AE", (matrix,), (ProductTerm("Q", "V", 3.0),), "e", Shares(0.5, "e2"))
    assert ScoreTerms.from_document(json.loads(json.dumps(terms.document()))) == terms
    assert terms.paths() == ["P", "c", "Q", "V", "e", "own", "text", "e2"]
    assert terms.divides
    assert terms_of_part(terms, "semantic") == ScoreTerms(
        "L3AE", (MatrixTerm("P", "text", "semantic"),), terms.products, "e2"
    )
    assert terms_of_part(terms, "collaborative") == ScoreTerms("L3AE", (MatrixTerm("P", "own"),), (), 0.5)
