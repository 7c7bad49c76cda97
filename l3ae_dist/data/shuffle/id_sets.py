"""Sets of ids as Arrow arrays: united and sorted, and looked up."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.linalg.arrays import Array, Integers

if TYPE_CHECKING:
    import pyarrow as pa

# A table over the range of integers is taken while it has no more entries than this for each id.
_SPARSE = 8
_SMALL = 1 << 16
# Ids that are collected before they are united.
_COLLECTED = 1 << 23


def dense_range(values: Array) -> tuple[int, int] | None:
    """Return the smallest of integers and the length of their range, if a table of that length is cheap."""
    if not len(values):
        return None
    low, high = int(values.min()), int(values.max())
    span = high - low + 1
    return (low, span) if span <= _most_span(len(values)) else None


def _most_span(count: int) -> int:
    """Return the longest range over which a table for so many integers is cheap."""
    return max(_SPARSE * count, _SMALL)


class IdUnion:
    """Ids that are in any of the arrays that were added.

    Parameters
    ----------
    empty
        The union of none: an array of the type of all.
    """

    def __init__(self, empty: "pa.Array") -> None:
        import pyarrow as pa

        self._empty = self._merged = empty
        self._waiting: list[pa.Array] = []
        self._marked = _MarkedIntegers()
        self._integers = pa.types.is_integer(empty.type)

    def add(self, ids: "pa.Array") -> None:
        """Add ids of the same type; they are kept until enough have come together."""
        if len(self._marked) and self._marked.add([ids.to_numpy()]):
            return
        self._waiting.append(ids)
        if sum(map(len, self._waiting)) > max(_COLLECTED, len(self._merged)):
            self._merge()

    def ids(self) -> "pa.Array":
        """Return the sorted ids so far."""
        import pyarrow as pa

        self._merge()
        return pa.array(self._marked.values()) if len(self._marked) else self._merged

    def _merge(self) -> None:
        """Unite what waits with what is there: marked in a table if they are integers of a dense range."""
        sets = [ids for ids in (self._merged, *self._waiting) if len(ids)]
        self._waiting = []
        if not self._integers:
            self._merged = _sorted_texts(sets) if sets else self._empty
        elif self._marked.add([ids.to_numpy() for ids in sets]):
            self._merged = self._empty
        else:
            self._merged = _sorted_integers([self._marked.values(), *(ids.to_numpy() for ids in sets)])
            self._marked = _MarkedIntegers()


class _MarkedIntegers:
    """Integers of a range that is not much longer than they are many, marked in a table of that range."""

    def __init__(self) -> None:
        self._low = 0
        self._present = np.zeros(0, bool)

    def __len__(self) -> int:
        return len(self._present)

    def add(self, sets: Sequence[Integers]) -> bool:
        """Mark integers; False, and none is marked, where the table would be long for so few."""
        there = [values for values in sets if len(values)]
        if there and not self._reach(there):
            return False
        for values in there:
            self._present[values - self._low] = True
        return True

    def values(self) -> Integers:
        """Return the integers, sorted."""
        return np.flatnonzero(self._present) + self._low

    def _reach(self, sets: Sequence[Integers]) -> bool:
        """Lengthen the table to the range of further integers, where that is cheap."""
        low, high = min(int(values.min()) for values in sets), max(int(values.max()) for values in sets)
        before = len(self._present)
        if before:
            low, high = min(low, self._low), max(high, self._low + before - 1)
        span = high - low + 1
        if span > before:
            if span > _most_span(int(np.count_nonzero(self._present)) + sum(map(len, sets))):
                return False
            longer = np.zeros(span, bool)
            longer[self._low - low : self._low - low + before] = self._present
            self._low, self._present = low, longer
        return True


def unite(sets: Iterable["pa.Array"], empty: "pa.Array") -> "pa.Array":
    """Return the sorted ids that are in any of some arrays of one type.

    Parameters
    ----------
    sets
        Arrays; read one after the other and not kept.
    empty
        The result when there is none.

    Returns
    -------
    Integers in their order; texts by the bytes of their UTF-8, which is the order of their code points.
    """
    union = IdUnion(empty)
    for ids in sets:
        union.add(ids)
    return union.ids()


def _sorted_texts(sets: Sequence["pa.Array"]) -> "pa.Array":
    import pyarrow as pa

    distinct = pa.chunked_array(sets).unique()
    return distinct.take(pa.compute.array_sort_indices(distinct))


def _sorted_integers(sets: Sequence[Integers]) -> "pa.Array":
    import pyarrow as pa

    values = np.concatenate(sets)
    values.sort()
    return pa.array(values[np.r_[True, values[1:] != values[:-1]]])


class IdRows:
    """Rows of ids in an array without duplicates.

    Parameters
    ----------
    ids
        (n,) int64 or ``large_string``, sorted or not.
    """

    def __init__(self, ids: "pa.Array") -> None:
        import pyarrow as pa

        self._ids = ids
        self._is_text = not pa.types.is_integer(ids.type)
        if not self._is_text and len(ids):
            values = ids.to_numpy()
            self._low, self._table = 0, None
            dense = dense_range(values)
            if dense is not None:
                self._low, span = dense
                self._table = np.full(span, -1, np.int32)
                self._table[values - self._low] = np.arange(len(values), dtype=np.int32)
                return
            self._order = None if (values[1:] > values[:-1]).all() else np.argsort(values)
            self._sorted = values if self._order is None else values[self._order]

    def find(self, values: "pa.Array") -> Array:
        """Return the row of each of some ids of the same type, int32; -1 for one that is not there."""
        import pyarrow as pa

        if not len(self._ids) or not len(values):
            return np.full(len(values), -1, np.int32)
        if self._is_text:
            found = pa.compute.index_in(values, value_set=self._ids).fill_null(-1)
            return np.asarray(found.to_numpy(), np.int32)
        return self._find_integers(values.to_numpy())

    def _find_integers(self, values: Integers) -> Array:
        if self._table is not None:
            inside = (values >= self._low) & (values < self._low + len(self._table))
            if inside.all():
                return self._table[values - self._low]
            return np.where(inside, self._table[np.where(inside, values - self._low, 0)], np.int32(-1))
        places = np.searchsorted(self._sorted, values).clip(max=len(self._sorted) - 1)
        rows = places if self._order is None else self._order[places]
        return np.where(self._sorted[places] == values, rows, -1).astype(np.int32)
