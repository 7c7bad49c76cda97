"""Tiles that workers read from each other: by one that dies, stands still or sends another bit meanwhile."""

import contextlib
import os
import signal

import pytest
from job import artifacts, assert_same_bits, configuration

from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime.events import Message, StageEnd, WorkerLost

pytestmark = [pytest.mark.faults, pytest.mark.dask]
FEW = {"tile_size": 192, "keep": ["L", "Linv"]}


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    """The workspace of a run in this process, of few tiles."""
    where = tmp_path_factory.mktemp("undisturbed") / "w"
    run(configuration(inputs, where, cluster="synchronous", **FEW), until="fit")
    return where


@pytest.fixture
def from_peers(record):
    """Every tile that a peer holds is read from there, however quick the disk is."""
    wanted = record.path.with_name(record.path.name + ".peers")
    wanted.touch()
    yield
    wanted.unlink()
    for left in record.path.parent.glob(record.path.name + ".harm*"):
        left.unlink()


def harmed(record, kind):
    """Have the worker that sends the next tile do that; returns a function that gives its process id."""
    harm = record.path.with_name(record.path.name + ".harm")
    harm.write_text(kind)

    def pid():
        (done,) = record.path.parent.glob(harm.name + ".*")
        return int(done.suffix[1:])

    return pid


def run_on(inputs, workspace, on_cluster, **compute):
    events = []
    run(configuration(inputs, workspace, **FEW, **on_cluster, **compute), until="fit", on_event=events.append)
    return events


def bytes_of(events, name):
    return sum(event[name] for event in events if isinstance(event, StageEnd) and event.get(name))


@pytest.mark.usefixtures("from_peers")
def test_most_tiles_come_from_the_other_worker_unless_it_is_turned_off(
    tmp_path, inputs, undisturbed, on_cluster
):
    events = run_on(inputs, tmp_path / "w", on_cluster)
    off = run_on(inputs, tmp_path / "off", on_cluster, peer_reads="off")
    print([(e.stage, e.bytes_read, e.bytes_from_peers) for e in events if isinstance(e, StageEnd)])
    assert bytes_of(events, "bytes_from_peers") > 0
    assert bytes_of(off, "bytes_from_peers") == 0
    assert bytes_of(events, "bytes_read") < bytes_of(off, "bytes_read")
    assert_same_bits(tmp_path / "w", undisturbed)
    assert_same_bits(tmp_path / "off", undisturbed)


@pytest.mark.usefixtures("from_peers")
def test_a_flipped_bit_is_noticed_told_and_read_from_the_workspace(
    tmp_path, inputs, undisturbed, on_cluster, record
):
    harm = harmed(record, "flip")
    events = run_on(inputs, tmp_path / "w", on_cluster)
    assert harm()
    said = [event.message for event in events if isinstance(event, Message) and "done-mark" in event.message]
    assert len(said) == 1
    assert "it was read from the workspace instead" in said[0]
    assert_same_bits(tmp_path / "w", undisturbed)


@pytest.mark.usefixtures("from_peers")
def test_a_peer_that_is_killed_while_it_sends_a_tile(tmp_path, inputs, undisturbed, on_cluster, record):
    harm = harmed(record, "die")
    events = run_on(inputs, tmp_path / "w", on_cluster)
    assert harm()
    assert sum(isinstance(event, WorkerLost) for event in events) == 1
    assert_same_bits(tmp_path / "w", undisturbed)


@pytest.mark.usefixtures("from_peers")
def test_a_peer_that_stands_still_while_it_sends_a_tile_is_passed_over(
    tmp_path, inputs, undisturbed, on_cluster, record
):
    harm = harmed(record, "stop")
    try:
        run_on(inputs, tmp_path / "w", on_cluster)
        assert_same_bits(tmp_path / "w", undisturbed)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it was replaced
            os.kill(harm(), signal.SIGCONT)


@pytest.mark.usefixtures("from_peers")
def test_what_workers_hold_of_another_workspace_is_not_taken(tmp_path, inputs, undisturbed, on_cluster):
    run_on(inputs, tmp_path / "one", on_cluster)
    other = {"tile_size": FEW["tile_size"], "keep": FEW["keep"], "dtype": "float64"}
    config = configuration(inputs, tmp_path / "two", **{**on_cluster, **other})
    run(config, until="fit")
    run_on(inputs, tmp_path / "three", on_cluster)
    assert_same_bits(tmp_path / "one", undisturbed)
    assert_same_bits(tmp_path / "three", undisturbed)
    assert set(artifacts(tmp_path / "two")) != set(artifacts(undisturbed))
