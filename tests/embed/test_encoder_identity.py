"""What an encoder is: a commit of the hub, or the content of a folder; and whose word lets its code run."""

import json
import os
import shutil

import huggingface_hub.constants
import pytest

from l3ae_dist.config.embedding import PRESETS, EncoderConfig
from l3ae_dist.embed.actors import EmbeddingActor
from l3ae_dist.embed.encoder_identity import encoder_fields, identity, pinned, recorded_encoder
from l3ae_dist.embed.run import embedding_id
from l3ae_dist.errors import ConfigError

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the hub that holds nothing yet; the hub itself is never asked."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("SENTENCE_TRANSFORMERS_HOME", raising=False)

    def download(model, commit, branch="main"):
        folder = tmp_path / "hub" / f"models--{model.replace('/', '--')}"
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / "config.json").write_text("{}")
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / branch).write_text(commit)

    return download


def test_a_branch_is_the_commit_of_the_local_cache_and_vectors_follow_it_when_it_moves(cache):
    cache("a/b", OLD)
    for options in (EncoderConfig(model="a/b"), EncoderConfig(model="a/b", revision="main")):
        assert pinned(options).revision == encoder_fields(options)["revision"] == OLD
    first = embedding_id("d", EncoderConfig(model="a/b"))
    assert embedding_id("d", EncoderConfig(model="a/b", revision=OLD)) == first
    cache("a/b", NEW)
    assert embedding_id("d", EncoderConfig(model="a/b", revision=NEW)) != first
    assert embedding_id("d", EncoderConfig(model="a/b")) != first
    assert embedding_id("d", EncoderConfig(model="a/b", revision=OLD)) == first
    cache("a/c", OLD, branch="v2")
    assert pinned(EncoderConfig(model="a/c", revision="v2")).revision == OLD
    cache("sentence-transformers/short", OLD)
    assert pinned(EncoderConfig(model="short")).revision == OLD


@pytest.mark.parametrize("given", [{}, {"revision": "main"}, {"revision": "0a1b"}])
def test_a_model_whose_commit_is_not_known_is_refused_with_where_to_find_it(cache, given):
    with pytest.raises(ConfigError, match=r"can move.*encoder\.revision.*huggingface\.co/a/b/commits/main"):
        embedding_id("d", EncoderConfig(model="a/b", **given))
    assert embedding_id("d", EncoderConfig(model="a/b", revision=OLD))
    for odd in ("a folder/that/is not there", "a b\x1b[31m", "x" * 10**6, ""):
        with pytest.raises(ConfigError, match="neither a folder that is there nor the name") as found:
            pinned(EncoderConfig(model=odd, revision=OLD))
        assert "\x1b" not in str(found.value)
        assert len(str(found.value)) < 300


def test_presets_of_the_hub_name_a_commit(cache):
    for name, preset in PRESETS.items():
        found = pinned(EncoderConfig(model=name))
        assert found.model == preset["model"]
        assert found.model.startswith("package:") or len(found.revision) == 40


def test_a_model_in_a_folder_is_its_content_wherever_it_lies(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    (folder / "inside").mkdir(parents=True)
    weights = folder / "inside" / "weights"
    weights.write_bytes(b"abc")
    os.utime(weights, ns=(10**18, 10**18))
    monkeypatch.chdir(tmp_path)
    first = embedding_id("d", EncoderConfig(model=str(folder)))
    assert embedding_id("d", EncoderConfig(model="./model")) == first
    shutil.copytree(folder, tmp_path / "other")
    os.utime(tmp_path / "other" / "inside" / "weights")
    (tmp_path / "other" / ".cache").mkdir()
    (tmp_path / "other" / ".cache" / "downloaded").write_text("by the tool of the hub")
    assert embedding_id("d", EncoderConfig(model="./other")) == first
    weights.write_bytes(b"abd")  # of the same size, and with the same time
    os.utime(weights, ns=(10**18, 10**18))
    assert embedding_id("d", EncoderConfig(model="./model")) != first
    weights.rename(folder / "weights")
    (folder / "weights").write_bytes(b"abc")
    assert embedding_id("d", EncoderConfig(model="./model")) != first


def test_a_record_alone_lets_no_code_run(tmp_path):
    wild = json.loads(EncoderConfig(model="a/b", revision=OLD, trust_remote_code=True).model_dump_json())
    with pytest.raises(ConfigError, match=r"workspace cannot allow.*trust_remote_code"):
        recorded_encoder(wild, trust_remote_code=False)
    assert recorded_encoder(wild, trust_remote_code=True).trust_remote_code
    tame = wild | {"trust_remote_code": False}
    assert not recorded_encoder(tame, trust_remote_code=True).trust_remote_code
    for trusted in (True, False):
        with pytest.raises(ConfigError, match="only packages of presets"):
            recorded_encoder(tame | {"model": "package:antigravity"}, trust_remote_code=trusted)
    with pytest.raises(ConfigError, match="unknown key encoder"):
        recorded_encoder(tame | {"odd": 1}, trust_remote_code=False)


def test_an_actor_embeds_with_no_other_model_than_the_run_names(tmp_path, monkeypatch):
    monkeypatch.setattr("l3ae_dist.embed.actors.neutralise_streams", lambda: None)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"of the run")
    options = EncoderConfig(model=str(folder))
    actor = EmbeddingActor("w", "d", options, encoder=identity(options))
    (folder / "weights").write_bytes(b"of the node")
    with pytest.raises(ConfigError, match="is another model on the node"):
        actor.describe()
