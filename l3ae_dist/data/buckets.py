"""Records spilled to local disk by block, so that a log larger than memory is sorted block by block."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from l3ae_dist.linalg.arrays import Array

RECORD = np.dtype([("user", "<i8"), ("item", "<i8"), ("weight", "<f8"), ("time", "<f8"), ("split", "i1")])


class Buckets:
    """Append-only files of :data:`RECORD`, one for each block."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder / name
        self._folder.mkdir(parents=True, exist_ok=True)

    def append(self, blocks: Array, records: Array) -> None:
        """Append each record to the file of its block."""
        order = np.argsort(blocks, kind="stable")
        blocks, records = blocks[order], records[order]
        cuts = np.flatnonzero(np.r_[True, blocks[1:] != blocks[:-1], True]) if len(blocks) else [0]
        for first, last in pairwise(int(cut) for cut in cuts):
            with self._path(int(blocks[first])).open("ab") as file:
                records[first:last].tofile(file)

    def replace(self, block: int, records: Array) -> None:
        """Replace the content of one block."""
        records.tofile(self._path(block))

    def read(self, block: int) -> Array:
        """Return all records of one block."""
        path = self._path(block)
        return np.fromfile(path, RECORD) if path.exists() else np.empty(0, RECORD)

    def iterate(self, count: int) -> Iterator[Array]:
        """Yield the records of each of the blocks 0 to ``count - 1``."""
        for block in range(count):
            yield self.read(block)

    def _path(self, block: int) -> Path:
        return self._folder / str(block)


def merge_duplicates(records: Array, weighted: bool) -> Array:
    """Merge records of equal user and item: weights summed, latest time, train before valid before test."""
    if not len(records):
        return records
    order = np.lexsort((records["split"], records["item"], records["user"]))
    records = records[order]
    new = np.r_[True, (np.diff(records["user"]) != 0) | (np.diff(records["item"]) != 0)]
    starts = np.flatnonzero(new)
    merged = records[starts].copy()
    merged["weight"] = np.add.reduceat(records["weight"], starts) if weighted else 1.0
    merged["time"] = np.maximum.reduceat(records["time"], starts)
    return merged
