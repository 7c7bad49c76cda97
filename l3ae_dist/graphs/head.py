"""What a model scores with: a short sum of terms, the same for every member of the family.

``scores(x) = sum (x A) diag(scale) + sum weight (x L) R' + x diag(e)`` with tiled n x n matrices A (an
inverse, a product, a Gram), n x d arrays L and R, and n-vectors. Column j of the sum predicts item j.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.data.features import DenseRows, HeldRows, Rows, open_rows
from l3ae_dist.linalg import blas
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.tile_reader import ReadCount, TileReader, TileRequest
from l3ae_dist.storage.workspace import Workspace

Part = Literal["collaborative", "semantic"]
# Pairs whose rows are held at once.
_PAIRS = 1 << 15


@dataclass(frozen=True, slots=True)
class MatrixTerm:
    """``(x A) diag(scale)``.

    Parameters
    ----------
    path
        A, n x n in tiles.
    scale
        n x 1 array, one factor for each column, or one number for all.
    part
        What the term counts as in an explanation.
    symmetric
        Whether only the lower tiles of A are stored.
    """

    path: str
    scale: str | float
    part: Part = "collaborative"
    symmetric: bool = True


@dataclass(frozen=True, slots=True)
class ProductTerm:
    """``weight (x L) R'``.

    Parameters
    ----------
    left, right
        L and R, n x d by item rows; features (also sparse ones) or arrays of the model.
    weight
        One factor for all.
    part
        What the term counts as in an explanation.
    """

    left: str
    right: str
    weight: float = 1.0
    part: Part = "semantic"


@dataclass(frozen=True, slots=True)
class Head:
    """One model: its name and its terms; ``diagonal`` is e: one number, or an n x 1 array."""

    name: str
    matrices: tuple[MatrixTerm, ...] = ()
    products: tuple[ProductTerm, ...] = ()
    diagonal: str | float = 1.0

    @property
    def diagonal_part(self) -> Part:
        """What the diagonal counts as: with a collaborative matrix it cancels that one's diagonal."""
        return "collaborative" if any(m.part == "collaborative" for m in self.matrices) else "semantic"

    def paths(self) -> list[str]:
        """Every array that the terms name, each once."""
        found = [value for m in self.matrices for value in (m.path, m.scale)]
        found += [value for p in self.products for value in (p.left, p.right)]
        return list(dict.fromkeys(path for path in [*found, self.diagonal] if isinstance(path, str)))

    def document(self) -> dict[str, Any]:
        """The head as JSON-like values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Head":
        """The inverse of :meth:`document`."""
        return cls(
            document["name"],
            tuple(MatrixTerm(**term) for term in document["matrices"]),
            tuple(ProductTerm(**term) for term in document["products"]),
            document["diagonal"],
        )


class Parts:
    """The arrays of heads, opened once; each is known by its path."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._matrices: dict[str, ChunkArray] = {}
        self._rows: dict[str, Rows] = {}

    def matrix(self, path: str) -> ChunkArray:
        """An n x n matrix in tiles."""
        if path not in self._matrices:
            self._matrices[path] = ChunkArray.open(self._workspace, path)
        return self._matrices[path]

    def rows(self, path: str) -> Rows:
        """An n x d array by item rows."""
        if path not in self._rows:
            self._rows[path] = open_rows(self._workspace, path)
        return self._rows[path]

    def vector(self, path: str | float, rows: slice) -> Array:
        """Entries of an n x 1 array, or a number for all of them; float64."""
        if isinstance(path, str):
            found = self.rows(path)
            assert isinstance(found, DenseRows)
            return found.item_rows(rows.start, rows.stop)[:, 0].astype(np.float64)
        return np.full(rows.stop - rows.start, float(path))


