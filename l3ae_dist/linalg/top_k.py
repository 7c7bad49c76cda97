"""The best k of many scores: exact, ties to the lower index, seen items left out."""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.linalg.arrays import Array

# Scores looked at together: bounds the index arrays of the partition.
_BLOCK_SCORES = 1 << 22
# Columns ranked in full before the list's last score is a threshold for the others.
_HEAD = 256


def top_k(scores: Array, k: int, seen: sparse.csr_matrix | None = None) -> tuple[Array, Array]:
    """List the ``k`` best columns of each row, best first; equal scores by lower column.

    Parameters
    ----------
    scores
        (users, items); overwritten at the seen positions.
    k
        Items wanted.
    seen
        (users, items) matrix whose stored positions are left out.

    Returns
    -------
    items (users, k) int64, -1 where fewer candidates; values (users, k), -inf there.

    >>> top_k(np.array([[0.5, 2.0, 2.0]]), 2, seen=sparse.csr_matrix([[0, 1, 0]]))
    (array([[2, 0]]), array([[2. , 0.5]]))
    """
    users, count = scores.shape
    if seen is not None:
        positions = seen.tocoo()
        scores[positions.row, positions.col] = -np.inf
    items = np.full((users, k), -1, np.int64)
    values = np.full((users, k), -np.inf, scores.dtype)
    kept = min(k, count)
    step = max(1, _BLOCK_SCORES // max(count, 1))
    for start in range(0, users, step):
        block = scores[start : start + step]
        chosen, best = _best(block, kept)
        items[start : start + step, :kept] = np.where(np.isfinite(best), chosen, -1)
        values[start : start + step, :kept] = best
    return items, values


def _best(block: Array, k: int) -> tuple[Array, Array]:
    count = block.shape[1]
    if k < count:
        threshold = np.partition(block, count - k, axis=1)[:, count - k, None]
        above = block > threshold
        # of the scores equal to the threshold, the lowest columns fill what is left
        equal = block == threshold
        room = k - above.sum(axis=1, keepdims=True)
        crowded = np.flatnonzero(equal.sum(axis=1) > room[:, 0])
        equal[crowded] &= np.cumsum(equal[crowded], axis=1) <= room[crowded]
        chosen = np.nonzero(above | equal)[1].reshape(len(block), k)
    else:
        chosen = np.broadcast_to(np.arange(count), block.shape)
    found = np.take_along_axis(block, chosen, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")  # columns ascend, so ties keep the lower one
    return np.take_along_axis(chosen, order, axis=1), np.take_along_axis(found, order, axis=1)


def merge_top_k(items: Array, values: Array, k: int) -> tuple[Array, Array]:
    """Merge candidate lists: the ``k`` best of each row, ties to the lower item.

    Parameters
    ----------
    items, values
        (users, candidates); item -1 with value -inf means none.

    Returns
    -------
    items (users, k) and values (users, k), best first.
    """
    by_item = np.argsort(items, axis=1, kind="stable")
    items = np.take_along_axis(items, by_item, axis=1)
    values = np.take_along_axis(values, by_item, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(items, order, axis=1), np.take_along_axis(values, order, axis=1)


class RunningTop:
    """The ``k`` best of scores that come block by block of columns, columns ascending; ties to the lower.

    The last score of a list is a threshold: of a later block only what exceeds it is looked at, and blocks
    are taken in pieces that double, so that each piece brings about ``k`` candidates a user.

    Parameters
    ----------
    users, k
        Lists and their length.
    dtype
        Of the scores.
    """

    def __init__(self, users: int, k: int, dtype: npt.DTypeLike) -> None:
        self.items = np.full((users, k), -1, np.int64)
        self.values = np.full((users, k), -np.inf, dtype)

    def update(self, users: slice, scores: Array, columns: Array, seen: int) -> None:
        """Take in scores of some users; threads may do so at once for different users.

        Parameters
        ----------
        users
            Rows of the lists.
        scores
            (users, columns); -inf is never listed.
        columns
            What each column is called, ascending.
        seen
            Columns of earlier blocks.
        """
        start = 0
        while start < len(columns):
            stop = min(len(columns), start + max(_HEAD, seen + start))
            merge = self._merge_block if seen + start == 0 else self._merge_above
            merge(users, scores[:, start:stop], columns[start:stop])
            start = stop

    def _merge_block(self, users: slice, scores: Array, columns: Array) -> None:
        k = min(self.items.shape[1], scores.shape[1])
        items, values = top_k(scores, k)
        self.items[users, :k] = np.where(items >= 0, columns[items], -1)
        self.values[users, :k] = values

    def _merge_above(self, users: slice, scores: Array, columns: Array) -> None:
        items, values = self.items[users], self.values[users]
        row, column = np.divmod(np.flatnonzero(scores > values[:, -1:]), scores.shape[1])
        if not len(row):
            return
        k = items.shape[1]
        counts = np.bincount(row, minlength=len(items))
        hit = np.flatnonzero(counts)
        rows = np.concatenate([np.repeat(hit, k), row])
        found = np.concatenate([values[hit].ravel(), scores[row, column]])
        named = np.concatenate([items[hit].ravel(), columns[column]])
        order = np.lexsort((-found, rows))  # stable: what was listed before comes first among equals
        first = np.concatenate([[0], np.cumsum(counts[hit] + k)[:-1]])
        best = order[first[:, None] + np.arange(k)]
        items[hit], values[hit] = named[best], found[best]
