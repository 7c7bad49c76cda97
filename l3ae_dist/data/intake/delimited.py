"""Delimited text files as parts of a table: CSV, TSV and their relatives.

Every field is read as it is written (:attr:`~l3ae_dist.data.intake.parts.Form.WRITTEN`). Rows end in ``\\n``,
``\\r\\n`` or ``\\r``, also mixed; the last one needs no end. Empty lines are left out, a line of spaces is a
row of one field. A file without any text is no part at all; one with a header alone is a part without rows.
NUL bytes, rows of more than 64 MiB, and rows with more or fewer fields than the header are refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from l3ae_dist.config.data import TextOptions
from l3ae_dist.data.intake.csv_rows import Rows
from l3ae_dist.data.intake.decompress import text_name
from l3ae_dist.data.intake.dialect import HEAD, Layout, layout_of
from l3ae_dist.data.intake.encodings import Encoding
from l3ae_dist.data.intake.files import SourceFile
from l3ae_dist.data.intake.prepare import (
    Opening,
    PlainText,
    changed_at,
    is_plain,
    once_settled,
    opening,
    plain_text,
)
from l3ae_dist.data.intake.row_scan import Cut, RowScan, scan_rows
from l3ae_dist.errors import DataError
from l3ae_dist.messages import named, shown
from l3ae_dist.units import human_bytes

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class DelimitedPart:
    """A delimited text file, or a piece of one between two line ends.

    Parameters
    ----------
    file
        The file.
    encoding
        Its encoding.
    layout
        Form of its rows.
    scan
        Facts about its rows, whose first and last cut bound the piece; None for a file that is copied first,
        and scanned then.
    changed
        Time of the last change of a local file, in nanoseconds: it must not change before it is read.
    """

    file: SourceFile
    encoding: Encoding
    layout: Layout
    scan: RowScan | None = None
    changed: int = 0

    @property
    def origin(self) -> str:
        """Name of the file for messages."""
        return self.file.name

    @property
    def size(self) -> int:
        """Bytes of the piece, as they are stored."""
        if self.scan is None:
            return self.file.size
        return self.scan.cuts[-1].offset - self.scan.cuts[0].offset

    @property
    def rows(self) -> int | None:
        """None: rows are counted when they are read."""
        return None

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns that have one, in their order."""
        return self.layout.dialect.columns

    def batches(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Yield some of its columns, as they are written.

        Parameters
        ----------
        columns
            Names of columns.

        Raises
        ------
        DataError
            For columns that the header names twice or not at all, and for what cannot be read.
        """
        self._check_columns(columns)
        with plain_text(self.file, self.encoding) as text:
            yield from self._rows(text).batches(columns)

    def _rows(self, text: PlainText) -> Rows:
        dialect = self.layout.dialect
        scan = self.scan
        if scan is None:
            scan = scan_rows(text.path, _beginning(text, self.layout), dialect, self.file.name)
        elif changed_at(self.file) != self.changed:
            raise DataError(f"{self.file.name} was changed while it was read; start again.")
        begin, end = scan.cuts[0], scan.cuts[-1]
        return Rows(text.path, begin, end, dialect, scan.longest, scan.sign, scan.regular, self.file.name)

    def _check_columns(self, columns: Sequence[str]) -> None:
        names = self.layout.dialect.names
        for column in columns:
            if names.count(column) != 1:
                count = f"{names.count(column)} columns" if column in names else "no column"
                raise DataError(
                    f"{self.file.name} has {count} {shown(column)} among {named(names)}; mend its header, or "
                    "name its columns with the option column_names."
                )


def delimited_parts(
    files: Sequence[SourceFile], what: str, options: TextOptions
) -> tuple[tuple[DelimitedPart, ...], tuple[str, ...]]:
    """Return the parts of delimited text files, and sentences on what was decided about them.

    Files that are local and not compressed are read once to see their encoding and their quotes; large ones
    become several parts, each of about 256 MiB. Of all others the first 4 MiB are looked at.

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
    parts, notes = list[DelimitedPart](), list[str]()
    for file in files:
        found = _parts(file, options)
        parts.extend(found)
        notes.extend(one.encoding.note for one in found[:1] if one.encoding.note)
    return tuple(parts), tuple(notes)


@once_settled
def _parts(file: SourceFile, options: TextOptions, changed: int) -> tuple[DelimitedPart, ...]:
    """Return the parts of a file; it is looked at once for as long as it does not change."""
    seen = opening(file, options.encoding)
    layout = layout_of(_whole_lines(seen, file.name), file.name, text_name(file), options)
    if layout is None:
        return ()
    encoding = seen.encoding
    if not (is_plain(file) and encoding.codec == "utf-8"):
        return (DelimitedPart(file, encoding, layout),)
    text = PlainText(file.path, encoding.mark)
    scan = scan_rows(file.path, _beginning(text, layout), layout.dialect, file.name)
    pieces = (replace(scan, cuts=bounds) for bounds in pairwise(scan.cuts))
    return tuple(DelimitedPart(file, encoding, layout, piece, changed) for piece in pieces)


def _whole_lines(seen: Opening, name: str) -> str:
    """Return the beginning of a text, without a last line that is cut off.

    Raises
    ------
    DataError
        When not even the first line is whole.
    """
    text = seen.text(HEAD)
    if seen.complete and len(seen.head) <= HEAD:
        return text
    end = max(text.rfind("\n"), text.rfind("\r"))
    if not text[: end + 1].strip("\ufeff \r\n"):
        raise DataError(
            f"{name} has over {human_bytes(HEAD)} in line 1, more than a header may have; see that it is a "
            "table with line ends, and which encoding it has."
        )
    return text[: end + 1]


def _beginning(text: PlainText, layout: Layout) -> Cut:
    return Cut(text.start + layout.start, layout.line)
