"""The passes over a log, one after the other: what each needs of those before it, and who runs its tasks."""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.intake.ids import IdType, decide_form
from l3ae_dist.data.intake.parts import Table
from l3ae_dist.data.intake.times import TimeKind, merge_kinds
from l3ae_dist.data.shuffle.each import Each, Execution, in_turn
from l3ae_dist.data.shuffle.global_ids import Items, Users, form_of_ids
from l3ae_dist.data.shuffle.id_sets import IdUnion, unite
from l3ae_dist.data.shuffle.order import PairKeys, blocks_of
from l3ae_dist.data.shuffle.place import PlaceTask, payload_types, place
from l3ae_dist.data.shuffle.records import Slice
from l3ae_dist.data.shuffle.scan import LeftOut, LogColumns, Segment, scan, scan_tasks
from l3ae_dist.data.shuffle.spills import Spills
from l3ae_dist.data.shuffle.user_blocks import BlockSource
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Integers
from l3ae_dist.storage.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa


# Blocks of users, and of items, above which they grow with the log: each pair of the two is a small read.
_BLOCKS = 512


@dataclass(frozen=True, slots=True)
class BlockSizes:
    """Sizes of the blocks that are sorted in memory.

    Parameters
    ----------
    users
        Most users of a block of users.
    records
        Most records of a block of users or items, unless a single one has more.
    most_records
        Number to which ``records`` may grow where there would be many blocks.
    """

    users: int
    records: int
    most_records: int

    def of(self, rows: int) -> "BlockSizes":
        """Return the sizes for a log of so many rows; of many, blocks are larger and not more.

        >>> BlockSizes(1 << 20, 1 << 20, 1 << 24).of(5_000_000_000)
        BlockSizes(users=9765625, records=9765625, most_records=16777216)
        """
        grown = min(-(-rows // _BLOCKS), self.most_records)
        return replace(self, users=max(self.users, grown), records=max(self.records, grown))


@dataclass(frozen=True, slots=True)
class Passes:
    """Way in which the passes run, and where they keep what they pass on.

    Parameters
    ----------
    each
        Runs tasks.
    spills
        Keeps what one pass leaves to the next.
    rows_per_group
        Rows of the log that are read at a time.
    sizes
        Sizes of blocks.
    threads
        Threads of this process for its own work between the tasks.
    """

    each: Each
    spills: Spills
    rows_per_group: int
    sizes: BlockSizes
    threads: int = 1


@contextlib.contextmanager
def passes(workspace: Workspace, execution: Execution, sizes: BlockSizes) -> Iterator[Passes]:
    """Provide the passes with a place for spills, which is emptied on exit.

    Parameters
    ----------
    workspace
        Gives a local folder where the execution names no place.
    execution, sizes
        Where and in which pieces the passes run.
    """
    if execution.spill_root is None:
        with workspace.scratch_dir() as scratch:
            yield _passes(execution, Spills(str(scratch)), sizes)
        return
    root, name = execution.spill_root.rstrip("/"), uuid.uuid4().hex
    try:
        yield _passes(execution, Spills(f"{root}/{name}"), sizes)
    finally:
        Spills(root).blobs.delete_prefix(name)


def _passes(execution: Execution, spills: Spills, sizes: BlockSizes) -> Passes:
    return Passes(execution.each, spills, execution.rows_per_group, sizes, execution.threads)


@dataclass(frozen=True, slots=True)
class ScannedLog:
    """A log after the first pass.

    Parameters
    ----------
    segments
        Encoded rows, in the order of the log.
    columns
        Columns and filters.
    rows
        Rows that were read.
    left_out
        Rows that were left out.
    time_type
        Type of the times of all segments; empty without times.
    integer_users, text_users
        Sorted user ids of the segments that have integers, and of those that have texts.
    """

    segments: tuple[Segment, ...]
    columns: LogColumns
    rows: int
    left_out: LeftOut
    time_type: str
    integer_users: "pa.Array"
    text_users: "pa.Array"

    @property
    def dropped(self) -> dict[str, int]:
        """Rows that were left out, by reason."""
        return asdict(self.left_out)


def user_ids(log: ScannedLog, id_type: IdType, known: "pa.Array | None" = None) -> "pa.Array":
    """Return the sorted ids of the users of a log.

    Parameters
    ----------
    log
        The log after the first pass.
    id_type
        The option.
    known
        Ids that are there too, in whose form the others are; None for integers where those of all segments
        are.
    """
    import pyarrow as pa

    users = [segment.users for segment in log.segments]
    form = decide_form(users, id_type, "user id") if known is None else form_of_ids(known)
    if form == "integer":
        integers = log.integer_users
        return integers if known is None else unite([known, integers], integers[:0])
    there = [] if known is None else [known]
    return unite([*there, log.integer_users.cast(pa.large_string()), log.text_users], log.text_users[:0])


def scan_log(table: Table, options: IngestConfig, run: Passes) -> ScannedLog:
    """Read a log.

    Parameters
    ----------
    table
        The log; objects in memory are read in this process.
    options
        Column names and filters.
    run
        The passes.

    Raises
    ------
    DataError
        For a table without rows, or none that is left, and for what cannot be read.
    """
    import pyarrow as pa

    columns, segments = LogColumns(options), list[Segment]()
    integers, texts = IdUnion(pa.array([], pa.int64())), IdUnion(pa.array([], pa.large_string()))
    rows, left_out = 0, LeftOut()
    each = run.each if table.shared else in_turn
    for scanned in each(scan, scan_tasks(table, columns, run.rows_per_group, run.spills)):
        segments += scanned.segments
        for segment in scanned.segments:  # while further tasks run
            ids = run.spills.get_ids(f"{segment.key}/user_ids")
            (integers if pa.types.is_integer(ids.type) else texts).add(ids)
        rows += scanned.rows
        left_out += scanned.left_out
    if not rows:
        raise table.without_rows()
    if not segments:
        raise DataError(
            f"no interaction is left after filtering: of {rows} row(s) {left_out.missing_ratings} have no "
            f"rating, {left_out.low_ratings} are below rating_threshold and {left_out.zero_weights} have "
            "weight 0; lower rating_threshold or check the file."
        )
    summaries = [one for segment in segments for one in segment.times]
    kind = merge_kinds(summaries, options.timestamp_column or "") if columns.timed else None
    time_type = "" if not columns.timed else "<f8" if kind is TimeKind.FLOAT else "<i8"
    return ScannedLog(tuple(segments), columns, rows, left_out, time_type, integers.ids(), texts.ids())


def place_log(log: ScannedLog, users: Users, items: Items, run: Passes) -> tuple[list[BlockSource], Integers]:
    """Order the records of a log by block of users.

    Parameters
    ----------
    log
        The log after the first pass.
    users, items
        Rows of its users and items.
    run
        The passes.

    Returns
    -------
    The blocks, and (blocks + 1,) the first user of each.
    """
    keys = PairKeys.of_items(len(items.counts))
    sizes = run.sizes.of(int(users.counts.sum()))
    starts = blocks_of(users.counts, sizes.users, sizes.records)
    tasks = [
        PlaceTask(segment, log.columns, keys, starts, log.time_type, run.spills) for segment in log.segments
    ]
    slices: list[list[Slice]] = [[] for _ in starts[1:]]
    for segment, bounds in zip(log.segments, run.each(place, tasks), strict=True):
        for block, (first, last) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
            if first < last:
                slices[block].append(Slice(f"{segment.key}/placed", first, last))
    for segment in log.segments:
        for name in ("users", "items", *payload_types(log.columns, log.time_type)):
            run.spills.delete(f"{segment.key}/{name}")
    types = payload_types(log.columns, log.time_type)
    sources = [
        BlockSource(f"rows/{block}", tuple(one), types, keys, len(items.counts), run.spills)
        for block, one in enumerate(slices)
    ]
    return sources, starts


def item_blocks(counts: Integers, sizes: BlockSizes) -> Integers:
    """Return (blocks + 1,) the first item of each block of columns, for the records of each item."""
    return blocks_of(counts, len(counts), sizes.of(int(counts.sum())).records)
