"""The assemble stage: everything of the factored model beside P itself (woodbury route).

Equations of the factored form (docs/mathematics): ``M = (F F' + reg_f I)^-1``, ``V``, ``a``,
``Q = P F'`` and ``pc = diag(P C)``, each by item tile.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.data.features import Rows, dense
from l3ae_dist.errors import NumericalError
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
from l3ae_dist.linalg.kernels import CpuKernels
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tile_reader import ReadCount, TileRequest

Operation = Callable[[int, StageContext, ReadCount], Array]
_ROWS = 1024


@dataclass(frozen=True, slots=True)
class RowTask:
    """Apply ``operation`` to item tile ``target.i``."""

    target: TileRef
    operation: str
    deps: tuple[TileRef, ...] = ()
    feeds: TileRef | None = None

    def flops(self, grid: TileGrid) -> float:
        """Small beside the tile stages: not counted."""
        return 0.0


@dataclass(frozen=True)
class RowGraph:
    """One independent task per item tile."""

    stage: Stage
    grid: TileGrid
    target: str
    operation: str
    count: int | None = None

    def __len__(self) -> int:
        return self.grid.count if self.count is None else self.count

    def tasks(self) -> Iterator[RowTask]:
        """All tasks."""
        for i in range(len(self)):
            yield RowTask(TileRef(self.target, i, 0), self.operation)

    def task_for(self, ref: TileRef) -> RowTask | None:
        """The task that writes ``ref``."""
        return RowTask(ref, self.operation) if ref.array == self.target else None


@run_task.register
def run_row_task(task: RowTask, context: StageContext) -> TaskRecord:
    """Compute one chunk row and write it."""
    started = time.time()
    done = existing_record(task.target, context, started)
    if done is not None:
        return done
    count = ReadCount()
    with ARITHMETIC:
        process_reader().resize(0)
        block = OPERATIONS[task.operation](task.target.i, context, count)
        array = context.array(task.target.array)
        mark = array.write(task.target.i, task.target.j, block, epoch=context.epoch)
    return written_record(
        task.target, mark, started, bytes_read=count.bytes, bytes_written=array.chunk_nbytes + 4
    )


def semantic_inverse(i: int, context: StageContext, count: ReadCount) -> Array:
    """``M = (F F' + reg_f I_d)^-1`` in float64, streaming the embeddings; 24 d^2 bytes."""
    f = context.rows("embeddings")
    n, d = f.shape
    system = np.zeros((d, d))
    for start in range(0, n, _ROWS):
        rows: Any = f.item_rows(start, min(start + _ROWS, n)).astype(np.float64)
        product = rows.T @ rows
        system += product.toarray() if sparse.issparse(product) else product
    system[np.diag_indices(d)] += float(context.params["reg_f"])
    kernels = CpuKernels()
    kernels.potrf(system)
    kernels.trtri(system)
    kernels.lauum(system)
    kernels.symmetrize(system)
    return np.asarray(system)


def semantic_rows(i: int, context: StageContext, count: ReadCount) -> Array:
    """Rows of ``V'`` for item tile i; also writes ``a`` (one column). Float64 throughout: p1 cancels."""
    reg_f = float(context.params["reg_f"])
    m = context.array("M").read(0, 0)
    f = _item_rows(context.rows("embeddings"), context, i, np.float64)
    w = f @ m
    scale = 1.0 / (1.0 - np.einsum("ij,ij->i", f, w))  # 1 / (reg_f p1)
    context.array("a").write(i, 0, (1.0 - scale)[:, None], epoch=context.epoch)
    _check_cancellation(scale, context, i, reg_f)
    return np.asarray(w * scale[:, None])


def _check_cancellation(scale: Array, context: StageContext, i: int, reg_f: float) -> None:
    bad = np.flatnonzero(~(np.isfinite(scale) & (scale > 0) & (scale < 1e10)))
    if len(bad):
        item = context.grid.rows(i).start + int(bad[0])
        raise NumericalError(
            f"the semantic system loses all digits at item {item} with reg_f = {reg_f:g}; use a larger reg_f."
        )


def product_rows(i: int, context: StageContext, count: ReadCount) -> Array:
    """``P_i: operand`` for item tile i, from the lower tiles alone: row i, then column i transposed."""
    dtype = np.dtype(context.dtype)
    operand = context.rows("operand")
    acc = np.zeros((context.grid.size(i), operand.shape[1]), dtype)
    kernels = process_kernels(context.device)
    handle = kernels.load(acc)
    p = context.array("P")
    pairs = [(i, j) for j in range(i + 1)] + [(j, i) for j in range(i + 1, context.grid.count)]
    tiles = process_reader().stream([(TileRequest(p, *pair),) for pair in pairs], count)
    for (row, column), (tile,) in zip(pairs, tiles, strict=True):
        other = column if row == i else row
        block = _item_rows(operand, context, other, dtype)
        factor = tile.astype(dtype, copy=False)
        if row == i:
            kernels.gemm_nn(handle, factor, block)
        else:
            kernels.gemm_tn(handle, factor, block)
    kernels.store(handle, acc)
    return acc


def diagonal_rows(i: int, context: StageContext, count: ReadCount) -> Array:
    """``diag(P)`` of item tile i."""
    return np.ascontiguousarray(np.diag(context.array("P").read(i, i)))[:, None]


def product_diagonal_rows(i: int, context: StageContext, count: ReadCount) -> Array:
    """``pc = diag(P) a + rowsum(Q * V')`` of item tile i."""
    diagonal, a, q, v = (
        np.asarray(context.array(name).read(i, 0), np.float64) for name in ("diagonal", "a", "Q", "V")
    )
    return np.asarray(diagonal * a + np.einsum("ij,ij->i", q, v)[:, None])


def _item_rows(rows: Rows, context: StageContext, i: int, dtype: npt.DTypeLike) -> Array:
    tile = context.grid.rows(i)
    return dense(rows.item_rows(tile.start, tile.stop), dtype)


OPERATIONS: dict[str, Operation] = {
    "semantic_inverse": semantic_inverse,
    "semantic_rows": semantic_rows,
    "product_rows": product_rows,
    "diagonal_rows": diagonal_rows,
    "product_diagonal_rows": product_diagonal_rows,
}
