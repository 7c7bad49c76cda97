"""Rows of embeddings taken over by the content of their texts, with a pool in this process in Ray's place."""

import sys

import numpy as np
import pandas as pd
import pytest
from local_pool import DIM, local_pool, vector

from l3ae_dist.config.embedding import EncoderConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import IngestConfig, ingest
from l3ae_dist.embed import run as embed_run
from l3ae_dist.embed.imports import import_embeddings, import_id
from l3ae_dist.embed.run import embed_items, embedding_id
from l3ae_dist.embed.text_digests import dataset_digests, read_digests, write_digests
from l3ae_dist.errors import ConfigError
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.rows import read_rows
from l3ae_dist.storage.workspace import Workspace


@pytest.fixture
def pool(monkeypatch):
    return local_pool(monkeypatch)


def catalog(texts, ids=None):
    return pd.DataFrame({"item_id": range(len(texts)) if ids is None else ids, "text": texts})


def stored(workspace, items):
    log = pd.DataFrame({"user_id": [1, 1, 2], "item_id": items.item_id.iloc[[0, 1, 0]]})
    return Dataset(workspace, ingest(log, items, IngestConfig(split="none"), workspace))


def embedded(pool, dataset, **options):
    """Embed a dataset; returns the id, the stats and the texts that went to the pool."""
    encoder = EncoderConfig(rows_per_chunk=4, **options)
    pool.texts = []
    identifier = embedding_id(dataset.catalog, encoder)
    embed_items(dataset, encoder, identifier)
    return identifier, dataset.workspace.stage_done("embed", identifier).stats, pool.texts


def rows_of(dataset, identifier):
    array = ChunkArray.open(dataset.workspace, layout.embeddings(identifier))
    assert len(array.done()) == array.grid[0]
    return read_rows(array, 0, dataset.n_items)


def check(dataset, identifier, salt=""):
    want = np.array([vector(text, salt) for text in dataset.texts()])
    np.testing.assert_array_equal(rows_of(dataset, identifier), want)
    left = {layout.identifier_of(key) for key in dataset.workspace.blobs.list("embeddings")}
    assert not any("-" in name for name in left)  # what was embedded apart is gone
    assert verify_workspace(dataset.workspace.url, lambda event: None).damage == []


