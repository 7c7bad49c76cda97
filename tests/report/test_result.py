"""Results as reports read them: those of other versions and of unfinished runs too."""

import pytest

from l3ae_dist.report.result import PlanFigures, Result

COMPARISON = {
    "models": ["L3AE", "EASE"], "metric": "ndcg@20", "lift": 0.1, "lift_low": 0.05, "lift_high": 0.15,
    "difference": 0.02, "low": 0.01, "high": 0.03, "p_value": 0.001, "users": 60.0,
}  # fmt: skip


def test_an_unfinished_run_has_an_empty_result():
    result = Result.of({})
    assert result == Result()
    assert not result.found
    assert (result.users, result.seconds, result.plan, result.trials) == (None, None, None, None)
    assert result.metric_figures() == []
    assert result.largest_worker == 0


@pytest.mark.parametrize(
    ("document", "count"),
    [
        ({}, 0),
        ({"comparison": None}, 0),
        ({"comparison": COMPARISON}, 1),
        ({"comparison": COMPARISON, "comparisons": [COMPARISON, COMPARISON]}, 2),
    ],
)
def test_one_comparison_and_several_are_read_alike(document, count):
    found = Result.of(document).comparisons
    assert [one.models for one in found] == [("L3AE", "EASE")] * count
    assert all(one.lift_low == 0.05 for one in found)


def test_a_plan_tells_the_peak_of_each_stage_by_name():
    sizes = {"memory_budget": 100, "projected_peak_bytes": 60}
    stages = [{"name": "gram", "peak_bytes": 50}, {"name": "factor", "peak_bytes": 60}]
    whole = PlanFigures.of({**sizes, "stages": stages, "tile": 8, "dtype": "float32"})
    short = PlanFigures.of({**sizes, "stages": {"gram": 50, "factor": 60}})
    assert whole.stages == short.stages == {"gram": 50, "factor": 60}
    assert (whole.tile, short.tile) == (8, None)


def test_metrics_with_intervals_are_shown_else_those_at_twenty():
    test = {"recall@5": 0.3, "recall@20": 0.5, "ndcg@20": 0.4, "users": 60, "tail": {"ndcg@20": 0.2}}
    bare = Result.of({"models": {"L3AE": {"params": {"ridge": 5.0}, "test": test}}})
    assert [(f.part, f.metric, f.text) for f in bare.metric_figures()] == [
        ("all", "ndcg@20", "0.4000"),
        ("all", "recall@20", "0.5000"),
        ("tail", "ndcg@20", "0.2000"),
    ]
    bounds = {"level": 0.95, "repeats": 100, "all": {"recall@5": [0.25, 0.35]}}
    measured = Result.of({"models": {"L3AE": {"test": test, "intervals": bounds}}}).metric_figures()
    assert measured[0].text == "0.3000 (0.2500 to 0.3500)"
    assert {(f.part, f.metric) for f in measured} == {("all", "recall@5"), ("tail", "ndcg@20")}
