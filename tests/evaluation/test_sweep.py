"""Sweeps against separate fits and evaluations, and ranks against sorting."""

import json
import math
import re
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from dense_sweep import dense_metrics, dense_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import compute, text
from scipy import sparse

import l3ae_dist
from l3ae_dist.cli.output import plain
from l3ae_dist.config.load import make_config
from l3ae_dist.config.sweep import SweepConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import BudgetError, ConfigError
from l3ae_dist.linalg.ranks_in_rows import NEVER, HeadScores, count_over, limits_of, ranks_within
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.metrics import METRICS, per_user, per_user_of_ranks
from l3ae_dist.model.fitted import load_model
from l3ae_dist.operations.status import workspace_status
from l3ae_dist.pipeline.run import run
from l3ae_dist.pipeline.sweep import sweep_models
from l3ae_dist.planning.plan import make_plan
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.ranking_plan import RankNeeds, plan_ranks
from l3ae_dist.report.sweep_page import sweep
from l3ae_dist.storage.workspace import Workspace

METRIC = "ndcg@5"


def random_heads(seed, users, items, ties):
    """Products and text scores with many ties, factors of three heads, a seen item and held-out ones in each row."""
    rng = np.random.default_rng(seed)
    low, high = (0, 3) if ties else (-(2**10), 2**10)
    drawn = lambda *shape: rng.integers(low, high, shape).astype(np.float32)  # noqa: E731
    products = tuple((drawn(users, items), drawn(3, items)) for _ in range(rng.integers(0, 3)))
    seen = sparse.csr_matrix(
        (np.ones(users), rng.integers(0, items, users), np.arange(users + 1)), (users, items)
    )
    held = [rng.choice(items, rng.integers(1, min(5, items) + 1), replace=False) for _ in range(users)]
    held = [np.sort(h) for h in sorted(held, key=len, reverse=True)]
    return HeadScores(products, drawn(users, items), np.array([0.0, 0.5, 2.0], np.float32), seen), held


def part_of(scores, rows, columns):
    products = tuple((times[rows, columns], factors[:, columns]) for times, factors in scores.products)
    return HeadScores(products, scores.text[rows, columns], scores.weights, scores.seen[rows][:, columns])


def tiled_ranks(scores, held, tile):
    """As the tasks of a sweep do: the own tile exactly, the others by limits."""
    heads, _, width = scores.shape
    items = np.concatenate(held)
    owners = np.repeat(np.arange(len(held)), [len(h) for h in held])
    lengths = np.array([len(h) for h in held])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    total, own_scores = np.zeros((len(items), heads), np.int64), np.zeros((len(items), heads), np.float32)
    places = [slice(first, min(first + tile, width)) for first in range(0, width, tile)]
    insides = [(items >= place.start) & (items < place.stop) for place in places]
    for place, own in zip(places, insides, strict=True):
        own_part = part_of(scores, owners[own], place)
        ranks, own_scores[own] = ranks_within(own_part, items[own] - place.start)
        total[own] += ranks
    for place, own in zip(places, insides, strict=True):
        limits = limits_of(own_scores, items >= place.stop)
        limits[:, own] = np.inf
        counts = np.zeros(total.shape, np.int32)
        count_over(part_of(scores, slice(None), place), limits, starts, lengths, counts)
        total += counts
    return total, items, np.append(starts, len(items))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 40), st.integers(1, 17), st.booleans())
def test_ranks_and_their_metrics_are_those_of_sorted_lists_also_with_ties(seed, users, items, tile, ties):
    scores, held = random_heads(seed, users, items, ties)
    ranks, columns, indptr = tiled_ranks(scores, held, tile)
    truth = sparse.csr_matrix((np.ones(len(columns)), columns, indptr), shape=scores.seen.shape)
    for w, weight in enumerate(scores.weights):
        dense = weight * scores.text + sum(times * factors[w] for times, factors in scores.products)
        dense[scores.seen.nonzero()] = -np.inf
        top, _ = top_k(dense, items)
        for row, (first, stop) in enumerate(pairwise(indptr)):
            for entry in range(first, stop):
                place = np.flatnonzero(top[row] == columns[entry])
                assert ranks[entry, w] == place[0] if len(place) else ranks[entry, w] >= NEVER
        for name, k in product(METRICS, (1, 3, 50)):
            want = per_user(np.pad(top, ((0, 0), (0, 50)), constant_values=-1), truth, f"{name}@{k}")
            np.testing.assert_allclose(per_user_of_ranks(ranks[:, w], indptr, f"{name}@{k}"), want)
            np.testing.assert_allclose(per_user_of_ranks(ranks, indptr, f"{name}@{k}")[:, w], want)