class History:
    """Item histories of a user block, cut by item tile."""

    def __init__(self, rows: sparse.csr_matrix, grid: TileGrid, dtype: npt.DTypeLike) -> None:
        self.grid = grid
        by_column = rows.astype(dtype).tocsc()
        self._parts = [by_column[:, grid.rows(i)].tocsr() for i in range(grid.count)]
        self.users = rows.shape[0]
        self.dtype = np.dtype(dtype)

    def part(self, i: int) -> sparse.csr_matrix:
        """Histories restricted to item tile i."""
        return self._parts[i]

    def times_matrix(
        self, a: ChunkArray, j: int, reader: TileReader, count: ReadCount, *, symmetric: bool = True
    ) -> Array:
        """``x A[:, tile j]`` as users x tile; tiles without any history are not read."""
        out = np.zeros((self.users, self.grid.size(j)), self.dtype)
        used = [i for i in range(self.grid.count) if self._parts[i].nnz]
        where = [(max(i, j), min(i, j)) if symmetric else (i, j) for i in used]
        requests = [(TileRequest(a, *tile),) for tile in where]
        for i, tile, (block,) in zip(used, where, reader.stream(requests, count), strict=True):
            out += self._parts[i] @ (block if tile == (i, j) else np.ascontiguousarray(block.T))
        return out

    def times_rows(self, array: Rows) -> Array:
        """``x L`` for an array with item rows, as users x columns; dense."""
        out = np.zeros((self.users, array.shape[1]), self.dtype)
        for i in range(self.grid.count):
            if self._parts[i].nnz:
                rows = self.grid.rows(i)
                product = self._parts[i] @ array.item_rows(rows.start, rows.stop).astype(self.dtype)
                out += product.toarray() if sparse.issparse(product) else product
        return out


@dataclass(frozen=True)
class TileScores:
    """One model on one item tile: arrays in memory, from which any users' scores are made.

    Parameters
    ----------
    matrices
        ``x A`` (users x tile) and its scale (tile,) for each matrix term.
    products
        ``x L`` (users x d), R (tile x d) and its weight for each product term.
    history, diagonal
        x restricted to the tile, and e.
    """

    matrices: list[tuple[Array, Array]]
    products: list[tuple[Array, Any, float]]
    history: sparse.csr_matrix
    diagonal: Array

    def rows(self, users: slice, out: Array | None = None) -> Array:
        """Scores of some users, users x tile; written into the first rows of ``out`` when it is given."""
        history = self.history[users]
        scores = np.empty(history.shape, self.diagonal.dtype) if out is None else out[: history.shape[0]]
        if not self.matrices:
            scores[...] = 0
        for index, (times, scale) in enumerate(self.matrices):
            if index == 0:
                np.multiply(times[users], scale, out=scores)
            else:
                scores += times[users] * scale
        for left, right, weight in self.products:
            if sparse.issparse(right):  # first in the product, which is dense then
                scores += weight * (right @ left[users].T).T
            else:
                blas.gemm(scores, left[users], right, weight, trans_a=False, trans_b=True)
        part = history.tocoo()
        scores[part.row, part.col] += part.data * self.diagonal[part.col]
        return scores


class Scorer:
    """Scores of one user block on item tiles, for heads that share matrices and products.

    ``x L`` is kept for the whole user block, ``x A`` for the last item tile.
    """

    def __init__(self, history: History, parts: Parts, reader: TileReader, count: ReadCount) -> None:
        self.history = history
        self.parts = parts
        self._reader = reader
        self.count = count
        self._left: dict[str, Array] = {}
        self._tile: tuple[int, dict[str, Array]] = (-1, {})

    def scores(self, head: Head, j: int) -> Array:
        """Scores of one model on item tile j, users x tile, in the history's dtype."""
        return self.tile(head, j).rows(slice(None))

    def tile(self, head: Head, j: int) -> "TileScores":
        """Everything that the scores of one model on item tile j are computed from."""
        dtype = self.history.dtype
        rows = self.history.grid.rows(j)
        matrices = [
            (self._times(term, j), self.parts.vector(term.scale, rows).astype(dtype))
            for term in head.matrices
        ]
        products = [
            (
                self._times_left(term.left),
                self.parts.rows(term.right).item_rows(rows.start, rows.stop).astype(dtype),
                term.weight,
            )
            for term in head.products
        ]
        diagonal = self.parts.vector(head.diagonal, rows).astype(dtype)
        return TileScores(matrices, products, self.history.part(j), diagonal)

    def forget_tile(self) -> None:
        """Free what is kept for the last item tile."""
        self._tile = (-1, {})

    def _times(self, term: MatrixTerm, j: int) -> Array:
        if self._tile[0] != j:
            self._tile = (j, {})
        found = self._tile[1]
        if term.path not in found:
            matrix = self.parts.matrix(term.path)
            found[term.path] = self.history.times_matrix(
                matrix, j, self._reader, self.count, symmetric=term.symmetric
            )
        return found[term.path]

    def _times_left(self, path: str) -> Array:
        if path not in self._left:
            self._left[path] = self.history.times_rows(self.parts.rows(path))
        return self._left[path]


