"""One-dimensional arrays with checked chunks, read by ranges."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from l3ae_dist.errors import DamagedTileError, StageMissingError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.damage_notes import note_damage
from l3ae_dist.storage.root import WorkspaceRoot
from l3ae_dist.storage.workspace import Workspace

# Entries of a chunk: a read of a few rows reads one chunk whole.
_CHUNK = 1 << 18
# Chunks of a long range that are read at once: an object store answers late, but to many.
_AT_ONCE = 8


class Vector:
    """A stored 1-D array; ``vector[start:stop]`` reads and verifies the chunks of that range alone.

    Parameters
    ----------
    workspace, path
        Where :func:`write_vector` put it.

    Raises
    ------
    DamagedTileError
        When the array is gone, and from reads when a chunk of the range is missing or fails its CRC32C.
    """

    def __init__(self, workspace: Workspace, path: str) -> None:
        self._chunks = open_finished(workspace, path)
        self.shape = (self._chunks.shape[0],)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Array:
        start, stop, _ = rows.indices(len(self))
        out: Array = np.empty(max(0, stop - start), self._chunks.dtype)
        if not len(out):
            return out
        step = self._chunks.chunks[0]

        def copy(i: int) -> None:
            first, last = max(start, i * step), min(stop, (i + 1) * step)
            chunk = self._chunks.read(i, 0)[:, 0]
            out[first - start : last - start] = chunk[first - i * step : last - i * step]

        chunks = range(start // step, -(-stop // step))
        if len(chunks) == 1:
            copy(chunks[0])
            return out
        with ThreadPoolExecutor(min(_AT_ONCE, len(chunks))) as pool:
            list(pool.map(copy, chunks))
        return out


def write_vector(workspace: Workspace, path: str, values: Array) -> None:
    """Store a 1-D numeric array, each chunk with its done-mark.

    Parameters
    ----------
    workspace, path
        Where; what was there is replaced.
    values
        (length,) numbers.
    """
    array = create_vector(workspace, path, len(values), values.dtype)
    for i in range(array.grid[0]):
        array.write(i, 0, np.asarray(values[array.row_range(i)])[:, None])


class VectorStream:
    """A vector that is written in pieces of any length, one after the other.

    Parameters
    ----------
    workspace, path
        Where; what was there is replaced.
    length, dtype
        Number and type of its entries.
    """

    def __init__(self, workspace: WorkspaceRoot, path: str, length: int, dtype: npt.DTypeLike) -> None:
        self._array = create_vector(workspace, path, length, dtype)
        self._held: list[Array] = []
        self._size = self._written = 0

    def add(self, values: Array) -> None:
        """Take the next entries, (length,); whole chunks are written."""
        self._held.append(values)
        self._size += len(values)
        if self._size >= self._array.chunks[0]:
            self._write(self._size // self._array.chunks[0])

    def end(self) -> None:
        """Write the last chunk."""
        if self._size:
            self._write(1)

    def _write(self, chunks: int) -> None:
        joined, step = np.concatenate(self._held).astype(self._array.dtype, copy=False), self._array.chunks[0]
        for start in range(0, chunks * step, step):
            self._array.write(self._written, 0, joined[start : start + step, None])
            self._written += 1
        left = joined[chunks * step :].copy()
        self._held, self._size = [left], len(left)


def create_vector(workspace: WorkspaceRoot, path: str, length: int, dtype: npt.DTypeLike) -> ChunkArray:
    """Create a 1-D array without chunks, which are written one by one.

    Parameters
    ----------
    workspace, path
        Where; what was there is replaced.
    length, dtype
        Number and type of its entries.
    """
    # stored chunks are whole: a short vector has a short one
    chunk = min(_CHUNK, max(1, length))
    workspace.delete(path)
    workspace.create_array(path, shape=(length,), chunks=(chunk,), dtype=dtype)
    return ChunkArray.open(workspace, path)


def open_finished(workspace: Workspace, path: str) -> ChunkArray:
    """Open an array of a finished stage; one that is gone is damage.

    Raises
    ------
    DamagedTileError
        When there is none; the next run makes it again.
    """
    try:
        return ChunkArray.open(workspace, path)
    except StageMissingError as error:
        raise missing_array(workspace, path) from error


def missing_array(workspace: Workspace, path: str) -> DamagedTileError:
    """Return the error for an array of a finished stage that is gone, and note it for the next run."""
    note_damage(workspace, path, -1, -1, "has no array")
    return DamagedTileError(f"{path} is missing from {workspace.url}; {layout.remedy(path)}.", path=path)
