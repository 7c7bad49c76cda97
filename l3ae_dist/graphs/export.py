"""The largest weights of every column of B, tile by tile: what a top-k export keeps.

A block of B is the sum of the model's terms (:mod:`l3ae_dist.graphs.score_terms`). A lower tile of a
symmetric matrix serves the blocks (i, j) and (j, i), so that one pass over the lower triangle reads each
tile once. Lower tiles come column by column, hence every column meets its rows in ascending order: of equal
magnitudes the lower row is already there, and a later one must be strictly larger to displace it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.graphs.chunk_tasks import Blocks, ChunkGraph
from l3ae_dist.graphs.context import StageContext, StageParams, open_workspace
from l3ae_dist.graphs.score_terms import ScoreTerms, TermArrays
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.graphs.tile_memory import process_reader
from l3ae_dist.linalg.arrays import Array, Matrix
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest

# Columns with few new candidates are gathered; more than this many times k, and the block is partitioned.
_FEW = 4
# Dense arrays of one tile's size that a block takes: the tile and the one read ahead, the block, its
# magnitudes, a product, and what a partition copies and compares.
BLOCK_ARRAYS = 8


def block_bytes(tile: int, k: int, itemsize: int) -> int:
    """Count the bytes that one column tile takes beside its lists: blocks, and what a merge of lists holds.

    Parameters
    ----------
    tile
        Rows of a tile.
    k
        Weights for each column.
    itemsize
        Bytes of a weight.
    """
    merged = 2 * tile * (k + min(_FEW * k, tile)) * (8 + itemsize)
    return BLOCK_ARRAYS * tile * tile * itemsize + merged


class LargestWeights:
    """The ``k`` weights of largest magnitude of each column of one tile, rows offered in ascending order.

    Attributes
    ----------
    rows, values
        (columns, k) int64 and signed values, largest magnitude first; value 0 where there is none.
    """

    def __init__(self, columns: int, k: int, dtype: npt.DTypeLike) -> None:
        self.rows = np.full((columns, k), -1, np.int64)
        self.values = np.zeros((columns, k), dtype)

    def offer(self, block: Array, first: int) -> None:
        """Take in (columns, rows) weights of the rows from ``first`` on; zeros are never kept."""
        k = self.rows.shape[1]
        magnitude = np.abs(block)
        places = self._places(magnitude)
        new = np.take_along_axis(block, np.maximum(places, 0), axis=1)
        new[places < 0] = 0
        values = np.hstack([self.values, new])
        order = top_k(np.abs(values), k)[0]
        self.rows = np.take_along_axis(np.hstack([self.rows, places + first]), order, axis=1)
        self.values = np.take_along_axis(values, order, axis=1)

    def _places(self, magnitude: Array) -> Array:
        """Positions of the candidates of each column, ascending where equal; -1 where fewer."""
        k = self.rows.shape[1]
        above = magnitude > np.abs(self.values[:, -1:])
        counts = above.sum(axis=1)
        width = int(counts.max())
        if width > _FEW * k:
            return top_k(magnitude, k)[0]
        places = np.full((len(counts), width), -1, np.int64)
        places[np.arange(width) < counts[:, None]] = np.nonzero(above)[1]
        return places


def largest_weights(
    blocks: "ColumnBlocks",
    k: int,
    reader: TileReader,
    count: ReadCount,
    *,
    columns: Collection[int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, LargestWeights]:
    """Keep the ``k`` largest ``|B_ij|`` of each column j of the item tiles ``columns`` (all when None).

    Parameters
    ----------
    blocks
        Makes the blocks of B.
    k
        Weights for each column; the diagonal is among them only where the model keeps it.
    reader, count
        Reads tiles ahead; counts what was read.
    columns
        Column tiles wanted; a lower tile that touches none of them is not read.
    progress
        Called with the tiles done and their number.

    Returns
    -------
    A :class:`LargestWeights` for each wanted column tile. Cost: O(n) reads of tiles per column tile,
    n^2 (1 + 2 d) flops in all; memory ``BLOCK_ARRAYS`` tiles and 16 k bytes per wanted column.
    """
    grid = blocks.grid
    wanted = set(range(grid.count) if columns is None else columns)
    found = {c: LargestWeights(grid.size(c), k, blocks.dtype) for c in sorted(wanted)}
    pairs = [(i, j) for i, j in grid.lower() if i in wanted or j in wanted]
    tiles = reader.stream([blocks.requests(i, j) for i, j in pairs], count)
    for done, ((i, j), held) in enumerate(zip(pairs, tiles, strict=True), start=1):
        for r, c in dict.fromkeys([(i, j), (j, i)]):
            if c in wanted:
                found[c].offer(blocks.transposed(r, c, held), grid.rows(r).start)
        progress(done, len(pairs))
    return found


class ColumnBlocks:
    """Blocks of B as (columns, rows), from the tiles of a lower pair.

    Parameters
    ----------
    model, arrays, grid
        The model's terms, their arrays and their tiles.
    dtype
        Of the arithmetic and of the weights.
    """

    def __init__(self, model: ScoreTerms, arrays: TermArrays, grid: TileGrid, dtype: npt.DTypeLike) -> None:
        self._model, self._arrays, self.grid, self.dtype = model, arrays, grid, np.dtype(dtype)
        # both sides of both blocks of a pair; those of tile j serve the next pair too
        self._rows = lru_cache(maxsize=4 * max(1, len(model.products)))(self._read_rows)

    def requests(self, i: int, j: int) -> tuple[TileRequest, ...]:
        """List what the pair's blocks are made from: one tile of a symmetric matrix, else two."""
        found = []
        for term in self._model.matrices:
            matrix = self._arrays.matrix(term.path)
            if max(i, j) * self.grid.tile >= matrix.shape[0]:
                continue  # it is of the first items alone
            found.append(TileRequest(matrix, i, j))
            if not term.symmetric and i != j:
                found.append(TileRequest(matrix, j, i))
        return tuple(found)

    def transposed(self, r: int, c: int, tiles: tuple[Array, ...]) -> Array:
        """Compute ``B[rows r, columns c]'``, (columns, rows); its diagonal is exactly 0, or what is kept.

        Parameters
        ----------
        r, c
            Row and column tile.
        tiles
            Those of :meth:`requests` for the pair.
        """
        shape = (self.grid.size(c), self.grid.size(r))
        block = np.zeros(shape, self.dtype)
        upcoming = iter(tiles)
        columns = self.grid.rows(c)
        for term in self._model.matrices:
            n = self._arrays.matrix(term.path).shape[0]
            if max(r, c) * self.grid.tile >= n:
                continue
            lower = next(upcoming)
            if term.symmetric:
                tile = lower if c >= r else lower.T
            else:
                upper = next(upcoming) if r != c else lower
                tile = lower.T if r >= c else upper.T
            scale = self._arrays.vector(term.scale, columns).astype(self.dtype)
            height, width = tile.shape
            scaled = tile.astype(self.dtype, copy=False) * scale[:height, None]
            if term.rows != 1.0:
                scaled *= self._arrays.vector(term.rows, self.grid.rows(r)).astype(self.dtype)[:width]
            block[:height, :width] += scaled
        for product in self._model.products:
            term_block = self._rows(product.right, c) @ self._rows(product.left, r).T
            if sparse.issparse(term_block):
                term_block = term_block.toarray()
            term_block *= product.weight
            if product.scale != 1.0:
                term_block *= self._arrays.vector(product.scale, columns).astype(self.dtype)[:, None]
            block += term_block
        if r == c:
            np.fill_diagonal(block, self._arrays.vector(self._model.kept, columns).astype(self.dtype))
        return block

    def _read_rows(self, path: str, tile: int) -> Matrix:
        rows = self.grid.rows(tile)
        return self._arrays.features(path).item_rows(rows.start, rows.stop).astype(self.dtype, copy=False)


@dataclass(frozen=True)
class ExportParams(StageParams):
    """The model whose weights an export stage keeps, and how many of each column."""

    model: ScoreTerms
    k: int


def export_graph(grid: TileGrid) -> ChunkGraph:
    """Return the export stage: a task per column tile j, which reads row and column j of P."""
    return ChunkGraph(Stage.EXPORT, grid, "rows", largest_of_columns, grid.count)


def largest_of_columns(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Find the largest weights of one column tile of B.

    Parameters
    ----------
    ref
        Column tile ``ref.i`` of ``rows``.
    context
        With :class:`ExportParams` and the arrays ``rows`` and ``values``.
    count
        Counts the bytes of tiles read.

    Returns
    -------
    list
        Values and row positions, (columns, k) each, as in :class:`LargestWeights`.
    """
    j, params = ref.i, context.params_as(ExportParams)
    arrays = TermArrays(open_workspace(context.url, context.durable))
    blocks = ColumnBlocks(params.model, arrays, context.grid, context.dtype)
    found = largest_weights(blocks, params.k, process_reader(), count, columns=(j,))[j]
    return [(TileRef("values", j, 0), found.values), (ref, found.rows)]
