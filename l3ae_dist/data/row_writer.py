"""Compressed sparse rows of any length: appended to local files, then stored as Zarr arrays."""

from pathlib import Path

import numpy as np

from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.vectors import write_vector
from l3ae_dist.storage.workspace import Workspace


class RowWriter:
    """A CSR matrix of which rows are appended to local files, then stored as arrays.

    Parameters
    ----------
    scratch
        Folder of the local files.
    name
        Of the files.
    weighted
        Whether the values are stored; else all of them are 1.
    """

    def __init__(self, scratch: Path, name: str, weighted: bool) -> None:
        self.counts: list[Array] = []
        self.nnz = 0
        self._weighted = weighted
        self._indices = scratch / f"{name}.indices"
        self._data = scratch / f"{name}.data"

    def append(self, counts: Array, indices: Array, data: Array) -> None:
        """Append rows.

        Parameters
        ----------
        counts
            (rows,) entries of each row.
        indices
            (entries,) their columns, ascending within a row.
        data
            (entries,) their values.
        """
        self.counts.append(counts)
        self.nnz += len(indices)
        with self._indices.open("ab") as file:
            indices.astype(np.int32).tofile(file)
        if self._weighted:
            with self._data.open("ab") as file:
                data.astype(np.float32).tofile(file)

    def store(self, workspace: Workspace, paths: layout.SparseRowPaths) -> None:
        """Store ``indptr``, ``indices`` and, when weighted, ``data``."""
        counts = np.concatenate(self.counts) if self.counts else np.empty(0, np.int64)
        write_vector(workspace, paths.indptr, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
        _store_file(workspace, paths.indices, self._indices, self.nnz, "int32")
        if self._weighted:
            _store_file(workspace, paths.data, self._data, self.nnz, "float32")


def _store_file(workspace: Workspace, path: str, file: Path, count: int, dtype: str) -> None:
    source = np.memmap(file, dtype, "r", shape=(count,)) if count else np.empty(0, dtype)
    write_vector(workspace, path, source)
