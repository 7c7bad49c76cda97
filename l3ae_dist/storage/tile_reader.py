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
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from l3ae_dist.errors import LostTileError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import TRAILER
from l3ae_dist.storage.direct_io import aligned_buffer, aligned_size
from l3ae_dist.storage.forked import in_children
from l3ae_dist.storage.local_copies import LocalCopies
from l3ae_dist.storage.tier_pace import TierPace
from l3ae_dist.storage.tile_cache import TileCache
from l3ae_dist.storage.tile_requests import HeldTile, Key, ReadCount, TileRequest

READ_THREADS = 2
# Entries read beyond the one in use; one hides a disk that reads a tile faster than a kernel runs.
READ_AHEAD = 1


class TilePeers(Protocol):
    """Other workers, which hold tiles in their memory."""

    def read(self, request: TileRequest, buffer: npt.NDArray[np.uint8]) -> tuple[Array, float] | None:
        """Read a tile from one of its holders into a buffer, verified as if it were read from the workspace.

        Returns
        -------
        The tile and the seconds that it took; None when no holder has it, answers in time, or answers with
        the right tile.
        """


class TileReader:
    """Prefetching reader with a cache of at most ``cache_bytes``; safe for several tasks at once."""

    def __init__(self, cache_bytes: int = 0) -> None:
        self.peers: TilePeers | None = None
        """Other workers to read from, where there are any."""
        self._copies: LocalCopies | None = None
        self._pace = TierPace()
        self._pins: tuple[str, frozenset[str]] = ("", frozenset())
        self._cache: TileCache[HeldTile] = TileCache(cache_bytes)
        self._free: dict[int, list[npt.NDArray[np.uint8]]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="tile-read")
        in_children(self._renew)

    def _renew(self) -> None:
        """Start again in a child of a fork, with the tiles in the cache, which both processes share."""
        self._pool = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="tile-read")
        if self._copies is not None:
            self._copies.abandon()
            self._copies = None
        if self._lock.locked():  # a thread that the child does not have was changing the cache
            self._lock, self._cache, self._free = threading.Lock(), TileCache(self._cache.limit), {}

    def resize(self, cache_bytes: int) -> None:
        """Set the cache's limit; what is over it is forgotten, and a lower one gives free memory back."""
        with self._lock:
            if cache_bytes < self._cache.limit:
                self._free.clear()
            self._give_back(self._cache.resize(cache_bytes))

    def copy_to(self, directory: str, limit: int) -> None:
        """Keep copies of tiles for which the cache has no room in a folder of a local disk.

        Parameters
        ----------
        directory, limit
            As of :class:`~l3ae_dist.storage.local_copies.LocalCopies`; none are kept where it is empty.
        """
        with self._lock:
            copies = self._copies
            if copies is not None and copies.directory == directory:
                copies.resize(limit)
                return
            self._copies = LocalCopies(directory, limit) if directory else None
        if copies is not None:
            copies.close()

    def hold_only(self, solve: str, paths: frozenset[str]) -> None:
        """Give up the pinned tiles of other solves than this, and of other arrays of it.

        Parameters
        ----------
        solve
            Identifies what the tiles are pinned for from now on.
        paths
            Of the arrays whose tiles stay.
        """
        with self._lock:
            if (solve, paths) != self._pins:
                same, self._pins = solve == self._pins[0], (solve, paths)
                self._give_back(self._cache.unpin(lambda key: same and path_of(key) in paths))

    def has_room(self, request: TileRequest) -> bool:
        """Tell whether a tile can be pinned now."""
        with self._lock:
            return (
                self._cache.pinned + aligned_size(request.array.chunk_nbytes + TRAILER) <= self._cache.limit
            )

    def pin(self, request: TileRequest, held: HeldTile) -> bool:
        """Hold a finished tile that is not written, if there is room; the caller must not change it again.

        Parameters
        ----------
        request
            What it is read as.
        held
            The tile, which the caller still has to release.
        """
        with self._lock:
            kept, gone = self._cache.pin(request.key, held, held.buffer.nbytes)
            if kept:
                held.tile.flags.writeable, held.cached = False, True
            self._give_up([one for one in gone if one is not held])
        return kept

    def stream(
        self, requests: Sequence[tuple[TileRequest, ...]], count: ReadCount, *, ahead: int = READ_AHEAD
    ) -> "TileStream":
        """Return an iterator over the tiles of each entry; reading starts now.

        Parameters
        ----------
        requests
            The tiles of each entry.
        count
            What is read is added to it.
        ahead
            Entries that are read beyond the one in use.
        """
        return TileStream(self, requests, count, ahead)

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
            return HeldTile(self._read(request, buffer, count), buffer)
        source = self.load(replace(request, stage=None, panel=None), count)
        buffer = self._buffer(nbytes)
        tile = buffer[:nbytes].view(dtype).reshape(request.array.chunks)
        rows, columns = source.tile.shape
        tile = tile[:rows, :columns]
        tile[...] = source.tile
        self.release(source)
        return HeldTile(tile, buffer)

    def blank(self, request: TileRequest) -> HeldTile:
        """Return memory for a tile, for :meth:`keep` or :meth:`release`; it holds anything."""
        array = request.array
        buffer = self._buffer(array.chunk_nbytes)
        rows, columns = array.valid_shape(request.i, request.j)
        tile = buffer[: array.chunk_nbytes].view(array.dtype).reshape(array.chunks)
        return HeldTile(tile[:rows, :columns], buffer)

    def keep(self, request: TileRequest, held: HeldTile) -> None:
        """Cache a tile that was just written, if there is room; the caller must not change it again."""
        held.tile.flags.writeable = False
        self._remember(request, held)
        self._copy(request, held)
        self.release(held)

    def cached(self, request: TileRequest) -> HeldTile | None:
        """Return the tile when it is in the cache, to be given back by :meth:`release`."""
        with self._lock:
            cached = self._cache.get(request.key, request.stage, request.panel)
            if cached is not None:
                cached.users += 1
            return cached

    def pinned(self, key: Key) -> HeldTile | None:
        """Return the tile when it is in the cache, for another process; :meth:`release` gives it back."""
        with self._lock:
            held = self._cache.get(key, None, None)
            if held is not None:
                held.users += 1
            return held

    def holds(self, key: Key) -> bool:
        """Tell whether a tile is in the cache now."""
        return key in self._cache

    def load(self, request: TileRequest, count: ReadCount) -> HeldTile:
        """Return the tile from the cache, or read it from a peer or the workspace; see :meth:`stream`."""
        cached = self.cached(request)
        if cached is not None:
            return cached
        buffer = self._buffer(request.array.chunk_nbytes)
        tile = self._read(request, buffer, count)
        tile.flags.writeable = False
        held = HeldTile(tile, buffer)
        if request.stage is not None:
            self._remember(request, held)
            self._copy(request, held)
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
            self._drop_free(needed)
        return aligned_buffer(needed)

    def _drop_free(self, nbytes: int) -> None:
        """Give the memory of free buffers back to the system, so that a new one of so many bytes adds none.

        Those that are free are of other sizes: of tiles that are read no more.
        """
        for size, buffers in self._free.items():
            while buffers and nbytes > 0:
                buffers.pop()
                nbytes -= size

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

    def _give_back(self, gone: list[HeldTile]) -> None:
        """Give up many tiles, and their memory: it may be needed in another size."""
        self._give_up(gone)
        if gone:
            self._free.clear()

    def _give_up(self, gone: list[HeldTile]) -> None:
        for item in gone:
            item.cached = False
            self._recycle(item)

    def _read(self, request: TileRequest, buffer: npt.NDArray[np.uint8], count: ReadCount) -> Array:
        """Read a tile from a worker that holds it or from the workspace, whichever was quicker of late."""
        nbytes = request.array.chunk_nbytes
        copied = self._from_copy(request, buffer, count)
        if copied is not None:
            return copied
        if request.holders and self.peers is not None and self._pace.prefers_peers():
            found = self.peers.read(request, buffer)
            if found is not None:
                tile, seconds = found
                self._pace.peers_took(seconds, nbytes)
                with self._lock:
                    count.bytes_from_peers += nbytes
                return tile
        if request.unwritten and is_lost(request):
            raise lost(request)
        started = time.perf_counter()
        tile = request.array.read(request.i, request.j, buffer)
        self._pace.workspace_took(time.perf_counter() - started, nbytes)
        with self._lock:
            count.bytes += nbytes + TRAILER
        return tile

    def _from_copy(
        self, request: TileRequest, buffer: npt.NDArray[np.uint8], count: ReadCount
    ) -> Array | None:
        """Read a tile from its copy on a local disk; None without one."""
        copies = self._copies
        if copies is None or not self._pace.prefers_copies():
            return None
        started = time.perf_counter()
        tile = copies.read(request, buffer)
        if tile is not None:
            nbytes = request.array.chunk_nbytes
            self._pace.copies_took(time.perf_counter() - started, nbytes)
            with self._lock:
                count.bytes_from_copies += nbytes
        return tile

    def _copy(self, request: TileRequest, held: HeldTile) -> None:
        """Copy a tile that the cache has no room for to a local disk, where reading it there is quicker."""
        copies = self._copies
        if copies is not None and not held.cached and self._pace.copies_are_quicker():
            copies.keep(request, held.tile)


