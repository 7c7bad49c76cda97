"""Last pass: spilled pieces of a vector, one after the other, become its stored chunks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l3ae_dist.data.shuffle.each import Each
from l3ae_dist.data.shuffle.records import Slice
from l3ae_dist.data.shuffle.spills import Spills
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.open_blobs import open_blobs
from l3ae_dist.storage.root import WorkspaceRoot
from l3ae_dist.storage.vectors import create_vector

# Chunks that one task writes.
_CHUNKS = 16


@dataclass(frozen=True, slots=True)
class StoreTask:
    """Consecutive chunks of a stored vector.

    Parameters
    ----------
    url, durable
        The workspace, and whether writes are flushed to the disk.
    path
        Of the vector.
    dtype
        Of its entries.
    first, last
        The chunks ``first`` to ``last - 1``.
    slices
        Spilled entries of all of these chunks.
    spills
        Where the entries are.
    """

    url: str
    durable: bool
    path: str
    dtype: str
    first: int
    last: int
    slices: tuple[Slice, ...]
    spills: Spills


def store_chunks(task: StoreTask) -> int:
    """Write the chunks of a task, and return how many entries they have."""
    root = WorkspaceRoot(open_blobs(task.url, durable=task.durable))
    array = ChunkArray.open(root, task.path)
    values = np.empty(sum(map(len, task.slices)), task.dtype)
    first = 0
    for one in task.slices:
        task.spills.get_into(one.key, values[first : first + len(one)], one.start)
        first += len(one)
    start = array.row_range(task.first).start
    for i in range(task.first, task.last):
        rows = array.row_range(i)
        array.write(i, 0, values[rows.start - start : rows.stop - start, None])
    return len(values)


@dataclass(frozen=True, slots=True)
class VectorWriter:
    """A workspace whose vectors are written from spilled pieces.

    Parameters
    ----------
    workspace
        The workspace.
    spills
        Where the pieces are.
    each
        Runs the tasks.
    """

    workspace: WorkspaceRoot
    spills: Spills
    each: Each

    def write(self, path: str, dtype: str, pieces: Sequence[tuple[str, int]]) -> None:
        """Store pieces as a vector, which replaces what was there.

        Parameters
        ----------
        path
            Of the vector.
        dtype
            Of its entries.
        pieces
            Key and length of each spilled array.
        """
        array = create_vector(self.workspace, path, sum(length for _, length in pieces), dtype)
        durable = self.workspace.blobs.durable
        tasks = []
        for first in range(0, array.grid[0], _CHUNKS):
            last = min(first + _CHUNKS, array.grid[0])
            start, stop = array.row_range(first).start, array.row_range(last - 1).stop
            slices = _slices(pieces, start, stop)
            tasks.append(
                StoreTask(self.workspace.url, durable, path, dtype, first, last, slices, self.spills)
            )
        for _ in self.each(store_chunks, tasks):
            pass


def _slices(pieces: Sequence[tuple[str, int]], start: int, stop: int) -> tuple[Slice, ...]:
    """Return where the entries ``start`` to ``stop`` of all pieces together are."""
    found, first = [], 0
    for key, length in pieces:
        low, high = max(start - first, 0), min(stop - first, length)
        if low < high:
            found.append(Slice(key, low, high))
        first += length
    return tuple(found)
