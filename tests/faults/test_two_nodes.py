"""A job submitted to a Ray cluster of two nodes, with an embedding actor and a Dask worker killed on the way."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from job import Command, Record, assert_same_bits, environment, events_of, write_config

from l3ae_dist.cli.output import plain
from l3ae_dist.config.load import make_config
from l3ae_dist.pipeline.run import run

pytestmark = [
    pytest.mark.cluster, pytest.mark.faults, pytest.mark.ray, pytest.mark.dask, pytest.mark.timeout(900)
]  # fmt: skip

TEXTS, CHUNK, TILE = 300, 20, 24
GIB = 2**30
MEMORY = {"127.0.0.2": 2 * GIB, "127.0.0.3": 3 * GIB}


@pytest.fixture
def short_folder():
    """Where Ray's sockets have short enough names."""
    folder = tempfile.mkdtemp(prefix="l3n-", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def inputs(tmp_path):
    """A log and a catalog with text."""
    rng = np.random.default_rng(0)
    log = {"user_id": rng.integers(0, 200, 3000), "item_id": rng.integers(0, TEXTS, 3000)}
    pd.DataFrame(log).to_parquet(tmp_path / "log.parquet")
    items = {
        "item_id": range(TEXTS),
        "text": [f"thing {i} " + f"of kind {i % 7} " * 8 for i in range(TEXTS)],
    }
    pd.DataFrame(items).to_parquet(tmp_path / "items.parquet")
    return tmp_path


def settings(inputs, name, **compute):
    return {
        "workspace": str(inputs / name),
        "data": {"interactions": str(inputs / "log.parquet"), "items": str(inputs / "items.parquet")},
        "encoder": {"rows_per_chunk": CHUNK},
        "model": {"reg_x": 30, "reg_f": 2, "reg_e": 20},
        "evaluate": {"ks": [5, 20]},
        "compute": {"dtype": "float32", "tile_size": TILE, "keep": ["L", "Linv"], **compute},
    }


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [str(one.getsockname()[1]) for one in sockets]


class Cluster:
    """Two ``ray start`` processes on the loopback, each with its own address, folder and resources."""

    def __init__(self, folder, record):
        self.variables = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(24),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "RAY_worker_niceness": "0",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self.record = record
        self.folder = folder
        self.gcs, self.dashboard, self.client = free_ports(3)
        self.nodes = []

    def begin(self):
        """Start both nodes."""
        self.start(
            "127.0.0.2", "--head", f"--port={self.gcs}", f"--dashboard-port={self.dashboard}",
            "--dashboard-host=127.0.0.1", f"--ray-client-server-port={self.client}",
        )  # fmt: skip
        self.start("127.0.0.3", f"--address=127.0.0.2:{self.gcs}", "--include-log-monitor=false")

    def start(self, ip, *arguments):
        """Start a node and wait until it is up."""
        said = self.folder / f"{ip}.log"
        with said.open("wb") as output:
            process = self.command(
                "start", "--block", "--disable-usage-stats", f"--node-ip-address={ip}", "--num-cpus=1",
                f"--memory={MEMORY[ip]}", f"--object-store-memory={128 * 2**20}", f"--temp-dir={self.folder / ip[-1]}",
                f"--dashboard-agent-listen-port={free_ports(1)[0]}", *arguments, stdout=output,
            )  # fmt: skip
        self.nodes.append(process)
        deadline = time.monotonic() + 120
        while b"Ray runtime started" not in said.read_bytes():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)

    def command(self, *arguments, **options):
        """``ray`` with some arguments."""
        ray = Path(sys.executable).with_name("ray")
        return subprocess.Popen(
            [str(ray), *arguments],
            env=environment(self.record, **self.variables),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )

    def submit(self, *command):
        """``ray job submit``, following the job until its end."""
        address = f"http://127.0.0.1:{self.dashboard}"
        with (self.folder / "job.log").open("wb") as output:
            return self.command("job", "submit", f"--address={address}", "--", *command, stdout=output)

    def said(self):
        """What the job has printed so far."""
        return (self.folder / "job.log").read_text()

    def processes(self):
        """Every process of both nodes."""
        found = []
        for node in self.nodes:
            with contextlib.suppress(psutil.Error):
                found += [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
        return found

    def actors(self, name):
        """Command lines of the actors of a class."""
        lines = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                lines.append(" ".join(process.cmdline()))
        return [line for line in lines if line.startswith(f"ray::{name}")]

    def stop(self):
        """End the nodes, and what they leave."""
        family = self.processes()
        for node in self.nodes:
            node.terminate()
        _, alive = psutil.wait_procs(family, timeout=20)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        for node in self.nodes:
            node.wait()


@pytest.fixture
def two_nodes(tmp_path, short_folder):
    """A cluster whose processes note what they compute."""
    record = Record(tmp_path / "record")
    cluster = Cluster(short_folder, record.path)
    try:
        cluster.begin()
        yield cluster, record
    finally:
        cluster.stop()


def until(condition, job, cluster, seconds=400):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert job.poll() is None, cluster.said()
        assert time.monotonic() < deadline, cluster.said()
        time.sleep(0.02)
    return found


def test_a_job_on_two_nodes_ends_as_the_local_one_whoever_is_killed(inputs, short_folder, two_nodes):
    cluster, record = two_nodes
    values = settings(inputs, "cluster", cluster="ray")
    config = write_config(inputs / "cluster.yaml", values)
    job = cluster.submit("l3ae-dist", "run", str(config))

    def embedding():
        """An actor that has written a chunk and is at another one."""
        writers = {note[4] for note in record.notes() if note[0] == "written"}
        return writers & set(record.in_flight().values())

    os.kill(until(embedding, job, cluster).pop(), signal.SIGKILL)

    def solvers():
        """Process ids of the workers that have begun a tile, in the order of their first."""
        return list(
            dict.fromkeys(note[4] for note in record.notes() if note[1].endswith(("/L", "/Linv", "/P")))
        )

    killed, other = until(lambda: solvers()[1:] and solvers(), job, cluster)
    record.kill_worker("begin", killed)
    # the other one waits, so that the one that comes back finds work however long it takes to start
    with record.holding("begin", other):
        until(lambda: solvers()[2:], job, cluster, seconds=50)
    code = job.wait(timeout=400)
    assert code == 0, cluster.said()

    local = write_config(inputs / "local.yaml", settings(inputs, "local", workers=2, threads=1))
    code, out, err = Command("run", local, "--json", TMPDIR=str(short_folder)).finish(timeout=400)
    assert code == 0, err
    want = json.loads(out)

    got = run(make_config(values))
    assert got["reused"]
    for key in ("models", "comparison", "users"):
        assert plain(got[key]) == want[key], key
    assert_same_bits(inputs / "cluster", inputs / "local")
    # two workers, each as large as the smaller node allows, and one that came back
    assert got["plan"]["memory_budget"] == int(0.8 * min(MEMORY.values()))
    (lost,) = [event for event in events_of(inputs / "cluster") if event["kind"] == "worker_lost"]
    stopped = {(path.rsplit("/", 1)[1], i, j) for path, i, j in record.held}
    assert stopped <= {tuple(ref) for ref in lost["tasks"]}
    assert len(solvers()) == 3
    # nobody is left in the cluster, which runs on
    deadline = time.monotonic() + 30
    while any(map(cluster.actors, ("SchedulerActor", "WorkerActor", "EmbeddingActor"))):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert all(node.poll() is None for node in cluster.nodes)
