"""Which workers a task is told of, from the records of tasks that ended."""

from dataclasses import replace

import pytest

from l3ae_dist.graphs.blocks import BlockShape
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.execute import TaskRecord
from l3ae_dist.graphs.holders import as_bits, tiles_known, tiles_read_by
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.runtime.tile_holders import TileHolders

GRID = TileGrid(6, 1)
PATHS = {"gram": "g", "L": "f/L"}


def task_of(i, j, block=1):
    return next(
        task
        for task in CholeskyGraph(GRID, block=BlockShape(block, block)).tasks()
        if TileRef("L", i, j) in task.targets
    )


def ended(task, worker, kept):
    """The records of a task whose worker holds these of its tiles."""
    first = TaskRecord(task.target, False, 7, 0.0, 0, 0, 0.0, 0.0, 1, "host", worker=worker)
    bits = as_bits([ref in kept for ref in tiles_known(task)])
    more = [replace(first, target=ref) for ref in task.targets[1:]]
    return [replace(first, kept=bits), *more]


@pytest.mark.parametrize("block", [1, 3])
def test_a_task_is_told_who_holds_what_it_reads(block):
    holders, first = TileHolders(), task_of(0, 0, block)
    holders.note(first, PATHS, ended(first, "one", {first.target}))
    later = task_of(5, 0, block)
    found = holders.of(later, PATHS)
    assert found.of(first.target) == ("one",)
    assert found.crcs == {first.target: 7}
    assert {ref for ref in tiles_read_by(later) if found.of(ref)} == {first.target}


def test_a_tile_that_is_given_up_and_a_worker_that_is_lost_are_forgotten():
    holders, first, second = TileHolders(), task_of(0, 0), task_of(1, 0)
    holders.note(first, PATHS, ended(first, "one", {first.target}))
    holders.note(second, PATHS, ended(second, "two", {first.target, second.target}))
    later = task_of(3, 0)
    assert set(holders.of(later, PATHS).of(first.target)) == {"one", "two"}
    third = task_of(2, 0)
    holders.note(third, PATHS, ended(third, "one", set()))
    assert holders.of(later, PATHS).of(first.target) == ("two",)
    holders.forget("two")
    assert holders.of(later, PATHS).of(first.target) == ()


def test_many_holders_are_told_in_turn_and_few_at_a_time():
    holders, first = TileHolders(), task_of(0, 0)
    for number in range(40):
        holders.note(first, PATHS, ended(first, f"w{number}", {first.target}))
    told = [holders.of(task_of(1, 0), PATHS).of(first.target) for _ in range(32)]
    assert {len(one) for one in told} == {3}
    assert len({one[0] for one in told}) == 16


def test_another_ridge_has_other_tiles():
    holders, first = TileHolders(), task_of(0, 0)
    holders.note(first, PATHS, ended(first, "one", {first.target}))
    other = {"gram": "g", "L": "other/L"}
    assert holders.of(task_of(1, 0), other).of(first.target) == ()
    holders.clear()
    assert holders.of(task_of(1, 0), PATHS).of(first.target) == ()
