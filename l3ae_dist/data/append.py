"""New interactions on top of a stored dataset: a dataset of its own, made in blocks as ingest makes them.

What the parent holds out stays held out: a new interaction that is in a user's validation or test split
is not trained on. All other new interactions are trained on, or follow the split column that the dataset
was ingested with where the log has it; those of users that the strong split holds out whole become fold-in
rows. The k-core filter is not applied again, since what it removed is not kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data import splits
from l3ae_dist.data.appended_logs import appended_id, log_id
from l3ae_dist.data.catalog import (
    NO_ITEMS,
    Catalog,
    catalog_of_ids,
    content_id,
    id_array,
    read_catalog,
    with_new_items,
)
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.dataset_store import (
    RECORDS_PER_BLOCK,
    USERS_PER_BLOCK,
    DatasetRows,
    collect_rows,
    store_dataset,
)
from l3ae_dist.data.forgotten import Forgotten
from l3ae_dist.data.ingest import (
    check_options,
    open_log,
    refuse_unknown,
    rows_read,
    unknown_counts,
    users_left_out,
)
from l3ae_dist.data.intake.ids import IdKind
from l3ae_dist.data.intake.objects import has_positions_as_users, kept, with_item_ids
from l3ae_dist.data.intake.open_table import open_table
from l3ae_dist.data.items_table import items_table
from l3ae_dist.data.shuffle.each import IN_THIS_THREAD, Execution
from l3ae_dist.data.shuffle.global_ids import Items, Users, form_of_ids, merged_ids, place_items, place_users
from l3ae_dist.data.shuffle.id_sets import IdRows
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
from l3ae_dist.data.shuffle.records import Records, merge_rows, merged
from l3ae_dist.data.shuffle.user_blocks import BlockRows, BlockSource, RowsTask, Splitting, rows_of
from l3ae_dist.data.tables import Table
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import shown
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import Stage

if TYPE_CHECKING:
    import pyarrow as pa

# Added to the split codes of the log: what the parent says of a pair comes first.
_NEW = 8
_ROWS = 65536
_PLACES = "parent/places"


def append_interactions(
    parent: Dataset,
    interactions: Table,
    items: "Table | None",
    options: IngestConfig,
    *,
    users_per_block: int = USERS_PER_BLOCK,
    records_per_block: int = RECORDS_PER_BLOCK,
    execution: Execution = IN_THIS_THREAD,
) -> str:
    """Store the parent's interactions together with new ones, and return the id of the new dataset.

    Rows of users whom the workspace was told to forget are left out.

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
    execution
        Where the passes run and what they may hold.

    Raises
    ------
    DataError
        For missing columns, empty tables, null ids, unknown items, bad weights, or ids of another kind.
        Nothing has been written then.

    Notes
    -----
    Weights are stored in float32, so the sum of an old and a new weight is rounded twice.
    """
    interactions, items = kept(interactions), kept(items_table(items, options))
    log, workspace = log_id(interactions, items, options), parent.workspace
    identifier = appended_id(parent, log, options)
    if workspace.stage_done(Stage.INGEST, identifier) is not None:
        return identifier
    if (options.weight_column is not None) != parent.weighted:
        kind = "weighted" if parent.weighted else "binary"
        raise DataError(
            f"the workspace's interactions are {kind}; appended ones must be too (weight_column)."
        )
    catalog = _catalog(parent, items, options)
    known = id_array(parent.user_ids())
    if has_positions_as_users(interactions):
        _refuse_positions(known)
    source = with_item_ids(interactions, catalog.ids)
    read = _log_options(options, source)
    check_options(read)
    table = open_log(source, read)
    sizes = BlockSizes(users_per_block, records_per_block, execution.records_per_block)
    with passes(workspace, execution, sizes) as run:
        scanned = scan_log(table, read, run)
        _refuse_other_kind(scanned, known)
        forgotten = Forgotten.read(workspace)
        ids = forgotten.kept(user_ids(scanned, options.id_type, known))
        places = IdRows(ids).find(known)
        if (places < 0).any():
            raise DataError(f"the data {parent.id} hold forgotten users; append to the current model.")
        users = place_users(scanned.segments, run.spills, ids, run.threads)
        users.counts[places] += parent.activity()
        catalog = _with_items_of_log(catalog, scanned, run)
        items_of_log = place_items(scanned.segments, run.spills, catalog.ids)
        refuse_unknown(items_of_log, scanned, catalog, read)
        rows, added = _rows(parent, scanned, users, places, items_of_log, run)
        for path in layout.DatasetPaths(identifier).folders:
            workspace.delete(path)
        stats = store_dataset(workspace, identifier, rows, catalog, run)
    added["users"] = stats.n_users - parent.n_users
    added["items"] = stats.n_items - parent.n_items
    counts = {"duplicates": rows.duplicates, "split_conflicts": rows.split_conflicts, "k_core": 0}
    dropped = {**scanned.dropped, **unknown_counts(items_of_log), **users_left_out(users), **counts}
    stats = replace(
        stats,
        dropped={**dropped, **stats.dropped},
        read=rows_read(table, scanned, catalog),
        notes=(*table.notes, *catalog.notes),
        parent=parent.id,
        # the texts are the parent's, unless there are new ones
        catalog=content_id(catalog) if added["items"] else parent.catalog,
        log=log,
        appended=added,
        without=forgotten.name,
    )
    workspace.mark_stage(Stage.INGEST, identifier, options.model_dump(), stats.record())
    return identifier


def _refuse_other_kind(log: ScannedLog, known: "pa.Array") -> None:
    """Raise :class:`DataError` for text where the parent's user ids are integers."""
    others = [one.users for one in log.segments if one.users.kind not in (IdKind.INTEGER, IdKind.DIGITS)]
    if others and form_of_ids(known) == "integer":
        raise DataError(
            f"the workspace's user ids are integers, and the log's are text, such as {others[0].example} "
            f"({others[0].origin}); convert them, or fit the whole log with data.options.id_type: string."
        )


