"""Separator, quotes, header and columns of a delimited text file, from its first lines."""

import contextlib
import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from l3ae_dist.config.data import Quoting, TextOptions
from l3ae_dist.data.intake import well_known
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.messages import shown

if TYPE_CHECKING:
    from _csv import Reader as _Reader

ROW_LIMIT = 1 << 26
"""Bytes that a row may have."""
HEAD = 1 << 20
"""Bytes of the beginning of a file that :func:`layout_of` should be given; its header must fit in."""
_SAMPLE_ROWS = 100
_SAMPLE_CHARACTERS = 1 << 17
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_WORD = re.compile(r"[A-Za-z_]{2}[A-Za-z_ ]*")
_GUESSES = {
    ".csv": (",", ";", "\t", "|", "::"),
    ".psv": ("|", ",", ";", "\t", "::"),
    ".dat": ("::", "\t", "|", ",", ";"),
    "": ("\t", "::", ",", ";", "|"),
}
_QUOTED = (",", ";", "|")
_SEP_LINE = re.compile(r"\ufeff?\"?sep=(.)\"?(\r\n|\n|\r)", re.IGNORECASE)
# Control characters that stand for a separator of several bytes while the text is parsed.
_STAND_INS = (
    "\x1f\x1e\x1d\x1c\x1b\x1a\x19\x18\x17\x16\x15\x14\x13\x12\x11\x10\x0f\x0e\x07\x06\x05\x04\x03\x02\x01"
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Form of the rows of a delimited text file.

    Parameters
    ----------
    separator
        Characters between two fields.
    quoting
        Whether fields may stand in double quotes.
    names
        Name of each field; the empty string where it has none.
    trailing
        Whether each row ends in a separator that the header has not: one more field, which is empty.
    header
        Fields of the header as they are read, or the names where there is none: no row of data has them.
    """

    separator: str
    quoting: Quoting
    names: tuple[str, ...]
    trailing: bool = False
    header: tuple[str, ...] = ()

    @property
    def fields(self) -> int:
        """Number of fields of a row."""
        return len(self.names) + self.trailing

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, each once, without those that have none."""
        return tuple(dict.fromkeys(name for name in self.names if name))


@dataclass(frozen=True, slots=True)
class Layout:
    """Form of the rows of a delimited text file, and where they begin.

    Parameters
    ----------
    dialect
        Form of the rows.
    start
        Bytes, in UTF-8, of the lines before the first row of data.
    line
        Number of the line that the data begin in, counted from 1.
    """

    dialect: Dialect
    start: int
    line: int


def layout_of(head: str, name: str, text_name: str, options: TextOptions) -> Layout | None:
    """Decide how a delimited text file is written.

    The separator is the one that splits the header and the first 100 rows into equally many fields; among
    several the usual one for the suffix. Quotes are read as quotes in comma, semicolon and pipe separated
    files, and in others when each field of the header stands in them. A file without a header has the names
    of the option ``column_names``, or those of the MovieLens file that its name and shape say it is.

    Parameters
    ----------
    head
        The beginning of the text, in whole lines where it is not the whole text.
    name
        Name of the file for messages.
    text_name
        Name that tells how it is written, such as ``ratings.dat``.
    options
        What the user says about it.

    Returns
    -------
    Layout | None
        None for a file without any text.

    Raises
    ------
    DataError
        For a first row that is no header, or a header that has no end.
    ConfigError
        For a separator that cannot be one.
    """
    suffix = PurePosixPath(text_name).suffix.lower()
    options, skipped = _without_sep_line(head, options)
    blank = re.compile(r"[\r\n]*").match(head, skipped)
    skipped = blank.end() if blank else skipped
    text = head[skipped:]
    if not text.strip("\ufeff \r\n"):
        return None
    separator = _separator(text, suffix, options)
    quoting = options.quoting or _quoting(text, separator)
    rows = _sample(text, separator, quoting)
    first, lines = next(rows, ([], 0))
    if not first:
        line = _count(head[:skipped]) + 1
        raise DataError(
            f"{name} has a quote in line {line} that is not closed, or is followed by other characters; mend "
            "the line, or set the option quoting to none."
        )
    data = [row for row, _ in itertools.islice(rows, _SAMPLE_ROWS)]
    names = _names(first, data, name, text_name, options)
    if names is None:
        names, header = _header(first, name, suffix), lines
    else:
        header = 0 if first != list(names) else lines
        data = data if header else [first, *data]
    dialect = Dialect(separator, quoting, names, header=tuple(first) if header else names)
    dialect = _with_trailing(dialect, data)
    if header and dialect.trailing:
        _refuse_row_numbers(data, name, quoted='"' in _lines(text, header))
    before = head[:skipped] + _lines(text, header)
    if "\0" in before:
        raise DataError(f"{name} holds a NUL byte in its header; the file is damaged, or name its encoding.")
    return Layout(dialect, len(before.encode()), _count(before) + 1)


def strict_reader(lines: Iterable[str], separator: str, quoting: Quoting) -> "_Reader":
    """Return the reader of the standard library that refuses malformed quotes.

    Parameters
    ----------
    lines
        Lines with their ends.
    separator
        The one character between fields.
    quoting
        Whether fields may stand in double quotes.
    """
    csv.field_size_limit(max(csv.field_size_limit(), ROW_LIMIT))
    if quoting == "none":
        return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE, strict=True)
    return csv.reader(lines, delimiter=separator, strict=True)


