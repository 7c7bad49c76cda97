"""Ranking metrics of top lists against held-out items, by the conventions of the L3AE code.

A *top list* is an int array (users, K) of item indices, best first, -1 for none. The *truth* is a CSR
matrix (users, n) whose stored positions are the held-out items. Users without truth count nowhere.
"""

from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.ranks_in_rows import METRICS
from l3ae_dist.messages import shown

Figures: TypeAlias = dict[str, Any]
"""All metrics of a model: values by name, and those of a part or of fifths by the name of the part."""
GroupFigures: TypeAlias = dict[str, float | list[int]]
"""Size of a group of items or users, least and most ``interactions`` in it, and metrics by name."""
GROUPS = 5
"""Number of groups that items and users are split into."""


def hits(top: Array, truth: sparse.csr_matrix) -> Array:
    """Mark the entries of the top lists that are held-out items, (users, K) bool.

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
    """Measure every user by one metric, NaN for users without held-out items.

    Parameters
    ----------
    top, truth
        Top lists (users, K) and held-out items (users, n).
    name
        With H the held-out items of a user and hits those among the first k: ``recall@k`` is
        ``hits / |H|``, ``truncated_recall@k`` ``hits / min(k, |H|)``, ``ndcg@k`` the sum of
        ``1 / log2(r + 1)`` over the ranks r of the hits by that sum over the first ``min(k, |H|)`` ranks
        (binary gains; Jarvelin, Kekalainen, TOIS 2002), ``hit_rate@k`` 1 with a hit and 0 without,
        ``mrr@k`` ``1 / r`` of the first hit (Voorhees, TREC-8, 1999), ``precision@k`` ``hits / k``, and
        ``map@k`` the sum of ``precision@r`` over the ranks r of the hits by ``min(k, |H|)``.

    Returns
    -------
    (users,) float64.

    Raises
    ------
    ValueError
        For an unknown metric.

    Examples
    --------
    >>> top, truth = np.array([[2, 0], [1, 2]]), sparse.csr_matrix([[1, 0, 1], [0, 0, 1]])
    >>> per_user(top, truth, "recall@1"), per_user(top, truth, "mrr@2")
    (array([0.5, 0. ]), array([1. , 0.5]))
    """
    return _from_hits(hits(top, truth), np.diff(truth.indptr), name)


def per_user_of_ranks(ranks: Array, indptr: Array, name: str) -> Array:
    """Measure every user by one metric from the ranks of the held-out items, without top lists.

    Parameters
    ----------
    ranks, indptr
        (held-out,) rank of each held-out item among the candidates, 0 is best, or (held-out, models); those
        of user u are ``ranks[indptr[u] : indptr[u + 1]]``.
    name
        As in :func:`per_user`.

    Returns
    -------
    (users,) or (users, models) float64, NaN where a user has nothing held out.

    Raises
    ------
    ValueError
        For an unknown metric.
    """
    metric, cut = name.split("@")
    k, counts = int(cut), np.diff(indptr)
    with_items = counts > 0
    out = np.full((len(counts), *ranks.shape[1:]), np.nan)
    if not with_items.any():
        return out
    starts, inside = indptr[:-1][with_items], ranks < k
    per_item = counts[with_items].reshape(-1, *[1] * (ranks.ndim - 1))
    if metric == "ndcg":
        gains = np.where(inside, _discounts(k)[np.minimum(ranks, k - 1)], 0.0)
        out[with_items] = np.add.reduceat(gains, starts) / _ideal(per_item, k)
    elif metric == "mrr":
        best = np.minimum.reduceat(ranks, starts)
        out[with_items] = np.where(best < k, 1.0 / (best + 1.0), 0.0)
    elif metric in ("recall", "truncated_recall", "hit_rate"):
        hits = np.add.reduceat(inside, starts, dtype=np.float64)
        most = np.minimum(per_item, k) if metric == "truncated_recall" else per_item
        out[with_items] = np.minimum(hits, 1.0) if metric == "hit_rate" else hits / most
    elif metric == "precision":
        out[with_items] = np.add.reduceat(inside, starts, dtype=np.float64) / k
    elif metric == "map":
        out[with_items] = np.add.reduceat(_precisions(ranks, indptr, k), starts) / np.minimum(per_item, k)
    else:
        raise ValueError(f"unknown metric {shown(metric)}; one of {', '.join(METRICS)}")
    return out


def _precisions(ranks: Array, indptr: Array, k: int) -> Array:
    """Return the precision at the ranks of each user's held-out items, in ascending order; 0 beyond k."""
    users = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)).reshape(-1, *[1] * (ranks.ndim - 1))
    ascending = np.sort(users * (k + 1) + np.minimum(ranks, k), axis=0) - users * (k + 1)
    before = np.arange(len(ranks)).reshape(users.shape) - indptr[users]
    return np.where(ascending < k, (before + 1) / (ascending + 1), 0.0)


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
        elif metric == "precision":
            value = first.sum(axis=1) / k
        elif metric == "map":
            precision = np.cumsum(first, axis=1) / np.arange(1, first.shape[1] + 1)
            value = (first * precision).sum(axis=1) / np.minimum(counts, k)
        else:
            raise ValueError(f"unknown metric {shown(metric)}; one of {', '.join(METRICS)}")
    return np.asarray(np.where(counts > 0, value, np.nan))


