"""From a log of any size to the stored training matrix, in four passes over bounded pieces.

1. the parts are read once, their rows filtered and their ids encoded;
2. the users and items of all parts get rows, and the records are ordered by block of users;
3. per block of users: merge duplicates, filter (k-core), split, write the CSR rows;
4. per block of items: sort the training records by item and write the CSC columns.

Memory: the ids, one group of rows, and one block.
"""

from dataclasses import replace

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.catalog import Catalog, catalog_of_ids, content_id, read_catalog
from l3ae_dist.data.dataset_store import (
    RECORDS_PER_BLOCK,
    USERS_PER_BLOCK,
    DatasetRows,
    collect_rows,
    store_dataset,
)
from l3ae_dist.data.forgotten import Forgotten
from l3ae_dist.data.intake.identity import authors_identity, identity
from l3ae_dist.data.intake.ids import IdKind
from l3ae_dist.data.intake.objects import kept, with_item_ids
from l3ae_dist.data.intake.odd_ids import odd_ids
from l3ae_dist.data.intake.open_table import open_table, require_columns
from l3ae_dist.data.intake.parts import Table as Parts
from l3ae_dist.data.items_table import items_table
from l3ae_dist.data.published_dataset import is_authors_layout, read_authors
from l3ae_dist.data.shuffle.each import IN_THIS_THREAD, Execution
from l3ae_dist.data.shuffle.global_ids import Items, Users, form_of_ids, merged_ids, place_items, place_users
from l3ae_dist.data.shuffle.k_core import Core, k_core
from l3ae_dist.data.shuffle.passes import (
    BlockSizes,
    Passes,
    ScannedLog,
    item_blocks,
    passes,
    place_log,
    scan_log,
    user_ids,
)
from l3ae_dist.data.shuffle.scan import LogColumns
from l3ae_dist.data.shuffle.user_blocks import RowsTask, Splitting, write_rows
from l3ae_dist.data.tables import Table
from l3ae_dist.errors import DataError
from l3ae_dist.messages import listed, shown
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

__all__ = ["IngestConfig", "dataset_id", "ingest"]


def dataset_id(interactions: Table, items: "Table | None", options: IngestConfig, without: str = "") -> str:
    """Name the dataset that these sources and options give; of files only the metadata are read.

    Parameters
    ----------
    interactions, items
        As :func:`ingest` takes them.
    options
        Column names, filters and split.
    without
        Name of the users who are left out; empty for nobody.
    """
    items = items_table(items, options)
    last = [options.model_dump(), *([without] if without else [])]
    if is_authors_layout(interactions, items):
        return fingerprint(["authors", authors_identity(interactions), *last])
    log = identity(interactions, "interactions", options.names())
    return fingerprint([log, identity(items, "items", options.catalog_names()), *last])


def ingest(
    interactions: Table,
    items: "Table | None",
    options: IngestConfig,
    workspace: Workspace,
    *,
    users_per_block: int = USERS_PER_BLOCK,
    records_per_block: int = RECORDS_PER_BLOCK,
    execution: Execution = IN_THIS_THREAD,
) -> str:
    """Read, check, split and store a dataset, and return its id; at once when it is already there.

    Users whom the workspace was told to forget are left out.

    Parameters
    ----------
    interactions, items
        Tables, as :func:`l3ae_dist.data.intake.open_table.open_table` takes them; without items the log
        names them, and the published code's folder of pickles has its own.
    options
        Column names, filters and split.
    workspace
        Receives ``items/``, ``users/`` and ``interactions/`` under the dataset's id.
    users_per_block, records_per_block
        Size of the blocks that are sorted in memory.
    execution
        Where the passes run and what they may hold.

    Raises
    ------
    DataError
        For missing columns, empty tables, null or duplicate ids, unknown items, bad weights.
    """
    interactions, items = kept(interactions), kept(items_table(items, options))
    forgotten, given = Forgotten.read(workspace), items is not None
    identifier = dataset_id(interactions, items, options, forgotten.name)
    if workspace.stage_done(Stage.INGEST, identifier) is not None:
        return identifier
    no_text = None
    if is_authors_layout(interactions, items):
        interactions, items, changes, no_text = read_authors(interactions)
        options = options.model_copy(update=changes)
    check_options(options)
    catalog = None if items is None else read_catalog(items, options)
    if catalog is not None:
        interactions = with_item_ids(interactions, catalog.ids)
    table = open_log(interactions, options)
    sizes = BlockSizes(users_per_block, records_per_block, execution.records_per_block)
    with passes(workspace, execution, sizes) as run:
        log = scan_log(table, options, run)
        if catalog is None:
            catalog = catalog_of_log(log, options, run)
        catalog = replace(catalog, no_text=no_text or catalog.no_text)
        ids = forgotten.kept(user_ids(log, options.id_type))
        users = place_users(log.segments, run.spills, ids, run.threads)
        items_of_log = place_items(log.segments, run.spills, catalog.ids)
        refuse_unknown(items_of_log, log, catalog, options)
        rows, dropped = _rows(log, users, items_of_log, options, run)
        for path in layout.DatasetPaths(identifier).folders:
            workspace.delete(path)
        stats = store_dataset(workspace, identifier, rows, catalog, run)
    stats = replace(
        stats,
        dropped={**dropped, **users_left_out(users), **stats.dropped},
        read=rows_read(table, log, catalog),
        notes=(*table.notes, *catalog.notes, *_odd_ids(users, catalog, options)),
        # items that the log or the published code's folder names are the dataset's own
        catalog=content_id(catalog) if given else None,
        without=forgotten.name,
    )
    workspace.mark_stage(Stage.INGEST, identifier, options.model_dump(), stats.record())
    return identifier


