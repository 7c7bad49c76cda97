"""Runs and exports in a real MLflow on local files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import l3ae_dist
from l3ae_dist.errors import ConfigError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.report import autolog, log_export, log_run
from l3ae_dist.serving import load_export

mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of MLflow itself


@pytest.fixture
def tracking(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    mlflow.set_experiment("test")
    yield mlflow.MlflowClient()
    while mlflow.active_run() is not None:
        mlflow.end_run()
    autolog(disable=True)


def fit(where, seed=0):
    rng = np.random.default_rng(seed)
    log = pd.DataFrame({"user_id": rng.integers(0, 150, 1500), "item_id": rng.integers(0, 60, 1500)})
    config = l3ae_dist.make_config({
        "workspace": str(where),
        "name": "evening-model",
        "data": {"options": {"split": "random"}},
        "model": {"name": "ease", "reg_x": 12.5},
        "compute": {"cluster": "synchronous", "tile_size": 32, "memory_budget": "1GiB"},
    })  # fmt: skip
    return l3ae_dist.run(config, interactions=log.drop_duplicates())


def names(client, run):
    return {one.path for one in client.list_artifacts(run)}


def test_a_run_is_written_with_settings_metrics_certificate_and_report(tmp_path, tracking):
    result = fit(tmp_path / "w")
    run = tracking.get_run(log_run(tmp_path / "w"))
    assert run.info.run_name == "evening-model"
    assert float(run.data.params["model.reg_x"]) == 12.5
    assert run.data.metrics["test.EASE.ndcg_at_20"] == pytest.approx(
        result["models"]["EASE"]["test"]["ndcg@20"]
    )
    assert run.data.metrics["certificate.residual"] == pytest.approx(result["certificate"]["residual"])
    assert run.data.tags["l3ae.model"] == "evening-model"
    assert names(tracking, run.info.run_id) == {"report.html", "result.json", "model_card.md"}
    with mlflow.start_run() as outer:
        assert log_run(tmp_path / "w", result["run"][:6]) == outer.info.run_id
    with pytest.raises(ConfigError):
        log_run(tmp_path / "w", "zz")


def test_every_run_is_written_while_autolog_is_on(tmp_path, tracking):
    autolog()
    autolog()  # once is enough
    fit(tmp_path / "a")
    found = mlflow.search_runs(output_format="list")
    assert len(found) == 1
    fit(tmp_path / "a")  # complete: not a run
    mlflow.set_tracking_uri("http://127.0.0.1:9")  # nobody answers there
    autolog(disable=True)
    fit(tmp_path / "b", 1)
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    assert len(mlflow.search_runs(output_format="list")) == 1


def test_a_run_that_cannot_be_written_is_a_warning(tmp_path, tracking, monkeypatch):
    autolog()
    (tmp_path / "file").write_text("")
    mlflow.set_tracking_uri((tmp_path / "file" / "below").as_uri())
    with pytest.warns(UserWarning, match="was not written to MLflow"):
        assert fit(tmp_path / "w")["models"]


def test_an_export_is_a_model_that_recommends(tmp_path, tracking):
    fit(tmp_path / "w")
    load_model(tmp_path / "w").export_weights(tmp_path / "export", 20)
    with mlflow.start_run():
        uri = log_export(tmp_path / "export")
    loaded = mlflow.pyfunc.load_model(uri)
    histories = pd.DataFrame({"user_id": ["a", "a", "b"], "item_id": [3, 7, 11]})
    found = loaded.predict(histories, params={"n": 4})
    served = load_export(tmp_path / "export")
    rows, scores = served.recommend([[3, 7], [11]], 4)
    assert found.user_id.tolist() == ["a"] * 4 + ["b"] * 4
    assert found.item_id.tolist() == [one["item_id"] for user in served.named(rows, scores) for one in user]
    np.testing.assert_allclose(found.score, scores.ravel(), rtol=1e-6)
    folder = mlflow.artifacts.download_artifacts(uri)
    pickles = list(Path(folder).rglob("*.pkl"))
    assert not pickles
