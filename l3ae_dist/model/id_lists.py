"""Lists of ids, in whatever form a caller has them, as positions of items."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeGuard

import numpy as np
from scipy import sparse

from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.linalg.arrays import Array, Integers
from l3ae_dist.messages import shown

FindItems = Callable[[Sequence[object]], Integers]
"""Maps item ids to positions; raises for unknown ones."""


def id_list(ids: object, name: str) -> list[object]:
    """Return ids as a list.

    Lists, sets and other iterables, one-dimensional arrays, and Series, Indexes and arrays of pandas, Polars
    and Arrow are lists of ids.

    Raises
    ------
    ConfigError
        For a single id, which is no list.
    DataError
        For a table, a mapping, or an array of several dimensions.
    """
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable) or _dimensions(ids) == 0:
        raise ConfigError(
            f"{name} is the single id {shown(ids)}; give a list of ids, such as [{shown(ids)}]."
        )
    if isinstance(ids, Mapping) or hasattr(type(ids), "columns"):
        raise DataError(
            f"{name} is a {type(ids).__name__}; give a list of ids, such as the column that holds them."
        )
    if _dimensions(ids) > 1:
        raise DataError(f"{name} is {shown(ids)}; give a list of ids, such as array.ravel().")
    for method in ("tolist", "to_list", "to_pylist"):
        if hasattr(ids, method):
            return list(getattr(ids, method)())
    return list(ids)


def _dimensions(ids: object) -> int:
    return int(getattr(ids, "ndim", 1))


def is_list(value: object) -> "TypeGuard[Iterable[object]]":
    """Tell whether a value holds several ids; a string is one."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def is_lists(values: Sequence[object], name: str) -> "TypeGuard[Sequence[Iterable[object]]]":
    """Tell whether values are lists of ids, and not ids.

    Raises
    ------
    DataError
        For lists beside ids.
    """
    lists = [is_list(value) for value in values]
    if any(lists) and not all(lists):
        place = lists.index(not lists[0])
        raise DataError(
            f"{name} holds lists of ids beside single ids (place {place} is {shown(values[place])}); give "
            "either."
        )
    return bool(lists) and lists[0]


def positions_of(lists: Iterable[object], width: int, find: FindItems, name: str) -> sparse.csr_matrix:
    """Return lists of item ids as rows of ones, (lists, width) float32.

    Parameters
    ----------
    lists
        Item ids; an id twice in a list counts once.
    width
        Item positions.
    find
        Maps ids to positions.
    name
        What the argument is called in errors.
    """
    rows = [id_list(ids, f"a list of {name}") for ids in lists]
    lengths = np.array([len(ids) for ids in rows], np.int64)
    positions = find([item for ids in rows for item in ids])
    where = (np.repeat(np.arange(len(rows)), lengths), positions)
    ones = np.ones(len(positions), np.float32)
    matrix = sparse.coo_matrix((ones, where), shape=(len(rows), width)).tocsr()
    matrix.data[:] = 1
    return matrix


def distinct_labels(values: Sequence[object]) -> Array:
    """Return ids as int64 where all are integers, else as objects."""
    if all(isinstance(value, int | np.integer) for value in values):
        return np.array(values, np.int64)
    labels = np.empty(len(values), object)
    labels[:] = values
    return labels
