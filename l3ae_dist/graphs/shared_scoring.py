"""Scores of one user block under many models that share matrices: what evaluation and sweeps compute with.

``x A`` is computed once per item tile and ``x L`` once per user block, whatever the number of models; each
model only rescales. Serving, which scores one model for many users, has an engine of its own
(:mod:`l3ae_dist.graphs.batch_scoring`): docs/decisions/0011 has the measurement.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.data.features import Rows
from l3ae_dist.graphs.score_terms import MatrixTerm, ScoreTerms, TermArrays
from l3ae_dist.linalg import blas
from l3ae_dist.linalg.arrays import Array, Matrix
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest


class History:
    """Item histories of a user block, cut by item tile.

    Parameters
    ----------
    rows
        (users, n) histories.
    grid
        The item tiles.
    dtype
        Of all products.
    """

    def __init__(self, rows: sparse.csr_matrix, grid: TileGrid, dtype: npt.DTypeLike) -> None:
        self.grid = grid
        by_column = rows.astype(dtype).tocsc()
        self._parts = [by_column[:, grid.rows(i)].tocsr() for i in range(grid.count)]
        self.users = rows.shape[0]
        self.dtype = np.dtype(dtype)

    def items(self, j: int) -> slice:
        """Return the items of tile j, as a slice of the catalog."""
        return self.grid.rows(j)

    def part(self, i: int) -> sparse.csr_matrix:
        """Return the histories restricted to item tile i, (users, tile)."""
        return self._parts[i]

    def times_matrix(
        self,
        a: ChunkArray,
        j: int,
        reader: TileReader,
        count: ReadCount,
        *,
        symmetric: bool = True,
        factors: Callable[[slice], Array] | None = None,
    ) -> Array:
        """Compute ``x diag(factors) A[:, tile j]``, (users, tile); tiles without any history are not read.

        Rows and columns that A lacks, for it is of the first items alone, are zero.

        Parameters
        ----------
        a
            n x n in tiles, or the first rows and columns of one.
        j
            Item tile.
        reader, count
            Reads tiles ahead; counts the bytes read.
        symmetric
            Whether only the lower tiles of A are stored.
        factors
            Reads the factors of a range of items; all are 1 when None.
        """
        out = np.zeros((self.users, self.grid.size(j)), self.dtype)
        stored = TileGrid(a.shape[0], self.grid.tile)
        if j >= stored.count:
            return out
        used = [i for i in range(stored.count) if self._parts[i].nnz]
        where = [(max(i, j), min(i, j)) if symmetric else (i, j) for i in used]
        requests = [(TileRequest(a, *tile),) for tile in where]
        for i, tile, (block,) in zip(used, where, reader.stream(requests, count), strict=True):
            part = self._parts[i]
            if factors is not None:
                scaled = part.data * factors(self.grid.rows(i)).astype(self.dtype)[part.indices]
                part = sparse.csr_matrix((scaled, part.indices, part.indptr), shape=part.shape)
            right = block if tile == (i, j) else np.ascontiguousarray(block.T)
            out[:, : right.shape[1]] += part[:, : right.shape[0]] @ right
        return out

    def times_features(self, array: Rows) -> Array:
        """Compute ``x L`` of an n x d array, (users, d), dense."""
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
    products: list[tuple[Array, Matrix, float]]
    history: sparse.csr_matrix
    diagonal: Array

    def of_users(self, users: slice, out: Array | None = None) -> Array:
        """Compute the scores of some users, (users, tile), in the first rows of ``out`` when it is given."""
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


class SharedScorer:
    """Scores of one user block on item tiles, for models that share matrices and products.

    ``x L`` is kept for the whole user block, ``x A`` for the last item tile.

    Parameters
    ----------
    history
        Of the users.
    arrays
        Of the models' terms.
    reader, count
        Reads tiles ahead; counts the bytes read.
    """

    def __init__(self, history: History, arrays: TermArrays, reader: TileReader, count: ReadCount) -> None:
        self.history = history
        self.arrays = arrays
        self._reader = reader
        self.count = count
        self._left: dict[str, Array] = {}
        self._tile: tuple[int, dict[tuple[str, str | float], Array]] = (-1, {})

    def scores(self, model: ScoreTerms, j: int) -> Array:
        """Score one model on item tile j, (users, tile) in the history's dtype; 2 d flops a score."""
        return self.tile(model, j).of_users(slice(None))

    def tile(self, model: ScoreTerms, j: int) -> TileScores:
        """Gather what the scores of one model on item tile j are computed from."""
        dtype = self.history.dtype
        rows = self.history.items(j)
        matrices = [
            (self.times(term, j), self.arrays.vector(term.scale, rows).astype(dtype))
            for term in model.matrices
        ]
        products = [
            (self._times_left(term.left), self.arrays.right(term, rows, dtype), term.weight)
            for term in model.products
        ]
        diagonal = self.arrays.vector(model.diagonal, rows).astype(dtype)
        return TileScores(matrices, products, self.history.part(j), diagonal)

    def forget_tile(self) -> None:
        """Free what is kept for the last item tile."""
        self._tile = (-1, {})

    def times(self, term: MatrixTerm, j: int) -> Array:
        """Compute ``x diag(rows) A[:, tile j]`` of a term without its scale, and keep it for the tile."""
        if self._tile[0] != j:
            self._tile = (j, {})
        found, key = self._tile[1], (term.path, term.rows)
        if key not in found:
            found[key] = self.history.times_matrix(
                self.arrays.matrix(term.path),
                j,
                self._reader,
                self.count,
                symmetric=term.symmetric,
                factors=None if term.rows == 1.0 else partial(self.arrays.vector, term.rows),
            )
        return found[key]

    def _times_left(self, path: str) -> Array:
        if path not in self._left:
            self._left[path] = self.history.times_features(self.arrays.features(path))
        return self._left[path]
