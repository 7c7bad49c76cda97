"""The trials of a grid or a sweep: the best of them, the edge of the values, the table and the figures."""

import math

import pytest

from l3ae_dist.report.hyperparameters import (
    best_trials,
    figures_per_row,
    hyperparameter_figures,
    ridge_figure,
    search_plots,
    values_at_the_edge,
)
from l3ae_dist.report.trials import Trials

METRIC = "ndcg@5"


def l3ae(ridge, reg_f, reg_e, value):
    return {"model": "L3AE", "reg_x": ridge - reg_e, "reg_f": reg_f, "reg_e": reg_e, "ridge": ridge,
            "recall@5": 0.5, METRIC: value}  # fmt: skip


def sweep_of(rows):
    found = Trials.of_result({"sweep": {"table": rows, "metric": METRIC}})
    assert found is not None
    return found


def grid(ridges=(5.0, 20.0, 50.0), values=(1.0, 5.0, 10.0)):
    """Trials whose best is ridge 20, reg_f 5 and the largest reg_e."""
    rows = [
        l3ae(ridge, f, e, 0.5 - abs(math.log(ridge / 20)) / 100 - abs(f - 5) / 100 + e / 1000)
        for ridge in ridges
        for f in values
        for e in values
    ]
    ease = [
        {"model": "EASE", "reg_x": r, "ridge": r, "recall@5": 0.4, METRIC: 0.4 + r / 1000} for r in ridges
    ]
    return sweep_of([{"model": "EASEText", "reg_f": 1.0, "recall@5": 0.2, METRIC: 0.02}, *ease, *rows])


def test_a_result_without_a_search_has_no_trials():
    assert Trials.of_result({}) is None
    assert Trials.of_result({"grid": []}) is None
    by_grid = Trials.of_result({"grid": [l3ae(5.0, 1.0, 2.0, 0.1)]})
    assert by_grid is not None
    assert by_grid.metric == METRIC
    assert by_grid.best.parameters == {"reg_x": 3.0, "reg_f": 1.0, "reg_e": 2.0, "ridge": 5.0}


def test_parameters_that_a_model_lacks_are_no_values():
    trials = sweep_of([{"model": "EASE", "ridge": 5.0, "alpha": None, METRIC: 0.1}])
    assert trials.values("alpha") == []
    assert trials.values("ridge") == [5.0]
    assert not trials.all[0].has("alpha")


def test_the_best_of_each_ridge_is_its_largest_value():
    ours = grid().of("L3AE")
    best = ours.best_by_ridge()
    assert list(best) == [5.0, 20.0, 50.0]
    assert all(best[ridge] == max(ours.at("ridge", ridge).scores) for ridge in best)
    assert ours.value(ours.best) == max(best.values())


def test_the_edge_counts_from_three_values_on():
    assert values_at_the_edge(grid()) == ["reg_e 10 (largest)"]
    assert values_at_the_edge(grid(values=(5.0, 10.0))) == []
    assert values_at_the_edge(grid(ridges=(20.0, 50.0, 100.0), values=(5.0,))) == ["ridge 20 (smallest)"]
    assert values_at_the_edge(grid().of("EASE")) == []


def test_the_table_has_the_ten_best_and_the_best_of_each_further_model():
    headings, rows = best_trials(grid())
    assert headings == ["place", "model", "ridge", "reg_x", "reg_f", "reg_e", "recall@5", METRIC]
    assert [row[1] for row in rows[:10]] == ["L3AE"] * 10
    assert [row[1] for row in rows[10:]] == ["EASE", "EASEText"]
    assert rows[-1][0] == "31"
    assert rows[-1][2:6] == ["", "", "1", ""]  # EASEText has no ridge
    assert rows[0][2:6] == ["20", "10", "5", "10"]


def test_there_is_a_heat_map_for_each_ridge_and_the_best_is_named():
    trials = grid()
    drawn = hyperparameter_figures(trials)
    assert [plot.title.text for _, plot in drawn] == ["ridge = 5", "ridge = 20", "ridge = 50"]
    assert [sentence.endswith("which is the best of all (framed).") for sentence, _ in drawn] == [
        False,
        True,
        False,
    ]
    assert "0.5100, the largest with reg_f 5 and reg_e 10" in drawn[1][0]
    assert figures_per_row(trials) == 4