def _refuse_positions(known: "pa.Array") -> None:
    """Raise :class:`DataError` for a matrix without user ids where the parent's are no row numbers."""
    ids = known.to_numpy(zero_copy_only=False)
    if form_of_ids(known) == "integer" and np.array_equal(np.sort(ids), np.arange(len(ids))):
        return
    raise DataError(
        f"the matrix of interactions has no user ids, and the workspace's are not the row numbers from 0 on "
        f"(one is {shown(known[0].as_py())}); give (matrix, user_ids, None), the items in catalog order."
    )


def _log_options(options: IngestConfig, interactions: object) -> IngestConfig:
    """Return the options that the log is read with: no split is drawn, a split column is followed."""
    changes: dict[str, object] = {"split": "none", "timestamp_column": None}
    if options.rating_threshold is None:
        changes["rating_column"] = None
    if options.split_column is not None:
        names = open_table(interactions, "interactions", options.text_options(), options.names()).columns
        changes |= {} if options.split_column in names else {"split_column": None}
    return options.model_copy(update=changes)


def _catalog(parent: Dataset, items: "Table | None", options: IngestConfig) -> Catalog:
    """The parent's catalog with the new items at its end."""
    import pyarrow as pa

    titles, texts = (pa.array(one, pa.large_string()) for one in (parent.titles(), parent.texts()))
    before = Catalog(id_array(parent.item_ids()), titles, texts, parent.has_text, parent.stats.no_text)
    return before if items is None else with_new_items(before, read_catalog(items, options))


def _with_items_of_log(catalog: Catalog, log: ScannedLog, run: Passes) -> Catalog:
    """Return the catalog with the items that only the log names at its end, where no table ever named any."""
    if catalog.no_text != NO_ITEMS:
        return catalog
    every = merged_ids(log.segments, run.spills, "item", "auto", catalog.ids)
    grown = with_new_items(catalog, catalog_of_ids(every))
    return replace(grown, rows=catalog.rows, files=catalog.files, notes=catalog.notes)


def _rows(
    parent: Dataset, log: ScannedLog, users: Users, places: Array, items: Items, run: Passes
) -> tuple[DatasetRows, dict[str, int]]:
    """Put the parent's records beside the log's, block by block; ``places`` are its users among ``users``.

    Returns
    -------
    The rows, and how many pairs of the log are new, were known (their weights are added up), and stay held
    out.
    """
    sources, starts = place_log(log, users, items, run)
    run.spills.put(_PLACES, places)
    item_counts = items.counts.copy()
    item_counts[: parent.n_items] += parent.popularity()
    item_starts = item_blocks(item_counts, run.sizes)
    splitting = Splitting(log.columns.options, parent.stats.foldin)
    bounds = np.searchsorted(places, starts).tolist()
    tasks = [
        AppendTask(RowsTask(source, False, splitting, item_starts), parent, first, last)
        for source, first, last in zip(sources, bounds[:-1], bounds[1:], strict=True)
    ]
    counts = dict.fromkeys(("interactions", "known", "held_out"), 0)
    blocks = []
    for block, more in run.each(append_block, tasks):
        blocks.append(block)
        counts = {name: counts[name] + count for name, count in more.items()}
    if not sum(counts.values()):
        raise DataError("no interaction is left to append; check the item ids and rating_threshold.")
    weighted, foldin = parent.weighted, parent.stats.foldin
    return collect_rows(blocks, users.ids, item_starts, weighted=weighted, foldin=foldin), counts


