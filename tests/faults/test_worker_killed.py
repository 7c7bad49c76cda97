"""SIGKILL of one of two Dask workers in the middle of each solve stage."""

import os
import signal
import threading
import time

import pytest
from job import LOWER, assert_same_bits, configuration, events_of

from l3ae_dist.pipeline.run import run

pytestmark = [pytest.mark.faults, pytest.mark.dask]

TARGETS = {"factor": "L", "linv": "Linv", "invert": "P"}


@pytest.mark.parametrize(("percent", "moment"), [(25, "begin"), (50, "written"), (75, "begin")])
@pytest.mark.parametrize("stage", TARGETS)
def test_a_killed_worker_costs_at_most_the_tasks_it_held(
    tmp_path, inputs, undisturbed, on_cluster, record, stage, percent, moment
):
    """Killed in mid-tile a tile is computed again, killed after its write none is."""
    events, killers = [], []

    def kill_at_the_moment(event):
        events.append(event)
        if event["kind"] != "tile" or event["stage"] != stage or killers:
            return
        if event["done"] >= event["total"] * percent // 100:
            killers.append(threading.Thread(target=record.kill_worker, args=(moment, event["pid"])))
            killers[0].start()

    where = tmp_path / "w"
    config = configuration(inputs, where, keep=["L", "Linv"], **on_cluster)
    run(config, until="fit", on_event=kill_at_the_moment)
    killers[0].join()
    (lost,) = [event for event in events_of(where) if event["kind"] == "worker_lost"]
    held = {tuple(ref) for ref in lost["tasks"]}
    again = {(path.rsplit("/", 1)[1], i, j) for path, i, j in record.twice()}
    print(f"{stage} {percent} %: the worker held {len(held)} tasks, {len(again)} computed again")
    assert lost["stage"] == stage
    assert again <= held
    stopped = {(path.rsplit("/", 1)[1], i, j) for path, i, j in record.held}
    assert stopped <= held
    skipped = {(e["array"], e["i"], e["j"]) for e in events if e["kind"] == "tile" and e["skipped"]}
    # a tile that the worker had written, but whose report was lost, is found and not computed again
    assert not skipped & again
    if moment == "begin":
        assert stopped <= again
        assert not stopped & skipped
    else:
        assert not stopped & again
        assert stopped <= skipped
    assert len(set(record.written(*TARGETS.values()))) == 3 * LOWER
    assert_same_bits(where, undisturbed)


def test_a_worker_that_is_killed_twice_within_seconds_comes_back_twice(cluster):
    """Dask looks 15 s after the first loss whether the worker is back, and must not give it up then."""
    client = cluster.client

    def kill_first():
        client.wait_for_workers(2, timeout=60)
        workers = client.scheduler_info(n_workers=-1)["workers"]
        address = next(address for address, worker in workers.items() if worker["name"] == 0)
        os.kill(client.run(os.getpid, workers=[address])[address], signal.SIGKILL)
        return time.monotonic()

    killed = kill_first()
    time.sleep(killed + 14.7 - time.monotonic())
    again = kill_first()
    time.sleep(killed + 17 - time.monotonic())
    client.wait_for_workers(2, timeout=60)
    assert again < killed + 17
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    assert sorted(worker["name"] for worker in workers) == [0, 1]
