"""Third pass: the records of a block of users are merged and split, and become rows of the matrices.

Where rare users or items are removed, the pass has two halves: records are merged first, then removed in
rounds, then split.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data import splits
from l3ae_dist.data.shuffle.order import PairKeys, block_numbers, run_starts, stable_order
from l3ae_dist.data.shuffle.records import MergedRows, Records, Slice, gather, merge_rows
from l3ae_dist.data.shuffle.spills import Spills
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array, Integers
from l3ae_dist.storage import layout

_CODES: dict[layout.Split, tuple[int, ...]] = {
    "train": (splits.TRAIN,),
    "valid": (splits.VALID,),
    "test": (splits.TEST,),
}


@dataclass(frozen=True, slots=True)
class BlockSource:
    """Records of a block of users, as an earlier pass left them.

    Parameters
    ----------
    key
        Beginning of the keys of what is written for the block.
    slices
        Where the records are.
    types
        Type of each array that they carry.
    keys
        Packs user and item.
    n_items
        Number of items.
    spills
        The store.
    """

    key: str
    slices: tuple[Slice, ...]
    types: Mapping[str, str]
    keys: PairKeys
    n_items: int
    spills: Spills

    def read(self) -> Records:
        """Return the records, in the order of the log's rows."""
        return gather(self.slices, self.types, self.spills)


@dataclass(frozen=True, slots=True)
class Splitting:
    """Options of a split, and what is made of it.

    Parameters
    ----------
    options
        Kind, ratios and seed.
    foldin
        Whether users may be held out whole, with fold-in rows.
    """

    options: IngestConfig
    foldin: bool

    @property
    def codes(self) -> dict[layout.Split, tuple[int, ...]]:
        """Split codes that the rows of each split have."""
        return _CODES | ({"input": (splits.TRAIN, splits.FOLDIN)} if self.foldin else {})

    def assign(self, users: Integers, items: Integers, carried: Mapping[str, Array]) -> Array | None:
        """Return the split code of each record, int8; None where all are trained on.

        Parameters
        ----------
        users, items
            (n,) rows, sorted by user, then by item.
        carried
            What the records carry.
        """
        options = self.options
        if "split" in carried:
            return carried["split"]
        if options.split == "random":
            ratios = {"valid": options.valid_ratio, "test": options.test_ratio}
            return splits.random_split(users, items, seed=options.seed, **ratios)
        if options.split == "leave_last_out":
            return splits.leave_last_out(users, items, carried["time"])
        if options.split == "strong":
            heldout, foldin = options.heldout_users, options.foldin_ratio
            return splits.strong_split(users, items, heldout=heldout, foldin=foldin, seed=options.seed)
        return None


@dataclass(frozen=True, slots=True)
class RowsTask:
    """A block of users whose records become rows.

    Parameters
    ----------
    source
        Its records.
    merge
        Whether they are sorted and merged first.
    splitting
        The split.
    item_starts
        (item blocks + 1,) the first item of each block of the last pass.
    """

    source: BlockSource
    merge: bool
    splitting: Splitting
    item_starts: Integers


@dataclass(frozen=True, slots=True)
class BlockRows:
    """Rows that were written for a block of users.

    Parameters
    ----------
    key
        Beginning of the keys: ``kept`` are the users that have a record; ``SPLIT/counts``, ``SPLIT/entries``
        and, with weights, ``SPLIT/entry_weights`` are the rows of a split; ``columns/...`` the training
        records by item block.
    users
        Number of users that have a record.
    nnz
        Interactions of each split.
    item_bounds
        (item blocks + 1,) the first training record of each item block.
    duplicates
        Records that were merged into another.
    split_conflicts
        Records that were left out, since their user and item stand in an earlier split.
    """

    key: str
    users: int
    nnz: Mapping[layout.Split, int]
    item_bounds: Integers
    duplicates: int
    split_conflicts: int


def write_rows(task: RowsTask) -> BlockRows:
    """Merge, split and write the records of a block."""
    records = task.source.read()
    return rows_of(task, merge_rows(records) if task.merge else MergedRows(records, 0, 0))


def rows_of(task: RowsTask, merged: MergedRows) -> BlockRows:
    """Split and write merged records.

    Parameters
    ----------
    task
        The block.
    merged
        Its records, and counts for the result.
    """
    source, records = task.source, merged.records
    users, items = source.keys.users(records.pairs), source.keys.items(records.pairs)
    codes = task.splitting.assign(users, items, records.carried)
    starts = run_starts(users)
    source.spills.put(f"{source.key}/kept", users[starts])
    weights = _single(records.carried.get("weight"))
    entries = _Entries(np.append(starts, len(users)), items.astype(np.int32), weights)
    del users, items
    rows = {name: entries.among(codes, wanted) for name, wanted in task.splitting.codes.items()}
    for name, some in rows.items():
        some.write(f"{source.key}/{name}", source.spills)
    training = rows["train"]
    bounds = _write_columns(task, training)
    nnz = {name: len(some.items) for name, some in rows.items()}
    return BlockRows(source.key, len(starts), nnz, bounds, merged.duplicates, merged.split_conflicts)


@dataclass(frozen=True, slots=True)
class _Entries:
    """Entries of the rows of some users.

    Parameters
    ----------
    bounds
        (users + 1,) the first entry of each user.
    items
        (n,) int32 item of each entry.
    weights
        (n,) float32; None where all are 1.
    """

    bounds: Integers
    items: Array
    weights: Array | None

    def among(self, codes: Array | None, wanted: tuple[int, ...]) -> "_Entries":
        """Return the entries that have one of some split codes; without codes all are for training."""
        if codes is None:
            return self if splits.TRAIN in wanted else self._at(np.empty(0, np.int64))
        found = codes == wanted[0]
        for code in wanted[1:]:
            found |= codes == code
        return self._at(np.flatnonzero(found))

    def _at(self, places: Integers) -> "_Entries":
        weights = None if self.weights is None else self.weights[places]
        return _Entries(np.searchsorted(places, self.bounds), self.items[places], weights)

    def write(self, key: str, spills: Spills) -> None:
        """Write counts, indices and data of the rows."""
        spills.put(f"{key}/counts", np.diff(self.bounds))
        spills.put(f"{key}/entries", self.items)
        if self.weights is not None:
            spills.put(f"{key}/entry_weights", self.weights)


def _single(weights: Array | None) -> Array | None:
    """Return weights in single precision; raise where a sum does not fit."""
    if weights is None:
        return None
    with np.errstate(over="ignore"):
        single = weights.astype(np.float32)
    if np.isinf(single).any():
        raise DataError(
            "the summed weights of a user and an item are over the largest number of single precision; scale "
            "the weights."
        )
    return single


def _write_columns(task: RowsTask, training: _Entries) -> Integers:
    """Write training records by item block, and return where each begins."""
    key, spills, blocks = f"{task.source.key}/columns", task.source.spills, len(task.item_starts) - 1
    users = len(training.bounds) - 1
    rows = np.repeat(np.arange(users, dtype=np.int32), np.diff(training.bounds))
    items, weights, bounds = training.items, training.weights, np.array([0, len(rows)])
    if blocks > 1:
        numbers = np.take(block_numbers(task.item_starts), items)
        order = stable_order(numbers, blocks)
        items, rows = items[order], rows[order]
        weights = None if weights is None else weights[order]
        bounds = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=blocks))])
    spills.put(f"{key}/item", items)
    spills.put(f"{key}/row", rows)
    if weights is not None:
        spills.put(f"{key}/weight", weights)
    return bounds