def propensities(popularity: Array) -> Array:
    """Return the propensity ``p_i = max((pop_i / max pop)^0.5, 1e-3)`` of every item, (n,) float64.

    Items are observed in proportion to a power of their popularity (Yang et al., RecSys 2018, section 4);
    the exponent and the floor are those of the L3AE code.

    >>> propensities(np.array([100, 25, 0]))
    array([1.   , 0.5  , 0.001])
    """
    return np.asarray(np.maximum((popularity / max(popularity.max(), 1)) ** 0.5, 1e-3))


def unbiased_per_user(top: Array, truth: sparse.csr_matrix, popularity: Array, k: int) -> tuple[Array, Array]:
    """Measure every user by propensity-weighted Recall@k and NDCG@k.

    ``Recall = sum_hits 1/p / sum_test 1/p`` and ``NDCG = (sum_hits disc/p) / IDCG@k / sum_test 1/p`` with
    the propensities ``p``, the discounts ``disc_r = 1 / log2(r + 1)`` of rank r, and the binary ideal IDCG
    (Yang et al., "Unbiased offline recommender evaluation for missing-not-at-random implicit feedback",
    RecSys 2018).

    Parameters
    ----------
    top, truth
        Top lists (users, K) and held-out items (users, n).
    popularity
        (n,) training interactions of each item.
    k
        Cut-off.

    Returns
    -------
    Recall and NDCG, (users,) float64 each; NaN for users without held-out items.
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
    """Return the 20 % most popular training items; ties as NumPy's default sort leaves them."""
    return np.asarray(np.argsort(popularity)[::-1][: int(0.2 * len(popularity))])


def restrict(truth: sparse.csr_matrix, items: Array) -> sparse.csr_matrix:
    """Return the held-out items that are among ``items``, a CSR matrix of the same shape.

    Rankings stay over the full catalog.
    """
    kept = np.zeros(truth.shape[1], bool)
    kept[items] = True
    mask = kept[truth.indices]
    indptr = np.concatenate([[0], np.cumsum(mask)])[truth.indptr]
    return sparse.csr_matrix((truth.data[mask], truth.indices[mask], indptr), shape=truth.shape)


def quantile_groups(values: Array, weights: Array, count: int = GROUPS) -> list[Array]:
    """Split positions into groups of about equal weight, from the largest values to the smallest.

    Equal values are never separated, so that a group may be larger than another, and empty ones are left
    out: a value belongs to the group in which the weight of all larger values ends.

    Parameters
    ----------
    values, weights
        (n,) arrays: the values that order the positions, and the weight of each.
    count
        Number of groups.

    Returns
    -------
    The positions of each group, ascending.

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
) -> list[GroupFigures]:
    """Measure Recall and NDCG on the held-out items of each fifth of the training interactions.

    The most popular items that make up a fifth of the interactions come first, the rarest items last.
    Rankings stay over the full catalog and the ground truth is filtered, as for head and tail; users
    without a held-out item in a group do not count in it.

    Parameters
    ----------
    top, truth, popularity, ks
        As :func:`evaluate_top` takes them.

    Returns
    -------
    For each group: ``items``, the least and most ``interactions`` of an item, ``users``, and the metrics.
    """
    found: list[GroupFigures] = []
    for items in quantile_groups(popularity, popularity):
        wanted = restrict(truth, items)
        bounds: GroupFigures = {
            "items": len(items),
            **_bounds(popularity[items]),
            "users": _with_truth(wanted),
        }
        found.append({**bounds, **_means(top, wanted, ks, ("recall", "ndcg"))})
    return found


def by_user_activity(
    top: Array, truth: sparse.csr_matrix, activity: Array, ks: tuple[int, ...]
) -> list[GroupFigures]:
    """Measure Recall and NDCG of each fifth of the evaluated users, the most active first.

    Parameters
    ----------
    top, truth, ks
        As :func:`evaluate_top` takes them.
    activity
        (users,) interactions of each user that the model knows.

    Returns
    -------
    For each group: the least and most ``interactions`` of a user, ``users`` and the metrics.
    """
    evaluated = np.flatnonzero(np.diff(truth.indptr))
    found: list[GroupFigures] = []
    for group in quantile_groups(activity[evaluated], np.ones(len(evaluated))):
        users = evaluated[group]
        bounds: GroupFigures = {**_bounds(activity[users]), "users": len(users)}
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
) -> Figures:
    """Average every metric over users at every cut-off, with head, tail and unbiased forms.

    Parameters
    ----------
    top, truth
        Top lists (users, K), K at least the largest cut-off, and held-out items (users, n).
    popularity
        (n,) training interactions of each item.
    ks
        Cut-offs.

    Returns
    -------
    ``{"recall@20": ..., "ndcg@20": ..., ..., "coverage@20": share of the catalog recommended,
    "users": users with truth, "head": {...}, "tail": {...}, "unbiased": {...}}``.
    """
    result: Figures = {**_means(top, truth, ks, METRICS)}
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
) -> dict[str, float]:
    hit, counts = hits(top, truth), np.diff(truth.indptr)
    return {f"{name}@{k}": _mean(_from_hits(hit, counts, f"{name}@{k}")) for name in names for k in ks}
