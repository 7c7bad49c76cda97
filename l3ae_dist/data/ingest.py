"""From a log of any size to the stored training matrix: three passes over blocks on local disk.

1. read partitions, map ids to rows, spill by user block;
2. per user block: merge duplicates, filter (k-core), split, append the CSR rows;
3. per item block: sort the training records by item and append the CSC columns.

Memory: the id maps, one partition, and one block.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data import splits
from l3ae_dist.data.buckets import RECORD, Buckets, merge_duplicates
from l3ae_dist.data.catalog import concatenate_ids, ids_of, read_catalog, same_kind
from l3ae_dist.data.dataset_store import RECORDS_PER_BLOCK, USERS_PER_BLOCK, SplitRecords, store_dataset
from l3ae_dist.data.published_dataset import is_authors_layout, read_authors
from l3ae_dist.data.readers import describe, partitions
from l3ae_dist.data.tables import Frame, Table
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

__all__ = ["IngestConfig", "dataset_id", "ingest"]


def dataset_id(interactions: Table, items: "Table | None", options: IngestConfig) -> str:
    """Name the dataset that these sources and options give; of files only the metadata are read.

    Parameters
    ----------
    interactions, items
        As :func:`ingest` takes them.
    options
        Column names, filters and split.

    Raises
    ------
    ConfigError
        Without items.
    """
    if is_authors_layout(interactions, items):
        return fingerprint(["authors", describe_authors(interactions), options.model_dump()])
    log = describe(interactions)
    if items is None:
        raise ConfigError(
            "no items are given; set data.items to a table with a row for each item (only the published "
            "code's folder of pickles has its own)."
        )
    return fingerprint([log, describe(items), options.model_dump()])


def catalog_id(interactions: Table, items: "Table | None", options: IngestConfig) -> str:
    """Name the items and texts that these sources give, so that embeddings outlive another log or split.

    Parameters
    ----------
    interactions, items
        As :func:`ingest` takes them.
    options
        Which columns are ids, titles and texts.
    """
    if is_authors_layout(interactions, items):
        return dataset_id(interactions, items, options)
    columns = (options.catalog_id_column, options.title_column, options.text_columns, options.text_separator)
    return fingerprint(["catalog", describe(items), columns])


def describe_authors(folder: str | Path) -> list[list[str | int | float]]:
    """Return names, sizes and times of the files of the authors' layout."""
    return [
        [path.name, path.stat().st_size, path.stat().st_mtime] for path in sorted(Path(folder).glob("*.pkl"))
    ]


