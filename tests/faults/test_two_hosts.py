"""Two hosts with a slow link between them: tiles that workers read from each other, and a link that is cut."""

import json
import subprocess
import sys
import time

import pytest
from job import Record, assert_same_bits, configuration, environment, events_of, settings, write_config
from scheduler_file import address_in
from two_hosts import tls_variables, two_hosts, whats_missing

from l3ae_dist.pipeline.run import run

pytestmark = [
    pytest.mark.faults, pytest.mark.dask, pytest.mark.skipif(whats_missing() is not None, reason=str(whats_missing()))
]  # fmt: skip
FEW = {"tile_size": 128, "keep": ["L", "Linv"]}
# what Dask waits for on a connection that says nothing: its least, so that the tests do not take long
SILENT_SECONDS = "11s"
SOLVE = ("factor", "linv", "invert")


class Cluster:
    """A scheduler on the first of two hosts and a worker on each, which speak TLS and share a folder."""

    def __init__(self, hosts, folder):
        self.hosts, self.folder = hosts, folder
        self.records = [Record(folder / f"record-{host.name}") for host in hosts]
        self.tls = tls_variables(folder / "tls")
        self.file = folder / "scheduler.json"
        self.workers = [None, None]

    def variables(self, number):
        """Variables for a process on a host."""
        one = {"OPENBLAS_NUM_THREADS": "1", "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": SILENT_SECONDS}
        return environment(self.records[number].path, **one, **self.tls)

    def start(self, number, module, *arguments):
        """Start a process of Dask on a host."""
        with (self.folder / f"{module}-{number}.log").open("ab") as said:
            return self.hosts[number].python(
                f"distributed.cli.{module}", "--scheduler-file", self.file, "--host", self.hosts[number].address,
                *arguments, env=self.variables(number), stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def begin(self):
        """Start the scheduler, and read every tile from a peer that holds it, however quick the disk is."""
        self.start(
            0, "dask_scheduler", "--protocol", "tls", "--port", "0", "--dashboard-address", "127.0.0.1:0"
        )
        for record in self.records:
            record.path.with_name(record.path.name + ".peers").touch()

    def worker(self, number):
        """Start the worker of a host unless it runs."""
        if self.workers[number] is None or self.workers[number].poll() is not None:
            options = ["--nworkers", "1", "--nthreads", "2", "--memory-limit", "2GiB", "--no-dashboard"]
            folder = self.folder / self.hosts[number].name
            self.workers[number] = self.start(
                number, "dask_worker", *options, "--no-nanny", "--local-directory", folder
            )

    def fit(self, config, number=0):
        """Start a fit on a host."""
        code = "from l3ae_dist.cli.app import main; main()"
        command = [sys.executable, "-c", code, "fit", config, "--json"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return self.hosts[number].start(*command, env=self.variables(number), **pipes)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two hosts with a cluster."""
    with two_hosts() as hosts:
        cluster = Cluster(hosts, tmp_path_factory.mktemp("cluster"))
        cluster.begin()
        yield cluster


@pytest.fixture
def both(cluster):
    """The cluster, on the network and with a worker on each host; the records are empty."""
    cluster.worker(0)
    cluster.worker(1)
    for record in cluster.records:
        record.empty()
    yield cluster
    cluster.hosts[1].join()


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    """The workspace of a run in this process."""
    where = tmp_path_factory.mktemp("undisturbed") / "w"
    run(configuration(inputs, where, cluster="synchronous", **FEW), until="fit")
    return where


def config_of(cluster, inputs, workspace):
    """Write the configuration of a fit on the cluster."""
    address = address_in(cluster.file)
    values = settings(inputs, workspace, cluster="address", address=address, workers=2, **FEW)
    return write_config(workspace.with_suffix(".yaml"), values)


def until(condition, fit, seconds=120):
    """Wait for ``condition()`` while a fit goes on."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert fit.poll() is None, fit.communicate()
        assert time.monotonic() < deadline, fit.communicate()
        time.sleep(0.02)


def finish(fit):
    """Wait for a fit that ends well; returns what it printed."""
    out, err = fit.communicate(timeout=180)
    assert fit.returncode == 0, err
    return json.loads(out)


def test_hosts_read_tiles_from_each_other_as_planned_and_make_the_bits_of_one_process(
    tmp_path, inputs, undisturbed, both
):
    said = finish(both.fit(config_of(both, inputs, tmp_path / "w")))
    assert_same_bits(tmp_path / "w", undisturbed)
    events = events_of(tmp_path / "w")
    assert {event["host"] for event in events if event["kind"] == "tile"} == {
        host.name for host in both.hosts
    }
    stages = {event["stage"]: event for event in events if event["kind"] == "stage_end"}
    planned = {stage["name"]: stage["bytes_read"] + stage["bytes_peers"] for stage in said["plan"]["stages"]}
    moved = {name: stages[name]["bytes_read"] + stages[name]["bytes_from_peers"] for name in SOLVE}
    print([(name, stages[name]["bytes_read"], moved[name], planned[name]) for name in SOLVE])
    assert all(stages[name]["bytes_from_peers"] for name in SOLVE)
    # which worker makes which tile is chance in so small a run: the stages differ by more, their sum does not
    total = sum(planned[name] for name in SOLVE)
    assert 0.75 * total < sum(moved.values()) < 1.25 * total


def test_a_host_that_is_cut_off_loses_its_tasks_to_the_other_and_no_bit(tmp_path, inputs, undisturbed, both):
    fit, (_, away) = both.fit(config_of(both, inputs, tmp_path / "w")), both.records
    until(lambda: away.written("L"), fit)
    # it stands at its next tile, with the tile in its hands
    with away.holding("begin", away.notes()[-1][4]):
        until(away.stands, fit)
        both.hosts[1].cut()
        finish(fit)
    assert_same_bits(tmp_path / "w", undisturbed)
    (lost,) = (event for event in events_of(tmp_path / "w") if event["kind"] == "worker_lost")
    assert f"//{both.hosts[1].address}:" in lost["worker"]
    assert lost["tasks"]


def test_a_run_that_is_cut_off_from_the_scheduler_ends_with_a_sentence_and_goes_on_later(
    tmp_path, inputs, undisturbed, both
):
    config = config_of(both, inputs, tmp_path / "w")
    fit = both.fit(config, number=1)
    until(lambda: len(both.records[0].written("L")) > 1, fit)
    both.hosts[1].cut()
    _, err = fit.communicate(timeout=180)
    assert fit.returncode == 8, err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: the connection to the Dask scheduler 'tls://10.57.0.1:")
    assert err.splitlines()[-1].endswith("and run the same command again: what was finished is kept.")
    both.hosts[1].join()
    finish(both.fit(config))
    assert_same_bits(tmp_path / "w", undisturbed)
