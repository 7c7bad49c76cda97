"""Blocks of one process beside each other, interrupted, and tried again."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from tile_runs import read_lower, run_all, setup, spd

from l3ae_dist.graphs import make_tiles, tile_memory
from l3ae_dist.graphs.blocks import BlockShape
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.execute import run_task
from l3ae_dist.graphs.inverse import InverseGraph
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.runtime.events import BadTile
from l3ae_dist.runtime.executors import SerialExecutor, task_key, task_targets
from l3ae_dist.runtime.run_graph import run_graph
from l3ae_dist.runtime.submission_window import SubmissionWindow
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.operand_stream import OperandStream

BLOCK = BlockShape(3, 3)
GRID = TileGrid(36, 4)
PATIENCE = 30


@pytest.fixture
def inverse(tmp_path):
    """P, the context and the graph of a stage whose blocks do not depend on each other; P is to be made."""
    arrays, context = setup(tmp_path, spd(149), 16, "float64")
    run_all(context, block=BLOCK)
    expected = read_lower(arrays["P"])
    for i in range(context.grid.count):
        for j in range(i + 1):
            arrays["P"].discard(i, j)
    context = replace(context, accumulators=BLOCK.tiles + 1)
    yield arrays["P"], context, InverseGraph(context.grid, block=BLOCK), expected
    assert tile_memory.process_accumulators().held == 0


def in_background(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def test_blocks_of_several_threads_do_not_wait_for_each_other(inverse):
    array, context, graph, expected = inverse

    def run():
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda task: run_task(task, context), graph.tasks()))

    for _ in range(5):
        for i, j in array.done():
            array.discard(i, j)
        thread = in_background(run)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        np.testing.assert_array_equal(read_lower(array), expected)


def test_a_block_that_took_its_tiles_later_does_not_compute_first(inverse, monkeypatch):
    array, context, graph, expected = inverse
    late, going = threading.Event(), threading.Event()

    def stream(*arguments):
        if not late.is_set():  # the first block, between taking its tiles and computing
            late.set()
            assert going.wait(PATIENCE)
        return OperandStream(*arguments)

    monkeypatch.setattr(make_tiles, "OperandStream", stream)
    first, second, *others = graph.tasks()
    context = replace(context, accumulators=len(first.targets) + 1)
    threads = [in_background(lambda: run_task(first, context))]
    assert late.wait(PATIENCE)
    threads.append(in_background(lambda: run_task(second, context)))
    threads[1].join(0.5)  # it would compute by now, and wait for tiles that the first holds
    going.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    for task in others:
        run_task(task, context)
    np.testing.assert_array_equal(read_lower(array), expected)


@pytest.mark.parametrize("place", ["OperandStream", "apply_kernel", "partial"])
def test_an_interrupt_anywhere_gives_everything_back(inverse, monkeypatch, place):
    array, context, graph, expected = inverse

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(make_tiles, place, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_graph(graph, context, SerialExecutor(), targets={"P"})
    assert tile_memory.process_accumulators().held == 0
    thread = in_background(lambda: run_graph(graph, context, SerialExecutor(), targets={"P"}))
    thread.join(PATIENCE)
    assert not thread.is_alive()
    np.testing.assert_array_equal(read_lower(array), expected)


def test_an_interrupt_between_a_write_and_its_record_does_not_free_the_tile(inverse, monkeypatch):
    array, context, graph, expected = inverse
    writing, going = threading.Event(), threading.Event()
    accumulators, write = tile_memory.process_accumulators(), ChunkArray.write

    def slow(self, i, j, block, **options):
        writing.set()
        assert going.wait(PATIENCE)
        return write(self, i, j, block, **options)

    def lost(work):
        accumulators._writes.submit(work)
        assert writing.wait(PATIENCE)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ChunkArray, "write", slow)
        patched.setattr(accumulators, "write", lost)
        with pytest.raises(KeyboardInterrupt):
            run_graph(graph, context, SerialExecutor(), targets={"P"})
    free = [buffer for buffers in tile_memory.process_reader()._free.values() for buffer in buffers]
    for buffer in free:  # as the next block would
        buffer[:] = 7
    going.set()
    accumulators._writes.submit(lambda: None).result()
    run_graph(graph, context, SerialExecutor(), targets={"P"})
    np.testing.assert_array_equal(read_lower(array), expected)


def test_a_failed_write_fails_its_block_and_gives_everything_back(inverse, monkeypatch):
    array, context, graph, expected = inverse
    write = ChunkArray.write

    def full(self, i, j, block, **options):
        if (i, j) == (1, 0):
            raise OSError("disk full")
        return write(self, i, j, block, **options)

    with monkeypatch.context() as patched:
        patched.setattr(ChunkArray, "write", full)
        with pytest.raises(OSError, match="disk full"):
            run_task(next(graph.tasks()), context)
    assert tile_memory.process_accumulators().held == 0
    run_graph(graph, context, SerialExecutor(), targets={"P"})
    np.testing.assert_array_equal(read_lower(array), expected)


def test_a_tile_that_an_earlier_try_of_a_block_wrote_is_repaired_by_the_block(tmp_path):
    alone, context = setup(tmp_path / "alone", spd(100), 16, "float64")
    run_all(context)
    arrays, context = setup(tmp_path / "blocks", spd(100), 16, "float64")
    context = replace(context, accumulators=BLOCK.tiles + 1)
    graph = CholeskyGraph(context.grid, 1, 1.0, BLOCK)
    block = next(task for task in graph.tasks() if len(task.targets) > 1 and task.target.j)
    events = []
    executor = _FailsOnce(block, arrays["L"], tmp_path / "blocks" / "w")
    run_graph(graph, context, executor, targets={"L"}, on_event=events.append)
    repaired = [(one.i, one.j) for one in events if isinstance(one, BadTile)]
    assert repaired == [(block.deps[0].i, block.deps[0].j), (block.target.i, block.target.j)]
    np.testing.assert_array_equal(read_lower(arrays["L"]), read_lower(alone["L"]))


class _FailsOnce(SerialExecutor):
    """At its first try a block leaves its first tile alone, damaged, and finds an operand damaged."""

    def __init__(self, block, array, folder):
        super().__init__()
        self._block, self._array, self._folder = block, array, folder

    def _call(self, function, task, context):
        records = function(task, context)
        if task != self._block:
            return records
        self._block = None
        for ref in task.targets[1:]:
            self._array.discard(ref.i, ref.j)
        for ref in (task.target, task.deps[0]):
            with open(self._folder / "L" / "c" / str(ref.i) / str(ref.j), "r+b") as tile:
                tile.seek(40)
                tile.write(b"noise")
        self._array.read(task.deps[0].i, task.deps[0].j)
        raise AssertionError("damage was not found")


def test_a_lost_worker_tells_all_tiles_of_its_blocks():
    block = next(CholeskyGraph(GRID, block=BLOCK).tasks())
    single = next(CholeskyGraph(GRID).tasks())
    keys = [task_key(block.targets, "7f-1"), task_key(single.targets, "7f-12"), "finalize-7f", ("x", 1)]
    lower = [("L", i, j) for i in range(3) for j in range(i + 1)]
    assert task_targets(keys) == sorted([*lower, ("L", 0, 0)])


def test_the_window_holds_few_large_blocks():
    window = SubmissionWindow(InverseGraph(GRID, block=BLOCK).tasks(), set(), most_chunks=10)
    first, second = window.pop(), window.pop()
    assert (len(first.targets) + len(second.targets) >= 10, window.pop()) == (True, None)
    window.complete(first)
    made = {*first.targets, *second.targets}
    while (task := window.pop()) is not None:
        made.update(task.targets)
        window.complete(second)
        second = task
    window.complete(second)
    assert (len(made), window.finished) == (GRID.lower_count, True)


def test_a_process_that_made_nothing_ends_without_a_word():
    code = "from l3ae_dist.graphs.tile_memory import process_accumulators; process_accumulators()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("", "")
