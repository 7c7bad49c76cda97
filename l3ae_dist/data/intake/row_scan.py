"""Facts about the rows of a delimited file that are found in one quick pass over its bytes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from l3ae_dist.data.intake.decompress import PIECE
from l3ae_dist.data.intake.dialect import ROW_LIMIT, Dialect, stand_in
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array

PART = 1 << 28
"""Bytes of a part of a file that is cut into several."""
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Cut:
    """A place between two rows of a file.

    Parameters
    ----------
    offset
        Bytes before it.
    line
        Number of the line that begins there.
    """

    offset: int
    line: int


@dataclass(frozen=True, slots=True)
class RowScan:
    """Facts about the rows of a delimited file.

    Parameters
    ----------
    cuts
        Places between rows, about :data:`PART` bytes apart: the beginning of the first row, and the end.
    longest
        Bytes that no row is longer than.
    quoted
        Whether there are double quotes that count as such.
    regular
        Whether each of them opens a field, closes one or is doubled within one, as RFC 4180 has it.
    sign
        Character that stands for the separator while the text is parsed.
    """

    cuts: tuple[Cut, ...]
    longest: int
    quoted: bool
    regular: bool
    sign: str


@dataclass(slots=True)
class _State:
    """Progress of a scan."""

    dialect: Dialect
    name: str
    line: int
    offset: int
    row_end: int
    line_end: int
    longest: int = 0
    quoted: bool = False
    open: bool = False
    regular: bool = True

    def bad_line(self, piece: bytes, at: int) -> int:
        """Return the number of the line of a byte of the piece."""
        return self.line + _lines(piece[:at] + b" ")


def scan_rows(path: str, first: Cut, dialect: Dialect, name: str) -> RowScan:
    """Scan the rows of a file of text in UTF-8.

    Parameters
    ----------
    path
        Path of the file.
    first
        Beginning of its first row of data.
    dialect
        Form of its rows.
    name
        Name of the file for messages.

    Raises
    ------
    DataError
        For NUL bytes and rows of more than 64 MiB, naming the line.
    """
    state = _State(dialect, name, first.line, first.offset, first.offset, first.offset)
    cuts, controls = [first], np.zeros(32, np.int64)
    wide = len(dialect.separator.encode()) > 1
    for before, piece, after in _neighbours(path, first.offset):
        _refuse_signs(before + piece + after, state)
        if wide:
            signs = np.frombuffer(piece, np.uint8)
            controls += np.bincount(signs[signs < 32], minlength=32)
        ends = _row_ends(before, piece, after, state)
        _measure(piece, ends, state)
        if ends is not None and state.row_end - cuts[-1].offset >= PART:
            size = state.row_end - state.offset
            cuts.append(Cut(state.row_end, state.line + _lines(piece[:size])))
        state.line += _lines(piece, after)
        state.offset += len(piece)
    state.longest = max(state.longest, state.offset - state.row_end)
    if cuts[-1].offset < state.offset or len(cuts) == 1:
        cuts.append(Cut(state.offset, state.line))
    regular = state.regular and not state.open and not (wide and state.quoted)
    cuts = cuts if regular else [cuts[0], cuts[-1]]
    sign = stand_in(dialect.separator, bytes(np.flatnonzero(controls).tolist()).decode())
    return RowScan(tuple(cuts), state.longest, state.quoted, regular, sign)


def _neighbours(path: str, start: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield the pieces of a file, each with the byte before it and the three after it."""
    with open(path, "rb") as file:
        file.seek(start)
        before, piece = b"\n", file.read(PIECE)
        while piece:
            after = file.read(PIECE)
            yield before, piece, after[:3]
            before, piece = piece[-1:], after


def _lines(piece: bytes, after: bytes = b"") -> int:
    """Count the line ends in bytes: ``\\n``, ``\\r\\n`` and ``\\r``."""
    newlines = int(np.count_nonzero(np.frombuffer(piece, np.uint8) == _NEWLINE))
    if b"\r" not in piece:
        return newlines
    pairs = piece.count(b"\r\n") + (piece.endswith(b"\r") and after[:1] == b"\n")
    return newlines + piece.count(b"\r") - pairs


def _refuse_signs(around: bytes, state: _State) -> None:
    """Refuse NUL bytes, and byte order marks that begin a line after the first; given the byte before too."""
    at = around.find(_MARK, 1) if _MARK[:1] in around else -1
    while at > 0:
        if around[at - 1 : at] in (b"\n", b"\r"):
            raise DataError(
                f"{state.name} has a byte order mark before line {state.bad_line(around[1:], at - 1)}; files "
                "were joined there: delete the mark, and the header if it is repeated."
            )
        at = around.find(_MARK, at + 1)
    at = around.find(b"\0") - 1
    if at >= 0:
        raise DataError(
            f"{state.name} holds a NUL byte in line {state.bad_line(around[1:], at)}; the file is damaged "
            "or its encoding is UTF-16 or UTF-32: name it with the option encoding."
        )


def _row_ends(before: bytes, piece: bytes, after: bytes, state: _State) -> tuple[int, int] | None:
    """Return the first and the last place in a piece that a row ends before."""
    if state.dialect.quoting == "none" or (not state.open and b'"' not in piece):
        end = b"\n" if b"\n" in piece else b"\r"
        first = piece.find(end)
        return None if first < 0 else (first + 1, piece.rfind(end) + 1)
    state.quoted = True
    signs = np.frombuffer(piece, np.uint8)
    quotes = np.flatnonzero(signs == _QUOTE)
    newlines = np.flatnonzero(signs == (_NEWLINE if b"\n" in piece else _RETURN))
    outside = newlines[(np.searchsorted(quotes, newlines) + state.open) % 2 == 0]
    if state.regular:
        state.regular = _are_regular(quotes, before + piece + (after or b"\n"), state)
    state.open ^= bool(len(quotes) % 2)
    return (int(outside[0]) + 1, int(outside[-1]) + 1) if len(outside) else None


def _are_regular(quotes: Array, around: bytes, state: _State) -> bool:
    """Tell whether quotes that open follow a separator or line end, and those that close precede one."""
    signs = np.frombuffer(around, np.uint8)
    edge = np.zeros(256, bool)
    edge[[_QUOTE, _NEWLINE, _RETURN, state.dialect.separator.encode()[0]]] = True
    opening = (np.arange(len(quotes)) + state.open) % 2 == 0
    beside = np.where(opening, signs[quotes], signs[quotes + 2])
    return bool(edge[beside].all())


def _measure(piece: bytes, ends: tuple[int, int] | None, state: _State) -> None:
    """Note the longest row, and refuse rows and lines without an end."""
    if ends is not None:
        # No row within the piece is longer than what lies between its first and its last end.
        state.longest = max(state.longest, state.offset + ends[0] - state.row_end, ends[1] - ends[0])
        state.row_end = state.offset + ends[1]
    last = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
    state.line_end = state.offset + last + 1 if last >= 0 else state.line_end
    read = state.offset + len(piece)
    unfinished = state.line_end if not state.regular or state.dialect.quoting == "none" else state.row_end
    if read - unfinished > ROW_LIMIT:
        raise DataError(
            f"{state.name} has a row of over {ROW_LIMIT >> 20} MiB that ends after line {state.line}; a "
            "quote is not closed, or the lines have no ends: mend the file, or set the option quoting: none."
        )
