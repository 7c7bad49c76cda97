"""Sorting of records by integers: pairs of user and item packed into one, and orders that keep ties."""

from dataclasses import dataclass

import numpy as np

from l3ae_dist.linalg.arrays import Array, Integers

_LARGEST = 63


@dataclass(frozen=True, slots=True)
class PairKeys:
    """Pairs of a user's and an item's row as integers that sort by user, then by item.

    Parameters
    ----------
    bits
        Number of bits for the item.
    """

    bits: int

    @classmethod
    def of_items(cls, count: int) -> "PairKeys":
        """Return keys for so many items."""
        return cls(max(1, (count - 1).bit_length()))

    def pack(self, users: Array, items: Array) -> Integers:
        """Return the key of each pair."""
        keys = users.astype(np.int64)
        keys <<= self.bits
        keys |= items
        return keys

    def users(self, keys: Integers) -> Integers:
        """Return the user of each key."""
        return keys >> self.bits

    def items(self, keys: Integers) -> Integers:
        """Return the item of each key."""
        return keys & ((1 << self.bits) - 1)

    def first(self, users: Integers) -> Integers:
        """Return the smallest key of each user."""
        return users << self.bits


def stable_order(keys: Array, largest: int) -> Integers:
    """Return the order that sorts integers and leaves equal ones as they stand.

    Where an integer and its position fit into 63 bits they are sorted as one, which is several times as fast
    as sorting positions.

    Parameters
    ----------
    keys
        (n,) integers from 0 on.
    largest
        No key is larger.
    """
    bits = max(1, (len(keys) - 1).bit_length())
    if largest.bit_length() + bits > _LARGEST:
        return np.argsort(keys, kind="stable")
    packed = keys.astype(np.int64)
    packed <<= bits
    packed |= np.arange(len(keys))
    packed.sort()
    packed &= (1 << bits) - 1
    return packed


def run_starts(values: Array) -> Integers:
    """Return the positions at which a run of equal values begins."""
    if not len(values):
        return np.empty(0, np.int64)
    new = np.empty(len(values), bool)
    new[0] = True
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return np.flatnonzero(new)


def block_numbers(starts: Integers) -> Array:
    """Return the block of each row, int32, for (blocks + 1,) first rows."""
    return np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts))


def blocks_of(counts: Integers, most_rows: int, most_records: int) -> Integers:
    """Cut consecutive rows into blocks that are sorted in memory.

    Parameters
    ----------
    counts
        (n,) records of each row.
    most_rows, most_records
        A block has no more of either, unless a single row has more records.

    Returns
    -------
    (blocks + 1,) the first row of each block, and ``n``.
    """
    ends = np.cumsum(counts)
    starts = [0]
    while starts[-1] < len(counts):
        first = starts[-1]
        before = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, before + most_records, side="right"))
        starts.append(min(max(last, first + 1), first + most_rows, len(counts)))
    return np.array(starts, np.int64)
