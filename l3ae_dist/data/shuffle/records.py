"""Records of one block of users: gathered, sorted, and merged where user and item are equal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from l3ae_dist.data.shuffle.order import run_starts, stable_order
from l3ae_dist.data.shuffle.spills import Spills
from l3ae_dist.linalg.arrays import Array, Integers


@dataclass(frozen=True, slots=True)
class Slice:
    """Consecutive records of spilled objects.

    Parameters
    ----------
    key
        Beginning of the objects' keys.
    start, stop
        The range of records.
    """

    key: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Records:
    """Interactions of some users.

    Parameters
    ----------
    pairs
        (n,) user and item, packed (:class:`~l3ae_dist.data.shuffle.order.PairKeys`).
    carried
        (n,) arrays by name, of what the records carry: ``weight``, ``time``, ``split``.
    """

    pairs: Integers
    carried: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, rows: Array | slice) -> "Records":
        return Records(self.pairs[rows], {name: values[rows] for name, values in self.carried.items()})


def gather(slices: Sequence[Slice], types: Mapping[str, str], spills: Spills) -> Records:
    """Read records from several spilled objects, one after the other.

    Parameters
    ----------
    slices
        Where they are.
    types
        Type of each array that they carry.
    spills
        The store.
    """
    total = sum(map(len, slices))
    found = {name: np.empty(total, dtype) for name, dtype in {"pairs": "<i8", **types}.items()}
    first = 0
    for one in slices:
        for name, values in found.items():
            spills.get_into(f"{one.key}/{name}", values[first : first + len(one)], one.start)
        first += len(one)
    return Records(found.pop("pairs"), found)


def keep(records: Records, key: str, spills: Spills) -> Slice:
    """Write records below a key.

    Parameters
    ----------
    records
        The records.
    key
        Beginning of the keys.
    spills
        The store.
    """
    for name, values in {"pairs": records.pairs, **records.carried}.items():
        spills.put(f"{key}/{name}", values)
    return Slice(key, 0, len(records))


def merged(records: Records) -> Records:
    """Sort records by user and item, and merge those of equal user and item.

    Weights are summed in double precision in the order of the rows; the latest time counts, and train goes
    before valid, and valid before test.
    """
    if not len(records):
        return records
    pairs, order = records.pairs, None
    if records.carried:
        low = int(pairs.min())
        order = stable_order(pairs - low, int(pairs.max()) - low)
        pairs = pairs[order]
    else:
        pairs = np.sort(pairs)
    starts = run_starts(pairs)
    if len(starts) < len(pairs):
        pairs = pairs[starts]
    carried = {name: _reduced(name, values[order], starts) for name, values in records.carried.items()}
    return Records(pairs, carried)


def without_split_conflicts(records: Records) -> Records:
    """Leave out the rows of a user and an item that stand in an earlier split too.

    What is held out then adds nothing to the weights that are trained on, and the reverse.
    """
    split = records.carried.get("split")
    if split is None or not len(split) or (split == split[0]).all():
        return records
    low = int(records.pairs.min())
    order = stable_order(records.pairs - low, int(records.pairs.max()) - low)
    starts = run_starts(records.pairs[order])
    split = split[order]
    first = np.repeat(np.minimum.reduceat(split, starts), np.diff(np.r_[starts, len(split)]))
    conflicts = order[split > first]
    if not len(conflicts):
        return records
    kept = np.ones(len(records), bool)
    kept[conflicts] = False
    return records[kept]


@dataclass(frozen=True, slots=True)
class MergedRows:
    """Rows of a log after merging.

    Parameters
    ----------
    records
        Sorted by user and item, each pair once.
    duplicates
        Rows that were merged into another.
    split_conflicts
        Rows that were left out, since their user and item stand in an earlier split.
    """

    records: Records
    duplicates: int
    split_conflicts: int


def merge_rows(records: Records) -> MergedRows:
    """Sort and merge rows, where each user and item is in one split alone."""
    chosen = without_split_conflicts(records)
    found = merged(chosen)
    return MergedRows(found, len(chosen) - len(found), len(records) - len(chosen))


_MERGE: Mapping[str, np.ufunc] = {"weight": np.add, "time": np.maximum, "split": np.minimum}


def _reduced(name: str, values: Array, starts: Integers) -> Array:
    if len(starts) == len(values):
        return values
    reduced: Array = _MERGE[name].reduceat(values, starts)
    return reduced