TEXTS = [f"text {i}" for i in range(22)]
CHANGES = {
    "one text": ([*TEXTS[:9], "new", *TEXTS[10:]], ["new"]),
    "an item added": ([*TEXTS, "new"], ["new"]),
    "an item added in front": (["new", *TEXTS], ["new"]),
    "an item removed": (TEXTS[:7] + TEXTS[8:], []),
    "another order": (TEXTS[::-1], []),
    "a part": (TEXTS[:6], []),
    "each text twice": (TEXTS + TEXTS, []),
    "all new but one": (["a", "b", "c", "d", "e", TEXTS[3], "f"], ["e", "f", "a", "b", "c", "d"]),
    "one new text of many items": (["new", "new", *TEXTS[:9], "new"], ["new"]),
    "empty text and a space": ([*TEXTS, "", " "], ["", " "]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_only_new_and_changed_texts_are_embedded(tmp_path, pool, name):
    ws = Workspace.create(tmp_path / "w")
    first, stats, texts = embedded(pool, stored(ws, catalog(TEXTS)))
    assert (stats["rows"], stats["embedded"], stats["reused"], texts) == (22, 22, 0, TEXTS)
    changed, new = CHANGES[name]
    dataset = stored(ws, catalog(changed))
    second, stats, texts = embedded(pool, dataset)
    assert sorted(texts) == sorted(new)
    assert (stats["rows"], stats["embedded"]) == (len(changed), len(new))
    assert stats["reused"] == len(changed) - len(new)
    assert stats["dim"] == DIM
    assert second != first
    check(dataset, second)


def test_a_text_that_items_share_is_embedded_once(tmp_path, pool):
    ws = Workspace.create(tmp_path / "w")
    texts = ["a", "b", "c", "d", "a", "e", "f", "a", "b", "b"]
    dataset = stored(ws, catalog(texts))
    identifier, stats, given = embedded(pool, dataset)
    assert sorted(given) == ["a", "b", "c", "d", "e", "f"]
    assert (stats["rows"], stats["embedded"], stats["reused"]) == (10, 6, 4)
    check(dataset, identifier)


def test_rows_come_from_several_embeddings_and_whole_chunks_are_linked(tmp_path, pool):
    ws = Workspace.create(tmp_path / "w")
    first, *_ = embedded(pool, stored(ws, catalog(TEXTS)))
    embedded(pool, stored(ws, catalog(["x", "y", "z"])))
    dataset = stored(ws, catalog([*TEXTS[:20], "z", "y"]))
    identifier, _, texts = embedded(pool, dataset)
    assert texts == []
    check(dataset, identifier)
    one, other = (tmp_path / "w" / layout.embeddings(name) / "c" for name in (first, identifier))
    assert [i for i in range(6) if (one / f"{i}/0").samefile(other / f"{i}/0")] == [0, 1, 2, 3, 4]


def test_another_encoder_prompt_or_parameter_embeds_everything(tmp_path, pool):
    dataset = stored(Workspace.create(tmp_path / "w"), catalog(TEXTS))
    ids = [embedded(pool, dataset)[0]]
    others = (
        {"prompt": "p: "},
        {"model": "other/model", "revision": "a" * 40},
        {"truncate_dim": 3},
        {"pooling": "cls"},
    )
    for salt, options in enumerate(others, 1):
        pool.salt = str(salt)
        identifier, stats, texts = embedded(pool, dataset, **options)
        assert (texts, stats["embedded"], stats["reused"]) == (TEXTS, 22, 0)
        check(dataset, identifier, pool.salt)
        ids.append(identifier)
    assert len(set(ids)) == 5
    # how texts are batched does not count
    encoder = EncoderConfig(batch_tokens=64, rows_per_chunk=3)
    assert embedding_id(dataset.catalog, encoder) == ids[0]


def test_given_embeddings_are_not_taken_for_those_of_an_encoder(tmp_path, pool):
    dataset = stored(Workspace.create(tmp_path / "w"), catalog(TEXTS))
    given = np.ones((22, DIM), np.float32)
    import_embeddings(given, dataset, import_id(given, dataset.catalog))
    identifier, _, texts = embedded(pool, dataset)
    assert texts == TEXTS
    check(dataset, identifier)


@pytest.mark.parametrize("most", [0, 1, 2])
def test_a_killed_run_goes_on_even_with_another_catalog(tmp_path, pool, most):
    ws = Workspace.create(tmp_path / "w")
    embedded(pool, stored(ws, catalog(TEXTS[:9])))
    middle = [*TEXTS[:4], "n1", "n1", *TEXTS[4:8], *(f"m{i}" for i in range(12)), TEXTS[8], "n2", "n3"]
    pool.most = most
    with pytest.raises(KeyboardInterrupt):
        embedded(pool, stored(ws, catalog(middle)))
    before, pool.most = pool.texts, None
    dataset = stored(ws, catalog([*middle, "last"]))
    identifier, stats, texts = embedded(pool, dataset)
    new = {"n1", "n2", "n3", "last", *(f"m{i}" for i in range(12))}
    assert set(texts) == new - set(before)
    assert len(texts) == len(set(texts)) == stats["embedded"]
    check_sound = rows_of(dataset, identifier)
    np.testing.assert_array_equal(check_sound, [vector(text) for text in dataset.texts()])
    dataset = stored(ws, catalog(middle))
    identifier, _, texts = embedded(pool, dataset)
    assert texts == []
    check(dataset, identifier)


def test_a_killed_run_that_is_repeated_loses_nothing_of_what_was_finished(tmp_path, pool):
    ws = Workspace.create(tmp_path / "w")
    embedded(pool, stored(ws, catalog(TEXTS)))
    dataset = stored(ws, catalog([f"new {i}" if i % 3 == 0 else text for i, text in enumerate(TEXTS)]))
    pool.most = 1
    with pytest.raises(KeyboardInterrupt):
        embedded(pool, dataset)
    before, pool.most = pool.texts, None
    identifier, stats, texts = embedded(pool, dataset)
    assert (len(before), len(texts), stats["embedded"], stats["reused"]) == (4, 4, 4, 18)
    check(dataset, identifier)


def test_a_damaged_chunk_is_made_again_and_damaged_sources_are_not_taken(tmp_path, pool):
    ws = Workspace.create(tmp_path / "w")
    first = stored(ws, catalog(TEXTS))
    source, *_ = embedded(pool, first)
    file = tmp_path / "w" / layout.embeddings(source) / "c/2/0"
    file.write_bytes(b"x" * file.stat().st_size)
    dataset = stored(ws, catalog(TEXTS[::-1]))
    identifier, stats, texts = embedded(pool, dataset)
    assert sorted(texts) == sorted(TEXTS[8:12])
    assert stats["embedded"] == 4
    np.testing.assert_array_equal(rows_of(dataset, identifier), [vector(text) for text in TEXTS[::-1]])
    # the damaged chunk comes back from the embeddings that were made with it
    ChunkArray.open(ws, layout.embeddings(source)).discard(2, 0)
    ws.reopen_stage("embed", source)
    source, _, texts = embedded(pool, first)
    assert texts == []
    check(first, source)


def test_damaged_digests_cost_time_and_nothing_else(tmp_path, pool):
    ws = Workspace.create(tmp_path / "w")
    source, *_ = embedded(pool, stored(ws, catalog(TEXTS)))
    file = tmp_path / "w" / layout.digests(source) / "c/0/0"
    file.write_bytes(b"x" * file.stat().st_size)
    dataset = stored(ws, catalog(TEXTS[::-1]))
    identifier, _, texts = embedded(pool, dataset)
    assert texts == TEXTS[::-1]
    np.testing.assert_array_equal(rows_of(dataset, identifier), [vector(text) for text in TEXTS[::-1]])


def test_a_model_that_was_exchanged_in_its_folder_is_refused(tmp_path, pool):
    ws = Workspace.create(tmp_path / "w")
    embedded(pool, stored(ws, catalog(TEXTS)))
    pool.dim = 7
    with pytest.raises(ConfigError, match="gives rows of 7 numbers and gave 5 before"):
        embedded(pool, stored(ws, catalog([*TEXTS, "new"])))


def test_the_parent_is_noted_when_its_rows_come_first(tmp_path, pool):
    ws = Workspace.create(tmp_path / "w")
    source, *_ = embedded(pool, stored(ws, catalog(TEXTS)))
    for texts, continues in (([*TEXTS, "new"], True), (["new", *TEXTS], False)):
        dataset, encoder = stored(ws, catalog(texts)), EncoderConfig(rows_per_chunk=4)
        identifier = embedding_id(dataset.catalog, encoder)
        embed_items(dataset, encoder, identifier, parent=source)
        stats = ws.stage_done("embed", identifier).stats
        assert stats.get("parent") == (source if continues else None)


def test_people_are_told_what_was_taken_over(tmp_path, pool):
    ws = Workspace.create(tmp_path / "w")
    embedded(pool, stored(ws, catalog(TEXTS)))
    dataset, encoder, events = stored(ws, catalog(["new", *TEXTS])), EncoderConfig(), []
    embed_items(dataset, encoder, embedding_id(dataset.catalog, encoder), on_event=events.append)
    assert [event.message for event in events if event["kind"] == "log"] == [
        "1 of 23 texts embedded, the others taken over"
    ]
    assert [(event["kind"], event.get("rows")) for event in events if event["kind"] == "stage_end"] == [
        ("stage_end", 1)
    ]


def test_nothing_new_needs_neither_ray_nor_torch(tmp_path, pool, monkeypatch):
    ws = Workspace.create(tmp_path / "w")
    embedded(pool, stored(ws, catalog(TEXTS)))
    monkeypatch.setattr(embed_run, "ray_session", lambda: pytest.fail("starts Ray"))
    loaded = set(sys.modules)
    embedded(pool, stored(ws, catalog(TEXTS[::-1])))
    assert not {"ray", "torch"} & (set(sys.modules) - loaded)


def test_rows_of_two_arithmetics_are_never_put_together(tmp_path, pool):
    """On a GPU ``auto`` is bfloat16; a run on CPUs follows the rows that are there, and starts anew with none."""
    workspace = Workspace.create(tmp_path / "w")
    on_gpu = embed_run.ActorPool

    def of(device):
        def made(*args, **kwargs):
            pool_of = on_gpu(*args, **kwargs)
            pool_of.figures = lambda: {"device": device}
            return pool_of

        return made

    asked = []
    start = embed_run.start_actors
    embed_run.start_actors = lambda dataset, options, **more: (
        asked.append(options.dtype),
        start(dataset, options, **more),
    )[1]
    try:
        embed_run.ActorPool = of("cuda:0")
        texts = [f"text {i}" for i in range(10)]
        embedded(pool, stored(workspace, catalog(texts)))
        embed_run.ActorPool = of("cpu")
        more = stored(workspace, catalog([*texts, "new"]))
        assert embedded(pool, more)[2] == ["new"]
        assert embedded(pool, more, dtype="bfloat16")[2] == []
        assert embedded(pool, more, dtype="float32")[2] == [*texts, "new"]
        assert asked == ["auto", "bfloat16", "float32"]
        # digests of a run that was killed before its first row decide nothing
        fresh = stored(workspace, catalog([f"other {i}" for i in range(5)]))
        auto = EncoderConfig(rows_per_chunk=4)
        name, made = embedding_id(fresh.catalog, auto), dataset_digests(fresh, auto.on_device("cpu"))
        write_digests(workspace, name, dataset_digests(fresh, auto.on_device("cuda")))
        embedded(pool, fresh)
        np.testing.assert_array_equal(read_digests(workspace, name), made)
    finally:
        embed_run.ActorPool, embed_run.start_actors = on_gpu, start
