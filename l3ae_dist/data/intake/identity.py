"""Identities of tables: the content of objects in memory; name, size and time of files."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from l3ae_dist.config.data import ColumnNames
from l3ae_dist.data.intake.column_hash import ColumnHash
from l3ae_dist.data.intake.files import cannot_open
from l3ae_dist.data.intake.locate import find_files
from l3ae_dist.data.intake.open_table import open_table, paths_of
from l3ae_dist.data.intake.parts import Part, Table
from l3ae_dist.data.intake.stamps import content_digest, stamps
from l3ae_dist.errors import DataError
from l3ae_dist.storage.fingerprint import fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

Identity: TypeAlias = "list[list[str | int | float]] | str | None"
"""A list with name, size and time of each file; or the hash of an object's content; None for no table."""


def identity(source: object, what: str, names: ColumnNames | None = None) -> Identity:
    """Return what identifies a table; files are not read, of objects in memory every value is.

    Only files of which neither a time nor a tag of their content is told are read, for a hash of it.

    The hash of an object's content depends on its values, its types and the order of its rows, and not on
    the pieces that it consists of.

    Parameters
    ----------
    source
        As :func:`l3ae_dist.data.intake.open_table.open_table` takes it; None for no table.
    what
        What messages call it.
    names
        Names of the columns of pairs, arrays and matrices in memory.
    """
    if source is None:
        return None
    paths = paths_of(source)
    if paths is None:
        return content_hash(open_table(source, what, names=names))
    return files_identity(paths)


def files_identity(paths: Sequence[str | os.PathLike[str]]) -> list[list[str | int | float]]:
    """List names, sizes and times (or tags) of the files behind paths, patterns, folders and URLs."""
    files = find_files(paths)
    return [[file.path, file.size, stamp] for file, stamp in zip(files, stamps(files), strict=True)]


def authors_identity(folder: str | Path) -> list[list[str | int | float]]:
    """List names, sizes and hashes of the pickles in the folder of the published code."""
    return [_pickle_identity(path) for path in sorted(Path(folder).glob("*.pkl"))]


def _pickle_identity(path: Path) -> list[str | int | float]:
    try:
        with path.open("rb") as stream:
            return [path.name, path.stat().st_size, content_digest(stream)]
    except OSError as error:
        raise cannot_open(str(path), error) from error


def content_hash(table: Table) -> str:
    """Return a hash of all values of a table, in order, whatever its parts and record batches.

    Columns that cannot be read, such as two of one name, cannot be used either, and are left out.
    """
    columns: dict[str, ColumnHash] = {}
    rows = 0
    for part in table.parts:
        for batch in _batches(part):
            for field, values in zip(batch.schema, batch.columns, strict=True):
                columns.setdefault(field.name, ColumnHash()).add(values, rows)
            rows += batch.num_rows
    return fingerprint([rows, [[name, column.digest()] for name, column in columns.items()]])


def _batches(part: Part) -> "Iterator[pa.RecordBatch]":
    counts = Counter(part.columns())
    names = [name for name, count in counts.items() if count == 1]
    try:
        batches = part.batches(names)
        first = list(islice(batches, 1))
    except DataError:
        some = [name for name in names if _can_be_read(part, name)]
        if not some or some == names:
            raise
        batches, first = part.batches(some), []
    yield from first
    yield from batches


def _can_be_read(part: Part, name: str) -> bool:
    try:
        next(iter(part.batches([name])), None)
    except DataError:
        return False
    return True
