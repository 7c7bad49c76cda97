"""Files of JSON objects as parts of a table: one object a line, one array of objects, or objects in a row.

Each value is read in the form :attr:`~l3ae_dist.data.intake.parts.Form.JSON`: its text, integers with all
their digits, other numbers as the shortest text of the nearest double; null and an absent field are null.
Empty lines are left out, and an empty file is no part at all. Refused are lines that are no JSON, values that
are no objects, keys that occur twice in an object, ``NaN`` and ``Infinity`` in a column that is read, halves
of surrogate pairs, objects of more than 64 MiB and more than 10,000 different keys.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.config.data import TextOptions
from l3ae_dist.data.intake.decompress import PIECE
from l3ae_dist.data.intake.encodings import Encoding
from l3ae_dist.data.intake.files import SourceFile, first_line
from l3ae_dist.data.intake.json_text import (
    VALUE_LIMIT,
    Arrangement,
    JsonProblemError,
    Members,
    arrangement_of,
    check,
    constant_in,
    may_hold_constant,
    values,
)
from l3ae_dist.data.intake.parts import Form, in_form
from l3ae_dist.data.intake.prepare import PlainText, changed_at, once_settled, opening, plain_text
from l3ae_dist.errors import DataError
from l3ae_dist.messages import shown
from l3ae_dist.storage.scratch import scratch_folder

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

KEY_LIMIT = 10_000
"""Different keys that the objects of a file may have."""
_HEAD = 1 << 22
_BATCH_ROWS = 1 << 14
# A comma before a closing bracket, which DuckDB reads over, as it does at the end of an array without one.
_BEFORE_CLOSING = np.frombuffer(b", \t\r\n", np.uint8)
_TRAILING_COMMA = re.compile(rb",[ \t\r\n]*[}\]]")
# Paths that are neither patterns nor partitions to DuckDB, and do not look compressed.
_ORDINARY = re.compile(r"/[\w/. -]*\.(json|jsonl|ndjson)")
_CONSTANT = r"(^|[\[:,])-?(NaN|Infinity)"


@dataclass(frozen=True, slots=True)
class JsonPart:
    """A file of JSON objects.

    Parameters
    ----------
    file
        The file.
    encoding
        Its encoding.
    arrangement
        How its objects are arranged.
    keys
        All keys of its objects, in order of appearance, without the empty one.
    changed
        Time of the last change of a local file, in nanoseconds: it must not change before it is read.
    """

    file: SourceFile
    encoding: Encoding
    arrangement: Arrangement
    keys: tuple[str, ...]
    changed: int = 0

    @property
    def origin(self) -> str:
        """Name of the file for messages."""
        return self.file.name

    @property
    def size(self) -> int:
        """Bytes of the file, as they are stored."""
        return self.file.size

    @property
    def rows(self) -> int | None:
        """None: rows are counted when they are read."""
        return None

    def columns(self) -> tuple[str, ...]:
        """Return all keys of its objects."""
        return self.keys

    def batches(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Yield some of its fields, one JSON value each.

        Parameters
        ----------
        columns
            Names of columns.

        Raises
        ------
        DataError
            For what cannot be read, naming the line.
        """
        if not columns:
            return
        if len({name.lower() for name in columns}) < len(set(columns)):
            raise DataError(f"{self.origin} has keys that differ in capitals alone; rename one of them.")
        if changed_at(self.file) != self.changed:
            raise DataError(f"{self.origin} was changed while it was read; start again.")
        with plain_text(self.file, self.encoding) as text, _explained(text, self.arrangement, self.origin):
            yield from self._read(text, columns)

    def _read(self, text: PlainText, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        fields = [in_form(pa.field(name, pa.string()), Form.JSON) for name in columns]
        done = 0
        with _database(text) as (connection, path):
            relation = connection.read_json(
                path,
                format=self.arrangement.value,
                columns=dict.fromkeys(columns, "JSON"),
                records="true",
                maximum_object_size=_object_size(text),
            )
            for batch in relation.to_arrow_reader(_BATCH_ROWS):
                arrays = [_storage(batch.column(name)) for name in columns]
                self._refuse_constants(text, columns, arrays, done)
                done += batch.num_rows
                yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))

    def _refuse_constants(
        self, text: PlainText, columns: Sequence[str], arrays: "Sequence[pa.Array]", done: int
    ) -> None:
        """Refuse ``NaN`` and ``Infinity``, which are no JSON; within strings they are text."""
        import pyarrow.compute as pc

        for name, array in zip(columns, arrays, strict=True):
            suspects = array.filter(pc.match_substring_regex(array, _CONSTANT)).drop_null().to_pylist()
            if not any(may_hold_constant(one) for one in suspects):
                continue
            for row, (line, value) in enumerate(values(text.path, text.start, self.arrangement)):
                field = dict(value).get(name) if isinstance(value, Members) and row >= done else None
                if bad := constant_in(field):
                    raise JsonProblemError(line, f"has {bad} in {shown(name)}, which is no JSON; write null")


def json_parts(
    files: Sequence[SourceFile], what: str, options: TextOptions
) -> tuple[tuple[JsonPart, ...], tuple[str, ...]]:
    """Return the parts of files of JSON objects, and sentences on what was decided about them.

    Each file is read once to find all keys, wherever they first occur.

    Parameters
    ----------
    files
        The files, in their order.
    what
        What messages call the table.
    options
        What the user says about the files.

    Raises
    ------
    DataError
        For files that cannot be read, naming the line.
    ConfigError
        For options that cannot be.
    """
    found = [_part(file, options.encoding) for file in files]
    parts = tuple(part for part in found if part is not None)
    return parts, tuple(part.encoding.note for part in parts if part.encoding.note)


