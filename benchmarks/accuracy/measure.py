"""Metrics of top lists, and differences between methods: one code for all of them, that of the package."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from l3ae_dist.evaluation.significance import holm, joint_level, paired_bootstrap
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.metrics import evaluate_top, head_items, per_user, restrict

K = 20
NDCG, RECALL, TAIL, COVERAGE = "ndcg@20", "recall@20", "tail recall@20", "coverage@20"
METRICS = (NDCG, RECALL, TAIL, COVERAGE)
REPEATS, LEVEL = 5000, 0.95


def checked(lists: np.ndarray, seen: sparse.csr_matrix) -> np.ndarray:
    """Return top lists after a look at them: no item that a user has, none twice, none that is not there.

    Parameters
    ----------
    lists, seen
        (users, k) positions of items, -1 for none; and what the users have.
    """
    users, items = seen.shape
    if lists.shape != (users, K) or lists.min(initial=0) < -1 or lists.max(initial=0) >= items:
        raise ValueError(f"lists of shape {lists.shape} are not {K} of {items} items for {users} users")
    rows = np.repeat(np.arange(users), K).reshape(users, K)
    listed = (rows * items + lists)[lists >= 0]
    if len(np.unique(listed)) < len(listed):
        raise ValueError("a list holds an item twice")
    have = np.repeat(np.arange(users), np.diff(seen.indptr)) * items + seen.indices
    if np.isin(listed, have).any():
        raise ValueError("a list holds an item that its user has")
    return lists


def popular_for_strangers(lists: np.ndarray, seen: sparse.csr_matrix, popularity: np.ndarray) -> np.ndarray:
    """Give users without any history the most popular items, whatever the method would give them.

    Parameters
    ----------
    lists, seen
        As in :func:`checked`.
    popularity
        (items,) interactions of all users.
    """
    strangers = np.diff(seen.indptr) == 0
    return np.where(strangers[:, None], top_k(popularity[None].astype(np.float64), K)[0], lists)


def figures(lists: np.ndarray, truth: sparse.csr_matrix, popularity: np.ndarray) -> dict[str, float]:
    """Average the metrics over users.

    Parameters
    ----------
    lists, truth
        (users, k) top lists, and (users, items) held-out items; users without any count nowhere.
    popularity
        (items,) interactions that the model knew: the tail are all items but the 20 % most popular.
    """
    found = evaluate_top(lists, truth, popularity, (K,))
    values = {
        NDCG: found[NDCG],
        RECALL: found[RECALL],
        TAIL: found["tail"][RECALL],
        COVERAGE: found[COVERAGE],
    }
    return {name: float(value) for name, value in values.items()}


def of_users(lists: np.ndarray, truth: sparse.csr_matrix, popularity: np.ndarray, metric: str) -> np.ndarray:
    """Measure each user by one metric, NaN where nothing is held out.

    Parameters
    ----------
    lists, truth, popularity
        As in :func:`figures`.
    metric
        ``ndcg@20``, ``recall@20`` or ``tail recall@20``.
    """
    if metric == TAIL:
        rare = np.setdiff1d(np.arange(truth.shape[1]), head_items(popularity))
        return per_user(lists, restrict(truth, rare), RECALL)
    return per_user(lists, truth, metric)


@dataclass(frozen=True)
class Pair:
    """Two methods that are compared by a metric: their names and the figures of each user."""

    ours: str
    peer: str
    metric: str
    first: np.ndarray
    second: np.ndarray

    def names(self) -> dict[str, str]:
        """Return what is compared by which metric."""
        return {"ours": self.ours, "peer": self.peer, "metric": self.metric}


def compare(pairs: Sequence[Pair], repeats: int = REPEATS) -> list[dict[str, Any]]:
    """Compare pairs of methods, with intervals that hold for all of them at once.

    Parameters
    ----------
    pairs
        All that are tried together: an interval has the level ``1 - 0.05 / pairs`` (Bonferroni), a p-value is
        adjusted by :func:`holm`.
    repeats
        Resamples.

    Returns
    -------
    For each pair ``difference``, ``lift`` (relative), their bounds, ``p_value`` (adjusted) and ``users``.
    """
    level = joint_level(len(pairs), LEVEL)
    found = [paired_bootstrap(one.first, one.second, repeats=repeats, level=level) for one in pairs]
    adjusted = holm([one["p_value"] for one in found])
    return [
        {
            "ours": pair.ours,
            "peer": pair.peer,
            "metric": pair.metric,
            "pairs": len(pairs),
            **one,
            "p_value": p,
        }
        for pair, one, p in zip(pairs, found, adjusted, strict=True)
    ]
