"""Sweeps over transformations of the embeddings: texts once, inverses once for each ridge, every model its own fit."""

import json

import numpy as np
import pandas as pd
import pytest
from dense_sweep import dense_weights
from typer.testing import CliRunner

from l3ae_dist.cli import app as cli
from l3ae_dist.config.load import make_config
from l3ae_dist.config.sweep import SweepConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.embed import transform
from l3ae_dist.errors import ConfigError, WorkspaceError
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.linalg.whitening import unit_rows, whitened, whitening_matrix
from l3ae_dist.metrics import evaluate_top
from l3ae_dist.model.fitted import load_model
from l3ae_dist.operations.garbage import collect_garbage
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.pipeline.check import check
from l3ae_dist.pipeline.run import run
from l3ae_dist.pipeline.sweep import sweep_models
from l3ae_dist.planning.forecast import forecast
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.rates import assumed_rates
from l3ae_dist.planning.resources import Resources
from l3ae_dist.report.sweep_page import sweep
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

N, D, METRIC = 40, 8, "ndcg@5"
SWEEP = {
    "ridge": [5, 20],
    "reg_f": [1, 5],
    "reg_e": [10, 30],
    "whiten": [0, 0.5, 1],
    "truncate_dim": [None, 5],
}


def tables():
    rng = np.random.default_rng(3)
    log = pd.DataFrame({"user_id": rng.integers(0, 60, 700), "item_id": np.arange(700) % N})
    items = pd.DataFrame({"item_id": range(N), "text": [f"text {i}" for i in range(N)]})
    return log, items, (rng.standard_normal((N, D)) * np.linspace(1, 4, D)).astype(np.float32)


def config_of(where, options, route="woodbury", **sections):
    values = {
        "workspace": str(where), "sweep": options, "evaluate": {"metric": METRIC, "ks": [5, 20]},
        "data": {"options": {"split": "random"}},
        "compute": {"cluster": "synchronous", "threads": 1, "dtype": "float64", "tile_size": 16,
                    "semantic_route": route},
    }  # fmt: skip
    return make_config(values | sections)


def swept(where, options, route="woodbury", on_event=None, **sections):
    log, items, f = tables()
    config = config_of(where, options, route, **sections)
    return sweep(config, interactions=log, items=items, embeddings=f, on_event=on_event)


def transformed(f, row):
    """F of one model."""
    rows = f.astype(np.float64)
    if row["truncate_dim"]:
        rows = unit_rows(rows[:, : row["truncate_dim"]])
    if row["whiten"]:
        rows = unit_rows(rows)
        rows = whitened(rows, whitening_matrix(rows.T @ rows, row["whiten"]))
    return rows.T


@pytest.mark.parametrize("route", ["woodbury", "direct"])
def test_every_model_equals_its_own_fit_on_its_own_features(tmp_path, route):
    result = swept(tmp_path / "w", SWEEP, route)
    f, table = tables()[2], result["sweep"]["table"]
    assert len(table) == 2 * 2 * 2 * 6 + 2 + 2 * 6
    assert [one["ridge"] for one in result["sweep"]["factorised"]] == [5.0, 20.0]  # P is made once for each
    data = Dataset(load_model(str(tmp_path / "w")).workspace, result["dataset"]["id"])
    x = data.user_rows("train", 0, data.n_users)
    for row in table:
        features = None if row["model"] == "EASE" else transformed(f, row)
        weights = dense_weights({"ridge": None} | row, x.toarray().astype(float), features)
        top, _ = top_k(x.toarray().astype(float) @ weights, 20, seen=x)
        want = evaluate_top(top, data.user_rows("valid", 0, data.n_users), data.popularity(), (5, 20))
        assert row[METRIC] == pytest.approx(want[METRIC], abs=1e-9), row
    best = max((row for row in table if row["model"] == "L3AE"), key=lambda row: row[METRIC])
    pick = result["models"]["L3AE"]
    assert pick["transform"] == {name: best[name] for name in ("whiten", "truncate_dim", "normalize")}
    model = load_model(str(tmp_path / "w"))
    want = dense_weights(best, x.toarray().astype(float), transformed(f, best))
    assert np.abs(model.weights(range(N)) - want).max() <= 1e-10 * np.abs(want).max()
    assert model.add_items([99], embeddings=f[:1]).tolist() == [99]
    collect_garbage(str(tmp_path / "w"))
    assert verify_workspace(str(tmp_path / "w"), lambda event: None).damage == []


def test_a_sweep_is_repeated_from_what_is_there_and_tells_the_best_in_words(tmp_path):
    result = swept(tmp_path / "w", SWEEP)
    again = swept(tmp_path / "w", SWEEP)
    assert again["reused"]
    assert again["models"] == result["models"]
    page = (tmp_path / "w" / result["plot"].removeprefix(f"{result['workspace']}/")).read_text()
    assert f"whiten = {result['models']['L3AE']['transform']['whiten']:g}" in page