@once_settled
def _part(file: SourceFile, encoding: str | None, changed: int) -> JsonPart | None:
    """Return the part of a file; it is looked at once for as long as it does not change."""
    seen = opening(file, encoding)
    arrangement = arrangement_of(seen.text(_HEAD))
    if arrangement is None:
        return None
    with plain_text(file, seen.encoding) as text, _explained(text, arrangement, file.name):
        keys = _keys(text, arrangement, file.name)
        if _has_trailing_comma(text.path):
            check(text.path, text.start, arrangement)
        _refuse_columns(text, arrangement, file.name)
    return JsonPart(file, seen.encoding, arrangement, keys, changed) if keys else None


@contextmanager
def _explained(text: PlainText, arrangement: Arrangement, name: str) -> Iterator[None]:
    """Turn an error of DuckDB into one that names the line and the reason."""
    import duckdb

    try:
        yield
    except JsonProblemError as error:
        raise _refusal(name, error, text) from error
    except (duckdb.Error, UnicodeDecodeError) as error:  # DuckDB cuts its messages within a character too
        try:
            check(text.path, text.start, arrangement)
        except JsonProblemError as problem:
            raise _refusal(name, problem, text) from error
        raise DataError(f"{name} cannot be read as JSON ({first_line(error)}).") from error


def _refusal(name: str, problem: JsonProblemError, text: PlainText) -> DataError:
    advice = "" if ";" in str(problem) else "; mend the line"
    if advice and not _opens_a_value(text):
        advice = "; mend the line, or name the file .csv or .tsv where it is delimited text"
    return DataError(f"{name}: {problem}{advice}.")


def _opens_a_value(text: PlainText) -> bool:
    """Tell whether a file begins with an object or an array, as JSON does that holds a table."""
    with open(text.path, "rb") as file:
        file.seek(text.start)
        return file.read(_HEAD).lstrip()[:1] in (b"{", b"[", b"")


@contextmanager
def _database(text: PlainText) -> "Iterator[tuple[duckdb.DuckDBPyConnection, str]]":
    """Give a cursor of the database, and a path of the text that is no pattern to it."""
    with ExitStack() as stack:
        path = os.path.abspath(text.path)
        if not _ORDINARY.fullmatch(path):
            folder = stack.enter_context(scratch_folder("intake"))
            path = os.path.join(folder, "text.json")
            os.symlink(os.path.abspath(text.path), path)
        yield stack.enter_context(_memory(os.getpid()).cursor()), path


@lru_cache(maxsize=1)
def _memory(process: int) -> "duckdb.DuckDBPyConnection":
    """Return an empty database in memory, one for each process, since to open one takes a while."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.execute("SET memory_limit = '1GB'")
    connection.execute("SET temp_directory = ''")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    return connection


def _object_size(text: PlainText) -> int:
    return min(max(os.path.getsize(text.path), 1 << 24), VALUE_LIMIT)


def _keys(text: PlainText, arrangement: Arrangement, name: str) -> tuple[str, ...]:
    """Return all keys of the objects of a file, in order of appearance."""
    with _database(text) as (connection, path):
        found = connection.execute(
            "SELECT json_type(json), array_to_string(json_keys(json), chr(31)), len(json_keys(json)), "
            "min(number) "
            "FROM (SELECT json, row_number() OVER () AS number "
            "FROM read_json_objects($1, format = $2, maximum_object_size = $3)) GROUP BY ALL ORDER BY 4",
            [path, arrangement.value, _object_size(text)],
        )
        keys = dict[str, None]()
        while rows := found.fetchmany(1024):
            for kind, signature, count, _ in rows:
                names = signature.split(chr(31)) if count else []
                if count not in (None, len(names)) or "\0" in (signature or ""):
                    raise DataError(
                        f"{name} has a key with a control character (U+0000 or U+001F); rename it."
                    )
                if kind != "OBJECT" or len(set(names)) < len(names):
                    check(text.path, text.start, arrangement)
                keys.update(dict.fromkeys(filter(None, names)))
            if len(keys) > KEY_LIMIT:
                raise DataError(
                    f"the objects of {name} have over {KEY_LIMIT:,} different keys, such as "
                    f"{shown(next(reversed(keys)))}; make a field of values that stand as keys."
                )
    return tuple(keys)


def _has_trailing_comma(path: str) -> bool:
    """Tell whether a comma stands before a closing bracket, or at the end of the file: one cut off there."""
    before = last = b""
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            around, last = before + piece, piece.rstrip(_BEFORE_CLOSING.tobytes()[1:])[-1:] or last
            signs = np.frombuffer(around, np.uint8)
            closing = np.flatnonzero((signs[1:] | 0x20) == ord("}"))  # or "]"
            if np.isin(signs[closing], _BEFORE_CLOSING).any() and _TRAILING_COMMA.search(around):
                return True
            before = piece[-64:]
    return last == b","


def _refuse_columns(text: PlainText, arrangement: Arrangement, name: str) -> None:
    """Refuse one object that holds the table column by column, or within a field."""
    if arrangement is Arrangement.ARRAY or os.path.getsize(text.path) > VALUE_LIMIT:
        return
    first = list(islice(values(text.path, text.start, arrangement), 2))
    if len(first) != 1 or not isinstance(first[0][1], Members) or not first[0][1]:
        return
    if all(isinstance(value, Members | list) for _, value in first[0][1]):
        raise DataError(
            f"{name} is one object that holds the table in {shown(first[0][1][0][0])}; write one object for "
            "each row, as pandas does with to_json(path, orient='records', lines=True)."
        )


def _storage(array: "pa.Array") -> "pa.Array":
    """Return JSON of DuckDB as strings."""
    import pyarrow as pa

    plain = array.storage if isinstance(array, pa.ExtensionArray) else array
    return plain.cast(pa.string())
