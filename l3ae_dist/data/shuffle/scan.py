"""First pass: the log is read, once; rows are filtered and their ids encoded, and all is spilled compactly.

A task reads some consecutive parts and writes segments of bounded size: codes of users and items, the
distinct ids, and weights, times and split codes where the options need them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data import splits
from l3ae_dist.data.intake.ids import IdValues
from l3ae_dist.data.intake.numbers import as_held, to_floats
from l3ae_dist.data.intake.parts import Form, Part, Table, form_of
from l3ae_dist.data.intake.plain_values import decoded_batch, shown, shown_origin
from l3ae_dist.data.intake.refused_rows import naming_row
from l3ae_dist.data.intake.texts import to_texts
from l3ae_dist.data.intake.times import Times, TimeSummary, in_kind, merge_kinds, read_times, summarise
from l3ae_dist.data.shuffle.encode import Encoded, Piece, encode
from l3ae_dist.data.shuffle.spills import Spills
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array

if TYPE_CHECKING:
    import pyarrow as pa

# Bytes of parts that one task reads, and of values that are held before they are encoded.
_PART_BYTES = 128 << 20
_HELD_BYTES = 256 << 20
# Bytes of a row where the number of rows is not known.
_ROW_BYTES = 16


@dataclass(frozen=True, slots=True)
class LogColumns:
    """Columns of a log that are read, and what becomes of their rows.

    Parameters
    ----------
    options
        Column names, filters and kind of ids.
    """

    options: IngestConfig

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns that are read."""
        options = self.options
        wanted = (options.user_column, options.item_column, options.weight_column, options.timestamp_column)
        more = (options.split_column, options.rating_column)
        return tuple(dict.fromkeys(name for name in (*wanted, *more) if name))

    @property
    def weighted(self) -> bool:
        """True where rows have a weight."""
        return self.options.weight_column is not None

    @property
    def timed(self) -> bool:
        """True where rows have a time."""
        return self.options.timestamp_column is not None

    @property
    def has_split(self) -> bool:
        """True where rows say which split they are in."""
        return self.options.split_column is not None


@dataclass(frozen=True, slots=True)
class ScanTask:
    """Consecutive parts of a log that are read and encoded together.

    Parameters
    ----------
    key
        Beginning of the keys of the spilled segments.
    parts
        The parts.
    columns
        Columns and filters.
    rows
        Rows of a segment.
    spills
        Receives the segments.
    """

    key: str
    parts: tuple[Part, ...]
    columns: LogColumns
    rows: int
    spills: Spills


