"""Early stopping of a sweep's models: the same figures and pick, less scoring, the same again after a kill."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from l3ae_dist.cli.views.sweep import sweep_table
from l3ae_dist.config.load import make_config
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import ConfigError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.pipeline.early_stopping import growing_samples
from l3ae_dist.report.sweep_page import sweep

METRIC, N, USERS = "ndcg@5", 40, 300
# The text tells nothing, so that much of it is bad.
SWEEP = {
    "ridge": [5, 20],
    "reg_f": [1, 20],
    "reg_e": [0.1, 1, 500, 2000],
    "alpha": [0, 0.4],
    "members": ["lae"],
}


def tables():
    rng = np.random.default_rng(5)
    kinds = rng.integers(0, 4, USERS)
    liked = np.where(rng.random((USERS, 12)) < 0.85, rng.integers(0, 10, (USERS, 12)) * 4 + kinds[:, None],
                     rng.integers(0, N, (USERS, 12)))  # fmt: skip
    log = pd.DataFrame({"user_id": np.repeat(np.arange(USERS), 12), "item_id": liked.ravel()})
    items = pd.DataFrame({"item_id": range(N), "text": [f"text {i}" for i in range(N)]})
    return log, items, rng.standard_normal((N, 8)).astype(np.float32)


def swept(where, *, early=True, on_event=None, **options):
    log, items, f = tables()
    values = {
        "workspace": str(where), "sweep": SWEEP | options | {"early_stopping": early},
        "evaluate": {"metric": METRIC, "ks": [5, 20]}, "data": {"options": {"split": "random"}},
        "compute": {"cluster": "synchronous", "threads": 1, "dtype": "float64", "tile_size": 64},
    }  # fmt: skip
    return sweep(make_config(values), interactions=log, items=items, embeddings=f, on_event=on_event)


def by_model(rows):
    names = ("model", "reg_x", "reg_f", "reg_e", "alpha")
    return {tuple(row.get(name) for name in names): row for row in rows}


def test_what_is_measured_to_the_end_is_as_without_stopping_and_the_pick_is_among_it(tmp_path):
    pytest.importorskip("optuna")
    whole, early = swept(tmp_path / "whole", early=False)["sweep"], swept(tmp_path / "early")
    found = early["sweep"]
    all_rows, kept, stopped = by_model(whole["table"]), by_model(found["table"]), by_model(found["stopped"])
    assert kept.keys() | stopped.keys() == all_rows.keys()
    assert not kept.keys() & stopped.keys()
    for key, row in kept.items():
        for name in (METRIC, "recall@5"):
            assert row[name] == pytest.approx(all_rows[key][name], abs=1e-12)
    for key, row in stopped.items():  # a part of the users, and worse than the best of the kind
        assert 0 < row["users"] < whole["valid_users"]
        best = max(r[METRIC] for k, r in all_rows.items() if k[0] == key[0])
        assert all_rows[key][METRIC] < best
    assert len(stopped) > len(all_rows) / 5
    assert f"{len(all_rows)} models" in (title := str(sweep_table(found).title))
    assert f"{len(stopped)} were given up early" in title
    assert 0.1 < found["scored_share"] < 0.9
    assert [one["ridge"] for one in found["factorised"]] == [5.0, 20.0]  # all inverses are made
    best = max((row for row in whole["table"] if row["model"] == "L3AE"), key=lambda row: row[METRIC])
    assert early["models"]["L3AE"]["params"]["reg_e"] == best["reg_e"]
    assert early["run"] != swept(tmp_path / "early", early=False)["run"]


class Stop(Exception):
    pass


def test_a_killed_search_gives_up_the_same_models_again_and_ranks_no_sample_twice(tmp_path):
    pytest.importorskip("optuna")
    uncut = []
    whole = swept(tmp_path / "whole", on_event=uncut.append)
    ranked = []

    def stop(event):
        if event["kind"] == "stage_end" and event["stage"] == "rank":
            ranked.append(event)
            if len(ranked) == 9:
                raise Stop

    with pytest.raises(Stop):
        swept(tmp_path / "cut", on_event=stop)
    events = []
    again = swept(tmp_path / "cut", on_event=events.append)
    for name in ("table", "stopped", "scored_share"):
        assert again["sweep"][name] == whole["sweep"][name]
    passes = [e for e in events if e["kind"] == "stage_end" and e["stage"] == "rank"]
    assert len(passes) < sum(e["kind"] == "stage_end" and e["stage"] == "rank" for e in uncut)


def test_samples_grow_and_hold_every_user_once(tmp_path):
    found = swept(tmp_path / "w", early=False, ridge=[5], reg_f=[1], reg_e=[1])
    data = Dataset(load_model(str(tmp_path / "w")).workspace, found["dataset"]["id"])
    users = np.flatnonzero(np.diff(data.rows_of("valid", np.arange(USERS)).indptr))
    samples = growing_samples(data, users, 0)
    assert sorted(np.concatenate([one.users.rows for one in samples])) == users.tolist()
    assert [(one.first, one.count) for one in samples] == [(0, 8), (8, 8), (16, 16), (32, 32)]
    for one in samples:
        assert (
            len(one.users.rows) == len(one.parts) == pytest.approx(len(users) * one.count / 64, abs=one.count)
        )
        assert set(one.parts) == set(range(one.count))
    few = growing_samples(data, users[:10], 0)
    assert [(one.first, one.count) for one in few] == [(0, 8), (8, 2)]


def test_without_optuna_one_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "l3ae_dist.pipeline.early_stopping.find_spec", lambda name: None if name == "optuna" else found(name)
    )
    with pytest.raises(
        ConfigError, match=r"needs optuna, which is not installed; pip install 'l3ae-dist\[search\]'"
    ):
        swept(tmp_path / "w")
    assert not (tmp_path / "w").exists()