def ingest(
    interactions: Table,
    items: "Table | None",
    options: IngestConfig,
    workspace: Workspace,
    *,
    users_per_block: int = USERS_PER_BLOCK,
    records_per_block: int = RECORDS_PER_BLOCK,
) -> str:
    """Read, check, split and store a dataset, and return its id; at once when it is already there.

    Parameters
    ----------
    interactions, items
        DataFrame (pandas or Dask), path, glob, directory or fsspec URL of Parquet, CSV or JSON Lines;
        or the published code's folder of pickles as ``interactions`` with ``items=None``.
    options
        Column names, filters and split.
    workspace
        Receives ``items/``, ``users/`` and ``interactions/`` under the dataset's id.
    users_per_block, records_per_block
        Size of the blocks that are sorted in memory.

    Raises
    ------
    DataError
        For missing columns, empty tables, null or duplicate ids, unknown items, bad weights.
    """
    identifier, catalog_name = (
        dataset_id(interactions, items, options),
        catalog_id(interactions, items, options),
    )
    if workspace.stage_done(Stage.INGEST, identifier) is not None:
        return identifier
    no_text = None
    if is_authors_layout(interactions, items):
        interactions, items, changes, no_text = read_authors(interactions)
        options = options.model_copy(update=changes)
    catalog = read_catalog(items, options)
    catalog = replace(catalog, no_text=no_text or catalog.no_text)
    for path in layout.DatasetPaths(identifier).folders:
        workspace.delete(path)
    with workspace.scratch_dir() as scratch:
        buckets = Buckets(scratch, "users")
        users, dropped = spill_log(interactions, catalog.ids, options, buckets, users_per_block)
        blocks = -(-len(users) // users_per_block)
        weighted = options.weight_column is not None
        for block in range(blocks):
            buckets.replace(block, merge_duplicates(buckets.read(block), weighted))
        _k_core(buckets, blocks, len(catalog), options)
        records = SplitRecords(
            buckets,
            users,
            assign=lambda records: _assign(records, options),
            weighted=weighted,
            foldin=options.split == "strong" and options.split_column is None,
            users_per_block=users_per_block,
        )
        stats = store_dataset(workspace, identifier, records, catalog, records_per_block)
    stats = replace(stats, dropped={**dropped, **stats.dropped}, catalog=catalog_name)
    workspace.mark_stage(Stage.INGEST, identifier, options.model_dump(), stats.record())
    return identifier


def _wanted_columns(options: IngestConfig) -> list[str]:
    extra = (options.weight_column, options.timestamp_column, options.split_column, options.rating_column)
    if options.rating_threshold is not None and options.rating_column is None:
        raise DataError("rating_threshold is set without rating_column; name the rating column.")
    if options.split == "leave_last_out" and not (options.timestamp_column or options.split_column):
        raise DataError("the leave_last_out split needs timestamp_column; name the column with the time.")
    return [options.user_column, options.item_column, *(name for name in extra if name)]


def _filtered(source: Table, options: IngestConfig) -> Iterator[Frame]:
    text = options.text_ids(options.user_column, options.item_column)
    for part in partitions(source, _wanted_columns(options), "interactions", text):
        if options.rating_threshold is not None and options.rating_column is not None:
            yield part[_numbers(part, options.rating_column, "rating") >= options.rating_threshold]
        else:
            yield part


def spill_log(
    source: Table,
    item_ids: Array,
    options: IngestConfig,
    buckets: Buckets,
    users_per_block: int,
    known: Array | None = None,
) -> tuple[Array, dict[str, int]]:
    """Read a log twice: user ids, then encoded records, which go into blocks of users.

    Parameters
    ----------
    source
        The log.
    item_ids
        (n_items,) ids of the catalog.
    options
        Column names and filters.
    buckets
        Receives the records.
    users_per_block
        Users in one bucket.
    known
        Sorted ids of users whose rows are kept beside those of the log; None for none.

    Returns
    -------
    The sorted users of the log together with those ``known`` before, and what was dropped.
    """
    import pandas as pd

    seen: list[Array] = [] if known is None else [known]
    for part in _filtered(source, options):
        seen = [_unique_ids([*seen, ids_of(part[options.user_column], "user id", options.id_type)])]
    users = seen[0] if seen else np.empty(0, np.int64)
    if not len(users):
        raise DataError("no interaction is left after filtering; lower rating_threshold or check the file.")
    user_lookup, item_lookup = pd.Index(users), pd.Index(item_ids)
    unknown: dict[object, int] = {}
    for part in _filtered(source, options):
        items = same_kind(ids_of(part[options.item_column], "item id", options.id_type), item_ids)
        item = item_lookup.get_indexer(items)
        for value, count in zip(*np.unique(items[item < 0], return_counts=True), strict=True):
            unknown[value] = unknown.get(value, 0) + int(count)
        records = np.empty(len(part), RECORD)
        records["user"] = user_lookup.get_indexer(
            same_kind(ids_of(part[options.user_column], "user id", options.id_type), users)
        )
        records["item"] = item
        records["weight"] = _weights(part, options)
        records["time"] = _times(part, options)
        records["split"] = _split_codes(part, options)
        records = records[item >= 0]
        buckets.append(records["user"] // users_per_block, records)
    if unknown and options.unknown_items == "error":
        shown = ", ".join(repr(getattr(value, "item", lambda v=value: v)()) for value in list(unknown)[:5])
        raise DataError(
            f"{sum(unknown.values())} interaction(s) name {len(unknown)} item(s) that are not in the "
            f"catalog: {shown}; add them to the items or set unknown_items: drop."
        )
    return users, {"unknown_item_interactions": sum(unknown.values()), "unknown_items": len(unknown)}


def _unique_ids(parts: list[Array]) -> Array:
    return np.unique(concatenate_ids(parts))


def _numbers(part: Frame, name: str, what: str) -> Array:
    """A column as float64, NaN where it is empty; :class:`DataError` for text that is no number."""
    import pandas as pd

    column = part[name]
    if column.dtype.kind == "M":
        raise DataError(f"the {what} column {name!r} holds dates and not numbers; name another column.")
    if not pd.api.types.is_numeric_dtype(column.dtype):
        column = pd.to_numeric(column.astype(object), errors="coerce")
    values: Array = column.to_numpy(np.float64, na_value=np.nan)
    bad = np.isnan(values) & part[name].notna().to_numpy(bool)
    if bad.any():
        raise DataError(
            f"the {what} column {name!r} holds {part[name][bad].iloc[0]!r} ({int(bad.sum())} row(s) are not "
            "numbers); mend the rows or name another column."
        )
    return values


def _weights(part: Frame, options: IngestConfig) -> Array | float:
    if options.weight_column is None:
        return 1.0
    values = _numbers(part, options.weight_column, "weight")
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} interaction(s) have a weight that is negative, NaN or infinite "
            f"(first: {values[bad][0]}); weights must be finite and not negative."
        )
    return values


