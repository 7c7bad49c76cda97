"""An object store that is away, asks for fewer requests, cuts answers off or loses them."""

import logging
import threading
import time

import numpy as np
import pytest
import zarr
from object_store import fault_proxy

from l3ae_dist.errors import ConfigError, WorkspaceError, WorkspaceLockedError
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.lock import WorkspaceLock, unlock
from l3ae_dist.storage.open_blobs import open_blobs
from l3ae_dist.storage.workspace import Workspace

DATA = bytes(range(256)) * 200


@pytest.fixture
def proxy(s3_environment, monkeypatch):
    """Does harm to the requests between this process and the S3 server."""
    with fault_proxy(s3_environment["AWS_ENDPOINT_URL"]) as found:
        for name, value in {**s3_environment, "AWS_ENDPOINT_URL": found.url}.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def url(proxy, tmp_path):
    return f"s3://bucket/{tmp_path.name}"


def for_seconds(seconds, fault):
    """A fault that passes by itself."""
    end = time.monotonic() + seconds
    return lambda method, path: fault if time.monotonic() < end else None


def first(count, fault, methods=("GET", "PUT", "HEAD", "POST", "DELETE")):
    """A fault of the first requests with such a method."""
    left, guard = [count], threading.Lock()

    def found(method, path):
        with guard:
            left[0] -= method in methods
            return fault if method in methods and left[0] >= 0 else None

    return found


def every_operation(blobs):
    """Use each operation once, and check what it gives."""
    blobs.put("o/a", [DATA])
    assert blobs.get("o/a") == DATA
    assert blobs.size("o/a") == len(DATA)
    assert blobs.tail("o/a", 5) == (len(DATA), DATA[-5:])
    part = bytearray(1000)
    assert blobs.range_into("o/a", 300, memoryview(part)) == 1000
    assert part == DATA[300:1300]
    blobs.copy("o/a", "o/b")
    assert blobs.put_if_absent("o/c", b"new")
    assert not blobs.put_if_absent("o/c", b"other")
    assert blobs.replace_if("o/c", b"new", b"newer")
    assert not blobs.replace_if("o/c", b"new", b"newest")
    assert sorted(blobs.list("o")) == ["o/a", "o/b", "o/c"]
    blobs.delete("o/b")
    blobs.delete_prefix("o")
    assert list(blobs.list("o")) == []


@pytest.mark.parametrize("fault", ["slow_down", "too_many", "drop"])
def test_a_store_that_is_away_for_longer_than_quick_repetitions_is_waited_for_once_told(
    proxy, url, fault, caplog
):
    blobs = open_blobs(url, patience=60)
    proxy.fault = for_seconds(6, fault)
    with caplog.at_level(logging.WARNING):
        blobs.put("a", [DATA])
    assert blobs.get("a") == DATA
    (record,) = caplog.records
    what = "does not answer" if fault == "drop" else "asks for fewer requests (it is throttling)"
    assert f"the store {url} {what}; trying again for up to 60 s" in record.getMessage()


def test_refused_connections_are_waited_out_by_zarr_too(proxy, url):
    workspace = Workspace.create(url)
    proxy.close()
    opener = threading.Timer(5, proxy.open)
    opener.start()
    zarr.create_array(workspace.blobs.zarr_store(), name="z", data=np.arange(9), chunks=(4,))
    opener.join()
    proxy.fault = for_seconds(4, "slow_down")
    np.testing.assert_array_equal(zarr.open_array(workspace.blobs.zarr_store(), path="z")[:], np.arange(9))
    proxy.fault = first(3, ("cut", 7), ("GET",))
    assert sorted(zarr.open_group(workspace.blobs.zarr_store()).array_keys()) == ["meta", "z"]


@pytest.mark.parametrize("every", [1777, 4096, ("slow", 0.2)])
def test_bodies_that_are_cut_off_again_and_again_are_gone_on_with(proxy, url, every):
    blobs = open_blobs(url, patience=20)
    blobs.put("a", [DATA])
    proxy.fault = lambda method, path: every if isinstance(every, tuple) else ("cut", every)
    assert blobs.get("a") == DATA
    part = bytearray(9000)
    assert blobs.range_into("a", 100, memoryview(part)) == 9000
    assert part == DATA[100:9100]
    assert blobs.tail("a", 3000) == (len(DATA), DATA[-3000:])


@pytest.mark.parametrize("fault", ["slow_down", "drop", "lost", ("cut", 11)])
def test_every_operation_is_right_when_every_second_request_fails(proxy, url, fault):
    counts = iter(range(10**6))
    proxy.fault = lambda method, path: fault if next(counts) % 2 else None
    every_operation(open_blobs(url, patience=30))


