"""SIGSTOP of the scheduler: of one that runs apart, and of the one on Ray."""

import contextlib
import os
import signal
import subprocess
import sys

import psutil
import pytest
from job import Command, environment, settings, write_config
from scheduler_file import address_in

from l3ae_dist.config.load import make_config
from l3ae_dist.errors import ClusterError
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.runtime.backends import standstill
from l3ae_dist.runtime.backends.session import open_cluster

pytestmark = [pytest.mark.faults, pytest.mark.dask, pytest.mark.alone]


@contextlib.contextmanager
def scheduler_and_worker(folder, record):
    """Start them as their operator does; gives the address and the id of the scheduler's process."""
    file, local = folder / "scheduler.json", ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    options = ["--nthreads", "2", "--memory-limit", "2GiB", "--local-directory", folder]
    commands = (["dask_scheduler", "--port", "0", *local], ["dask_worker", *local, *options])
    with contextlib.ExitStack() as stack:
        started = []
        for module, *arguments in commands:
            command = [f"distributed.cli.{module}", "--scheduler-file", file, *arguments]
            process = subprocess.Popen(
                [sys.executable, "-m", *map(str, command)],
                env=environment(record.path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.terminate)
            started.append(process)
        yield address_in(file), started[0].pid


def test_a_scheduler_that_stands_still_is_a_sentence_and_nothing_is_lost(tmp_path, inputs, record):
    record.empty()
    with scheduler_and_worker(tmp_path, record) as (address, pid):
        values = settings(inputs, tmp_path / "w", cluster="address", address=address, tile_size=192)
        config = write_config(tmp_path / "c.yaml", values)
        soon = f"{standstill.__name__}:_STOPPED_UNTIL_SECONDS=6"
        command = Command("fit", config, record=record.path, L3AE_FAULT_SECONDS=soon)
        command.wait_until(lambda: len(record.written("L")) > 1)
        os.kill(pid, signal.SIGSTOP)
        try:
            code, _, err = command.finish(100)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert code == 8, err
        assert "Traceback" not in err
        told, last = " ".join(err.split()), err.splitlines()[-1]
        assert f"(pid {pid} of this machine) has stood still since" in told
        assert f"(kill -CONT {pid})" in told
        assert last.startswith(f"error: the Dask scheduler '{address}' (pid {pid} of this machine) has stood")
        assert last.endswith("run the same command again: what was finished is kept.")
        code, _, err = Command("fit", config, record=record.path).finish()
        assert code == 0, err
    assert record.after_finished() == []


class Task:
    """A task that nobody gets to run."""

    target = TileRef("L", 0, 0)
    targets = (target,)


def wait_for_task(session):
    """Wait as the stages do."""
    executor = session.executor()
    os.kill(session.scheduler_pids[0], signal.SIGSTOP)
    executor.submit(print, Task, None)
    executor.wait()


def wait_for_scheduler(session):
    """Wait for an answer of the scheduler itself."""
    os.kill(session.scheduler_pids[0], signal.SIGSTOP)
    session.client.run_on_scheduler(os.getpid)


@pytest.mark.ray
@pytest.mark.parametrize("wait", [wait_for_task, wait_for_scheduler])
def test_a_scheduler_on_ray_that_stands_still_ends_whatever_waits(tmp_path, inputs, monkeypatch, wait):
    monkeypatch.setattr(standstill, "_STOPPED_UNTIL_SECONDS", 6.0)
    said, pids = [], []
    compute = make_config(settings(inputs, tmp_path / "w", cluster="ray", workers=1)).compute

    def use():
        with open_cluster(compute, said.append) as session, session.watched(said.append):
            pids.extend(session.scheduler_pids)
            wait(session)

    with pytest.raises(ClusterError, match=r"the Dask scheduler .* has stood still since"):
        use()
    assert any("the run ends in" in event["message"] for event in said if event["kind"] == "log")
    assert not psutil.pid_exists(pids[0])
