"""Tiles that workers read from each other's memory, over the connections of their own Dask cluster.

A worker that runs tile tasks answers requests for tiles that its cache holds, and refuses others at once. It
sends the bytes that the workspace has. Whoever asked verifies them against the tile's done-mark, as after a
read from the workspace, and reads the workspace instead of every answer that fails.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from l3ae_dist.graphs.blocks import AnyTask
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.execute import TaskRecord, run_task
from l3ae_dist.graphs.holders import as_bits, tiles_known
from l3ae_dist.graphs.tile_memory import process_reader
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage.sent_chunks import accepted, pieces
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import Key, TileRequest
from l3ae_dist.units import MIB

if TYPE_CHECKING:
    from distributed import Worker
    from distributed.comm import Comm

Result = TypeVar("Result")
OPERATION = "l3ae_read_tile"
TOPIC = "l3ae-peer"
"""Topic of Dask's events under which a worker tells of a peer that sent a wrong tile."""
SENT_BYTES = 4 * MIB
"""Bytes of a tile that are sent at once, and copied where they belong before the next."""
SERVED = 1
"""Tiles that a worker sends at the same time, which it holds until they are sent."""
RECEIVED = 4
"""Tiles that a worker receives at the same time; what it needs meanwhile it reads from the workspace."""
PATIENCE_SECONDS = 2.0
"""Seconds that each step of an answer may take: to connect, to begin, and each piece."""
PASSED_OVER_SECONDS = 30.0
"""Seconds for which a peer that failed is not asked again."""
_FAMILY = "l3ae-bytes"
_log = logging.getLogger(__name__)


# ---- the side that serves


class TileServer:
    """Answers the requests of other workers for tiles of a cache.

    Parameters
    ----------
    reader
        Whose cache it is.
    """

    def __init__(self, reader: TileReader) -> None:
        self._reader = reader
        self._turn = asyncio.Semaphore(SERVED)

    async def serve(
        self,
        comm: "Comm",
        url: str,
        path: str,
        place: tuple[int, int],
        shape: tuple[int, int],
        chunks: tuple[int, int],
        dtype: str,
    ) -> object:
        """Send a tile in pieces, each once the one before has arrived, or say that it is not here.

        Parameters
        ----------
        comm
            Connection to the worker that asks.
        url, path, place
            Workspace, array, and row and column of the chunk.
        shape, chunks, dtype
            Rows and columns of the tile and of a whole chunk, and the dtype, that it must have.
        """
        from distributed import Status

        key = (url, path, *place)
        try:
            if not self._reader.holds(key):
                await _send(comm, [])
                return Status.dont_reply
            async with self._turn:
                await self._send_held(comm, key, shape, chunks, dtype)
        except (OSError, TimeoutError):  # whoever asked is gone, or stands still
            comm.abort()
        return Status.dont_reply

    async def _send_held(
        self, comm: "Comm", key: Key, shape: tuple[int, int], chunks: tuple[int, int], dtype: str
    ) -> None:
        """Send a tile if it is the right one, and hold it until then, unless what is sent is a copy."""
        held = self._reader.pinned(key)
        parts: Sequence[memoryview] = []
        try:
            if held is not None and held.tile.shape == shape and held.tile.dtype.str == dtype:
                parts = pieces(held.tile, chunks, SENT_BYTES)
            if held is not None and shape[1] < chunks[1]:
                self._reader.release(held)
                held = None
            await _send(comm, parts)
        finally:
            if held is not None:
                self._reader.release(held)


async def _send(comm: "Comm", parts: Sequence[memoryview]) -> None:
    from distributed.protocol.serialize import Serialized

    await comm.write({"found": bool(parts)})
    for piece in parts:
        # as it lies in memory: neither copied, nor compressed, nor pickled
        await comm.write({"piece": Serialized({"serializer": _FAMILY}, [piece])})
        # sooner than the next in line gives this worker up
        await asyncio.wait_for(comm.read(), PATIENCE_SECONDS / 2)


# ---- the side that asks


