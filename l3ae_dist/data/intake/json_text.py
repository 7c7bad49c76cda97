"""JSON read by Python, one value after the other, so that what is wrong has a line and a reason."""

import json
import re
from collections.abc import Iterator
from enum import Enum

from l3ae_dist.data.intake.decompress import PIECE
from l3ae_dist.messages import shown

VALUE_LIMIT = 1 << 26
"""Bytes that an object may have."""
_DIGITS = 4000
_SPACE = re.compile(r"[ \t\r\n]*")


class Arrangement(Enum):
    """Arrangement of the objects in a file of JSON."""

    LINES = "newline_delimited"
    """One object in each line."""
    ARRAY = "array"
    """One array of objects."""
    STREAM = "unstructured"
    """One object after the other, over any number of lines."""


class JsonProblemError(ValueError):
    """Reason why a file is no JSON, with the number of the line."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line} {what}")


class Members(list[tuple[str, object]]):
    """Keys and values of an object, in their order."""


class Constant(str):
    """``NaN``, ``Infinity`` or ``-Infinity`` where JSON has a number."""


# Keeps members as they are written; json.loads keeps the last of several with one key.
_DECODER = json.JSONDecoder(
    object_pairs_hook=Members,
    parse_constant=Constant,
    # Python makes no integer of thousands of digits
    parse_int=lambda text: int(text) if len(text) <= _DIGITS else float(text),
)


def arrangement_of(head: str) -> Arrangement | None:
    """Return how objects are arranged, by the beginning of a file; None where there is none.

    A file is lines when its first line that is not empty is a value, and a stream otherwise.
    """
    text = head.lstrip(" \t\r\n")
    if not text:
        return None
    if text.startswith("["):
        return Arrangement.ARRAY
    try:
        _DECODER.decode(text.partition("\n")[0])
    except json.JSONDecodeError as error:
        return Arrangement.LINES if error.msg == "Extra data" else _lines_or_stream(text)
    except RecursionError:
        return Arrangement.LINES
    return Arrangement.LINES


def _lines_or_stream(text: str) -> Arrangement:
    """Tell a broken first line from an object over several, by what the next line begins with."""
    rest = text.partition("\n")[2].lstrip(" \t\r\n")
    return Arrangement.LINES if rest.startswith("{") or not rest else Arrangement.STREAM


def check(path: str, start: int, arrangement: Arrangement) -> None:
    """Read every object of a file.

    Parameters
    ----------
    path
        File of text in UTF-8.
    start
        Bytes of the byte order mark before it.
    arrangement
        How its objects are arranged.

    Raises
    ------
    JsonProblemError
        For the first line that is no JSON, a value that is no object, and keys that occur twice in one.
    """
    for line, value in values(path, start, arrangement):
        if not isinstance(value, Members):
            raise JsonProblemError(line, f"holds {_kind(value)} and not an object")
        keys = [key for key, _ in value]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise JsonProblemError(line, f"holds the key {shown(twice)} twice")


def values(path: str, start: int, arrangement: Arrangement) -> Iterator[tuple[int, object]]:
    """Yield the values of a file, each with the number of its first line.

    Parameters
    ----------
    path
        File of text in UTF-8.
    start
        Bytes of the byte order mark before it.
    arrangement
        How its values are arranged.

    Raises
    ------
    JsonProblemError
        Where the text is no JSON.
    """
    if arrangement is Arrangement.LINES:
        yield from _of_lines(path, start)
    else:
        yield from _Stream(path, start).values(arrangement is Arrangement.ARRAY)


def _of_lines(path: str, start: int) -> Iterator[tuple[int, object]]:
    with open(path, "rb") as file:
        file.seek(start)
        number = 0
        while line := file.readline(VALUE_LIMIT + 1):
            number += 1
            if len(line) > VALUE_LIMIT:
                raise JsonProblemError(number, f"is longer than {VALUE_LIMIT >> 20} MiB")
            text = line.decode().strip(" \t\r\n")
            if text:
                yield number, _decoded(text, number)


def _decoded(text: str, line: int) -> object:
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise JsonProblemError(line, f"is no JSON ({_reason(error)} at character {error.pos + 1})") from error
    except RecursionError as error:
        raise JsonProblemError(line, "is nested too deeply") from error
    _refuse_half_pairs(text, value, line)
    return value


def _reason(error: json.JSONDecodeError) -> str:
    return "more than one value" if error.msg == "Extra data" else error.msg.lower()


def _refuse_half_pairs(text: str, value: object, line: int) -> None:
    """Refuse escapes of half a character, which no encoding can write."""
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except RecursionError as error:
            raise JsonProblemError(line, "is nested too deeply") from error
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise JsonProblemError(line, f"holds {half}, half of a surrogate pair") from error


def constant_in(value: object) -> Constant | None:
    """Return the first ``NaN`` or infinity that a value is or holds."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, Constant):
            return one
        if isinstance(one, list):
            left += reversed([member for _, member in one] if isinstance(one, Members) else one)
    return None