def stand_in(separator: str, absent: Sequence[str] | str) -> str:
    """Return the one byte that stands for a separator while text is parsed.

    Parameters
    ----------
    separator
        The separator; it stands for itself where it is one byte.
    absent
        Text in which the stand-in must not occur.

    Raises
    ------
    DataError
        When every control character occurs.
    """
    if len(separator.encode()) == 1:
        return separator
    for sign in _STAND_INS:
        if sign not in absent:
            return sign
    raise DataError(f"a file separated by {separator!r} holds every control character; clean its texts.")


def _without_sep_line(head: str, options: TextOptions) -> tuple[TextOptions, int]:
    """Return the options and the length of the line ``sep=;`` that Excel begins a file with."""
    match = _SEP_LINE.match(head)
    if match is None:
        return options, 0
    return replace(options, separator=options.separator or match.group(1)), match.end()


def _separator(text: str, suffix: str, options: TextOptions) -> str:
    if options.separator is not None:
        return _checked_separator(options.separator)
    guesses = _GUESSES.get(suffix, _GUESSES[""])
    few = text.rfind("\n", 0, _SAMPLE_CHARACTERS) + 1
    text = text[:few] if few else text
    if _agreement(text, guesses[0], options.quoting, True)[:2] == (True, 1.0):
        return guesses[0]
    usual = (guesses[0], "::")
    return max(guesses, key=lambda guess: _agreement(text, guess, options.quoting, guess in usual))


def _checked_separator(option: str) -> str:
    separator = {"\\t": "\t", "tab": "\t"}.get(option, option)
    if not separator or any(sign in separator for sign in '\r\n"\0'):
        raise ConfigError(
            f"separator {shown(option, 40)} cannot separate fields: it holds a line end, a double quote "
            "or a NUL; write the characters between two fields, such as ';' or '\\t'."
        )
    return separator


def _agreement(
    text: str, separator: str, quoting: Quoting | None, usual: bool
) -> tuple[bool, float, bool, int]:
    """Rate a separator: whether it splits the header, the share of rows with as many fields, and how many."""
    rows = _sample(text, separator, quoting or _quoting(text, separator))
    first = next(rows, ([], 0))[0]
    if not first:  # a malformed header, which is better refused than read as one column
        return True, 0.0, usual, 0
    count = len(first)
    if count == 1:
        return False, 1.0, usual, 1
    data = [row for row, _ in itertools.islice(rows, _SAMPLE_ROWS)]
    fits = [
        len(row) == count
        or (len(row) == count + 1 and not row[-1])
        or (len(row) == count - 1 and not first[-1].strip())
        for row in data
    ]
    return True, sum(fits) / len(fits) if fits else 1.0, usual, count


def _quoting(text: str, separator: str) -> Quoting:
    if separator in _QUOTED:
        return "minimal"
    fields = _lines(text, 1).strip("\r\n").split(separator)
    quoted = all(len(one.strip()) > 1 and one.strip()[0] == one.strip()[-1] == '"' for one in fields)
    return "minimal" if quoted else "none"


