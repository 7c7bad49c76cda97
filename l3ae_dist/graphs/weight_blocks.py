"""Blocks of B in memory: the rows that histories name, the columns of one item tile.

Serving multiplies histories with such blocks, ``B[rows, j] = sum A[rows, j] diag(scale) + sum weight L[rows]
R_j' diag(scale) + e``, so a batch of users costs one sparse product for each tile, whatever the model is the
sum of.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.data.features import HeldRows, RowCache, Rows
from l3ae_dist.graphs.score_terms import MatrixTerm, ScoreTerms, TermArrays, scaled_rows
from l3ae_dist.linalg.arrays import Array, Integers, Matrix
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest

# Rows of a tile copied at once: a transposed stripe of them stays in a core's cache.
_STRIPE = 64


@dataclass(frozen=True)
class Columns:
    """Columns scored together.

    Parameters
    ----------
    tile
        Item tile of the catalog; None for added items.
    local
        Ascending positions within that tile, or among the added items.
    items
        The same as item positions, added items after the catalog.
    """

    tile: int | None
    local: Integers
    items: Integers


@dataclass(frozen=True)
class AddedTerm:
    """The term ``weight (x L) R'`` of added items: L by catalog rows, R (added, d), dense or sparse."""

    left: Rows | HeldRows
    right: Matrix
    weight: float


@dataclass(frozen=True)
class ColumnTerm:
    """The term ``(x L) R'`` on some columns, the weight within R; equal keys share ``x L``."""

    key: str
    left: Rows | HeldRows
    right: Matrix


