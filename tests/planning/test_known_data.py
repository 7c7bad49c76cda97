"""Plans of data that are there: their columns, their precision, what is complete, and what has changed."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from l3ae_dist import make_config, run
from l3ae_dist.cli.app import app
from l3ae_dist.planning.known_data import ingested_size
from l3ae_dist.runtime.backends.session import default_threads
from l3ae_dist.storage.stages import Stage

DIM = 12


@pytest.fixture
def sources(tmp_path, small_tables):
    """A log and items in files, and embeddings of the items."""
    log, items = small_tables
    log.to_parquet(tmp_path / "log.parquet")
    items.to_parquet(tmp_path / "items.parquet")
    rows = np.random.default_rng(0).standard_normal((len(items), DIM)).astype(np.float32)
    return {
        "workspace": str(tmp_path / "w"),
        "data": {"interactions": str(tmp_path / "log.parquet"), "items": str(tmp_path / "items.parquet")},
        "compute": {"cluster": "synchronous"},
    }, rows


def stored(kind, folder, rows):
    """Write embeddings in one of the forms that are read."""
    path = folder / f"embeddings-{kind}"
    table = pd.DataFrame({"item_id": range(len(rows))})
    if kind == "npy":
        path = path.with_suffix(".npy")
        np.save(path, rows)
    elif kind == "zarr":
        import zarr

        zarr.create_array(path, data=rows)
    elif kind == "lists":
        path = path.with_suffix(".parquet")
        table.assign(vector=list(rows)).to_parquet(path)
    else:
        path = path.with_suffix(".csv")
        table.join(pd.DataFrame(rows).add_prefix("f")).to_csv(path, index=False)
    return str(path)


def planned(tmp_path, values, *options):
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(values))
    done = CliRunner().invoke(app, ["plan", str(path), "--json", *options])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def stage_of(found, name):
    return next((one for one in found["stages"] if one["name"] == name), None)


@pytest.mark.parametrize("kind", ["npy", "zarr", "lists", "columns"])
def test_the_header_of_given_embeddings_tells_their_columns(tmp_path, sources, kind):
    values, rows = sources
    values["data"]["embeddings"] = stored(kind, tmp_path, rows)
    counts = ("--items", "40", "--users", "60", "--interactions", "400")
    assert planned(tmp_path, values, *counts)["data"]["dim"] == DIM
    run(make_config(values), until="ingest")
    found = planned(tmp_path, values)
    assert found["data"]["dim"] == DIM
    assert stage_of(found, "embed") is None  # nothing is embedded
    run(make_config(values), until="embed")
    assert planned(tmp_path, values)["data"]["dim"] == DIM


def test_a_damaged_header_is_a_sentence(tmp_path, sources):
    values, rows = sources
    values["data"]["embeddings"] = stored("npy", tmp_path, rows)
    run(make_config(values), until="ingest")
    (tmp_path / "embeddings-npy.npy").write_bytes(b"no array")
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(values))
    done = CliRunner().invoke(app, ["plan", str(path)])
    assert done.exit_code == 3
    assert "is not a plain .npy array of numbers" in " ".join(done.output.split())


def test_embeddings_of_the_workspace_tell_their_columns_and_are_not_made_again(tmp_path, sources):
    values, rows = sources
    config = make_config(values)
    run(config, embeddings=rows, until="embed")
    found = planned(tmp_path, {"workspace": values["workspace"], "compute": values["compute"]})
    assert found["data"]["dim"] == DIM
    for stage in (Stage.INGEST, Stage.EMBED):
        one = stage_of(found, stage)
        assert (one["bound"], one["seconds"], one["tasks"]) == ("ready", 0.0, 0)
    shown = CliRunner().invoke(app, ["plan", values["workspace"]])
    assert "in the workspace already" in " ".join(shown.output.split())


@pytest.mark.parametrize("reg_x", [0.001, 50.0])
@pytest.mark.parametrize("model", ["l3ae", "ease", "l3ae_collective"])
def test_a_plan_has_the_precision_of_the_run(tmp_path, sources, model, reg_x):
    values, rows = sources
    parameters = {"reg_x": reg_x, "reg_e": 0.001} if model == "l3ae" else {"reg_x": reg_x}
    config = make_config(values | {"model": {"name": model, **parameters}})
    run(config, embeddings=rows, until="embed")
    written = sorted(path for path in (tmp_path / "w").rglob("*"))
    rest = {"model": config.model.model_dump(mode="json", exclude_unset=True)}
    found = planned(tmp_path, {"workspace": values["workspace"], "compute": values["compute"], **rest})
    assert sorted(path for path in (tmp_path / "w").rglob("*")) == written  # nothing is written
    result = run(make_config({"workspace": values["workspace"], "compute": values["compute"], **rest}))
    assert found["dtype"] == result["plan"]["dtype"]
    assert found["tile"] == result["plan"]["tile"]
    assert any(f"precision: {found['dtype']}" in line for line in found["limits"])


def test_sources_that_changed_are_told_of_and_planned_by_what_was_ingested(tmp_path, sources):
    values, rows = sources
    run(make_config(values), embeddings=rows, until="embed")
    log = tmp_path / "log.parquet"
    os.utime(log, ns=(1, 1))
    found = planned(tmp_path, values, "--dim", str(DIM))
    assert found["data"]["items"] == 40
    assert found["limits"][2].startswith("data: the configured sources are not what the workspace ingested")
    assert stage_of(found, "ingest")["seconds"] > 0


def test_a_workspace_without_data_is_a_sentence(tmp_path, sources):
    values, _ = sources
    config = make_config(values)
    run(config, until="ingest")
    for document in (tmp_path / "w").rglob("last_run*.json"):
        document.unlink()
    values["data"]["interactions"] = values["data"]["items"]
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(values))
    done = CliRunner().invoke(app, ["plan", str(path)])
    assert done.exit_code == 2
    told = " ".join(done.output.split())
    assert "holds no dataset yet" in told
    assert "damaged" not in told


@pytest.mark.parametrize("workers", [1, 2, 1000])
def test_workers_of_this_machine_share_its_cores(tmp_path, sources, workers):
    values, _ = sources
    counts = ("--items", "40", "--users", "60", "--interactions", "400", "--dim", "8")
    values["compute"] = {"cluster": "local", "workers": workers}
    expected = default_threads(workers) if workers <= os.cpu_count() else 8
    assert planned(tmp_path, values, *counts)["rates"]["threads"] == expected


def test_the_precision_of_a_core_is_not_known_before_it_is_drawn(tmp_path, sources):
    values, rows = sources
    np.save(tmp_path / "rows.npy", rows)
    values["data"] |= {"embeddings": str(tmp_path / "rows.npy"), "core": {"min_interactions": 5}}
    config = make_config(values)
    run(config, until="embed")
    size = ingested_size(config, None)
    assert size.tail > 0
    assert (size.dim, size.dtype) == (DIM, None)
    whole = make_config(values | {"data": values["data"] | {"core": None}})
    assert ingested_size(whole, None).dtype == "float32"


def test_given_embeddings_that_are_elsewhere_leave_the_columns_to_the_option(tmp_path, sources):
    values, rows = sources
    np.save(tmp_path / "rows.npy", rows)
    values["data"]["embeddings"] = str(tmp_path / "rows.npy")
    run(make_config(values), until="embed")
    (tmp_path / "rows.npy").unlink()
    assert planned(tmp_path, values, "--dim", str(DIM))["data"]["dim"] == DIM


def test_damaged_interactions_leave_the_precision_unknown(tmp_path, sources):
    values, _ = sources
    values["model"] = {"name": "ease"}
    run(make_config(values), until="ingest")
    for chunk in (tmp_path / "w" / "interactions").rglob("train_csr/indices/c/*"):
        chunk.write_bytes(chunk.read_bytes()[:-9] + bytes(9))
    assert any("until the data tell" in line for line in planned(tmp_path, values)["limits"])


def test_the_precision_with_transformed_embeddings_is_known_once_they_are_there(tmp_path, sources):
    values, rows = sources
    np.save(tmp_path / "rows.npy", rows)
    values["data"]["embeddings"] = str(tmp_path / "rows.npy")
    config = make_config(values | {"transform": {"whiten": 0.5}})
    run(config, until="ingest")
    assert ingested_size(config, None).dtype is None
    result = run(config)
    assert ingested_size(config, None).dtype == result["plan"]["dtype"]
