"""A profile of the data: popularity of items, interactions of users, lengths of texts.

The stored offsets alone are read, never the interactions or the texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.data.distribution import Distribution, distribution, lengths
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

HEAD_SHARE = 0.2

__all__ = ["HEAD_SHARE", "DataProfile", "Distribution", "distribution", "profile"]


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
    stats: DatasetStats
    """Counts of the dataset: rows read, dropped and merged."""


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
        stats=dataset.stats,
    )
