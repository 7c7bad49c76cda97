"""Ranks of single items among a row's scores, without sorting: how many columns come before one of them.

The order is that of :func:`l3ae_dist.linalg.top_k.top_k`: higher scores first, equal scores by lower column.
Scores are lines ``base + weight slope``; all weights are counted together, in blocks that stay in cache.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l3ae_dist.linalg.arrays import Array

METRICS = ("recall", "truncated_recall", "ndcg", "hit_rate", "mrr")
"""Metrics that the ranks of held-out items determine."""
# Rank of an item that is not a candidate, such as one that the user has already.
NEVER = 1 << 30
# Scores of all weights that are compared together: half a MiB in float32.
_CELLS = 1 << 17
# Bytes that are added as bytes: their sums stay below 256.
_LANES = 255


def line(base: Array, slope: Array | None, weights: Array, out: Array) -> Array:
    """Compute ``base + weight slope`` for every weight; product and sum are rounded apart.

    Parameters
    ----------
    base, slope
        (rows, columns); no slope: the base alone.
    weights
        (w,) in the dtype of the scores.
    out
        (w, rows, columns), overwritten and returned.
    """
    if slope is None:
        out[...] = base
        return out
    np.multiply(weights[:, None, None], slope, out=out)
    out += base
    return out


@dataclass
class _Strips:
    """Reused buffers for the scores and comparisons of a strip of rows under all weights."""

    scores: Array
    mask: Array

    @classmethod
    def make(cls, weights: int, rows: int, columns: int, dtype: npt.DTypeLike) -> "_Strips":
        height = max(1, min(rows, _CELLS // max(weights * columns, 1)))
        padded = -(-columns // 8) * 8
        return cls(np.empty((weights, height, columns), dtype), np.zeros((weights, height, padded), np.bool_))

    @property
    def height(self) -> int:
        return int(self.scores.shape[1])

    def count(self, compare: np.ufunc, rows: int, limits: Array) -> Array:
        """Columns of the first rows whose scores compare with their limit, (weights, rows) int64."""
        columns = self.scores.shape[2]
        mask = self.mask[:, :rows]
        compare(self.scores[:, :rows], limits[:, :, None], out=mask[:, :, :columns])
        lanes = mask.view(np.uint64)
        total: Array = np.zeros(limits.shape, np.int64)
        for start in range(0, lanes.shape[2], _LANES):
            sums = np.add.reduce(lanes[:, :, start : start + _LANES], axis=2)
            total += sums[..., None].view(np.uint8).sum(axis=2, dtype=np.int64)
        return total


def ranks_within(base: Array, slope: Array | None, weights: Array, columns: Array) -> Array:
    """Count the columns of each row that come before one of its columns.

    Parameters
    ----------
    base, slope
        (rows, m) scores are ``base + weight slope``; -inf leaves a column out. No slope: the base alone.
    weights
        (w,) in the dtype of the scores.
    columns
        (rows,) the column whose rank is asked for.

    Returns
    -------
    (rows, w) int64, 0 is best; :data:`NEVER` where the column itself is left out.
    """
    rows, width = base.shape
    out: Array = np.empty((rows, len(weights)), np.int64)
    strips = _Strips.make(len(weights), rows, width, base.dtype)
    for start in range(0, rows, strips.height):
        part = slice(start, min(start + strips.height, rows))
        count = part.stop - start
        scores = line(base[part], None if slope is None else slope[part], weights, strips.scores[:, :count])
        own = scores[:, np.arange(count), columns[part]]
        above = strips.count(np.greater, count, own)
        equal = strips.count(np.equal, count, own)
        for w, row in zip(*np.nonzero((equal > 1) & np.isfinite(own)), strict=True):
            above[w, row] += (scores[w, row, : columns[start + row]] == own[w, row]).sum()
        out[part] = np.where(np.isfinite(own), above, NEVER).T
    return out


def limits_of(base: Array, slope: Array | None, weights: Array, before: Array) -> Array:
    """Compute what the scores of other columns must exceed to come before an item with these scores.

    Parameters
    ----------
    base, slope
        (items,) of the items themselves.
    weights
        (w,) in the dtype of the scores.
    before
        (items,) whether the other columns are lower: those come first already when they are equal.

    Returns
    -------
    (w, items) in the dtype of the scores.
    """
    found = np.repeat(base[None], len(weights), axis=0) if slope is None else weights[:, None] * slope + base
    return np.asarray(np.where(before, np.nextafter(found, -np.inf, dtype=found.dtype), found))


def count_over(
    base: Array, slope: Array | None, weights: Array, limits: Array, starts: Array, lengths: Array, out: Array
) -> None:
    """Count, for each of several limits of each row, the columns whose score exceeds it.

    Parameters
    ----------
    base, slope, weights
        As in :func:`ranks_within`; (rows, m) and (w,).
    limits
        (w, limits) from :func:`limits_of`.
    starts, lengths
        (rows,) those of row r are ``limits[:, starts[r] : starts[r] + lengths[r]]``; lengths descend.
    out
        (limits, w), overwritten where a row has its limits.

    Cost: a product, a sum and a comparison for each row, column and weight, and a comparison more for
    each further limit of a row.
    """
    rows, width = base.shape
    strips = _Strips.make(len(weights), rows, width, base.dtype)
    for start in range(0, rows, strips.height):
        stop = min(start + strips.height, rows)
        part = slice(start, stop)
        count = stop - start
        line(base[part], None if slope is None else slope[part], weights, strips.scores[:, :count])
        for turn in range(int(lengths[start])):
            have = int(np.searchsorted(-lengths[part], -turn))
            where = starts[start : start + have] + turn
            out[where] = strips.count(np.greater, have, limits[:, where]).T