def test_many_ridges_are_points_instead_of_maps():
    trials = grid(ridges=tuple(float(ridge) for ridge in range(10, 23)))
    drawn = hyperparameter_figures(trials)
    assert [plot.title.text for _, plot in drawn] == [
        f"{METRIC} over {n}" for n in ("ridge", "reg_f", "reg_e")
    ]
    assert figures_per_row(trials) == 3
    assert [plot.name for plot in search_plots(trials)] == ["ridges", "grid-0", "grid-1", "grid-2"]


@pytest.mark.parametrize(("text", "drawn"), [(0.02, False), (0.45, True)])
def test_a_model_without_ridge_is_a_line_unless_it_would_press_the_others_together(text, drawn):
    trials = grid()
    trials = Trials(
        tuple(t for t in trials.all if t.model != "EASEText")
        + sweep_of([{"model": "EASEText", "reg_f": 1.0, METRIC: text}]).all,
        METRIC,
    )
    names = [item.label.value for item in ridge_figure(trials).legend[0].items]
    assert ("EASEText (no ridge)" in names) is drawn
    told = search_plots(trials)[0].alt
    assert ("lies below the axis" in told) is not drawn


def test_what_was_given_up_was_tried_and_all_dimensions_are_more_than_any_number():
    rows = [l3ae(ridge, 1.0, 2.0, value) for ridge, value in ((20.0, 0.1), (50.0, 0.2), (100.0, 0.3))]
    stopped = [{**l3ae(500.0, 1.0, 2.0, 0.0), "users": 12}]
    assert values_at_the_edge(sweep_of(rows)) == ["ridge 100 (largest)"]
    trials = Trials.of_result({"sweep": {"table": rows, "metric": METRIC, "stopped": stopped}})
    assert values_at_the_edge(trials) == []
    dims = [
        l3ae(5.0, 1.0, 2.0, place) | {"truncate_dim": dim} for place, dim in enumerate([64, 128, None, 256])
    ]
    assert values_at_the_edge(sweep_of(dims)) == []


def test_one_model_alone_has_no_plots():
    assert search_plots(sweep_of([l3ae(5.0, 1.0, 2.0, 0.1)])) == []
    assert hyperparameter_figures(grid().of("EASE")) == []


def test_words_switches_and_all_dimensions_are_told_and_no_limit_is_an_edge():
    def row(whiten, dim, unit, diagonal, value):
        more = {"whiten": whiten, "truncate_dim": dim, "normalize": unit, "diagonal": diagonal, "xi": whiten}
        return l3ae(5.0, 1.0, 2.0, value) | more

    rows = [
        row(0.0, None, True, "zero", 0.3),
        row(0.5, 32, False, "at_most", 0.4),
        row(1.0, 64, True, "none", 0.5),
    ]
    trials = sweep_of(rows)
    headings, cells = best_trials(trials)
    told = [dict(zip(headings, line, strict=True)) for line in cells]
    assert [one["truncate_dim"] for one in told] == ["64", "32", "all"]
    assert [one["normalize"] for one in told] == ["yes", "no", "yes"]
    assert [one["diagonal"] for one in told] == ["none", "at_most", "zero"]
    assert values_at_the_edge(trials) == [
        "xi 1 (largest)"
    ]  # whitening ends at 1, and all dimensions are more
    ((_, plot),) = hyperparameter_figures(trials)
    assert "normalize" in str(plot.hover[0].tooltips)


def test_members_without_text_are_drawn_side_by_side_over_the_ridge_and_over_their_own_parameters():
    rows = [
        {"model": name, "reg_x": ridge, "xi": xi, "ridge": ridge, METRIC: 0.1 + xi + shift}
        for name, shift in (("RLAE", 0.2), ("RDLAE", 0.3), ("CollectiveEASE", 0.1))
        for ridge in (5.0, 20.0)
        for xi in (0.0, 0.1)
    ]
    trials = sweep_of(rows)
    assert trials.own == "RDLAE"
    labels = [item.label.value for item in ridge_figure(trials).legend[0].items]
    assert labels == ["RDLAE", "RLAE", "CollectiveEASE"]
    sentences = [sentence for sentence, _ in hyperparameter_figures(trials)]
    assert sentences == [f"{METRIC} of 4 models over xi."]
    assert [plot.name for plot in search_plots(trials)] == ["ridges", "grid-0"]
