"""Scoring: a user block against an item tile, for several models that share matrices.

By :mod:`l3ae_dist.graphs.shared_scoring`: ``x P`` is computed once per (user block,
item tile), ``x Q`` once per user block, and every model only rescales. Results are the best ``k`` items
of each user within the tile; the client merges the tiles.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.graphs.chunk_tasks import Blocks, ChunkGraph
from l3ae_dist.graphs.context import StageContext, StageParams, open_chunks, open_workspace
from l3ae_dist.graphs.score_terms import ScoreTerms, TermArrays
from l3ae_dist.graphs.shared_scoring import History, SharedScorer
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.graphs.tile_memory import process_reader
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tile_requests import ReadCount


@dataclass(frozen=True)
class ScoreParams(StageParams):
    """The models and users that the score stage lists items for.

    Parameters
    ----------
    dataset
        Id of the dataset whose users are scored.
    models
        Their terms.
    k
        Items kept of each user and tile.
    """

    dataset: str
    models: tuple[ScoreTerms, ...]
    k: int


def score_graph(grid: TileGrid, user_blocks: int) -> ChunkGraph:
    """Return the score stage: all (user block, item tile) pairs, users outside."""
    return ChunkGraph(Stage.SCORE, grid, "top_items", best_of_tile, user_blocks, grid.count)


@lru_cache(maxsize=1)
def _scorer(url: str, dataset: str, users_path: str, block: int, grid: TileGrid, dtype: str) -> SharedScorer:
    workspace = open_workspace(url, False)
    users = open_chunks(url, users_path, False).read(block, 0)[:, 0]
    rows = Dataset(workspace, dataset).rows_of("input", users)
    return SharedScorer(History(rows, grid, dtype), TermArrays(workspace), process_reader(), ReadCount())


def best_of_tile(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Score a user block on an item tile with every model and keep the best items of each user.

    Parameters
    ----------
    ref
        User block ``ref.i`` and item tile ``ref.j`` of ``top_items``.
    context
        With :class:`ScoreParams` and the arrays ``users``, ``top_items`` and ``top_values``.
    count
        Counts the bytes of tiles read.

    Returns
    -------
    list
        Scores and item positions, (users, models k) each; position -1 where there are fewer items.
    """
    u, j, params = ref.i, ref.j, context.params_as(ScoreParams)
    users_path = context.paths["users"]
    scorer = _scorer(context.url, params.dataset, users_path, u, context.grid, context.dtype)
    scorer.count = count
    history, k = scorer.history, params.k
    items = np.full((history.users, len(params.models) * k), -1, np.int64)
    values = np.full((history.users, len(params.models) * k), -np.inf, history.dtype)
    for h, model in enumerate(params.models):
        best, score = top_k(scorer.scores(model, j), k, seen=history.part(j))
        items[:, h * k : (h + 1) * k] = np.where(best >= 0, best + context.grid.rows(j).start, -1)
        values[:, h * k : (h + 1) * k] = score
    return [(TileRef("top_values", u, j), values), (ref, items)]
