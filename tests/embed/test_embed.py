"""Embedding with the real model on a real Ray, batching, and imported embeddings."""

import os
import signal
import threading
import time

import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l3ae_dist.config.embedding import EncoderConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import IngestConfig, ingest
from l3ae_dist.embed.actor_pool import ActorRequest
from l3ae_dist.embed.batching import encode_in_batches, token_batches
from l3ae_dist.embed.imports import import_embeddings, import_id
from l3ae_dist.embed.run import embed_items, embedding_id
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace


@pytest.fixture
def dataset(tmp_path, small_tables):
    ws = Workspace.create(tmp_path / "w")
    return Dataset(ws, ingest(*small_tables, IngestConfig(split="none"), ws))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200))
def test_batches_hold_every_text_once_within_the_budget(lengths, budget):
    batches = token_batches(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget
    longest = [lengths[batch[0]] for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_a_batch_out_of_memory_is_halved_and_order_is_kept():
    sizes = []

    def encode(texts):
        if len(texts) > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        sizes.append(len(texts))
        return np.array([[float(text)] for text in texts])

    rows = encode_in_batches([str(i) for i in range(10)], [1] * 10, 100, encode)
    assert rows[:, 0].tolist() == list(range(10))
    assert max(sizes) <= 3
    with pytest.raises(RuntimeError, match="another"):
        encode_in_batches(
            ["1", "2"], [1, 1], 100, lambda texts: (_ for _ in ()).throw(RuntimeError("another"))
        )


@pytest.mark.ray
def test_rows_equal_the_model_resume_and_logical_gpus(dataset, ray_cluster):
    """One pool start: rows, devices, and what a second run embeds again."""
    from l3ae_dist.embed.encoders import load_encoder

    options = EncoderConfig(rows_per_chunk=7)
    events = []
    identifier = embedding_id(dataset.catalog, options)
    embed_items(dataset, options, identifier, on_event=events.append)
    array = ChunkArray.open(dataset.workspace, f"embeddings/{identifier}")
    rows = np.concatenate([array.read(i, 0) for i in range(6)])
    model = load_encoder(options)._model
    want = model.encode(dataset.texts(), normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(rows, want, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    chunks = [event for event in events if event["kind"] == "chunk"]
    assert len(chunks) == 6
    marks = [
        dataset.workspace.blobs.get(key) for key in dataset.workspace.blobs.list(f"meta/done/{array.path}")
    ]
    import json

    gpus = {json.loads(mark)["pid"]: tuple(json.loads(mark)["gpus"]) for mark in marks}
    assert sorted(gpus.values()) in ([("0",), ("1",)], [("0",)], [("1",)])
    assert len({json.loads(mark)["sha256"] for mark in marks}) == 6

    array.discard(3, 0)
    dataset.workspace.delete_doc(f"stages/embed/{identifier}")
    again = []
    embed_items(dataset, options, identifier, actors=ActorRequest(1), on_event=again.append)
    assert [e["chunk"] for e in again if e["kind"] == "chunk" and not e["skipped"]] == [3]
    np.testing.assert_allclose(array.read(3, 0), want[21:28], atol=1e-5)
    done = []
    embed_items(dataset, options, identifier, on_event=done.append)
    assert done == []


@pytest.mark.ray
def test_a_killed_actor_loses_the_chunk_in_flight_only(tmp_path, ray_cluster):
    items = pd.DataFrame({"item_id": range(400), "text": [f"word {i} " * 40 for i in range(400)]})
    log = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [0, 1, 0]})
    ws = Workspace.create(tmp_path / "w")
    ds = Dataset(ws, ingest(log, items, IngestConfig(split="none"), ws))
    killed = []

    def kill_first(event):
        if event["kind"] == "chunk" and not killed:
            killed.append(event["pid"])
            threading.Thread(target=lambda: (time.sleep(0.05), os.kill(event["pid"], signal.SIGKILL))).start()

    events = []
    options = EncoderConfig(rows_per_chunk=20)
    identifier = embedding_id(ds.catalog, options)
    embed_items(
        ds, options, identifier, actors=ActorRequest(1), on_event=lambda e: (events.append(e), kill_first(e))
    )
    array = ChunkArray.open(ws, f"embeddings/{identifier}")
    assert len(array.done()) == 20
    written = [e["chunk"] for e in events if e["kind"] == "chunk" and not e["skipped"]]
    assert len(set(written)) == len(written)
    pids = {e["pid"] for e in events if e["kind"] == "chunk"}
    assert len(pids) == 2  # the restarted actor went on


class Frozen:
    """An ``on_event`` that stops the actor of the first chunk, and keeps what is said."""

    def __init__(self):
        self.pid, self.chunks, self.said = None, [], []

    def __call__(self, event):
        if event["kind"] == "log":
            self.said.append(event["message"])
        if event["kind"] == "chunk":
            self.chunks.append(event)
            if self.pid is None:
                self.pid = event["pid"]
                os.kill(self.pid, signal.SIGSTOP)


@pytest.mark.ray
def test_the_texts_of_an_actor_that_stands_still_are_embedded_by_another(dataset, ray_cluster):
    """The stopped actor has a chunk at hand and one that waits."""
    options = EncoderConfig(rows_per_chunk=4)
    identifier = embedding_id(dataset.catalog, options)
    seen = Frozen()
    embed_items(dataset, options, identifier, actors=ActorRequest(2), on_event=seen)
    (said,) = [one for one in seen.said if "stood still" in one]
    assert said.startswith(f"embedding actor (pid {seen.pid} of this machine) has stood still since ")
    assert "another embeds its texts" in said
    assert sorted(event["chunk"] for event in seen.chunks) == list(range(10))
    assert {event["pid"] for event in seen.chunks} > {seen.pid}
    array = ChunkArray.open(dataset.workspace, f"embeddings/{identifier}")
    rows = np.concatenate([array.read(i, 0) for i in range(10)])
    np.testing.assert_allclose(rows, encoded(dataset, options), atol=1e-5)
    assert not psutil.pid_exists(seen.pid)


@pytest.mark.ray
def test_an_actor_that_stands_still_at_the_end_is_not_left_behind(dataset, ray_cluster):
    options = EncoderConfig(rows_per_chunk=40)
    seen = Frozen()
    embed_items(dataset, options, embedding_id(dataset.catalog, options), on_event=seen)
    psutil.wait_procs([psutil.Process(seen.pid)] if psutil.pid_exists(seen.pid) else [], timeout=20)
    assert not psutil.pid_exists(seen.pid)


def encoded(dataset, options):
    """The rows as the model gives them in this process."""
    from l3ae_dist.embed.encoders import load_encoder

    return load_encoder(options)._model.encode(
        dataset.texts(), normalize_embeddings=True, show_progress_bar=False
    )


def test_ids_follow_what_changes_the_rows():
    base = embedding_id("d", EncoderConfig())
    assert base == embedding_id("d", EncoderConfig(batch_tokens=64, rows_per_chunk=3))
    assert base != embedding_id("d", EncoderConfig(prompt="query: "))
    assert base != embedding_id("e", EncoderConfig())


def test_an_unknown_model_is_a_sentence():
    from l3ae_dist.embed.encoders import load_encoder

    with pytest.raises(ConfigError, match="no model folder"):
        load_encoder(EncoderConfig(model="/no/such/model"))


def test_imported_embeddings_follow_the_catalog(dataset, tmp_path):
    f = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    np.save(tmp_path / "f.npy", f)
    shuffled = np.random.default_rng(1).permutation(40)
    frame = pd.DataFrame({"item_id": shuffled, **{f"e{k}": f[shuffled, k] for k in range(5)}})
    frame.to_parquet(tmp_path / "f.parquet")
    listed = pd.DataFrame({"item_id": shuffled, "vector": list(f[shuffled])})
    for source in (f, str(tmp_path / "f.npy"), str(tmp_path / "f.parquet"), listed):
        identifier = import_id(source, dataset.catalog)
        import_embeddings(source, dataset, identifier)
        np.testing.assert_array_equal(
            ChunkArray.open(dataset.workspace, f"embeddings/{identifier}").read(0, 0), f
        )


def bad(kind, tmp_path):
    f = np.zeros((40, 5), np.float32)
    if kind == "nan":
        f[[3, 17], 0] = np.nan
        return f, "rows 3, 17"
    if kind == "length":
        return f[:39], "39 rows"
    if kind == "text":
        return np.full((40, 2), "x"), "numbers"
    if kind == "flat":
        return np.zeros(40), "two-dimensional"
    if kind == "missing item":
        return pd.DataFrame({"item_id": range(39), "e": 0.0}), "no embedding: 39"
    if kind == "object npy":
        np.save(tmp_path / "o.npy", np.array([{}], dtype=object))
        return str(tmp_path / "o.npy"), "plain .npy"
    return str(tmp_path / "none.npy"), "no embeddings at"


@pytest.mark.parametrize("kind", ["nan", "length", "text", "flat", "missing item", "object npy", "no file"])
def test_bad_embeddings_are_refused_and_nothing_is_left(dataset, tmp_path, kind):
    source, message = bad(kind, tmp_path)
    with pytest.raises(DataError, match=message):
        import_embeddings(source, dataset, import_id(source, dataset.catalog))
    assert dataset.workspace.list_docs("stages/embed") == []
