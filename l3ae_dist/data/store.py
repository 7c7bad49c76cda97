"""Merged records by user block become the stored dataset: ids, rows of every split, training columns."""

from collections.abc import Callable
from typing import Any

import numpy as np

from l3ae_dist.data import splits
from l3ae_dist.data.buckets import Buckets
from l3ae_dist.data.columns import write_column
from l3ae_dist.data.row_writer import RowWriter
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

USERS_PER_BLOCK = 1 << 16
RECORDS_PER_BLOCK = 1 << 23
_CODES = {"train": splits.TRAIN, "valid": splits.VALID, "test": splits.TEST}


def store_dataset(
    workspace: Workspace,
    identifier: str,
    buckets: Buckets,
    users: Array,
    catalog: dict[str, Any],
    *,
    assign: Callable[[Array], Array],
    weighted: bool,
    foldin: bool,
    users_per_block: int = USERS_PER_BLOCK,
    records_per_block: int = RECORDS_PER_BLOCK,
) -> dict[str, Any]:
    """Write users, items and interactions from merged records by user block, which are used up.

    Parameters
    ----------
    workspace, identifier
        Where to, and under which id.
    buckets
        Records by user block, one for each (user, item).
    users
        Sorted ids of the records' users; those without a record are left out.
    catalog
        ``ids``, ``title``, ``text`` and ``has_text``, as :func:`~l3ae_dist.data.catalog.read_catalog` gives.
    assign
        Split codes of one block of records.
    weighted
        Whether the records' weights count.
    foldin
        Whether users may be held out whole, with fold-in rows.
    users_per_block, records_per_block
        Size of the blocks that are sorted in memory; the first as in ``buckets``.

    Returns
    -------
    The statistics of the completion record.
    """
    n_items, blocks = len(catalog["ids"]), -(-len(users) // users_per_block)
    kept = _kept_users(buckets, blocks, len(users))
    rows, n_users, paths = np.cumsum(kept) - 1, int(kept.sum()), layout.DatasetPaths(identifier)
    with workspace.scratch_dir() as scratch:
        stats = _write_rows(
            workspace,
            paths,
            buckets,
            blocks,
            rows,
            n_users,
            n_items,
            assign,
            weighted,
            foldin,
            users_per_block,
        )
        popularity = stats.pop("popularity")
        _write_columns(workspace, paths, buckets, blocks, popularity, weighted, records_per_block, scratch)
    write_column(workspace, paths.user_ids, users[kept])
    for name in ("ids", "title", "text"):
        write_column(workspace, paths.item_column(name), catalog[name])
    return stats | {
        "n_users": n_users,
        "n_items": n_items,
        "weighted": weighted,
        "has_text": catalog["has_text"],
        "no_text": catalog.get("no_text"),
        "max_popularity": int(popularity.max(initial=0)),
        "items_without_interactions": int((popularity == 0).sum()),
        "dropped": {"users": int((~kept).sum())},
    }


def _kept_users(buckets: Buckets, blocks: int, count: int) -> Array:
    kept = np.zeros(count, bool)
    for records in buckets.iterate(blocks):
        kept[records["user"]] = True
    if not kept.any():
        raise DataError("no interaction is left after the k-core filter; lower the minimum counts.")
    return kept


def _write_rows(
    workspace: Workspace,
    paths: layout.DatasetPaths,
    buckets: Buckets,
    blocks: int,
    rows: Array,
    n_users: int,
    n_items: int,
    assign: Callable[[Array], Array],
    weighted: bool,
    foldin: bool,
    users_per_block: int,
) -> dict[str, Any]:
    """Split every user block, store the CSR of each split, leave the training records in the buckets."""
    popularity = np.zeros(n_items, np.int64)
    chosen: dict[str, tuple[int, ...]] = {name: (code,) for name, code in _CODES.items()}
    if foldin:
        chosen["input"] = (splits.TRAIN, splits.FOLDIN)
    with workspace.scratch_dir() as scratch:
        writers = {name: RowWriter(scratch, name, weighted) for name in chosen}
        first = 0
        for block in range(blocks):
            records = buckets.read(block)
            codes = assign(records)
            last_user = min((block + 1) * users_per_block, len(rows)) - 1
            stop = int(rows[last_user]) + 1
            local = rows[records["user"]] - first
            for name, wanted in chosen.items():
                part = np.isin(codes, wanted)
                order = np.lexsort((records["item"][part], local[part]))
                writers[name].append(
                    np.bincount(local[part], minlength=stop - first),
                    records["item"][part][order],
                    records["weight"][part][order],
                )
            training = records[codes == splits.TRAIN].copy()
            training["user"] = rows[training["user"]]
            popularity += np.bincount(training["item"], minlength=n_items)
            buckets.replace(block, training)
            first = stop
        for name, writer in writers.items():
            writer.store(workspace, paths.by_user(name))
        if not popularity.sum():
            raise DataError("the training split is empty; check the split column or the ratios.")
        return {
            "nnz": {name: writer.nnz for name, writer in writers.items()},
            "foldin": foldin,
            "popularity": popularity,
        }


def _write_columns(
    workspace: Workspace,
    paths: layout.DatasetPaths,
    buckets: Buckets,
    blocks: int,
    popularity: Array,
    weighted: bool,
    records_per_block: int,
    scratch: Any,
) -> None:
    """Regroup the training records by item block and store the CSC."""
    block_of = (np.cumsum(popularity) - 1).clip(0) // records_per_block
    by_item = Buckets(scratch, "items")
    for records in buckets.iterate(blocks):
        by_item.append(block_of[records["item"]], records)
    writer = RowWriter(scratch, "train_csc", weighted)
    for block in range(int(block_of.max(initial=0)) + 1):
        records = by_item.read(block)
        order = np.lexsort((records["user"], records["item"]))
        writer.append(np.empty(0, np.int64), records["user"][order], records["weight"][order])
    writer.counts = [popularity]
    writer.store(workspace, paths.train_by_item)