class PeerReads:
    """Reads tiles from other workers; called by the reading threads of a worker.

    Parameters
    ----------
    worker
        The worker that reads, whose event loop, connections and certificates are used.
    """

    def __init__(self, worker: "Worker") -> None:
        from distributed.protocol import register_serialization_family

        register_serialization_family(_FAMILY, None, _loaded)
        self._worker = worker
        self._loop: asyncio.AbstractEventLoop = worker.loop.asyncio_loop
        self._asked: Counter[str] = Counter()
        self._failed: dict[str, float] = {}
        self._lock = threading.Lock()
        self._receiving = threading.Semaphore(RECEIVED)

    def read(self, request: TileRequest, buffer: npt.NDArray[np.uint8]) -> tuple[Array, float] | None:
        """Read a tile from the first of its holders that has it.

        Parameters
        ----------
        request
            The tile.
        buffer
            Where it goes.

        Returns
        -------
        The tile, and the seconds that it took once there was a connection; None when it must be read from the
        workspace.
        """
        if not self._receiving.acquire(blocking=False):
            return None
        try:
            return self._first(request, buffer)
        finally:
            self._receiving.release()

    def _first(self, request: TileRequest, buffer: npt.NDArray[np.uint8]) -> tuple[Array, float] | None:
        """Read a tile from the first of its holders that has it and sends what its done-mark names."""
        for address in self._in_order(request.holders):
            with self._busy(address):
                seconds = self._fetch(address, request, buffer)
            if seconds is None:
                continue
            started = time.perf_counter()
            tile = accepted(request, buffer)
            if tile is not None:
                return tile, seconds + time.perf_counter() - started
            self._pass_over(address)
            self._worker.log_event(
                TOPIC, {"peer": address, "path": request.array.path, "place": request.key[2:]}
            )
        return None

    def _in_order(self, holders: Sequence[str]) -> list[str]:
        """Order the holders by the requests that they have from here, without those that failed lately."""
        now, own = time.monotonic(), self._worker.address
        with self._lock:
            able = [one for one in holders if one != own and self._failed.get(one, 0.0) <= now]
            return sorted(able, key=lambda address: self._asked[address])

    @contextlib.contextmanager
    def _busy(self, address: str) -> Iterator[None]:
        with self._lock:
            self._asked[address] += 1
        try:
            yield
        finally:
            with self._lock:
                self._asked[address] -= 1

    def _pass_over(self, address: str) -> None:
        with self._lock:
            self._failed[address] = time.monotonic() + PASSED_OVER_SECONDS

    def _fetch(self, address: str, request: TileRequest, buffer: npt.NDArray[np.uint8]) -> float | None:
        """Fill a buffer with a chunk; returns the seconds, None when the peer has no such tile or fails."""
        try:
            comm = self._wait(self._worker.rpc.connect(address))
            started, whole = time.perf_counter(), False
            try:
                found = self._ask(comm, request)
                if found:
                    self._receive(comm, buffer[: request.array.chunk_nbytes])
                whole = True
            finally:
                self._loop.call_soon_threadsafe(self._give_back, address, comm, whole)
        except Exception as error:  # whatever a peer that dies, stands still or speaks nonsense leads to
            _log.debug("cannot read a tile from %s", address, exc_info=error)
            self._pass_over(address)
            return None
        return time.perf_counter() - started if found else None

    def _ask(self, comm: "Comm", request: TileRequest) -> bool:
        array = request.array
        message = {
            "op": OPERATION,
            "url": array.workspace.url,
            "path": array.path,
            "place": (request.i, request.j),
            "shape": array.valid_shape(request.i, request.j),
            "chunks": array.chunks,
            "dtype": array.dtype.str,
        }
        self._wait(comm.write(message))
        return self._answer(comm)["found"] is True

    def _receive(self, comm: "Comm", chunk: npt.NDArray[np.uint8]) -> None:
        done = 0
        while done < chunk.size:
            piece = self._answer(comm)["piece"]
            assert isinstance(piece, np.ndarray)
            if not 0 < piece.size <= chunk.size - done:
                raise ValueError(f"a piece has {piece.size} bytes")
            chunk[done : done + piece.size] = piece
            done += piece.size
            self._wait(comm.write(True))

    def _answer(self, comm: "Comm") -> dict[str, object]:
        answer = self._wait(comm.read(deserializers=[_FAMILY]))
        if not isinstance(answer, dict):
            raise TypeError("an answer is no message")
        return answer

    def _give_back(self, address: str, comm: "Comm", whole: bool) -> None:
        """Let a connection be used again, unless an answer on it was cut short."""
        if not whole:
            comm.abort()
        self._worker.rpc.reuse(address, comm)

    def _wait(self, step: "Coroutine[object, object, Result]") -> Result:
        """Run a step of a conversation in the event loop of the worker, for a bounded time."""
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(step, PATIENCE_SECONDS), self._loop)
        try:
            return future.result(2 * PATIENCE_SECONDS)
        except BaseException:
            future.cancel()
            raise


# ---- joining

_JOINING = threading.Lock()


def run_among_peers(task: AnyTask, context: StageContext) -> list[TaskRecord]:
    """Run a tile task on a Dask worker that reads tiles from its peers and serves its own.

    Returns
    -------
    As of :func:`~l3ae_dist.graphs.execute.run_task`, with the worker's address, and in the first record which
    of the tiles that the task made and read the worker holds afterwards.
    """
    address = join_peers()
    return with_account(run_task(task, context), task, context, process_reader(), address)


def with_account(
    records: list[TaskRecord], task: AnyTask, context: StageContext, reader: TileReader, address: str
) -> list[TaskRecord]:
    """Return the records of a finished task with what its worker holds now.

    Parameters
    ----------
    records, task, context
        Of the task.
    reader, address
        Of the worker.
    """
    url = context.workspace().url
    kept = [reader.holds((url, context.paths[ref.array], ref.i, ref.j)) for ref in tiles_known(task)]
    first, *others = (replace(record, worker=address) for record in records)
    return [replace(first, kept=as_bits(kept)), *others]


def join_peers() -> str:
    """Have the worker of this task serve its tiles and read those of others; returns its address."""
    from distributed import get_worker

    worker, reader = get_worker(), process_reader()
    with _JOINING:
        if OPERATION not in worker.handlers:
            reader.peers = PeerReads(worker)
            worker.handlers[OPERATION] = TileServer(reader).serve
    return str(worker.address)


def _loaded(header: object, frames: Sequence[memoryview]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(frames) if len(frames) > 1 else frames[0], np.uint8)
