"""Ranks of held-out items under many models at once, without any top list.

The models of a sweep that share an inverse are heads of the same products ``x A``: each scales their columns,
and adds the scores of the text times a weight. A task per user block finds the scores of its held-out items
and their ranks within their own item tile; a task per (user block, item tile) counts the columns of the other
tiles that come before them. The client adds up.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np
from scipy import sparse

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.graphs.chunk_tasks import Blocks, ChunkTask
from l3ae_dist.graphs.context import StageContext, StageParams, open_chunks, open_workspace
from l3ae_dist.graphs.score_terms import MatrixTerm, ScoreTerms, TermArrays
from l3ae_dist.graphs.shared_scoring import History, SharedScorer, TileScores
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.graphs.tile_memory import process_reader
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.ranks_in_rows import HeadScores, count_over, limits_of, ranks_within
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tile_requests import ReadCount

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ScaledProduct:
    """A product ``x A`` whose columns every model scales; its own scale is not used.

    Parameters
    ----------
    term
        Of A.
    first
        Column of the array ``heads`` that holds the factors of the first model; the others' follow.
    """

    term: MatrixTerm
    first: int


@dataclass(frozen=True, slots=True)
class Heads:
    """Models that score with the same products.

    Parameters
    ----------
    products
        What they scale; none for a model of the text alone.
    weights
        Weight of the text's scores in each model.
    first
        Column of the first model among all that are ranked.
    """

    products: tuple[ScaledProduct, ...]
    weights: tuple[float, ...]
    first: int

    @property
    def columns(self) -> slice:
        """Columns of the models among all that are ranked."""
        return slice(self.first, self.first + len(self.weights))


@dataclass(frozen=True, slots=True)
class HeadBatch:
    """Models that share the scores of one text, which are computed once; None for models without text."""

    text: ScoreTerms | None
    heads: tuple[Heads, ...]


@dataclass(frozen=True)
class RankParams(StageParams):
    """The models and items that the rank stage counts for.

    Parameters
    ----------
    dataset, split
        Id of the dataset, and the split whose items are held out.
    batches
        The models.
    scores
        Scores that a worker may hold at once.
    """

    dataset: str
    split: layout.Split
    batches: tuple[HeadBatch, ...]
    scores: int


@dataclass(frozen=True)
class RankGraph:
    """All user blocks, each with its held-out items first and then every item tile.

    Column ``grid.count`` of the array ``counts`` holds the ranks within the own tile; it is written with
    ``held``.
    """

    grid: TileGrid
    user_blocks: int
    stage: Stage = Stage.RANK

    def __len__(self) -> int:
        return self.user_blocks * (1 + self.grid.count)

    def tasks(self) -> Iterator[ChunkTask]:
        """Yield all tasks; those of a user block wait for its first one."""
        for u in range(self.user_blocks):
            held = TileRef("held", u, 0)
            yield ChunkTask(held, held_scores)
            for j in range(self.grid.count):
                yield ChunkTask(TileRef("counts", u, j), columns_before, (held,))

    def task_for(self, ref: TileRef) -> ChunkTask | None:
        """Return the task that writes ``ref``, or None when this graph does not."""
        held = TileRef("held", ref.i, 0)
        if ref == held or (ref.array == "counts" and ref.j == self.grid.count):
            return ChunkTask(held, held_scores)
        return ChunkTask(ref, columns_before, (held,)) if ref.array == "counts" else None


@dataclass(frozen=True)
class _Block:
    """Users with held-out items, those with the most first; their items lie by ascending user, then item."""

    rows: sparse.csr_matrix
    starts: Array
    lengths: Array
    items: Array
    owners: Array
    scorer: SharedScorer


@lru_cache(maxsize=1)
def _block(
    url: str, dataset: str, split: layout.Split, users_path: str, block: int, grid: TileGrid, dtype: str
) -> _Block:
    workspace = open_workspace(url, False)
    source = Dataset(workspace, dataset)
    users = open_chunks(url, users_path, False).read(block, 0)[:, 0]
    truth = source.rows_of(split, users)
    counts = np.diff(truth.indptr)
    order = np.argsort(-counts, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    rows = source.rows_of("input", users)[order]
    scorer = SharedScorer(History(rows, grid, dtype), TermArrays(workspace), process_reader(), ReadCount())
    owners = np.repeat(place, counts)
    return _Block(rows, truth.indptr[:-1][order], counts[order], truth.indices, owners, scorer)


def _open_block(context: StageContext, u: int, count: ReadCount) -> _Block:
    params, users_path = context.params_as(RankParams), context.paths["users"]
    block = _block(context.url, params.dataset, params.split, users_path, u, context.grid, context.dtype)
    block.scorer.count = count
    return block


def held_scores(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Score the held-out items of a user block, and rank each within its own item tile.

    Parameters
    ----------
    ref
        User block ``ref.i`` of ``held``.
    context
        With :class:`RankParams` and the arrays ``users``, ``heads``, ``held`` and ``counts``.
    count
        Counts the bytes of tiles read.

    Returns
    -------
    list
        Ranks, (items, models) int32, and scores, (items, models).
    """
    u, grid = ref.i, context.grid
    block = _open_block(context, u, count)
    values = np.zeros(context.array("held").valid_shape(u, 0), context.dtype)
    ranks = np.zeros(context.array("counts").valid_shape(u, grid.count), np.int32)
    for j in range(grid.count):
        tile = grid.rows(j)
        inside = np.flatnonzero((block.items >= tile.start) & (block.items < tile.stop))
        for start in range(0, len(inside), len(block.lengths)):
            _own_tile(inside[start : start + len(block.lengths)], j, block, context, values, ranks)
    return [(TileRef("counts", u, grid.count), ranks), (ref, values)]


