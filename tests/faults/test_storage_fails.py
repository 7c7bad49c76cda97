"""The disk fills up, or may no longer be written, in the middle of a run. A real file system of its own."""

import contextlib
import re
import subprocess
import time

import pytest
from job import Command, Record, assert_same_bits, configuration, settings, write_config

from l3ae_dist.errors import WorkspaceError
from l3ae_dist.pipeline.run import run

pytestmark = [pytest.mark.faults, pytest.mark.dask, pytest.mark.timeout(180)]


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture
def disk(tmp_path):
    """A small file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", folder)
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Take all the space that is left; returns the file that took it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


def remount(folder, how):
    """Change between ``ro`` and ``rw``; a file system with a file open for writing refuses for a moment."""
    deadline = time.monotonic() + 20
    while (done := mount("-o", f"remount,{how}", folder)).returncode:
        if time.monotonic() > deadline:
            pytest.skip(f"a file system cannot be remounted here: {done.stderr.strip()}")


@pytest.fixture
def job(tmp_path, inputs, disk):
    """A configuration file, its workspace on the small disk, and the record of what is computed."""
    where = disk / "w"
    values = settings(inputs, where, workers=2, keep=["L", "Linv"])
    return write_config(tmp_path / "job.yaml", values), where, Record(tmp_path / "record")


def is_one_sentence(error, pattern):
    """The last thing on standard error is one paragraph that says what to do."""
    said = [line for line in error.splitlines() if line.startswith("error: ")]
    return len(said) == 1 and re.search(pattern, said[0]) and "Traceback" not in error


@pytest.mark.parametrize(("name", "count"), [("L", 30), ("P", 10)])
def test_a_full_disk_ends_the_run_with_a_sentence_and_with_space_it_goes_on(
    job, disk, undisturbed, name, count
):
    config, where, record = job
    command = Command("fit", config, record=record.path)
    command.wait_until(lambda: len(record.written(name)) >= count)
    ballast = fill(disk)
    code, out, err = command.finish()
    assert (code, out) == (WorkspaceError.exit_code, ""), err
    assert is_one_sentence(
        err, rf"cannot write {disk}.*: the disk is full: free space .*same command again"
    ), err
    before = len(record.lines())
    assert Command("verify", where).finish()[0] == 0
    ballast.unlink()
    code, _, err = Command("fit", config, record=record.path).finish()
    assert code == 0, err
    assert len(record.lines()) > before
    assert record.after_finished() == []
    assert_same_bits(where, undisturbed)


def test_a_disk_that_is_full_before_anything_is_written_is_a_sentence_too(job, disk, undisturbed):
    config, where, _ = job
    ballast = fill(disk)
    for _ in range(2):  # the second time nothing has been freed yet
        code, out, err = Command("fit", config).finish()
        assert (code, out) == (WorkspaceError.exit_code, "")
        assert is_one_sentence(err, "disk is full|No space left"), err
    ballast.unlink()
    code, _, err = Command("fit", config).finish()
    assert code == 0, err
    assert_same_bits(where, undisturbed)


def test_a_disk_that_fills_while_the_data_are_read_is_a_sentence_too(job, disk, undisturbed):
    config, where, _ = job
    ballast = fill(disk)
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - 400 * 1024)
    code, out, err = Command("fit", config).finish()
    assert (code, out) == (WorkspaceError.exit_code, ""), err
    assert is_one_sentence(err, "disk is full"), err
    ballast.unlink()
    code, _, err = Command("fit", config).finish()
    assert code == 0, err
    assert_same_bits(where, undisturbed)


def test_permission_lost_in_the_middle_ends_with_a_sentence_and_regained_the_run_goes_on(
    job, disk, undisturbed
):
    config, where, record = job
    command = Command("fit", config, record=record.path)
    command.wait_until(lambda: len(record.written("L")) >= 30)
    remount(disk, "ro")
    code, out, err = command.finish()
    assert (code, out) == (WorkspaceError.exit_code, ""), err
    assert is_one_sentence(err, rf"cannot write {disk}.*: permission denied: .*permissions"), err
    assert Command("verify", where).finish()[0] == 0
    code, _, err = Command("fit", config, record=record.path).finish()
    assert code == WorkspaceError.exit_code
    assert is_one_sentence(err, "permission|read-only|can write"), err
    remount(disk, "rw")
    code, _, err = Command("fit", config, record=record.path).finish()
    assert code == 0, err
    assert record.after_finished() == []
    assert_same_bits(where, undisturbed)


def test_a_process_whose_lock_could_not_be_released_may_run_again_at_once(
    disk, inputs, undisturbed, on_cluster
):
    config = configuration(inputs, disk / "w", keep=["L", "Linv"], **on_cluster)

    def lose_permission(event):
        if event["kind"] == "tile" and event["stage"] == "linv" and event["done"] == 30:
            remount(disk, "ro")

    with pytest.raises(WorkspaceError, match="permission denied"):
        run(config, until="fit", on_event=lose_permission)
    remount(disk, "rw")
    events = []
    run(config, until="fit", on_event=events.append)
    started = next(e for e in events if e["kind"] == "stage_start" and e["stage"] == "linv")
    assert started["done"] >= 30
    assert_same_bits(disk / "w", undisturbed)
