"""Tiles in the memory of a device, where they stay from task to task as long as there is room."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from l3ae_dist.errors import BudgetError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.staging import Event, Tensor
from l3ae_dist.linalg.torch_kernels import TorchKernels
from l3ae_dist.storage.forked import in_children
from l3ae_dist.storage.tile_cache import TileCache
from l3ae_dist.storage.tile_reader import TileReader, path_of
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest

# What processes leave of the memory of a device, and of what is free on it: for their libraries, and for what
# an allocator wastes.
_RESERVED_SHARE = 0.1
# Tiles that a kernel makes on a device beside those it is given: a product before it is added, an inverse.
TEMPORARY_TILES = 3
# Threads that read and copy; and as many that copy and write. The cores have nothing else to do.
MOST_IO_THREADS = 8


def io_threads() -> int:
    """Return the threads that read tiles for a device, which are as many as those that write."""
    return max(2, min(MOST_IO_THREADS, (os.cpu_count() or 2) // 2))


@dataclass(eq=False)
class DeviceTile:
    """A tile on the device, and what has to have happened before it holds its values."""

    tile: Tensor
    made: Event = None


class DeviceTiles:
    """Reads tiles into the memory of a device, and keeps them there; safe for several tasks at once.

    Parameters
    ----------
    reader
        Reads them from the store, and keeps what it can in the memory of the process.
    kernels
        Of the device.
    """

    def __init__(self, reader: TileReader, kernels: TorchKernels) -> None:
        self._reader, self._kernels = reader, kernels
        self._cache: TileCache[DeviceTile] = TileCache()
        self._renew()
        in_children(self._renew)

    def _renew(self) -> None:
        self._usable = self._divided = 0
        self._pins: tuple[str, frozenset[str]] = ("", frozenset())
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(io_threads(), thread_name_prefix="device-read")

    def note_free(self) -> None:
        """Note what is free on the device before it holds tiles, for limits that nobody sets."""
        if not self._usable:
            free, total = self._kernels.memory_bytes()
            self._usable, self._divided = (int((1 - _RESERVED_SHARE) * size) for size in (free, total))

    def resize(self, limit: int, beside: int, sharers: int = 1) -> None:
        """Set what the device may hold.

        Parameters
        ----------
        limit
            Bytes of its memory that may be used; 0 for nine tenths of the device by the number of workers on
            it, or of what is free where that is less.
        beside
            Bytes of them that are not for tiles that are kept: those at work.
        sharers
            Workers that divide the device among them.

        Raises
        ------
        BudgetError
            Where the tiles at work alone are more.
        """
        usable = limit or self._share(sharers)
        if 0 < usable < beside:
            shared = f" by each of the {sharers} workers on it" if sharers > 1 and not limit else ""
            raise BudgetError(
                f"tiles at work take {beside:,} bytes of the memory of {self._kernels.device} and "
                f"{usable:,} may be used{shared}; raise compute.device_memory if more is free, or lower "
                f"{'compute.workers, ' if shared else ''}compute.block or compute.tile_size."
            )
        with self._lock:
            self._cache.resize(max(0, usable - beside))

    def _share(self, sharers: int) -> int:
        """Return the bytes of one of several workers.

        The device is divided, not what is free on it: the others hold their shares already when a worker is
        started again, and what is free then is for it alone.
        """
        self.note_free()
        return min(self._usable, self._divided // sharers)

    def hold_only(self, solve: str, paths: frozenset[str]) -> None:
        """Give up the pinned tiles of other solves than this, and of other arrays of it.

        Parameters
        ----------
        solve, paths
            As for :meth:`~l3ae_dist.storage.tile_reader.TileReader.hold_only`.
        """
        with self._lock:
            if (solve, paths) != self._pins:
                same, self._pins = solve == self._pins[0], (solve, paths)
                self._cache.unpin(lambda key: same and path_of(key) in paths)

    def pin(self, request: TileRequest, held: DeviceTile) -> bool:
        """Hold a finished tile that is not written: here, or in the memory of the process.

        Parameters
        ----------
        request
            What it is read as.
        held
            The tile, which nobody changes any more.

        Returns
        -------
        False when neither has room.
        """
        self._kernels.wait(held.made)
        with self._lock:
            kept, _ = self._cache.pin(request.key, held, held.tile.nbytes)
        return kept or self._pin_on_host(request, held)

    def _pin_on_host(self, request: TileRequest, held: DeviceTile) -> bool:
        if not self._reader.has_room(request):
            return False
        copy = self._reader.blank(request)
        try:
            self._kernels.download(held.tile, copy.tile, held.made)
            return self._reader.pin(request, copy)
        finally:
            self._reader.release(copy)

    def clear(self) -> None:
        """Forget all tiles that are kept, and give their memory back to the device."""
        with self._lock:
            kept, self._cache = len(self._cache), TileCache(self._cache.limit)
        if kept:
            self._kernels.give_back()

    def cached(self, request: TileRequest) -> DeviceTile | None:
        """Return a tile that is kept."""
        with self._lock:
            return self._cache.get(request.key, request.stage, request.panel)

    def submit(self, request: TileRequest, count: ReadCount) -> "Future[DeviceTile]":
        """Start :meth:`load` in a reading thread."""
        return self._pool.submit(self.load, request, count)

    def load(self, request: TileRequest, count: ReadCount) -> DeviceTile:
        """Return a tile that is kept, or read it and keep it: here, or else where it is read from."""
        held = self.cached(request)
        if held is None:
            read_as = replace(request, stage=None, panel=None) if self._has_room(request) else request
            held = DeviceTile(self._read(read_as, request.array.dtype, count))
            if request.stage is not None:
                self.keep(request, held)
        return held

    def take(self, request: TileRequest, dtype: np.dtype[np.generic], count: ReadCount) -> DeviceTile:
        """Return a copy of a tile that the caller may overwrite.

        Parameters
        ----------
        request
            The tile.
        dtype
            Of the copy.
        count
            What was read is added to it.
        """
        once = replace(request, stage=None, panel=None)
        kept = self.cached(once)
        if kept is not None and request.array.dtype == dtype:
            return DeviceTile(self._kernels.copied(kept.tile))
        return DeviceTile(self._read(once, dtype, count))

    def keep(self, request: TileRequest, held: DeviceTile) -> None:
        """Keep a tile that nobody changes any more, if there is room."""
        with self._lock:
            self._cache.put(request.key, held, held.tile.nbytes, request.stage or "", request.panel)

    def release(self, item: DeviceTile) -> None:
        """Do nothing: the memory of a tensor is free when nobody refers to it."""

    @contextmanager
    def on_host(self, held: DeviceTile, request: TileRequest, *, kept: bool) -> Iterator[Array]:
        """Copy a finished tile into memory of the process for the ``with`` block.

        Parameters
        ----------
        held
            The tile.
        request
            What it is read as.
        kept
            Whether later tasks read the tile: the process keeps the copy where the device has no room, or
            other workers may ask for it.
        """
        copy = self._reader.blank(request)
        try:
            self._kernels.download(held.tile, copy.tile, held.made)
            yield copy.tile
        except BaseException:
            self._reader.release(copy)
            raise
        if kept and (self._reader.peers is not None or not self._has_room(request)):
            self._reader.keep(request, copy)
        else:
            self._reader.release(copy)

    def _has_room(self, request: TileRequest) -> bool:
        with self._lock:
            return self._cache.used + request.array.chunk_nbytes <= self._cache.limit

    def _read(self, request: TileRequest, dtype: np.dtype[np.generic], count: ReadCount) -> Tensor:
        source = self._reader.load(request, count)
        try:
            return self._kernels.upload(source.tile, dtype.name)
        finally:
            self._reader.release(source)