def test_a_conditional_write_whose_answer_was_lost_is_known_to_be_done(proxy, url):
    blobs = open_blobs(url, patience=20)
    proxy.fault = first(1, "lost", ("PUT",))
    assert blobs.put_if_absent("a", b"mine")
    proxy.fault = first(1, "lost", ("PUT",))
    assert blobs.replace_if("a", b"mine", b"still mine")
    proxy.fault = first(1, "drop", ("PUT",))
    assert not blobs.put_if_absent("a", b"other")
    proxy.fault = first(1, "drop", ("PUT",))
    assert not blobs.replace_if("a", b"mine", b"other")
    assert blobs.get("a") == b"still mine"


def test_a_lock_is_kept_through_lost_answers(proxy, url):
    workspace = Workspace.create(url)
    proxy.fault = first(1, "lost", ("PUT",))
    with WorkspaceLock(workspace, "run") as lock:
        proxy.fault = first(1, "lost", ("PUT",))
        lock.renew()
        proxy.fault = first(3, "slow_down")
        workspace.write_doc("results/r", {"a": 1})
        proxy.fault = first(1, "lost", ("PUT",))
    assert workspace.read_doc("results/r") == {"a": 1}
    with WorkspaceLock(workspace, "next") as lock:
        assert lock.epoch == 2


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("slow_down", r"asks for fewer requests \(it is throttling\) \(tried for 1 s\): use fewer workers"),
        ("drop", r"does not answer \(tried for 1 s\): check the endpoint and the network"),
    ],
)
def test_a_store_that_does_not_come_back_is_one_sentence(proxy, url, fault, sentence):
    blobs = open_blobs(url, patience=1)
    proxy.fault = lambda method, path: fault
    started = time.monotonic()
    for call in (lambda: blobs.get("a"), lambda: blobs.put("a", [b"1"]), lambda: list(blobs.list("a"))):
        with pytest.raises(WorkspaceError, match=sentence) as found:
            call()
        assert "\n" not in str(found.value)
    assert time.monotonic() - started < 20


def test_a_chunk_that_arrives_damaged_is_read_once_more(proxy, url):
    array = ChunkArray.create(Workspace.create(url), "a", shape=(8, 8), chunks=(8, 8), dtype="f4")
    block = np.arange(64, dtype="f4").reshape(8, 8)
    array.write(0, 0, block)
    once = first(1, ("flip", 99), ("GET",))
    proxy.fault = lambda method, path: once(method, path) if "/c/" in path else None
    np.testing.assert_array_equal(array.read(0, 0), block)
    assert list(array.workspace.blobs.list("meta/bad")) == []


def test_patience_is_set_by_a_variable(monkeypatch, s3_environment):
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("L3AE_STORE_PATIENCE", "long")
    with pytest.raises(ConfigError, match="L3AE_STORE_PATIENCE is 'long'; set it to seconds"):
        open_blobs("s3://bucket/x")


def test_a_document_that_arrives_damaged_is_read_once_more(proxy, url):
    workspace = Workspace.create(url)
    workspace.write_doc("results/r", {"a": 1})
    proxy.fault = first(1, ("flip", 9), ("GET",))
    assert workspace.read_doc("results/r") == {"a": 1}
    proxy.fault = first(1, ("flip", 9), ("GET",))
    assert workspace.read_header("meta")["shape"] == [0]


def test_a_renewal_before_a_document_costs_one_request(proxy, url):
    workspace = Workspace.create(url)
    with WorkspaceLock(workspace, "run"):
        proxy.requests.clear()
        workspace.write_doc("results/r", {"a": 1})
        assert [method for method, path in proxy.requests if "lock.json" in path] == ["PUT"]
        assert len(proxy.requests) == 2


def test_a_run_on_a_store_that_was_taken_over_writes_no_document(proxy, url):
    workspace = Workspace.create(url)
    lock = WorkspaceLock(workspace, "run").__enter__()
    workspace.write_doc("results/r", {"a": 1})
    unlock(Workspace.open(url), force=True)
    with WorkspaceLock(Workspace.open(url), "next") as second:
        assert second.epoch == 2
    for attempt in (
        lambda: workspace.write_doc("results/r", {"a": 2}),
        lambda: workspace.write_header("a", {}),
        lambda: lock.__exit__(None, None, None),
    ):
        with pytest.raises(WorkspaceLockedError, match="lost the lock"):
            attempt()
    assert workspace.read_doc("results/r") == {"a": 1}