def path_of(key: object) -> str:
    """Return the path of the array of a tile, from the key of its request."""
    assert isinstance(key, tuple)
    return str(key[1])


def is_lost(request: TileRequest) -> bool:
    """Tell whether a tile that may be in memory alone was never written; one that was may be damaged."""
    array, place = request.array, (request.i, request.j)
    return array.find_mark(*place) is None and place not in array.marked() | array.stored()


def lost(request: TileRequest) -> LostTileError:
    """Return the error that says that a tile is neither in memory nor in the workspace."""
    name = layout.name_of(request.array.path)
    return LostTileError(
        f"tile ({request.i}, {request.j}) of {name} was kept in memory alone, and the worker that held it "
        "has it no more"
    )


class TileStream:
    """Iterator over the tiles of each entry; a tile is read-only and valid until the next is asked for."""

    def __init__(
        self, reader: TileReader, requests: Sequence[tuple[TileRequest, ...]], count: ReadCount, ahead: int
    ) -> None:
        self._reader = reader
        self._count, self._ahead = count, ahead
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
        """Keep as many entries that have tiles on the way."""
        while sum(1 for futures in self._waiting if futures) < self._ahead:
            entry = next(self._upcoming, None)
            if entry is None:
                return
            self._waiting.append([self._reader.submit(request, self._count) for request in entry])
