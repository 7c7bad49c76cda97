"""The workspace lock, with real processes."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from clocks import set_monotonic

from l3ae_dist.errors import WorkspaceError, WorkspaceLockedError
from l3ae_dist.storage import holder as holder_module
from l3ae_dist.storage import layout
from l3ae_dist.storage import lock as lock_module
from l3ae_dist.storage.lock import LockWatch, WorkspaceLock, held_lock, lock_holder, process_start, unlock
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


_ELSEWHERE = """
import os, sys, time
real, ahead = time.time, float(sys.argv[2])
time.time = lambda: real() + ahead
from l3ae_dist.storage import lock as lock_module
lock_module.HEARTBEAT_SECONDS = 0.5
lock_module.socket.gethostname = lambda: "elsewhere"
from l3ae_dist.storage.workspace import Workspace
with lock_module.WorkspaceLock(Workspace.open(sys.argv[1]), "other-run") as lock:
    print(lock.epoch, flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def elsewhere(workspace, ahead=0):
    """A process that holds the lock, on a host whose clock is some seconds ahead."""
    command = [sys.executable, "-c", _ELSEWHERE, workspace.url, str(ahead)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline().strip() == "1"
            yield process
        finally:
            process.kill()


def until(condition, timeout=20):
    deadline = time.monotonic() + timeout
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


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


@pytest.fixture
def seconds(monkeypatch):
    """A heartbeat each 0.5 s, and a death after 2 s."""
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.5)
    monkeypatch.setattr(lock_module, "STALE_SECONDS", 2.0)


@pytest.mark.parametrize("ahead", [61, -3600, 3600, 0])
def test_a_live_holder_is_refused_whatever_the_clocks_say(workspace, seconds, ahead):
    with elsewhere(workspace, ahead) as process:
        started, heard = time.monotonic(), []
        with (
            pytest.raises(WorkspaceLockedError, match="host elsewhere"),
            WorkspaceLock(workspace, "mine", heard.append),
        ):
            pass
        assert time.monotonic() - started < 2
        process.kill()


@pytest.mark.parametrize("ahead", [61, -3600, 3600, 0])
def test_a_dead_holder_is_waited_for_with_its_name_whatever_the_clocks_say(workspace, seconds, ahead):
    with elsewhere(workspace, ahead) as process:
        process.kill()
    started, heard = time.monotonic(), []
    with WorkspaceLock(workspace, "mine", heard.append) as lock:
        assert 1.9 < time.monotonic() - started < 8
        assert lock.epoch == 2
    assert "waiting for run other-run (host elsewhere, pid" in heard[0]
    assert "after 2 s it counts as dead" in heard[0]
    assert "taken over" in heard[-1]


def test_one_look_does_not_tell_whether_a_run_elsewhere_lives_and_two_do(workspace, seconds):
    with elsewhere(workspace) as process:
        process.kill()
    assert lock_holder(workspace).silent_seconds is None
    watch = LockWatch(workspace)
    assert watch.look().run_id == "other-run"
    until(lambda: watch.look() is None)
    assert watch.silent >= 2


def test_a_reader_that_was_stopped_itself_does_not_count_the_time(workspace, seconds, monkeypatch):
    with elsewhere(workspace) as process:
        process.kill()
    watch = LockWatch(workspace)
    now = time.monotonic()
    monkeypatch.setattr(lock_module, "STALE_SECONDS", 60.0)
    watch.look()
    set_monotonic(monkeypatch, lock_module, lambda: now + 1000)
    assert watch.look() is not None
    assert watch.silent <= 5


def test_unlock_watches_a_lock_of_another_host_before_it_frees_it(workspace, seconds):
    with elsewhere(workspace) as process:
        with pytest.raises(WorkspaceLockedError, match="host elsewhere"):
            unlock(workspace)
        process.kill()
    assert unlock(workspace).run_id == "other-run"


def is_taken_over(workspace, lock):
    """Hold the lock, lose it, and try to write in every way."""
    with lock:
        workspace.write_doc("model", {"by": "first"})
        assert workspace.read_doc("model") == {"by": "first", "epoch": 1}
        unlock(Workspace.open(workspace.url), force=True)
        for attempt in (
            lambda: workspace.write_doc("results/r", {}),
            lambda: Workspace.open(workspace.url).mark_stage("gram", "x", {}, {}),
            lambda: workspace.delete_doc("model"),
            lambda: workspace.delete("grams/x"),
            lock.check,
        ):
            with pytest.raises(WorkspaceLockedError, match="lost the lock"):
                attempt()


def test_a_run_whose_lock_was_taken_over_writes_no_document_and_says_so_at_its_end(workspace):
    workspace.write_doc("model", {"by": "nobody"})
    with pytest.raises(WorkspaceLockedError, match="run first lost the lock"):
        is_taken_over(workspace, WorkspaceLock(workspace, "first"))
    assert workspace.read_doc("model") == {"by": "first", "epoch": 1}
    assert workspace.list_docs("results") == workspace.list_docs("stages") == []
    with WorkspaceLock(workspace, "second") as second:
        second.check()
        workspace.mark_stage("gram", "x", {}, {})
    assert workspace.stage_done("gram", "x").epoch == 2


def test_a_run_that_lost_its_lock_says_what_of_it_is_kept(workspace):
    with pytest.raises(WorkspaceLockedError) as ended, WorkspaceLock(workspace, "first") as lock:  # noqa: PT012
        lock.kept.in_memory = {"L"}
        unlock(Workspace.open(workspace.url), force=True)
        lock.renew()
    assert "what was finished is kept but for tiles of L in memory alone, which are made" in str(ended.value)


def test_a_run_that_only_computes_learns_from_its_heartbeat_that_it_was_taken_over(workspace, monkeypatch):
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.02)
    first = WorkspaceLock(workspace, "first").__enter__()
    unlock(Workspace.open(workspace.url), force=True)
    until(first._lost.is_set)
    with WorkspaceLock(workspace, "second") as second:
        with pytest.raises(WorkspaceLockedError, match="lost the lock"):
            first.__exit__(None, None, None)
        assert lock_holder(workspace).run_id == "second"
        second.check()