def test_copies_of_variants_that_were_not_picked_are_garbage(tmp_path):
    where = str(tmp_path / "w")
    swept(where, SWEEP | {"whiten": [0.5, 1]})
    model = load_model(where)
    picked, workspace = model.document.embedding, model.workspace
    copies = {one.id: one for one in workspace.stage_records() if "source" in one.params}
    (source,) = {one.params["source"] for one in copies.values()}
    assert len(copies) > 2
    want = model.weights(range(N))
    dropped = set(collect_garbage(where).deleted)
    assert {layout.embeddings(name) for name in copies if name != picked} <= dropped
    assert [one for one in copies if workspace.has(layout.embeddings(one))] == [picked]
    assert workspace.has(layout.embeddings(source))
    assert verify_workspace(where, lambda event: None).damage == []
    np.testing.assert_array_equal(load_model(where).weights(range(N)), want)
    assert load_model(where).add_items([98], embeddings=tables()[2][:1]).tolist() == [98]
    swept(where, SWEEP | {"whiten": [0.5, 1], "reg_e": [3]})
    assert all(workspace.has(layout.embeddings(one)) for one in copies)  # made again


def test_a_sweep_that_the_disk_has_no_room_for_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(transform, "free_bytes", lambda workspace: 8 * N * 8)
    with pytest.raises(WorkspaceError, match="transformed copies of the embeddings take"):
        swept(tmp_path / "w", SWEEP)
    records = Workspace.open(str(tmp_path / "w")).stage_records()
    assert not [one for one in records if "source" in one.params]


class Stop(Exception):
    pass


def test_a_sweep_that_is_cut_short_goes_on_with_the_same_figures(tmp_path):
    def stop(event):
        if event["kind"] == "tile" and event["stage"] == "rank":
            raise Stop

    whole = swept(tmp_path / "whole", SWEEP)
    with pytest.raises(Stop):
        swept(tmp_path / "cut", SWEEP, on_event=stop)
    assert swept(tmp_path / "cut", SWEEP)["sweep"]["table"] == whole["sweep"]["table"]


def test_settings_that_are_not_varied_are_those_of_the_configuration(tmp_path):
    sections = {"transform": {"truncate_dim": 6}}
    config = config_of(tmp_path, {"ridge": [5], "whiten": [0, 1]}, **sections)
    found = [json.loads(spec.transform) for spec in sweep_models(config) if spec.name == "L3AE"]
    assert [(one["truncate_dim"], one["whiten"]) for one in found] == [(6, 0.0), (6, 1.0)]


def test_without_transformations_a_sweep_is_what_it_was():
    options = {
        "ridge": {"low": 1, "high": 1000},
        "reg_f": [1, 5],
        "reg_e": {"low": 1, "high": 50},
        "samples": 5,
    }
    plain = SweepConfig.model_validate(options).models()
    text = SweepConfig.model_validate(options | {"normalize": True}).models()
    assert [type(spec).__name__ for spec in plain] == ["ModelSpec"] * 5
    assert plain[0].reg_x == text[0].reg_x


def test_random_samples_draw_transformations_too():
    options = {
        "ridge": [5],
        "reg_e": [1],
        "whiten": {"low": 0.1, "high": 1},
        "truncate_dim": [2, 4],
        "samples": 8,
    }
    found = [json.loads(spec.transform) for spec in SweepConfig.model_validate(options).models()]
    assert len({one["whiten"] for one in found}) == 8
    assert {one["truncate_dim"] for one in found} == {2, 4}


def test_text_models_are_tried_where_a_model_has_their_values_and_nowhere_else(tmp_path):
    options = {"ridge": [5], "reg_e": [1], "reg_f": {"low": 1, "high": 9}, "whiten": {"low": 0.1, "high": 1}}
    models = sweep_models(config_of(tmp_path, options | {"samples": 6}))
    texts = {(one.transform, one.reg_f) for one in models if one.name == "EASEText"}
    assert texts == {(one.transform, one.reg_f) for one in models if one.name == "L3AE"}
    assert len(texts) == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"whiten": [0, 1.5]}, "whiten has the value 1.5 but every value must be between 0 and 1"),
        ({"whiten": {"low": -1, "high": 1, "count": 3}}, "whiten has the value -1"),
        ({"whiten": []}, "the list is empty"),
        ({"truncate_dim": [0]}, "sweep.truncate_dim.0 is 0 but must be greater than or equal to 1"),
        ({"truncate_dim": [9]}, "truncate_dim is 9, but the embeddings have 8 dimensions"),
        ({"normalize": ["maybe"]}, "sweep.normalize.0 is 'maybe' but must be a valid boolean"),
        ({"truncate_dim": [4]}, "only the first 4 dimensions are kept"),
        ({"normalize": [True]}, "varies the transformation of embeddings, and the model uses words"),
    ],
)
def test_what_cannot_be_tried_is_refused(tmp_path, options, said):
    sections = {"transform": {"compress": "pca", "dim": 6}} if options == {"truncate_dim": [4]} else {}
    sections |= {"model": {"features": "words"}} if options == {"normalize": [True]} else {}
    with pytest.raises(ConfigError, match=said):
        swept(tmp_path, {"ridge": [5], "reg_e": [1]} | options, **sections)


