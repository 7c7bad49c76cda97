"""Two runs side by side: how their figures are paired."""

from l3ae_dist.report.compare import (
    FigurePair,
    MetricPair,
    Pair,
    _metrics,
    _with_ratio,
    difference_table,
    figure_table,
    metric_table,
)
from l3ae_dist.report.result import MetricFigure


def test_a_ratio_is_of_two_numbers_other_than_zero():
    assert _with_ratio(Pair("seconds", 2.0, 3.0)).ratio == 1.5
    for a, b in ((0.0, 3.0), (2.0, 0.0), (None, 3.0), ("float32", "float64")):
        assert _with_ratio(Pair("x", a, b)).ratio is None


def test_metrics_are_paired_by_part_metric_and_model():
    first = [
        MetricFigure("all", "ndcg@20", "L3AE", 0.25, 0.2, 0.3),
        MetricFigure("all", "ndcg@20", "EASE", 0.2),
    ]
    second = [MetricFigure("all", "ndcg@20", "L3AE", 0.5), MetricFigure("tail", "ndcg@20", "L3AE", 0.1)]
    pairs = _metrics(first, second)
    assert [(pair.part, pair.model, pair.difference) for pair in pairs] == [
        ("all", "L3AE", 0.25),
        ("all", "EASE", None),
        ("tail", "L3AE", None),
    ]
    assert pairs[0].figures[0] == first[0]
    assert pairs[1].b is None
    shown = metric_table(pairs)
    assert shown is not None
    assert shown.rows[0] == ["all items", "ndcg@20", "L3AE", "0.2500 (0.2000 to 0.3000)", "0.5000", "+0.2500"]
    assert metric_table([]) is None
    assert isinstance(pairs[0], MetricPair)


def test_figures_are_in_the_unit_that_their_name_tells():
    pairs = [FigurePair("seconds of gram", 90.0, None, None), FigurePair("memory budget", 2**30, 2**30, 1.0),
             FigurePair("tile", 4096, 2048, 0.5), FigurePair("certificate, dtype", "float32", "float64", None)]  # fmt: skip
    assert [row[1:] for row in figure_table(pairs).rows] == [
        ["1 min 30 s", "", ""],
        ["1.00 GiB", "1.00 GiB", "1.00"],
        ["4,096", "2,048", "0.50"],
        ["float32", "float64", ""],
    ]


def test_no_difference_is_no_table():
    assert difference_table([]) is None
    shown = difference_table([Pair("model.reg_f", None, [1.0, 5.0]), Pair("report", True, False)])
    assert shown is not None
    assert shown.rows == [["model.reg_f", "", "1, 5"], ["report", "yes", "no"]]