@dataclass(frozen=True, slots=True)
class AppendTask:
    """A block of users whose records of the log come beside those of the parent.

    Parameters
    ----------
    rows
        The log's records, and what becomes of all.
    parent
        What is there.
    first, last
        The parent's users ``first`` to ``last - 1`` are in the block.
    """

    rows: RowsTask
    parent: Dataset
    first: int
    last: int


def append_block(task: AppendTask) -> tuple[BlockRows, dict[str, int]]:
    """Merge, split and write the records of a block.

    Returns
    -------
    The rows, and how many pairs of the log are new, were known, and stay held out.
    """
    source = task.rows.source
    read = source.read()
    rows = merge_rows(_with_split(read, _NEW))
    log = rows.records
    old = _joined([*_old_records(task)], source)
    held = old.pairs[np.isin(old.carried["split"], (splits.VALID, splits.TEST))]
    kept = ~np.isin(log.pairs, held)
    new_split = log.carried["split"] - np.int8(_NEW)
    conflicts = kept & np.isin(new_split, (splits.VALID, splits.TEST)) & np.isin(log.pairs, old.pairs)
    held_out, kept = int((~kept).sum()), kept & ~conflicts
    records = merged(_joined([old, log[kept]], source))
    codes = records.carried["split"]
    fresh = codes >= _NEW
    codes[fresh] -= _NEW
    users = source.keys.users(records.pairs)
    whole = np.unique(source.keys.users(old.pairs[old.carried["split"] == splits.FOLDIN]))
    codes[fresh & np.isin(users, whole) & (codes == splits.TRAIN)] = splits.FOLDIN
    new, known = int(fresh.sum()), int(kept.sum()) - int(fresh.sum())
    counts = {"interactions": new, "known": known, "held_out": held_out}
    rows = replace(rows, split_conflicts=rows.split_conflicts + int(conflicts.sum()))
    return rows_of(task.rows, replace(rows, records=records)), counts


def _with_split(records: Records, shift: int) -> Records:
    """Return records with split codes, all of them training where they have none, shifted."""
    codes = records.carried.get("split", np.zeros(len(records), np.int8))
    return Records(records.pairs, {**records.carried, "split": codes + np.int8(shift)})


def _joined(parts: list[Records], source: BlockSource) -> Records:
    types = {**source.types, "split": "|i1"}
    empty = Records(np.empty(0, np.int64), {name: np.empty(0, dtype) for name, dtype in types.items()})
    parts = [empty, *parts]
    carried = {name: np.concatenate([part.carried[name] for part in parts]) for name in types}
    return Records(np.concatenate([part.pairs for part in parts]), carried)


def _old_records(task: AppendTask) -> Iterator[Records]:
    """The parent's records of its users in the block, as the new dataset numbers them."""
    parent, source = task.parent, task.rows.source
    places = source.spills.get(_PLACES, np.int32, task.first, task.last)
    for start in range(task.first, task.last, _ROWS):
        stop = min(start + _ROWS, task.last)
        rows: dict[layout.Split, sparse.csr_matrix] = {
            name: parent.user_rows(name, start, stop) for name in ("train", "valid", "test")
        }
        if parent.stats.foldin:
            rows["input"] = parent.user_rows("input", start, stop)
        trained = np.diff(rows["train"].indptr) > 0
        for name, matrix in rows.items():
            local = np.repeat(np.arange(stop - start), np.diff(matrix.indptr))
            users = places[start - task.first : stop - task.first][local]
            code = splits.FOLDIN if name == "input" else splits.NAMES[name]
            carried = {"split": np.full(matrix.nnz, code, np.int8)}
            if "weight" in source.types:
                carried["weight"] = matrix.data.astype(np.float64)
            records = Records(source.keys.pack(users, matrix.indices), carried)
            # a user's known items are either training or fold-in rows
            yield records[~trained[local]] if name == "input" else records
