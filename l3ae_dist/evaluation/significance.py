"""Confidence intervals of means over users and of differences between two models."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import ceil, floor, isfinite, log10
from typing import Any

import numpy as np
import numpy.typing as npt

from l3ae_dist.linalg.arrays import Array

# Resamples at a time, and draws: what bounds their memory, however many users there are.
_CHUNK, _DRAWS = 64, 1 << 22


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Difference of two models on one test metric, paired over users, with 95 % intervals.

    Where several pairs are compared, the intervals hold for all of them at once (Bonferroni), and p-values
    are adjusted by :func:`holm`.

    Parameters
    ----------
    metric, models
        Name of the metric, and titles of ours and of the other model.
    difference, low, high
        Mean difference and its interval.
    lift, lift_low, lift_high
        The difference relative to the other model, and its interval.
    p_value
        Of the two-sided sign-flip test.
    users
        Users with figures of both models.
    pairs
        How many pairs were compared together.
    least_p
        Smallest p-value that so many flips can tell; 0 in results of earlier versions.
    """

    metric: str
    models: tuple[str, str]
    difference: float
    low: float
    high: float
    lift: float
    lift_low: float
    lift_high: float
    p_value: float
    users: float
    pairs: float = 1.0
    least_p: float = 0.0

    @property
    def p_text(self) -> str:
        """The p-value as text, of one that no number of flips was over its bound.

        >>> p = 1 / 1001
        >>> PairedComparison("ndcg@20", ("A", "B"), *[0.1] * 6, p_value=p, users=9, least_p=p).p_text
        'p < 0.001'
        """
        if not isfinite(self.p_value):
            return "p unknown"
        if self.p_value > self.least_p * (1 + 1e-9):
            return f"p = {self.p_value:.2g}"
        digit = 10.0 ** floor(log10(self.p_value))  # of the first figure, which is rounded up
        return f"p < {ceil(self.p_value / digit * (1 - 1e-9)) * digit:.1g}"

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "PairedComparison":
        """Read a comparison of a stored result; figures that it lacks are NaN, and it was alone."""
        found = {one.name: document.get(one.name, float("nan")) for one in fields(cls)}
        found |= {"pairs": document.get("pairs", 1.0), "least_p": document.get("least_p", 0.0)}
        return cls(**{**found, "models": tuple(document["models"])})

    @property
    def interval(self) -> str:
        """The level of the intervals in words."""
        return "95 % interval" + (f" for all {self.pairs:.0f} pairs at once" if self.pairs > 1 else "")

    def document(self) -> dict[str, object]:
        """Return the comparison as JSON-like values."""
        return {**asdict(self), "models": list(self.models)}


def _at_once(users: int) -> int:
    return max(1, min(_CHUNK, _DRAWS // users))


def bootstrap_means(
    values: Array, *, repeats: int = 1000, seed: int = 0, level: float = 0.95
) -> npt.NDArray[np.float64]:
    """Estimate percentile bootstrap intervals of means over users (Efron, Tibshirani 1993, chapter 13).

    Parameters
    ----------
    values
        (users, metrics) finite figures of each user.
    repeats, seed, level
        Resamples, their seed, and the coverage of the intervals.

    Returns
    -------
    (metrics, 2) lower and upper bounds, NaN without users. The same users are drawn for all metrics; cost:
    ``users * repeats`` draws and ``2 users * repeats * metrics`` flops, four million draws at a time.
    """
    users, metrics = values.shape
    if not users:
        return np.full((metrics, 2), np.nan)
    rng = np.random.default_rng(seed)
    means = np.empty((repeats, metrics))
    step = _at_once(users)
    for start in range(0, repeats, step):
        count = min(step, repeats - start)
        drawn = rng.integers(0, users, (count, users)) + users * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * users).reshape(count, users)
        means[start : start + count] = times.astype(np.float64) @ values / users
    tail = (1 - level) / 2
    return np.asarray(np.quantile(means, [tail, 1 - tail], axis=0).T)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for how many were tried (Holm, Scandinavian Journal of Statistics 6, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    raised = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1.0)
    adjusted = np.empty(len(p_values))
    adjusted[order] = raised
    return [round(float(value), 12) for value in adjusted]


def joint_level(pairs: int, level: float = 0.95) -> float:
    """Return the level of each of some intervals that hold at once with a level (Bonferroni).

    >>> joint_level(5)
    0.99
    """
    return round(1 - (1 - level) / max(pairs, 1), 12)


def paired_bootstrap(
    ours: Array, other: Array, *, repeats: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, float]:
    """Estimate the bootstrap interval over users of a mean difference and of the relative lift.

    Parameters
    ----------
    ours, other
        (users,) one metric of each user; users with NaN in either are left out.
    repeats, seed, level
        Resamples, their seed, and the coverage of the interval.

    Returns
    -------
    ``difference``, ``low``, ``high``, ``lift`` (relative), ``lift_low``, ``lift_high``, ``p_value``
    (two-sided sign-flip randomisation test of the mean difference) and ``users``.
    """
    both = np.isfinite(ours) & np.isfinite(other)
    a, b = ours[both], other[both]
    users = len(a)
    if not users:
        return dict.fromkeys(
            ("difference", "low", "high", "lift", "lift_low", "lift_high", "p_value"), float("nan")
        ) | {"users": 0.0}
    rng = np.random.default_rng(seed)
    means = np.empty((repeats, 2))
    flipped = np.empty(repeats)
    difference = a - b
    step = _at_once(users)
    for start in range(0, repeats, step):
        count = min(step, repeats - start)
        sample = rng.integers(0, users, (count, users))
        means[start : start + count, 0] = a[sample].mean(axis=1)
        means[start : start + count, 1] = b[sample].mean(axis=1)
        signs = rng.integers(0, 2, (count, users)) * 2 - 1
        flipped[start : start + count] = signs @ difference / users
    tail = (1 - level) / 2
    low, high = np.quantile(means[:, 0] - means[:, 1], [tail, 1 - tail])
    with np.errstate(divide="ignore", invalid="ignore"):
        lifts = means[:, 0] / means[:, 1] - 1
        lift = a.mean() / b.mean() - 1
    lift_low, lift_high = np.quantile(lifts, [tail, 1 - tail])
    extreme = (np.abs(flipped) >= abs(difference.mean()) - 1e-15).sum()
    return {
        "difference": float(difference.mean()),
        "low": float(low),
        "high": float(high),
        "lift": float(lift),
        "lift_low": float(lift_low),
        "lift_high": float(lift_high),
        "p_value": float((extreme + 1) / (repeats + 1)),
        "users": float(users),
    }
