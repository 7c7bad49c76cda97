"""The data at a glance: the long tail, interactions per user, text lengths; counts alone are read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Distribution:
    """How many have each value: distinct ``values`` ascending, and their ``counts``."""

    values: Integers
    counts: Integers

    @property
    def size(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    @property
    def total(self) -> int:
        """Sum of all values."""
        return int(self.values @ self.counts)

    def quantile(self, share: float) -> int:
        """The smallest value that at least this share does not exceed."""
        position = np.searchsorted(np.cumsum(self.counts), share * self.size)
        return int(self.values[min(int(position), len(self.values) - 1)])

    def share_of_largest(self, share: float) -> float:
        """Which part of the total the largest values hold, of so many as are ``share`` of all."""
        wanted = int(share * self.size)
        counts = self.counts[::-1]
        taken = np.minimum(counts, np.maximum(wanted - (np.cumsum(counts) - counts), 0))
        return float(taken @ self.values[::-1]) / max(self.total, 1)

    def rank_curve(self) -> tuple[list[int], list[int]]:
        """Ranks from 1, evenly spaced on a logarithmic axis, and the value at each; zeros are left out."""
        ends = np.cumsum(self.counts[::-1])
        positive = int(self.counts[self.values > 0].sum())
        if not positive:
            return [], []
        ranks = np.unique(np.geomspace(1, positive, _POINTS).round().astype(np.int64))
        return ranks.tolist(), self.values[::-1][np.searchsorted(ends, ranks)].tolist()

    def bins(self, most: int = 24) -> tuple[list[float], list[int]]:
        """Edges (one more than bins) on a logarithmic axis and how many lie in each; zeros are left out."""
        values, counts = self.values[self.values > 0], self.counts[self.values > 0]
        if not len(values):
            return [], []
        low, high = int(values[0]), int(values[-1]) + 1
        # integers: no two edges within one value
        edges = np.unique(np.geomspace(low, high, min(most, high - low) + 1).round().astype(np.int64))
        found, _ = np.histogram(values, edges, weights=counts)
        return [float(edge) for edge in edges], [int(count) for count in found]


def distribution(blocks: Iterator[Integers]) -> Distribution:
    """Of all values in some blocks, one of which is held at a time."""
    values, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for block in blocks:
        found, times = np.unique(block, return_counts=True)
        values, position = np.unique(np.concatenate([values, found]), return_inverse=True)
        counts = np.bincount(position, np.concatenate([counts, times]), len(values)).astype(np.int64)
    return Distribution(values, counts)


def lengths(workspace: Workspace, path: str) -> Iterator[Integers]:
    """Differences of stored offsets, block by block."""
    offsets = Vector(workspace, path)
    for start in range(0, len(offsets) - 1, _BLOCK):
        yield np.diff(offsets[start : min(start + _BLOCK, len(offsets) - 1) + 1]).astype(np.int64)


@dataclass(frozen=True)
class DataProfile:
    """What a dataset looks like."""

    users: int
    items: int
    interactions: dict[str, int]
    density: float
    popularity: Distribution
    activity: Distribution
    text_bytes: Distribution | None
    options: dict[str, Any]


def profile(workspace: Workspace, identifier: str) -> DataProfile:
    """The profile of an ingested dataset; reads the offsets of its rows, columns and texts.

    Raises
    ------
    L3AEError
        When the dataset is not completely there.
    """
    dataset = Dataset(workspace, identifier)
    known = "input" if dataset.stats["foldin"] else "train"
    paths, splits = layout.DatasetPaths(identifier), ("train", "valid", "test")
    text = layout.StringColumnPaths(paths.texts).offsets
    return DataProfile(
        users=dataset.n_users,
        items=dataset.n_items,
        interactions={split: dataset.nnz(split) for split in splits},
        density=sum(dataset.nnz(split) for split in splits) / max(dataset.n_users * dataset.n_items, 1),
        popularity=distribution(lengths(workspace, paths.train_by_item.indptr)),
        activity=distribution(lengths(workspace, paths.by_user(known).indptr)),
        text_bytes=(
            distribution(lengths(workspace, text)) if dataset.has_text and workspace.has(text) else None
        ),
        options=dataset.options,
    )
