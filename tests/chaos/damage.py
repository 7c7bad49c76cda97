"""Faults at rest: what a disk, a bucket, a copy or a person does to the files of a workspace."""

import json
import os
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from chaos.stores import Files

CLASSES: dict[str, Callable[[str], bool]] = {
    "chunk": lambda key: re.search(r"/c/\d+(/\d+)?$", key) is not None and not key.startswith("meta/"),
    "mark": lambda key: key.startswith("meta/done/"),
    "document": lambda key: (
        key.startswith("meta/") and key.endswith(".json") and not key.endswith("zarr.json")
    ),
    "header": lambda key: key.endswith("zarr.json"),
    "any": lambda key: True,
}


@dataclass
class Victim:
    """A workspace to be damaged.

    Parameters
    ----------
    files
        Where it lies.
    now
        Its files.
    older
        Its files at earlier moments.
    rng
        The draw's.
    """

    files: Files
    now: dict[str, bytes]
    older: list[dict[str, bytes]]
    rng: random.Random

    def pick(
        self, classes: tuple[str, ...] = tuple(CLASSES), fits: Callable[[str], bool] = lambda key: True
    ) -> str:
        """Draw a file: first what kind of file, so that few documents are drawn as often as many chunks."""
        chosen = self.rng.choice([CLASSES[name] for name in classes])
        return self.rng.choice(
            [key for key in sorted(self.now) if chosen(key) and fits(key)] or sorted(self.now)
        )

    def put(self, key: str, data: bytes) -> None:
        """Replace a file."""
        self.now[key] = data
        self.files.write(key, data)

    def drop(self, key: str) -> None:
        """Delete a file."""
        if self.now.pop(key, None) is not None:
            self.files.delete(key)


