"""Blocks of B in memory: the rows that histories name, the columns of one item tile.

Serving multiplies histories with such blocks, ``B[rows, j] = sum A[rows, j] diag(scale) + weight L[rows] R_j'
+ e``, so a batch of users costs one sparse product for each tile, whatever the model is the sum of.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.data.features import HeldRows, RowCache, Rows
from l3ae_dist.graphs.head import Head, MatrixTerm, Part, Parts
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.tile_reader import ReadCount, TileReader, TileRequest

# Rows of a tile copied at once: a transposed stripe of them stays in a core's cache.
_STRIPE = 64


@dataclass(frozen=True)
class Piece:
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
    local: Array
    items: Array


@dataclass(frozen=True)
class AddedTerm:
    """``weight (x L) R'`` for added items: L by catalog rows, R (added, d), dense or sparse."""

    left: Rows | HeldRows
    right: Any
    weight: float


@dataclass(frozen=True)
class Term:
    """``(x L) R'`` on the columns of one piece, the weight within R; equal keys share ``x L``."""

    key: str
    left: Rows | HeldRows
    right: Any


def restricted(head: Head, part: Part) -> Head:
    """The collaborative or the semantic part of a head, as a head."""
    return replace(
        head,
        matrices=tuple(term for term in head.matrices if term.part == part),
        products=tuple(term for term in head.products if term.part == part),
        diagonal=head.diagonal if head.diagonal_part == part else 0.0,
    )


class Panels:
    """Makes blocks of one head's B.

    Parameters
    ----------
    head, parts, grid
        The model.
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
        head: Head,
        parts: Parts,
        grid: TileGrid,
        reader: TileReader,
        dtype: npt.DTypeLike,
        added: Sequence[AddedTerm],
        pool: ThreadPoolExecutor,
        cache: RowCache,
    ) -> None:
        self._head = head
        self._parts = parts
        self._grid = grid
        self._reader = reader
        self.dtype = np.dtype(dtype)
        self._added = added
        self._pool = pool
        self._cache = cache

    def terms(self, piece: Piece) -> list[Term]:
        """The products on the columns of a piece."""
        if piece.tile is None:
            return [
                Term(f"added{i}", term.left, self._weighted(term.right[piece.local], term.weight))
                for i, term in enumerate(self._added)
            ]
        found, rows = [], self._grid.rows(piece.tile)
        for term in self._head.products:
            right = self._cache.item_rows(self._parts.rows(term.right), rows.start, rows.stop)[piece.local]
            found.append(Term(term.left, self._parts.rows(term.left), self._weighted(right, term.weight)))
        return found

    def _weighted(self, right: Any, weight: float) -> Any:
        return right.astype(self.dtype) * np.asarray(weight, self.dtype)

    def block(self, rows: Array, piece: Piece, terms: Sequence[Term]) -> Array:
        """``B[rows, piece]``, (rows, columns); of the products only those of ``terms``.

        Parameters
        ----------
        rows
            Ascending item positions in the catalog.
        """
        out = np.zeros((len(rows), len(piece.local)), self.dtype)
        if piece.tile is not None:
            for matrix in self._head.matrices:
                self._add_matrix(out, matrix, rows, piece)
            self._add_diagonal(out, rows, piece)
        for term in terms:
            for part, left in self.row_parts(rows, term.left):
                out[part] += times(left.astype(self.dtype), term.right)
        return out

    def row_parts(self, rows: Array, left: Rows | HeldRows) -> Iterator[tuple[slice, Any]]:
        """Rows of an n x d array tile by tile, with where they lie among ``rows``."""
        for i, part in self._by_tile(rows):
            tile = self._grid.rows(i)
            yield part, self._cache.item_rows(left, tile.start, tile.stop)[rows[part] - tile.start]

    def _by_tile(self, rows: Array) -> Iterator[tuple[int, slice]]:
        cuts = np.searchsorted(rows, np.arange(self._grid.count + 1) * self._grid.tile)
        for i in range(self._grid.count):
            if cuts[i] < cuts[i + 1]:
                yield i, slice(int(cuts[i]), int(cuts[i + 1]))

    def _add_matrix(self, out: Array, term: MatrixTerm, rows: Array, piece: Piece) -> None:
        """Add the term; tiles that hold none of the rows are not read."""
        j = int(piece.tile or 0)
        array = self._parts.matrix(term.path)
        parts = list(self._by_tile(rows))
        where = [(max(i, j), min(i, j)) if term.symmetric else (i, j) for i, _ in parts]
        requests = [(TileRequest(array, *tile, stage="serve"),) for tile in where]
        scale = self._vector(term.scale, piece)
        tiles = self._reader.stream(requests, ReadCount())
        for (i, part), stored, (tile,) in zip(parts, where, tiles, strict=True):
            local = rows[part] - i * self._grid.tile
            view = tile if stored == (i, j) else tile.T
            columns = slice(None) if len(piece.local) == view.shape[1] else piece.local
            starts = range(0, len(local), _STRIPE)
            target = out[part]

            def add(start: int, view: Array = view, local: Array = local, target: Array = target) -> None:
                some = _as_slice(local[start : start + _STRIPE])
                target[start : start + _STRIPE] += view[some][:, columns] * scale  # noqa: B023

            list(self._pool.map(add, starts) if len(starts) > 1 else map(add, starts))

    def _add_diagonal(self, out: Array, rows: Array, piece: Piece) -> None:
        _, row, column = np.intersect1d(rows, piece.items, assume_unique=True, return_indices=True)
        out[row, column] += self._vector(self._head.diagonal, piece)[column]

    def _vector(self, path: str | float, piece: Piece) -> Array:
        rows = self._grid.rows(int(piece.tile or 0))
        return self._parts.vector(path, rows)[piece.local].astype(self.dtype)


def times(left: Any, right: Any) -> Array:
    """``L R'`` as a dense array; either side may be sparse."""
    # a sparse right side comes first in the product, which is dense then
    product = (right @ left.T).T if sparse.issparse(right) else left @ right.T
    return np.asarray(product.toarray() if sparse.issparse(product) else product)


def _as_slice(positions: Array) -> Array | slice:
    """Neighbours as a slice, which copies nothing."""
    first, last = int(positions[0]), int(positions[-1])
    return slice(first, last + 1) if last - first + 1 == len(positions) else positions
