"""Counts of a stored dataset, which its completion record holds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetStats:
    """Counts of a dataset and how it came about.

    Parameters
    ----------
    nnz
        Interactions of each split: ``train``, ``valid``, ``test``, and ``input`` with a strong split.
    foldin
        Whether users are held out whole, with fold-in rows that are known at prediction time.
    n_users, n_items
        Rows and columns of the interactions.
    weighted
        Whether interactions have weights; else all of them are 1.
    has_text, no_text
        Whether the items have text, and why not.
    max_popularity
        Training interactions of the item that has most.
    items_without_interactions
        Items that no training interaction names.
    dropped
        What was left out: ``users`` by the k-core filter, ``unknown_items`` and their
        ``unknown_item_interactions``.
    catalog
        Names the items and their texts, which several datasets may share; None for the dataset's own id.
    parent, log, appended
        Of a dataset that continues another: its id, the name of the log, and counts of what was new.
    """

    nnz: Mapping[str, int] = field(default_factory=dict)
    foldin: bool = False
    n_users: int
    n_items: int
    weighted: bool = False
    has_text: bool = False
    no_text: str | None = None
    max_popularity: int = 0
    items_without_interactions: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    catalog: str | None = None
    parent: str | None = None
    log: str | None = None
    appended: Mapping[str, int] | None = None

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Read the statistics of a completion record."""
        return cls(**{one.name: record[one.name] for one in fields(cls) if one.name in record})

    def record(self) -> dict[str, Any]:
        """Return the statistics as the completion record holds them: JSON, without what does not apply."""
        optional = ("catalog", "parent", "log", "appended")
        return {
            name: value for name, value in asdict(self).items() if name not in optional or value is not None
        }
