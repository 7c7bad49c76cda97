"""New interactions on top of a stored dataset: a dataset of its own, made in blocks as ingest makes them.

What the parent holds out stays held out: a new interaction that is in a user's validation or test split
is not trained on. All other new interactions are trained on, or follow the split column that the dataset
was ingested with where the log has it; those of users that the strong split holds out whole become fold-in
rows. The k-core filter is not applied again, since what it removed is not kept.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data import splits
from l3ae_dist.data.buckets import RECORD, Buckets, merge_duplicates
from l3ae_dist.data.catalog import Catalog, read_catalog, same_kind
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.data.dataset_store import RECORDS_PER_BLOCK, USERS_PER_BLOCK, SplitRecords, store_dataset
from l3ae_dist.data.ingest import spill_log
from l3ae_dist.data.readers import column_names, describe
from l3ae_dist.data.tables import Table
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

# Added to the split codes of the log: what the parent says of a pair comes first.
_NEW = 8
_ROWS = 65536


def log_id(interactions: Table, items: "Table | None") -> str:
    """Name a log with its new items, by the content of DataFrames, or name, size and time of files."""
    return fingerprint([describe(interactions), describe(items)])


def appended_before(workspace: Workspace, dataset: str, log: str) -> bool:
    """Tell whether a log is part of a dataset or of one that it was made from.

    Parameters
    ----------
    workspace
        That of the dataset.
    dataset
        Its id.
    log
        Name of the log, :func:`log_id`.
    """
    name: str | None = dataset
    while name is not None:
        record = workspace.stage_done(Stage.INGEST, name)
        if record is None:
            return False
        stats = DatasetStats.of_record(record.stats)
        if stats.log == log:
            return True
        name = stats.parent
    return False


def append_interactions(
    parent: Dataset,
    interactions: Table,
    items: "Table | None",
    options: IngestConfig,
    *,
    users_per_block: int = USERS_PER_BLOCK,
    records_per_block: int = RECORDS_PER_BLOCK,
) -> str:
    """Store the parent's interactions together with new ones, and return the id of the new dataset.

    Parameters
    ----------
    parent
        What is there; it stays as it is.
    interactions
        The new log, as :func:`l3ae_dist.data.ingest.ingest` takes it.
    items
        Catalog rows of new items, put at the end of the item order; None for none. Items that are known
        already keep their row and text.
    options
        Those of the parent; column names may differ.
    users_per_block, records_per_block
        Size of the blocks that are sorted in memory.

    Raises
    ------
    DataError
        For missing columns, empty tables, null ids, unknown items, bad weights, or ids of another kind.
        Nothing has been written then.

    Notes
    -----
    Weights are stored in float32, so the sum of an old and a new weight is rounded twice.
    """
    log, workspace = log_id(interactions, items), parent.workspace
    identifier = fingerprint(["append", parent.id, log, options.model_dump()])
    if workspace.stage_done(Stage.INGEST, identifier) is not None:
        return identifier
    if (options.weight_column is not None) != parent.weighted:
        kind = "weighted" if parent.weighted else "binary"
        raise DataError(
            f"the workspace's interactions are {kind}; appended ones must be too (weight_column)."
        )
    catalog = _catalog(parent, items, options)
    with workspace.scratch_dir() as scratch:
        buckets, known = Buckets(scratch, "users"), parent.user_ids()
        read = _log_options(options, interactions)
        users, dropped = spill_log(interactions, catalog.ids, read, buckets, users_per_block, known)
        if users.dtype != known.dtype:
            raise DataError("the workspace's user ids are integers and the log's are not; convert them.")
        added = _merge(parent, users, np.searchsorted(users, known), buckets, users_per_block)
        for path in layout.DatasetPaths(identifier).folders:
            workspace.delete(path)
        records = SplitRecords(
            buckets,
            users,
            assign=lambda records: records["split"],
            weighted=parent.weighted,
            foldin=parent.stats.foldin,
            users_per_block=users_per_block,
        )
        stats = store_dataset(workspace, identifier, records, catalog, records_per_block)
    added["users"] = stats.n_users - parent.n_users
    added["items"] = stats.n_items - parent.n_items
    stats = replace(
        stats,
        dropped={**dropped, **stats.dropped},
        parent=parent.id,
        # the texts are the parent's, unless there are new ones
        catalog=identifier if added["items"] else parent.catalog,
        log=log,
        appended=added,
    )
    workspace.mark_stage(Stage.INGEST, identifier, options.model_dump(), stats.record())
    return identifier


def _log_options(options: IngestConfig, interactions: Table) -> IngestConfig:
    """Return the options that the log is read with: no split is drawn, a split column is followed."""
    changes: dict[str, object] = {"split": "none", "timestamp_column": None}
    if options.split_column not in column_names(interactions, "interactions"):
        changes["split_column"] = None
    if options.rating_threshold is None:
        changes["rating_column"] = None
    return options.model_copy(update=changes)


def _catalog(parent: Dataset, items: "Table | None", options: IngestConfig) -> Catalog:
    """The parent's catalog with the new items at its end."""
    ids, titles, texts = (
        parent.item_ids(),
        np.array(parent.titles(), object),
        np.array(parent.texts(), object),
    )
    before = Catalog(ids, titles, texts, parent.has_text, parent.stats.no_text)
    if items is None:
        return before
    more = read_catalog(items, options)
    more_ids = same_kind(more.ids, ids)
    if more_ids.dtype != ids.dtype:
        raise DataError("the workspace's item ids are integers and those of the new items are not.")
    new = ~np.isin(more_ids, ids)
    if not new.any():
        return before
    return Catalog(
        np.concatenate([ids, more_ids[new]]),
        np.concatenate([titles, more.titles[new]]),
        np.concatenate([texts, more.texts[new]]),
        parent.has_text and more.has_text,
        before.no_text or more.no_text,
    )


