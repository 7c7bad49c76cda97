"""Worker processes that are stopped before a run watches them."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time

import pytest

from l3ae_dist.runtime.backends.frozen import ended_while_stopped
from l3ae_dist.runtime.backends.local import local_cluster


@contextlib.contextmanager
def asleep(count):
    """Processes that do nothing, for the ``with`` block."""
    spawn = multiprocessing.get_context("spawn")
    found = [spawn.Process(target=time.sleep, args=(60,), daemon=True) for _ in range(count)]
    try:
        for process in found:
            process.start()
        yield found
    finally:
        for process in found:
            process.kill()
            process.join()


def test_a_stopped_worker_is_ended_and_nothing_else(caplog):
    with asleep(3) as (stopped, busy, other):
        os.kill(stopped.pid, signal.SIGSTOP)
        os.kill(other.pid, signal.SIGSTOP)
        with ended_while_stopped(threading.Event(), lambda: {stopped.pid, busy.pid}):
            stopped.join(20)
        assert stopped.exitcode == -signal.SIGKILL
        assert f"worker process {stopped.pid} was stopped by a signal" in caplog.text
        assert busy.is_alive()
        assert other.is_alive()


def test_once_the_workers_are_watched_none_is_ended():
    watched = threading.Event()
    watched.set()
    with asleep(1) as (worker,):
        os.kill(worker.pid, signal.SIGSTOP)
        with ended_while_stopped(watched, lambda: {worker.pid}):
            time.sleep(5)
        assert worker.is_alive()


@pytest.mark.dask
def test_a_cluster_ends_its_own_stopped_worker_and_none_of_another_cluster():
    shape = {"workers": 1, "threads": 1, "memory_budget": 2**30, "dashboard": False}
    with local_cluster(**shape) as one, local_cluster(**shape) as other:
        mine, theirs = (next(iter(session.worker_pids.values())) for session in (one, other))
        with other.watched(lambda event: None):  # which gives the only worker half a minute to go on
            os.kill(mine, signal.SIGSTOP)
            os.kill(theirs, signal.SIGSTOP)
            future = one.client.submit(os.getpid, pure=False)
            assert future.result(timeout=30) != mine
            os.kill(theirs, signal.SIGCONT)
            assert other.client.submit(os.getpid, pure=False).result(timeout=30) == theirs
