"""Encoder presets and options, with the real model and without a download; actors and their devices."""

import json

import numpy as np
import pytest
from forks import forked

from l3ae_dist.config.embedding import PRESETS, EncoderConfig
from l3ae_dist.config.load import make_config
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import IngestConfig, ingest
from l3ae_dist.embed.actor_pool import ActorRequest
from l3ae_dist.embed.encoders import load_encoder
from l3ae_dist.embed.new_item_features import _encoder
from l3ae_dist.embed.run import embed_items, embedding_id
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.pipeline.run import run
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

TEXTS = ["a red thing", "another, blue and much longer thing than the first", ""]


@pytest.mark.parametrize("key", PRESETS)
def test_a_preset_is_found_by_both_names_and_what_is_set_wins(key):
    name = PRESETS[key]["model"]
    for given in (key, key.upper(), name):
        options = EncoderConfig(model=given).resolved()
        assert {field: getattr(options, field) for field in PRESETS[key]} == PRESETS[key]
        assert not options.trust_remote_code
    changed = EncoderConfig(model=key, max_length=64, pooling="cls", prompt="query: ").resolved()
    assert (changed.model, changed.max_length, changed.pooling) == (name, 64, "cls")
    assert changed.prompt == "query: "


def test_other_models_are_taken_as_they_are():
    assert EncoderConfig(model="some/model").resolved() == EncoderConfig(model="some/model")


def token_vectors(model, texts):
    """Vectors of the tokens of each text, one at a time, so that there is no padding."""
    import torch

    with torch.no_grad():
        found = [model[0](model.tokenize([text]))["token_embeddings"][0] for text in texts]
    return [vectors.numpy() for vectors in found]


POOLED = {
    "mean": lambda vectors: vectors.mean(axis=0),
    "cls": lambda vectors: vectors[0],
    "last": lambda vectors: vectors[-1],
}


@pytest.mark.parametrize("mode", POOLED)
def test_pooling_prompt_truncation_and_length_do_what_they_say(mode):
    options = EncoderConfig(pooling=mode, prompt="item: ", truncate_dim=100, normalize=False)
    encoder = load_encoder(options)
    rows = encoder.encode(TEXTS)
    assert rows.shape == (3, 100)
    tokens = token_vectors(encoder._model, [options.prompt + (text or " ") for text in TEXTS])
    pooled = np.stack([POOLED[mode](vectors) for vectors in tokens])
    # this model ends in a layer that scales to unit length; without ours it is as the model gives it
    want = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True))[:, :100]
    # float32 sums over different batch shapes
    np.testing.assert_allclose(rows, want, atol=1e-5)
    unit = load_encoder(options.model_copy(update={"normalize": True})).encode(TEXTS)
    np.testing.assert_allclose(unit, want / np.linalg.norm(want, axis=1, keepdims=True), atol=1e-5)
    short = load_encoder(EncoderConfig(max_length=8)).encode(["one two three four five six seven eight"])
    again = load_encoder(EncoderConfig(max_length=8)).encode(["one two three four five six nine ten"])
    np.testing.assert_allclose(short, again, atol=1e-6)


def test_the_rows_of_a_batch_leave_the_device_together(monkeypatch):
    import torch

    encoder, copies = load_encoder(EncoderConfig(batch_tokens=4096)), []
    copy = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda rows: copies.append(tuple(rows.shape)) or copy(rows))
    encoder.encode(TEXTS)
    assert copies == [(3, 384)]


def test_loading_prints_no_bars_and_leaves_those_of_others(capfd):
    from transformers.utils import logging

    assert logging.is_progress_bar_enabled()
    load_encoder(EncoderConfig())
    assert "Loading" not in "".join(capfd.readouterr())
    assert logging.is_progress_bar_enabled()


def test_new_texts_are_embedded_in_a_child_of_a_fork_too():
    import torch

    threads, options, texts = torch.get_num_threads(), EncoderConfig().model_dump_json(), ["a lamp"] * 20
    torch.set_num_threads(2)
    try:
        expected = _encoder(options).encode(texts)
        forked(lambda: np.testing.assert_allclose(_encoder(options).encode(texts), expected, atol=1e-5))
    finally:
        torch.set_num_threads(threads)


def test_code_that_comes_with_a_model_runs_only_when_asked_for(tmp_path):
    mark = tmp_path / "ran"
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModel": "mine.Mine"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    with pytest.raises(ConfigError, match="code of its own, which runs only when trust_remote_code is true"):
        load_encoder(EncoderConfig(model=str(folder)))
    assert not mark.exists()


@pytest.fixture
def dataset(tmp_path, small_tables):
    ws = Workspace.create(tmp_path / "w")
    return Dataset(ws, ingest(*small_tables, IngestConfig(split="none"), ws))


@pytest.mark.ray
def test_each_actor_has_a_logical_gpu_of_its_own(dataset, ray_cluster):
    import ray

    from l3ae_dist.embed.actors import start_actors

    actors = start_actors(dataset, EncoderConfig(), chunks=2)
    try:
        found = ray.get([actor.describe.remote() for actor in actors])
    finally:
        for actor in actors:
            ray.kill(actor)
    assert sorted(info.gpus for info in found) == [["0"], ["1"]]
    assert len({info.pid for info in found}) == 2


@pytest.mark.ray
def test_what_was_begun_with_other_row_chunks_goes_on_with_those(dataset, ray_cluster):
    ws, options = dataset.workspace, EncoderConfig(rows_per_chunk=7)
    identifier = embedding_id(dataset.catalog, options)
    begun = ChunkArray.create(ws, f"embeddings/{identifier}", shape=(40, 384), chunks=(7, 384), dtype="f4")
    for chunk in range(5):
        begun.write(chunk, 0, np.full((7, 384), chunk, np.float32))
    events = []
    other = options.model_copy(update={"rows_per_chunk": 16})
    assert embedding_id(dataset.catalog, other) == identifier
    embed_items(dataset, other, identifier, actors=ActorRequest(1, 0), on_event=events.append)
    assert [e["chunk"] for e in events if e["kind"] == "chunk" and not e["skipped"]] == [5]
    assert begun.read(4, 0)[0, 0] == 4


def test_a_catalog_without_text_is_refused_before_ray_starts(tmp_path, small_tables):
    import ray

    log, items = small_tables
    before = ray.is_initialized()
    settings = make_config({"workspace": str(tmp_path / "w")})
    events = []
    with pytest.raises(DataError, match=r"no column 'text'.*the model needs item text"):
        run(settings, interactions=log, items=items[["item_id"]], until="embed", on_event=events.append)
    assert ray.is_initialized() == before
    assert not any("Ray" in event.get("message", "") for event in events)


def test_the_options_of_the_actors_are_checked():
    compute = make_config({"workspace": "w", "compute": {"actors": 3, "gpus_per_actor": 0.25}}).compute
    assert (compute.actors, compute.gpus_per_actor, compute.ray_dashboard) == (3, 0.25, True)
    for wrong in ({"actors": 0}, {"gpus_per_actor": -1}):
        with pytest.raises(ConfigError, match=r"compute\."):
            make_config({"workspace": "w", "compute": wrong})
