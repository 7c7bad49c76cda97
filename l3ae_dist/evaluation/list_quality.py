"""Qualities of top lists beside their accuracy: novelty, diversity, calibration, concentration.

Top lists are arrays (users, K) of item positions, best first, -1 for none.
"""

import numpy as np
from scipy import sparse

from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.whitening import unit_rows

# Users whose vectors are looked at together.
_BLOCK = 128
# Share of the history's distribution that is mixed into that of a list, so that no logarithm is infinite.
_SMOOTHING = 0.01


def novelty(top: Array, popularity: Array, users: int) -> Array:
    """Return the mean of ``-log2(share of the users who have the item)`` of each list, in bits.

    Zhou et al., PNAS 2010; Vargas, Castells, RecSys 2011. An item that nobody has counts as one that one user
    has.

    Parameters
    ----------
    top
        (users, k) lists.
    popularity
        (n,) training interactions of each item.
    users
        Users of the training data.

    Returns
    -------
    (users,) float64, NaN for an empty list.

    >>> novelty(np.array([[0, 1], [1, -1]]), np.array([4, 1]), 4)
    array([1., 2.])
    """
    bits = np.log2(max(users, 1) / np.clip(popularity, 1, max(users, 1)))
    return _mean_of_lists(bits[np.maximum(top, 0)], top >= 0)


def diversity(top: Array, vectors: Array) -> Array:
    """Return for each list one minus the mean cosine of two different items of it (Ziegler et al., WWW 2005).

    Parameters
    ----------
    top
        (users, k) lists.
    vectors
        (n, d) vectors of the items; those of length 0 are like no other.

    Returns
    -------
    (users,) float64, NaN for lists of fewer than two items. Cost: 2 users k d.

    >>> diversity(np.array([[0, 1], [0, 2]]), np.array([[1.0, 0], [0, 2], [3, 0]]))
    array([1., 0.])
    """
    unit, found = unit_rows(np.asarray(vectors, np.float64)), np.full(len(top), np.nan)
    lengths = (unit**2).sum(axis=1)
    for start in range(0, len(top), _BLOCK):
        part = top[start : start + _BLOCK]
        listed, places = (part >= 0), np.maximum(part, 0)
        # of all pairs: the squared length of the sum is the sum of the squares and twice that of the pairs
        total = np.einsum("uk,ukd->ud", listed.astype(np.float64), unit[places])
        pairs = (total**2).sum(axis=1) - (lengths[places] * listed).sum(axis=1)
        count = listed.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found[start : start + _BLOCK] = np.where(count > 1, 1 - pairs / (count * (count - 1)), np.nan)
    return found


def miscalibration(top: Array, histories: sparse.csr_matrix, categories: sparse.csr_matrix) -> Array:
    """Return how far the categories of each list are from those of the user's history (Steck, RecSys 2018).

    It is the Kullback-Leibler divergence of the list's distribution over categories from the history's, in
    which the list's is mixed with 1 % of the history's; 0 is the best. The categories of an item share its
    weight evenly.

    Parameters
    ----------
    top
        (users, k) lists.
    histories
        (users, n) training interactions, with their weights.
    categories
        (n, c), stored where an item has a category.

    Returns
    -------
    (users,) float64, NaN where the list or the history has no categories.
    """
    shares = _shares(sparse.csr_matrix(categories != 0).astype(np.float64))
    listed = top >= 0
    rows = np.repeat(np.arange(len(top)), listed.sum(axis=1))
    lists = sparse.csr_matrix((np.ones(len(rows)), (rows, top[listed])), (len(top), shares.shape[0]))
    wanted, found = (_shares(sparse.csr_matrix(one @ shares)).toarray() for one in (histories, lists))
    missing = (wanted.sum(axis=1) == 0) | (found.sum(axis=1) == 0)
    mixed = (1 - _SMOOTHING) * found + _SMOOTHING * wanted
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(wanted > 0, wanted * np.log(wanted / mixed), 0.0)
    return np.where(missing, np.nan, terms.sum(axis=1))


def concentration(top: Array, n_items: int) -> float:
    """Return the Gini index of how often each item is listed: 0 when all are alike, near 1 when few have all.

    Parameters
    ----------
    top
        (users, k) lists.
    n_items
        Items of the catalog; those that are not listed count.

    >>> concentration(np.array([[0, 1], [2, 3]]), 4), concentration(np.array([[0], [0]]), 4)
    (0.0, 0.75)
    """
    counts = np.sort(np.bincount(top[top >= 0], minlength=n_items)).astype(np.float64)
    total = counts.sum()
    if not total:
        return float("nan")
    ranks = np.arange(1, n_items + 1)
    return float((2 * ranks - n_items - 1) @ counts / (n_items * total))


def _shares(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    """Divide each row by its sum; an empty one stays empty."""
    sums = np.asarray(rows.sum(axis=1)).ravel()
    return sparse.csr_matrix(sparse.diags_array(1 / np.where(sums > 0, sums, 1.0)) @ rows)


def _mean_of_lists(values: Array, listed: Array) -> Array:
    count = listed.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(count > 0, (values * listed).sum(axis=1) / np.maximum(count, 1), np.nan))