class WeightBlocks:
    """Makes blocks of one model's B.

    Parameters
    ----------
    model, arrays, grid
        The model's terms, their arrays and their tiles.
    reader
        Tiles come through it, and stay in its cache.
    dtype
        Of the blocks.
    added
        Columns of items that are not in the catalog.
    pool
        Copies stripes of a tile at the same time.
    cache
        Of rows of n x d arrays.
    """

    def __init__(
        self,
        model: ScoreTerms,
        arrays: TermArrays,
        grid: TileGrid,
        reader: TileReader,
        dtype: npt.DTypeLike,
        added: Sequence[AddedTerm],
        pool: ThreadPoolExecutor,
        cache: RowCache,
    ) -> None:
        self._model = model
        self._arrays = arrays
        self._grid = grid
        self._reader = reader
        self.dtype = np.dtype(dtype)
        self._added = added
        self._pool = pool
        self._cache = cache

    def terms(self, columns: Columns) -> list[ColumnTerm]:
        """List the product terms on some columns."""
        if columns.tile is None:
            return [
                ColumnTerm(f"added{i}", term.left, self._weighted(term.right[columns.local], term.weight))
                for i, term in enumerate(self._added)
            ]
        found, rows = [], self._grid.rows(columns.tile)
        for term in self._model.products:
            right = self._cache.item_rows(self._arrays.features(term.right), rows.start, rows.stop)
            weighted = self._weighted(right[columns.local], term.weight)
            if term.scale != 1.0:
                weighted = scaled_rows(weighted, self._vector(term.scale, columns))
            found.append(ColumnTerm(term.left, self._arrays.features(term.left), weighted))
        return found

    def _weighted(self, right: Matrix, weight: float) -> Matrix:
        return right.astype(self.dtype) * np.asarray(weight, self.dtype)

    def block(self, rows: Array, columns: Columns, terms: Sequence[ColumnTerm]) -> Array:
        """Compute ``B[rows, columns]``, (rows, columns); 2 d flops an entry for each product.

        Parameters
        ----------
        rows
            Ascending item positions in the catalog.
        columns
            Which columns.
        terms
            The products that are added.
        """
        out = np.zeros((len(rows), len(columns.local)), self.dtype)
        if columns.tile is not None:
            for matrix in self._model.matrices:
                self._add_matrix(out, matrix, rows, columns)
            self._add_diagonal(out, rows, columns)
        for term in terms:
            for part, left in self.row_parts(rows, term.left):
                out[part] += times_transposed(left.astype(self.dtype), term.right)
        return out

    def row_parts(self, rows: Array, left: Rows | HeldRows) -> Iterator[tuple[slice, Matrix]]:
        """Yield the rows of an n x d array tile by tile, with where they lie among ``rows``."""
        for i, part in self._by_tile(rows):
            tile = self._grid.rows(i)
            yield part, self._cache.item_rows(left, tile.start, tile.stop)[rows[part] - tile.start]

    def _by_tile(self, rows: Array) -> Iterator[tuple[int, slice]]:
        cuts = np.searchsorted(rows, np.arange(self._grid.count + 1) * self._grid.tile)
        for i in range(self._grid.count):
            if cuts[i] < cuts[i + 1]:
                yield i, slice(int(cuts[i]), int(cuts[i + 1]))

    def _add_matrix(self, out: Array, term: MatrixTerm, rows: Array, columns: Columns) -> None:
        """Add the term; tiles that hold none of the rows are not read, nor are there any beyond a core."""
        j = int(columns.tile or 0)
        array = self._arrays.matrix(term.path)
        n = array.shape[0]
        kept = int(np.searchsorted(columns.local, n - j * self._grid.tile))
        if not kept:
            return
        inside = rows[: np.searchsorted(rows, n)]
        out, columns = out[: len(inside), :kept], Columns(j, columns.local[:kept], columns.items[:kept])
        parts = list(self._by_tile(inside))
        where = [(max(i, j), min(i, j)) if term.symmetric else (i, j) for i, _ in parts]
        requests = [(TileRequest(array, *tile, stage="serve"),) for tile in where]
        scale = self._vector(term.scale, columns)
        tiles = self._reader.stream(requests, ReadCount())
        for (i, part), stored, (tile,) in zip(parts, where, tiles, strict=True):
            local = rows[part] - i * self._grid.tile
            view = tile if stored == (i, j) else tile.T
            chosen = slice(None) if len(columns.local) == view.shape[1] else columns.local
            starts = range(0, len(local), _STRIPE)
            target, factors = out[part], self._row_factors(term, i, local)

            def add(
                start: int,
                view: Array = view,
                local: Array = local,
                target: Array = target,
                factors: Array | None = factors,
            ) -> None:
                stripe = slice(start, start + _STRIPE)
                product = view[_as_slice(local[stripe])][:, chosen] * scale  # noqa: B023
                target[stripe] += product if factors is None else product * factors[stripe]

            list(self._pool.map(add, starts) if len(starts) > 1 else map(add, starts))

    def _row_factors(self, term: MatrixTerm, i: int, local: Array) -> Array | None:
        """Read the factors of some rows of a tile, (rows, 1); None where all are 1."""
        if term.rows == 1.0:
            return None
        return self._arrays.vector(term.rows, self._grid.rows(i))[local, None].astype(self.dtype)

    def _add_diagonal(self, out: Array, rows: Array, columns: Columns) -> None:
        _, row, column = np.intersect1d(rows, columns.items, assume_unique=True, return_indices=True)
        out[row, column] += self._vector(self._model.diagonal, columns)[column]

    def _vector(self, path: str | float, columns: Columns) -> Array:
        rows = self._grid.rows(int(columns.tile or 0))
        return self._arrays.vector(path, rows)[columns.local].astype(self.dtype)


def times_transposed(left: Matrix, right: Matrix) -> Array:
    """Compute ``L R'`` as a dense array; either side may be sparse."""
    # a sparse right side comes first in the product, which is dense then
    product = (right @ left.T).T if sparse.issparse(right) else left @ right.T
    return np.asarray(product.toarray() if sparse.issparse(product) else product)


def _as_slice(positions: Array) -> Array | slice:
    """Neighbours as a slice, which copies nothing."""
    first, last = int(positions[0]), int(positions[-1])
    return slice(first, last + 1) if last - first + 1 == len(positions) else positions
