"""Passes on real Dask workers: results in order, few tasks at a time, each worker within its threads."""

import os
import threading
import time
from dataclasses import dataclass

import pytest

from l3ae_dist.data.shuffle.each import InThreads, in_turn
from l3ae_dist.errors import ClusterError, DataError
from l3ae_dist.runtime.watched_passes import WatchedPasses

pytestmark = pytest.mark.dask


@dataclass(frozen=True)
class Piece:
    number: int
    seconds: float = 0.0


def doubled(piece):
    time.sleep(piece.seconds)
    return 2 * piece.number


def process(piece):
    time.sleep(piece.seconds)
    return os.getpid()


_running, _most = set(), 0


def at_once(piece):
    """Return the most tasks that ran at once in this process."""
    global _most
    _running.add(threading.get_ident())
    _most = max(_most, len(_running))
    time.sleep(0.02)
    _running.discard(threading.get_ident())
    return os.getpid(), _most


def refuse(piece):
    if piece.number == 3:
        raise DataError("row 3 is bad; mend it.")
    return piece.number


def break_off(piece):
    raise RuntimeError("no sentence")


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_tasks(dask_session, threads):
    pieces = [Piece(number, 0.02 * (number % 3)) for number in range(20)]
    assert list(dask_session.each(threads)(doubled, pieces)) == [2 * number for number in range(20)]
    assert list(dask_session.each(threads)(doubled, [])) == []


def test_all_workers_take_part(dask_session):
    found = set(dask_session.each(1)(process, [Piece(0, 0.05)] * 12))
    assert found == set(dask_session.pids())


@pytest.mark.parametrize("threads", [1, 2])
def test_a_worker_runs_no_more_tasks_than_it_has_threads(dask_session, threads):
    most = {}
    for pid, seen in dask_session.each(threads)(at_once, [Piece(0)] * 24):
        most[pid] = max(seen, most.get(pid, 0))
    assert max(most.values()) <= threads


def test_only_a_window_of_the_tasks_is_sent(dask_session):
    results = dask_session.each(1)(doubled, [Piece(number) for number in range(1000)])
    assert next(results) == 0
    time.sleep(0.3)
    assert len(dask_session.client.futures) <= 3 * 2
    results.close()
    deadline = time.monotonic() + 10
    while dask_session.client.futures and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not dask_session.client.futures


def test_an_error_of_the_data_comes_back_as_it_is(dask_session):
    with pytest.raises(DataError, match="row 3 is bad; mend it"):
        list(dask_session.each(1)(refuse, [Piece(number) for number in range(10)]))


def test_any_other_error_is_a_sentence(dask_session):
    with pytest.raises(ClusterError, match=r"failed on a worker \(RuntimeError: 'no sentence'"):
        list(dask_session.each(1)(break_off, [Piece(0)]))


@pytest.mark.parametrize("where", ["turn", "threads", "workers"])
def test_every_task_is_reported_with_the_total_so_far(where, dask_session):
    each = {"turn": in_turn, "threads": InThreads(2), "workers": dask_session.each(1)}[where]
    events = []
    watched = WatchedPasses(each, events.append)
    assert list(watched(doubled, [Piece(0), Piece(1)])) == [0, 2]
    assert list(watched(doubled, [Piece(2)])) == [4]
    assert [(event.stage, event.done, event.total) for event in events] == [
        ("ingest", 1, 2), ("ingest", 2, 2), ("ingest", 3, 3),
    ]  # fmt: skip
    pids = dask_session.pids() if where == "workers" else [os.getpid()]
    assert all(event.pid in pids and event.seconds >= 0 for event in events)


def test_trouble_of_any_worker_is_told(dask_session):
    assert dask_session.trouble(os.getpid) is None
    assert "no sentence" in dask_session.trouble(broken)


def broken():
    raise RuntimeError("no sentence")
