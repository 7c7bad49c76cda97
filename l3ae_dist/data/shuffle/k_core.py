"""Removal of rare users and rare items in rounds, until none is left (Seidman 1983).

A round reads what the one before it wrote and writes under keys of its own, so that each of its tasks may
run again; what a round has replaced is deleted after the last of its tasks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from l3ae_dist.data.shuffle.each import Each
from l3ae_dist.data.shuffle.order import run_starts
from l3ae_dist.data.shuffle.records import Records, Slice, keep, merge_rows
from l3ae_dist.data.shuffle.user_blocks import BlockSource
from l3ae_dist.linalg.arrays import Integers


@dataclass(frozen=True, slots=True)
class MergedBlock:
    """Merged records of a block of users.

    Parameters
    ----------
    records
        Where they are.
    degree
        (n_items,) interactions of each item.
    removed
        Records that were merged into another, or removed.
    split_conflicts
        Records that were left out, since their user and item stand in an earlier split.
    """

    records: Slice
    degree: Integers
    removed: int
    split_conflicts: int = 0


@dataclass(frozen=True, slots=True)
class CoreTask:
    """A block of users whose rare users and items are removed.

    Parameters
    ----------
    source
        Its merged records.
    fewest_user, fewest_item
        Smallest numbers of interactions that stay.
    number
        Number of the round, from 1 on; records that the task leaves are written under it.
    """

    source: BlockSource
    fewest_user: int
    fewest_item: int
    number: int

    @property
    def degree(self) -> str:
        """Key of the interactions of each item before the round."""
        return _degree_key(self.number)


def merge_block(source: BlockSource) -> MergedBlock:
    """Sort and merge the records of a block."""
    rows = merge_rows(source.read())
    return replace(_kept(source, rows.records, rows.duplicates, 0), split_conflicts=rows.split_conflicts)


def remove_rare(task: CoreTask) -> MergedBlock:
    """Remove the records of rare items, then of users that are rare without them."""
    source = task.source
    records = source.read()
    degree = source.spills.get(task.degree, np.int64)
    found = records[degree[source.keys.items(records.pairs)] >= task.fewest_item]
    users = source.keys.users(found.pairs)
    counts = np.diff(np.r_[run_starts(users), len(users)])
    found = found[np.repeat(counts >= task.fewest_user, counts)]
    if len(found) == len(records):
        return MergedBlock(source.slices[0], _degree(source, records), 0)
    return _kept(source, found, len(records) - len(found), task.number)


def _degree_key(number: int) -> str:
    return f"core/{number}/degree"


def _degree(source: BlockSource, records: Records) -> Integers:
    return np.bincount(source.keys.items(records.pairs), minlength=source.n_items)


def _kept(source: BlockSource, records: Records, removed: int, number: int) -> MergedBlock:
    written = keep(records, f"{source.key}/core/{number}", source.spills)
    return MergedBlock(written, _degree(source, records), removed)


@dataclass(frozen=True, slots=True)
class Core:
    """Blocks without rare users and items, and how they came about.

    Parameters
    ----------
    blocks
        The blocks with merged records.
    duplicates
        Records that were merged into another.
    split_conflicts
        Records that were left out, since their user and item stand in an earlier split.
    removed
        Merged records of rare users and items.
    """

    blocks: list[BlockSource]
    duplicates: int
    split_conflicts: int
    removed: int


def k_core(sources: Sequence[BlockSource], fewest_user: int, fewest_item: int, each: Each) -> Core:
    """Merge the records of all blocks and remove rare users and items until none is left.

    Parameters
    ----------
    sources
        The blocks.
    fewest_user, fewest_item
        Smallest numbers of interactions that stay.
    each
        Runs the tasks.
    """
    left, degree, duplicates, conflicts = _round(sources, each(merge_block, sources))
    removed, count, number = 0, 1, 0
    while left and count:
        number, before, spills = number + 1, left, left[0].spills
        spills.put(_degree_key(number), degree)
        tasks = [CoreTask(source, fewest_user, fewest_item, number) for source in before]
        left, degree, count, _ = _round(before, each(remove_rare, tasks))
        _delete_replaced(before, left)
        spills.delete(_degree_key(number))
        removed += count
    return Core(left, duplicates, conflicts, removed)


def _delete_replaced(before: Sequence[BlockSource], after: Sequence[BlockSource]) -> None:
    """Delete the records of blocks of which a round wrote others."""
    for old, new in zip(before, after, strict=True):
        if old.slices != new.slices:
            for name in ("pairs", *old.types):
                old.spills.delete(f"{old.slices[0].key}/{name}")


def _round(
    sources: Sequence[BlockSource], blocks: Iterable[MergedBlock]
) -> tuple[list[BlockSource], Integers, int, int]:
    """Return the blocks as they are now, the degree of the items, and how many records and conflicts went."""
    after, removed, conflicts = list[BlockSource](), 0, 0
    degree = np.zeros(sources[0].n_items if sources else 0, np.int64)
    for source, block in zip(sources, blocks, strict=True):
        after.append(replace(source, slices=(block.records,)))
        degree += block.degree
        removed += block.removed
        conflicts += block.split_conflicts
    return after, degree, removed, conflicts
