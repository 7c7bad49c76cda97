"""What ``durable: true`` flushes: every file that a run leaves, and every folder up to the workspace."""

import os

import numpy as np
import pytest
from small_fits import N, tables

from l3ae_dist.config.load import make_config
from l3ae_dist.pipeline.run import run
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.local_blobs import LocalBlobs
from l3ae_dist.storage.workspace import Workspace


@pytest.fixture
def flushed(monkeypatch):
    """Inodes of all files and folders that this process flushed."""
    seen, fsync = set(), os.fsync

    def noted(descriptor):
        seen.add(os.fstat(descriptor if isinstance(descriptor, int) else descriptor.fileno()).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    return seen


def unflushed(root, flushed):
    """Files and folders of a workspace that nobody flushed."""
    every = [root, *root.rglob("*")]
    return [str(path.relative_to(root)) for path in every if path.stat().st_ino not in flushed]


def test_a_durable_run_flushes_every_file_and_every_folder(tmp_path, flushed):
    log, items, rows = tables()
    values = {
        "workspace": str(tmp_path / "deep/er/w"),
        "model": {"reg_x": 10, "reg_f": 5, "reg_e": 10},
        "evaluate": {"ks": [3]},
        "compute": {"cluster": "synchronous", "threads": 1, "tile_size": 16, "durable": True},
    }
    run(make_config(values), interactions=log, items=items, embeddings=rows)
    root = tmp_path / "deep/er/w"
    assert len(list(root.rglob("zarr.json"))) > 20
    assert unflushed(root, flushed) == []
    # the entries of new folders above the workspace are in their parents
    assert {path.stat().st_ino for path in (tmp_path, tmp_path / "deep", tmp_path / "deep/er")} <= flushed
    assert N == 40


def test_a_run_that_is_not_durable_flushes_nothing(tmp_path, flushed):
    array = ChunkArray.create(Workspace.create(tmp_path / "w"), "a", shape=(2, 2), chunks=(2, 2), dtype="f4")
    array.write(0, 0, np.zeros((2, 2), "f4"))
    assert not flushed


def test_a_folder_that_another_process_made_is_flushed_once_by_each(tmp_path, flushed):
    (tmp_path / "w/a/b").mkdir(parents=True)
    blobs = LocalBlobs(tmp_path / "w", durable=True)
    blobs.put("a/b/x", [b"1"])
    assert unflushed(tmp_path / "w", flushed) == []
    flushed.clear()
    blobs.put("a/b/y", [b"1"])
    assert len(flushed) == 2  # the file and its folder


def test_a_copy_is_flushed_whoever_wrote_the_source(tmp_path, flushed):
    LocalBlobs(tmp_path / "w").put("a/x", [b"1"])
    blobs = LocalBlobs(tmp_path / "w", durable=True)
    blobs.copy("a/x", "b/c/x")
    assert unflushed(tmp_path / "w/b", flushed) == []
    blobs.put("lock", [b"1"])
    assert blobs.replace_if("lock", b"1", b"2")
    assert unflushed(tmp_path / "w", flushed) == ["a"]
