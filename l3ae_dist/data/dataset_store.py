"""Merged records by user block become the stored dataset: ids, rows of every split, training columns."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from l3ae_dist.data import splits
from l3ae_dist.data.buckets import Buckets
from l3ae_dist.data.catalog import Catalog
from l3ae_dist.data.columns import write_column
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.data.row_writer import RowWriter
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array, Integers
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

USERS_PER_BLOCK = 1 << 16
RECORDS_PER_BLOCK = 1 << 23
_CODES: dict[layout.Split, int] = {"train": splits.TRAIN, "valid": splits.VALID, "test": splits.TEST}


@dataclass(frozen=True, slots=True)
class SplitRecords:
    """Merged records by user block, and how they are split.

    Parameters
    ----------
    buckets
        Records by user block, one for each (user, item).
    users
        Sorted ids of the records' users; those without a record are left out.
    assign
        Gives the split codes of one block of records.
    weighted
        Whether the records' weights count.
    foldin
        Whether users may be held out whole, with fold-in rows.
    users_per_block
        Users in one bucket.
    """

    buckets: Buckets
    users: Array
    assign: Callable[[Array], Array]
    weighted: bool
    foldin: bool
    users_per_block: int

    @property
    def blocks(self) -> int:
        """Number of user blocks."""
        return -(-len(self.users) // self.users_per_block)

    @property
    def splits(self) -> dict[layout.Split, tuple[int, ...]]:
        """Split codes that the rows of each split have."""
        chosen: dict[layout.Split, tuple[int, ...]] = {name: (code,) for name, code in _CODES.items()}
        return chosen | {"input": (splits.TRAIN, splits.FOLDIN)} if self.foldin else chosen

    def kept_users(self) -> Array:
        """Return which users have a record, (users,) bool; raise :class:`DataError` when none has."""
        kept = np.zeros(len(self.users), bool)
        for records in self.buckets.iterate(self.blocks):
            kept[records["user"]] = True
        if not kept.any():
            raise DataError("no interaction is left after the k-core filter; lower the minimum counts.")
        return kept


def store_dataset(
    workspace: Workspace,
    identifier: str,
    records: SplitRecords,
    catalog: Catalog,
    records_per_block: int = RECORDS_PER_BLOCK,
) -> DatasetStats:
    """Write users, items and interactions from merged records, which are used up.

    Parameters
    ----------
    workspace, identifier
        Where to, and under which id.
    records
        The interactions by user block.
    catalog
        The items.
    records_per_block
        Size of the blocks of columns that are sorted in memory.

    Returns
    -------
    The statistics of the completion record.
    """
    kept, paths = records.kept_users(), layout.DatasetPaths(identifier)
    nnz, popularity = _write_rows(workspace, paths, records, np.cumsum(kept) - 1, len(catalog))
    _write_columns(workspace, paths, records, popularity, records_per_block)
    write_column(workspace, paths.user_ids, records.users[kept])
    write_column(workspace, paths.item_ids, catalog.ids)
    write_column(workspace, paths.titles, catalog.titles)
    write_column(workspace, paths.texts, catalog.texts)
    return DatasetStats(
        nnz=nnz,
        foldin=records.foldin,
        n_users=int(kept.sum()),
        n_items=len(catalog),
        weighted=records.weighted,
        has_text=catalog.has_text,
        no_text=catalog.no_text,
        max_popularity=int(popularity.max(initial=0)),
        items_without_interactions=int((popularity == 0).sum()),
        dropped={"users": int((~kept).sum())},
    )


def _write_rows(
    workspace: Workspace, paths: layout.DatasetPaths, records: SplitRecords, rows: Integers, n_items: int
) -> tuple[dict[str, int], Integers]:
    """Store the CSR of each split, and leave the training records, by row, in the buckets.

    ``rows`` are the rows of all users. Returns the interactions of each split and the items' popularity.
    """
    popularity = np.zeros(n_items, np.int64)
    with workspace.scratch_dir() as scratch:
        writers = {name: RowWriter(scratch, name, records.weighted) for name in records.splits}
        first = 0
        for block in range(records.blocks):
            part = records.buckets.read(block)
            codes = records.assign(part)
            last_user = min((block + 1) * records.users_per_block, len(rows)) - 1
            stop = int(rows[last_user]) + 1
            part["user"] = rows[part["user"]]
            for name, wanted in records.splits.items():
                _append_rows(writers[name], part[np.isin(codes, wanted)], first, stop)
            training = part[codes == splits.TRAIN]
            popularity += np.bincount(training["item"], minlength=n_items)
            records.buckets.replace(block, training)
            first = stop
        for name, writer in writers.items():
            writer.store(workspace, paths.by_user(name))
        if not popularity.sum():
            raise DataError("the training split is empty; check the split column or the ratios.")
        return {name: writer.nnz for name, writer in writers.items()}, popularity


def _append_rows(writer: RowWriter, records: Array, first: int, stop: int) -> None:
    """Append the rows ``first`` to ``stop`` of a split."""
    local = records["user"] - first
    order = np.lexsort((records["item"], local))
    counts = np.bincount(local, minlength=stop - first)
    writer.append(counts, records["item"][order], records["weight"][order])


def _write_columns(
    workspace: Workspace,
    paths: layout.DatasetPaths,
    records: SplitRecords,
    popularity: Integers,
    records_per_block: int,
) -> None:
    """Regroup the training records by item block and store the CSC."""
    block_of = (np.cumsum(popularity) - 1).clip(0) // records_per_block
    with workspace.scratch_dir() as scratch:
        by_item = Buckets(scratch, "items")
        for part in records.buckets.iterate(records.blocks):
            by_item.append(block_of[part["item"]], part)
        writer = RowWriter(scratch, "train_csc", records.weighted)
        for block in range(int(block_of.max(initial=0)) + 1):
            part = by_item.read(block)
            order = np.lexsort((part["user"], part["item"]))
            writer.append(np.empty(0, np.int64), part["user"][order], part["weight"][order])
        writer.counts = [popularity]
        writer.store(workspace, paths.train_by_item)