@dataclass(frozen=True, slots=True)
class Segment:
    """Encoded rows that were spilled below a key.

    Parameters
    ----------
    key
        Beginning of the keys: ``users`` and ``items`` are codes, int32; ``user_ids`` and ``item_ids`` the ids
        of the codes, ``user_counts`` and ``item_counts`` their rows; ``weight``, ``time`` and ``split`` are
        there where the log has them.
    rows
        Number of rows.
    users, items
        Kind, example and origin of the ids; the values stay empty.
    times
        What the times of all segments must agree in.
    time_type
        Type of the spilled times.
    """

    key: str
    rows: int
    users: IdValues
    items: IdValues
    times: tuple[TimeSummary, ...]
    time_type: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Rows of a log that were left out.

    Parameters
    ----------
    missing_ratings, low_ratings
        Rows without a rating, and with one below the threshold.
    zero_weights
        Rows of weight 0.
    """

    missing_ratings: int = 0
    low_ratings: int = 0
    zero_weights: int = 0

    def __add__(self, other: "LeftOut") -> "LeftOut":
        return LeftOut(
            self.missing_ratings + other.missing_ratings,
            self.low_ratings + other.low_ratings,
            self.zero_weights + other.zero_weights,
        )


@dataclass(frozen=True, slots=True)
class Scanned:
    """Result of a task: its segments, and counts of the rows that were read and left out."""

    segments: tuple[Segment, ...]
    rows: int
    left_out: LeftOut


def scan_tasks(table: Table, columns: LogColumns, rows: int, spills: Spills) -> list[ScanTask]:
    """Put the parts of a log together into tasks of about equal size.

    Parameters
    ----------
    table
        The log.
    columns
        Columns and filters.
    rows
        Rows of a task; a part that has more is a task of its own.
    spills
        Receives the segments.
    """
    groups: list[list[Part]] = []
    held_rows = held_bytes = 0
    for part in table.parts:
        if not part.columns():
            continue  # an empty file
        count = part.size // _ROW_BYTES if part.rows is None else part.rows
        if not groups or held_rows + count > rows or held_bytes + part.size > _PART_BYTES:
            groups.append([])
            held_rows = held_bytes = 0
        groups[-1].append(part)
        held_rows += count
        held_bytes += part.size
    return [
        ScanTask(f"log/{number}", tuple(group), columns, rows, spills) for number, group in enumerate(groups)
    ]


def scan(task: ScanTask) -> Scanned:
    """Read the parts of a task, and spill what their rows say.

    Raises
    ------
    DataError
        For what cannot be read, naming the part.
    """
    reader = _Reader(task.columns)
    segments: list[Segment] = []
    held: list[_Rows] = []
    count = size = 0
    for part in task.parts:
        for rows in reader.read(part):
            held.append(rows)
            count, size = count + len(rows), size + rows.nbytes
            if count >= task.rows or size >= _HELD_BYTES:
                segments += _spill(task, len(segments), held)
                held, count, size = [], 0, 0
    segments += _spill(task, len(segments), held)
    return Scanned(tuple(segments), reader.rows, reader.left_out)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a record batch that are kept."""

    users: Piece
    items: Piece
    weights: Array | None
    times: Times | None
    codes: Array | None

    def __len__(self) -> int:
        return len(self.users.values)

    @property
    def nbytes(self) -> int:
        """Bytes of the ids."""
        return int(self.users.values.nbytes + self.items.values.nbytes)


class _Reader:
    """Rows of parts, filtered; counts what it left out."""

    def __init__(self, columns: LogColumns) -> None:
        self._columns = columns
        self.rows, self.left_out = 0, LeftOut()

    def read(self, part: Part) -> Iterator[_Rows]:
        """Yield the rows of a part."""
        before = self.rows
        for batch in part.batches(self._columns.names):
            rows = self._kept_of(decoded_batch(batch, part.origin), part.origin, self.rows - before)
            self.rows += len(batch)
            if len(rows):
                yield rows

    def _kept_of(self, batch: "pa.RecordBatch", origin: str, before: int) -> _Rows:
        """Return the rows of a batch that are kept; an error names the row."""

        def read(count: int) -> _Rows:
            return _Reader(self._columns)._kept(batch.slice(0, count), origin)

        try:
            return self._kept(batch, origin)
        except DataError as error:
            raise naming_row(error, read, len(batch), before) from error

    def _kept(self, batch: "pa.RecordBatch", origin: str) -> _Rows:
        options = self._columns.options
        if options.rating_column is not None and options.rating_threshold is not None:
            ratings = _numbers(batch, options.rating_column, "rating", origin)
            kind = batch.schema.field(options.rating_column).type
            batch, removed = _where(batch, ratings >= as_held(options.rating_threshold, kind))
            missing = int(np.isnan(ratings).sum()) if removed else 0
            self.left_out += LeftOut(missing_ratings=missing, low_ratings=removed - missing)
        weights = None
        if options.weight_column is not None:
            name = options.weight_column
            weights = check_weights(_numbers(batch, name, "weight", origin), name, origin)
            batch, removed = _where(batch, weights > 0)
            self.left_out += LeftOut(zero_weights=removed)
            weights = weights[weights > 0] if removed else weights
        times = None
        if options.timestamp_column is not None:
            name = options.timestamp_column
            times = read_times(*_values(batch, name), name, origin)
        codes = _split_codes(batch, options.split_column, origin)
        users, items = (
            Piece(*_values(batch, name), origin) for name in (options.user_column, options.item_column)
        )
        return _Rows(users, items, weights, times, codes)


def _values(batch: "pa.RecordBatch", name: str) -> tuple["pa.Array", Form]:
    place = batch.schema.get_field_index(name)
    return batch.column(place), form_of(batch.schema.field(place))


