"""The workspace lock, with real processes."""

import json
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from l3ae_dist.errors import WorkspaceError, WorkspaceLockedError
from l3ae_dist.storage import layout
from l3ae_dist.storage import lock as lock_module
from l3ae_dist.storage.lock import WorkspaceLock, lock_holder, process_start, unlock
from l3ae_dist.storage.workspace import Workspace

_HOLD = """
import sys, time
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.workspace import Workspace
with WorkspaceLock(Workspace.open(sys.argv[1]), "other-run") as lock:
    print(lock.epoch, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def workspace(tmp_path):
    return Workspace.create(tmp_path / "ws")


@pytest.fixture
def other_process(workspace):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", textwrap.dedent(_HOLD), workspace.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == "1"
        yield process
        process.kill()


def rewrite(workspace, **changes):
    """Change the lock object as another host would have written it."""
    record = json.loads(workspace.blobs.get(layout.LOCK)) | changes
    workspace.blobs.put(layout.LOCK, [json.dumps(record).encode()])


def test_the_epoch_grows_with_every_run(workspace):
    for epoch in (1, 2, 3):
        with WorkspaceLock(workspace, "run") as lock:
            assert lock.epoch == epoch
            assert lock_holder(workspace).run_id == "run"
            lock.check()
        assert lock_holder(workspace) is None


def test_a_second_run_is_refused_and_told_who_holds_it(workspace, other_process):
    message = rf"in use by run other-run \(host .*, pid {other_process.pid}, since .*\).*unlock --force"
    with pytest.raises(WorkspaceLockedError, match=message), WorkspaceLock(workspace, "mine"):
        pass
    assert lock_holder(workspace).run_id == "other-run"


def test_the_lock_of_a_killed_process_is_taken_over_at_once(workspace, other_process):
    other_process.send_signal(signal.SIGKILL)
    # not waited for: a zombie is as dead
    deadline = time.monotonic() + 10
    while process_start(other_process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    with WorkspaceLock(workspace, "mine") as lock:
        assert lock.epoch == 2


def test_the_pid_of_a_dead_holder_that_was_reused_counts_as_dead(workspace, other_process):
    rewrite(workspace, pid_started="1")
    with WorkspaceLock(workspace, "mine") as lock:
        assert lock.epoch == 2


def test_another_host_is_believed_until_its_heartbeat_is_stale(workspace, other_process):
    rewrite(workspace, host="elsewhere", pid=1, heartbeat=time.time() - 50)
    with pytest.raises(WorkspaceLockedError, match="host elsewhere"), WorkspaceLock(workspace, "mine"):
        pass
    rewrite(workspace, heartbeat=time.time() - 61)
    with WorkspaceLock(workspace, "mine") as lock:
        assert lock.epoch == 2


def test_a_run_whose_lock_was_taken_over_notices_and_does_not_release_it(workspace, monkeypatch):
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.02)
    first = WorkspaceLock(workspace, "first")
    with first:
        unlock(workspace, force=True)
        with WorkspaceLock(workspace, "second") as second:
            deadline = time.monotonic() + 10
            while not first._lost.is_set() and time.monotonic() < deadline:
                time.sleep(0.01)
            with pytest.raises(WorkspaceLockedError, match="lost the lock"):
                first.check()
            first.__exit__(None, None, None)
            assert lock_holder(workspace).run_id == "second"
            second.check()


def test_the_heartbeat_is_written(workspace, monkeypatch):
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.02)
    with WorkspaceLock(workspace, "run"):
        before = lock_holder(workspace).heartbeat
        deadline = time.monotonic() + 10
        while lock_holder(workspace).heartbeat == before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lock_holder(workspace).heartbeat > before
    assert lock_holder(workspace) is None


def test_unlock_needs_force_while_the_holder_lives(workspace, other_process):
    with pytest.raises(WorkspaceLockedError, match="--force"):
        unlock(workspace, force=False)
    assert unlock(workspace, force=True).run_id == "other-run"
    assert unlock(workspace, force=False) is None
    with WorkspaceLock(workspace, "mine") as lock:
        assert lock.epoch == 2


def test_an_unreadable_lock_is_refused_and_can_be_forced(workspace):
    workspace.blobs.put(layout.LOCK, [b"{"])
    with pytest.raises(WorkspaceError, match="unlock --force"), WorkspaceLock(workspace, "mine"):
        pass
    unlock(workspace, force=True)
    with WorkspaceLock(workspace, "mine") as lock:
        assert lock.epoch == 1


def test_the_epoch_of_a_lock_that_is_not_held_is_an_error(workspace):
    with pytest.raises(WorkspaceError, match="not held"):
        _ = WorkspaceLock(workspace, "run").epoch
