"""Metrics by item popularity and by user activity, from the configuration to the printed table."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from l3ae_dist.config.load import make_config
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.closed_form import ease_dense
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.metrics import by_item_popularity, by_user_activity
from l3ae_dist.pipeline.run import run
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask


def test_groups_are_measured_on_request_and_printed(tmp_path, small_tables, dask_session):
    log, items = small_tables
    address = dask_session.client.scheduler.address
    values = {
        "workspace": str(tmp_path / "w"),
        "model": {"name": "ease", "reg_x": 10},
        "evaluate": {"ks": [5, 20]},
        "compute": {"cluster": "address", "address": address, "dtype": "float64", "tile_size": 16,
                    "memory_budget": "1GiB"},
    }  # fmt: skip
    plain = run(make_config(values), interactions=log, items=items)
    assert not any(key.startswith("by_") for key in plain["models"]["EASE"]["test"])
    (tmp_path / "config.json").write_text(json.dumps(values))

    def call(*more):
        code = "from l3ae_dist.cli.app import main; main()"
        command = [sys.executable, "-c", code, "evaluate", str(tmp_path / "config.json"), *more]
        environment = {**os.environ, "COLUMNS": "200"}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    test = json.loads(call("--by", "popularity", "--by", "activity", "--json"))["models"]["EASE"]["test"]
    ds = Dataset(Workspace.open(tmp_path / "w"), plain["dataset"]["id"])
    x, truth = ds.user_rows("train", 0, 60), ds.user_rows("test", 0, 60)
    top, _ = top_k(x @ ease_dense(x.toarray().astype(float), 10.0), 20, seen=x)
    activity = np.diff(x.indptr)
    np.testing.assert_array_equal(ds.activity(), activity)
    for key, want in {
        "by_item_popularity": by_item_popularity(top, truth, ds.popularity(), (5, 20)),
        "by_user_activity": by_user_activity(top, truth, activity, (5, 20)),
    }.items():
        assert len(test[key]) == len(want) > 2
        for got, group in zip(test[key], want, strict=True):
            assert got["interactions"] == group["interactions"]
            for name in ("recall@5", "ndcg@20"):
                assert got[name] == pytest.approx(group[name], abs=1e-12, nan_ok=True)
    shown = call("--by", "popularity")
    assert "By item popularity" in shown
    assert "By user activity" not in shown
    with pytest.raises(ConfigError, match=r"evaluate\.by"):
        make_config({**values, "evaluate": {"by": ["price"]}})