def _numbers(batch: "pa.RecordBatch", name: str, what: str, origin: str) -> Array:
    values, form = _values(batch, name)
    return to_floats(values, form, name, what, origin)


def _where(batch: "pa.RecordBatch", keep: Array) -> tuple["pa.RecordBatch", int]:
    import pyarrow as pa

    removed = int(len(keep) - np.count_nonzero(keep))
    return (batch.filter(pa.array(keep)), removed) if removed else (batch, 0)


def check_weights(weights: Array, name: str, origin: str) -> Array:
    """Return weights.

    Parameters
    ----------
    weights
        NaN where one is missing.
    name, origin
        Name of their column and the part that they are from, for messages.

    Raises
    ------
    DataError
        For what no weight can be.
    """
    where = f"in the column {shown(name)} ({shown_origin(origin)})"
    smallest, largest = np.finfo(np.float32).smallest_normal, np.finfo(np.float32).max
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} interaction(s) have a weight that is missing, negative, NaN or infinite "
            f"{where}, first: {weights[bad][0]}; weights must be finite and not negative."
        )
    bad = (weights > largest) | ((weights > 0) & (weights < smallest))
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} interaction(s) have a weight outside {smallest:.2g} to {largest:.2g} "
            f"{where}, first: {weights[bad][0]:.6g}, which single precision cannot hold; scale the weights."
        )
    return weights


def _split_codes(batch: "pa.RecordBatch", name: str | None, origin: str) -> Array | None:
    """Return the split code of each row, int8."""
    if name is None:
        return None
    values, form = _values(batch, name)
    encoded = values.dictionary_encode(null_encoding="encode")
    names = [text.strip().lower() for text in to_texts(encoded.dictionary, form, origin)]
    bad = sorted({repr(text[:40]) for text in names if text not in splits.NAMES})
    if bad:
        raise DataError(
            f"the split column {name!r} holds {', '.join(bad[:5])} ({origin}); use train, val and test."
        )
    codes = np.array([splits.NAMES[text] for text in names], np.int8)
    return np.asarray(codes[encoded.indices.to_numpy()])


def _spill(task: ScanTask, number: int, held: Sequence[_Rows]) -> list[Segment]:
    """Encode and write rows as a segment; none when there are none."""
    if not held:
        return []
    key, id_type = f"{task.key}/{number}", task.columns.options.id_type
    users = _spill_ids(task.spills, f"{key}/user", encode([rows.users for rows in held], "user id", id_type))
    items = _spill_ids(task.spills, f"{key}/item", encode([rows.items for rows in held], "item id", id_type))
    for name, arrays in (
        ("weight", [rows.weights for rows in held if rows.weights is not None]),
        ("split", [rows.codes for rows in held if rows.codes is not None]),
    ):
        if arrays:
            task.spills.put(f"{key}/{name}", np.concatenate(arrays))
    summaries, time_type = _spill_times(task, key, held)
    return [Segment(key, sum(map(len, held)), users, items, summaries, time_type)]


def _spill_ids(spills: Spills, key: str, encoded: Encoded) -> IdValues:
    import pyarrow as pa

    spills.put(f"{key}s", encoded.codes)
    spills.put_ids(f"{key}_ids", encoded.ids.values)
    spills.put(f"{key}_counts", encoded.counts)
    # a slice would be pickled with all of its buffer
    return replace(encoded.ids, values=pa.array([], encoded.ids.values.type))


def _spill_times(task: ScanTask, key: str, held: Sequence[_Rows]) -> tuple[tuple[TimeSummary, ...], str]:
    timed = [(rows.times, rows.users.origin) for rows in held if rows.times is not None]
    if not timed:
        return (), ""
    name = task.columns.options.timestamp_column or ""
    different: dict[tuple[object, ...], TimeSummary] = {}
    for times, origin in timed:
        one = summarise(times, origin)
        different.setdefault((one.kind, one.units, one.early, one.dates, one.exact), one)
    summaries = tuple(different.values())
    kind = merge_kinds(summaries, name)
    arrays = [times.keys if kind is None else in_kind(times.keys, kind) for times, _ in timed]
    keys = np.concatenate(arrays)
    task.spills.put(f"{key}/time", keys)
    return summaries, keys.dtype.str
