"""Texts are identified by their content: whatever the file, its time or its format, nothing is embedded twice."""

import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from local_pool import local_pool, vector
from typer.testing import CliRunner

from l3ae_dist import EASE, L3AE, load_model
from l3ae_dist.cli.app import app
from l3ae_dist.config.embedding import EncoderConfig
from l3ae_dist.config.load import make_config
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.pipeline.append import append
from l3ae_dist.pipeline.model_document import config_of_model
from l3ae_dist.pipeline.named_models import read_model
from l3ae_dist.pipeline.run import run
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.rows import read_rows
from l3ae_dist.storage.workspace import Workspace


@pytest.fixture
def pool(monkeypatch):
    """The pool, and no Ray for the run either."""
    monkeypatch.setattr("l3ae_dist.pipeline.job.Job.ray", lambda job: pytest.fail("starts Ray"))
    made = local_pool(monkeypatch)
    monkeypatch.setattr("l3ae_dist.pipeline.job.Job.ray", lambda job: __import__("contextlib").nullcontext())
    return made


class Runs:
    """Runs of one workspace up to the embeddings."""

    def __init__(self, folder, pool):
        self.url, self.pool = str(folder / "w"), pool

    def __call__(self, log, items, *, until="embed", encoder=None, **options):
        sections = {
            "workspace": self.url,
            "compute": {"cluster": "synchronous"},
            "data": {"options": {"split": "none", **options}},
        }
        config = make_config({**sections, "encoder": encoder or {}})
        self.pool.texts, self.events = [], []
        result = run(config, interactions=log, items=items, until=until, on_event=self.events.append)
        self.dataset = Dataset(Workspace.open(self.url), result["dataset"]["id"])
        self.embedding = result["embedding"]
        return self.pool.texts

    def rows(self):
        array = ChunkArray.open(self.dataset.workspace, layout.embeddings(self.embedding))
        return read_rows(array, 0, self.dataset.n_items)

    def check(self):
        want = [vector(text) for text in self.dataset.texts()]
        np.testing.assert_array_equal(self.rows(), want)


@pytest.fixture
def runs(tmp_path, pool):
    return Runs(tmp_path, pool)


def test_a_touched_file_and_the_same_rows_in_any_form_embed_nothing(tmp_path, small_tables, runs):
    log, items = small_tables
    path = tmp_path / "items.parquet"
    items.to_parquet(path)
    assert runs(log, str(path)) == items.text.tolist()
    first, dataset = runs.embedding, runs.dataset.id
    os.utime(path, (1, 1))
    items.to_csv(tmp_path / "items.csv", index=False)
    items.to_csv(tmp_path / "items.tsv.gz", index=False, sep="\t")
    items.to_json(tmp_path / "items.jsonl", orient="records", lines=True)
    for i in range(4):
        items.iloc[10 * i : 10 * i + 10].to_parquet(tmp_path / f"part-{i}.parquet")
    forms = [
        str(path), items, items.set_index("item_id"), pa.Table.from_pandas(items),
        *(str(tmp_path / name) for name in ("items.csv", "items.tsv.gz", "items.jsonl", "part-*.parquet")),
    ]  # fmt: skip
    for form in forms:
        assert runs(log, form) == []
        assert runs.embedding == first
        said = [event.message for event in runs.events if event["kind"] == "log"]
        assert said in ([], ["all 40 texts are embedded already"])  # none where the whole run was there
    assert runs.dataset.id != dataset
    by_id = items.set_index("item_id").text
    for form in (by_id, by_id.to_dict()):
        assert runs(log, form) == []
        assert runs.embedding == first
    # neither a title nor another split counts
    assert runs(log, items.assign(title="other")) == []
    assert runs(log, items, split="random") == []
    assert runs.embedding == first
    assert len(Workspace.open(runs.url).list_docs("stages/embed")) == 1


