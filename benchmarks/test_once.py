"""Every benchmark of asv_bench once, as asv finds it; counts must not change (make bench-once)."""

import bench_once
import pytest

CASES = list(bench_once.cases())


@pytest.mark.parametrize("case", CASES, ids=[name for name, _, _ in CASES])
def test_it_runs_and_counts_what_it_counted(case):
    name, benchmark, chosen = case
    found = bench_once.run_once(benchmark, chosen)
    if bench_once.is_count(name):
        assert bench_once.difference(name, found, bench_once.expected().get(name)) == ""
    elif benchmark.type == "track":
        assert found > 0


def test_every_expected_count_is_still_made():
    assert sorted(bench_once.expected()) == sorted(name for name, _, _ in CASES if bench_once.is_count(name))


@pytest.mark.parametrize(("found", "wanted"), [(12, 10), (0, 10), (3, 0), (5, None)])
def test_a_changed_count_is_a_sentence(found, wanted):
    text = bench_once.difference("Gram.track_num_tasks(tile=4)", found, wanted)
    assert text.startswith(f"Gram.track_num_tasks(tile=4) is {found} and ")
    assert "bench_once.py --write" in text
    assert bench_once.difference("x", 10, 10) == ""