def check_options(options: IngestConfig) -> None:
    """Raise :class:`DataError` for options of the log that contradict each other."""
    if options.rating_threshold is not None and options.rating_column is None:
        raise DataError("rating_threshold is set without rating_column; name the rating column.")
    if options.rating_column is not None and options.rating_threshold is None:
        raise DataError(
            f"rating_column is {options.rating_column!r} and rating_threshold is not set, so every rating "
            "would count as a like; set rating_threshold to the smallest rating that does, or name the "
            "column as weight_column instead, or leave it out."
        )
    if options.split == "leave_last_out" and not (options.timestamp_column or options.split_column):
        raise DataError("the leave_last_out split needs timestamp_column; name the column with the time.")


def open_log(interactions: object, options: IngestConfig) -> Parts:
    """Open a log and check that it has the columns that are read.

    Raises
    ------
    DataError
        For a log that cannot be read, or lacks a column.
    """
    table = open_table(interactions, "interactions", options.text_options(), options.names())
    require_columns(
        table, LogColumns(options).names, "name it in data.options (item_column, user_column, ...)"
    )
    return table


def catalog_of_log(log: ScannedLog, options: IngestConfig, run: Passes) -> Catalog:
    """Return the items that a log names as a catalog without texts, in the order of their ids.

    Parameters
    ----------
    log
        The log.
    options
        Kind of ids.
    run
        The passes.
    """
    return catalog_of_ids(merged_ids(log.segments, run.spills, "item", options.id_type))


def refuse_unknown(items: Items, log: ScannedLog, catalog: Catalog, options: IngestConfig) -> None:
    """Raise :class:`DataError` for items that are not in the catalog, unless some of them are to be dropped.

    Parameters
    ----------
    items
        Which of the log's items are in the catalog.
    log, catalog
        The interactions and the items, for their kinds of ids.
    options
        What is done with unknown items.
    """
    known = int(items.counts.sum())
    if not items.unknown_rows or (known and options.unknown_items == "drop"):
        return
    unknown = (
        f"{items.unknown_rows} interaction(s) name {len(items.unknown)} item(s) that are not in the catalog: "
        f"{listed(items.unknown[:5].to_pylist(), 5)}{_other_kind(log, catalog)}"
    )
    if known:
        raise DataError(f"{unknown}; add them to the items or set unknown_items: drop.")
    raise DataError(f"no interaction is left: {unknown}; check the item ids, or add them to the items.")


def _other_kind(log: ScannedLog, catalog: Catalog) -> str:
    """Say so where the ids of the log are integers and those of the catalog text."""
    kinds = {segment.items.kind for segment in log.segments}
    if form_of_ids(catalog.ids) == "integer" or not kinds <= {IdKind.INTEGER, IdKind.DIGITS}:
        return ""
    return (
        f" (the item ids of the log are integers, such as {log.segments[0].items.example}, and those of the "
        f"catalog are text, such as {shown(catalog.ids[0].as_py())}: write both alike, or "
        "read text files as they are written with data.options.id_type: string)"
    )


def _odd_ids(users: Users, catalog: Catalog, options: IngestConfig) -> tuple[str, ...]:
    """Say so where a few words, such as a row of totals, make text of ids that are integers else."""
    if options.id_type == "string":
        return ()
    return (*odd_ids(users.ids, "user id"), *odd_ids(catalog.ids, "item id"))


def unknown_counts(items: Items) -> dict[str, int]:
    """Count what was dropped because the catalog lacks it."""
    return {"unknown_item_interactions": items.unknown_rows, "unknown_items": len(items.unknown)}


def users_left_out(users: Users) -> dict[str, int]:
    """Count the rows of users who are forgotten, where there are any."""
    return {"forgotten": users.left_out} if users.left_out else {}


def rows_read(table: Parts, log: ScannedLog, catalog: Catalog) -> dict[str, dict[str, int]]:
    """Count the files and rows that were read.

    Parameters
    ----------
    table, log
        The interactions.
    catalog
        The items.
    """
    found = {"interactions": {"files": table.files, "rows": log.rows}}
    return found | ({"items": {"files": catalog.files, "rows": catalog.rows}} if catalog.rows else {})


def _rows(
    log: ScannedLog, users: Users, items: Items, options: IngestConfig, run: Passes
) -> tuple[DatasetRows, dict[str, int]]:
    """Place, merge, filter and split the records of a log.

    Returns
    -------
    The rows, and what was dropped.
    """
    sources, _ = place_log(log, users, items, run)
    fewest = options.min_user_interactions, options.min_item_interactions
    filtered, core = max(fewest) > 1, Core(sources, 0, 0, 0)
    if filtered:
        core = k_core(sources, *fewest, run.each)
    foldin = options.split == "strong" and options.split_column is None
    splitting, starts = Splitting(options, foldin), item_blocks(items.counts, run.sizes)
    tasks = [RowsTask(source, not filtered, splitting, starts) for source in core.blocks]
    rows = collect_rows(
        run.each(write_rows, tasks),
        users.ids,
        starts,
        weighted=log.columns.weighted,
        foldin=foldin,
    )
    counts = {
        "duplicates": core.duplicates + rows.duplicates,
        "split_conflicts": core.split_conflicts + rows.split_conflicts,
        "k_core": core.removed,
    }
    return rows, log.dropped | unknown_counts(items) | counts
