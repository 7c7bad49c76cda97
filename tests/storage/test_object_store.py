"""Workspaces on an S3 server: the store's operations, and its refusals in one sentence."""

import threading

import numpy as np
import pytest
from object_store import KEY, SECRET, s3_server

from l3ae_dist.data.intake.locate import find_files
from l3ae_dist.embed.imports import import_id
from l3ae_dist.errors import ConfigError, DamagedTileError, WorkspaceError, WorkspaceLockedError
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.open_blobs import open_blobs
from l3ae_dist.storage.workspace import Workspace


@pytest.fixture
def url(s3_environment, monkeypatch, tmp_path):
    """A location of this test alone."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://bucket/{tmp_path.name}"


def test_objects_are_written_listed_and_deleted(url):
    blobs = open_blobs(url)
    assert blobs.get("a/b") is blobs.tail("a/b", 4) is blobs.size("a/b") is None
    assert blobs.get_into("a/b", memoryview(bytearray(3))) == -1
    blobs.put("a/b", [b"abc", memoryview(np.arange(2, dtype="u1"))])
    blobs.put("a/empty", [b""])
    assert blobs.get("a/b") == b"abc\x00\x01"
    assert blobs.tail("a/b", 4) == (5, b"bc\x00\x01")
    assert blobs.tail("a/empty", 4) == (0, b"")
    buffer = bytearray(3)
    assert blobs.get_into("a/b", memoryview(buffer)) == 4
    assert buffer == b"abc"
    assert sorted(blobs.list("a")) == ["a/b", "a/empty"]
    blobs.delete("a/empty")
    blobs.delete("a/empty")
    blobs.delete_prefix("a")
    assert list(blobs.list("a")) == []


def test_of_many_that_write_at_once_one_wins(url):
    blobs = open_blobs(url)
    won, swapped = [], []
    blobs.put("shared", [b"old"])

    def compete(k):
        won.append(blobs.put_if_absent("new", b"%d" % k))
        swapped.append(blobs.replace_if("shared", b"old", b"%d" % k))

    threads = [threading.Thread(target=compete, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(swapped) == [False] * 5 + [True]


def test_chunks_are_done_once_marked_and_damage_is_named(url):
    array = ChunkArray.create(Workspace.create(url), "a", shape=(70, 70), chunks=(40, 40), dtype="f4")
    block = np.random.default_rng(0).standard_normal((30, 40)).astype("f4")
    array.write(0, 0, np.ones((40, 40)))
    array.write(1, 0, block)
    assert array.done() == {(0, 0), (1, 0)}
    np.testing.assert_array_equal(array.read(1, 0), block)
    blobs = array.workspace.blobs
    data = bytearray(blobs.get("a/c/1/0"))
    data[17] ^= 8
    for spoiled, text in ((data, "checksum"), (data[:-7], "bytes instead of"), (b"", "has 0 bytes")):
        blobs.put("a/c/1/0", [bytes(spoiled)])
        with pytest.raises(DamagedTileError, match=text):
            array.read(1, 0)
    assert array.done() == {(0, 0)}
    zarr_view = Workspace.open(url).array("a")
    np.testing.assert_array_equal(zarr_view[:40, :40], 1)


def test_one_run_holds_the_lock_and_the_next_gets_a_higher_epoch(url):
    workspace = Workspace.create(url)
    with WorkspaceLock(workspace, "first") as lock:
        assert lock.epoch == 1
        with pytest.raises(WorkspaceLockedError, match="in use by run first"):
            WorkspaceLock(Workspace.open(url), "second").__enter__()
    with WorkspaceLock(workspace, "third") as lock:
        assert lock.epoch == 2


def test_a_bucket_that_is_not_there_is_one_sentence(url):
    with pytest.raises(WorkspaceError, match=r"s3://nowhere/w .*bucket") as found:
        Workspace.create("s3://nowhere/w")
    assert "\n" not in str(found.value)


def test_wrong_credentials_are_one_sentence_without_the_secret(monkeypatch):
    with s3_server(actions_without_authentication=1) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(WorkspaceError, match="credentials") as found:
            Workspace.create("s3://bucket/w")
    text = f"{found.value!r} {found.value.__cause__!r}"
    assert "\n" not in str(found.value)
    assert SECRET not in text
    assert KEY not in str(found.value)


def test_a_server_that_does_not_answer_is_one_sentence(url, monkeypatch):
    monkeypatch.setenv("L3AE_STORE_PATIENCE", "0")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(WorkspaceError, match="does not answer") as found:
        Workspace.create("s3://bucket/w")
    assert "\n" not in str(found.value)


SIGNED = "s3://bucket/log.parquet?X-Amz-Credential=abc&X-Amz-Signature=topsecret"


@pytest.mark.parametrize("url", [SIGNED, "https://user:topsecret@host/log.csv", "gs://b/x?token=topsecret"])
def test_data_urls_that_carry_secrets_are_refused_without_repeating_them(url):
    for use in (lambda source: find_files([source]), lambda source: import_id(source, "dataset")):
        with pytest.raises(ConfigError, match="carries credentials or a signature") as found:
            use(url)
        assert "topsecret" not in str(found.value)
