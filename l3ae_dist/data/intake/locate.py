"""The files behind paths, patterns, folders and URLs."""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import islice
from urllib.parse import unquote

import fsspec

from l3ae_dist.data.intake import formats
from l3ae_dist.data.intake.files import Format, SourceFile, cannot_open, filesystem, is_url, shortened
from l3ae_dist.data.intake.listing import Entry, find_entry
from l3ae_dist.data.intake.search import Search, fixed_part, has_magic
from l3ae_dist.errors import DataError
from l3ae_dist.storage.credentials import refuse_secrets

_SHOWN = 2
_READERS = 8
_LONGEST = 4096
# What pathlib makes of a URL.
_COLLAPSED = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):/(?!/)")
_FILE_SCHEMES = ("file://", "local://")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Located:
    """Files of a table, in order, and what was decided about them.

    Parameters
    ----------
    files
        The files, each once.
    notes
        Sentences on what was left out.
    """

    files: tuple[SourceFile, ...]
    notes: tuple[str, ...]


def locate(sources: Sequence[str | os.PathLike[str]]) -> Located:
    """List the files behind paths, patterns, folders and URLs, with what each of them holds.

    Parameters
    ----------
    sources
        As :func:`find_files` takes them.

    Raises
    ------
    DataError
        As :func:`find_files` does, and for files that hold no table, or several formats in one folder.
    ConfigError
        For a URL that carries credentials or a signature.
    """
    found = _find(sources)
    files: list[SourceFile] = []
    for group in found.groups:
        some = _in_formats(group.files)
        if group.together:
            _refuse_mixed(some, group.path)
        files += some
    return Located(tuple(files), tuple(found.notes()))


def find_files(sources: Sequence[str | os.PathLike[str]]) -> list[SourceFile]:
    """List the files behind paths, patterns, folders and URLs, those of each source sorted; none is opened.

    A file that is named outright is always taken. In folders and by patterns, names that begin with ``.`` or
    ``_`` are no data, unless they hold ``=``. Symbolic links are followed; each file is taken once, whatever
    the number of paths that lead to it.

    Parameters
    ----------
    sources
        Paths (``~`` is the home folder), patterns (``**`` is any number of folders), folders, fsspec URLs.

    Raises
    ------
    DataError
        Where there is no file, or none that can be read; for folders that hold tables of other systems; for
        links that lead to a folder above them.
    ConfigError
        For a URL that carries credentials or a signature.
    """
    return [file for group in _find(sources).groups for file in group.files]


def _find(sources: Sequence[str | os.PathLike[str]]) -> "_Found":
    found = _Found()
    for source in sources:
        found.add(_absolute(source))
    return found


@dataclass(frozen=True, slots=True)
class _Group:
    """Files of one source: a path, and whether it is a folder or a pattern and not the path of a file."""

    path: str
    together: bool
    files: list[SourceFile]


@dataclass(slots=True)
class _Found:
    """Files of the sources so far, and what was left out."""

    groups: list[_Group] = field(default_factory=list)
    search: Search = field(default_factory=Search)
    taken: set[object] = field(default_factory=set)
    again: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        """Add the files of one source."""
        entry = find_entry(path)
        if entry is None:
            entries = list(self.search.matches(path)) if has_magic(path) else []
        elif entry.is_folder:
            entries = list(self.search.below(entry))
        else:
            self._name_other_meaning(entry)
            entries = [entry]
        if not entries:
            raise self._nothing(path, entry)
        root = fixed_part(path) if entry is None else entry.path
        if entry is not None and entry.is_folder:  # the folder that is named may itself be ``key=value``
            root = root.partition("::")[0].rstrip("/").rpartition("/")[0]
        files = list(self._once(sorted(entries, key=lambda one: one.path), root))
        self.groups.append(_Group(path, entry is None or entry.is_folder, files))

    def notes(self) -> Iterator[str]:
        """Yield sentences on what was left out."""
        yield from self.remarks
        if self.search.hidden:
            yield (
                f"left out {_named(self.search.hidden)}, because names that begin with '.' or '_' are no "
                "data; a file that is named outright is read."
            )
        if self.search.unread:
            yield f"left out {_named(self.search.unread)}, because the name tells no format that is read."
        if self.again:
            yield f"read once although more than one path leads there: {_named(self.again)}."
        empty = [file.path for group in self.groups for file in group.files if file.is_empty]
        if empty:
            yield f"without a byte, and so without rows: {_named(empty)}."

    def _name_other_meaning(self, entry: Entry) -> None:
        """Raise, or note, where the path of a file is also a pattern that matches others."""
        pattern, folder = entry.name, entry.path[: -len(entry.name) - 1]
        parent = find_entry(folder or "/") if has_magic(pattern) and not is_url(folder) else None
        names = [] if parent is None else [one.name for one in parent.children()]
        others = [one for one in names if one != pattern and fnmatchcase(one, pattern)]
        if others and fnmatchcase(pattern, pattern):
            raise DataError(
                f"{shortened(entry.path)} is the name of a file, and a pattern that {shortened(others[0])} "
                "matches too; write [*] or [?] for a character that stands for itself."
            )
        if others:
            self.remarks.append(
                f"{shortened(entry.path)} is read as the name of a file, and not as a pattern."
            )

    def _once(self, entries: list[Entry], root: str) -> Iterator[SourceFile]:
        for entry in entries:
            if entry.problem is not None:
                raise entry.problem
            assert entry.file is not None
            if entry.identity in self.taken:
                self.again.append(entry.path)
            else:
                self.taken.add(entry.identity)
                yield replace(entry.file, keys=_keys(entry.path, root))

    def _nothing(self, path: str, entry: Entry | None) -> DataError:
        name = shortened(path)
        if entry is not None and self.search.unread:
            return DataError(
                f"the folder {name} holds no file that is read, but {_named(self.search.unread)}; "
                f"read are {formats.READ}."
            )
        if self.search.unread:
            return formats.unknown(next(iter(self.search.unread)))
        if entry is not None:
            return DataError(f"the folder {name} holds no file that is read; read are {formats.READ}.")
        if has_magic(path):
            return DataError(f"no file matches {name}; check the pattern.")
        return DataError(f"no file at {name}; check the path.")


