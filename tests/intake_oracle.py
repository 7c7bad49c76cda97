"""The rows of a damaged file as readers of others give them: csv, json, pyarrow's; or why it has none.

The rules beside those of these readers are the documented ones. Text is UTF-8, or what a byte order mark says, or
Windows-1252; quotes count in files separated by ``,``, ``;`` and ``|``, and elsewhere where each name of the header
stands in them; empty lines are no rows; each row has as many fields as the header.
"""

import bz2
import codecs
import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq

NEEDED = ("user_id", "item_id")
SEPARATORS = (",", ";", "\t", "|", "::")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True)
class Rows:
    """Names of the columns, and a mapping for each row."""

    columns: tuple[str, ...]
    rows: list[dict[str, object]]


@dataclass(frozen=True)
class Refused:
    """Why there are no rows.

    Parameters
    ----------
    reason
        A word.
    lines
        First and last line that the reason may be said to be in; None where no line is to blame.
    """

    reason: str
    lines: tuple[int, int] | None = None


Answer = Rows | Refused


class NotTheFormat(ValueError):
    """Raised inside for what is no file of the format."""


def decompress(data: bytes, compression: str) -> bytes:
    """Return the bytes that a suffix such as ``.gz`` says are compressed."""
    try:
        match compression:
            case ".gz":
                return gzip.decompress(data)
            case ".bz2":
                return bz2.open(io.BytesIO(data)).read()
            case ".zst":
                return pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()
            case ".zip":
                with zipfile.ZipFile(io.BytesIO(data)) as archive:
                    (name,) = [one for one in archive.namelist() if not one.endswith("/")]
                    return archive.read(name)
    except (
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        NotImplementedError,
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        raise NotTheFormat("compression") from error
    return data


def texts(data: bytes, encoding: str | None) -> Iterator[str]:
    """Yield the texts that bytes may be."""
    if encoding is not None:
        codec = codecs.lookup(encoding).name
        marks = [mark for mark, of in _MARKS if of == codec and data.startswith(mark)]
        yield from _decoded(data[len(marks[0]) if marks else 0 :], codec)
        return
    for mark, codec in _MARKS:
        if data.startswith(mark):
            yield from _decoded(data[len(mark) :], codec)
            return
    if b"\0" in data:
        for codec in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
            yield from _decoded(data, codec)
    try:
        yield data.decode()
    except UnicodeDecodeError:
        yield from _decoded(data, "cp1252")
        yield data.decode("latin-1")


def _decoded(data: bytes, codec: str) -> Iterator[str]:
    try:
        yield data.decode(codec)
    except UnicodeDecodeError:
        return


def delimited(text: str, separator: str, quoting: str | None, typed: bool) -> Answer:
    """Read a text file by the csv module in strict mode."""
    csv.field_size_limit(1 << 30)
    start, skipped = re.match(r"[\r\n]*", text).group(), 0
    text, skipped = text[len(start) :], len(io.StringIO(start, newline="").readlines())
    if not text.strip("\ufeff \r\n"):
        return Refused("empty")
    sign = separator if len(separator) == 1 else next(chr(i) for i in range(31, 0, -1) if chr(i) not in text)
    lines = io.StringIO(text.replace(separator, sign), newline="")
    if quoting is None:
        first = lines.readline().strip("\r\n").split(sign)
        lines.seek(0)
        quoted = separator in ",;|" or all(
            len(one.strip()) > 1 and one.strip()[0] == one.strip()[-1] == '"' for one in first
        )
        quoting = "minimal" if quoted else "none"
    mode = csv.QUOTE_MINIMAL if quoting == "minimal" else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=sign, quoting=mode, strict=True)
    found, places = [], []
    before = 0
    try:
        for row in reader:
            if row:
                found.append([one.replace(sign, separator) for one in row])
                places.append((before + 1 + skipped, reader.line_num + skipped))
            before = reader.line_num
    except csv.Error:
        return Refused("quote", (before + 1 + skipped, 1 << 60))
    names = [_name(one) for one in found[0]]
    if typed and all(re.fullmatch(r".*:(token|token_seq|float|float_seq)", one) for one in names):
        names = [one.rpartition(":")[0] for one in names]
    if not set(NEEDED) <= set(names):
        return Refused("header")
    if len(found) > 1:  # where a part with a header alone stands before one with a mark
        found[1][0] = found[1][0].removeprefix("\ufeff")
    return _with_names(names, found[1:], places[1:])


def _name(field: str) -> str:
    """A name of the header without white space and quotes around it."""
    field = field.strip("\ufeff \t")
    quoted = len(field) > 1 and field[0] == field[-1] == '"'
    return field[1:-1].replace('""', '"').strip() if quoted else field