def test_many_columns_and_many_limits_are_counted_without_overflow():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((3, 70_001)).astype(np.float32)
    lengths = np.array([40, 2, 0])
    limits = np.concatenate([np.full(21, -9.0), rng.standard_normal(21)]).astype(np.float32)[None]
    out = np.full((42, 1), -1, np.int32)
    one = np.ones(1, np.float32)
    scores = HeadScores((), base, one, sparse.csr_matrix(base.shape))
    count_over(scores, limits, np.array([0, 40, 42]), lengths, out)
    owners = np.repeat([0, 1], [40, 2])
    np.testing.assert_array_equal(out[:, 0], (base[owners] > limits[0][:, None]).sum(axis=1))


def settings_of(where, session, options, **sections):
    sections = {"evaluate": {"metric": METRIC, "ks": [5, 20]}, **sections}
    own = {**compute(session, tile=20), **sections.pop("compute", {})}
    return make_config({"workspace": str(where), "compute": own, "sweep": options, **sections})


GRIDS = {
    "ridge": {"ridge": [5, 20], "reg_f": [1, 5], "reg_e": [0, 10, 30]},
    "reg_x": {"reg_x": [-5, 5], "reg_f": [2], "reg_e": [10, 20]},
}


@pytest.mark.dask
@pytest.mark.parametrize("route", ["woodbury", "direct"])
@pytest.mark.parametrize("grid", GRIDS)
def test_every_model_of_a_sweep_equals_its_own_fit_and_evaluation(
    tmp_path, small_tables, dask_session, grid, route
):
    log, items = small_tables
    f = text(40, 8)
    config = settings_of(tmp_path / "w", dask_session, GRIDS[grid], compute={"semantic_route": route})
    result = sweep(config, interactions=log, items=items, embeddings=f)
    table = result["sweep"]["table"]
    wanted = [spec.params() | {"model": spec.name} for spec in sweep_models(config)]
    assert sorted(map(str, wanted)) == sorted(
        str({k: row[k] for k in ("reg_x", "reg_f", "reg_e") if k in row} | {"model": row["model"]}) for row in table
    )  # fmt: skip
    for row in table:
        dense = dense_metrics(result, row, f, "valid")
        for name in (METRIC, "recall@5"):
            assert row[name] == pytest.approx(dense[name], abs=1e-12), row
    assert result["sweep"]["ridges"] == len({row["ridge"] for row in table if "ridge" in row})
    for name, model in result["models"].items():
        best = max((row for row in table if row["model"] == name), key=lambda row: row[METRIC])
        assert model["valid"][METRIC] == pytest.approx(best[METRIC], abs=1e-12)
        picked = {"model": name, "ridge": model["ridge"], **model["params"]}
        for split in ("valid", "test"):
            dense = dense_metrics(result, picked, f, split)
            for key in (METRIC, "recall@20", "coverage@5"):
                assert model[split][key] == pytest.approx(dense[key], abs=1e-12), (name, split, key)
    assert [c["models"] for c in result["comparisons"]] == [["L3AE", "EASE"], ["L3AE", "EASEText"]]
    for one in result["comparisons"]:
        ours, other = (result["models"][name]["test"][METRIC] for name in one["models"])
        assert one["lift"] == pytest.approx(ours / other - 1)
        assert 0 < one["p_value"] <= 1
    # the pick is the workspace's model, and only its n x n matrices are left
    model = load_model(result["workspace"])
    assert model.params == result["models"]["L3AE"]["params"]
    assert len(model.recommend([3], 5)) == 5
    paths = workspace_status(result["workspace"]).arrays
    inverses = [path for path in paths if path.startswith("factors/") and path.endswith("/P")]
    assert len(inverses) == (1 if route == "woodbury" else 2)
    assert any(path.endswith("/diagonal") for path in paths)
    json.dumps(plain(result), allow_nan=False)


