"""Sweeps over the parameters of heads and over members: one inverse for many, every model its own fit."""

from pathlib import Path

import numpy as np
import pytest
from test_sweep_of_transforms import METRIC, N, config_of, swept, tables, transformed

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import ConfigError
from l3ae_dist.evaluation.groups import rank_groups
from l3ae_dist.evaluation.significance import holm, paired_bootstrap
from l3ae_dist.linalg.closed_form import semantic_dense
from l3ae_dist.linalg.heads import LinearObjective, linear_dense
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.metrics import evaluate_top, per_user
from l3ae_dist.model.fitted import load_model
from l3ae_dist.pipeline.sweep import sweep_models

HEADS = {
    "ridge": [5, 20],
    "reg_f": [1, 5],
    "reg_e": [10, 30],
    "p": [0, 0.3],
    "beta": [0, 0.2],
    "alpha": [0, 0.4],
    "diagonal": ["zero", "at_most", "none"],
    "xi": [0, 0.2],
    "whiten": [0, 0.5],
    "members": ["lae", "rlae", "edlae", "rdlae", "dan", "deql"],
}
DIAGONALS = {"LAE": "none", "RLAE": "at_most", "RDLAE": "at_most", "DLAE": "none", "DEQL": "none"}


def dense_b(row, x, f):
    """B of a row of the table, by the formulas of one member."""
    c = None if f is None else semantic_dense(f, row["reg_f"])
    if row["model"] == "EASEText":
        return c
    names = ("reg_x", "reg_e", "p", "alpha", "beta", "xi", "diagonal")
    given = {name: row[name] for name in names if row.get(name) is not None}
    own = {"diagonal": DIAGONALS.get(row["model"], "zero")}
    if row["model"] == "DEQL":
        own |= {"a": 1.0, "b": row.get("b", 0.5), "p": 0.33}
    return linear_dense(x, LinearObjective(**own | given), c)


def checked(result, f, rows):
    data = Dataset(load_model(result["workspace"]).workspace, result["dataset"]["id"])
    x = data.user_rows("train", 0, data.n_users)
    dense = x.toarray().astype(float)
    for row in rows:
        features = transformed(f, row) if row["model"] in ("L3AE", "EASEText") else None
        b = dense_b(row, dense, features)
        top, _ = top_k(dense @ b, 20, seen=x)
        want = evaluate_top(top, data.user_rows("valid", 0, data.n_users), data.popularity(), (5, 20))
        assert row[METRIC] == pytest.approx(want[METRIC], abs=1e-9), row
    return dense


