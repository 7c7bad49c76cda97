"""The gram stage: lower tiles of ``X' W X + Lambda + alpha^2 F' F``, each from two blocks of items.

Either part may be missing: EASE has no features, the direct semantic system no interactions.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import sparse

from l3ae_dist.data.core import core_part
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.graphs.chunk_tasks import Blocks, ChunkGraph
from l3ae_dist.graphs.context import StageContext, StageParams, open_workspace
from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.heads import dropout_factor, row_weights
from l3ae_dist.linalg.sparse_gram import gram_block
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tile_requests import ReadCount
from l3ae_dist.storage.vectors import Vector

# Users whose lengths are read at once.
_USERS = 1 << 20


@dataclass(frozen=True)
class GramParams(StageParams):
    """Parameters of the Gram stage beside the features, which the array ``features`` of the stage holds.

    Parameters
    ----------
    dataset
        Id of the dataset whose training matrix is X; None without interactions.
    alpha
        Weight of the features.
    roots
        Folder of the vectors that X is divided by (GF-CF); None for X itself.
    beta, p, weighted
        Weights of the users, and the penalty of dropout, as of
        :class:`~l3ae_dist.data.linear_systems.System`.
    """

    dataset: str | None
    alpha: float = 0.0
    roots: str | None = None
    beta: float = 0.0
    p: float = 0.0
    weighted: bool = False


def gram_graph(grid: TileGrid) -> ChunkGraph:
    """Return the gram stage: all lower tiles, row by row, so that a worker reads the block of row i once."""
    return ChunkGraph(Stage.GRAM, grid, "gram", gram_tile, grid.count, lower=True, alone=False)


@lru_cache(maxsize=2)
def _by_column(url: str, dataset: str, start: int, stop: int) -> sparse.csc_matrix:
    return Dataset(open_workspace(url, False), dataset).columns(start, stop)


@lru_cache(maxsize=STAGED)
def _by_row(url: str, dataset: str, start: int, stop: int) -> sparse.csr_matrix:
    return _by_column(url, dataset, start, stop).tocsr()


def gram_tile(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Compute a tile of the Gram matrix from two column blocks of X, two row blocks of the features, or both.

    Parameters
    ----------
    ref
        The tile.
    context
        With :class:`GramParams`, the array ``gram`` and perhaps ``features``.
    count
        Counts the bytes of the sparse blocks.
    """
    params = context.params_as(GramParams)
    i, j = context.grid.rows(ref.i), context.grid.rows(ref.j)
    tile = None
    if params.dataset is not None:
        left = _by_column(context.url, params.dataset, i.start, i.stop)
        right = _by_row(context.url, params.dataset, j.start, j.stop)
        weighted = _weighted(left, context, params)
        # sums of what are no counts are rounded once, to the dtype of the tile
        sums = np.float64 if params.beta or params.p else context.dtype
        tile = gram_block(weighted, right, context.dtype, sums=sums)
        if params.p and ref.i == ref.j:
            tile[np.diag_indices_from(tile)] += _penalty(left, weighted, params)
        if params.roots is not None:
            item_roots = Vector(context.workspace(), layout.RootPaths(params.roots).items)
            tile *= item_roots[i][:, None] * item_roots[j]
        count.bytes += 12 * (left.nnz + right.nnz)
    if "features" in context.paths:
        product = _feature_block(context, i, j, params.alpha**2)
        tile = product if tile is None else tile + product
    assert tile is not None
    return [(ref, tile)]


def _weighted(left: sparse.csc_matrix, context: StageContext, params: GramParams) -> sparse.csc_matrix:
    """A column block with its users weighted, or divided by their sums (GF-CF)."""
    if params.roots is not None:
        return _divided(left, context, params.roots)
    if not params.beta:
        return left
    weights = _user_weights(context.url, str(params.dataset), params.beta)
    return sparse.csc_matrix((left.data * weights[left.indices], left.indices, left.indptr), shape=left.shape)


@lru_cache(maxsize=1)
def _user_weights(url: str, dataset: str, beta: float) -> Array:
    """Return the weights of all users, (n_users,), made from the lengths of their histories."""
    source = Dataset(open_workspace(url, False), dataset)
    if source.stats.core is not None:
        return _core_weights(core_part(source), beta)
    indptr = Vector(source.workspace, source.paths.by_user("train").indptr)
    weights: Array = np.empty(source.n_users)
    for start in range(0, source.n_users, _USERS):
        stop = min(start + _USERS, source.n_users)
        weights[start:stop] = row_weights(np.diff(indptr[start : stop + 1]), beta)
    return weights


def _core_weights(core: Dataset, beta: float) -> Array:
    """Return the weights of all users from the lengths of their histories of core items; O(nnz)."""
    starts = range(0, core.n_users, _USERS)
    blocks = (core.user_rows("train", start, min(start + _USERS, core.n_users)) for start in starts)
    return np.concatenate([row_weights(np.diff(block.indptr), beta) for block in blocks])


def _penalty(left: sparse.csc_matrix, weighted: sparse.csc_matrix, params: GramParams) -> Array:
    """Compute the diagonal of Lambda of a column block."""
    squares = left.multiply((weighted if params.weighted else left).astype(np.float64))
    return dropout_factor(params.p) * np.asarray(squares.sum(axis=0)).ravel()


def _divided(left: sparse.csc_matrix, context: StageContext, roots: str) -> sparse.csc_matrix:
    """A column block whose rows are divided by the users' sums (GF-CF)."""
    users = Vector(context.workspace(), layout.RootPaths(roots).users)[:]
    data = left.data.astype(np.float64) * users[left.indices] ** 2
    return sparse.csc_matrix((data, left.indices, left.indptr), shape=left.shape)


def _feature_block(context: StageContext, i: slice, j: slice, weight: float) -> Array:
    """Compute ``weight F_i F_j'`` of two tiles of items, accumulated in float64."""
    features = context.item_rows("features")
    left: Any = features.item_rows(i.start, i.stop).astype(np.float64)
    right: Any = features.item_rows(j.start, j.stop).astype(np.float64)
    if sparse.issparse(left):
        product = gram_block(left.T.tocsc(), right.T.tocsr(), np.float64)
    else:
        product = left @ right.T
    product *= weight
    return np.asarray(product, dtype=context.dtype)
