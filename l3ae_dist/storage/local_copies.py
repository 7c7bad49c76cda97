"""Copies of tiles in files of a fast local disk, for which a worker's memory has no room.

They spare reads of a workspace that is slower than that disk, such as an object store, and the network. A
copy is written when a tile was read or made that will be read again, and is checked by its CRC32C when read.
What the files take is bounded; they are deleted with the process, or swept by the next one when it is killed.
"""

import contextlib
import logging
import os
import shutil
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import shown
from l3ae_dist.storage import crc32c
from l3ae_dist.storage.direct_io import aligned_size, read_direct, write_new
from l3ae_dist.storage.payload import checksum, padded
from l3ae_dist.storage.scratch import held_folder
from l3ae_dist.storage.tile_cache import TileCache
from l3ae_dist.storage.tile_requests import Key, TileRequest

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Copy:
    """A file, the CRC32C of its bytes, and whether it is complete."""

    path: Path
    crc: int = 0
    ready: bool = False


class LocalCopies:
    """At most ``limit`` bytes of copies in a folder of their own; safe for several threads at once.

    Parameters
    ----------
    directory
        In which the folder is made, on a fast disk of this machine.
    limit
        Bytes of the files.

    Raises
    ------
    ConfigError
        When no folder can be made there.
    """

    def __init__(self, directory: str, limit: int) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._serial, self._full = 0, False
        self._cache: TileCache[_Copy] = TileCache(limit)
        self._folder, descriptor = _made(directory)
        self._end = weakref.finalize(self, _remove, self._folder, descriptor)

    def resize(self, limit: int) -> None:
        """Set the limit; all files are deleted when they are over it, and a full disk takes no more."""
        with self._lock:
            gone = self._cache.resize(min(limit, self._cache.limit) if self._full else limit)
        self._delete(gone)

    def close(self) -> None:
        """Delete all files."""
        self._end()

    def abandon(self) -> None:
        """Leave the files to the process that this one was forked from."""
        self._end.detach()

    def read(self, request: TileRequest, buffer: npt.NDArray[np.uint8]) -> Array | None:
        """Read a tile into a buffer.

        Parameters
        ----------
        request
            The tile, and who reads it again.
        buffer
            Result of :meth:`ChunkArray.buffer`.

        Returns
        -------
        A view of the buffer, as of :meth:`ChunkArray.read`; None when there is no copy, or not the one that
        was written.
        """
        with self._lock:
            copy = self._cache.get(request.key, request.stage, request.panel)
        if copy is None or not copy.ready:
            return None
        array = request.array
        try:
            length = _read(copy.path, buffer, array.chunk_nbytes)
        except OSError:  # deleted meanwhile, or a disk that fails
            return None
        if length != array.chunk_nbytes or crc32c.value(buffer[:length]) != copy.crc:
            copy.ready = False
            _log.warning("the copy %s of a tile is damaged; the tile is read from the workspace", copy.path)
            return None
        rows, columns = array.valid_shape(request.i, request.j)
        tile: Array = buffer[:length].view(array.dtype).reshape(array.chunks)
        return tile[:rows, :columns]

    def keep(self, request: TileRequest, tile: Array) -> None:
        """Write a copy of a tile, if there is room and none yet.

        Parameters
        ----------
        request
            The tile, and who reads it again.
        tile
            The rows and columns of the chunk inside the array.
        """
        array, key = request.array, request.key
        with self._lock:
            if key in self._cache:
                return
            self._serial += 1
            copy = _Copy(self._folder / str(self._serial))
            kept, gone = self._cache.put(
                key, copy, aligned_size(array.chunk_nbytes), request.stage or "", request.panel
            )
        self._delete(gone)
        if not kept:
            return
        parts = padded(tile, array.chunks, array.dtype)
        copy.crc = checksum(parts)
        try:
            os.close(write_new(copy.path, [part.reshape(-1).view(np.uint8).data for part in parts], 0o600))
        except OSError as error:  # a full disk: what is there serves on
            _log.warning("a tile could not be copied to %s: %s", self._folder, error)
            self._forget(key, copy)
            return
        with self._lock:
            copy.ready = self._cache.get(key, None, None) is copy
        if not copy.ready:  # others took its place while it was written
            self._delete([copy])

    def _forget(self, key: Key, copy: _Copy) -> None:
        """Take out a copy that could not be written, and write no more than there is now."""
        with self._lock:
            if self._cache.get(key, None, None) is copy:
                self._cache.drop(key)
            self._cache.limit, self._full = self._cache.used, True
        self._delete([copy])

    def _delete(self, gone: list[_Copy]) -> None:
        for copy in gone:
            with contextlib.suppress(OSError):
                copy.path.unlink()


def local_bytes_s(directory: str, nbytes: int, files: int = 4) -> float:
    """Measure the bytes a second that files of a folder are read at; they were just written.

    Parameters
    ----------
    directory
        As of :class:`LocalCopies`.
    nbytes, files
        Size of a file, and their number.
    """
    folder, descriptor = _made(directory)
    try:
        block = np.ones(aligned_size(nbytes), np.uint8)
        for number in range(files):
            os.close(write_new(folder / str(number), [block.data], 0o600))
        started = time.perf_counter()
        for number in range(files):
            _read(folder / str(number), block, block.nbytes)
        return files * block.nbytes / (time.perf_counter() - started)
    finally:
        _remove(folder, descriptor)


def _made(directory: str) -> tuple[Path, int]:
    """Make a folder of this process in a directory; a sentence says why not."""
    try:
        return held_folder("tiles", directory)
    except OSError as error:
        raise ConfigError(
            f"compute.local_directory is {shown(directory)}, where no folder can be made "
            f"({error.strerror or error}); name a folder that every worker can write to, or leave it out"
        ) from error


def _read(path: Path, buffer: npt.NDArray[np.uint8], nbytes: int) -> int:
    """Read a file past the page cache where possible; return its length."""
    length = read_direct(path, buffer.data)
    if length is not None:
        return length
    with path.open("rb", buffering=0) as file:
        return file.readinto(buffer[:nbytes].data) or 0


def _remove(folder: Path, descriptor: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.close(descriptor)
