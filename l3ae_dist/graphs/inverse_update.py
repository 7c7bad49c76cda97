"""The change ``P' = P - (Y K) Y'`` of an inverse by rows that leave and join, by item tile; ``Y = P Z'``.

P stays as it is. Its tiles are read once, for Y and the probes of the certificate; the rest is n r d flops.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse

from l3ae_dist.data.features import dense
from l3ae_dist.graphs.chunk_tasks import Blocks
from l3ae_dist.graphs.context import StageContext, StageParams, open_chunks
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.graphs.tile_memory import process_reader
from l3ae_dist.linalg.arrays import Array, Matrix
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest

_TILES_AHEAD = 2
# Rows of a tile whose copy in float64 is multiplied with the probes.
_ROWS = 256


@dataclass(frozen=True)
class ChangeParams(StageParams):
    """Number of rows by which an inverse is changed, and of their entries."""

    rank: int
    entries: int


def changed_products(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Compute the rows of ``[P Z', P W]`` of an item tile, (tile, r + probes), added up in float64.

    2 b nnz(Z) flops for a tile of b items, and 2 b n for each probe; every tile of its row of P is read.

    Parameters
    ----------
    ref
        The chunk of the products.
    context
        With :class:`ChangeParams` and the arrays ``P``, ``rows`` (Z, as places and values) and ``probe`` (W).
    count
        Counts the bytes of tiles read.
    """
    params = context.params_as(ChangeParams)
    grid, p, rank = context.grid, context.array("P"), params.rank
    changed = _parts(context.url, context.paths["rows"], params, grid)
    probe = context.item_rows("probe")
    out = np.zeros((rank + probe.shape[1], grid.size(ref.i)))
    pairs = [(ref.i, j) for j in range(ref.i + 1)] + [(j, ref.i) for j in range(ref.i + 1, grid.count)]
    tiles = process_reader().stream([(TileRequest(p, *pair),) for pair in pairs], count, ahead=_TILES_AHEAD)
    for (row, column), (tile,) in zip(pairs, tiles, strict=True):
        j = column if row == ref.i else row
        view = tile.T if row == ref.i else tile  # P[items of j, items of i]
        used, part = changed[j]
        if len(used):
            out[:rank] += part @ view[used].astype(np.float64)
        rows = grid.rows(j)
        vectors = dense(probe.item_rows(rows.start, rows.stop))
        for start in range(0, view.shape[0], _ROWS):
            some = slice(start, start + _ROWS)
            out[rank:] += vectors[some].T @ view[some].astype(np.float64)
    return [(ref, np.ascontiguousarray(out.T, context.dtype))]


@lru_cache(maxsize=2)
def _parts(url: str, path: str, params: ChangeParams, grid: TileGrid) -> list[tuple[Array, Matrix]]:
    """Cut Z by item tile: the items that it has entries of, and (r, those) its entries."""
    entries = open_chunks(url, path, False).read(0, 0)[: params.entries]
    places = entries[:, :2].astype(np.int64).T
    rows = sparse.csc_matrix((entries[:, 2], (places[0], places[1])), shape=(params.rank, grid.n))
    found = []
    for j in range(grid.count):
        part = rows[:, grid.rows(j)]
        used = np.flatnonzero(np.diff(part.indptr))
        found.append((used, part[:, used].tocsr()))
    return found


def update_rows(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Compute the rows of ``Y K`` of an item tile; 2 b r^2 flops.

    Parameters
    ----------
    ref
        The chunk of ``Y K``.
    context
        With the arrays ``Y`` and ``K``.
    count
        Left alone: no tiles are read.
    """
    return [(ref, (_of(context, "Y", ref) @ context.array("K").read(0, 0)).astype(context.dtype))]


def updated_diagonal(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Compute ``diag(P')`` of an item tile, (tile, 1).

    Parameters
    ----------
    ref
        The chunk of the diagonal.
    context
        With the arrays ``Y``, ``YK`` and ``diagonal`` (of P).
    count
        Left alone: no tiles are read.
    """
    change = np.einsum("ir,ir->i", _of(context, "YK", ref), _of(context, "Y", ref))
    return [(ref, _of(context, "diagonal", ref) - change[:, None])]


def updated_cross(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Compute ``Q' = Q - (Y K) (Y' F')`` of an item tile, (tile, d); 2 b r d flops.

    Parameters
    ----------
    ref
        The chunk of ``Q'``.
    context
        With the arrays ``Q`` (of P), ``YK`` and ``YF``.
    count
        Left alone: no tiles are read.
    """
    change = _of(context, "YK", ref) @ context.array("YF").read(0, 0)
    return [(ref, (_of(context, "Q", ref) - change).astype(context.dtype))]


def _of(context: StageContext, name: str, ref: TileRef) -> Array:
    return np.asarray(context.array(name).read(ref.i, 0), np.float64)
