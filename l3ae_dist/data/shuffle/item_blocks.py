"""Fourth pass: the training records of a block of items, sorted by item and user, become columns."""

from dataclasses import dataclass

import numpy as np

from l3ae_dist.data.shuffle.order import stable_order
from l3ae_dist.data.shuffle.records import Slice
from l3ae_dist.data.shuffle.spills import Spills
from l3ae_dist.linalg.arrays import Array, Integers


@dataclass(frozen=True, slots=True)
class ColumnsTask:
    """A block of items whose training records become columns.

    Parameters
    ----------
    key
        Beginning of the keys of what is written: ``entries`` and, with weights, ``entry_weights``.
    slices
        The records of each block of users, in the order of the users.
    first_rows
        The first row of each block of users.
    first_item, last_item
        The items ``first_item`` to ``last_item - 1``.
    weighted
        Whether the records have weights.
    spills
        The store.
    """

    key: str
    slices: tuple[Slice, ...]
    first_rows: tuple[int, ...]
    first_item: int
    last_item: int
    weighted: bool
    spills: Spills


def write_columns(task: ColumnsTask) -> Integers:
    """Sort and write the records of a block of items, and return the number of each item's."""
    total, first = sum(map(len, task.slices)), 0
    items, rows = np.empty(total, np.int32), np.empty(total, np.int32)
    weights = np.empty(total if task.weighted else 0, np.float32)
    for one, first_row in zip(task.slices, task.first_rows, strict=True):
        part = slice(first, first + len(one))
        task.spills.get_into(f"{one.key}/item", items[part], one.start)
        task.spills.get_into(f"{one.key}/row", rows[part], one.start)
        rows[part] += np.int32(first_row)
        if task.weighted:
            task.spills.get_into(f"{one.key}/weight", weights[part], one.start)
        first = part.stop
    items -= np.int32(task.first_item)
    counts = np.bincount(items, minlength=task.last_item - task.first_item)
    if not task.weighted:
        task.spills.put(f"{task.key}/entries", _rows_by_item(items, rows))
        return counts
    order = stable_order(items, task.last_item - task.first_item)
    task.spills.put(f"{task.key}/entries", rows[order])
    task.spills.put(f"{task.key}/entry_weights", weights[order])
    return counts


def _rows_by_item(items: Array, rows: Array) -> Array:
    """Sort the rows by item; rows ascend, so sorting item and row as one integer keeps them in order."""
    packed = items.astype(np.int64)
    packed <<= 32
    packed |= rows
    packed.sort()
    return packed.astype(np.int32)  # the lower half