def _times(part: Frame, options: IngestConfig) -> Array | float:
    import pandas as pd

    if options.timestamp_column is None:
        return 0.0
    column = part[options.timestamp_column]
    missing = int(column.isna().sum())
    if missing:
        raise DataError(f"{missing} interaction(s) have no {options.timestamp_column}; fill or remove them.")
    with contextlib.suppress(DataError):
        return _numbers(part, options.timestamp_column, "time")
    times = pd.to_datetime(column, format="ISO8601", utc=True, errors="coerce")
    if times.isna().any():
        first = column[times.isna()].iloc[0]
        raise DataError(
            f"the column {options.timestamp_column!r} holds {first!r}, which is neither a number nor an ISO "
            "8601 date; convert the column."
        )
    found: Array = (
        times.dt.tz_localize(None).to_numpy().astype("datetime64[ns]").astype(np.int64).astype(np.float64)
    )
    return found


def _split_codes(part: Frame, options: IngestConfig) -> Array | int:
    if options.split_column is None:
        return 0
    names = part[options.split_column].astype(str).str.lower()
    codes = names.map(splits.NAMES)
    if codes.isna().any():
        bad = sorted(set(names[codes.isna()]))[:5]
        raise DataError(f"the split column holds {', '.join(map(repr, bad))}; use train, val and test.")
    found: Array = codes.to_numpy(dtype=np.int8)
    return found


def _k_core(buckets: Buckets, blocks: int, n_items: int, options: IngestConfig) -> None:
    """Remove rare users and rare items until none is left (Seidman 1983)."""
    fewest_user, fewest_item = options.min_user_interactions, options.min_item_interactions
    while fewest_user > 1 or fewest_item > 1:
        degree = np.zeros(n_items, np.int64)
        for records in buckets.iterate(blocks):
            degree += np.bincount(records["item"], minlength=n_items)
        removed = 0
        for block, records in enumerate(buckets.iterate(blocks)):
            keep = degree[records["item"]] >= fewest_item
            _, inverse, counts = np.unique(records["user"][keep], return_inverse=True, return_counts=True)
            kept = records[keep][counts[inverse] >= fewest_user] if keep.any() else records[:0]
            removed += len(records) - len(kept)
            buckets.replace(block, kept)
        if not removed:
            return


def _assign(records: Array, options: IngestConfig) -> Array:
    if options.split_column is not None or options.split == "none":
        return records["split"]
    users, items = records["user"], records["item"]
    if options.split == "random":
        return splits.random_split(
            users, items, valid=options.valid_ratio, test=options.test_ratio, seed=options.seed
        )
    if options.split == "leave_last_out":
        return splits.leave_last_out(users, items, records["time"])
    return splits.strong_split(
        users, items, heldout=options.heldout_users, foldin=options.foldin_ratio, seed=options.seed
    )
