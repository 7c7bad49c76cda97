"""The best items of many users: tiles of B outside, users inside, never users x items.

A tile is read once for a whole batch of users. What a score is the sum of goes into a block of B first
(:mod:`l3ae_dist.graphs.weight_blocks`), unless there are fewer users than rows of that block; then threads
take small groups of users, multiply, and keep what exceeds the worst of each user's list. Evaluation, which
scores many models that share matrices, has an engine of its own (:mod:`l3ae_dist.graphs.shared_scoring`).
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from l3ae_dist.data.features import RowCache
from l3ae_dist.graphs.score_terms import ScoreTerms, TermArrays
from l3ae_dist.graphs.weight_blocks import AddedTerm, Columns, ColumnTerm, WeightBlocks, times_transposed
from l3ae_dist.linalg.arrays import Array, Matrix
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.linalg.top_k import RunningTop
from l3ae_dist.storage.forked import in_children
from l3ae_dist.storage.tile_reader import TileReader

# Scores of one group of users on one tile: what fits a core's cache beside the rows it reads.
_GROUP_BYTES = 4 << 20
# Shares of the memory budget: cached tiles and rows, the block of B, and what belongs to a batch of users.
CACHE_SHARE, ROWS_SHARE, BLOCK_SHARE, USER_SHARE = 0.375, 0.125, 0.25, 0.125


@dataclass(frozen=True)
class Candidates:
    """The items that may be listed.

    Parameters
    ----------
    items
        Ascending item positions for every user; None for all.
    hidden
        (users, items) positions that a user does not get.
    only
        (users, items) positions, of which alone a user gets some; None for no such list.
    listed
        (users,) which users ``only`` is for.
    """

    items: Array | None = None
    hidden: sparse.csr_matrix | None = None
    only: sparse.csr_matrix | None = None
    listed: Array | None = None


class BatchScorer:
    """Ranks items for many histories at once with the arrays of one model.

    Parameters
    ----------
    arrays, grid, dtype
        The model's arrays, their tiles, and the dtype of the scores.
    array_budget
        Bytes of tiles, blocks and lists held at once; the interpreter is not counted.
    threads
        Of this process; all cores when None.
    """

    def __init__(
        self,
        arrays: TermArrays,
        grid: TileGrid,
        dtype: str,
        *,
        array_budget: int,
        threads: int | None = None,
    ) -> None:
        self.arrays = arrays
        self.grid = grid
        self.dtype = np.dtype(dtype)
        self.array_budget = array_budget
        self.reader = TileReader(int(array_budget * CACHE_SHARE))
        self._rows = RowCache(int(array_budget * ROWS_SHARE))
        self._threads = threads or os.cpu_count() or 1
        self._start()
        in_children(self._start)

    def _start(self) -> None:
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="serve")

    @cached_property
    def _blas(self) -> Any:
        from threadpoolctl import ThreadpoolController

        return ThreadpoolController()

    def batch_size(self, model: ScoreTerms, k: int, degree: float, *, reasons: bool = False) -> int:
        """Count the users that fit their share of the budget: histories, lists, tables, rows of ``x L``.

        Parameters
        ----------
        model
            The model's terms.
        k
            Items listed for each user.
        degree
            Mean length of a history.
        reasons
            Whether each listed item comes with its reasons.
        """
        per_user = 16 * degree + (200 + (64 * degree if reasons else 0)) * k
        per_user += (
            sum(self.arrays.features(term.left).shape[1] for term in model.products) * self.dtype.itemsize
        )
        width = min(self.grid.tile, self.grid.n) * self.dtype.itemsize
        if self.grid.n * width > self.array_budget * BLOCK_SHARE:
            per_user += width  # the sums between one block of rows and the next
        return max(1, int(self.array_budget * USER_SHARE / per_user))

    def top(
        self,
        model: ScoreTerms,
        histories: sparse.csr_matrix,
        k: int,
        candidates: Candidates,
        added: Sequence[AddedTerm] = (),
        n_added: int = 0,
    ) -> tuple[Array, Array]:
        """List the best ``k`` items of each history.

        Parameters
        ----------
        model
            The model's terms.
        histories
            (users, n) item histories.
        k
            Items wanted.
        candidates
            Which items may be listed.
        added, n_added
            Terms of items that are not in the catalog, and their number.

        Returns
        -------
        tuple
            Items (users, k) int64, -1 where fewer; scores (users, k). Added items follow the catalog.

        Notes
        -----
        2 nnz n flops for the sparse products and 2 d n min(users, rows) for the dense ones.
        """
        blocks = WeightBlocks(
            model, self.arrays, self.grid, self.reader, self.dtype, added, self._pool, self._rows
        )
        rows, compact = np.unique(histories.indices, return_inverse=True)
        x = sparse.csr_matrix(
            (histories.data.astype(self.dtype), compact.astype(np.int32), histories.indptr),
            shape=(histories.shape[0], len(rows)),
        )
        run = _Batch(blocks, rows.astype(np.int64), x, RunningTop(x.shape[0], k, self.dtype), candidates)
        seen = 0
        for columns in self._column_groups(candidates.items, n_added):
            self._score(run, columns, seen)
            seen += len(columns.items)
        return run.top.items, run.top.values

    def _column_groups(self, items: Array | None, n_added: int) -> list[Columns]:
        n, tile = self.grid.n, self.grid.tile
        bounds = [(j, j * tile, j * tile + self.grid.size(j)) for j in range(self.grid.count)]
        parts: list[tuple[int | None, int, int]] = list(bounds)
        parts += [(None, n + s, n + min(s + tile, n_added)) for s in range(0, n_added, tile)]
        found = []
        for j, start, stop in parts:
            if items is None:
                chosen = np.arange(start, stop)
            else:
                chosen = items[np.searchsorted(items, start) : np.searchsorted(items, stop)]
            if len(chosen):
                found.append(Columns(j, chosen - (n if j is None else start), chosen))
        return found

    def _score(self, run: "_Batch", columns: Columns, seen: int) -> None:
        """Score some columns for all users; more than one block of rows needs the sums in between."""
        width = len(columns.items) * self.dtype.itemsize
        step = max(1, int(self.array_budget * BLOCK_SHARE) // width)
        terms = run.blocks.terms(columns)
        fold = len(run.rows) <= run.x.shape[0]
        left = [] if fold else [(run.times_left(term), term.right) for term in terms]
        masks = run.masks(columns)
        groups = self._groups(run.x.shape[0], width)
        sums = None if len(run.rows) <= step else np.zeros((run.x.shape[0], len(columns.items)), self.dtype)
        for start in range(0, max(1, len(run.rows)), step):
            some = slice(start, start + step)
            block = run.blocks.block(run.rows[some], columns, terms if fold else ())
            x = run.x if sums is None else run.by_column[:, some].tocsr()
            last = start + step >= len(run.rows)

            def work(users: slice, x: Matrix = x, block: Array = block, last: bool = last) -> None:
                scores = x[users] @ block
                if sums is not None:
                    sums[users] += scores
                    scores = sums[users]
                if last:
                    run.finish(users, scores, columns, left, masks, seen)

            self._each(work, groups, bool(left))

    def _groups(self, users: int, width: int) -> list[slice]:
        step = max(1, min(-(-users // self._threads), _GROUP_BYTES // width))
        return [slice(start, min(start + step, users)) for start in range(0, users, step)]

    def _each(self, work: Callable[[slice], None], groups: list[slice], dense: bool) -> None:
        """Call for every group; threads of ours and of BLAS do not multiply."""
        if len(groups) == 1:
            work(groups[0])
            return
        alone: AbstractContextManager[Any] = nullcontext()
        if dense:
            alone = self._blas.limit(limits=1, user_api="blas")
        with alone:
            list(self._pool.map(work, groups))


Masks = tuple[sparse.csr_matrix | None, sparse.csr_matrix | None]


@dataclass
class _Batch:
    """One batch of users: their histories on the rows in use, their lists and what they must not get."""

    blocks: WeightBlocks
    rows: Array
    x: sparse.csr_matrix
    top: RunningTop
    candidates: Candidates

    def __post_init__(self) -> None:
        self._left: dict[str, Array] = {}

    @cached_property
    def by_column(self) -> sparse.csc_matrix:
        """The histories by column."""
        return self.x.tocsc()

    def times_left(self, term: ColumnTerm) -> Array:
        """Compute ``x L``, (users, d), once."""
        if term.key not in self._left:
            out = np.zeros((self.x.shape[0], term.left.shape[1]), self.blocks.dtype)
            for part, rows in self.blocks.row_parts(self.rows, term.left):
                product = self.by_column[:, part] @ rows.astype(self.blocks.dtype)
                out += product.toarray() if sparse.issparse(product) else product
            self._left[term.key] = out
        return self._left[term.key]

    def masks(self, columns: Columns) -> Masks:
        """Cut what is hidden, and what alone is allowed, to some columns."""
        hidden, only = self._masks
        return _columns(hidden, columns.items), _columns(only, columns.items)

    @cached_property
    def _masks(self) -> tuple[sparse.csc_matrix | None, sparse.csc_matrix | None]:
        found = (self.candidates.hidden, self.candidates.only)
        return tuple(None if mask is None else mask.tocsc() for mask in found)  # type: ignore[return-value]

    def finish(
        self,
        users: slice,
        scores: Array,
        columns: Columns,
        left: list[tuple[Array, Matrix]],
        masks: Masks,
        seen: int,
    ) -> None:
        """Add what is not in the block, take out what is not wanted, and list the best."""
        for x_left, right in left:
            scores += times_transposed(x_left[users], right)
        hidden, only = masks
        if hidden is not None:
            scores[_positions(hidden, users)] = -np.inf
        if only is not None and self.candidates.listed is not None:
            refused = np.ones(scores.shape, bool)
            refused[~self.candidates.listed[users]] = False
            refused[_positions(only, users)] = False
            scores[refused] = -np.inf
        self.top.update(users, scores, columns.items, seen)


def _columns(mask: sparse.csc_matrix | None, items: Array) -> sparse.csr_matrix | None:
    if mask is None:
        return None
    first, last = int(items[0]), int(items[-1])
    chosen = mask[:, first : last + 1] if last - first + 1 == len(items) else mask[:, items]
    return chosen.tocsr()


def _positions(mask: sparse.csr_matrix, users: slice) -> tuple[Array, Array]:
    pointers = mask.indptr[users.start : users.stop + 1]
    rows = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
    return rows, mask.indices[pointers[0] : pointers[-1]]
