"""From whatever a user hands over to a table of parts."""

import os
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import TypeAlias

from l3ae_dist.config.data import ColumnNames, TextOptions
from l3ae_dist.data.intake.files import FilePart, Format, SourceFile, shortened
from l3ae_dist.data.intake.folder_keys import with_keys
from l3ae_dist.data.intake.locate import locate
from l3ae_dist.data.intake.parts import Part, Table
from l3ae_dist.errors import DataError
from l3ae_dist.storage.credentials import without_secrets

Reader: TypeAlias = Callable[
    [Sequence[SourceFile], str, TextOptions], tuple[Sequence[FilePart], Sequence[str]]
]
"""Opens files of one format: their parts, in order, and notes."""
_SHOWN = 12
_OF_THIS_PROCESS = "memory://"
# Columns that are compared with a missing one, and how alike two names are that may be meant.
_COMPARED, _ALIKE = 1000, 0.75


def open_table(
    source: object, what: str, options: TextOptions | None = None, names: ColumnNames | None = None
) -> Table:
    """Open a table; no row is read.

    Parameters
    ----------
    source
        Path, pattern, folder or fsspec URL, or a list of these; or an object in memory, as
        :func:`l3ae_dist.data.intake.objects.table_of_object` takes it.
    what
        What messages call it, such as ``"interactions"``.
    options
        How text files are read where guessing is wrong.
    names
        Names of the columns of pairs, arrays and matrices in memory.

    Raises
    ------
    DataError
        For what is no table, or cannot be found or opened.
    ConfigError
        For a URL that carries credentials or a signature.
    """
    paths = paths_of(source)
    if paths is None:
        from l3ae_dist.data.intake.objects import table_of_object

        return table_of_object(source, what, names)
    located = locate(paths)
    parts, notes = _parts(located.files, what, options or TextOptions())
    columns = dict.fromkeys(name for part in parts for name in part.columns())
    shared = not any(file.path.startswith(_OF_THIS_PROCESS) for file in located.files)
    place = shortened(without_secrets(str(paths[0]))) + (" and others" if len(paths) > 1 else "")
    said = (*located.notes, *notes)
    return Table(what, tuple(parts), tuple(columns), shared, len(located.files), said, place)


def paths_of(source: object) -> list[str | os.PathLike[str]] | None:
    """Return the paths and URLs that a source consists of; None for an object in memory.

    Raises
    ------
    DataError
        For an open file, which has been read to who knows where.
    """
    if isinstance(source, str | os.PathLike):
        return [source]
    if isinstance(source, bytes):
        return [os.fsdecode(source)]
    if (
        isinstance(source, list | tuple)
        and source
        and all(isinstance(one, str | os.PathLike) for one in source)
    ):
        return list(source)
    if hasattr(source, "read") and hasattr(source, "seek"):
        raise DataError(f"an open file ({type(source).__name__}) is no table; hand over its path.")
    return None


def require_columns(table: Table, names: Sequence[str], advice: str) -> None:
    """Raise :class:`DataError` where a table, or one of its parts with rows, lacks a column.

    Parameters
    ----------
    table
        The table.
    names
        Names of the columns that are needed.
    advice
        What to do, such as ``"set user_column"``.
    """
    if not table.columns:
        raise table.without_rows()
    for name in names:
        if name not in table.columns:
            raise DataError(
                f"the {table.what} have no column {shortened(name)!r}; they have "
                f"{columns_there([name], table.columns)}{f' in {table.place}' if table.place else ''}; "
                f"{advice}{_advice_on_text(table)}."
            )
        for part in table.parts:
            if part.rows != 0 and part.columns() and name not in part.columns():
                raise DataError(
                    f"{part.origin} has no column {shortened(name)!r}, which other parts of the {table.what} "
                    f"have; it has {columns_there([name], part.columns())}; {advice}, or leave the file out."
                )


def _advice_on_text(table: Table) -> str:
    """Name the option that mends a delimited file whose header was misread."""
    files = [getattr(part, "file", None) for part in table.parts[:1]]
    if not any(isinstance(file, SourceFile) and file.format is Format.DELIMITED for file in files):
        return ""
    if len(table.columns) == 1:
        return ", or set the option separator if its fields were not split"
    named = any("id" in column.lower() for column in table.columns)
    return "" if named else ", or set the option column_names if the file has no header"


def columns_there(missing: Sequence[str], columns: Sequence[str]) -> str:
    """List the columns of a table for a message, with those that are spelled nearly as a missing one.

    >>> columns_there(["item_id"], ["ItemID", "text"])
    "ItemID, text (did you mean 'ItemID'?)"
    """
    plain: dict[str, str] = {}
    for column in columns[:_COMPARED]:
        plain.setdefault(_plain_name(column), column)
    found = [get_close_matches(_plain_name(name), plain, 1, _ALIKE) for name in missing]
    near = [repr(shortened(plain[name], 40)) for names in found for name in names]
    return _some(columns) + (f" (did you mean {', '.join(near[:2])}?)" if near else "")


def _plain_name(column: str) -> str:
    """Return the letters and digits of a name in lower case."""
    return "".join(filter(str.isalnum, column[:100].casefold()))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(shortened(name, 40) for name in names[:_SHOWN])
    return shortened(shown, 160) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _parts(files: Sequence[SourceFile], what: str, options: TextOptions) -> tuple[list[Part], list[str]]:
    """Open the files of each format, and put the parts into the order of the files."""
    order = {file.path: number for number, file in enumerate(files)}
    parts: list[FilePart] = []
    notes: list[str] = []
    for kind in dict.fromkeys(file.format for file in files):
        some = [file for file in files if file.format is kind and not file.is_empty]
        if some:
            opened, more = _reader(kind)(some, what, options)
            parts += opened
            notes += more
    parts.sort(key=lambda part: order[part.file.path])
    return [with_keys(part, part.file.keys) for part in parts], notes


def _reader(kind: Format) -> Reader:
    """Return the reader of a format; those of text load DuckDB, and so only where there is text."""
    match kind:
        case Format.PARQUET | Format.ARROW:
            from l3ae_dist.data.intake.columnar import columnar_parts

            return columnar_parts
        case Format.JSON:
            from l3ae_dist.data.intake.json_lines import json_parts

            return json_parts
    from l3ae_dist.data.intake.delimited import delimited_parts

    return delimited_parts
