"""Values within messages: short, on one line and visible, whatever they are."""

import os
import re
import reprlib
import unicodedata
from collections.abc import Iterable
from pathlib import PurePath

MOST_SHOWN = 80
MOST_CHARACTERS = 500
_MOST_OF_WORD = 200
_CUT = " ... "
# The zero-width non-joiner and joiner.
_JOINERS = "\u200c\u200d"
# Who asks for something within a URL: a password may hold a slash, and a port is no password.
_USER = re.compile(r"(?<=://)(?:[^/?#\s@]*|[^/?#\s@:]*:(?!\d+(?:[/?#\s]|$))[^\s?#@]*)@")
_SECRETS = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret(?:[-_]?access)?(?:[-_]?key)?|token|sig(?:nature)?|credential"
    r"|(?:api|account|access|private)[-_]?key(?:[-_]?id)?|shared[-_]?access[-_]?signature|(?<![a-z])sas)"
)
_ASSIGNED = re.compile(rf"({_SECRETS}[\"']?\s*(?:=|%3d|:)\s*[\"']?)[^\s&;,\"'#<>)\]}}]+", re.I)
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{12,}", re.I)
_KEYS = re.compile(r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{12,}|hf_\w{20,}|gh[po]_\w{30,}|AIza[\w-]{30,})")
_SECRET_VARIABLE = re.compile(rf"{_SECRETS}$", re.I)
_SHORTEST_SECRET = 8
# What a shell calls the folder that it is in, which is no password.
_FOLDERS = ("PWD", "OLDPWD")


def redacted(text: str) -> str:
    """Leave out what gives access: users and passwords of URLs, signatures, tokens, keys.

    Values of environment variables whose names say that they are secret are left out wherever they stand.

    >>> redacted("cannot read simplecache::s3://me:p/w@host/log?X-Amz-Signature=1f&part=2")
    'cannot read simplecache::s3://...@host/log?X-Amz-Signature=...&part=2'
    """
    for name, value in os.environ.items():
        if name in _FOLDERS:
            continue
        if len(value) >= _SHORTEST_SECRET and value in text and _SECRET_VARIABLE.search(name):
            text = text.replace(value, "...")
    text = _ASSIGNED.sub(r"\1...", _USER.sub("...@", text) if "://" in text else text)
    return _KEYS.sub("...", _BEARER.sub(r"\1 ...", text))


def shown(value: object, most: int = MOST_SHOWN) -> str:
    """Write a value for a message: shortened, on one line, without characters that a terminal obeys.

    Parameters
    ----------
    value
        Anything; tables and arrays are named with their shape and never written out.
    most
        Characters that it may take; the middle of what is longer is left out.

    >>> shown("a" * 10_000_000, 20)
    "'aaaaaaa ... aaaaaa'"
    >>> shown("one\\ntwo")
    "'one\\\\ntwo'"
    """
    value = str(value) if isinstance(value, PurePath) else _scalar(value)
    if isinstance(value, str) and len(value) > 2 * most:
        value = value[:most] + value[-most:]
    if isinstance(value, str):
        return _shortened(repr(value), most)
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return _shortened(_with_article(type(value).__name__) + _size_of(shape), most)
    return _shortened(visible(" ".join(_Short().repr(value).split())), most)


def _with_article(name: str) -> str:
    return f"{'an' if name[:1] in 'aeiouAEIOU' or name.startswith('nd') else 'a'} {name}"


def _size_of(shape: tuple[object, ...]) -> str:
    """Write the shape of a table or an array; lazy ones do not know it."""
    known = all(isinstance(size, int) for size in shape)
    return f" of shape {'x'.join(map(str, shape)) or 'nothing'}" if known else ""


def listed(values: Iterable[object], most: int = 8) -> str:
    """Write some names or ids for a message, the first few of them and how many more there are.

    >>> listed(["a", 7]), listed(range(100), 3)
    ("'a', 7", '0, 1, 2 and 97 more')
    """
    return _first((shown(value, MOST_SHOWN // 2) for value in values), most)


def named(names: Iterable[object], most: int = 12) -> str:
    """Write the names of columns for a message: the first few, without quotes, and how many more there are.

    >>> named(["user_id", "item_id", 7])
    'user_id, item_id, 7'
    """
    return _first((shown(str(name), MOST_SHOWN // 2)[1:-1] for name in names), most)


def _first(written: Iterable[str], most: int) -> str:
    every = list(written)
    return ", ".join(every[:most]) + (f" and {len(every) - most:,} more" if len(every) > most else "")


def paragraph(message: str) -> str:
    """Shorten a message to a paragraph: long words first, then its middle; its end is the next step.

    >>> len(paragraph("no file " + "x" * 10_000_000 + "; check the path."))
    224
    """
    if len(message) > 16 * MOST_CHARACTERS:  # nothing that grows with the message beyond here
        message = message[: 8 * MOST_CHARACTERS] + message[-8 * MOST_CHARACTERS :]
    lines = (
        " ".join(_shortened(word, _MOST_OF_WORD) for word in line.split(" "))
        for line in redacted(message).split("\n")
    )
    return _shortened(visible("\n".join(lines)), MOST_CHARACTERS)


def one_line(text: str, most: int = MOST_SHOWN) -> str:
    """Write the text of another library's error on one line, shortened.

    >>> one_line("no column 'a'\\n\\nResolved plan")
    "no column 'a' Resolved plan"
    """
    return _shortened(visible(redacted(" ".join(text[: 8 * MOST_CHARACTERS].split()))), most)


class _Short(reprlib.Repr):
    """The ``repr`` of a few members of a container, and of the ends of everything else."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = MOST_SHOWN

    def repr_int(self, x: int, level: int) -> str:
        """Write an integer, whose digits may be too many for Python to print."""
        try:
            return super().repr_int(x, level)
        except ValueError:
            return f"an integer of {x.bit_length()} bits"


def _scalar(value: object) -> object:
    """Return the Python value of a scalar of NumPy, and anything else as it is."""
    item = getattr(value, "item", None)
    return item() if getattr(value, "shape", None) == () and callable(item) else value


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head = (most - len(_CUT) + 1) // 2
    return text[:head] + _CUT + text[len(text) - (most - len(_CUT) - head) :]


def visible(text: str) -> str:
    """Escape characters that cannot be seen, other than the ends of lines."""
    return text if text.isprintable() else "".join(map(_visible_character, text))


def neutral(text: str) -> str:
    """Escape characters that a terminal obeys or hides, other than the ends of lines.

    Titles keep their spaces of every width, and the joiners without which Persian, Hindi and emoji are wrong.

    >>> print(neutral("\\x1b]52;c;eA==\\x07 \\u202egpj.exe"))
    \\x1b]52;c;eA==\\x07 \\u202egpj.exe
    """
    return text if text.isprintable() else "".join(map(_neutral_character, text))


def inline(value: object) -> str:
    """Write a name, an id or a title on one line of a table or a log, as :func:`neutral` does.

    >>> print(inline("two\\nlines"), inline(7))
    two\\nlines 7
    """
    return neutral(str(value)).replace("\n", "\\n")


def _visible_character(character: str) -> str:
    return character if character.isprintable() or character == "\n" else repr(character)[1:-1]


def _neutral_character(character: str) -> str:
    kept = character in _JOINERS or unicodedata.category(character) == "Zs"
    return character if kept else _visible_character(character)
