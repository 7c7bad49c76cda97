"""Encodings of text files: by their byte order mark, by their bytes, or as the user says."""

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.messages import shown

Pieces = Callable[[], Iterator[bytes]]
"""A file that can be read again from its beginning, piece by piece."""
# The marks of UTF-32 first: the one of UTF-16 begins the one of UTF-32.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NOT_IN_CP1252 = bytes((0x81, 0x8D, 0x8F, 0x90, 0x9D))
_SAMPLE = 4096


@dataclass(frozen=True, slots=True)
class Encoding:
    """Encoding of a text file.

    Parameters
    ----------
    codec
        Name of the codec of Python.
    mark
        Bytes of the byte order mark that the file begins with.
    note
        A sentence where the encoding is a guess.
    """

    codec: str = "utf-8"
    mark: int = 0
    note: str = ""


def encoding_of(name: str, pieces: Pieces, option: str | None, whole: bool = True) -> Encoding:
    """Decide the encoding of a text file.

    A byte order mark decides, then the NUL bytes of UTF-16 and UTF-32. What is valid UTF-8 is UTF-8. Any
    other file is Windows-1252 (Latin-1 where it holds bytes that Windows-1252 lacks), which is noted, unless
    it holds characters of UTF-8 too: then some of it is damaged.

    Parameters
    ----------
    name
        Name of the file for messages.
    pieces
        Its decompressed bytes.
    option
        The encoding that the user names, which wins.
    whole
        Whether the pieces are the whole file and not its beginning.

    Raises
    ------
    DataError
        For a file that is UTF-8 in some places and something else in others, naming the line.
    ConfigError
        For an option that is no encoding.
    """
    first = next(pieces(), b"")
    if option is not None:
        codec = _checked_option(option)
        return _checked(name, pieces, Encoding(codec, _mark_of(first, codec)), whole)
    for mark, codec in _MARKS:
        if first.startswith(mark):
            return _checked(name, pieces, Encoding(codec, len(mark)), whole)
    wide = _by_nul_bytes(first[:_SAMPLE])
    if wide is not None:
        return Encoding(wide)
    broken = _first_broken_line(pieces, whole)
    return Encoding() if broken is None else _eight_bits(name, pieces, broken)


def _checked(name: str, pieces: Pieces, encoding: Encoding, whole: bool) -> Encoding:
    """Return an encoding that is not guessed; UTF-8 is read where it lies, so its bytes are checked here."""
    broken = _first_broken_line(pieces, whole) if encoding.codec == "utf-8" else None
    if broken is not None:
        raise _not_in(name, broken, encoding.codec)
    return encoding


def _not_in(name: str, line: int, codec: str) -> DataError:
    return DataError(
        f"{name} holds bytes in line {line} that are not {codec}; name its encoding with the option "
        "encoding, or mend the line."
    )


def _checked_option(option: str) -> str:
    try:
        found = codecs.lookup(option)
        "".encode(found.name)  # a codec of bytes, such as base64, raises LookupError
    except (LookupError, ValueError, UnicodeError) as error:
        raise ConfigError(
            f"encoding {shown(option, 60)} is no encoding of text; write one that Python knows, such "
            "as utf-8, utf-16, cp1252 or latin-1."
        ) from error
    return found.name


def _mark_of(first: bytes, codec: str) -> int:
    """Return the length of the byte order mark that belongs to a codec."""
    return max((len(mark) for mark, of in _MARKS if of == codec and first.startswith(mark)), default=0)


def _by_nul_bytes(sample: bytes) -> str | None:
    """Return the encoding of text, mostly ASCII, whose bytes are two or four a character."""
    for width in (4, 2):
        length = len(sample) // width * width
        if length < 2 * width:
            continue
        zeros = [sample[i:length:width].count(0) / (length // width) for i in range(width)]
        if zeros[0] < 0.1 and min(zeros[1:]) > 0.6:
            return f"utf-{8 * width}-le"
        if zeros[-1] < 0.1 and min(zeros[:-1]) > 0.6:
            return f"utf-{8 * width}-be"
    return None


def _first_broken_line(pieces: Pieces, whole: bool) -> int | None:
    """Return the line of the first bytes that are no UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    for piece in pieces():
        pending = decoder.getstate()[0]
        if pending or not piece.isascii():
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                return _line_of(pieces(), read - len(pending) + error.start)
        read += len(piece)
    return _line_of(pieces(), read) if whole and decoder.getstate()[0] else None


def _line_of(pieces: Iterator[bytes], offset: int) -> int:
    """Return the number of the line that a byte stands in."""
    line = 1
    for piece in pieces:
        line += piece[: max(0, offset)].count(b"\n")
        offset -= len(piece)
    return line


def _eight_bits(name: str, pieces: Pieces, broken: int) -> Encoding:
    if _holds_utf8(pieces()):
        raise DataError(
            f"{name} is UTF-8 in some lines and not in others: line {broken} is not; mend that line, or name "
            "the encoding of the whole file with the option encoding."
        )
    undefined = any(piece.translate(None, _NOT_IN_CP1252) != piece for piece in pieces())
    codec, called = ("latin-1", "Latin-1") if undefined else ("cp1252", "Windows-1252")
    note = (
        f"{name} is not UTF-8 (line {broken}) and is read as {called}; name its encoding with the option "
        "encoding if that is wrong."
    )
    return Encoding(codec, note=note)


def _holds_utf8(pieces: Iterator[bytes]) -> bool:
    """Tell whether bytes hold a character of UTF-8 that is no ASCII."""
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    return any(not decoder.decode(piece).isascii() for piece in pieces)


def in_utf8(name: str, pieces: Iterator[bytes], encoding: Encoding) -> Iterator[bytes]:
    """Yield text in UTF-8, without its byte order mark.

    Parameters
    ----------
    name
        Name of the file for messages.
    pieces
        Its decompressed bytes.
    encoding
        Their encoding.

    Raises
    ------
    DataError
        For bytes that do not belong to the encoding, naming the line.
    """
    decoder = codecs.getincrementaldecoder(encoding.codec)()
    skip, line, first = encoding.mark, 1, True
    try:
        for piece in pieces:
            kept, skip = piece[skip:], max(0, skip - len(piece))
            if encoding.codec == "utf-8" and kept.isascii() and not decoder.getstate()[0]:
                line += kept.count(b"\n")
                yield kept
                continue
            text = decoder.decode(kept)
            if first:
                text, first = text.removeprefix("\ufeff"), not text
            line += text.count("\n")
            yield text.encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        if isinstance(error, UnicodeDecodeError) and isinstance(error.object, bytes):
            line += error.object[: error.start].decode(encoding.codec, "ignore").count("\n")
        raise _not_in(name, line, encoding.codec) from error
