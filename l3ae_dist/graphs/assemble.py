"""The assemble stage: everything of the factored model beside P itself (woodbury route).

Equations of the factored form (docs/mathematics): ``M = (F F' + reg_f I)^-1``, ``V``, ``a``,
``Q = P F'`` and ``pc = diag(P C)``, each by item tile.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.data.features import Rows, dense
from l3ae_dist.errors import NumericalError
from l3ae_dist.graphs.chunk_tasks import Blocks, ChunkGraph, Compute
from l3ae_dist.graphs.context import StageContext, StageParams
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.graphs.tile_memory import process_kernels, process_reader
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.kernels import CpuKernels
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest

_ROWS = 1024
# Tiles read beyond the one in use: its product takes less time than to read and check one.
_TILES_AHEAD = 2
# Of a tile in float64 at a time. The system gives larger pieces of memory back after each use, and fills them
# with zeros before the next, which takes longer than the product.
_SLAB_BYTES = 8 * 2**20


@dataclass(frozen=True)
class SemanticParams(StageParams):
    """Parameters of the semantic system.

    Parameters
    ----------
    reg_f
        Its ridge.
    core
        Items that it is made of, the first ones; the others get the columns of items that come after it.
    """

    reg_f: float
    core: int


@dataclass(frozen=True)
class CoreParams(StageParams):
    """The inverse of the system of a core, which the other items are not in.

    Parameters
    ----------
    core
        Items of the core, the first ones.
    ridge
        On the diagonal, which is all that the other items have.
    """

    core: int
    ridge: float


def row_graph(grid: TileGrid, array: str, compute: Compute, *, stage: Stage = Stage.ASSEMBLE) -> ChunkGraph:
    """Return the graph that computes an n x columns array, one independent task per item tile.

    Parameters
    ----------
    grid
        The tile grid.
    array
        What the stage calls the array.
    compute
        One of the functions of this module.
    stage
        Name of the stage.
    """
    return ChunkGraph(stage, grid, array, compute, grid.count)


def semantic_inverse_graph(grid: TileGrid) -> ChunkGraph:
    """Return the graph of one task that computes the d x d inverse ``M``."""
    return ChunkGraph(Stage.ASSEMBLE, grid, "M", semantic_inverse, 1)


def semantic_inverse(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Compute ``M = (F F' + reg_f I_d)^-1``, d x d float64, streaming the embeddings.

    n d^2 + d^3 flops (?potrf, ?trtri, ?lauum); 24 d^2 bytes.

    Parameters
    ----------
    ref
        The only chunk of ``M``.
    context
        With :class:`SemanticParams` and the array ``embeddings``.
    count
        Left alone: no tiles are read.
    """
    params, f = context.params_as(SemanticParams), context.item_rows("embeddings")
    n, d = params.core, f.shape[1]
    system = np.zeros((d, d))
    for start in range(0, n, _ROWS):
        rows: Any = f.item_rows(start, min(start + _ROWS, n)).astype(np.float64)
        product = rows.T @ rows
        system += product.toarray() if sparse.issparse(product) else product
    system[np.diag_indices(d)] += params.reg_f
    kernels = CpuKernels()
    kernels.potrf(system)
    kernels.trtri(system)
    kernels.lauum(system)
    kernels.symmetrize(system)
    return [(ref, system)]


