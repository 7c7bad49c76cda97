"""Profiles of tables, for whoever looks before a run: formats, columns, ranges of values, a few rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from l3ae_dist.data.intake.files import SourceFile
from l3ae_dist.data.intake.numbers import to_floats
from l3ae_dist.data.intake.parts import Form, Part, Table, form_of
from l3ae_dist.data.intake.times import NEAR, TimeKind, Times, read_times, summarise
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import visible

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_ROWS = 10
_MOST_IN_CELL = 200
_PER_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_SEPARATORS = {"\t": "tab", " ": "space"}


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """Values of one column that is used.

    Parameters
    ----------
    name, used_as
        Its name, and what it is used for, such as ``"weight"``.
    kind
        Kind of its values that was decided over all parts, such as ``"integer"``.
    values
        Their range or an example in words; empty where that tells nothing.
    """

    name: str
    used_as: str
    kind: str
    values: str = ""


@dataclass(frozen=True, slots=True)
class TableProfile:
    """A table that was read from its first row to its last.

    Parameters
    ----------
    what, source
        What it is, and where it is from.
    files, rows
        Numbers of files (0 for an object in memory) and of rows.
    formats
        Descriptions of the formats of its files, with the number of files of each.
    columns
        Names of all columns.
    used
        The columns that are used.
    notes
        What was decided about the files.
    sample
        Its first rows: text of the columns that are used, by name.
    """

    what: str
    source: str
    files: int
    rows: int
    formats: Mapping[str, int]
    columns: tuple[str, ...]
    used: tuple[ColumnProfile, ...]
    notes: tuple[str, ...]
    sample: tuple[Mapping[str, str], ...]


# ---- formats


def formats(table: Table) -> dict[str, int]:
    """Count the files of a table by the description of their format; pieces of one file count once."""
    first = {_file_key(part): part for part in reversed(table.parts)}
    return dict(Counter(describe_part(part) for part in reversed(first.values())))


class _Encoded(Protocol):
    codec: str


class _Dialect(Protocol):
    separator: str
    quoting: str


class _Layout(Protocol):
    dialect: _Dialect


def describe_part(part: Part) -> str:
    """Describe the format of a part: compression, encoding, separator and quotes of text files.

    Readers tell these in the attributes ``file``, ``encoding`` and ``layout`` of their parts.
    """
    part = getattr(part, "part", part)  # within columns of its folders
    file: SourceFile | None = getattr(part, "file", None)
    if file is None:
        return "in memory"
    words = [str(file.format)]
    layout: _Layout | None = getattr(part, "layout", None)
    encoding: _Encoded | None = getattr(part, "encoding", None)
    if layout is not None:
        separator = layout.dialect.separator
        words.append(f"separator {_SEPARATORS.get(separator, repr(separator))}")
        words += ["no quotes"] if layout.dialect.quoting == "none" else []
    words += [encoding.codec] if encoding is not None else []
    words += [str(file.compression)] if file.compression is not None else []
    return ", ".join(words)


def _file_key(part: Part) -> object:
    file: SourceFile | None = getattr(getattr(part, "part", part), "file", None)
    return "in memory" if file is None else file.path


# ---- rows


def sample_rows(table: Table, columns: Sequence[str], most: int = SAMPLE_ROWS) -> list[dict[str, str]]:
    """Return the first rows of a table as visible text, long values cut.

    Parameters
    ----------
    table
        The table.
    columns
        Names of columns that the table has.
    most
        Number of rows.
    """
    rows: list[dict[str, str]] = []
    for part in table.parts:
        held = [name for name in columns if name in part.columns()]
        for batch in part.batches(held):
            rows += _texts_of(batch.slice(0, most - len(rows)))
            if len(rows) >= most:
                return rows
    return rows


def _texts_of(batch: "pa.RecordBatch") -> list[dict[str, str]]:
    columns = {
        field.name: [_cell(value, form_of(field)) for value in values]
        for field, values in zip(batch.schema, batch.columns, strict=True)
    }
    return [{name: texts[row] for name, texts in columns.items()} for row in range(batch.num_rows)]


def _cell(scalar: "pa.Scalar", form: Form) -> str:
    value = scalar.as_py()
    if value is None:
        return "(null)"
    text = value if isinstance(value, str) else str(value)
    cut = text if len(text) <= _MOST_IN_CELL else f"{text[: _MOST_IN_CELL - 4]} ..."
    return visible(cut).replace("\n", "\\n")


# ---- ranges of values


@dataclass(slots=True)
class NumberRange:
    """Range of the numbers of a column, and how many are missing; it grows batch by batch."""

    count: int = 0
    missing: int = 0
    total: float = 0.0
    least: float = np.inf
    largest: float = -np.inf

    def add(self, values: Array) -> None:
        """Count some numbers, NaN where they are missing."""
        present = values[~np.isnan(values)]
        self.missing += len(values) - len(present)
        if len(present):
            self.count += len(present)
            self.total += float(present.sum())
            self.least = min(self.least, float(present.min()))
            self.largest = max(self.largest, float(present.max()))

    def words(self) -> str:
        """Return the range in words.

        >>> found = NumberRange(); found.add(np.array([1.0, 2.0, np.nan])); found.words()
        '1 to 2, mean 1.5, 1 missing'
        """
        missing = f", {self.missing:,} missing" if self.missing else ""
        if not self.count:
            return f"no number{missing}"
        mean = self.total / self.count
        return f"{self.least:g} to {self.largest:g}, mean {mean:.4g}{missing}"


@dataclass(slots=True)
class TimeRange:
    """First and last time of a column and their kinds; it grows batch by batch."""

    kinds: set[TimeKind] = field(default_factory=set)
    units: set[str] = field(default_factory=set)
    first: int | float | None = None
    last: int | float | None = None

    def add(self, times: Times) -> None:
        """Take in some times."""
        if not len(times.keys):
            return
        low, high = times.keys.min().item(), times.keys.max().item()
        self.kinds.add(times.kind)
        self.units |= set(summarise(times, "").units)
        self.first = low if self.first is None else min(self.first, low)
        self.last = high if self.last is None else max(self.last, high)

    @property
    def kind(self) -> str:
        """Kind of all times together."""
        return "fraction" if TimeKind.FLOAT in self.kinds else next(iter(self.kinds), "empty")

    def words(self) -> str:
        """Return the first and the last time, and for epochs the dates that they are."""
        if self.first is None or self.last is None:
            return ""
        if TimeKind.DATE in self.kinds:
            return f"{date_text(int(self.first))} to {date_text(int(self.last))}"
        told = f"{self.first} to {self.last}"
        unit = next(iter(self.units), None) if len(self.units) == 1 else None
        if unit is None:
            return told
        ends = (date_text(int(end * (10**9 // _PER_SECOND[unit]))) for end in (self.first, self.last))
        return f"{told} ({' to '.join(ends)} if {unit} since 1970)"


def date_text(key: int) -> str:
    """Write the key of a date as ISO 8601, to the second.

    >>> date_text(0), date_text(NEAR + 10**6)
    ('1970-01-01T00:00:00', '2198-02-27T08:00:01')
    """
    near = max(-NEAR, min(key, NEAR))
    seconds, beyond = near // 10**9, (key - near) // 10**6
    return str(np.datetime64(seconds + beyond, "s"))


def value_ranges(
    table: Table, numbers: Mapping[str, str], time: str | None
) -> tuple[dict[str, NumberRange], TimeRange]:
    """Read the columns of a table that hold numbers and times, once, batch by batch.

    Parameters
    ----------
    table
        The table.
    numbers
        What the columns of numbers are called in messages, by their names.
    time
        Name of the column of times; None for none.

    Returns
    -------
    The ranges of the numbers by column, and that of the times.
    """
    ranges, times = {name: NumberRange() for name in numbers}, TimeRange()
    wanted = [*dict.fromkeys([*numbers, *([time] if time else [])])]
    for part in table.parts:
        if not wanted or not set(wanted) <= set(part.columns()):
            continue
        for batch in part.batches(wanted):
            for name, found in ranges.items():
                found.add(to_floats(*_named(batch, name), name, numbers[name], part.origin))
            if time is not None:
                times.add(read_times(*_named(batch, time), time, part.origin))
    return ranges, times


def _named(batch: "pa.RecordBatch", name: str) -> tuple["pa.Array", Form]:
    position = batch.schema.get_field_index(name)
    return batch.column(position), form_of(batch.schema.field(position))