def may_hold_constant(text: str) -> bool:
    """Tell whether JSON text holds ``NaN`` or an infinity, or is nested too deeply to tell."""
    try:
        return constant_in(_DECODER.decode(text)) is not None
    except RecursionError:
        return True


def _kind(value: object) -> str:
    match value:
        case list():
            return "an array"
        case str():
            return f"the string {shown(value, 30)}"
        case None:
            return "null"
    return f"the value {shown(value, 30)}"


class _Stream:
    """Values of a file that need not stand in lines of their own."""

    def __init__(self, path: str, start: int) -> None:
        self._pieces = _texts(path, start)
        self._text = ""
        self._at = 0
        self._line = 1
        self._more()

    def values(self, array: bool) -> Iterator[tuple[int, object]]:
        """Yield the values, of an array or one after the other."""
        if array:
            self._skip("[")
        first = True
        while sign := self._next():
            if array and sign == "]" and first:
                break
            yield self._line, self._value()
            first = False
            if array:
                sign = self._next()
                if sign not in (",", "]"):
                    raise JsonProblemError(self._line, "does not go on with a comma or the end of the array")
                self._skip(sign)
                if sign == "]":
                    self._at -= 1
                    break
        if array:
            if self._next() != "]":
                raise JsonProblemError(self._line, "ends before the array does")
            self._skip("]")
            if self._next():
                raise JsonProblemError(self._line, "goes on after the end of the array")

    def _next(self) -> str:
        """Return the next character that is no space, none at the end."""
        while True:
            end = _SPACE.match(self._text, self._at)
            self._move(end.end() if end else self._at)
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def _skip(self, sign: str) -> None:
        self._next()
        self._at += len(sign)

    def _move(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        piece = next(self._pieces, "")
        self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)

    def _value(self) -> object:
        while True:
            begin = self._at
            try:
                value, end = _DECODER.raw_decode(self._text, begin)
            except json.JSONDecodeError as error:
                if len(self._text) - begin > VALUE_LIMIT:
                    what = f"begins an object of over {VALUE_LIMIT >> 20} MiB"
                    raise JsonProblemError(self._line, what) from error
                if self._more():
                    continue
                line = self._line + self._text.count("\n", self._at, self._at + error.pos - begin)
                raise JsonProblemError(line, f"is no JSON ({error.msg.lower()})") from error
            except RecursionError as error:
                raise JsonProblemError(self._line, "is nested too deeply") from error
            _refuse_half_pairs(self._text[begin:end], value, self._line)
            self._move(end)
            return value


def _texts(path: str, start: int) -> Iterator[str]:
    with open(path, encoding="utf-8", newline="") as file:
        if start:
            file.read(1)
        while piece := file.read(PIECE):
            yield piece
