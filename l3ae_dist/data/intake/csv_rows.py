"""Rows of a delimited text file: by pyarrow where it is regular, by the strict reader of Python elsewhere."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l3ae_dist.data.intake.decompress import PIECE
from l3ae_dist.data.intake.dialect import Dialect, strict_reader
from l3ae_dist.data.intake.parts import Form, in_form
from l3ae_dist.data.intake.row_scan import Cut
from l3ae_dist.errors import DataError
from l3ae_dist.messages import shown

if TYPE_CHECKING:
    import pyarrow as pa

_SPACED = re.compile(r' +".*" *', re.DOTALL)
_BATCH_ROWS = 1 << 16
_BATCH_CHARACTERS = 1 << 24


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows between two places of a text file.

    Parameters
    ----------
    path
        Local file of text in UTF-8.
    begin, end
        Places in it, from its scan.
    dialect
        Form of the rows.
    longest
        Bytes that no row is longer than.
    sign
        Character that stands for the separator while the text is parsed.
    regular
        Whether all double quotes are as RFC 4180 has them, or there are none.
    name
        Name of the file for messages.
    """

    path: str
    begin: Cut
    end: Cut
    dialect: Dialect
    longest: int
    sign: str
    regular: bool
    name: str

    def batches(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Yield columns in the form :attr:`Form.WRITTEN`, in bounded record batches.

        Empty lines are left out. Whatever pyarrow cannot parse is read again by the ``csv`` module of Python,
        which says what is wrong, and in which line.

        Raises
        ------
        DataError
            For rows with too few or too many fields, malformed quotes and a header that is repeated, naming
            the line.
        """
        look = True
        for batch in self._batches(columns):
            if look and self._may_hold_header(columns, batch):
                self._refuse_header(columns)
                look = False
            yield batch

    def _batches(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        done = 0
        if self.regular:
            try:
                for batch in self._parsed(columns):
                    yield batch
                    done += batch.num_rows
                return
            except pa.ArrowInvalid:
                pass
        yield from self._read_strictly(columns, done)

    def _parsed(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Yield the rows that pyarrow parses; it raises ``ArrowInvalid`` for all others."""
        import pyarrow as pa
        import pyarrow.csv as pc

        if self.begin.offset >= self.end.offset:
            return
        wanted = self._places(columns)
        last = [self.dialect.fields - 1] if self.dialect.trailing else []
        quoted = self.dialect.quoting == "minimal"
        reader = pc.open_csv(
            self._stream(),
            pc.ReadOptions(
                use_threads=False,
                block_size=max(PIECE, 2 * self.longest),
                column_names=[str(i) for i in range(self.dialect.fields)],
            ),
            pc.ParseOptions(
                delimiter=self.sign, quote_char='"' if quoted else False, newlines_in_values=quoted
            ),
            pc.ConvertOptions(
                column_types=dict.fromkeys(map(str, wanted + last), pa.string()),
                include_columns=list(dict.fromkeys(map(str, wanted + last))),
                strings_can_be_null=False,
                check_utf8=False,
            ),
        )
        for batch in reader:
            if last and any(text for text in batch.column(str(last[0])).unique().to_pylist()):
                raise pa.ArrowInvalid("a row goes on after its last separator")
            yield self._batch(columns, [batch.column(str(i)) for i in wanted])

    def _may_hold_header(self, columns: Sequence[str], batch: "pa.RecordBatch") -> bool:
        """Tell whether a row has the fields of the header in all columns that are read."""
        import pyarrow.compute as pc

        alike = None
        for array, field in zip(batch.columns, self._header(columns), strict=True):
            same = pc.equal(array, field)
            alike = same if alike is None else pc.and_(alike, same)
            if not pc.any(alike).as_py():
                return False
        return bool(columns)

    def _refuse_header(self, columns: Sequence[str]) -> None:
        """Refuse the first row that repeats the header; where one column is read, in all columns."""
        places = self._places(columns) if len(set(columns)) > 1 else range(len(self.dialect.names))
        header = [self.dialect.header[i] for i in places]
        for line, row in self._strict_rows():
            if [row[i] for i in places] == header:
                raise DataError(
                    f"{self.name} repeats its header in line {line}, where files were joined; delete the "
                    "line, or give the files one by one."
                )

    def _header(self, columns: Sequence[str]) -> list[str]:
        return [self.dialect.header[i] for i in self._places(columns)]

    def _stream(self) -> "_WholeLines":
        return _WholeLines(self._bytes(), self.dialect.separator.encode(), self.sign.encode())

    def _bytes(self) -> "_Range":
        return _Range(self.path, self.begin.offset, self.end.offset)

    def _places(self, columns: Sequence[str]) -> list[int]:
        """Return the places of columns in a row."""
        return [self.dialect.names.index(name) for name in columns]

    def _batch(self, columns: Sequence[str], arrays: "Sequence[pa.Array]") -> "pa.RecordBatch":
        import pyarrow as pa

        fields = [in_form(pa.field(name, pa.string()), Form.WRITTEN) for name in columns]
        return pa.RecordBatch.from_arrays(list(arrays), schema=pa.schema(fields))

    def _read_strictly(self, columns: Sequence[str], skip: int) -> "Iterator[pa.RecordBatch]":
        """Yield the rows after the first ``skip`` as the ``csv`` module of Python reads them."""
        import pyarrow as pa

        places, taken, characters = self._places(columns), list[list[str]](), 0
        for line, row in self._strict_rows():
            if skip:
                skip -= 1
                continue
            taken.append([row[i] for i in places])
            self._refuse_space_before_quotes(taken[-1], line)
            characters += sum(map(len, taken[-1])) + 1
            if len(taken) == _BATCH_ROWS or characters > _BATCH_CHARACTERS:
                yield self._batch(columns, [pa.array(one, pa.string()) for one in zip(*taken, strict=True)])
                taken, characters = [], 0
        if taken:
            yield self._batch(columns, [pa.array(one, pa.string()) for one in zip(*taken, strict=True)])

    def _strict_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row with the number of its first line."""
        dialect, replaced = self.dialect, self.sign != self.dialect.separator
        with io.TextIOWrapper(io.BufferedReader(self._bytes(), PIECE), "utf-8", newline="") as text:
            lines = (line.replace(dialect.separator, self.sign) for line in text) if replaced else text
            reader, line = strict_reader(lines, self.sign, dialect.quoting), 0
            try:
                for row in reader:
                    if row:
                        self._check(row, line)
                        row = [one.replace(self.sign, dialect.separator) for one in row] if replaced else row
                        yield self.begin.line + line, row
                    line = reader.line_num
            except csv.Error as error:
                raise self._malformed(
                    str(error), self.begin.line + line, self.begin.line + reader.line_num - 1
                ) from error

    def _refuse_space_before_quotes(self, fields: list[str], line: int) -> None:
        """Refuse fields in quotes after a space, which the quotes would be part of."""
        if self.dialect.quoting == "none":
            return
        for field in fields:
            if field.startswith(" ") and _SPACED.fullmatch(field):
                raise DataError(
                    f"{self.name} has a space before the double quote of {shown(field, 40)} in line {line}; "
                    "delete it, or set the option quoting to none if quotes are part of the texts."
                )

    def _check(self, row: list[str], lines: int) -> None:
        """Refuse a row with too few or too many fields."""
        expected = self.dialect.fields
        if len(row) == expected and not (self.dialect.trailing and row[-1]):
            return
        after = " and one after the last" if self.dialect.trailing else ""
        named, separator = len(self.dialect.names), shown(self.dialect.separator, 12)
        raise DataError(
            f"{self.name} has {len(row)} field{'s' * (len(row) > 1)} in line {self.begin.line + lines}, for "
            f"{named} column{'s' * (named > 1)} separated by {separator}{after}: {self._advice(row)}."
        )

    def _advice(self, row: list[str]) -> str:
        if not "".join(row).strip():
            return "the line holds nothing but spaces or separators; delete it"
        if self.dialect.quoting == "none" and any('"' in field for field in row):
            return "set the option quoting to minimal if fields stand in double quotes, or mend the line"
        if len(row) == 1:
            return "mend the line, or set the option separator"
        if self.dialect.trailing and len(row) == self.dialect.fields - 1:
            return "the line is cut off, or the others end in one separator too many; mend it or them"
        if len(row) == self.dialect.fields + 1 and not row[-1]:
            return "the line ends in a separator too many, or a text needs quotes; mend the line"
        if len(row) > len(self.dialect.names):
            return (
                "the header lacks the name of a column (R writes row names so), or a text that holds the "
                "separator needs quotes; mend the header or the line"
            )
        return "the line is cut off, or a line end in a text needs quotes around it; mend the line"

    def _malformed(self, problem: str, first: int, last: int) -> DataError:
        where = f"line {first}" if first >= last else f"lines {first} to {last}"
        if "end of data" in problem or "larger than" in problem:
            what = "opens a double quote that is not closed"
        else:
            what = "holds a double quote that ends a field and is followed by other characters"
        return DataError(
            f"{self.name}: the row of {where} {what}; mend the row, or set the option quoting to none if "
            "quotes are part of the texts."
        )


class _Range(io.RawIOBase):
    """The bytes of a file between two offsets."""

    def __init__(self, path: str, begin: int, end: int) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed with this stream
        self._file.seek(begin)
        self._left = end - begin

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview[int]") -> int:  # type: ignore[override]
        """Fill a buffer with the next bytes."""
        view = memoryview(buffer)[: self._left]
        count = self._file.readinto(view) or 0
        self._left -= count
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


class _WholeLines(io.RawIOBase):
    """The bytes of a file, cut at line ends, with separators of several bytes replaced by one.

    pyarrow loses the ``\\n`` of a ``\\r\\n`` in a quoted text where a block of what it reads begins with it.
    """

    def __init__(self, source: _Range, separator: bytes, sign: bytes) -> None:
        self._source, self._separator, self._sign = source, separator, sign
        self._rest = self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` of the next bytes, whole lines where they fit."""
        while not self._ready and not self._ended:
            piece = self._source.read(max(1, size - len(self._rest)))
            self._ended = not piece
            text = self._rest + piece
            end = len(text) if self._ended else max(text.rfind(b"\n") + 1, text.rfind(b"\r"))
            if not end and self._separator == self._sign:
                end = len(text)
            self._ready, self._rest = text[:end], text[end:]
            if self._separator != self._sign:
                self._ready = self._ready.replace(self._separator, self._sign)
        given, self._ready = self._ready[:size], self._ready[size:]
        return given

    def close(self) -> None:
        """Close the file."""
        self._source.close()
        super().close()
