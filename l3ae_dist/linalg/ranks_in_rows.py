"""Ranks of single items among a row's scores, without sorting: how many columns come before one of them.

The order is that of :func:`l3ae_dist.linalg.top_k.top_k`: higher scores first, equal scores by lower column.
Many heads of the same products are counted together, in blocks of scores that stay in cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from l3ae_dist.linalg.arrays import Array

if TYPE_CHECKING:
    from scipy import sparse  # the configuration, which reads the names of the metrics, works without it

METRICS = ("recall", "truncated_recall", "ndcg", "hit_rate", "mrr", "precision", "map")
"""Metrics that the ranks of held-out items determine."""
# Rank of an item that is not a candidate, such as one that the user has already.
NEVER = 1 << 30
# Scores of some heads that are compared together: half a MiB in float32.
_CELLS = 1 << 17
# Heads that are compared together: few, so that their factors stay in cache beside the scores.
_HEADS = 16
# Bytes that are added as bytes: their sums stay below 256.
_LANES = 255


@dataclass(frozen=True, slots=True)
class HeadScores:
    """Scores of some rows under many heads: products with scaled columns, and a weight times the text's.

    Parameters
    ----------
    products
        (rows, m) arrays, each with the heads' factors of its columns, (heads, m).
    text, weights
        (rows, m) scores of the text alone, None without, and its weights, (heads,).
    seen
        (rows, m) sparse: columns that are no candidates are stored.
    """

    products: tuple[tuple[Array, Array], ...]
    text: Array | None
    weights: Array
    seen: "sparse.csr_matrix"

    def of_heads(self, heads: slice) -> "HeadScores":
        """Return the scores under some of the heads."""
        products = tuple((times, factors[heads]) for times, factors in self.products)
        return HeadScores(products, self.text, self.weights[heads], self.seen)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Heads, rows and columns."""
        return (len(self.weights), *self.seen.shape)

    def strip(self, rows: slice, out: Array, work: Array) -> Array:
        """Compute the scores of some rows, -inf for columns that are no candidates.

        Parameters
        ----------
        rows
            Which rows.
        out, work
            (heads, rows, m), overwritten; ``out`` is returned.
        """
        terms = [(times, factors[:, None, :]) for times, factors in self.products]
        terms += [] if self.text is None else [(self.text, self.weights[:, None, None])]
        for number, (values, factors) in enumerate(terms):
            np.multiply(values[rows], factors, out=work if number else out)
            if number:
                out += work
        bounds = self.seen.indptr[rows.start : rows.stop + 1]
        owners = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        out[:, owners, self.seen.indices[bounds[0] : bounds[-1]]] = -np.inf
        return out


@dataclass
class _Strips:
    """Reused buffers for the scores and comparisons of a strip of rows under some heads."""

    scores: Array
    work: Array
    mask: Array

    @classmethod
    def make(cls, heads: int, rows: int, columns: int, dtype: npt.DTypeLike) -> "_Strips":
        height = max(1, min(rows, _CELLS // max(heads * columns, 1)))
        shape, padded = (heads, height, columns), -(-columns // 8) * 8
        return cls(np.empty(shape, dtype), np.empty(shape, dtype), np.zeros((*shape[:2], padded), np.bool_))

    def of(self, scores: HeadScores) -> Iterator[tuple[slice, Array]]:
        """Yield the scores of one strip of rows after the other, (heads, rows, m); each until the next."""
        rows = scores.shape[1]
        for start in range(0, rows, self.height):
            part = slice(start, min(start + self.height, rows))
            count = part.stop - start
            yield part, scores.strip(part, self.scores[:, :count], self.work[:, :count])

    @property
    def height(self) -> int:
        return int(self.scores.shape[1])

    def count(self, compare: np.ufunc, rows: int, limits: Array) -> Array:
        """Columns of the first rows whose scores compare with their limit, (heads, rows) int64."""
        columns = self.scores.shape[2]
        mask = self.mask[:, :rows]
        compare(self.scores[:, :rows], limits[:, :, None], out=mask[:, :, :columns])
        lanes = mask.view(np.uint64)
        total: Array = np.zeros(limits.shape, np.int64)
        for start in range(0, lanes.shape[2], _LANES):
            sums = np.add.reduce(lanes[:, :, start : start + _LANES], axis=2)
            total += sums[..., None].view(np.uint8).sum(axis=2, dtype=np.int64)
        return total


def _parts(scores: HeadScores) -> Iterator[tuple[slice, HeadScores, _Strips]]:
    """Yield some heads after the other, with their buffers."""
    heads, rows, columns = scores.shape
    step = max(1, min(heads, _HEADS))
    for start in range(0, heads, step):
        some = slice(start, min(start + step, heads))
        part = scores.of_heads(some)
        yield some, part, _Strips.make(some.stop - start, rows, columns, scores.weights.dtype)


def ranks_within(scores: HeadScores, columns: Array) -> tuple[Array, Array]:
    """Count the columns of each row that come before one of its columns.

    Parameters
    ----------
    scores
        (heads, rows, m), -inf for a column that is left out.
    columns
        (rows,) the column whose rank is asked for.

    Returns
    -------
    Two (rows, heads) arrays: the ranks, int64, 0 is best, :data:`NEVER` where the column itself is left out;
    and its scores.
    """
    heads, rows, _ = scores.shape
    ranks: Array = np.empty((rows, heads), np.int64)
    found = np.empty((rows, heads), scores.weights.dtype)
    for some, part, strips in _parts(scores):
        for where, values in strips.of(part):
            count, own_columns = where.stop - where.start, columns[where]
            own = values[:, np.arange(count), own_columns]
            above = strips.count(np.greater, count, own)
            equal = strips.count(np.equal, count, own)
            for h, row in zip(*np.nonzero((equal > 1) & np.isfinite(own)), strict=True):
                above[h, row] += (values[h, row, : own_columns[row]] == own[h, row]).sum()
            ranks[where, some] = np.where(np.isfinite(own), above, NEVER).T
            found[where, some] = own.T
    return ranks, found


def limits_of(scores: Array, before: Array) -> Array:
    """Compute what the scores of other columns must exceed to come before an item with these scores.

    Parameters
    ----------
    scores
        (items, heads) of the items themselves.
    before
        (items,) whether the other columns are lower: those come first already when they are equal.

    Returns
    -------
    (heads, items) in the dtype of the scores.
    """
    below = np.nextafter(scores, -np.inf, dtype=scores.dtype)
    return np.ascontiguousarray(np.where(before[:, None], below, scores).T)


def count_over(scores: HeadScores, limits: Array, starts: Array, lengths: Array, out: Array) -> None:
    """Count, for each of several limits of each row, the columns whose score exceeds it.

    Parameters
    ----------
    scores
        (heads, rows, m).
    limits
        (heads, limits) from :func:`limits_of`.
    starts, lengths
        (rows,) those of row r are ``limits[:, starts[r] : starts[r] + lengths[r]]``; lengths descend.
    out
        (limits, heads), overwritten where a row has its limits.

    Cost: a product and a sum for each term of a score, a comparison for each row, column and head, and a
    comparison more for each further limit of a row.
    """
    for some, part, strips in _parts(scores):
        for rows, _ in strips.of(part):
            for turn in range(int(lengths[rows.start])):
                have = int(np.searchsorted(-lengths[rows], -turn))
                where = starts[rows.start : rows.start + have] + turn
                out[where, some] = strips.count(np.greater, have, limits[some][:, where]).T
