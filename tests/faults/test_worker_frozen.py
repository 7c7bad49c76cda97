"""SIGSTOP of a worker: of one of two, of the only one, and of one that is busy and only looks silent."""

import os
import signal
import threading
import time

import pytest
from job import Command, assert_same_bits, configuration, settings, write_config

from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime.backends import frozen
from l3ae_dist.runtime.backends.local import local_cluster
from l3ae_dist.runtime.events import Message

pytestmark = [pytest.mark.faults, pytest.mark.dask, pytest.mark.alone]


def proceed(pid):
    """SIGCONT to a process that may be gone."""
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return


# Longer than a worker must stand still to be told, and less than what it is told after at most.
HELD_SECONDS = 6


class Freeze:
    """An ``on_event`` that stops a worker at the first tile of a stage, and keeps what the run says.

    It holds the run until the worker has been found: a small job could end before.
    """

    def __init__(self, stage):
        self.stage, self.pid, self.stopped, self.said = stage, None, 0.0, []

    def __call__(self, event):
        if event["kind"] == "tile" and event["stage"] == self.stage and self.pid is None:
            self.pid, self.stopped = event["pid"], time.monotonic()
            os.kill(self.pid, signal.SIGSTOP)
            time.sleep(HELD_SECONDS)
        if event["kind"] == "log" and "stood still" in event["message"]:
            self.said.append((time.monotonic() - self.stopped, event["message"]))


FEW = {"tile_size": 192, "keep": ["L", "Linv"]}


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    """The workspace of a run in this process, of few tiles."""
    where = tmp_path_factory.mktemp("undisturbed") / "w"
    run(configuration(inputs, where, cluster="synchronous", **FEW), until="fit")
    return where


def test_the_tasks_of_a_frozen_worker_are_done_by_others(tmp_path, inputs, undisturbed, on_cluster):
    freeze = Freeze("factor")
    started = time.monotonic()
    config = configuration(inputs, tmp_path / "w", **FEW, **on_cluster)
    run(config, until="fit", on_event=freeze)
    took = time.monotonic() - started
    proceed(freeze.pid)
    (said,) = freeze.said
    print(f"said after {said[0]:.1f} s, the run took {took:.1f} s: {said[1]}")
    assert said[0] < 10
    assert f"(pid {freeze.pid} of this machine) has stood still since" in said[1]
    assert "its tasks go to the other workers" in said[1]
    assert took < 60
    assert_same_bits(tmp_path / "w", undisturbed)


@pytest.mark.parametrize("way", ["continued", "replaced"])
def test_the_only_worker_is_waited_for_and_then_replaced(tmp_path, inputs, undisturbed, monkeypatch, way):
    monkeypatch.setattr(frozen, "_PATIENCE_SECONDS", 60.0 if way == "continued" else 3.0)
    freeze, events, proceeded = Freeze("factor"), [], []

    def on_event(event):
        freeze(event)
        events.append(event)
        if freeze.said and not proceeded and way == "continued":
            proceed(freeze.pid)
            proceeded.append(freeze.pid)
            time.sleep(3)

    run(configuration(inputs, tmp_path / "w", workers=1, **FEW), until="fit", on_event=on_event)
    (said,) = freeze.said
    assert said[0] < 10
    assert "no other worker is left for its tasks, and it is replaced in" in said[1]
    assert f"kill -CONT {freeze.pid}" in said[1]
    went_on = [
        event["message"]
        for event in events
        if event["kind"] == "log" and event["message"].endswith("goes on")
    ]
    assert len(went_on) == (way == "continued")
    pids = {event["pid"] for event in events if event["kind"] == "tile"}
    assert len(pids) == (1 if way == "continued" else 2)
    assert_same_bits(tmp_path / "w", undisturbed)


def test_the_command_says_on_standard_error_which_worker_stands_still(tmp_path, inputs, record):
    record.empty()
    config = write_config(tmp_path / "c.yaml", settings(inputs, tmp_path / "w", workers=2, **FEW))
    command = Command("fit", config, record=record.path)
    command.wait_until(lambda: len(record.written("L")) > 1)
    pid = record.notes()[-1][4]
    os.kill(pid, signal.SIGSTOP)
    code, _, err = command.finish(60)
    proceed(pid)
    assert code == 0, err
    assert f"(pid {pid} of this machine) has stood still since" in " ".join(err.split())


def hold_the_interpreter(seconds):
    """Compute in one call that lets no other thread of the process run, heartbeats included."""
    import ctypes

    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return os.getpid()


def test_a_busy_worker_that_lets_no_heartbeat_through_is_not_taken_for_a_frozen_one(cluster):
    said = []
    cluster.client.wait_for_workers(2, timeout=60)
    cluster.refresh_pids()
    with cluster.watched(said.append):
        found = cluster.client.submit(hold_the_interpreter, 8, pure=False).result()
    assert found in cluster.worker_pids.values()
    assert [one for one in said if isinstance(one, Message)] == []


def test_a_worker_elsewhere_is_given_up_when_nothing_is_heard_of_it(monkeypatch):
    monkeypatch.setattr(frozen, "_UNHEARD_SECONDS", 2.0)
    monkeypatch.setattr(frozen, "_SILENT_SECONDS", 6.0)
    said = []
    with local_cluster(workers=2, threads=1, memory_budget=2**30, dashboard=False) as session:
        pids, session.worker_pids = session.worker_pids, {}
        address, pid = next(iter(pids.items()))
        with session.watched(said.append):
            os.kill(pid, signal.SIGSTOP)
            future = session.client.submit(os.getpid, pure=False, workers=[address], allow_other_workers=True)
            timer = threading.Timer(40, proceed, [pid])
            timer.start()
            assert future.result(timeout=30) != pid
            timer.cancel()
        assert any("has not been heard of since" in str(one.get("message")) for one in said)
    proceed(pid)