def _absolute(source: str | os.PathLike[str]) -> str:
    """Return the absolute path of a local source, or its URL."""
    text = os.fsdecode(source) if isinstance(source, bytes) else str(source)
    is_no_path = len(text) > _LONGEST or not text.strip() or "\n" in text or "\0" in text
    if is_no_path and not os.path.lexists(text):
        raise DataError(f"{shortened(text)!r} is no path; give the path of a file, or a DataFrame.")
    collapsed = _COLLAPSED.match(text)
    if collapsed and not os.path.lexists(text) and collapsed[1] in fsspec.available_protocols():
        text = text.replace(":/", "://", 1)
    refuse_secrets(text, "data")
    if text.startswith(_FILE_SCHEMES):
        path = text.partition("://")[2].removeprefix("localhost")
        return path if os.path.lexists(path) or "%" not in path else unquote(path)
    if is_url(text):
        return text
    return os.path.abspath(text if os.path.lexists(text) else os.path.expanduser(text))


def _keys(path: str, root: str) -> tuple[tuple[str, str], ...]:
    """Return the names and values of the folders ``key=value`` of a path below the root, decoded."""
    path, root = (one.partition("::")[0] if is_url(one) else one for one in (path, root))
    folders = path.removeprefix(root.rstrip("/")).split("/")[:-1]
    pairs = (folder.partition("=") for folder in folders if "=" in folder.lstrip("=") and "?" not in folder)
    keys = {unquote(name): unquote(value) for name, _, value in pairs}
    return tuple((name, "" if value == _NO_VALUE else value) for name, value in keys.items())


def _in_formats(files: list[SourceFile]) -> list[SourceFile]:
    if any(not file.local for file in files) and len(files) > 1:
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(_in_format, files))
    return [_in_format(file) for file in files]


def _in_format(file: SourceFile) -> SourceFile:
    if not file.local and formats.is_columnar(file.path):
        return formats.in_format(file, b"")  # its reader looks at the end of it anyway
    return formats.in_format(file, b"" if file.is_empty else _head(file))


def _head(file: SourceFile) -> bytes:
    try:
        if file.local or file.path.startswith("http"):  # web servers may send all when asked for a piece
            with file.open() as opened:
                return opened.read(formats.HEAD)
        fs, path = filesystem(file.path)
        return bytes(fs.cat_file(path, start=0, end=formats.HEAD))
    except DataError:
        raise
    except Exception as error:
        raise cannot_open(file.path, error) from error


def _refuse_mixed(files: list[SourceFile], path: str) -> None:
    kinds: dict[str, SourceFile] = {}
    for file in files:
        kinds.setdefault(file.suffix if file.format is Format.DELIMITED else file.format, file)
    if len(kinds) > 1:
        first, second = list(kinds.values())[:2]
        raise DataError(
            f"{shortened(path)} holds files of several formats, such as {first.name} and {second.name}; "
            "give a pattern or a list that names those of one table."
        )


def _named(paths: Collection[str]) -> str:
    shown = ", ".join(shortened(path) for path in islice(paths, _SHOWN))
    return f"{len(paths):,} file(s): {shown}{', ...' if len(paths) > _SHOWN else ''}"