def _with_names(names: list[str], found: list[list[str]], places: list[tuple[int, int]]) -> Answer:
    """Rows as mappings; each row may have an empty field at its end that the header has not, or the reverse."""
    first = len(found[0]) if found else len(names)
    if first == len(names) + 1 and not found[0][-1]:
        width = first if 2 * sum(len(row) == first for row in found[:100]) > len(found[:100]) else len(names)
    elif first == len(names) - 1 and not names[-1]:
        names, width = names[:-1], first
    else:
        width = len(names)
    for row, place in zip(found, places, strict=True):
        if len(row) != width or (width > len(names) and row[-1]):
            return Refused("fields", place)
    wanted = {name: names.index(name) for name in names if name}
    return Rows(tuple(wanted), [{name: row[i] for name, i in wanted.items()} for row in found])


def json_objects(text: str) -> Answer:
    """Read objects in lines, in an array, or one after the other."""
    answers = []
    if not text.strip():
        return Refused("empty")
    if text.lstrip(" \t\r\n")[0] == "[":
        try:
            answers.append(_objects([(0, _strict(text))]))
        except ValueError:
            return Refused("json", (1, 1 << 60))
        return answers[0]
    values: list[tuple[int, object]] = []
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        if line.strip(" \t"):
            try:
                values.append((number, _strict(line)))
            except (ValueError, RecursionError):
                return _one_after_the_other(text, number)
    return _objects(values)


def _strict(text: str) -> object:
    def refuse(word: str) -> None:
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


def _one_after_the_other(text: str, line: int) -> Answer:
    """Objects that do not end where lines do."""
    decoder, at, values = json.JSONDecoder(parse_constant=lambda word: 1 / 0), 0, []
    try:
        while at < len(text):
            at = re.compile(r"[ \t\r\n]*").match(text, at).end()
            if at < len(text):
                value, at = decoder.raw_decode(text, at)
                values.append((line, value))
    except (ValueError, ZeroDivisionError, RecursionError):
        return Refused("json", (line, 1 << 60))
    return _objects(values)


def _objects(values: list[tuple[int, object]]) -> Answer:
    if len(values) == 1 and isinstance(values[0][1], list):
        values = [(0, one) for one in values[0][1]]
    for line, value in values:
        if not isinstance(value, dict):
            return Refused("no object", (line, line) if line else (1, 1 << 60))
    # a key without a name is no column, as a field of a header without one is none
    columns = tuple(dict.fromkeys(name for _, row in values for name in row if name))
    if not values:
        return Refused("empty")
    if not set(NEEDED) <= set(columns):
        return Refused("header")
    return Rows(columns, [{name: row.get(name) for name in columns} for _, row in values])


def _arrow(path: str) -> pa.Table:
    with open(path, "rb") as file:
        if file.read(6) == b"ARROW1":
            return pyarrow.feather.read_table(path, memory_map=False)
        file.seek(0)
        return pyarrow.ipc.open_stream(file).read_all()


def binary(path: str, suffix: str) -> Answer:
    """Read Parquet, Feather or Arrow by pyarrow."""
    try:
        table = pq.read_table(path) if suffix in (".parquet", ".pq") else _arrow(path)
        table.validate(full=True)
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError):
        return Refused("binary")
    if not set(NEEDED) <= set(table.column_names):
        return Refused("header")
    return Rows(tuple(table.column_names), rows)


def answers(path: str, data: bytes, suffix: str, compression: str, options: dict[str, str]) -> list[Answer]:
    """Return what readers of others make of a file: one answer for each way it may be written.

    Parameters
    ----------
    path, data
        The file and its bytes.
    suffix, compression
        Endings of its name: ``.csv`` and ``.gz``.
    options
        separator, quoting and encoding where they are named.
    """
    if suffix in (".parquet", ".pq", ".feather", ".arrow"):
        return [binary(path, suffix)]
    try:
        plain = decompress(data, compression)
    except NotTheFormat:
        return [Refused("compression")]
    found: list[Answer] = []
    for text in texts(plain, options.get("encoding")):
        if suffix in (".jsonl", ".json", ".ndjson"):
            found.append(json_objects(text.removeprefix("\ufeff")))
            continue
        text = text.removeprefix("\ufeff")
        for separator in [options["separator"]] if "separator" in options else SEPARATORS:
            found.append(delimited(text, separator, options.get("quoting"), suffix == ".inter"))
    return found or [Refused("encoding", (1, 1 << 60))]
