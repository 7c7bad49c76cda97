"""Counts of a stored dataset, which its completion record holds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The core of a dataset whose items are stored core first.

    Parameters
    ----------
    of
        Id of the dataset in catalog order.
    min_interactions
        Training interactions that an item of the core has at least.
    items
        Items of the core.
    """

    of: str
    min_interactions: int
    items: int


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
        What was left out: ``users`` of whom no interaction was left, ``unknown_items`` and their
        ``unknown_item_interactions``, rows without a rating (``missing_ratings``), with one below
        the threshold (``low_ratings``) or with weight 0 (``zero_weights``), rows merged into another of
        their user and item (``duplicates``), rows of ``forgotten`` users, rows of a user and an item
        that stand in an earlier split too (``split_conflicts``), and interactions that the k-core filter
        removed (``k_core``).
    read
        Of ``interactions`` and ``items``: how many ``files`` and ``rows`` were read.
    notes
        Sentences on how files were read, such as an encoding that is no UTF-8.
    catalog
        Names the items and their texts, which several datasets may share; None for the dataset's own id.
    parent, log, appended
        Of a dataset that continues another: its id, the name of the log, and counts of what was new.
    core
        The core of a dataset whose items are stored core first.
    forgotten, logs
        Of a dataset that was made from another without forgotten users: how many it left out, and the names
        of the logs that were appended to make it.
    without
        Name of the forgotten users who were left out as it was made; empty for nobody.
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
    read: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    catalog: str | None = None
    parent: str | None = None
    log: str | None = None
    appended: Mapping[str, int] | None = None
    core: Core | None = None
    forgotten: int = 0
    logs: tuple[str, ...] = ()
    without: str = ""

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Read the statistics of a completion record."""
        known = {one.name: record[one.name] for one in fields(cls) if one.name in record}
        core = None if known.get("core") is None else Core(**known["core"])
        lists = {name: tuple(record.get(name, ())) for name in ("notes", "logs")}
        return cls(**{**known, **lists, "core": core})

    def record(self) -> dict[str, Any]:
        """Return the statistics as the completion record holds them: JSON, without what does not apply."""
        optional = ("catalog", "parent", "log", "appended", "core", "forgotten", "logs", "without")
        unset = (None, 0, (), "")
        return {
            name: value for name, value in asdict(self).items() if name not in optional or value not in unset
        }
