"""A profile of the data: popularity of items, interactions of users, lengths of texts.

The stored offsets alone are read, never the interactions or the texts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.linalg.arrays import Integers
from l3ae_dist.storage import layout
from l3ae_dist.storage.vectors import Vector
from l3ae_dist.storage.workspace import Workspace

_BLOCK = 1 << 22
# Points of a curve on a logarithmic axis.
_POINTS = 120
HEAD_SHARE = 0.2


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


@dataclass(frozen=True, slots=True)
class DataProfile:
    """Sizes and distributions of a dataset."""

    users: int
    items: int
    interactions: Mapping[str, int]
    """Number in each split."""
    density: float
    """Share of all pairs of a user and an item that interact."""
    popularity: Distribution
    """Training interactions of each item."""
    activity: Distribution
    """Known interactions of each user."""
    text_bytes: Distribution | None
    """Bytes of each item's text; None without texts."""


def profile(workspace: Workspace, identifier: str) -> DataProfile:
    """Measure an ingested dataset; the offsets of its rows, columns and texts alone are read.

    Raises
    ------
    L3AEError
        When the dataset is not completely there.
    """
    dataset, paths = Dataset(workspace, identifier), layout.DatasetPaths(identifier)
    known: layout.Split = "input" if dataset.stats.foldin else "train"
    interactions = {split: dataset.nnz(split) for split in ("train", "valid", "test")}
    text = layout.StringColumnPaths(paths.texts).offsets
    return DataProfile(
        users=dataset.n_users,
        items=dataset.n_items,
        interactions=interactions,
        density=sum(interactions.values()) / max(dataset.n_users * dataset.n_items, 1),
        popularity=distribution(lengths(workspace, paths.train_by_item.indptr)),
        activity=distribution(lengths(workspace, paths.by_user(known).indptr)),
        text_bytes=(
            distribution(lengths(workspace, text)) if dataset.has_text and workspace.has(text) else None
        ),
    )