def test_the_command_shows_what_was_varied(tmp_path):
    log, items, f = tables()
    log.to_parquet(tmp_path / "log.parquet")
    items.to_parquet(tmp_path / "items.parquet")
    np.save(tmp_path / "f.npy", f)
    settings = {
        "data.interactions": tmp_path / "log.parquet", "data.items": tmp_path / "items.parquet",
        "data.embeddings": tmp_path / "f.npy", "data.options.split": "random", "sweep.ridge": "[5]",
        "sweep.whiten": "[0, 0.5]", "sweep.normalize": "[true, false]", "compute.cluster": "synchronous",
        "report": "false", "workspace": tmp_path / "w",
    }  # fmt: skip
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    (tmp_path / "c.yaml").write_text(f"workspace: {tmp_path / 'w'}\n")
    shown = CliRunner().invoke(cli.app, ["sweep", str(tmp_path / "c.yaml"), *given])
    assert shown.exit_code == 0, shown.output
    header = next(line for line in shown.output.splitlines() if "place" in line)
    assert "whit" in header
    assert "norm" in header
    assert "trun" not in header  # nothing of it was varied


def test_what_the_encoder_has_too_few_dimensions_for_is_refused_before_texts_are_embedded(tmp_path):
    log, items, _ = tables()
    config = config_of(tmp_path / "w", {"ridge": [5], "truncate_dim": [None, 16, 500]})
    events = []
    with pytest.raises(ConfigError, match=r"truncate_dim is 500, but the embeddings have 384 dimensions"):
        sweep(config, interactions=log, items=items, on_event=events.append)
    assert not [one for one in events if one["kind"] == "stage_start" and one["stage"] == "embed"]
    with pytest.raises(ConfigError, match=r"truncate_dim is 500, but the embeddings have 384 dimensions"):
        check(config, interactions=log, items=items)
    single = make_config({"workspace": str(tmp_path / "v"), "transform": {"truncate_dim": 500}})
    with pytest.raises(ConfigError, match=r"truncate_dim is 500, but the embeddings have 384 dimensions"):
        run(single, interactions=log, items=items)
    with pytest.raises(ConfigError, match=r"truncate_dim is 9, but the embeddings have 8 dimensions"):
        check(config_of(tmp_path / "w", {"ridge": [5], "truncate_dim": [9]}), interactions=log, items=items,
              embeddings=tables()[2])  # fmt: skip
    bad = config_of(tmp_path / "w", {"ridge": [5], "xi": [0.1]})
    with pytest.raises(ConfigError, match="no diagonal is at_most"):
        check(bad, interactions=log, items=items, embeddings=tables()[2])


@pytest.mark.parametrize("route", ["woodbury", "direct"])
def test_inverses_of_the_text_are_counted_where_there_are_any(tmp_path, route):
    options = {"ridge": [5, 20], "reg_f": [1, 5], "reg_e": [10], "whiten": [0, 0.5]}
    events = []
    result = swept(tmp_path / "w", options, route, on_event=events.append)
    said = [one["message"] for one in events if one["kind"] == "log"]
    want = "14 models on 2 inverses"
    more = ", 4 inverses of the text and 8 products with them"
    assert want + (more if route == "direct" else "") in said
    assert result["sweep"]["semantic_inverses"] == (4 if route == "direct" else 0)
    made = [one for one in events if one["kind"] == "stage_start" and one["stage"] == "factor"]
    assert len(made) == (2 + 4 if route == "direct" else 2)
    size = DataSize(40, 60, 700, dim=8, block_interactions=lambda tile: 700)
    plan = forecast(config_of(tmp_path, options, route), size, Resources(assumed_rates(1, "cpu")))
    assert any(
        line == f"l3ae-dist sweep: {want}" + (more if route == "direct" else "") for line in plan.limits
    )


def test_a_plan_of_another_member_with_a_sweep_takes_its_axes(tmp_path):
    config = config_of(tmp_path, {"ridge": [5, 20], "xi": [0, 0.1]}, model={"name": "rlae"})
    size = DataSize(40, 60, 700, block_interactions=lambda tile: 700)
    assert (
        "l3ae-dist sweep: 4 models on 2 inverses"
        in forecast(config, size, Resources(assumed_rates(1, "cpu"))).limits
    )
