"""The gram stage: lower tiles of ``X' X + alpha^2 F' F``, each from two blocks of items.

Either part may be missing: EASE has no features, the direct semantic system no interactions.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import sparse

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.graphs.context import StageContext, open_workspace
from l3ae_dist.graphs.execute import (
    STAGED,
    STAGING,
    TaskRecord,
    existing_record,
    process_reader,
    run_task,
    written_record,
)
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.sparse_gram import gram_block
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.vectors import Vector


@dataclass(frozen=True, slots=True)
class GramTask:
    """Tile (i, j) of the Gram matrix."""

    target: TileRef
    deps: tuple[TileRef, ...] = ()
    feeds: TileRef | None = None

    def flops(self, grid: TileGrid) -> float:
        """Depends on the data, not on the grid: not counted."""
        return 0.0


@dataclass(frozen=True)
class GramGraph:
    """All lower tiles, row by row, so that a worker reads the block of row i once."""

    grid: TileGrid
    stage: Stage = Stage.GRAM

    def __len__(self) -> int:
        return self.grid.lower_count

    def tasks(self) -> Iterator[GramTask]:
        """All tasks; they do not depend on each other."""
        for i in range(self.grid.count):
            for j in range(i + 1):
                yield GramTask(TileRef("gram", i, j))

    def task_for(self, ref: TileRef) -> GramTask | None:
        """The task that writes ``ref``."""
        return GramTask(ref) if ref.array == "gram" else None


@lru_cache(maxsize=2)
def _by_column(url: str, dataset: str, start: int, stop: int) -> sparse.csc_matrix:
    return Dataset(open_workspace(url, False), dataset).columns(start, stop)


@lru_cache(maxsize=STAGED)
def _by_row(url: str, dataset: str, start: int, stop: int) -> sparse.csr_matrix:
    return _by_column(url, dataset, start, stop).tocsr()


@run_task.register
def run_gram_task(task: GramTask, context: StageContext) -> TaskRecord:
    """Read two column blocks, multiply, write one tile."""
    started = time.time()
    done = existing_record(task.target, context, started)
    if done is not None:
        return done
    with STAGING:
        process_reader().resize(0)
        return _write_tile(task, context, started)


def _write_tile(task: GramTask, context: StageContext, started: float) -> TaskRecord:
    i, j = context.grid.rows(task.target.i), context.grid.rows(task.target.j)
    dataset, read = context.params["dataset"], 0
    tile = None
    if dataset is not None:
        left = _by_column(context.url, dataset, i.start, i.stop)
        right = _by_row(context.url, dataset, j.start, j.stop)
        roots = context.params.get("roots")
        tile = gram_block(left if roots is None else _divided(left, context), right, context.dtype)
        if roots is not None:
            item_roots = Vector(context.workspace(), f"{roots}/items")
            tile *= item_roots[i][:, None] * item_roots[j]
        read = 12 * (left.nnz + right.nnz)
    if "features" in context.paths:
        product = _feature_block(context, i, j)
        tile = product if tile is None else tile + product
    assert tile is not None
    array = context.array("gram")
    mark = array.write(task.target.i, task.target.j, tile, epoch=context.epoch)
    return written_record(task.target, mark, started, bytes_read=read, bytes_written=array.chunk_nbytes + 4)


def _divided(left: sparse.csc_matrix, context: StageContext) -> sparse.csc_matrix:
    """A column block whose rows are divided by the users' sums (GF-CF)."""
    users = Vector(context.workspace(), f"{context.params['roots']}/users")[:]
    data = left.data.astype(np.float64) * users[left.indices] ** 2
    return sparse.csc_matrix((data, left.indices, left.indptr), shape=left.shape)


def _feature_block(context: StageContext, i: slice, j: slice) -> Array:
    """``alpha^2 F_i F_j'`` of two tiles of items, accumulated in float64."""
    features, weight = context.rows("features"), float(context.params["alpha"]) ** 2
    left: Any = features.item_rows(i.start, i.stop).astype(np.float64)
    right: Any = features.item_rows(j.start, j.stop).astype(np.float64)
    if sparse.issparse(left):
        product = gram_block(left.T.tocsc(), right.T.tocsr(), np.float64)
    else:
        product = left @ right.T
    product *= weight
    return np.asarray(product, dtype=context.dtype)
