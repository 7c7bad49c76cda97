"""Reading tiles ahead of the arithmetic, into reused buffers, with a bounded cache.

One reader serves a worker process. While a kernel runs with the interpreter lock released, two
threads read and verify the next operands. What memory the budget leaves is a cache
(:mod:`l3ae_dist.storage.tile_cache`).
"""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage.chunks import TRAILER, ChunkArray
from l3ae_dist.storage.direct_io import aligned_buffer, aligned_size
from l3ae_dist.storage.tile_cache import TileCache

Key = tuple[str, str, int, int]

READ_THREADS = 2
# Entries read beyond the one in use; one hides a disk that reads a tile faster than a kernel runs.
READ_AHEAD = 1


@dataclass
class HeldTile:
    """A tile in memory: the buffer it lies in, how many use it now, and whether the cache holds it."""

    tile: Array
    buffer: npt.NDArray[np.uint8]
    users: int = 1
    cached: bool = False


@dataclass(frozen=True)
class TileRequest:
    """One tile to read.

    ``stage`` names the tasks that may read it again, None to read it once; ``panel`` the group of
    neighbouring tasks that all read it, None when they do not.
    """

    array: ChunkArray
    i: int
    j: int
    stage: str | None = None
    panel: object = None

    @property
    def key(self) -> Key:
        """Identity of the tile across arrays and workspaces."""
        return (self.array.workspace.url, self.array.path, self.i, self.j)


@dataclass
class ReadCount:
    """Bytes that one task really read, and the seconds its arithmetic waited for tiles."""

    bytes: int = 0
    waited: float = 0.0


class TileReader:
    """Prefetching reader with a cache of at most ``cache_bytes``; safe for several tasks at once."""

    def __init__(self, cache_bytes: int = 0) -> None:
        self._cache: TileCache[HeldTile] = TileCache(cache_bytes)
        self._free: dict[int, list[npt.NDArray[np.uint8]]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="tile-read")

    def resize(self, cache_bytes: int) -> None:
        """Set the cache's limit; what is over it is forgotten."""
        with self._lock:
            gone = self._cache.resize(cache_bytes)
            self._give_up(gone)
            if gone:
                self._free.clear()

    def stream(self, requests: Sequence[tuple[TileRequest, ...]], count: ReadCount) -> "TileStream":
        """Return an iterator over the tiles of each entry; reading starts now and stays one entry ahead."""
        return TileStream(self, requests, count)

    def take(self, request: TileRequest, dtype: np.dtype[Any], count: ReadCount) -> HeldTile:
        """Read a tile into memory that the caller may overwrite, and gives back.

        Parameters
        ----------
        request
            The tile.
        dtype
            Of the copy.
        count
            What was read is added to it.

        Returns
        -------
        The tile, for :meth:`keep` or :meth:`release`.
        """
        nbytes = request.array.chunk_nbytes // request.array.dtype.itemsize * dtype.itemsize
        if dtype == request.array.dtype and request.key not in self._cache:
            buffer = self._buffer(nbytes)
            tile = request.array.read(request.i, request.j, buffer)
            self._count(request, count)
            return HeldTile(tile, buffer)
        source = self.load(replace(request, stage=None, panel=None), count)
        buffer = self._buffer(nbytes)
        tile = buffer[:nbytes].view(dtype).reshape(request.array.chunks)
        rows, columns = source.tile.shape
        tile = tile[:rows, :columns]
        tile[...] = source.tile
        self.release(source)
        return HeldTile(tile, buffer)

    def keep(self, request: TileRequest, held: HeldTile) -> None:
        """Cache a tile that was just written, if there is room; the caller must not change it again."""
        held.tile.flags.writeable = False
        self._remember(request, held)
        self.release(held)

    def load(self, request: TileRequest, count: ReadCount) -> HeldTile:
        """Return the tile from the cache, or read it from the store; see :meth:`stream`."""
        with self._lock:
            cached = self._cache.get(request.key, request.stage, request.panel)
            if cached is not None:
                cached.users += 1
                return cached
        buffer = self._buffer(request.array.chunk_nbytes)
        tile = request.array.read(request.i, request.j, buffer)
        tile.flags.writeable = False
        self._count(request, count)
        held = HeldTile(tile, buffer)
        if request.stage is not None:
            self._remember(request, held)
        return held

    def release(self, item: HeldTile) -> None:
        """Give a tile back; the buffer of one that nobody uses and the cache does not hold is used again."""
        with self._lock:
            item.users -= 1
            self._recycle(item)

    def submit(self, request: TileRequest, count: ReadCount) -> "Future[HeldTile]":
        """Start :meth:`load` in a reading thread."""
        return self._pool.submit(self.load, request, count)

    def _buffer(self, nbytes: int) -> npt.NDArray[np.uint8]:
        needed = aligned_size(nbytes + TRAILER)
        with self._lock:
            free = self._free.get(needed)
            if free:
                return free.pop()
        return aligned_buffer(needed)

    def _recycle(self, item: HeldTile) -> None:
        if item.users == 0 and not item.cached:
            item.users = -1  # never twice
            self._free.setdefault(item.buffer.nbytes, []).append(item.buffer)

    def _remember(self, request: TileRequest, held: HeldTile) -> None:
        with self._lock:
            kept, gone = self._cache.put(
                request.key, held, held.buffer.nbytes, request.stage or "", request.panel
            )
            held.cached = kept
            self._give_up(gone)

    def _give_up(self, gone: list[HeldTile]) -> None:
        for item in gone:
            item.cached = False
            self._recycle(item)

    def _count(self, request: TileRequest, count: ReadCount) -> None:
        with self._lock:
            count.bytes += request.array.chunk_nbytes + 4


class TileStream:
    """Iterator over the tiles of each entry; a tile is read-only and valid until the next is asked for."""

    def __init__(
        self, reader: TileReader, requests: Sequence[tuple[TileRequest, ...]], count: ReadCount
    ) -> None:
        self._reader = reader
        self._count = count
        self._upcoming = iter(requests)
        self._waiting: deque[list[Future[HeldTile]]] = deque()
        self._submit()

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """Yield the tiles of one entry after the other; ends all reading when left early."""
        try:
            while self._waiting:
                asked = time.perf_counter()
                held = [future.result() for future in self._waiting.popleft()]
                self._count.waited += time.perf_counter() - asked
                self._submit()
                yield tuple(item.tile for item in held)
                for item in held:
                    self._reader.release(item)
        finally:
            for futures in self._waiting:
                for future in futures:
                    if not future.cancel() and future.exception() is None:
                        self._reader.release(future.result())

    def _submit(self) -> None:
        """Keep ``READ_AHEAD`` entries that have tiles on the way."""
        while sum(1 for futures in self._waiting if futures) < READ_AHEAD:
            entry = next(self._upcoming, None)
            if entry is None:
                return
            self._waiting.append([self._reader.submit(request, self._count) for request in entry])
