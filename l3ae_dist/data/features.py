"""Item features by rows: dense embeddings or sparse multi-hot words."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.linalg.arrays import Array, Matrix
from l3ae_dist.storage import layout
from l3ae_dist.storage.rows import read_rows
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.vectors import Vector, open_finished
from l3ae_dist.storage.workspace import Workspace

_STEP = 4096


class SparseRows:
    """An n x d binary matrix as compressed rows: ``indptr`` and ``indices`` below ``path``."""

    def __init__(self, workspace: Workspace, path: str) -> None:
        paths = layout.SparseRowPaths(path)
        self._indptr = Vector(workspace, paths.indptr)
        self._indices = Vector(workspace, paths.indices)
        stats = workspace.require_stage(Stage.WORDS, layout.identifier_of(path)).stats
        self.path = path
        self.shape = (int(stats["rows"]), int(stats["dim"]))
        self.nnz = int(stats["nnz"])

    def item_rows(self, start: int, stop: int) -> sparse.csr_matrix:
        """Read the rows ``start`` to ``stop``, float64; two contiguous reads."""
        indptr = self._indptr[start : stop + 1]
        indices = self._indices[int(indptr[0]) : int(indptr[-1])]
        shape = (stop - start, self.shape[1])
        return sparse.csr_matrix((np.ones(len(indices)), indices, indptr - indptr[0]), shape=shape)


class DenseRows:
    """An n x d array in row chunks."""

    def __init__(self, workspace: Workspace, path: str) -> None:
        self._array = open_finished(workspace, path)
        self.path = path
        self.shape = self._array.shape
        self.nnz = self.shape[0] * self.shape[1]

    def item_rows(self, start: int, stop: int) -> Array:
        """Read the rows ``start`` to ``stop`` as they are stored, checksums verified."""
        return read_rows(self._array, start, stop)


@dataclass(frozen=True)
class HeldRows:
    """An array in memory by rows, dense or sparse."""

    values: Matrix

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.values.shape[0], self.values.shape[1]

    def item_rows(self, start: int, stop: int) -> Matrix:
        """Return the rows ``start`` to ``stop``."""
        return self.values[start:stop]


class FirstRows:
    """The first rows of an n x d array."""

    def __init__(self, rows: SparseRows | DenseRows, n: int) -> None:
        self._rows = rows
        self.shape = (n, rows.shape[1])

    def item_rows(self, start: int, stop: int) -> Matrix:
        """Read the rows ``start`` to ``stop``."""
        return self._rows.item_rows(start, stop)


Rows = SparseRows | DenseRows


def first_rows(rows: Rows, n: int) -> "Rows | FirstRows":
    """Return the first ``n`` rows of an array; the array itself where it has no more."""
    return rows if rows.shape[0] == n else FirstRows(rows, n)


class RowCache:
    """Ranges of rows kept in memory while they fit; for callers that ask for the same ranges again."""

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._held: dict[tuple[str, int, int], Matrix] = {}

    def item_rows(self, source: Rows | HeldRows, start: int, stop: int) -> Matrix:
        """Return rows of ``source``, which the caller must not change.

        Parameters
        ----------
        source
            Features of the workspace, or in memory.
        start, stop
            Range of rows.
        """
        if isinstance(source, HeldRows):
            return source.item_rows(start, stop)
        key = (source.path, start, stop)
        if key not in self._held:
            found: Matrix = source.item_rows(start, stop)
            size = found.data.nbytes + found.indices.nbytes if sparse.issparse(found) else found.nbytes
            if size > self._room:
                return found
            self._room -= size
            self._held[key] = found
        return self._held[key]


def open_rows(workspace: Workspace, path: str) -> Rows:
    """Open features, or any n x d array of the workspace, by item rows."""
    return (
        SparseRows(workspace, path)
        if layout.kind_of(path) is layout.Kind.WORDS
        else DenseRows(workspace, path)
    )


def dense(rows: Matrix, dtype: npt.DTypeLike = np.float64) -> Array:
    """Return rows as a dense, contiguous array."""
    found = rows.toarray() if sparse.issparse(rows) else rows
    return np.ascontiguousarray(found, dtype=dtype)


def features_times(features: Rows | FirstRows, vectors: Array, *, middle: Array | None = None) -> Array:
    """Return ``F' (F v)``, or ``F' (M (F v))``, with the rows of F streamed.

    Parameters
    ----------
    features
        The d x n matrix F by its columns, which are the items' rows.
    vectors
        (n, m) array v.
    middle
        (d, d) array M; None for none.

    Returns
    -------
    (n, m) float64; O(n d m).
    """
    n, d = features.shape
    inner: Array = np.zeros((d, vectors.shape[1]))
    parts = [(start, min(start + _STEP, n)) for start in range(0, n, _STEP)]
    for start, stop in parts:
        inner += _float(features.item_rows(start, stop)).T @ vectors[start:stop]
    if middle is not None:
        inner = middle @ inner
    out: Array = np.empty((n, vectors.shape[1]))
    for start, stop in parts:
        out[start:stop] = _float(features.item_rows(start, stop)) @ inner
    return out


def squared_norms(features: Rows | FirstRows) -> Array:
    """Return ``|f_j|^2`` of every item, (n,) float64."""
    n = features.shape[0]
    out: Array = np.empty(n)
    for start in range(0, n, _STEP):
        rows = _float(features.item_rows(start, min(start + _STEP, n)))
        squares = rows.multiply(rows) if sparse.issparse(rows) else rows * rows
        out[start : start + _STEP] = np.asarray(squares.sum(axis=1)).ravel()
    return out


def _float(rows: Matrix) -> Matrix:
    return rows.astype(np.float64)
