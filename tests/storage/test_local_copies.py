"""Copies of tiles on a local disk: the bytes of the workspace, bounded, checked, and gone with the process."""

import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from l3ae_dist.errors import ConfigError
from l3ae_dist.storage import local_copies
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.local_copies import LocalCopies
from l3ae_dist.storage.scratch import sweep_scratch
from l3ae_dist.storage.tier_pace import TRIED_AGAIN, TierPace
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest
from l3ae_dist.storage.workspace import Workspace

SIDE, TILE = 20, 8
BYTES = 4096  # of a copy: whole blocks of the disk


@pytest.fixture
def array(tmp_path):
    """Tiles of an array with ragged edges."""
    made = ChunkArray.create(
        Workspace.create(tmp_path / "w"),
        "factors/x/L",
        shape=(SIDE, SIDE),
        chunks=(TILE, TILE),
        dtype="float32",
    )
    values = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    for i in range(3):
        for j in range(i + 1):
            made.write(i, j, values[made.row_range(i), made.row_range(j)])
    return made


@pytest.fixture
def disk(tmp_path):
    (folder := tmp_path / "disk").mkdir()
    return folder


@pytest.fixture
def copies_first(monkeypatch):
    """Read copies wherever there are any: which place is quicker depends on the machine at that moment."""
    monkeypatch.setattr(TierPace, "prefers_copies", lambda self: True)
    monkeypatch.setattr(TierPace, "copies_are_quicker", lambda self: True)


def files(disk):
    return sorted(path for path in disk.rglob("*") if path.is_file())


def test_a_tile_without_room_in_memory_is_read_from_its_copy(array, disk, copies_first):
    reader = TileReader(0)
    reader.copy_to(str(disk), 10 * BYTES)
    request = TileRequest(array, 2, 1, stage="L")
    counts = []
    for _ in range(3):
        counts.append(count := ReadCount())
        held = reader.load(request, count)
        np.testing.assert_array_equal(held.tile, array.read(2, 1))
        reader.release(held)
    assert counts[0].bytes > counts[0].bytes_from_copies == 0
    assert all((one.bytes, one.bytes_from_copies) == (0, array.chunk_nbytes) for one in counts[1:])
    assert len(files(disk)) == 1
    reader.copy_to("", 0)
    assert not list(disk.iterdir())


def test_a_tile_that_memory_holds_has_no_copy(array, disk, copies_first):
    reader = TileReader(2**20)
    reader.copy_to(str(disk), 10 * BYTES)
    for _ in range(2):
        reader.release(reader.load(TileRequest(array, 0, 0, stage="L"), ReadCount()))
    assert files(disk) == []


def test_copies_are_bounded_and_those_of_other_stages_go_first(array, disk, copies_first):
    copies = LocalCopies(str(disk), 2 * BYTES)
    wanted = [TileRequest(array, *place, stage="L") for place in ((0, 0), (1, 0), (1, 1))]
    for one in wanted:
        copies.keep(one, array.read(one.i, one.j))
    assert len(files(disk)) == 2  # a full cache takes no third
    later = TileRequest(array, 2, 0, stage="Linv")
    copies.keep(later, array.read(2, 0))
    assert len(files(disk)) == 2
    assert copies.read(later, array.buffer()) is not None
    assert copies.read(wanted[0], array.buffer()) is None
    copies.close()


@pytest.mark.parametrize("harm", ["flipped bit", "cut off", "gone"])
def test_a_damaged_copy_is_passed_over_and_the_workspace_is_read(array, disk, harm, copies_first):
    reader = TileReader(0)
    reader.copy_to(str(disk), 10 * BYTES)
    request = TileRequest(array, 2, 2, stage="L")
    reader.release(reader.load(request, ReadCount()))
    (copy,) = files(disk)
    if harm == "gone":
        copy.unlink()
    else:
        data = bytearray(copy.read_bytes())
        data[7] ^= 16
        copy.write_bytes(data if harm == "flipped bit" else data[:50])
    count = ReadCount()
    held = reader.load(request, count)
    np.testing.assert_array_equal(held.tile, array.read(2, 2))
    assert count.bytes_from_copies == 0 < count.bytes


def test_a_full_disk_keeps_the_copies_that_are_there(array, disk, monkeypatch, copies_first):
    reader = TileReader(0)
    reader.copy_to(str(disk), 10 * BYTES)
    first, second = (TileRequest(array, *place, stage="L") for place in ((0, 0), (1, 0)))
    reader.release(reader.load(first, ReadCount()))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("l3ae_dist.storage.local_copies.write_new", full)
    reader.release(reader.load(second, ReadCount()))
    monkeypatch.undo()
    for _ in range(2):
        reader.copy_to(str(disk), 10 * BYTES)  # as every task does
        reader.release(reader.load(second, count := ReadCount()))
        assert count.bytes_from_copies == 0
    assert len(files(disk)) == 1
    reader.release(reader.load(first, count := ReadCount()))
    assert count.bytes_from_copies > 0


def test_a_folder_that_cannot_be_made_is_a_sentence(array, tmp_path):
    with pytest.raises(ConfigError, match=r"compute\.local_directory is .*nowhere.* name a folder"):
        TileReader(0).copy_to(str(tmp_path / "nowhere"), 100)


def test_what_a_killed_process_left_is_swept(disk):
    program = (
        "import os, signal, sys\n"
        "from l3ae_dist.storage.local_copies import LocalCopies\n"
        "copies = LocalCopies(sys.argv[1], 100)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(disk)], check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert len(list(disk.iterdir())) == 1
    sweep_scratch(str(disk))
    assert not list(disk.iterdir())


def test_a_copy_whose_place_was_taken_while_it_was_written_leaves_no_file(
    array, disk, monkeypatch, copies_first
):
    copies = LocalCopies(str(disk), BYTES)
    first, later = TileRequest(array, 0, 0, stage="L"), TileRequest(array, 1, 0, stage="Linv")
    write = local_copies.write_new

    def displaced(path, *more):
        monkeypatch.undo()
        copies.keep(later, array.read(1, 0))
        return write(path, *more)

    monkeypatch.setattr(local_copies, "write_new", displaced)
    copies.keep(first, array.read(0, 0))
    assert len(files(disk)) == 1
    assert copies.read(later, array.buffer()) is not None
    assert copies.read(first, array.buffer()) is None


def test_a_forked_process_leaves_the_files_to_its_parent(array, disk, copies_first):
    reader = TileReader(0)
    reader.copy_to(str(disk), 10 * BYTES)
    request = TileRequest(array, 2, 1, stage="L")
    reader.release(reader.load(request, ReadCount()))
    context = multiprocessing.get_context("fork")
    child = context.Process(target=reader.load, args=(request, ReadCount()))
    child.start()
    child.join()
    assert child.exitcode == 0
    reader.release(reader.load(request, count := ReadCount()))
    assert count.bytes_from_copies > 0


def test_the_slower_place_is_timed_again_however_often_copies_are_written():
    pace = TierPace()
    pace.copies_took(2.0, 1)
    pace.workspace_took(1.0, 1)
    asked = [(pace.prefers_copies(), pace.copies_are_quicker()) for _ in range(2 * TRIED_AGAIN)]
    assert sum(read for read, _ in asked) == 2
    assert not any(written for _, written in asked)