def semantic_rows(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Compute the rows of ``V'`` and ``a`` of an item tile, (tile, d) and (tile, 1).

    Float64 throughout, because the diagonal of P1 cancels. 2 d^2 flops an item. An item that the system is
    not made of gets the column of one that comes after it, ``C = F' M f``: V is ``M f`` and a is 0.

    Parameters
    ----------
    ref
        The chunk of ``V``; that of ``a`` has the same coordinates.
    context
        With :class:`SemanticParams` and the arrays ``embeddings`` and ``M``.
    count
        Left alone: no tiles are read.
    """
    params = context.params_as(SemanticParams)
    m = context.array("M").read(0, 0)
    f = _item_rows(context.item_rows("embeddings"), context, ref.i, np.float64)
    w = f @ m
    scale = np.ones(len(f))
    inside = slice(0, max(0, params.core - context.grid.rows(ref.i).start))
    scale[inside] /= 1.0 - np.einsum("ij,ij->i", f[inside], w[inside])  # 1 / (reg_f p1)
    _check_cancellation(scale, context, ref.i, params.reg_f)
    return [(TileRef("a", ref.i, 0), (1.0 - scale)[:, None]), (ref, w * scale[:, None])]


def _check_cancellation(scale: Array, context: StageContext, i: int, reg_f: float) -> None:
    bad = np.flatnonzero(~(np.isfinite(scale) & (scale > 0) & (scale < 1e10)))
    if len(bad):
        item = context.grid.rows(i).start + int(bad[0])
        raise NumericalError(
            f"by woodbury the semantic system loses all digits at item {item} with reg_f = {reg_f:g}; use "
            "compute.semantic_route direct, or a larger reg_f."
        )


def product_rows(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Compute ``P_i: operand`` for an item tile from the lower tiles of P alone.

    They are those of row i, then those of column i transposed. 2 b n columns flops for a tile of b items.

    Parameters
    ----------
    ref
        The chunk of the product, (tile, columns).
    context
        With the arrays ``P`` and ``operand``.
    count
        Counts the bytes of tiles read.
    """
    return [(ref, _product(ref.i, context.grid, context, count))]


def core_product_rows(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Compute ``P_i: operand`` where P is the inverse of a core, and ``I / ridge`` for the other items.

    Parameters
    ----------
    ref
        The chunk of the product, (tile, columns).
    context
        With :class:`CoreParams` and the arrays ``P`` of the core and ``operand`` of all items.
    count
        Counts the bytes of tiles read.
    """
    params, tile, dtype = context.params_as(CoreParams), context.grid.rows(ref.i), np.dtype(context.dtype)
    grid, operand = TileGrid(params.core, context.grid.tile), context.item_rows("operand")
    parts = [] if ref.i >= grid.count else [_product(ref.i, grid, context, count)]
    first = max(tile.start, params.core)
    if first < tile.stop:
        parts.append((dense(operand.item_rows(first, tile.stop)) / params.ridge).astype(dtype))
    return [(ref, np.concatenate(parts))]


def _product(i: int, grid: TileGrid, context: StageContext, count: ReadCount) -> Array:
    """Multiply row i of the lower tiles of P, on their grid, with the operand; (tile, columns)."""
    dtype, operand = np.dtype(context.dtype), context.item_rows("operand")
    acc = np.zeros((grid.size(i), operand.shape[1]), dtype)
    wide = np.promote_types(dtype, context.arithmetic)
    kernels = process_kernels(context.device, wide.name)
    handle = kernels.load(acc)
    p = context.array("P")
    pairs = [(i, j) for j in range(i + 1)] + [(j, i) for j in range(i + 1, grid.count)]
    tiles = process_reader().stream([(TileRequest(p, *pair),) for pair in pairs], count, ahead=_TILES_AHEAD)
    for (row, column), (tile,) in zip(pairs, tiles, strict=True):
        rows = grid.rows(column if row == i else row)
        block = kernels.operand(dense(operand.item_rows(rows.start, rows.stop), wide))
        for part in _slabs(tile):
            if row == i:
                kernels.gemm_nn(handle[part], tile[part], block)
            else:
                kernels.gemm_tn(handle, tile[part], block[part])
    kernels.store(handle, acc)
    return acc


def _slabs(tile: Array) -> Iterator[slice]:
    """Cut a tile into rows whose copy in the dtype of the arithmetic takes memory that is used again."""
    height = max(1, _SLAB_BYTES // (8 * max(1, tile.shape[1])))
    for start in range(0, tile.shape[0], height):
        yield slice(start, start + height)


def diagonal_rows(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Read ``diag(P)`` of an item tile, (tile, 1).

    Parameters
    ----------
    ref
        The chunk of the diagonal.
    context
        With the array ``P``.
    count
        Left alone: no tiles are read.
    """
    tile = context.array("P").read(ref.i, ref.i)
    return [(ref, np.ascontiguousarray(np.diag(tile))[:, None])]


def product_diagonal_rows(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Compute ``pc = diag(P) a + rowsum(Q * V')`` of an item tile, (tile, 1) float64.

    Parameters
    ----------
    ref
        The chunk of ``pc``.
    context
        With the arrays ``diagonal``, ``a``, ``Q`` and ``V``.
    count
        Left alone: no tiles are read.
    """
    diagonal, a, q, v = (
        np.asarray(context.array(name).read(ref.i, 0), np.float64)[: context.grid.size(ref.i)]
        for name in ("diagonal", "a", "Q", "V")
    )
    return [(ref, diagonal * a + np.einsum("ij,ij->i", q, v)[:, None])]


def _item_rows(rows: Rows, context: StageContext, i: int, dtype: npt.DTypeLike) -> Array:
    tile = context.grid.rows(i)
    return dense(rows.item_rows(tile.start, tile.stop), dtype)
