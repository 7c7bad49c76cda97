"""The direct route of the semantic phase: ``P C`` tile by tile from the tiles of P and of P1.

``C_ij = -P1_ij / P1_jj`` off the diagonal, zero on it: C is made in memory, one tile at a time, from the
lower tiles of ``P1 = (F'F + reg_f I)^-1``. The product is not symmetric, so all of its tiles are written.
"""

import numpy as np

from l3ae_dist.graphs.chunk_tasks import Blocks, ChunkGraph
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.graphs.tile_memory import process_kernels, process_reader
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest


def product_graph(grid: TileGrid) -> ChunkGraph:
    """Return the product stage: all tiles of ``P C``, row by row."""
    return ChunkGraph(Stage.PRODUCT, grid, "product", product_tile, grid.count, grid.count, inner=grid.n)


def product_tile(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Compute a tile of ``P C``: ``sum_k P_ik C_kj``, its columns divided by the diagonal of P1 at the end.

    2 m n flops for each item; holds a tile, the operand pairs being read and one copy.

    Parameters
    ----------
    ref
        The tile.
    context
        With the arrays ``P``, ``P1``, ``diagonal`` (of P1) and ``product``.
    count
        Counts the bytes of tiles read.
    """
    i, j = ref.i, ref.j
    grid, dtype = context.grid, np.dtype(context.dtype)
    p, p1 = context.array("P"), context.array("P1")
    kernels = process_kernels(context.device, context.arithmetic)
    acc = np.zeros(grid.shape(i, j), dtype)
    handle = kernels.load(acc)
    requests = [
        (TileRequest(p, max(i, k), min(i, k)), TileRequest(p1, max(k, j), min(k, j)))
        for k in range(grid.count)
    ]
    for k, (left, right) in enumerate(process_reader().stream(requests, count)):
        block = np.array(right if k >= j else right.T, dtype, order="C")
        if k == j:
            np.fill_diagonal(block, 0)
        multiply = kernels.gemm_nn if i >= k else kernels.gemm_tn
        multiply(handle, left.astype(dtype, copy=False), block)
    kernels.store(handle, acc)
    rows = grid.rows(j)
    acc /= -context.item_rows("diagonal").item_rows(rows.start, rows.stop)[:, 0].astype(dtype)
    return [(ref, acc)]
