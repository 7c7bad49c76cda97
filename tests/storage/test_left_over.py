"""Temporary folders and unfinished files: those of a killed process are swept, those of a living one are not."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from l3ae_dist.cli.lists_file import _complete_file
from l3ae_dist.storage.local_blobs import LocalBlobs
from l3ae_dist.storage.partial_files import is_abandoned, partial_name
from l3ae_dist.storage.repair import sweep_partials
from l3ae_dist.storage.scratch import abandoned_scratch, scratch_folder, sweep_scratch
from l3ae_dist.storage.workspace import Workspace

_HOLD = """
import sys, time
from pathlib import Path
from l3ae_dist.storage.partial_files import partial_name
from l3ae_dist.storage.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "big").write_bytes(b"1" * 100_000)
    name = Path(sys.argv[1]) / partial_name("0")
    name.write_bytes(b"1" * 1000)
    print(folder, name, flush=True)
    time.sleep(120)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary folder of its own, for this process and those that it starts."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    tempfile.tempdir = None


@pytest.fixture
def workspace(tmp_path):
    opened = Workspace.create(tmp_path / "w")
    opened.blobs.put("grams/a/c/0/1", [b"1"])
    return opened


@pytest.fixture
def holder(temporary, workspace):
    """A process that has a temporary folder and an unfinished file in the workspace."""
    command = [sys.executable, "-c", _HOLD, str(Path(workspace.url) / "grams/a/c/0")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        process.files = [Path(word) for word in process.stdout.readline().split()]
        yield process
        process.kill()


def test_what_a_living_process_holds_stays(temporary, workspace, holder):
    os.kill(holder.pid, signal.SIGSTOP)  # a stopped one lives
    sweep_scratch()
    sweep_partials(workspace)
    assert all(path.exists() for path in holder.files)
    assert abandoned_scratch() == workspace.blobs.abandoned() == {}


def test_what_a_killed_process_left_is_known_and_swept(temporary, workspace, holder):
    holder.kill()
    holder.wait()
    folder, unfinished = holder.files
    assert list(abandoned_scratch()) == [str(folder)]
    assert abandoned_scratch()[str(folder)] >= 100_000
    assert workspace.blobs.abandoned() == {unfinished.relative_to(workspace.url).as_posix(): 1000}
    with scratch_folder() as other:  # sweeps before it makes its own
        assert list(temporary.iterdir()) == [other]
    assert not list(temporary.iterdir())
    sweep_partials(workspace)
    assert not unfinished.exists()
    assert workspace.blobs.abandoned() == {}


def test_a_child_keeps_the_folder_that_its_parent_made(temporary):
    with scratch_folder() as folder:
        if (child := os.fork()) == 0:
            time.sleep(60)
            os._exit(0)
        sweep_scratch()
        assert folder.is_dir()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_folders_of_others_are_left_alone(temporary):
    for name in ("l3ae-scratch-abcdefgh", "l3ae-scratch-held", "other-held"):
        (temporary / name).mkdir()
    (temporary / "l3ae-scratch-abcdefgh-held").symlink_to(temporary / "other-held")
    (temporary / "l3ae-scratch-12345678-held").write_text("a file")
    sweep_scratch()
    assert len(list(temporary.iterdir())) == 5


def test_unfinished_files_of_other_machines_and_older_versions_count_as_left_over_after_a_day(tmp_path):
    for name in ("0.0123abcd-77-123-89abcdef.partial", f"0.{'f' * 32}.partial"):
        path = tmp_path / name
        path.write_bytes(b"1")
        assert not is_abandoned(path)
        os.utime(path, (time.time() - 90000,) * 2)
        assert is_abandoned(path)


def test_unfinished_files_are_not_listed_and_their_names_are_their_own(tmp_path):
    names = {partial_name("0") for _ in range(100)}
    assert len(names) == 100
    blobs = LocalBlobs(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / names.pop()).write_bytes(b"1")
    assert list(blobs.list("a")) == []
    assert blobs.abandoned() == {}  # this process lives


def test_a_file_of_recommendations_replaces_what_a_killed_command_left(tmp_path, holder, temporary):
    left = tmp_path / holder.files[1].name.replace("0.", "out.parquet.", 1)
    left.write_bytes(b"1")
    mine = tmp_path / partial_name("out.parquet")
    mine.write_bytes(b"1")
    with _complete_file(str(tmp_path / "out.parquet")) as file:
        file.write(b"1")
    assert left.exists()  # its process lives
    holder.kill()
    holder.wait()
    (tmp_path / "out.parquet").unlink()
    with _complete_file(str(tmp_path / "out.parquet")) as file:
        file.write(b"2")
    assert not left.exists()
    assert mine.exists()
    assert (tmp_path / "out.parquet").read_bytes() == b"2"


def test_a_folder_that_another_process_sweeps_before_it_is_locked_is_made_again(temporary, monkeypatch):
    make, made = tempfile.mkdtemp, []

    def swept(*args, **options):
        made.append(make(*args, **options))
        if len(made) < 3:
            os.rmdir(made[-1])
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", swept)
    with scratch_folder() as folder:
        assert str(folder) == made[2]
        assert folder.is_dir()