@pytest.mark.parametrize("route", ["woodbury", "direct"])
def test_every_head_and_member_equals_its_own_fit(tmp_path, route):
    # many models on the quick route, a few on the one with matrices for every text
    few = {"ridge": [5], "reg_f": [1], "p": [0.3], "beta": [0.2], "xi": [0.2], "members": ["rlae", "deql"]}
    result = swept(tmp_path / "w", HEADS if route == "woodbury" else HEADS | few, route)
    table, f = result["sweep"]["table"], tables()[2]
    if route == "woodbury":
        heads = 2 * 2 * 2 * 2 * 4  # reg_f, reg_e, whitening, alpha; zero, none and two bounds
        assert sum(row["model"] == "L3AE" for row in table) == 8 * heads
        assert {row["model"] for row in table} == {
            "L3AE", "EASE", "EASEText", "LAE", "RLAE", "EDLAE", "RDLAE", "DAN", "DEQL",
        }  # fmt: skip
        # 2 ridges, 2 p and 2 beta are 8 inverses; DEQL's weighted dropout needs 2 of its own
        assert len(result["sweep"]["factorised"]) == result["sweep"]["inverses"] == 10
    step = max(1, len(table) // 150)
    picks = [
        row for row in table if row[METRIC] == max(r[METRIC] for r in table if r["model"] == row["model"])
    ]
    dense = checked(result, f, [*table[::step], *picks])
    best = max((row for row in table if row["model"] == "L3AE"), key=lambda row: row[METRIC])
    want = dense_b(best, dense, transformed(f, best))
    model = load_model(result["workspace"])
    assert np.abs(model.weights(range(N)) - want).max() <= 1e-9 * np.abs(want).max()


def load_lists(result):
    """Test metric of each user under each pick, by the dense formulas."""
    data = Dataset(load_model(result["workspace"]).workspace, result["dataset"]["id"])
    x = data.user_rows("train", 0, data.n_users)
    dense, truth = x.toarray().astype(float), data.user_rows("test", 0, data.n_users)
    return {
        name: per_user(
            top_k(dense @ dense_b({"model": name, **one["params"]}, dense, None), 20, seen=x)[0],
            truth,
            METRIC,
        )
        for name, one in result["models"].items()
    }


def test_a_member_without_text_is_swept_with_others_at_its_own_parameters(tmp_path):
    options = {"ridge": [5, 50], "xi": [0, 0.1, 0.3], "p": [0.2, 0.5], "members": ["edlae", "ease"]}
    result = swept(tmp_path / "w", options, model={"name": "rdlae"})
    table = result["sweep"]["table"]
    names = [row["model"] for row in table]
    assert [names.count(name) for name in ("RDLAE", "EDLAE", "EASE")] == [12, 4, 2]
    assert result["embedding"] is None
    assert next(iter(result["models"])) == "RDLAE" == load_model(result["workspace"]).name
    assert [one["models"] for one in result["comparisons"]] == [["RDLAE", "EASE"], ["RDLAE", "EDLAE"]]
    lists = load_lists(result)
    alone = [
        paired_bootstrap(lists["RDLAE"], lists[name], repeats=1000, level=0.975) for name in ("EASE", "EDLAE")
    ]
    for one, want, p in zip(
        result["comparisons"], alone, holm([one["p_value"] for one in alone]), strict=True
    ):
        assert one["pairs"] == 2
        assert (one["low"], one["high"], one["p_value"]) == pytest.approx((want["low"], want["high"], p))
    page = Path(result["plot"].removeprefix("file://")).read_text()
    for name in ("RDLAE", "EDLAE", "EASE", "for all 2 pairs at once"):
        assert name in page
    checked(result, tables()[2], table)


class Stop(Exception):
    pass


def test_a_sweep_of_heads_that_is_cut_short_factors_nothing_again(tmp_path):
    options = HEADS | {"members": ["rlae"], "reg_f": [1], "beta": [0]}
    whole = swept(tmp_path / "whole", options)
    ranked = []

    def stop(event):
        if event["kind"] == "tile" and event["array"] == "counts":
            ranked.append(event)
            if len(ranked) > 8:
                raise Stop

    with pytest.raises(Stop):
        swept(tmp_path / "cut", options, on_event=stop)
    again = swept(tmp_path / "cut", options)
    assert again["sweep"]["table"] == whole["sweep"]["table"]
    assert 0 < len(again["sweep"]["factorised"]) < len(whole["sweep"]["factorised"])


def test_random_samples_draw_heads_and_members_share_what_was_drawn(tmp_path):
    options = {
        "ridge": [5, 50],
        "alpha": {"low": 0.1, "high": 0.5},
        "xi": {"low": 0.01, "high": 0.3},
        "diagonal": ["zero", "at_most"],
        "members": ["rlae"],
        "samples": 20,
    }
    models = sweep_models(config_of(tmp_path, options))
    ours = [one for one in models if one.name == "L3AE"]
    assert len(ours) == 20
    assert {one.diagonal for one in ours} == {"zero", "at_most"}
    assert all((one.xi is None) == (one.diagonal == "zero") for one in ours)
    assert {one.alpha for one in models if one.name == "RLAE"} == {one.alpha for one in ours}
    assert {one.inverse for one in models if one.with_interactions} == {(5.0,), (50.0,)}
    assert [group.label for group in rank_groups(models, "woodbury")] == ["EASEText", "ridge 5", "ridge 50"]


@pytest.mark.parametrize(
    ("model", "options", "member", "want"),
    [
        ({}, {"reg_e": [5], "xi": [0.05, 0.2], "members": ["rlae"]}, ("RLAE", "xi"), {0.05, 0.2}),
        ({"name": "ease"}, {"p": [0.1, 0.3], "members": ["edlae"]}, ("EDLAE", "p"), {0.1, 0.3}),
        ({"name": "ease"}, {"b": [0.5, 2], "members": ["deql"]}, ("DEQL", "b"), {0.5, 2}),
        (
            {"name": "deql"},
            {"diagonal": ["zero", "at_most"], "xi": [0.1, 0.2], "members": ["dan"]},
            ("DAN", "xi"),
            {None, 0.1, 0.2},
        ),
    ],
)
def test_members_are_tried_at_every_value_that_they_alone_have(tmp_path, model, options, member, want):
    models = sweep_models(config_of(tmp_path, {"ridge": [5, 50]} | options, model=model))
    name, parameter = member
    mine = [one for one in models if one.name == name]
    assert {(one.ridge, getattr(one, parameter)) for one in mine} == {(r, v) for r in (5, 50) for v in want}
    assert len(mine) == 2 * len(want)


def test_members_are_drawn_at_values_that_they_alone_have(tmp_path):
    options = {"ridge": [5], "p": {"low": 0.1, "high": 0.5}, "members": ["edlae"], "samples": 8}
    models = sweep_models(config_of(tmp_path, options, model={"name": "ease"}))
    assert [one.name for one in models].count("EASE") == 1
    assert len({one.p for one in models if one.name == "EDLAE"}) == 8
    grid = options | {"p": {"low": 0.1, "high": 0.5, "count": 30}, "samples": 4}
    drawn = sweep_models(config_of(tmp_path, grid, model={"name": "ease"}))
    assert len({one.p for one in drawn if one.name == "EDLAE"}) == len(drawn) - 1 == 4


@pytest.mark.parametrize("route", ["woodbury", "direct"])
def test_a_model_without_text_that_is_not_ease_is_tried_under_its_own_name(tmp_path, route):
    options = {
        "ridge": [5],
        "reg_f": [1],
        "reg_e": [0, 10],
        "p": [0, 0.3],
        "diagonal": ["zero", "none"],
        "whiten": [0],
    }
    result = swept(tmp_path / "w", options, route)
    table = result["sweep"]["table"]
    plain = [row for row in table if row["model"] == "L3AE" and row["reg_e"] == 0]
    found = {(row.get("p", 0), row.get("diagonal", "zero")) for row in plain}
    assert found == {(0, "none"), (0.3, "zero"), (0.3, "none")}
    assert [row["model"] for row in table].count("EASE") == 1
    checked(result, tables()[2], table)


def test_a_model_that_is_ease_is_tried_as_ease(tmp_path):
    options = {"reg_x": [10], "reg_e": [0, 50], "members": ["ease"]}
    models = sweep_models(config_of(tmp_path, options, model={"alpha": 0.2}))
    assert {(one.ridge, one.alpha) for one in models if one.name == "EASE"} >= {(10.0, 0.2), (60.0, 0.2)}
    assert len(set(models)) == len(models)


@pytest.mark.parametrize("model", [{"p": 0.3}, {"diagonal": "none"}, {"a": 1, "b": 0.5, "p": 0.3}])
def test_no_text_at_all_is_refused_only_where_it_is_ease(tmp_path, model):
    options = {"ridge": [5], "reg_e": [0]}
    names = [one.name for one in sweep_models(config_of(tmp_path, options, model=model))]
    assert names.count("L3AE") == 1
    with pytest.raises(ConfigError, match="reg_e is 0 everywhere, which is EASE"):
        config_of(tmp_path, options)


def test_groups_of_several_transformations_have_names_of_their_own(tmp_path):
    options = {"ridge": [5], "reg_f": [1], "whiten": [0, 0.5], "truncate_dim": [None, 5], "normalize": [True]}
    groups = rank_groups(sweep_models(config_of(tmp_path, options)), "direct")
    labels = [group.label for group in groups]
    assert len(set(labels)) == len(labels) == 9
    assert {
        "ridge 5",
        "ridge 5, reg_f 1, whiten 0.5, truncate_dim 5",
        "ridge 5, reg_f 1, unit length",
    } <= set(labels)


@pytest.mark.parametrize(
    ("options", "model", "said"),
    [
        ({"p": [0.2, 1]}, {}, "p has the value 1 but every value must be at least 0 and less than 1"),
        ({"alpha": {"low": 0, "high": 2, "count": 3}}, {}, "alpha has the value 2"),
        ({"beta": [-0.1]}, {}, "beta has the value -0.1 but every value must be between 0 and 1"),
        ({"xi": [-1]}, {}, "xi has the value -1 but every value must be at least 0"),
        ({"xi": [0.1]}, {}, "no diagonal is at_most"),
        ({"diagonal": ["at_most"]}, {}, "xi is not set"),
        ({"diagonal": ["at_most"]}, {"name": "deql"}, "with the weights a and b DEQL has zero or none"),
        ({"diagonal": ["at_most"], "xi": [1]}, {"a": 1, "b": 1}, "with the weights a and b L3AE has zero"),
        ({"diagonal": ["one"]}, {}, "sweep.diagonal.0 is 'one'"),
        ({"members": ["l3ae"]}, {}, "sweep.members.0 is 'l3ae'"),
        ({"reg_f": [1]}, {"name": "edlae"}, "sweep.reg_f is given, which is no parameter of EDLAE"),
        ({"whiten": [1]}, {"name": "edlae"}, "varies the transformation"),
        ({"p": [0.2]}, {"name": "ease"}, "sweep.p is given, which is no parameter of EASE"),
        ({}, {"name": "gfcf"}, "model.name is gfcf, but a sweep tries l3ae, ease"),
    ],
)
def test_what_no_model_has_is_refused_before_anything_is_read(tmp_path, options, model, said):
    with pytest.raises(ConfigError, match=said):
        swept(tmp_path / "w", {"ridge": [5]} | options, model=model)
    assert not (tmp_path / "w").exists()