def head_pairs(
    head: Head, parts: Parts, grid: TileGrid, rows: Array, columns: Array, reader: TileReader | None = None
) -> dict[str, Array]:
    """``B[rows[p], columns[p]]`` of every pair p by part, float64; each tile is read once.

    Parameters
    ----------
    head, parts, grid
        The model.
    rows, columns
        (pairs,) item positions.
    reader
        Whose cache is used; none when not given.
    """
    out: dict[str, Array] = {name: np.zeros(len(rows)) for name in ("collaborative", "semantic")}
    reader = reader or TileReader()
    for matrix in head.matrices:
        entries = _matrix_pairs(parts.matrix(matrix.path), grid, rows, columns, reader, matrix.symmetric)
        out[matrix.part] += entries * _vector_at(parts, matrix.scale, columns)
    for product in head.products:
        left, right = parts.rows(product.left), parts.rows(product.right)
        out[product.part] += product.weight * product_pairs(left, right, grid, rows, columns)
    out[head.diagonal_part] += (rows == columns) * _vector_at(parts, head.diagonal, columns)
    return out


def _matrix_pairs(
    a: ChunkArray, grid: TileGrid, rows: Array, columns: Array, reader: TileReader, symmetric: bool
) -> Array:
    """``A[rows[p], columns[p]]``; the pairs of one stored tile follow each other."""
    out = np.empty(len(rows))
    i, j = rows // grid.tile, columns // grid.tile
    mirrored = (i < j) & symmetric
    row, column = np.where(mirrored, columns, rows), np.where(mirrored, rows, columns)
    groups = _groups(row // grid.tile, column // grid.tile)
    requests = [(TileRequest(a, i, j, stage="serve"),) for i, j, _ in groups]
    for (_, _, pairs), (tile,) in zip(groups, reader.stream(requests, ReadCount()), strict=True):
        out[pairs] = tile[row[pairs] % grid.tile, column[pairs] % grid.tile]
    return out


def product_pairs(
    left: Rows | HeldRows, right: Rows | HeldRows, grid: TileGrid, rows: Array, columns: Array
) -> Array:
    """``L[rows[p]] . R[columns[p]]`` of every pair p, float64."""
    out = np.empty(len(rows))
    for i, j, pairs in _groups(rows // grid.tile, columns // grid.tile):
        rows_i = left.item_rows(i * grid.tile, min((i + 1) * grid.tile, left.shape[0]))
        rows_j = right.item_rows(j * grid.tile, min((j + 1) * grid.tile, right.shape[0]))
        for start in range(0, len(pairs), _PAIRS):
            some = pairs[start : start + _PAIRS]
            out[some] = _dots(rows_i[rows[some] % grid.tile], rows_j[columns[some] % grid.tile])
    return out


def _dots(a: Any, b: Any) -> Array:
    if sparse.issparse(a) or sparse.issparse(b):
        product = a.multiply(b) if sparse.issparse(a) else b.multiply(a)
        return np.asarray(product.sum(axis=1)).ravel()
    return np.asarray(np.einsum("pd,pd->p", a.astype(np.float64), b.astype(np.float64)))


def _groups(i: Array, j: Array) -> list[tuple[int, int, Array]]:
    """The pairs of every tile that has some."""
    side = int(max(i.max(initial=0), j.max(initial=0))) + 1
    key = i * side + j
    order = np.argsort(key, kind="stable")
    found, first = np.unique(key[order], return_index=True)
    parts = np.split(order, first[1:])
    return [(int(k) // side, int(k) % side, pairs) for k, pairs in zip(found, parts, strict=False)]


def _vector_at(parts: Parts, path: str | float, positions: Array) -> Array:
    if not isinstance(path, str):
        return np.full(len(positions), float(path))
    found = parts.rows(path)
    assert isinstance(found, DenseRows)
    if not len(positions):
        return np.empty(0)
    first, last = int(positions.min()), int(positions.max())
    return np.asarray(found.item_rows(first, last + 1)[positions - first, 0], np.float64)
