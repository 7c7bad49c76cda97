"""Tiles read from another worker: the bits of the workspace, or nothing."""

import asyncio
import time

import numpy as np
import pytest
from clocks import set_monotonic

from l3ae_dist.runtime import peer_reads
from l3ae_dist.runtime.peer_reads import OPERATION, PeerReads, TileServer
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.done_marks import DoneMarks
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask
TILE, N = 16, 40
# whole, cut in rows and columns, cut in rows, cut in columns
PLACES = [(0, 0), (2, 2), (2, 0), (0, 2)]


@pytest.fixture(scope="module")
def workers():
    """Two Dask workers in this process, which speak TCP to each other."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=None
        ) as own,
        Client(own),
    ):
        yield list(own.workers.values())


@pytest.fixture
def array(tmp_path):
    ws = Workspace.create(str(tmp_path / "w"))
    array = ChunkArray.create(ws, "a", shape=(N, N), chunks=(TILE, TILE), dtype="float64")
    values = np.random.default_rng(0).standard_normal((N, N))
    for i in range(3):
        for j in range(3):
            rows, columns = array.valid_shape(i, j)
            array.write(i, j, values[i * TILE :, j * TILE :][:rows, :columns])
    return array


@pytest.fixture
def holder(workers, monkeypatch):
    """The cache of the second worker, which serves it."""
    reader = TileReader(2**20)
    worker = workers[1]
    reader.server = TileServer(reader)
    monkeypatch.setitem(worker.handlers, OPERATION, reader.server.serve)
    reader.address = worker.address
    return reader


@pytest.fixture
def peers(workers, monkeypatch):
    monkeypatch.setattr(peer_reads, "PATIENCE_SECONDS", 60.0)  # of a machine that has much to do
    told = []
    monkeypatch.setattr(workers[0], "log_event", lambda topic, message: told.append(message))
    reads = PeerReads(workers[0])
    reads.told = told
    return reads


def hold(reader, array, i, j):
    reader.release(reader.load(TileRequest(array, i, j, "stage"), ReadCount()))


def ask(peers, reader, array, i=0, j=0, crc=None):
    buffer = array.buffer()
    buffer[:] = 255
    found = peers.read(TileRequest(array, i, j, "stage", holders=(reader.address,), crc=crc), buffer)
    return None if found is None else found[0]


@pytest.mark.parametrize("size", [2**20, 100])
@pytest.mark.parametrize("place", PLACES)
def test_a_tile_of_a_peer_has_the_bits_of_the_workspace(array, holder, peers, monkeypatch, place, size):
    monkeypatch.setattr(peer_reads, "SENT_BYTES", size)
    hold(holder, array, *place)
    tile = ask(peers, holder, array, *place)
    assert np.array_equal(tile, array.read(*place))
    deadline = time.monotonic() + 60
    held = holder.pinned((array.workspace.url, "a", *place))
    while held.users > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert held.users == 1  # nobody's but ours


def test_a_tile_that_was_computed_into_a_reused_buffer_is_sent_with_zeros_beyond_the_edge(
    array, holder, peers
):
    request = TileRequest(array, 2, 2, "stage")
    held = holder.blank(request)
    held.buffer[:] = 255
    held.tile[...] = array.read(2, 2)
    holder.keep(request, held)
    assert np.array_equal(ask(peers, holder, array, 2, 2), array.read(2, 2))


def test_a_peer_that_does_not_hold_a_tile_says_so_and_is_asked_again(array, holder, peers):
    assert ask(peers, holder, array) is None
    hold(holder, array, 0, 0)
    assert ask(peers, holder, array) is not None


def test_a_peer_that_is_sending_says_at_once_what_it_does_not_hold(array, holder, peers):
    holder.server._turn = asyncio.Semaphore(0)
    assert ask(peers, holder, array) is None
    holder.server._turn = asyncio.Semaphore(1)
    hold(holder, array, 0, 0)
    assert ask(peers, holder, array) is not None  # it did not count as a failure


def test_a_tile_of_another_workspace_shape_or_dtype_is_not_sent(tmp_path, array, holder, peers):
    hold(holder, array, 0, 0)
    for name, chunks, dtype in (("w2", TILE, "float64"), ("w", TILE // 2, "float64"), ("w", TILE, "float32")):
        ws = Workspace.create(str(tmp_path / name))
        other = ChunkArray(ws, "a", (N, N), (chunks, chunks), dtype)
        assert ask(peers, holder, other) is None


def test_a_tile_of_another_run_is_refused_and_its_sender_is_passed_over(array, holder, peers):
    request = TileRequest(array, 0, 0, "stage")
    held = holder.blank(request)
    held.tile[...] = array.read(0, 0) + 1
    holder.keep(request, held)
    hold(holder, array, 1, 1)
    assert ask(peers, holder, array) is None
    assert [told["place"] for told in peers.told] == [(0, 0)]
    assert ask(peers, holder, array, 1, 1) is None  # its memory may be bad


def test_a_chunk_without_a_done_mark_is_refused(array, holder, peers):
    hold(holder, array, 0, 0)
    array.discard(0, 0)
    assert ask(peers, holder, array) is None


def test_the_store_is_not_asked_for_a_done_mark_that_the_client_has_told(array, holder, peers, monkeypatch):
    hold(holder, array, 0, 0)
    crc = array.find_mark(0, 0).crc
    expected = array.read(0, 0)
    monkeypatch.setattr(DoneMarks, "agrees", lambda self, mark: False)
    assert np.array_equal(ask(peers, holder, array, crc=crc), expected)
    assert ask(peers, holder, array, crc=crc ^ 1) is None


async def _no_answer(comm, **message):
    await asyncio.sleep(3)


async def _long_piece(comm, **message):
    from distributed.protocol.serialize import Serialized

    await comm.write({"found": True})
    await comm.write({"piece": Serialized({"serializer": "l3ae-bytes"}, [bytes(10**6)])})
    return peer_reads_status()


async def _pickled(comm, **message):
    from distributed.protocol import to_serialize

    await comm.write({"found": True})
    await comm.write({"piece": to_serialize(np.zeros(TILE))})
    return peer_reads_status()


async def _end(comm, **message):
    comm.abort()
    return peer_reads_status()


def peer_reads_status():
    from distributed import Status

    return Status.dont_reply


@pytest.mark.parametrize("handler", [_no_answer, _long_piece, _pickled, _end, None])
def test_whatever_a_peer_does_wrong_it_is_passed_over_for_a_while(
    array, workers, holder, peers, monkeypatch, handler
):
    hold(holder, array, 0, 0)
    serve = workers[1].handlers[OPERATION]
    monkeypatch.setitem(workers[1].handlers, OPERATION, handler)
    if handler is None:
        monkeypatch.delitem(workers[1].handlers, OPERATION)
    if handler is _no_answer:
        monkeypatch.setattr(peer_reads, "PATIENCE_SECONDS", 0.2)
    assert ask(peers, holder, array) is None
    monkeypatch.setattr(peer_reads, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setitem(workers[1].handlers, OPERATION, serve)
    assert ask(peers, holder, array) is None
    set_monotonic(monkeypatch, peer_reads, lambda: 10**9)
    assert ask(peers, holder, array) is not None


def test_a_peer_that_is_gone_is_passed_over(array, holder, peers, monkeypatch):
    monkeypatch.setattr(peer_reads, "PATIENCE_SECONDS", 0.2)
    holder.address = "tcp://127.0.0.1:1"
    assert ask(peers, holder, array) is None


def test_a_worker_that_receives_enough_reads_the_rest_from_the_workspace(array, holder, peers):
    hold(holder, array, 0, 0)
    for _ in range(peer_reads.RECEIVED):
        peers._receiving.acquire()
    assert ask(peers, holder, array) is None