CHANGES = {
    "one text": (lambda items: items.assign(text=items.text.replace("blue thing number 6", "new")), ["new"]),
    "an item added": (
        lambda items: pd.concat([items, pd.DataFrame({"item_id": [40], "title": "t", "text": "new"})]),
        ["new"],
    ),
    "another order": (lambda items: items.iloc[::-1], []),
    "ids as text": (lambda items: items, []),
    "another column": (lambda items: items.assign(text=items.title), [f"title {i}" for i in range(40)]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_catalog_embeds_what_is_new(small_tables, runs, name):
    log, items = small_tables
    runs(log, items)
    before = dict(zip(runs.dataset.texts(), runs.rows(), strict=True))
    change, new = CHANGES[name]
    options = {"id_type": "string"} if name == "ids as text" else {}
    assert runs(log, change(items), **options) == new
    runs.check()
    for text, row in zip(runs.dataset.texts(), runs.rows(), strict=True):
        np.testing.assert_array_equal(row, before.get(text, row))
    said = [event.message for event in runs.events if event["kind"] == "log" and "embedded" in event.message]
    n = runs.dataset.n_items
    assert said == ([] if len(new) == n else [f"{len(new)} of {n} texts embedded, the others taken over"])


def test_items_of_two_kinds_of_ids_are_told_apart(tmp_path, small_tables, runs):
    log, items = small_tables
    zeros = items.assign(item_id=items.item_id.map("{:03}".format))
    with pytest.raises(
        DataError, match=r"item ids of the log are integers, such as \d+, and .* text, such as '000'"
    ):
        runs(log, zeros, until="ingest")
    with pytest.raises(DataError, match=r"holds '0\d\d' .* which is text, .* integers such as 0; .*id_type"):
        runs(log.assign(item_id=log.item_id.map("{:03}".format)), items, until="ingest")
    with pytest.raises(DataError, match=r"no interaction is left: .* not in the catalog"):
        runs(log.assign(item_id=log.item_id + 1000), items, until="ingest", unknown_items="drop")


def test_another_prompt_or_encoder_embeds_everything(small_tables, runs):
    log, items = small_tables
    runs(log, items)
    ids = [runs.embedding]
    for encoder in (
        {"prompt": "item: "},
        {"model": "other/model", "revision": "a" * 40},
        {"normalize": False},
    ):
        assert runs(log, items, encoder=encoder) == items.text.tolist()
        ids.append(runs.embedding)
    assert len(set(ids)) == 4


def test_a_catalog_that_cannot_be_read_leaves_no_run(small_tables, runs):
    log, items = small_tables
    with pytest.raises(DataError, match="occur more than once"):
        runs(log, pd.concat([items, items]))


# ---- appended embeddings


def fitted(where, log, items, f):
    model = L3AE(reg_x=5.0, reg_e=5.0, compute={"cluster": "synchronous", "dtype": "float64"})
    return model.fit(log, items, workspace=str(where), embeddings=f)


def test_models_with_other_embeddings_append_the_same_rows_apart(tmp_path, small_tables):
    log, items = small_tables
    known = log[log.item_id < 38]
    new = pd.DataFrame({"user_id": [0, 1, 2], "item_id": [38, 39, 38]})
    f, g = np.random.default_rng(1).standard_normal((2, 40, 4)).astype(np.float32)
    g[38:] = f[38:]
    both = pd.concat([known, new])
    for rows in (f, g):  # in one workspace, one after the other
        model = fitted(tmp_path / "w", known, items.head(38), rows[:38])
        model.append(new, items.tail(2), embeddings=rows[38:])
        want = fitted(tmp_path / f"whole-{rows[0, 0]}", both, items, rows).model_.weights(list(items.item_id))
        np.testing.assert_allclose(model.model_.weights(list(items.item_id)), want, atol=1e-9)


def test_a_failed_append_keeps_the_dataset_of_another_model(tmp_path, small_tables):
    log, items = small_tables
    known = log[log.item_id < 38]
    new = pd.DataFrame({"user_id": [0, 1, 2], "item_id": [38, 39, 38]})
    where, f = tmp_path / "w", np.random.default_rng(1).standard_normal((40, 4)).astype(np.float32)
    compute = {"cluster": "synchronous"}
    EASE(3.0, compute=compute).fit(known, items.head(38), workspace=str(where))
    appended = EASE(3.0, compute=compute).fit(known, items.head(38), workspace=str(where))
    appended.append(new, items.tail(2))
    model = fitted(where, known, items.head(38), f[:38])
    stages = set(Workspace.open(where).list_docs("stages/ingest"))
    with pytest.raises(DataError, match="are missing"):
        model.append(new, items.tail(2))
    assert set(Workspace.open(where).list_docs("stages/ingest")) == stages
    assert appended.model_.dataset.item_ids().tolist() == list(items.item_id)
    apart = new.assign(user_id=7)
    with pytest.raises(DataError, match="are missing"):
        model.append(apart, items.tail(2))
    assert set(Workspace.open(where).list_docs("stages/ingest")) == stages


# ---- without a table of items


def test_models_without_text_need_no_items(tmp_path, small_tables):
    log = small_tables[0]
    compute = {"cluster": "synchronous", "dtype": "float64"}
    model = EASE(10.0, compute=compute).fit(log, workspace=tmp_path / "w")
    ids = sorted(set(log.item_id))
    assert model.model_.dataset.item_ids().tolist() == ids
    x = np.zeros((log.user_id.nunique(), len(ids)))
    x[pd.factorize(log.user_id, sort=True)[0], np.searchsorted(ids, log.item_id)] = 1
    p = np.linalg.inv(x.T @ x + 10 * np.eye(len(ids)))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    np.testing.assert_allclose(model.model_.weights(ids), b, atol=1e-9)
    # a log that is appended may name new items
    new = pd.DataFrame({"user_id": [0, 1], "item_id": [777, 777]})
    model.append(new)
    assert model.model_.dataset.item_ids().tolist() == [*ids, 777]
    assert model.result_["append"]["items"] == 1
    assert model.model_.dataset.stats.read == {"interactions": {"files": 0, "rows": 2}}
    model.append(new.assign(user_id=7), {888: "a lamp"})
    assert model.model_.dataset.item_ids().tolist() == [*ids, 777, 888]
    assert model.model_.dataset.stats.read["items"] == {"files": 0, "rows": 1}


@pytest.mark.parametrize("model", ["l3ae", "ease_text", "collective_ease"])
def test_models_that_need_text_say_what_to_give(tmp_path, small_tables, model):
    config = make_config({"workspace": str(tmp_path / "w"), "model": {"name": model}})
    with pytest.raises(DataError, match=r"no items table was given; the model .* give items"):
        run(config, interactions=small_tables[0])
    assert not (tmp_path / "w").exists()


def test_embeddings_without_items_need_ids_or_ids_that_are_positions(tmp_path, small_tables):
    log = small_tables[0]

    def fit(interactions, name, embeddings):
        model = L3AE(compute={"cluster": "synchronous"})
        return model.fit(interactions, workspace=tmp_path / name, embeddings=embeddings).model_

    ids = sorted(set(log.item_id))
    f = np.random.default_rng(0).standard_normal((len(ids), 4)).astype(np.float32)
    text_log = log.assign(item_id=[f"i{i:02}" for i in log.item_id])
    with pytest.raises(DataError, match="rows without item ids, and no items table gives the order"):
        fit(text_log, "a", f)
    table = pd.DataFrame({"item_id": [f"i{i:02}" for i in ids], "vector": list(f)}).iloc[::-1]
    by_id = fit(text_log, "b", table)
    by_position = fit(log, "c", f)
    np.testing.assert_array_equal(by_id.weights([f"i{i:02}" for i in ids]), by_position.weights(ids))


def test_appended_items_embed_their_texts_alone(small_tables, runs):
    log, items = small_tables
    runs(log, items.head(38), until="fit")
    runs.pool.texts = []
    new = pd.DataFrame({"user_id": [1, 2], "item_id": [38, 39]})
    append(runs.url, new, items, compute={"cluster": "synchronous"})
    assert runs.pool.texts == items.text.tolist()[38:]


def test_code_of_an_encoder_runs_by_the_word_of_the_call_and_not_of_the_workspace(
    tmp_path, small_tables, runs, monkeypatch
):
    log, items = small_tables
    runs(log, items, until="fit", encoder={"model": "a/b", "revision": "c" * 40, "trust_remote_code": True})
    new = pd.DataFrame({"item_id": [90], "title": "t", "text": "quite new"})
    more = pd.DataFrame({"user_id": [0], "item_id": [90]})
    loaded = []

    def fake(options):
        loaded.append(EncoderConfig.model_validate_json(options))
        return SimpleNamespace(encode=lambda texts: np.array([vector(text) for text in texts]))

    monkeypatch.setattr("l3ae_dist.embed.new_item_features._encoder", fake)
    model = load_model(runs.url)
    runs.pool.texts = []
    for call in (
        lambda: model.add_items(new),
        lambda: model.append(more, new),
        lambda: append(runs.url, more, new),
    ):
        with pytest.raises(
            ConfigError, match=r"workspace cannot allow.*--set encoder\.trust_remote_code=true"
        ):
            call()
    arguments = ["append", runs.url, str(tmp_path / "more.csv"), "--items", str(tmp_path / "new.csv")]
    more.to_csv(tmp_path / "more.csv", index=False)
    new.to_csv(tmp_path / "new.csv", index=False)
    done = CliRunner().invoke(app, [*arguments, "--set", "compute.cluster=synchronous"])
    assert (done.exit_code, runs.pool.texts, loaded) == (ConfigError.exit_code, [], [])
    assert not Dataset(Workspace.open(runs.url), runs.dataset.id).stats.appended
    # evaluation, which may have to make damaged embeddings again, does not take it over either
    document = read_model(Workspace.open(runs.url))
    assert not config_of_model(Workspace.open(runs.url), document).encoder.trust_remote_code
    assert list(model.add_items(new, trust_remote_code=True)) == [90]
    assert [one.trust_remote_code for one in loaded] == [True]
    result = append(
        runs.url, more, new, name="trusted", trust_remote_code=True, compute={"cluster": "synchronous"}
    )
    assert (runs.pool.texts, result["model"]["name"]) == (["quite new"], "trusted")


def test_new_items_are_not_embedded_by_another_model_than_the_catalog(tmp_path, small_tables, runs):
    log, items = small_tables
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    runs(log, items, until="fit", encoder={"model": str(folder)})
    (folder / "model.safetensors").write_bytes(b"two")
    with pytest.raises(ConfigError, match="is not the one that the catalog was embedded with"):
        load_model(runs.url).add_items(["something new"])
