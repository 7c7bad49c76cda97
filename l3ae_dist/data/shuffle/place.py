"""Second pass: the records of each segment, with the rows of their users and items, ordered by user block."""

from dataclasses import dataclass

import numpy as np

from l3ae_dist.data.shuffle.order import PairKeys, block_numbers, stable_order
from l3ae_dist.data.shuffle.scan import LogColumns, Segment
from l3ae_dist.data.shuffle.spills import Spills
from l3ae_dist.linalg.arrays import Array, Integers


@dataclass(frozen=True, slots=True)
class PlaceTask:
    """A segment whose records go to the blocks of their users.

    Parameters
    ----------
    segment
        What the first pass wrote.
    columns
        Tells what the records carry.
    keys
        Packs user and item.
    starts
        (blocks + 1,) the first user of each block.
    time_type
        Type that the times of all segments have together.
    spills
        Where the segment is, and receives ``placed/pairs`` and what else the records carry.
    """

    segment: Segment
    columns: LogColumns
    keys: PairKeys
    starts: Integers
    time_type: str
    spills: Spills


def place(task: PlaceTask) -> Integers:
    """Write the records of a segment by user block, without those of unknown items and of users left out.

    Returns
    -------
    (blocks + 1,) the first record of each block in the objects that were written.
    """
    key, spills = task.segment.key, task.spills
    users = _rows(task, "user")
    items = _rows(task, "item")
    everyone = items.min(initial=0) >= 0 and users.min(initial=0) >= 0
    known = None if everyone else np.flatnonzero((items >= 0) & (users >= 0))
    if known is not None:
        users, items = users[known], items[known]
    pairs, blocks = task.keys.pack(users, items), len(task.starts) - 1
    del users, items
    payload = payload_types(task.columns, task.time_type)
    order, bounds = None, np.array([0, len(pairs)])
    if blocks > 1 and not payload:
        pairs.sort()
        bounds = np.searchsorted(pairs, task.keys.first(task.starts))
    elif blocks > 1:
        numbers = np.take(block_numbers(task.starts), task.keys.users(pairs))
        order = stable_order(numbers, blocks)
        pairs = pairs[order]
        bounds = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=blocks))])
    spills.put(f"{key}/placed/pairs", pairs)
    for name, dtype in payload.items():
        stored = task.segment.time_type if name == "time" else dtype
        values = spills.get(f"{key}/{name}", stored).astype(dtype, copy=False)
        values = values if known is None else values[known]
        spills.put(f"{key}/placed/{name}", values if order is None else values[order])
    return bounds


def payload_types(columns: LogColumns, time_type: str) -> dict[str, str]:
    """Return names and types of what records carry beside user and item."""
    carried = {"weight": "<f8"} if columns.weighted else {}
    if columns.timed:
        carried["time"] = time_type
    return carried | ({"split": "|i1"} if columns.has_split else {})


def _rows(task: PlaceTask, column: str) -> Array:
    """Return the rows of users or items of the segment's records."""
    key = task.segment.key
    codes = task.spills.get(f"{key}/{column}s", np.int32)
    return np.take(task.spills.get(f"{key}/{column}_rows", np.int32), codes)
