"""Ranking metrics of top lists against held-out items, by the conventions of the L3AE code.

A *top list* is an int array (users, K) of item indices, best first, -1 for none. The *truth* is a CSR
matrix (users, n) whose stored positions are the held-out items. Users without truth count nowhere.
"""

from typing import Any

import numpy as np
from scipy import sparse

from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.ranks import METRICS

GROUPS = 5
"""Into how many groups items and users are split."""


def hits(top: Array, truth: sparse.csr_matrix) -> Array:
    """Which entries of the top lists are held-out items, (users, K) bool.

    >>> hits(np.array([[2, 0], [1, -1]]), sparse.csr_matrix([[0, 0, 1], [1, 0, 0]]))
    array([[ True, False],
           [False, False]])
    """
    users, n = truth.shape
    rows = np.repeat(np.arange(users, dtype=np.int64), np.diff(truth.indptr))
    wanted = rows * n + truth.indices
    asked = np.arange(users, dtype=np.int64)[:, None] * n + top
    return np.isin(asked, wanted) & (top >= 0)


def _discounts(k: int) -> Array:
    return 1 / np.log2(np.arange(2, k + 2))


def _ideal(counts: Array, k: int) -> Array:
    """Ideal DCG over ``min(k, |test|)`` positions."""
    return np.concatenate([[0.0], np.cumsum(_discounts(k))])[np.minimum(counts, k)]


def per_user(top: Array, truth: sparse.csr_matrix, name: str) -> Array:
    """One metric for every user, NaN without truth.

    Parameters
    ----------
    top, truth
        Top lists (users, K) and held-out items (users, n).
    name
        ``recall@k`` (hits over held-out items), ``truncated_recall@k`` (hits over k, or over the held-out
        items where they are fewer), ``ndcg@k`` (binary gains, the ideal over as many; Jarvelin, Kekalainen
        2002), ``hit_rate@k``, ``mrr@k``.

    Returns
    -------
    (users,) float64.

    >>> top, truth = np.array([[2, 0], [1, 2]]), sparse.csr_matrix([[1, 0, 1], [0, 0, 1]])
    >>> per_user(top, truth, "recall@1"), per_user(top, truth, "mrr@2")
    (array([0.5, 0. ]), array([1. , 0.5]))
    """
    return _from_hits(hits(top, truth), np.diff(truth.indptr), name)


def per_user_of_ranks(ranks: Array, indptr: Array, name: str) -> Array:
    """The same from the ranks of the held-out items, without top lists.

    Parameters
    ----------
    ranks, indptr
        (held-out,) rank of each held-out item among the candidates, 0 is best; those of user u are
        ``ranks[indptr[u] : indptr[u + 1]]``.
    name
        As in :func:`per_user`.

    Returns
    -------
    (users,) float64.
    """
    counts = np.diff(indptr)
    hit = np.zeros((len(counts), int(name.partition("@")[2])), bool)
    found = np.flatnonzero(ranks < hit.shape[1])
    hit[np.repeat(np.arange(len(counts)), counts)[found], ranks[found]] = True
    return _from_hits(hit, counts, name)


def _from_hits(hit: Array, counts: Array, name: str) -> Array:
    metric, cut = name.split("@")
    k = int(cut)
    first = hit[:, :k].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric == "recall":
            value = first.sum(axis=1) / counts
        elif metric == "truncated_recall":
            value = first.sum(axis=1) / np.minimum(counts, k)
        elif metric == "ndcg":
            value = first @ _discounts(first.shape[1]) / _ideal(counts, k)
        elif metric == "hit_rate":
            value = (first.sum(axis=1) > 0).astype(np.float64)
        elif metric == "mrr":
            value = np.where(first.any(axis=1), 1.0 / (first.argmax(axis=1) + 1), 0.0)
        else:
            raise ValueError(f"unknown metric {metric!r}; one of {', '.join(METRICS)}")
    return np.asarray(np.where(counts > 0, value, np.nan))


def propensities(popularity: Array) -> Array:
    """``p = max((pop / max pop)^0.5, 1e-3)`` of every item.

    >>> propensities(np.array([100, 25, 0]))
    array([1.   , 0.5  , 0.001])
    """
    return np.asarray(np.maximum((popularity / max(popularity.max(), 1)) ** 0.5, 1e-3))


