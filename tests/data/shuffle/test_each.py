"""Tasks of a pass give their results in order, wherever they run; spills come back as they were."""

import time

import numpy as np
import pyarrow as pa
import pytest

from l3ae_dist.data.shuffle.each import InThreads, in_turn
from l3ae_dist.data.shuffle.spills import Spills
from l3ae_dist.errors import WorkspaceError


@pytest.mark.parametrize("each", [in_turn, InThreads(1), InThreads(2), InThreads(5)])
def test_results_come_in_the_order_of_the_tasks(each):
    def slow_first(task):
        time.sleep(0.01 * (3 - task % 4))
        return task * 2

    assert list(each(slow_first, range(12))) == [2 * task for task in range(12)]
    assert list(each(slow_first, [])) == []


def test_the_first_error_ends_a_pass():
    seen = []

    def fail(task):
        seen.append(task)
        if task == 1:
            raise ValueError("task 1")
        return task

    with pytest.raises(ValueError, match="task 1"):
        list(InThreads(2)(fail, range(50)))
    assert len(seen) < 20


def test_ranges_of_spilled_arrays_and_ids(tmp_path):
    check_spills(Spills(str(tmp_path / "spills")))


def test_spills_on_an_object_store(s3_environment, monkeypatch):
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    check_spills(Spills("s3://bucket/spills"))


def check_spills(spills):
    values = np.arange(1000) * 3
    spills.put("a/b", values)
    np.testing.assert_array_equal(spills.get("a/b", np.int64), values)
    np.testing.assert_array_equal(spills.get("a/b", np.int64, 10, 17), values[10:17])
    assert len(spills.get("a/b", np.int64, 5, 5)) == 0
    for key, start in (("a/b", 999), ("a/b", 2000), ("gone", 0)):
        with pytest.raises(WorkspaceError, match=key):
            spills.get(key, np.int64, start, start + 2)
    for ids in (pa.array([3, -(2**63)]), pa.array(["é", "", "x" * 5000], pa.large_string())):
        spills.put_ids("ids", ids)
        assert spills.get_ids("ids").equals(ids)
    for read in (spills.get_ids, lambda key: spills.get(key, np.int64)):
        with pytest.raises(WorkspaceError, match="gone"):
            read("gone")
