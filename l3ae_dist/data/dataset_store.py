"""Rows of all blocks of users become the stored dataset: ids, rows of every split, training columns."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.data.catalog import Catalog
from l3ae_dist.data.columns import write_column
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.data.shuffle.each import beside
from l3ae_dist.data.shuffle.item_blocks import ColumnsTask, write_columns
from l3ae_dist.data.shuffle.passes import Passes
from l3ae_dist.data.shuffle.records import Slice
from l3ae_dist.data.shuffle.spills import Spills
from l3ae_dist.data.shuffle.stored_vectors import VectorWriter
from l3ae_dist.data.shuffle.user_blocks import BlockRows
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Integers
from l3ae_dist.storage import layout
from l3ae_dist.storage.vectors import write_vector
from l3ae_dist.storage.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

USERS_PER_BLOCK = 1 << 20
RECORDS_PER_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class DatasetRows:
    """Rows of the matrices of a dataset, spilled by block of users.

    Parameters
    ----------
    blocks
        What was written for each block.
    users
        Sorted ids of all users of the blocks; those without a record are left out.
    item_starts
        (item blocks + 1,) the first item of each block of columns.
    weighted
        Whether interactions have weights.
    foldin
        Whether users are held out whole, with fold-in rows.
    """

    blocks: tuple[BlockRows, ...]
    users: "pa.Array"
    item_starts: Integers
    weighted: bool
    foldin: bool

    @property
    def n_users(self) -> int:
        """Number of users that have a record."""
        return sum(block.users for block in self.blocks)

    @property
    def duplicates(self) -> int:
        """Number of records that were merged into another."""
        return sum(block.duplicates for block in self.blocks)

    @property
    def split_conflicts(self) -> int:
        """Number of records that were left out, since their user and item stand in an earlier split."""
        return sum(block.split_conflicts for block in self.blocks)

    @property
    def nnz(self) -> dict[layout.Split, int]:
        """Interactions of each split."""
        names = self.blocks[0].nnz
        return {name: sum(block.nnz[name] for block in self.blocks) for name in names}


def collect_rows(
    blocks: Iterable[BlockRows],
    users: "pa.Array",
    item_starts: Integers,
    *,
    weighted: bool,
    foldin: bool,
) -> DatasetRows:
    """Wait for the rows of all blocks.

    Parameters
    ----------
    blocks
        Results of the tasks, in the order of the blocks.
    users, item_starts, weighted, foldin
        As :class:`DatasetRows` has them.

    Raises
    ------
    DataError
        When no interaction is left, or none to train on.
    """
    rows = DatasetRows(tuple(blocks), users, item_starts, weighted, foldin)
    if not rows.n_users:
        raise DataError("no interaction is left after the k-core filter; lower the minimum counts.")
    if not rows.nnz["train"]:
        raise DataError("the training split is empty; check the split column or the ratios.")
    return rows


def store_dataset(
    workspace: Workspace, identifier: str, rows: DatasetRows, catalog: Catalog, run: Passes
) -> DatasetStats:
    """Write users, items and interactions.

    Parameters
    ----------
    workspace, identifier
        Where to, and under which id.
    rows
        The interactions.
    catalog
        The items.
    run
        Runs the tasks, and has the spills.

    Returns
    -------
    The statistics of the completion record.
    """
    run.spills.blobs.delete_prefix("log")  # the rows are all that is needed from here on
    paths = layout.DatasetPaths(identifier)
    writer = VectorWriter(workspace, run.spills, run.each)
    with beside(run.threads) as do:
        do(partial(_store_ids, workspace, paths, rows, catalog, run))
        for name in rows.nnz:
            do(partial(_store_row_bounds, workspace, run.spills, rows, name, paths.by_user(name)))
            pieces = [(f"{block.key}/{name}", block.nnz[name]) for block in rows.blocks]
            _store_entries(writer, pieces, paths.by_user(name), rows.weighted)
        popularity = _store_columns(workspace, writer, rows, paths.train_by_item)
    return DatasetStats(
        nnz={str(name): count for name, count in rows.nnz.items()},
        foldin=rows.foldin,
        n_users=rows.n_users,
        n_items=len(catalog),
        weighted=rows.weighted,
        has_text=catalog.has_text,
        no_text=catalog.no_text,
        max_popularity=int(popularity.max(initial=0)),
        items_without_interactions=int((popularity == 0).sum()),
        dropped={"users": len(rows.users) - rows.n_users},
    )


def _store_ids(
    workspace: Workspace, paths: layout.DatasetPaths, rows: DatasetRows, catalog: Catalog, run: Passes
) -> None:
    """Store the ids of users and items, and the texts of items."""
    write_column(workspace, paths.user_ids, _kept_users(rows, run))
    write_column(workspace, paths.item_ids, catalog.ids)
    write_column(workspace, paths.titles, catalog.titles)
    write_column(workspace, paths.texts, catalog.texts)


def _store_row_bounds(
    workspace: Workspace, spills: Spills, rows: DatasetRows, name: layout.Split, paths: layout.SparseRowPaths
) -> None:
    """Store where each row of the CSR of a split begins."""
    counts = [spills.get(f"{block.key}/{name}/counts", np.int64) for block in rows.blocks]
    write_vector(workspace, paths.indptr, np.cumsum(np.concatenate([[0], *counts]), dtype=np.int64))


def _store_columns(
    workspace: Workspace, writer: VectorWriter, rows: DatasetRows, paths: layout.SparseRowPaths
) -> Integers:
    """Sort the training records by block of items, store the CSC, and return the entries of each column."""
    first_rows = np.cumsum([0, *(block.users for block in rows.blocks)])[:-1].tolist()
    tasks = []
    for number, (first, last) in enumerate(zip(rows.item_starts[:-1], rows.item_starts[1:], strict=True)):
        slices = tuple(
            Slice(f"{block.key}/columns", *block.item_bounds[number : number + 2].tolist())
            for block in rows.blocks
        )
        tasks.append(
            ColumnsTask(
                f"columns/{number}",
                slices,
                tuple(first_rows),
                int(first),
                int(last),
                rows.weighted,
                writer.spills,
            )
        )
    counts = list(writer.each(write_columns, tasks))
    popularity = np.concatenate(counts)
    write_vector(workspace, paths.indptr, np.concatenate([[0], np.cumsum(popularity, dtype=np.int64)]))
    pieces = [(task.key, int(one.sum())) for task, one in zip(tasks, counts, strict=True)]
    _store_entries(writer, pieces, paths, rows.weighted)
    return popularity


def _store_entries(
    writer: VectorWriter, pieces: list[tuple[str, int]], paths: layout.SparseRowPaths, weighted: bool
) -> None:
    writer.write(paths.indices, "int32", [(f"{key}/entries", length) for key, length in pieces])
    if weighted:
        writer.write(paths.data, "float32", [(f"{key}/entry_weights", length) for key, length in pieces])


def _kept_users(rows: DatasetRows, run: Passes) -> "pa.Array":
    """Return the ids of the users that have a record."""
    import pyarrow as pa

    if rows.n_users == len(rows.users):
        return rows.users
    kept = [run.spills.get(f"{block.key}/kept", np.int64) for block in rows.blocks]
    return rows.users.take(pa.array(np.concatenate(kept)))
