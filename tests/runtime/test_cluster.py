"""The local Dask cluster: BLAS threads, ports and environment are what was asked for."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from distributed import Client, LocalCluster
from scheduler_file import address_in

from l3ae_dist.config.load import make_config
from l3ae_dist.errors import ClusterError, ConfigError
from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime.backends.address import existing_cluster
from l3ae_dist.runtime.backends.local import local_cluster
from l3ae_dist.runtime.memory import MemorySampler

pytestmark = pytest.mark.dask


def blas_threads():
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_every_cluster_of_a_process_gets_its_own_blas_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    for threads in (1, 2):
        with local_cluster(workers=1, threads=threads, memory_budget=2**30, dashboard=False) as session:
            assert list(session.client.run(blas_threads).values()) == [{threads}]
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def gpus_seen():
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_workers_of_one_machine_share_its_gpus_out_and_keep_them_when_they_are_started_again(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    with local_cluster(workers=3, threads=1, memory_budget=2**30, dashboard=False) as session:
        before = session.client.run(gpus_seen)
        assert sorted(before.values()) == ["0", "2", "2"]
        killed = session.client.run(os.getpid)
        os.kill(next(pid for address, pid in killed.items() if before[address] == "0"), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while sorted(found := session.client.run(gpus_seen, on_error="ignore").values()) != ["0", "2", "2"]:
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
        assert set(session.client.run(os.getpid).values()) != set(killed.values())
    assert gpus_seen() == "2,0"


def test_the_scheduler_listens_on_the_loopback_alone_and_on_no_fixed_port():
    import socket

    import psutil

    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody else has it already
            taken.bind(("127.0.0.1", 8787))
            taken.listen()
        with local_cluster(workers=1, threads=1, memory_budget=2**30, dashboard=False):
            mine = {c.laddr for c in psutil.Process().net_connections() if c.status == "LISTEN"}
    # a Ray in this process writes the same address in the form of IPv6
    assert {address.ip.removeprefix("::ffff:") for address in mine} == {"127.0.0.1"}


# a process in a pid namespace of its own is to this one as a process of another machine
ELSEWHERE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def can_unshare():
    with contextlib.suppress(OSError):
        return subprocess.run([*ELSEWHERE, "true"], stderr=subprocess.DEVNULL).returncode == 0
    return False


@pytest.mark.skipif(not can_unshare(), reason="no right to make a pid namespace")
def test_workers_of_another_machine_count_with_what_they_tell():
    options = ["--no-nanny", "--nthreads=1", "--no-dashboard"]
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        address = cluster.scheduler_address
        worker = subprocess.Popen(
            [*ELSEWHERE, sys.executable, "-m", "distributed.cli.dask_worker", address, *options],
            stderr=subprocess.DEVNULL,
        )
        try:
            with existing_cluster(address) as session:
                session.client.wait_for_workers(1, timeout=100)
                session.refresh_pids()
                assert session.pids() == []
                with MemorySampler({"workers": session.pids}, elsewhere=session.bytes_elsewhere) as sampler:
                    deadline = time.monotonic() + 60
                    while sampler.peak.worker_max < 2**25 and time.monotonic() < deadline:
                        time.sleep(0.1)
        finally:
            worker.kill()
            worker.wait()
    assert 2**25 <= sampler.peak.worker_max < 2**30
    assert sampler.peak.workers_sum == sampler.peak.worker_max


WITHOUT_THE_PACKAGE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "l3ae_dist":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


@contextlib.contextmanager
def dask_processes(folder, without):
    """A scheduler and a worker as their operator starts them; one of them has not got this package."""
    (folder / "sitecustomize.py").write_text(WITHOUT_THE_PACKAGE)
    file, local = folder / "scheduler.json", ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    commands = {
        "scheduler": ["dask_scheduler", "--scheduler-file", file, "--port", "0", *local],
        "worker": ["dask_worker", "--scheduler-file", file, "--nthreads", "2", "--memory-limit", "2GiB", *local,
                   "--local-directory", folder],
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        for name, (module, *arguments) in commands.items():
            environment = {**os.environ, **({"PYTHONPATH": str(folder)} if name == without else {})}
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *map(str, arguments)],
                env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.terminate)
        yield address_in(file)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("without", ["scheduler", "worker"])
def test_processes_without_this_package_are_a_sentence(tmp_path, small_tables, without):
    log, items = small_tables
    with dask_processes(tmp_path, without) as address:
        with Client(address) as client:
            client.wait_for_workers(1, timeout=60)
        compute = {"cluster": "address", "address": address, "tile_size": 16, "dtype": "float64"}
        config = make_config(
            {"workspace": str(tmp_path / "w"), "model": {"name": "ease", "reg_x": 5}, "compute": compute}
        )
        with pytest.raises(
            ClusterError, match=rf"the {without} tcp://127.* cannot import this package.*install"
        ):
            run(config, interactions=log, items=items, until="fit")


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:8786", "tcp://scheduler.example:8786"])
def test_an_unencrypted_scheduler_off_this_machine_is_refused_before_anything_is_sent(address):
    with pytest.raises(ConfigError, match=r"neither on this machine nor encrypted; use a tls:.*--insecure"):  # noqa: SIM117
        with existing_cluster(address):
            pass


def test_the_command_line_allows_an_unencrypted_scheduler_on_request():
    from l3ae_dist.cli.options import ComputeOptions

    settings = ["compute.cluster=address", "compute.address=tcp://192.0.2.1:8786"]
    assert not ComputeOptions().configure("w", settings).compute.insecure
    assert ComputeOptions(insecure=True).configure("w", settings).compute.insecure


def test_a_ray_imported_too_early_for_its_token_is_told_of():
    program = (
        "import ray\n"
        "from l3ae_dist.errors import ClusterError\n"
        "from l3ae_dist.runtime.backends.ray_session import ray_session\n"
        "try:\n"
        "    ray_session().__enter__()\n"
        "except ClusterError as error:\n"
        "    print(error)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("Ray was imported before it could be given a token"), done.stderr


def test_every_worker_measures_its_own_device(dask_session, monkeypatch):
    count = len(dask_session.client.scheduler_info(n_workers=-1)["workers"])
    assert dask_session.float64_shares("cpu") == [("cpu", 0.0)] * count
    assert dask_session.device_sharers("cpu") == 1
    assert dask_session.device_sharers("torch") == count
    monkeypatch.setattr(dask_session.client, "submit", lambda *given, **options: Failing())
    with pytest.raises(ClusterError, match=r"could not measure its device.*set compute.arithmetic"):
        dask_session.float64_shares("cpu")


class Failing:
    """A future whose task failed for a reason of Dask's own."""

    def result(self, timeout):
        raise RuntimeError("it was killed again and again")