def _sample(text: str, separator: str, quoting: Quoting) -> Iterator[tuple[list[str], int]]:
    """Yield the first rows that can be read, each with the number of lines read so far."""
    sign = stand_in(separator, text)
    lines = io.StringIO(text if sign == separator else text.replace(separator, sign), newline="")
    reader = strict_reader(lines, sign, quoting)
    with contextlib.suppress(csv.Error):
        for row in reader:
            yield [one.replace(sign, separator) for one in row] or [""], reader.line_num


def _lines(text: str, count: int) -> str:
    return "".join(itertools.islice(io.StringIO(text, newline=""), count))


def _count(text: str) -> int:
    return sum(1 for _ in io.StringIO(text, newline=""))


def _is_number(field: str) -> bool:
    return _NUMBER.fullmatch(field) is not None


def _names(
    first: list[str], data: list[list[str]], name: str, text_name: str, options: TextOptions
) -> tuple[str, ...] | None:
    """Return the names of the columns of a file without a header; None for one that has a header."""
    if options.column_names is not None:
        _refuse_another_header(first, data, name, options.column_names)
        return options.column_names
    numbers = [field for field in first if _is_number(field)]
    if not numbers or _names_numbers(first, data):
        return None
    known = well_known.names(text_name, [first, *data])
    if known is None:
        fields = ", ".join(shown(field, 30) for field in first[:5])
        raise DataError(
            f"the first row of {name} is no header, it holds the number {shown(numbers[0], 30)} ({fields}); "
            "name the columns with the option column_names, in their order."
        )
    return known


def _names_numbers(first: list[str], data: list[list[str]]) -> bool:
    """Tell whether a row that holds numbers is a header: by a usual name, or a word above numbers alone."""
    words = [_WORD.fullmatch(field.strip('\ufeff \t"')) is not None for field in first]
    columns = zip(words, *data, strict=False)
    usual = {"user_id", "item_id"} & {field.strip('\ufeff \t"') for field in first}
    return bool(usual) or any(word and all(map(_is_number, column)) for word, *column in columns if column)


def _refuse_another_header(
    first: list[str], data: list[list[str]], name: str, names: tuple[str, ...]
) -> None:
    """Refuse a first row that is a header, unless it is the names that are given.

    It is one where it holds one of the names, or no number above a column of numbers.
    """
    fields_of_first = [_unquoted(field.strip("\ufeff \t")) for field in first]
    if fields_of_first == list(names):
        return
    words = {one for one in names if _WORD.fullmatch(one)}
    columns = [] if any(map(_is_number, first)) else list(zip(*data, strict=False))
    if words.intersection(fields_of_first) or any(all(map(_is_number, column)) for column in columns):
        fields = ", ".join(shown(field, 30) for field in first[:5])
        raise DataError(
            f"{name} has a header already ({fields}), and column_names is for files without one; leave the "
            "option out and name these columns, or delete the first line."
        )


def _header(first: list[str], name: str, suffix: str) -> tuple[str, ...]:
    names = [_unquoted(field.strip("\ufeff \t")) for field in first]
    return well_known.without_types(names, suffix)


def _unquoted(field: str) -> str:
    quoted = len(field) > 1 and field[0] == field[-1] == '"'
    return field[1:-1].replace('""', '"').strip() if quoted else field


def _with_trailing(dialect: Dialect, data: list[list[str]]) -> Dialect:
    """Note a separator at the end of the rows that the header has not, or the other way round."""
    row = next((row for row in data if row != [""]), None)
    if row is None:
        return dialect
    names = dialect.names
    if len(row) == len(names) + 1 and not row[-1]:
        longer = sum(len(one) == len(row) for one in data)
        return replace(dialect, trailing=2 * longer > sum(one != [""] for one in data))
    if len(row) == len(names) - 1 and not names[-1]:
        return replace(dialect, names=names[:-1])
    return dialect


def _refuse_row_numbers(data: list[list[str]], name: str, quoted: bool) -> None:
    """Refuse rows that begin with their number and end in an empty field.

    R leaves out the name of the first field. Two rows without quotes are too few to tell.
    """
    first = [row[0] for row in data if row != [""]]
    if len(first) < 3 and not quoted:
        return
    if any(first == [str(i) for i in range(start, start + len(first))] for start in (0, 1)):
        raise DataError(
            f"{name} has one field more in each row than in its header: the first counts the rows, as R and "
            "pandas number them, and the last is empty, as after a separator at the end; add the name of the "
            "first column to the header, or delete the last separator of each line."
        )
