"""Files as people damage them: cut, spliced, encoded anew, with columns, quotes, NULs and lines out of place."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from table_writers import COMPRESSIONS, FORMATS, BinaryFormat, JsonFormat, TextFormat, compressed

USERS = (
    [str(i) for i in range(12)],
    ["007", "7", "A1", "u 1", " x", "NA", "null"],
    ["Jürgen", "é", "日本", "😀", 'q"q', "it's"],
    [f"user-{i:04d}" for i in range(20)],
)
TITLES = (
    "plain", "", "Heroes, the", 'say "hi"', '"quoted"', "a;b|c", "line\nbreak", "tab\tin", "é", "日本語", "\\", "a::b",
    "0451", "{}", "[1, 2]", "x" * 400, "'", "#", '"', '""', "cr\rhere",
)  # fmt: skip


@dataclass
class File:
    """A file to be read, and what was done to it.

    Parameters
    ----------
    kind
        Its format before.
    suffix, compression
        Endings of its name.
    data
        Its bytes.
    options
        What the reader is told.
    done
        Names of the mutations.
    sound
        Whether nothing was done that may cost a row: it must be read.
    """

    kind: str
    suffix: str
    compression: str = ""
    data: bytes = b""
    options: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    sound: bool = True

    @property
    def name(self) -> str:
        """Its name."""
        return f"log{self.suffix}{self.compression}"

    @property
    def is_text(self) -> bool:
        """Whether it is no binary format."""
        return not isinstance(FORMATS[self.kind], BinaryFormat)


def random_rows(chance: random.Random) -> tuple[list[str], list[dict[str, object]]]:
    """Draw columns and rows; now and then as many that readers take their samples from the first of them."""
    users, count = chance.choice(USERS), chance.choice([1, 2, 5, 20, 60, 60, 400, 3000])
    rows: list[dict[str, object]] = [
        {
            "user_id": chance.choice(users),
            "item_id": chance.randrange(1, 9),
            "title": chance.choice(TITLES) if chance.random() < 0.4 else "plain",
            "w": chance.choice([1, 0.5, 2.25, 3]),
        }
        for _ in range(count)
    ]
    columns = ["user_id", "item_id", "title", "w"][: chance.choice([2, 4, 4, 4])]
    chance.shuffle(columns)
    return (columns, rows) if set(columns) >= {"user_id", "item_id"} else (["user_id", "item_id"], rows)


def random_file(
    chance: random.Random, write: Callable[[str, list[str], list[dict[str, object]]], bytes]
) -> File:
    """Draw a file and damage it once to three times, or not at all.

    Parameters
    ----------
    chance
        Source of every draw.
    write
        Returns the bytes of a binary format.
    """
    columns, rows = random_rows(chance)
    kind = chance.choice(list(FORMATS))
    form = FORMATS[kind]
    if not form.can_hold(rows):
        rows = [{**row, "user_id": str(i % 7), "title": "plain"} for i, row in enumerate(rows)]
    file = File(kind, form.suffix)
    if isinstance(form, BinaryFormat):
        file.data = write(kind, columns, rows)
        mutations = BINARY
    else:
        file.data = form.encode(columns, rows)
        mutations = TEXT + (JSON if isinstance(form, JsonFormat) else DELIMITED)
        if isinstance(form, TextFormat) and chance.random() < 0.3:
            file.options = {"separator": form.separator, "quoting": "minimal" if form.quoted else "none"}
    for _ in range(chance.choice([0, 1, 1, 1, 1, 2, 3])):
        mutate = chance.choice(mutations)
        mutate(chance, file)
        file.done.append(mutate.__name__)
    if file.is_text and chance.random() < 0.25:
        _compress(chance, file)
    return file


def _compress(chance: random.Random, file: File) -> None:
    """Compress a file, and now and then cut it or turn a byte of it."""
    file.compression = chance.choice(COMPRESSIONS[1:])
    file.data = compressed(file.data, file.compression, "log" + file.suffix)
    file.done.append("compress")
    if chance.random() < 0.4:
        mutate = chance.choice([cut, flip])
        mutate(chance, file)
        file.done.append(mutate.__name__)


def cut(chance: random.Random, file: File) -> None:
    """Keep a piece from the beginning, or lose it."""
    at = chance.randrange(len(file.data) + 1)
    file.data = file.data[:at] if chance.random() < 0.8 else file.data[at:]
    file.sound = False


def splice(chance: random.Random, file: File) -> None:
    """Put a piece of the file, or of another one, somewhere."""
    columns, rows = random_rows(chance)
    forms = [form for form in FORMATS.values() if not isinstance(form, BinaryFormat) and form.can_hold(rows)]
    form = chance.choice(forms)
    other = file.data if chance.random() < 0.5 else form.encode(columns, rows[:50])
    a, b = sorted((chance.randrange(len(other) + 1), chance.randrange(len(other) + 1)))
    at = chance.randrange(len(file.data) + 1)
    file.data = file.data[:at] + other[a:b] + file.data[at:]
    file.sound = False


def flip(chance: random.Random, file: File) -> None:
    """Turn some bits."""
    data = bytearray(file.data)
    for _ in range(chance.choice([1, 1, 3, 20])):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.data, file.sound = bytes(data), False


def overwrite(chance: random.Random, file: File) -> None:
    """Fill a stretch with one byte, as a damaged disk does."""
    at = chance.randrange(len(file.data) + 1)
    size = chance.choice([1, 4, 100, 4096])
    file.data = file.data[:at] + chance.choice([b"\0", b"\xff"]) * size + file.data[at + size :]
    file.sound = False


def encode_anew(chance: random.Random, file: File) -> None:
    """Write the text in another encoding."""
    codec = chance.choice(["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig", "utf-32"])
    text = _text(file)
    if text is None:
        return
    try:
        file.data = text.encode(codec)
    except UnicodeEncodeError:
        return
    if not text.isascii() and codec in ("latin-1", "cp1252", "utf-16-le"):
        file.sound = False
    if codec == "utf-16-le" or "encode_anew" in file.done:  # the text of the second may be none
        file.sound = False
    if chance.random() < 0.3:
        file.options["encoding"] = codec


def insert(chance: random.Random, file: File) -> None:
    """Put signs that mean something to a reader somewhere."""
    signs = [b'"', b'""', b"'", b"\0", b",", b";", b"\t", b"|", b"::", b"\n", b"\r", b"\r\n", b"\\", b"\xef\xbb\xbf",
             b"\xa0", b"\xc3", b"\x1a", b"#", b" ", b"\n\n\n", b"NaN", b"\x80", b"\xe2\x80\xa8", b"\x0c", b"\x1f"]  # fmt: skip
    for _ in range(chance.choice([1, 1, 2, 5])):
        at = chance.randrange(len(file.data) + 1)
        file.data = file.data[:at] + chance.choice(signs) + file.data[at:]
    file.sound = False


def repeat_line(chance: random.Random, file: File) -> None:
    """Write a line twice, the header too."""
    lines = file.data.splitlines(keepends=True)
    if lines:
        at = chance.randrange(len(lines))
        lines.insert(chance.randrange(len(lines) + 1), lines[at])
    file.data, file.sound = b"".join(lines), False


def drop_line(chance: random.Random, file: File) -> None:
    """Lose a line."""
    lines = file.data.splitlines(keepends=True)
    if lines:
        del lines[chance.randrange(len(lines))]
    file.data, file.sound = b"".join(lines), False


def huge_field(chance: random.Random, file: File) -> None:
    """Put a text of kilobytes or megabytes somewhere."""
    at = chance.randrange(len(file.data) + 1)
    size = chance.choice([5_000, 300_000, 3_000_000])
    file.data = file.data[:at] + b"x" * size + file.data[at:]
    file.sound = False


def damage_header(chance: random.Random, file: File) -> None:
    """Rename, lose or repeat something of the first line."""
    head, end, rest = file.data.partition(b"\n")
    change = chance.choice(
        [
            lambda: head.replace(
                b"user_id", chance.choice([b"user", b"item_id", b"", b"User_ID", b" user_id"])
            ),
            lambda: head.upper(),
            lambda: head + b",",
            lambda: head[: chance.randrange(len(head) + 1)],
            lambda: b'"' + head,
            lambda: b"",
            lambda: head + b"\t" + head,
        ]
    )
    file.data, file.sound = change() + end + rest, False


def mix_line_ends(chance: random.Random, file: File) -> None:
    """Give some lines the ends of another system."""
    lines = file.data.split(b"\n")
    file.data = b"".join(line + chance.choice([b"\n", b"\r\n", b"\r"]) for line in lines[:-1]) + lines[-1]
    file.sound = False


def shift_fields(chance: random.Random, file: File) -> None:
    """Add a separator to the end of a line, or of all."""
    form = FORMATS[file.kind]
    assert isinstance(form, TextFormat)
    sign, end = form.separator.encode(), form.end.encode()
    lines = file.data.split(end)
    if chance.random() < 0.5:
        at = chance.randrange(len(lines))
        lines[at] += sign
    else:
        lines = [line + sign if line and i else line for i, line in enumerate(lines)]
    file.data, file.sound = end.join(lines), False


def permute_columns(chance: random.Random, file: File) -> None:
    """Order the columns anew."""
    form, text = FORMATS[file.kind], _text(file)
    assert isinstance(form, TextFormat)
    if text is None or '"' in text:
        return
    lines = [line.split(form.separator) for line in text.split(form.end)]
    order = list(range(len(lines[0])))
    chance.shuffle(order)
    if all(len(line) == len(order) for line in lines[:-1]) and lines[-1] == [""]:
        moved = [form.separator.join(line[i] for i in order) for line in lines[:-1]]
        file.data = form.end.join([*moved, ""]).encode(form.encoding, "replace")


def json_keys(chance: random.Random, file: File) -> None:
    """Lose, repeat or retype a key of some objects."""
    text = _text(file)
    if text is None:
        return
    changes = [
        ('"user_id": ', '"user_id": 1, "user_id": '),
        ('"item_id": ', '"x": {"item_id": 5}, "item_id": '),
        ('"w": 1', '"w": null'),
        ('"item_id": 3', '"item_id": "3"'),
        ('"item_id": 4', '"item_id": 4.0'),
        ('"title": ', '"other": [1, {"a": "b"}], "title": '),
        ('"title"', '"Title"'),
        ('"w": 3', '"w": NaN'),
        ('"w": 3', '"w": 1e400'),
        ('"user_id"', '"\\u0075ser_id"'),
        ('"plain"', '"\\ud800"'),
        ('"plain"', '"\\u0000"'),
        (", ", ","),
        ("}", ",}"),
        (": ", ":"),
        ('"plain"', "plain"),
        ('"plain"', "12345678901234567890123"),
        ('"plain"', json.dumps("deep") if chance.random() < 0.5 else "[" * 900 + "]" * 900),
    ]
    old, new = chance.choice(changes)
    text = text.replace(old, new, chance.choice([1, 3, 10**6]))
    form = FORMATS[file.kind]
    assert isinstance(form, JsonFormat)
    file.data, file.sound = text.encode(form.encoding, "replace"), False


def _text(file: File) -> str | None:
    """The text of a file that is still in its encoding."""
    form = FORMATS[file.kind]
    assert not isinstance(form, BinaryFormat)
    try:
        return file.data.decode(form.encoding)
    except UnicodeDecodeError:
        return None


Mutation = Callable[[random.Random, File], None]
BINARY: tuple[Mutation, ...] = (cut, flip, overwrite, insert)
TEXT: tuple[Mutation, ...] = (
    cut, splice, flip, overwrite, encode_anew, insert, insert, repeat_line, drop_line, huge_field, mix_line_ends,
)  # fmt: skip
DELIMITED: tuple[Mutation, ...] = (permute_columns, shift_fields, damage_header, damage_header)
JSON: tuple[Mutation, ...] = (json_keys, json_keys, json_keys, damage_header)
