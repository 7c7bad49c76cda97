"""The direct route of the semantic phase: ``P C`` tile by tile from the tiles of P and of P1.

``C_ij = -P1_ij / P1_jj`` off the diagonal, zero on it: C is made in memory, one tile at a time, from the
lower tiles of ``P1 = (F'F + reg_f I)^-1``. The product is not symmetric, so all of its tiles are written.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.execute import (
    ARITHMETIC,
    TaskRecord,
    existing_record,
    process_kernels,
    process_reader,
    run_task,
    written_record,
)
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tile_reader import ReadCount, TileRequest


@dataclass(frozen=True, slots=True)
class ProductTask:
    """Tile (i, j) of ``P C``."""

    target: TileRef
    deps: tuple[TileRef, ...] = ()
    feeds: TileRef | None = None

    def flops(self, grid: TileGrid) -> float:
        """2 m n k over all tiles of the row."""
        m, n = grid.shape(self.target.i, self.target.j)
        return 2.0 * m * n * grid.n


@dataclass(frozen=True)
class ProductGraph:
    """All tiles of ``P C``, row by row."""

    grid: TileGrid
    stage: Stage = Stage.PRODUCT

    def __len__(self) -> int:
        return self.grid.count**2

    def tasks(self) -> Iterator[ProductTask]:
        """All tasks; they do not depend on each other."""
        for i in range(self.grid.count):
            for j in range(self.grid.count):
                yield ProductTask(TileRef("product", i, j))

    def task_for(self, ref: TileRef) -> ProductTask | None:
        """The task that writes ``ref``."""
        return ProductTask(ref) if ref.array == "product" else None


@run_task.register
def run_product_task(task: ProductTask, context: StageContext) -> TaskRecord:
    """Compute and write one tile unless it is done; holds a tile, operand pairs and one copy."""
    started = time.time()
    done = existing_record(task.target, context, started)
    if done is not None:
        return done
    count = ReadCount()
    with ARITHMETIC:
        process_reader().resize(0)
        began = time.time()
        tile = _product(task.target.i, task.target.j, context, count)
        computed = time.time() - began
        array = context.array("product")
        mark = array.write(task.target.i, task.target.j, tile, epoch=context.epoch)
    return written_record(
        task.target,
        mark,
        started,
        flops=task.flops(context.grid),
        bytes_read=count.bytes,
        bytes_written=array.chunk_nbytes + 4,
        began=began,
        computed=computed,
    )


def _product(i: int, j: int, context: StageContext, count: ReadCount) -> Array:
    """``sum_k P_ik C_kj``; the columns are divided by the diagonal of P1 once, at the end."""
    grid, dtype = context.grid, np.dtype(context.dtype)
    p, p1, kernels = context.array("P"), context.array("P1"), process_kernels(context.device)
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
    acc /= -context.rows("diagonal").item_rows(rows.start, rows.stop)[:, 0].astype(dtype)
    return acc