@pytest.mark.dask
def test_one_ridge_costs_one_factorisation_however_it_is_split(tmp_path, small_tables, dask_session):
    """0.1 + 0.2 and 0.2 + 0.1 are one ridge and that of 0.3, though 0.1 + 0.2 is not 0.3 in floating point."""
    log, items = small_tables
    options = {"reg_x": [0.1, 0.2], "reg_f": [1], "reg_e": [0.1, 0.2]}
    config = settings_of(tmp_path / "w", dask_session, options)
    events = []
    result = sweep(config, interactions=log, items=items, embeddings=text(40, 8), on_event=events.append)
    assert sum(row["model"] == "L3AE" for row in result["sweep"]["table"]) == 4
    assert [entry["ridge"] for entry in result["sweep"]["factorised"]] == [0.2, 0.3, 0.4]
    starts = [e for e in events if e["kind"] == "stage_start" and e["stage"] == "factor"]
    assert len(starts) == result["sweep"]["ridges"] == 3


class Killed(BaseException):
    """As if the process had been ended."""


@pytest.mark.dask
def test_an_interrupted_sweep_makes_nothing_finished_again_and_a_complete_one_answers_at_once(
    tmp_path, small_tables, dask_session
):
    log, items = small_tables
    sources = {"interactions": log, "items": items, "embeddings": text(40, 8)}
    options = {"ridge": [5, 20, 50], "reg_f": [1, 5], "reg_e": [10, 30]}
    config = settings_of(tmp_path / "w", dask_session, options)

    def stop_in_the_second_ridge(event):
        labels = [e for e in seen if e["kind"] == "log" and e["message"].startswith("ridge")]
        seen.append(event)
        if labels and event["kind"] == "tile" and event["array"] == "counts" and event["j"] == 1:
            raise Killed

    seen: list[dict] = []
    with pytest.raises(Killed):
        sweep(config, **sources, on_event=stop_in_the_second_ridge)
    events: list[dict] = []
    result = sweep(config, **sources, on_event=events.append)
    # the first ridge's P is gone or the best so far; the second one's was complete
    factored = [e for e in events if e["kind"] == "tile" and e["stage"] == "factor" and not e["skipped"]]
    assert len(factored) == 3  # the third ridge, 2 x 2 tiles
    assert [entry["ridge"] for entry in result["sweep"]["factorised"]] == [50.0]
    whole = sweep(settings_of(tmp_path / "other", dask_session, options), **sources)
    assert whole["sweep"]["table"] == result["sweep"]["table"]
    assert whole["models"] == result["models"]
    events.clear()
    again = sweep(config, **sources, on_event=events.append)
    assert again["reused"]
    assert events == []
    assert again["sweep"] == result["sweep"]


@pytest.mark.dask
def test_other_metrics_of_a_finished_sweep_rank_nothing_again(tmp_path, small_tables, dask_session):
    log, items = small_tables
    f = text(40, 8)
    sources = {"interactions": log, "items": items, "embeddings": f}
    options = {"ridge": [5, 20], "reg_f": [1], "reg_e": [10]}
    sweep(settings_of(tmp_path / "w", dask_session, options, compute={"keep": ["P"]}), **sources)
    events = []
    other = settings_of(
        tmp_path / "w", dask_session, options, evaluate={"metric": "recall@3"}, compute={"keep": ["P"]}
    )
    result = sweep(other, **sources, on_event=events.append)
    assert {e["stage"] for e in events if e["kind"] == "tile"} <= {"score"}
    for row in result["sweep"]["table"]:
        ds = Dataset(Workspace.open(result["workspace"]), result["dataset"]["id"])
        x = ds.user_rows("train", 0, 60)
        scores = x.toarray().astype(float) @ dense_weights(row, x.toarray().astype(float), f.T.astype(float))
        want = per_user(top_k(scores, 3, seen=x)[0], ds.user_rows("valid", 0, 60), "recall@3")
        assert row["recall@3"] == pytest.approx(np.nanmean(want), abs=1e-12)
    kept = [path for path in workspace_status(result["workspace"]).arrays if path.endswith("/P")]
    assert len(kept) == 2


@pytest.mark.dask
def test_words_and_a_sample_of_users_in_several_blocks(tmp_path, small_tables, dask_session, monkeypatch):
    log, items = small_tables
    monkeypatch.setattr("l3ae_dist.pipeline.sweep.plan_ranks", lambda *a, **k: _cut(plan_ranks(*a, **k)))
    options = {"ridge": [20], "reg_f": [3], "reg_e": [10]}
    config = settings_of(
        tmp_path / "w", dask_session, options, model={"features": "words"},
        evaluate={"metric": METRIC, "ks": [5, 20], "max_users": 37},
    )  # fmt: skip
    result = sweep(config, interactions=log, items=items)
    assert result["users"] == 37
    assert result["semantic_route"] == "woodbury"
    for name, model in result["models"].items():
        row = next(row for row in result["sweep"]["table"] if row["model"] == name)
        assert row[METRIC] == pytest.approx(model["valid"][METRIC], abs=1e-12)


