"""A check reads what a run reads, tells what is in it, and leaves nothing behind."""

import json
import os
import tempfile

import huggingface_hub.constants
import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import l3ae_dist
from l3ae_dist.cli import app as cli
from l3ae_dist.config.load import make_config
from l3ae_dist.errors import ConfigError, DataError

EVIL = "[bold]x[/bold]\x1b[2J\u202e<b>"


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The folder for temporary files, which a check must leave empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def tables():
    rng = np.random.default_rng(5)
    log = pd.DataFrame(
        {
            "user_id": [f"{user:03d}" for user in rng.integers(0, 30, 400)],
            "item_id": rng.integers(1, 21, 400),
            "stars": rng.integers(0, 6, 400),
            "at": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(400), unit="h"),
        }
    )
    texts = [f"a text of item {item % 7}" * (item % 3) for item in range(1, 21)]
    return log, pd.DataFrame({"item_id": range(1, 21), "title": EVIL, "text": texts})


@pytest.fixture
def files(tmp_path, tables):
    log, items = tables
    for part in range(2):
        log[part::2].to_csv(tmp_path / f"log-{part}.csv", index=False)
    items.to_parquet(tmp_path / "items.parquet")
    values = {
        "workspace": str(tmp_path / "workspace"),
        "data": {
            "interactions": str(tmp_path / "log-*.csv"),
            "items": str(tmp_path / "items.parquet"),
            "options": {"weight_column": "stars", "timestamp_column": "at", "split": "random"},
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    return values


def test_figures_are_those_of_pandas(files, tables, scratch):
    found = l3ae_dist.check(make_config(files))
    log, items = tables
    kept = log[log.stars > 0]
    pairs = kept.groupby(["user_id", "item_id"]).stars.sum().reset_index()
    assert found.interactions == len(pairs)
    assert found.density == pytest.approx(len(pairs) / (pairs.user_id.nunique() * 20))
    assert found.dataset.n_users == pairs.user_id.nunique()
    per_user = pairs.user_id.value_counts()
    per_item = pairs.item_id.value_counts().reindex(range(1, 21), fill_value=0)
    for spread, counts in ((found.per_user, per_user), (found.per_item, per_item)):
        lower = int(np.sort(counts)[(len(counts) - 1) // 2])
        assert (spread.least, spread.median, spread.largest) == (counts.min(), lower, counts.max())
    assert found.dataset.dropped["zero_weights"] == (log.stars == 0).sum()
    assert found.dataset.dropped["duplicates"] == len(kept) - len(pairs)
    assert found.texts.characters.largest == items.text.str.len().max()
    assert found.texts.empty == (items.text == "").sum()
    assert found.texts.duplicates == items.text[items.text != ""].duplicated().sum()
    assert found.texts.limit == 256
    assert list(scratch.iterdir()) == []
    assert not os.path.exists(files["workspace"])


def test_each_table_is_described_with_its_kinds_ranges_and_first_rows(files, tables):
    log, _ = tables
    first, second = l3ae_dist.check(make_config(files)).tables
    assert (first.what, first.files, first.rows) == ("interactions", 2, 400)
    assert first.formats == {"delimited text, separator ',', utf-8": 2}
    assert [(one.name, one.used_as, one.kind) for one in first.used] == [
        ("user_id", "user id", "text"),
        ("item_id", "item id", "integer"),
        ("stars", "weight", "number"),
        ("at", "time", "date"),
    ]
    values = {one.name: one.values for one in first.used}
    assert values["stars"] == f"0 to 5, mean {log.stars.mean():.4g}"
    assert values["at"] == "2020-01-01T00:00:00 to 2020-01-17T15:00:00"
    want = log[0::2].head(10).astype(str)[["user_id", "item_id", "stars"]]
    assert [{k: row[k] for k in want} for row in first.sample] == want.to_dict("records")
    assert (second.what, second.files, second.rows) == ("items", 1, 20)
    assert second.sample[0]["title"] == "[bold]x[/bold]\\x1b[2J\\u202e<b>"


def test_epochs_are_told_as_the_dates_that_they_are(tmp_path):
    log = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 1], "t": [1_262_304_000, 1_262_390_400]})
    options = {"timestamp_column": "t", "split": "none"}
    config = make_config({"workspace": str(tmp_path / "w"), "data": {"options": options}})
    found = l3ae_dist.check(config, interactions=log, items=pd.DataFrame({"item_id": [1]}))
    (time,) = (one for one in found.tables[0].used if one.used_as == "time")
    assert time.values == (
        "1262304000 to 1262390400 (2010-01-01T00:00:00 to 2010-01-02T00:00:00 if seconds since 1970)"
    )
    assert (found.tables[0].files, found.tables[0].formats) == (0, {"in memory": 1})
    assert found.texts is None
    assert "text" in found.no_text


def test_embeddings_are_read_as_a_run_reads_them(files, tmp_path, scratch):
    np.save(tmp_path / "f.npy", np.ones((20, 3), np.float32))
    files["data"]["embeddings"] = str(tmp_path / "f.npy")
    found = l3ae_dist.check(make_config(files))
    assert found.embeddings == (20, 3)
    assert found.texts.limit is None
    np.save(tmp_path / "f.npy", np.ones((19, 3), np.float32))
    with pytest.raises(DataError, match="19 rows and the catalog has 20 items"):
        l3ae_dist.check(make_config(files))
    assert list(scratch.iterdir()) == []


def test_the_command_fits_a_terminal_and_obeys_nothing_in_the_data(files, tmp_path):
    done = CliRunner().invoke(cli.app, ["check", str(tmp_path / "config.yaml")], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "[bold]x[/bold]\\x1b[2J\\u202e" in done.stdout
    assert "Nothing was stored." in done.stdout


def test_json_is_one_object_with_the_figures_of_the_data(files, tmp_path):
    done = CliRunner().invoke(cli.app, ["check", str(tmp_path / "config.yaml"), "--json"])
    found = json.loads(done.stdout)
    assert set(found["tables"]) == {"interactions", "items"}
    assert found["tables"]["interactions"]["rows"] == 400
    assert len(found["tables"]["items"]["sample"]) == 10
    assert found["dataset"]["n_items"] == 20


def test_data_that_cannot_be_used_end_it_as_they_end_a_run(files, tmp_path, scratch):
    (tmp_path / "log-0.csv").write_text("user_id,item_id,stars,at\n1,99,1,2020-01-01\n")
    config = str(tmp_path / "config.yaml")
    checked, ran = (CliRunner().invoke(cli.app, [name, config]) for name in ("check", "run"))
    assert checked.exit_code == ran.exit_code == 3
    assert checked.stderr.splitlines()[-1] == ran.stderr.splitlines()[-1]
    assert "99" in checked.stderr
    assert list(scratch.iterdir()) == []
    with pytest.raises(ConfigError, match="no interactions are given"):
        l3ae_dist.check(make_config({"workspace": str(tmp_path / "w")}))


def test_an_encoder_that_the_run_would_refuse_is_refused(tmp_path, monkeypatch, tables, scratch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    log, items = tables
    values = {"workspace": str(tmp_path / "w"), "encoder": {"model": "owner/name"}}
    with pytest.raises(ConfigError, match="'owner/name' is named by its branch 'main'"):
        l3ae_dist.check(make_config(values), interactions=log, items=items)
    assert list(scratch.iterdir()) == []
    given = np.eye(20, 3)
    l3ae_dist.check(make_config(values), interactions=log, items=items, embeddings=given)
    l3ae_dist.check(make_config(values | {"model": {"name": "ease"}}), interactions=log, items=items)


def test_a_check_tells_the_core_and_refuses_an_empty_one(files, tables, tmp_path):
    files["data"]["core"] = {"min_interactions": 10}
    found = l3ae_dist.check(make_config(files)).dataset
    assert 0 < found.core.items < found.n_items
    (tmp_path / "core.yaml").write_text(yaml.safe_dump(files))
    told = CliRunner().invoke(cli.app, ["check", str(tmp_path / "core.yaml")])
    assert told.exit_code == 0, told.output
    assert f"Solved exactly: {found.core.items} items, with at least 10 training" in told.stdout
    files["data"]["core"] = {"min_interactions": len(tables[0])}
    with pytest.raises(ConfigError, match="and no item has more than"):
        l3ae_dist.check(make_config(files))
