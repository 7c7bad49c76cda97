"""The most popular items, for users of whom a model knows nothing."""

from typing import Literal

import numpy as np
from scipy import sparse

from l3ae_dist.graphs.batch_scoring import Candidates
from l3ae_dist.linalg.arrays import Integers

OnUnknown = Literal["raise", "skip", "popular"]
"""Ways to treat users without a history."""


def popular_items(popularity: Integers, users: int, k: int, candidates: Candidates) -> Integers:
    """List the items with most training interactions that each of some users may get.

    Parameters
    ----------
    popularity
        (n_items,) interactions of each item; equal counts by lower position.
    users
        How many.
    k
        Items for each.
    candidates
        Which items each may get, by catalog position; added items are none of these.

    Returns
    -------
    (users, k) item positions, -1 where fewer.
    """
    n = len(popularity)
    order = np.argsort(-popularity, kind="stable")
    if candidates.items is not None:
        order = order[np.isin(order, candidates.items)]
    found = np.full((users, k), -1, np.int64)
    hidden, only, listed = candidates.hidden, candidates.only, candidates.listed
    if (hidden is None or not hidden.nnz) and only is None:
        found[:, : len(order)] = order[:k]
        return found
    places = np.full(n, n, np.int64)
    places[order] = np.arange(len(order))  # n for an item that nobody may get
    for user in range(users):
        refused = np.empty(0, np.int64) if hidden is None else _below(_row(hidden, user), n)
        if only is not None and listed is not None and listed[user]:
            own = _below(_row(only, user), n)
            best = own[np.argsort(places[own], kind="stable")]
            best = best[places[best] < n]
        else:
            best = order[: k + len(refused)]
        best = best[~np.isin(best, refused)][:k]
        found[user, : len(best)] = best
    return found


def _row(matrix: sparse.csr_matrix, user: int) -> Integers:
    """Return the columns of a row."""
    return np.asarray(matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]], np.int64)


def _below(positions: Integers, n: int) -> Integers:
    """Return the positions that are of the catalog."""
    return positions[positions < n]
