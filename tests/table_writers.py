"""One table in every format and layout that people have: files of text, binary files and objects."""

import bz2
import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq

Row = dict[str, object]


@dataclass(frozen=True)
class TextFormat:
    """A form of text files.

    Parameters
    ----------
    suffix
        Ending of the file's name.
    separator
        Between two fields.
    quoted
        Whether fields with a separator, a quote or a line end stand in quotes; else they cannot be written.
    types
        Whether the header says types, as RecBole's does.
    end
        Of each line.
    encoding
        Codec of Python.
    """

    suffix: str
    separator: str = ","
    quoted: bool = True
    types: bool = False
    end: str = "\n"
    encoding: str = "utf-8"

    def can_hold(self, rows: Sequence[Row]) -> bool:
        """Tell whether the values can be written without being changed."""
        texts = ["" if value is None else str(value) for row in rows for value in row.values()]
        if self.encoding == "cp1252" and not all(map(tells_cp1252, texts)):
            return False
        if self.quoted:
            return True
        bad = set("\r\n") | set(self.separator)
        return not any(bad & set(text) for text in texts)

    def encode(self, columns: Sequence[str], rows: Sequence[Row]) -> bytes:
        """Return the file's bytes."""
        names = [f"{name}:token" for name in columns] if self.types else list(columns)
        lines = [names, *([("" if row[name] is None else row[name]) for name in columns] for row in rows)]
        if not self.quoted:
            text = "".join(self.separator.join(map(str, line)) + self.end for line in lines)
            return text.encode(self.encoding)
        file = io.StringIO(newline="")
        # the module leaves a lone carriage return without quotes
        lone = any("\r" in value for line in lines for value in line if isinstance(value, str))
        quoting = csv.QUOTE_ALL if lone else csv.QUOTE_MINIMAL
        csv.writer(file, delimiter=self.separator, lineterminator=self.end, quoting=quoting).writerows(lines)
        return file.getvalue().encode(self.encoding)


def tells_cp1252(text: str) -> bool:
    """Tell whether the bytes of a text in Windows-1252 can be nothing else; those of some are UTF-8 too."""
    return all(letter.isascii() or letter in "éÜï" for letter in text)


@dataclass(frozen=True)
class JsonFormat:
    """Objects in lines, or in one array."""

    suffix: str = ".jsonl"
    array: bool = False
    indent: int | None = None
    encoding: str = "utf-8"
    sparse: bool = False

    def can_hold(self, rows: Sequence[Row]) -> bool:
        """Tell that any value can be written."""
        return True

    def encode(self, columns: Sequence[str], rows: Sequence[Row]) -> bytes:
        """Return the file's bytes; what is None is left out or null."""
        objects = [{name: row[name] for name in columns} for row in rows]
        if self.sparse:
            objects = [{name: value for name, value in row.items() if value is not None} for row in objects]
        ascii_only = self.encoding == "ascii"
        if self.array:
            return json.dumps(objects, indent=self.indent, ensure_ascii=ascii_only).encode(self.encoding)
        lines = [json.dumps(row, ensure_ascii=ascii_only) for row in objects]
        return "".join(line + "\n" for line in lines).encode(self.encoding)


@dataclass(frozen=True)
class BinaryFormat:
    """Parquet, or Arrow's own files."""

    suffix: str
    write: Callable[[pa.Table, Path], None]

    def can_hold(self, rows: Sequence[Row]) -> bool:
        """Tell that any value can be written."""
        return True


def arrow_table(columns: Sequence[str], rows: Sequence[Row]) -> pa.Table:
    """Return rows as Arrow columns, whose types their values tell."""
    return pa.table({name: pa.array([row[name] for row in rows]) for name in columns})


def write_stream(table: pa.Table, path: Path) -> None:
    """Write Arrow's stream format."""
    with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


FORMATS = {
    "csv": TextFormat(".csv"),
    "csv crlf": TextFormat(".csv", end="\r\n"),
    "csv marked": TextFormat(".csv", encoding="utf-8-sig"),
    "csv cp1252": TextFormat(".csv", encoding="cp1252"),
    "csv utf-16": TextFormat(".csv", encoding="utf-16"),
    "semicolons": TextFormat(".csv", ";"),
    "bars": TextFormat(".csv", "|"),
    "tsv": TextFormat(".tsv", "\t", quoted=False),
    "txt": TextFormat(".txt", "\t", quoted=False, end="\r\n"),
    "colons": TextFormat(".dat", "::", quoted=False),
    "recbole": TextFormat(".inter", "\t", quoted=False, types=True),
    "jsonl": JsonFormat(),
    "jsonl sparse": JsonFormat(sparse=True),
    "jsonl ascii": JsonFormat(".ndjson", encoding="ascii"),
    "jsonl utf-16": JsonFormat(encoding="utf-16"),
    "json": JsonFormat(".json", array=True),
    "json indented": JsonFormat(".json", array=True, indent=1),
    "parquet": BinaryFormat(".parquet", lambda table, path: pq.write_table(table, path, row_group_size=3)),
    "parquet v1": BinaryFormat(
        ".pq", lambda table, path: pq.write_table(table, path, compression="gzip", version="1.0")
    ),
    "feather": BinaryFormat(
        ".feather", lambda table, path: pyarrow.feather.write_feather(table, str(path), chunksize=4)
    ),
    "arrow": BinaryFormat(
        ".arrow", lambda table, path: pyarrow.feather.write_feather(table, str(path), "lz4")
    ),
    "stream": BinaryFormat(".arrow", write_stream),
}


def compressed(data: bytes, suffix: str, name: str = "log.csv") -> bytes:
    """Return data as ``.gz``, ``.bz2``, ``.zip`` or ``.zst`` holds them; unchanged without a suffix."""
    if suffix == ".gz":
        return gzip.compress(data, 1)
    if suffix == ".bz2":
        return bz2.compress(data)
    if suffix == ".zst":
        buffer = pa.BufferOutputStream()
        with pa.CompressedOutputStream(buffer, "zstd") as stream:
            stream.write(data)
        return buffer.getvalue().to_pybytes()
    if suffix == ".zip":
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, data)
        return sink.getvalue()
    return data


COMPRESSIONS = ("", ".gz", ".bz2", ".zip", ".zst")


def write_table(path: Path, kind: str, columns: Sequence[str], rows: Sequence[Row], suffix: str = "") -> Path:
    """Write a table at ``path`` plus the ending of its format; text may be compressed."""
    form = FORMATS[kind]
    path = path.with_name(path.name + form.suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(form, BinaryFormat):
        form.write(arrow_table(columns, rows), path)
        return path
    data = form.encode(columns, rows)
    target = path.with_name(path.name + suffix)
    target.write_bytes(compressed(data, suffix, path.name))
    return target


def _pandas(columns: Sequence[str], rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame({name: [row[name] for row in rows] for name in columns})


OBJECTS: dict[str, Callable[[Sequence[str], Sequence[Row]], object]] = {
    "pandas": _pandas,
    "pandas of arrow": lambda columns, rows: arrow_table(columns, rows).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda columns, rows: pl.from_arrow(arrow_table(columns, rows)),
    "arrow table": arrow_table,
    "arrow chunks": lambda columns, rows: pa.concat_tables(
        [arrow_table(columns, rows).slice(at, 2) for at in range(0, max(len(rows), 1), 2)]
    ),
    "dask": lambda columns, rows: dd.from_pandas(_pandas(columns, rows), npartitions=2, sort=False),
    "indexed": lambda columns, rows: _pandas(columns, rows).set_index(columns[0]),
}