def _merge(
    parent: Dataset, users: Array, places: Array, buckets: Buckets, users_per_block: int
) -> dict[str, int]:
    """Put the parent's records beside the log's, block by block; ``places`` are its users among ``users``.

    Returns
    -------
    How many pairs of the log are new, were known (their weights are added up), and stay held out.
    """
    pairs = new = held_out = 0
    for block in range(-(-len(users) // users_per_block)):
        log = buckets.read(block)
        log["split"] += _NEW
        log = merge_duplicates(log, parent.weighted)
        pairs += len(log)
        bounds = np.searchsorted(places, [block * users_per_block, (block + 1) * users_per_block])
        old = np.concatenate([*_old_records(parent, places, *bounds.tolist()), np.empty(0, RECORD)])
        held = old[np.isin(old["split"], (splits.VALID, splits.TEST))]
        kept = ~np.isin(_keys(log), _keys(held))
        held_out += int((~kept).sum())
        records = merge_duplicates(np.concatenate([old, log[kept]]), parent.weighted)
        fresh = records["split"] >= _NEW
        new += int(fresh.sum())
        records["split"][fresh] -= _NEW
        whole = np.unique(old["user"][old["split"] == splits.FOLDIN])
        records["split"][fresh & np.isin(records["user"], whole) & (records["split"] == splits.TRAIN)] = (
            splits.FOLDIN
        )
        buckets.replace(block, records)
    if not pairs:
        raise DataError("no interaction is left to append; check the item ids and rating_threshold.")
    return {"interactions": new, "known": pairs - new - held_out, "held_out": held_out}


def _keys(records: Array) -> Array:
    """One number for each (user, item): both are rows, below 2^31."""
    return np.asarray(records["user"] << 32 | records["item"])


def _old_records(parent: Dataset, places: Array, first: int, last: int) -> Iterator[Array]:
    """The parent's records of its users ``first`` to ``last``, as the new dataset numbers them."""
    for start in range(first, last, _ROWS):
        stop = min(start + _ROWS, last)
        rows = {name: parent.user_rows(name, start, stop) for name in ("train", "valid", "test")}
        if parent.stats.foldin:
            rows["foldin"] = parent.user_rows("input", start, stop)
        trained = np.diff(rows["train"].indptr) > 0
        for name, matrix in rows.items():
            local = np.repeat(np.arange(stop - start), np.diff(matrix.indptr))
            records = np.zeros(matrix.nnz, RECORD)
            records["user"] = places[start:stop][local]
            records["item"] = matrix.indices
            records["weight"] = matrix.data
            records["split"] = splits.FOLDIN if name == "foldin" else splits.NAMES[name]
            # a user's known items are either training or fold-in rows
            yield records[~trained[local]] if name == "foldin" else records