def test_a_heartbeat_whose_answer_was_lost_does_not_lose_the_lock(workspace, monkeypatch):
    swap, broken = workspace.blobs.replace_if, []

    def lost_answer(*arguments):
        done = swap(*arguments)
        if not broken:
            broken.append(done)
            raise WorkspaceError("the store does not answer.")
        return done

    monkeypatch.setattr(workspace.blobs, "replace_if", lost_answer)
    with WorkspaceLock(workspace, "run") as lock:
        with pytest.raises(WorkspaceError, match="does not answer"):
            lock.renew()
        assert broken == [True]
        lock.renew()
        workspace.write_doc("results/r", {})
    assert lock_holder(workspace) is None


def test_a_child_by_fork_holds_nothing_and_asks_for_nothing(workspace):
    with WorkspaceLock(workspace, "run"):
        pid = os.fork()
        if not pid:
            os._exit(0 if held_lock(workspace) is None else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert held_lock(workspace) is not None


def test_a_child_by_fork_that_leaves_the_block_releases_nothing(workspace):
    lock = WorkspaceLock(workspace, "run")
    with lock:
        pid = os.fork()
        if not pid:
            lock.__exit__(None, None, None)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert held_lock(workspace) is not None
        lock.renew()
    assert lock_holder(workspace) is None


def test_a_process_of_another_user_that_hides_is_not_taken_for_dead(workspace, other_process, monkeypatch):
    monkeypatch.setattr(holder_module, "_stat", lambda pid: None)
    assert not lock_holder(workspace).gone


def test_the_heartbeat_is_written(workspace, monkeypatch):
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.02)
    with WorkspaceLock(workspace, "run"):
        before = lock_holder(workspace).heartbeat
        deadline = time.monotonic() + 10
        while lock_holder(workspace).heartbeat == before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lock_holder(workspace).heartbeat > before
    assert lock_holder(workspace) is None


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, "cannot write lock.json: the disk is full: free space"),
        (errno.EROFS, "cannot write lock.json: permission denied: choose a path that this user can write"),
        (errno.EIO, "cannot write the workspace lock"),
    ],
)
def test_a_lock_that_cannot_be_written_says_why(workspace, monkeypatch, code, sentence):
    def fails(*arguments):
        raise OSError(code, os.strerror(code), "lock.json")

    monkeypatch.setattr(workspace.blobs, "put_if_absent", fails)
    with pytest.raises(WorkspaceError, match=sentence), WorkspaceLock(workspace, "fit"):
        pass


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


def test_processes_that_proc_does_not_show_are_judged_by_their_ids_alone():
    """In a pid namespace of its own with the ``/proc`` of the one around it, as in some containers."""
    code = (
        "import os, subprocess, sys; from l3ae_dist.storage import holder;"
        "gone = subprocess.Popen([sys.executable, '-c', '']); gone.wait();"
        "print(holder.process_start(os.getpid()), [holder.process_start(gone.pid)], holder.is_stopped(os.getpid()))"
    )
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", code]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command[:4], "true"], capture_output=True).returncode
    ):
        pytest.skip("no pid namespace can be made here")
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert told.stdout == "unknown [''] False\n", told.stderr