def _cut(plan):
    return replace(plan, models=1, users=10, scores=64)


@pytest.mark.dask
def test_the_command_prints_one_json_object_and_the_page_needs_no_network(
    tmp_path, small_tables, dask_session
):
    log, items = small_tables
    config = settings_of(tmp_path / "w", dask_session, GRIDS["ridge"])
    page = tmp_path / "plot.html"
    result = sweep(config, interactions=log, items=items, embeddings=text(40, 8), plot=page)
    assert result["plot"] == str(page)
    html = page.read_text()
    assert "Bokeh" in html
    assert re.search(r"<script[^>]+src=|<link[^>]+href=", html) is None
    for word in ("ridge = 5", "ridge = 20", "reg_f", "reg_e", "EASEText"):
        assert word in html
    again = sweep(config, interactions=log, items=items, embeddings=text(40, 8))
    assert again["plot"].startswith(again["workspace"])
    with pytest.raises(ConfigError, match=r"cannot write .*x\.html"):
        sweep(config, interactions=log, items=items, embeddings=text(40, 8), plot=tmp_path / "no" / "x.html")
    from typer.testing import CliRunner

    from l3ae_dist.cli.app import app

    (tmp_path / "c.json").write_text(config.model_dump_json(exclude_unset=True))
    done = CliRunner().invoke(app, ["sweep", str(tmp_path / "c.json"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["sweep"]["table"] == plain(result["sweep"]["table"])
    done = CliRunner().invoke(app, ["sweep", str(tmp_path / "c.json")], env={"COLUMNS": "200"})
    assert "12 models on 2 ridges" in done.stdout
    assert "Lift of L3AE over EASEText" in done.stdout


def test_a_random_sample_depends_on_its_seed_alone_and_stays_in_its_ranges():
    options = {
        "reg_x": {"low": -100, "high": 100},
        "reg_f": {"low": 0.1, "high": 10},
        "reg_e": [50, 100],
        "samples": 25,
    }
    first, same, other = (SweepConfig(**options, seed=seed).models() for seed in (1, 1, 2))
    assert first == same != other
    assert len(first) == 25
    for spec in first:
        assert spec.ridge > 0
        assert -100 <= spec.reg_x <= 100
        assert 0.1 <= spec.reg_f <= 10
        assert spec.reg_e in (50, 100)
    grid = {"ridge": [1, 10, 100], "reg_f": {"low": 0.1, "high": 10, "count": 3}, "reg_e": [1, 2, 3]}
    whole = SweepConfig(**grid).models()
    assert len(whole) == 27
    assert sorted({spec.reg_f for spec in whole}) == [0.1, 1.0, 10.0]
    some = SweepConfig(**grid, samples=7).models()
    assert len(some) == 7
    assert set(some) < set(whole)
    assert math.isclose(SweepConfig(ridge=[0.3], reg_e=[100]).models()[0].ridge, 0.3, rel_tol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reg_x": [-100, 50], "reg_e": [50, 200]}, "reg_x = -100 and reg_e = 50 give the ridge -50"),
        ({"ridge": []}, "sweep.ridge: the list is empty"),
        ({"ridge": [0, 5]}, "ridge has the value 0 but every value must be greater than 0"),
        ({"ridge": [5], "reg_f": [-1]}, "reg_f has the value -1"),
        ({"ridge": [5], "reg_e": [0]}, "which is EASE"),
        ({"ridge": ["five"]}, "'five' is not a finite number"),
        ({"ridge": [float("nan")]}, "nan is not a finite number"),
        ({"reg_f": [1]}, "neither ridge nor reg_x is given"),
        ({"ridge": [1], "reg_x": [1]}, "both ridge and reg_x are given"),
        ({"ridge": {"low": 5, "high": 1, "count": 3}}, "must be less than high"),
        ({"ridge": {"low": 1, "high": 5}}, "set count or sweep.samples"),
        ({"ridge": {"low": 1, "top": 5}}, "is no range"),
        ({"reg_x": {"low": -9, "high": -5}, "reg_e": [1], "samples": 3}, "no random pair"),
    ],
)
def test_a_grid_that_cannot_be_tried_is_refused_with_one_sentence(options, message):
    with pytest.raises(ConfigError) as error:
        make_config({"workspace": "w", "sweep": options})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.dask
def test_a_sweep_without_a_grid_or_a_validation_split_is_refused(tmp_path, small_tables, dask_session):
    log, items = small_tables
    sources = {"interactions": log, "items": items, "embeddings": text(40, 8)}
    with pytest.raises(ConfigError, match="has no sweep"):
        sweep(settings_of(tmp_path / "w", dask_session, None), **sources)
    grid = {"ridge": [5]}
    with pytest.raises(ConfigError, match="set it to one of these"):
        sweep(settings_of(tmp_path / "w", dask_session, grid, model={"name": "gfcf"}), **sources)
    with pytest.raises(ConfigError, match="no user has validation items"):
        sweep(settings_of(tmp_path / "w", dask_session, grid, data={"options": {"split": "none"}}), **sources)


def test_the_ranking_stage_is_planned_within_the_budget():
    size = DataSize(50_000, 10**6, 10**7, dim=384, block_interactions=lambda tile: 10**6)
    for budget in (2**29, 2**30, 2**32):
        plan = make_plan(size, ModelNeeds(), Machine(budget))
        needs = RankNeeds(10**6, 2 * 10**6, 10**7, 384, models=200, matrices=3)
        ranks = plan_ranks(plan, needs)
        assert ranks.stage.peak_bytes <= budget
        assert ranks.users >= 64
        assert ranks.scores >= plan.grid.tile
    with pytest.raises(BudgetError):
        make_plan(size, ModelNeeds(), Machine(2**28))


def test_models_of_one_inverse_are_ranked_in_as_many_passes_as_memory_and_disk_allow():
    size = DataSize(10**6, 10**7, 10**9, dim=384, block_interactions=lambda tile: 10**6)
    plan = make_plan(size, ModelNeeds(), Machine(2**32))
    triangle = plan.grid.lower_count * plan.grid.tile**2 * 4
    few, many = (plan_ranks(plan, RankNeeds(10**7, held, 10**9, 384, models=1000)) for held in (10**7, 10**9))
    # the vectors of a model are made in float64 and stacked: two columns of each, twice
    assert 10**6 * 2 * 2 * 8 * few.models <= 2**31 < 10**6 * 2 * 2 * 8 * (few.models + 1)
    counts = 10**9 * 4 * (plan.grid.count + 3)
    assert counts * many.models <= triangle < counts * (many.models + 1)
    assert few.stage.tasks % -(-1000 // few.models) == 0
    assert few.stage.peak_bytes <= 2**32


@pytest.mark.dask
def test_a_sweep_that_meets_a_damaged_inverse_makes_it_again(tmp_path, small_tables, dask_session):
    log, items = small_tables
    sources = {"interactions": log, "items": items, "embeddings": text(40, 8)}
    config = settings_of(tmp_path / "w", dask_session, {"ridge": [5], "reg_f": [1], "reg_e": [10]})
    spoiled, said = [], []

    def spoil(event):
        if event["kind"] == "log":
            said.append(event["message"])
        if event["kind"] == "stage_start" and event["stage"] == "rank" and not spoiled:
            for path in list((tmp_path / "w" / "factors").rglob("P/c/1/0")):
                data = bytearray(path.read_bytes())
                data[9] ^= 1
                path.write_bytes(data)
                spoiled.append(path)

    result = sweep(config, **sources, on_event=spoil)
    assert spoiled
    (again,) = [message for message in said if message.startswith("begun again to repair")]
    assert re.search(r"chunk \(1, 0\) of factors/.*/P", again)
    want = sweep(
        settings_of(tmp_path / "other", dask_session, {"ridge": [5], "reg_f": [1], "reg_e": [10]}), **sources
    )
    assert result["sweep"]["table"] == want["sweep"]["table"]


def test_the_public_name_is_the_function():
    assert l3ae_dist.sweep is sweep
    assert callable(run)


def test_samples_of_a_grid_that_nobody_could_try_are_drawn_without_making_it():
    axes = {name: {"low": 0.1, "high": 0.9, "count": 40} for name in ("reg_f", "reg_e", "alpha", "beta", "p")}
    grid = {"ridge": list(range(1, 41)), **axes}
    some = SweepConfig(**grid, samples=9).models()
    assert len(set(some)) == 9
    assert some == SweepConfig(**grid, samples=9).models() != SweepConfig(**grid, samples=9, seed=1).models()
    assert {spec.ridge for spec in some} <= set(range(1, 41))