def _own_tile(
    entries: Array, j: int, block: _Block, context: StageContext, values: Array, ranks: Array
) -> None:
    """Scores and ranks of some held-out items that lie in tile j, one row each."""
    shared = block.scorer
    history = History(block.rows[block.owners[entries]], context.grid, context.dtype)
    scorer = SharedScorer(history, shared.arrays, process_reader(), shared.count)
    columns = block.items[entries] - context.grid.rows(j).start
    for batch in tile_batches(scorer, j, context):
        found = _by_rows(partial(_own_ranks, batch, columns), len(entries), context.grid.size(j), context)
        for rows, some, rank, own in (one for several in found for one in several):
            ranks[entries[rows], some] = rank
            values[entries[rows], some] = own


def _own_ranks(batch: "TileBatch", columns: Array, rows: slice) -> list[tuple[slice, slice, Array, Array]]:
    """For some rows, the ranks and scores of one column each under all heads of a batch."""
    return [(rows, some, *ranks_within(scores, columns[rows])) for some, scores in batch.of_users(rows)]


def columns_before(ref: TileRef, context: StageContext, count: ReadCount) -> Blocks:
    """Count the columns of an item tile that come before each held-out item of a user block.

    Parameters
    ----------
    ref
        User block ``ref.i`` and item tile ``ref.j`` of ``counts``.
    context
        With :class:`RankParams` and the arrays ``users``, ``heads``, ``held`` and ``counts``.
    count
        Counts the bytes of tiles read.

    Returns
    -------
    list
        Counts, (items, models) int32.
    """
    u, j = ref.i, ref.j
    block = _open_block(context, u, count)
    counts = np.zeros(context.array("counts").valid_shape(u, j), np.int32)
    _count(block, j, context, context.array("held").read(u, 0)[: len(block.items)], counts)
    block.scorer.forget_tile()
    if j == context.grid.count - 1:
        _block.cache_clear()
    return [(ref, counts)]


def _count(block: _Block, j: int, context: StageContext, held: Array, counts: Array) -> None:
    tile = context.grid.rows(j)
    before = block.items >= tile.stop
    limits = limits_of(held, before)
    limits[:, (block.items >= tile.start) & ~before] = np.inf  # counted with the item's own tile
    for batch in tile_batches(block.scorer, j, context):
        function = partial(_count_rows, block, batch, limits, counts)
        _by_rows(function, len(block.lengths), context.grid.size(j), context)


def _count_rows(block: _Block, batch: "TileBatch", limits: Array, counts: Array, rows: slice) -> None:
    limited = block.starts[rows], block.lengths[rows]
    for some, scores in batch.of_users(rows):
        count_over(scores, limits[some], *limited, counts[:, some])


@dataclass(frozen=True, slots=True)
class TileBatch:
    """A batch on one item tile: the text's scores; columns, products with factors, and weights of heads."""

    text: TileScores | None
    heads: tuple[tuple[slice, tuple[tuple[Array, Array], ...], Array], ...]
    history: sparse.csr_matrix

    def of_users(self, rows: slice) -> Iterator[tuple[slice, HeadScores]]:
        """Yield the models' columns and the scores of some users; valid until the thread's next call."""
        history = self.history[rows]
        text = None if self.text is None else self.text.of_users(rows, _text_buffer(self.text, history))
        for some, products, weights in self.heads:
            own = tuple((times[rows], factors) for times, factors in products)
            yield some, HeadScores(own, text, weights, history)


def tile_batches(scorer: SharedScorer, j: int, context: StageContext) -> Iterator[TileBatch]:
    """Gather the batches on an item tile.

    Parameters
    ----------
    scorer
        Of the users.
    j
        The item tile.
    context
        With :class:`RankParams` and the array ``heads``.
    """
    factors = context.array("heads").read(j, 0).T.astype(context.dtype)
    for batch in context.params_as(RankParams).batches:
        text = None if batch.text is None else scorer.tile(batch.text, j)
        heads = tuple(
            (
                one.columns,
                tuple(
                    (scorer.times(made.term, j), factors[made.first : made.first + len(one.weights)])
                    for made in one.products
                ),
                np.asarray(one.weights, context.dtype),
            )
            for one in batch.heads
        )
        yield TileBatch(text, heads, scorer.history.part(j))


_buffers = threading.local()


def _text_buffer(text: TileScores, history: sparse.csr_matrix) -> Array:
    """Return a thread's array for the text's scores of some users."""
    if getattr(_buffers, "shape", None) != history.shape:
        _buffers.shape, _buffers.text = history.shape, np.empty(history.shape, text.diagonal.dtype)
    made: Array = _buffers.text
    return made


def _by_rows(function: Callable[[slice], R], rows: int, width: int, context: StageContext) -> list[R]:
    """Call for blocks of rows in as many threads as BLAS has, which then has one in each."""
    controller, threads = _threads()
    step = max(1, min(context.params_as(RankParams).scores // (threads * width), -(-rows // threads)))
    parts = [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
    with controller.limit(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, parts))


@lru_cache(maxsize=1)
def _threads() -> tuple[Any, int]:
    """The BLAS libraries of this process, and how many threads they have."""
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController()
    return controller, max((library["num_threads"] for library in controller.info()), default=1)
