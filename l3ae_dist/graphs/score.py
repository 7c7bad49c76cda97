"""Scoring: a user block against an item tile, for several models that share matrices.

The terms of a score are those of :mod:`l3ae_dist.graphs.head`: ``x P`` is computed once per (user block,
item tile), ``x Q`` once per user block, and every model only rescales. Results are the best ``k`` items
of each user within the tile; the client merges the tiles.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.graphs.context import StageContext, open_chunks, open_workspace
from l3ae_dist.graphs.execute import (
    ARITHMETIC,
    TaskRecord,
    existing_record,
    process_reader,
    run_task,
    written_record,
)
from l3ae_dist.graphs.head import Head, History, Parts, Scorer
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tile_reader import ReadCount


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """User block ``target.i`` against item tile ``target.j``."""

    target: TileRef
    deps: tuple[TileRef, ...] = ()
    feeds: TileRef | None = None

    def flops(self, grid: TileGrid) -> float:
        """Depends on the data: not counted."""
        return 0.0


@dataclass(frozen=True)
class ScoreGraph:
    """All (user block, item tile) pairs, users outside."""

    grid: TileGrid
    user_blocks: int
    stage: Stage = Stage.SCORE

    def __len__(self) -> int:
        return self.user_blocks * self.grid.count

    def tasks(self) -> Iterator[ScoreTask]:
        """All tasks; they do not depend on each other."""
        for u in range(self.user_blocks):
            for j in range(self.grid.count):
                yield ScoreTask(TileRef("top_items", u, j))

    def task_for(self, ref: TileRef) -> ScoreTask | None:
        """The task that writes ``ref``."""
        return ScoreTask(ref) if ref.array == "top_items" else None


_GATHER = 1 << 16


def take_rows(dataset: Dataset, split: str, users: Array) -> sparse.csr_matrix:
    """Rows of ascending user indices, read in ranges."""
    if len(users) == int(users[-1]) - int(users[0]) + 1:
        return dataset.user_rows(split, int(users[0]), int(users[-1]) + 1)
    parts = []
    for start in range(int(users[0]), int(users[-1]) + 1, _GATHER):
        wanted = users[(users >= start) & (users < start + _GATHER)]
        if len(wanted):
            last = int(wanted[-1]) + 1
            parts.append(dataset.user_rows(split, start, last)[wanted - start])
    return sparse.vstack(parts, format="csr")


@lru_cache(maxsize=1)
def _scorer(url: str, dataset: str, users_path: str, block: int, grid: TileGrid, dtype: str) -> Scorer:
    workspace = open_workspace(url, False)
    users = open_chunks(url, users_path, False).read(block, 0)[:, 0]
    rows = take_rows(Dataset(workspace, dataset), "input", users)
    return Scorer(History(rows, grid, dtype), Parts(workspace), process_reader(), ReadCount())


@run_task.register
def run_score_task(task: ScoreTask, context: StageContext) -> TaskRecord:
    """Score one user block on one item tile with every head and write the best items."""
    started = time.time()
    done = existing_record(task.target, context, started)
    if done is not None:
        return done
    with ARITHMETIC:
        return _score(task, context, started)


def _score(task: ScoreTask, context: StageContext, started: float) -> TaskRecord:
    process_reader().resize(0)
    u, j = task.target.i, task.target.j
    scorer = _scorer(
        context.url, context.params["dataset"], context.paths["users"], u, context.grid, context.dtype
    )
    scorer.count = ReadCount()
    history = scorer.history
    heads: Sequence[Head] = context.params["heads"]
    k = int(context.params["k"])
    items = np.full((history.users, len(heads) * k), -1, np.int64)
    values = np.full((history.users, len(heads) * k), -np.inf, history.dtype)
    for h, head in enumerate(heads):
        best, score = top_k(scorer.scores(head, j), k, seen=history.part(j))
        items[:, h * k : (h + 1) * k] = np.where(best >= 0, best + context.grid.rows(j).start, -1)
        values[:, h * k : (h + 1) * k] = score
    context.array("top_values").write(u, j, values, epoch=context.epoch)
    mark = context.array("top_items").write(u, j, items, epoch=context.epoch)
    return written_record(
        task.target, mark, started, bytes_read=scorer.count.bytes, bytes_written=items.nbytes + values.nbytes
    )
