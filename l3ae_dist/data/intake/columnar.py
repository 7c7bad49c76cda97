"""Parquet and Arrow files in parts of some row groups or record batches; only wanted columns are read."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.config.data import TextOptions
from l3ae_dist.data.intake.files import FilePart, Format, SourceFile, cannot_open, first_line, shortened
from l3ae_dist.errors import DataError, L3AEError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_PART_BYTES = 96 << 20
_PART_ROWS = 4_000_000
_BATCH_BYTES = 16 << 20
_BATCH_ROWS = 131_072
_BUFFER = 4 << 20
_MAPPED_BYTES = 16 << 20
_READERS = 8
_ARROW_FILE = b"ARROW1"
_END = b"\xff\xff\xff\xff\0\0\0\0"


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """Some row groups of a Parquet file.

    Parameters
    ----------
    file
        The file.
    groups
        Numbers of the row groups, in order.
    rows
        Number of rows.
    size
        Bytes of all columns, decompressed.
    names
        Names of the columns.
    """

    file: SourceFile
    groups: tuple[int, ...]
    rows: int
    size: int
    names: tuple[str, ...]

    @property
    def origin(self) -> str:
        """The file."""
        return self.file.name

    def columns(self) -> tuple[str, ...]:
        """Return the names of its columns."""
        return self.names

    def batches(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Yield some columns in record batches."""
        _refuse_repeated(self.file, self.names, columns)
        with _opened_parquet(self.file, self.size) as opened:
            batches = opened.iter_batches(
                self._batch_rows(), row_groups=list(self.groups), columns=list(columns), use_threads=False
            )
            read = 0
            for batch in batches:
                read += batch.num_rows
                yield _checked(batch.select(list(columns)))
        if columns and read != self.rows:  # a damaged page header: the reader takes what is there for all
            raise DataError(
                f"{self.file.name} holds {read} of the {self.rows} rows that it tells of; it is damaged: "
                "write or copy it again."
            )

    def _batch_rows(self) -> int:
        row = max(self.size // max(self.rows, 1), 1)
        return max(min(_BATCH_BYTES // row, _BATCH_ROWS), 1024)


@dataclass(frozen=True, slots=True)
class ArrowPart:
    """Some record batches of an Arrow file, or all of an Arrow stream.

    Parameters
    ----------
    file
        The file.
    numbers
        Numbers of the record batches; None for all of a stream.
    size
        Bytes that they take in the file, about.
    names
        Names of the columns.
    """

    file: SourceFile
    numbers: tuple[int, ...] | None
    size: int
    names: tuple[str, ...]

    @property
    def origin(self) -> str:
        """The file."""
        return self.file.name

    @property
    def rows(self) -> int | None:
        """Not known before they are read."""
        return None

    def columns(self) -> tuple[str, ...]:
        """Return the names of its columns."""
        return self.names

    def batches(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Yield some columns in record batches."""
        import pyarrow as pa

        _refuse_repeated(self.file, self.names, columns)
        # What is mapped counts as memory of the process, but for large record batches it is less than a copy;
        # of fields that are chosen the reader makes one anyway.
        mapped = self.size > _MAPPED_BYTES * len(self.numbers) if self.numbers else False
        chosen = [] if mapped else sorted(self.names.index(name) for name in columns)
        options = pa.ipc.IpcReadOptions(included_fields=chosen, use_threads=False)
        with _said_by(self.file), _native(self.file, mapped=mapped) as source:
            if self.numbers is None:
                batches: Iterator[pa.RecordBatch] = iter(pa.ipc.open_stream(source, options=options))
            else:
                reader = pa.ipc.open_file(source, options=options)
                batches = (reader.get_batch(number) for number in self.numbers)
            for batch in batches:
                checked = _checked(batch.select(list(columns)))
                for start in range(0, checked.num_rows, _BATCH_ROWS):
                    yield checked.slice(start, _BATCH_ROWS)


def columnar_parts(
    files: Sequence[SourceFile], what: str, options: TextOptions
) -> tuple[list[FilePart], list[str]]:
    """Open Parquet and Arrow files, in parts of about 100 MiB or four million rows; a stream is one part.

    Parameters
    ----------
    files
        The files.
    what
        What messages call the table.
    options
        Those of text files; of no use here.

    Raises
    ------
    DataError
        For a file that is cut off or damaged, with the cause.
    """
    if all(file.local for file in files):
        return [part for file in files for part in _parts(file)], []
    with ThreadPoolExecutor(_READERS) as pool:
        return [part for of_file in pool.map(_parts, files) for part in of_file], []


def _parts(file: SourceFile) -> list[FilePart]:
    return _parquet_parts(file) if file.format is Format.PARQUET else _arrow_parts(file)


def _parquet_parts(file: SourceFile) -> list[FilePart]:
    with _opened_parquet(file) as opened:
        names = tuple(opened.schema_arrow.names)
        groups = [opened.metadata.row_group(number) for number in range(opened.metadata.num_row_groups)]
    rows = [max(group.num_rows, 0) for group in groups]
    sizes = [max(group.total_byte_size, 0) for group in groups]
    return [
        ParquetPart(file, some, sum(rows[k] for k in some), sum(sizes[k] for k in some), names)
        for some in _even_runs(sizes, max(sum(rows) / _PART_ROWS, sum(sizes) / _PART_BYTES)) or [()]
    ]


def _even_runs(sizes: Sequence[int], pieces: float) -> list[tuple[int, ...]]:
    """Divide the numbers of row groups into about as many runs as wanted, of about the same size."""
    count = min(max(math.ceil(pieces), 1), len(sizes))
    ends = np.cumsum(sizes, dtype=float) - np.asarray(sizes) / 2
    run = np.minimum(ends * count // max(sum(sizes), 1), count - 1)
    return [tuple(np.flatnonzero(run == number).tolist()) for number in np.unique(run)]


def _arrow_parts(file: SourceFile) -> list[FilePart]:
    import pyarrow as pa

    with _said_by(file), _native(file, mapped=True) as source:
        if source.read(len(_ARROW_FILE)) != _ARROW_FILE:
            source.seek(0)
            schema = pa.ipc.open_stream(source).schema
            _refuse_without_end(file, source)
            return [ArrowPart(file, None, file.size, tuple(schema.names))]
        reader = pa.ipc.open_file(source)
        count, names = reader.num_record_batches, tuple(reader.schema.names)
    pieces = max(min(-(-file.size // _PART_BYTES), count), 1)
    bounds = [count * piece // pieces for piece in range(pieces + 1)]
    return [
        ArrowPart(file, tuple(range(first, last)), file.size // pieces, names)
        for first, last in pairwise(bounds)
    ]


def _refuse_without_end(file: SourceFile, source: "pa.NativeFile") -> None:
    """Raise where a stream lacks its last mark: readers would take what is there for all."""
    source.seek(max(source.size() - len(_END), 0))
    if source.read() != _END:
        raise DataError(f"{file.name} is cut off: it has no end of an Arrow stream; write or copy it again.")


@contextmanager
def _opened_parquet(file: SourceFile, size: int = 0) -> "Iterator[pq.ParquetFile]":
    """Open a Parquet file of which row groups of ``size`` bytes are read."""
    import pyarrow.parquet as pq

    # column chunks are read through a buffer; remote ones at once, unless they are large
    at_once = not file.local and size <= 2 * _PART_BYTES
    with _said_by(file), _native(file) as source:
        yield pq.ParquetFile(
            source,
            buffer_size=0 if at_once else _BUFFER,
            pre_buffer=at_once,
            page_checksum_verification=True,
            coerce_int96_timestamp_unit="us",  # as Spark writes them; in ns, the year 9999 is 1816
        )


@contextmanager
def _native(file: SourceFile, *, mapped: bool = False) -> "Iterator[pa.NativeFile]":
    """Open the bytes of a file for Arrow."""
    import pyarrow as pa

    if file.local:
        with pa.memory_map(file.path) if mapped else pa.OSFile(file.path, "rb") as source:
            yield source
    else:
        with file.seekable() as opened, pa.PythonFile(opened, "r") as source:
            yield source


@contextmanager
def _said_by(file: SourceFile) -> Iterator[None]:
    """Raise what a reader says of a file as one sentence with the file's name."""
    try:
        yield
    except L3AEError:
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise cannot_open(file.path, error) from error
    except Exception as error:
        raise DataError(_sentence(file, error)) from error


def _sentence(file: SourceFile, error: Exception) -> str:
    said = first_line(error)
    if "magic bytes not found in footer" in said or "smaller than the minimum file footer" in said:
        return f"{file.name} is cut off: it does not end as a Parquet file does; write or copy it again."
    return f"{file.name} cannot be read as {file.format} ({said}); write or copy it again."


def _checked(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """Return a batch whose offsets and texts are valid: damaged ones would crash whoever uses them."""
    batch.validate(full=True)
    return batch


def _refuse_repeated(file: SourceFile, names: Sequence[str], columns: Sequence[str]) -> None:
    for column in columns:
        if names.count(column) > 1:
            raise DataError(
                f"{file.name} has {names.count(column)} columns {shortened(column)!r}; rename all but one."
            )