def unbiased_per_user(top: Array, truth: sparse.csr_matrix, popularity: Array, k: int) -> tuple[Array, Array]:
    """Propensity-weighted Recall@k and NDCG@k of every user, NaN without truth.

    Recall = sum over hits of 1/p / sum over test items of 1/p; NDCG = (sum over hits of disc/p) /
    ideal DCG / (sum over test items of 1/p).
    """
    inverse = 1 / propensities(popularity)
    counts = np.diff(truth.indptr)
    weighted = sparse.csr_matrix((inverse[truth.indices], truth.indices, truth.indptr), shape=truth.shape)
    mass = np.asarray(weighted.sum(axis=1))[:, 0]
    gain = np.where(hits(top[:, :k], truth), inverse[np.maximum(top[:, :k], 0)], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = gain.sum(axis=1) / mass
        ndcg = gain @ _discounts(gain.shape[1]) / _ideal(counts, k) / mass
    return np.where(counts > 0, recall, np.nan), np.where(counts > 0, ndcg, np.nan)


def head_items(popularity: Array) -> Array:
    """The 20 % most popular training items; ties as NumPy's default sort leaves them."""
    return np.asarray(np.argsort(popularity)[::-1][: int(0.2 * len(popularity))])


def restrict(truth: sparse.csr_matrix, items: Array) -> sparse.csr_matrix:
    """Held-out items that are among ``items``; rankings stay over the full catalog."""
    kept = np.zeros(truth.shape[1], bool)
    kept[items] = True
    mask = kept[truth.indices]
    indptr = np.concatenate([[0], np.cumsum(mask)])[truth.indptr]
    return sparse.csr_matrix((truth.data[mask], truth.indices[mask], indptr), shape=truth.shape)


def quantile_groups(values: Array, weights: Array, count: int = GROUPS) -> list[Array]:
    """Positions in groups of about equal weight, from the largest values to the smallest.

    Equal values are never separated, so that a group may be larger than another, and empty ones are left
    out: a value belongs to the group in which the weight of all larger values ends.

    >>> quantile_groups(np.array([1, 9, 1, 4]), np.ones(4), 2)
    [array([1, 3]), array([0, 2])]
    """
    order = np.argsort(-values, kind="stable")
    ranked, before = values[order], np.cumsum(weights[order]) - weights[order]
    first = np.searchsorted(-ranked, -ranked)  # where the run of equal values begins
    share = before[first] / max(weights.sum(), 1)
    group = np.minimum((count * share).astype(np.int64), count - 1)
    return [np.sort(order[group == g]) for g in np.unique(group)]


def by_item_popularity(
    top: Array, truth: sparse.csr_matrix, popularity: Array, ks: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Recall and NDCG on the held-out items of each fifth of the training interactions.

    The most popular items that make up a fifth of the interactions come first, the rarest items last.
    Rankings stay over the full catalog and the ground truth is filtered, as for head and tail; users
    without a held-out item in a group do not count in it.

    Returns
    -------
    For each group: ``items``, the least and most ``interactions`` of an item, ``users``, and the metrics.
    """
    found = []
    for items in quantile_groups(popularity, popularity):
        wanted = restrict(truth, items)
        bounds = {"items": len(items), **_bounds(popularity[items]), "users": _with_truth(wanted)}
        found.append({**bounds, **_means(top, wanted, ks, ("recall", "ndcg"))})
    return found


def by_user_activity(
    top: Array, truth: sparse.csr_matrix, activity: Array, ks: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Recall and NDCG of each fifth of the evaluated users, the most active first.

    Parameters
    ----------
    top, truth, ks
        As :func:`evaluate_top` takes them.
    activity
        (users,): how many interactions of each user the model knows.

    Returns
    -------
    For each group: the least and most ``interactions`` of a user, ``users`` and the metrics.
    """
    evaluated = np.flatnonzero(np.diff(truth.indptr))
    found = []
    for group in quantile_groups(activity[evaluated], np.ones(len(evaluated))):
        users = evaluated[group]
        bounds = {**_bounds(activity[users]), "users": len(users)}
        found.append({**bounds, **_means(top[users], truth[users], ks, ("recall", "ndcg"))})
    return found


def _bounds(values: Array) -> dict[str, list[int]]:
    return {"interactions": [int(values.min()), int(values.max())]}


def _with_truth(truth: sparse.csr_matrix) -> int:
    return int((np.diff(truth.indptr) > 0).sum())


def _mean(values: Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def evaluate_top(
    top: Array, truth: sparse.csr_matrix, popularity: Array, ks: tuple[int, ...] = (5, 10, 20, 50)
) -> dict[str, Any]:
    """Means over users of every metric at every cut-off, with head, tail and unbiased forms.

    Returns
    -------
    ``{"recall@20": ..., "ndcg@20": ..., ..., "coverage@20": share of the catalog recommended,
    "users": users with truth, "head": {...}, "tail": {...}, "unbiased": {...}}``.
    """
    result: dict[str, Any] = _means(top, truth, ks, METRICS)
    for k in ks:
        shown = top[:, :k]
        result[f"coverage@{k}"] = len(np.unique(shown[shown >= 0])) / truth.shape[1]
    result["users"] = _with_truth(truth)
    head = head_items(popularity)
    tail = np.setdiff1d(np.arange(truth.shape[1]), head)
    result["head"] = _means(top, restrict(truth, head), ks, ("recall", "ndcg"))
    result["tail"] = _means(top, restrict(truth, tail), ks, ("recall", "ndcg"))
    unbiased = {}
    for k in ks:
        recall, ndcg = unbiased_per_user(top, truth, popularity, k)
        unbiased[f"recall@{k}"], unbiased[f"ndcg@{k}"] = _mean(recall), _mean(ndcg)
    result["unbiased"] = unbiased
    return result


def _means(
    top: Array, truth: sparse.csr_matrix, ks: tuple[int, ...], names: tuple[str, ...]
) -> dict[str, Any]:
    hit, counts = hits(top, truth), np.diff(truth.indptr)
    return {f"{name}@{k}": _mean(_from_hits(hit, counts, f"{name}@{k}")) for name in names for k in ks}
