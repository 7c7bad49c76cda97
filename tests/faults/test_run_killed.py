"""SIGKILL of a whole run: client, scheduler and workers at once; and runs that meet on one workspace."""

import json
import os
import random
import re
import signal

import pytest
from job import Command, Record, assert_same_bits, settings, write_config

from l3ae_dist.errors import WorkspaceLockedError
from l3ae_dist.storage.lock import lock_holder
from l3ae_dist.storage.workspace import Workspace

pytestmark = [pytest.mark.faults, pytest.mark.dask, pytest.mark.third, pytest.mark.timeout(400)]

KILLS = 10


@pytest.fixture
def job(tmp_path, inputs):
    """A configuration file, its workspace, and the record of what the run's processes compute."""
    where = tmp_path / "w"
    values = settings(inputs, where, workers=2, keep=["L", "Linv"])
    return write_config(tmp_path / "job.yaml", values), where, Record(tmp_path / "record")


def test_ten_killed_runs_and_one_more_compute_no_finished_tile_again(job, undisturbed, total_written):
    config, where, record = job
    seed = int(os.environ.get("L3AE_FAULT_SEED", "20261124"))
    chance = random.Random(seed)
    # the last is far from the end: a busy machine is late, and chunks are written meanwhile
    moments = [int(0.85 * (k + chance.uniform(0.01, 0.9)) * total_written / KILLS) for k in range(KILLS)]
    print(f"seed {seed}: killed when so many of {total_written} chunks were written: {moments}")
    reached = [0]
    for moment in moments:
        enough = max(moment, reached[-1] + 1)
        command = Command("fit", config, record=record.path)
        command.kill_when(lambda enough=enough: record.progress() >= enough)
        reached.append(record.progress())
    assert reached[-1] < total_written
    code, out, err = Command("fit", config, "--json", record=record.path).finish()
    assert code == 0, err
    assert record.after_finished() == []
    result = json.loads(out)
    assert result["certificate"]["residual"] <= result["certificate"]["tolerance"]
    assert_same_bits(where, undisturbed)


def test_a_second_run_is_refused_and_takes_over_after_the_holder_is_killed(job, undisturbed):
    config, where, record = job
    first = Command("fit", config, record=record.path)
    first.wait_until(lambda: len(record.written("L")) >= 20)
    with record.holding("begin", record.notes()[-1][4]):  # it could end before the other one has looked
        code, out, err = Command("fit", config).finish()
        assert code == WorkspaceLockedError.exit_code
        assert out == ""
        assert re.search(
            rf"error: .* is in use by run .* \(host .*, pid {first.pid}, since .*\); wait for it", err
        )
        assert "Traceback" not in err
        assert lock_holder(Workspace.open(where)).pid == first.pid
        os.kill(first.pid, signal.SIGKILL)  # its workers may live on for a moment
    code, _, err = Command("fit", config, record=record.path).finish()
    assert code == 0, err
    first.kill()
    assert json.loads((where / "meta" / "lock.json").read_text())["epoch"] == 2
    assert_same_bits(where, undisturbed)


def documents(where):
    """Bytes of every document of a workspace, but for the lock and the events of runs."""
    meta = where / "meta"
    paths = (path.relative_to(meta) for path in sorted(meta.rglob("*.json")))
    return {
        str(path): (meta / path).read_bytes()
        for path in paths
        if path.parts[0] not in ("lock.json", "events")
    }


def test_a_stopped_run_is_taken_over_and_writes_no_document_when_it_goes_on(job, undisturbed):
    config, where, record = job
    seconds = {"L3AE_FAULT_SECONDS": "l3ae_dist.storage.lock:HEARTBEAT_SECONDS=0.5,STALE_SECONDS=4"}
    first = Command("fit", config, record=record.path, **seconds)
    first.wait_until(lambda: len(record.written("L")) >= 20)
    os.kill(first.pid, signal.SIGSTOP)
    code, _, err = Command("fit", config, record=record.path, **seconds).finish()
    assert code == 0, err
    assert re.search(rf"waiting for run .* \(host .*, pid {first.pid}, since .*\), which holds", err)
    assert "after 4 s it counts as dead" in err
    before = documents(where)
    os.kill(first.pid, signal.SIGCONT)
    code, out, err = first.finish(timeout=60)
    assert code == WorkspaceLockedError.exit_code, err
    assert out == ""
    assert re.search(r"error: run .* lost the lock of", err)
    assert "Traceback" not in err
    assert documents(where) == before
    assert json.loads(before["model.json"])["epoch"] == 2
    assert_same_bits(where, undisturbed)
