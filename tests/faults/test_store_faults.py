"""The whole job with its workspace on a real S3 server: killed, damaged, and always the bits of a local run."""

import json
import sys
import time
from pathlib import Path

import pytest
from job import Command, Record, artifacts, assert_same_bits, settings, write_config

from l3ae_dist.errors import DamagedTileError
from l3ae_dist.storage.open_blobs import open_blobs

sys.path.append(str(Path(__file__).resolve().parents[1]))
from object_store import KEY, SECRET, fault_proxy, s3_server

pytestmark = [pytest.mark.faults, pytest.mark.dask, pytest.mark.timeout(280)]
# few and large requests: each is a round trip
SIZES = {"tile_size": 220, "workers": 1, "keep": ["L", "Linv"]}


@pytest.fixture
def server(monkeypatch):
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield environment


def download(url, folder):
    """Every object of a workspace as a file, for the checks of local workspaces."""
    blobs = open_blobs(url)
    for key in blobs.list(""):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blobs.get(key))
    return folder


def command(*arguments, **options):
    code, out, err = Command(*arguments, **options).finish()
    assert SECRET not in out + err
    assert KEY not in out + err
    return code, out, err


def test_a_job_on_s3_is_killed_resumed_damaged_and_repaired_to_the_bits_of_a_local_run(
    tmp_path, inputs, server
):
    url = "s3://bucket/job"
    local = write_config(
        tmp_path / "local.yaml", settings(inputs, tmp_path / "w", **SIZES, cluster="synchronous")
    )
    code, out, err = command("run", local, "--json")
    assert code == 0, err
    want = json.loads(out)

    remote = write_config(tmp_path / "s3.yaml", settings(inputs, url, **SIZES))
    record = Record(tmp_path / "record")
    for array, count in (("L", 4), ("P", 3)):
        run = Command("run", remote, record=record.path)
        run.kill_when(lambda array=array, count=count: len(record.written(array)) >= count)
    code, out, err = command("run", remote, "--json", record=record.path)
    assert code == 0, err
    assert record.after_finished() == []
    assert json.loads(out)["models"] == want["models"]
    assert_same_bits(download(url, tmp_path / "copy"), tmp_path / "w")

    blobs = open_blobs(url)
    (tile,) = (key for key in artifacts(tmp_path / "copy") if key.endswith("/P/c/3/1"))
    spoiled = bytearray(blobs.get(tile))
    spoiled[99] ^= 1
    blobs.put(tile, [bytes(spoiled)])
    code, out, _ = command("verify", url)
    assert code == DamagedTileError.exit_code
    assert "chunk (3, 1)" in out
    record.empty()
    code, _, err = command("fit", remote, record=record.path)
    assert code == 0, err
    assert [chunk[1:] for chunk in record.written("P")] == [(3, 1)]
    assert_same_bits(download(url, tmp_path / "repaired"), tmp_path / "w")
    texts = [path.read_text(errors="ignore") for path in (tmp_path / "repaired" / "meta").rglob("*.json*")]
    assert texts
    assert not any(SECRET in text or KEY in text for text in texts)


def test_a_job_waits_for_a_store_that_throttles_cuts_answers_off_and_goes_away(
    tmp_path, inputs, server, monkeypatch
):
    with fault_proxy(server["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        config = write_config(tmp_path / "c.yaml", settings(inputs, "s3://bucket/away", **SIZES))
        run = Command("fit", config, "--json")
        run.wait_until(lambda: sum("/L/c/" in path for _, path in proxy.requests) >= 4)
        end = time.monotonic() + 5
        proxy.fault = lambda method, path: "slow_down" if time.monotonic() < end else ("cut", 120_000)
        time.sleep(6)
        proxy.close()
        time.sleep(5)
        proxy.open()
        code, out, err = run.finish()
    assert code == 0, err
    assert (
        "the store s3://bucket/away asks for fewer requests (it is throttling); trying again for up to" in err
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", server["AWS_ENDPOINT_URL"])
    local = write_config(
        tmp_path / "local.yaml", settings(inputs, tmp_path / "w", **SIZES, cluster="synchronous")
    )
    code, _, err = command("fit", local)
    assert code == 0, err
    assert json.loads(out)["certificate"]["residual"] <= json.loads(out)["certificate"]["tolerance"]
    assert_same_bits(download("s3://bucket/away", tmp_path / "copy"), tmp_path / "w")
