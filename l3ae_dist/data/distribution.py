"""Distributions of integers, such as the interactions of each user, counted block by block."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from l3ae_dist.linalg.arrays import Integers
from l3ae_dist.storage.vectors import Vector
from l3ae_dist.storage.workspace import Workspace

_BLOCK = 1 << 22
# Points of a curve on a logarithmic axis.
_POINTS = 120


@dataclass(frozen=True, slots=True)
class Distribution:
    """Distribution of integers: distinct ``values`` ascending, (k,) int64, and how many have each."""

    values: Integers
    counts: Integers

    @property
    def size(self) -> int:
        """Number of integers."""
        return int(self.counts.sum())

    @property
    def total(self) -> int:
        """Sum of the integers."""
        return int(self.values @ self.counts)

    def quantile(self, share: float) -> int:
        """Return the smallest value that at least this share of the integers does not exceed."""
        position = np.searchsorted(np.cumsum(self.counts), share * self.size)
        return int(self.values[min(int(position), len(self.values) - 1)])

    def share_of_largest(self, share: float) -> float:
        """Return the part of the total that the largest ``share`` of the integers holds."""
        wanted = int(share * self.size)
        counts = self.counts[::-1]
        taken = np.minimum(counts, np.maximum(wanted - (np.cumsum(counts) - counts), 0))
        return float(taken @ self.values[::-1]) / max(self.total, 1)

    def rank_curve(self) -> tuple[list[int], list[int]]:
        """Return ranks from 1, evenly spaced on a logarithmic axis, and the value at each, without zeros."""
        ends = np.cumsum(self.counts[::-1])
        positive = int(self.counts[self.values > 0].sum())
        if not positive:
            return [], []
        ranks = np.unique(np.geomspace(1, positive, _POINTS).round().astype(np.int64))
        return ranks.tolist(), self.values[::-1][np.searchsorted(ends, ranks)].tolist()

    def bins(self, most: int = 24) -> tuple[list[float], list[int]]:
        """Return the edges of bins on a logarithmic axis and the count of each bin; zeros are left out.

        There is one more edge than bins, of which there are at most ``most``.
        """
        values, counts = self.values[self.values > 0], self.counts[self.values > 0]
        if not len(values):
            return [], []
        low, high = int(values[0]), int(values[-1]) + 1
        # integers: no two edges within one value
        edges = np.unique(np.geomspace(low, high, min(most, high - low) + 1).round().astype(np.int64))
        sums, _ = np.histogram(values, edges, weights=counts)
        return [float(edge) for edge in edges], [int(count) for count in sums]


def distribution(blocks: Iterator[Integers]) -> Distribution:
    """Count the values of some blocks of integers, one of which is held at a time."""
    values, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for block in blocks:
        distinct, times = np.unique(block, return_counts=True)
        values, position = np.unique(np.concatenate([values, distinct]), return_inverse=True)
        counts = np.bincount(position, np.concatenate([counts, times]), len(values)).astype(np.int64)
    return Distribution(values, counts)


def lengths(workspace: Workspace, path: str) -> Iterator[Integers]:
    """Yield the differences of a vector of stored offsets, block by block."""
    offsets = Vector(workspace, path)
    for start in range(0, len(offsets) - 1, _BLOCK):
        yield np.diff(offsets[start : min(start + _BLOCK, len(offsets) - 1) + 1]).astype(np.int64)