def flip(victim: Victim) -> str:
    """Flip one to three bits of a file."""
    key = victim.pick(fits=lambda one: bool(victim.now[one]))
    data = bytearray(victim.now[key])
    if not data:
        return extend(victim)
    at = [victim.rng.randrange(8 * len(data)) for _ in range(victim.rng.choice([1, 1, 3]))]
    for bit in at:
        data[bit // 8] ^= 1 << bit % 8
    victim.put(key, bytes(data))
    return f"bits {at} of {key} flipped"


def cut(victim: Victim) -> str:
    """Cut the end, or the beginning, of a file off."""
    key = victim.pick()
    data = victim.now[key]
    at = victim.rng.randrange(len(data) or 1)
    end = victim.rng.random() < 0.8
    victim.put(key, data[:at] if end else data[at:])
    return f"{key} cut {'to its first' if end else 'from byte'} {at} of {len(data)}"


def extend(victim: Victim) -> str:
    """Add bytes to a file."""
    key = victim.pick()
    more = victim.rng.choice([b"\0" * 4, b"\0" * 4096, b"}", b"\n", victim.rng.randbytes(100)])
    victim.put(key, victim.now[key] + more)
    return f"{key} extended by {len(more)} bytes {more[:4]!r}"


def zero(victim: Victim) -> str:
    """Write zeros over a file, or over a block of it."""
    key = victim.pick()
    data = bytearray(victim.now[key])
    start = 0 if victim.rng.random() < 0.5 else victim.rng.randrange(len(data) or 1)
    data[start:] = bytes(len(data) - start)
    victim.put(key, bytes(data))
    return f"{key} zero from byte {start}"


def empty(victim: Victim) -> str:
    """Leave a file of no bytes, or many of them."""
    keys = {victim.pick() for _ in range(victim.rng.choice([1, 1, 4]))}
    for key in sorted(keys):
        victim.put(key, b"")
    return f"{sorted(keys)} empty"


def noise(victim: Victim) -> str:
    """Write random bytes over a file."""
    key = victim.pick()
    victim.put(key, victim.rng.randbytes(len(victim.now[key]) or 7))
    return f"{key} random"


def _marks_of(files: dict[str, bytes], chunk: str) -> list[str]:
    """List the done-marks of a chunk."""
    array, _, place = chunk.partition("/c/")
    i, _, j = place.partition("/")
    return [key for key in sorted(files) if key.startswith(f"meta/done/{array}/{i}.{j or 0}.")]


def _same_size(victim: Victim, key: str, near: bool) -> str:
    """Draw another chunk of the size of ``key``: of the same array, or of any."""
    array = key.partition("/c/")[0]
    size = len(victim.now[key])
    fits = [
        one
        for one in sorted(victim.now)
        if CLASSES["chunk"](one)
        and one != key
        and len(victim.now[one]) == size
        and victim.now[one] != victim.now[key]
        and (one.partition("/c/")[0] == array) == near
    ]
    return victim.rng.choice(fits) if fits else key


def swap(victim: Victim) -> str:
    """Exchange two chunks, of one array or of two, with or without their marks."""
    one = victim.pick(("chunk",))
    other = _same_size(victim, one, victim.rng.random() < 0.6)
    if one == other:
        return flip(victim)
    first, second = victim.now[one], victim.now[other]
    marked = victim.rng.random() < 0.5
    if marked:
        was = dict(victim.now)
        _move_mark(victim, one, other, was)
        _move_mark(victim, other, one, was)
    victim.put(one, second)
    victim.put(other, first)
    return f"{one} and {other} exchanged {'with' if marked else 'without'} their marks"


def copy_over(victim: Victim) -> str:
    """Copy a chunk over another, with or without its mark, or any file over any other."""
    if victim.rng.random() < 0.25:
        one, other = victim.pick(), victim.pick()
        victim.put(one, victim.now[other])
        return f"{other} copied over {one}"
    one = victim.pick(("chunk",))
    other = _same_size(victim, one, victim.rng.random() < 0.5)
    marked = victim.rng.random() < 0.5
    if marked:
        _move_mark(victim, one, other, dict(victim.now))
    victim.put(one, victim.now[other])
    return f"{other} copied over {one} {'with' if marked else 'without'} its mark"


def _move_mark(victim: Victim, chunk: str, source: str, was: dict[str, bytes]) -> None:
    """Put the marks of ``source``, as they were, in the place of those of ``chunk``, and rename them to it."""
    for key in _marks_of(was, chunk):
        victim.drop(key)
    array, _, place = chunk.partition("/c/")
    i, _, j = place.partition("/")
    for key in _marks_of(was, source):
        suffix = key.rpartition("/")[2].split(".", 2)[2]
        victim.put(f"meta/done/{array}/{i}.{j or 0}.{suffix}", was[key])


def stale(victim: Victim) -> str:
    """Restore an older version of one file, of some, or of a folder; files that were not there then go."""
    older = victim.rng.choice(victim.older)
    changed = [key for key in sorted(set(older) | set(victim.now)) if older.get(key) != victim.now.get(key)]
    if not changed:
        return delete(victim)
    how = victim.rng.choice(["one", "some", "folder", "kind"])
    if how == "one":
        keys = [victim.rng.choice(changed)]
    elif how == "some":
        keys = [key for key in changed if victim.rng.random() < 0.3]
    elif how == "folder":
        folder = victim.rng.choice(changed).rpartition("/")[0]
        keys = [key for key in changed if key.startswith(folder + "/")]
    else:
        kind = CLASSES[victim.rng.choice(sorted(CLASSES))]
        keys = [key for key in changed if kind(key)]
    for key in keys:
        if key in older:
            victim.put(key, older[key])
        else:
            victim.drop(key)
    return f"{len(keys)} of {len(changed)} files of an older version, such as {keys[:3]}"


def delete(victim: Victim) -> str:
    """Delete a file, a few, any subset, or a folder, with its marks or without."""
    how = victim.rng.choice(["one", "few", "subset", "folder", "artifact"])
    if how == "one":
        keys = [victim.pick()]
    elif how == "few":
        keys = sorted({victim.pick() for _ in range(4)})
    elif how == "subset":
        share = victim.rng.random() ** 2
        keys = [key for key in sorted(victim.now) if victim.rng.random() < share]
    else:
        parts = victim.pick().split("/")
        folder = "/".join(parts[: victim.rng.randint(1, max(1, len(parts) - 1))])
        also = f"meta/done/{folder}/" if how == "artifact" else f"{folder}/"
        keys = [key for key in sorted(victim.now) if key.startswith((f"{folder}/", also))]
    for key in keys:
        victim.drop(key)
    return f"{len(keys)} files deleted ({how}), such as {keys[:3]}"


def times(victim: Victim) -> str:
    """Set the times of files to another moment; a bucket has its own."""
    root = getattr(victim.files, "root", None)
    moment = victim.rng.choice([0, 86400, 2**31 - 1, 4 * 10**9])
    keys = [key for key in sorted(victim.now) if victim.rng.random() < victim.rng.choice([0.05, 1.0])]
    for key in keys if root is not None else []:
        os.utime(root / key, (moment, moment))
    return f"times of {len(keys)} files set to {moment}"


def rename_mark(victim: Victim) -> str:
    """Rename a done-mark: another chunk, or another checksum."""
    key = victim.pick(("mark",))
    folder, _, name = key.rpartition("/")
    parts = name.split(".")
    place = victim.rng.randrange(len(parts))
    parts[place] = victim.rng.choice(["7", "0", f"{victim.rng.getrandbits(32):08x}", "x", ""])
    data = victim.now[key]
    if victim.rng.random() < 0.7:
        victim.drop(key)
    victim.put(f"{folder}/{'.'.join(parts) or '0'}", data)
    return f"{key} renamed to {'.'.join(parts)}"


def litter(victim: Victim) -> str:
    """Add files that nobody wrote: remains of killed writers, of editors and of file managers."""
    near = victim.pick()
    names = [
        f"{near}.{'0' * 32}.partial",
        f"{near}~",
        f"{near}.swp",
        f"{near.rpartition('/')[0]}/.DS_Store",
        f"{near}.bak",
    ]
    name = victim.rng.choice(names).lstrip("/")
    victim.put(name, victim.rng.choice([b"", b"half", victim.now[near]]))
    return f"{name} added"


def edit(victim: Victim) -> str:
    """Edit one number or string, drop or add a key, in a document, a header or a mark."""
    key = victim.pick(("document", "document", "header", "mark"))
    try:
        document = json.loads(victim.now[key])
    except ValueError:
        return flip(victim)
    places = list(_places(document))
    if not places:
        victim.put(key, b'{"a": 1}')
        return f"{key} replaced by another object"
    holder, name = victim.rng.choice(places)
    before = holder[name]  # type: ignore[index]
    how = victim.rng.random()
    if how < 0.1 and isinstance(holder, dict):
        del holder[name]
        after: object = "nothing"
    else:
        after = holder[name] = _other_value(victim.rng, before) if how < 0.85 else _other_type(victim.rng)  # type: ignore[index]
    victim.put(key, json.dumps(document, indent=1).encode())
    return f"{name!r} of {key} edited from {before!r:.60} to {after!r:.60}"


def _places(value: object) -> "list[tuple[dict[str, object] | list[object], str | int]]":
    """List every place of a document that holds a value."""
    found: list[tuple[dict[str, object] | list[object], str | int]] = []
    members: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    for name, one in members:
        if isinstance(value, dict | list):
            found.append((value, name))
        found += _places(one)
    return found


def _other_value(rng: random.Random, value: object) -> object:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([value + 1, value - 1, 2 * value + 1, -value - 1, 0 if value else 1, 10**12])
    if isinstance(value, float):
        return rng.choice([value * 1.5 + 1e-9, -value - 1, 1e300, float("nan")])
    if isinstance(value, str):
        return rng.choice(
            [value + "x", value[:-1] + "0", "", "../../etc/passwd", value[::-1] + "y", "\x1b[31m" + value]
        )
    return _other_type(rng)


def _other_type(rng: random.Random) -> object:
    return rng.choice([None, 7, -1.5, "seven", [], {}, [1, 2], {"a": 1}, True])


DAMAGE: dict[str, Callable[[Victim], str]] = {
    one.__name__.replace("_", " "): one
    for one in (
        flip,
        cut,
        extend,
        zero,
        empty,
        noise,
        swap,
        copy_over,
        stale,
        delete,
        edit,
        times,
        rename_mark,
        litter,
    )
}
