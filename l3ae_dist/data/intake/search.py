"""The walk through folders and patterns: which files are data."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from l3ae_dist.data.intake import formats
from l3ae_dist.data.intake.files import is_url, shortened
from l3ae_dist.data.intake.lakehouse import refuse_lakehouse, refuse_lakehouse_above
from l3ae_dist.data.intake.listing import Entry, find_entry
from l3ae_dist.errors import DataError

# What the library datasets writes beside its Arrow files.
_BESIDE = ("dataset_info.json", "state.json")
_MAGIC = re.compile(r"[*?\[]")
_ANY = "**"


@dataclass(slots=True)
class Search:
    """Files that were found below folders, and those that are no data.

    Parameters
    ----------
    hidden
        Paths that look like data but for names that begin with ``.`` or ``_``.
    unread
        Paths of files whose names tell no format.
    """

    hidden: dict[str, None] = field(default_factory=dict)
    unread: dict[str, None] = field(default_factory=dict)

    def below(self, folder: Entry) -> Iterator[Entry]:
        """Yield the data in a folder and the folders below it."""
        refuse_lakehouse_above(folder.path)
        yield from self._walk(folder, (folder.identity,))

    def matches(self, pattern: str) -> Iterator[Entry]:
        """Yield the data that a pattern matches, each once; of a folder that it matches, all data.

        Parameters
        ----------
        pattern
            Absolute path or URL whose components may hold ``*``, ``?``, ``[...]`` and be ``**``.
        """
        root, components = _split(pattern)
        entry = find_entry(root)
        if entry is not None and entry.is_folder:
            refuse_lakehouse_above(root)
            found = {one.path: one for one in self._match(entry, components, (entry.identity,))}
            yield from found.values()

    def _walk(self, folder: Entry, above: tuple[object, ...]) -> Iterator[Entry]:
        for entry in _children(folder):
            if _is_hidden(entry.name):
                self._note_hidden(entry, "*")
            elif entry.is_folder:
                yield from self._walk(entry, _deeper(above, entry))
            else:
                yield from self._data(entry)

    def _match(self, folder: Entry, components: list[str], above: tuple[object, ...]) -> Iterator[Entry]:
        first, rest = components[0], components[1:]
        if first == _ANY and not rest:
            yield from self._walk(folder, above)
            return
        if first == _ANY:
            yield from self._match(folder, rest, above)
        children = _children(folder)
        literal = [entry for entry in children if entry.name == first]
        for entry in literal or children:
            if first != _ANY and not literal and not fnmatchcase(entry.name, first):
                continue
            if _is_hidden(entry.name) and not first.startswith(entry.name[0]):
                if not rest or (first == _ANY and entry.is_folder):
                    self._note_hidden(entry, components[-1])
            elif first == _ANY:
                if entry.is_folder:
                    yield from self._match(entry, components, _deeper(above, entry))
            elif entry.is_folder:
                deeper = _deeper(above, entry)
                yield from self._match(entry, rest, deeper) if rest else self._walk(entry, deeper)
            elif not rest:
                yield from self._data(entry)

    def _data(self, entry: Entry) -> Iterator[Entry]:
        if formats.is_data(entry.path):
            if entry.name not in _BESIDE:
                yield entry
        elif formats.is_foreign_table(entry.path):
            raise formats.unknown(entry.path)
        else:
            self.unread[entry.path] = None

    def _note_hidden(self, entry: Entry, pattern: str) -> None:
        inside = entry.children() if entry.is_folder else [entry]
        for one in inside:
            if not one.is_folder and formats.is_data(one.path) and fnmatchcase(one.name, pattern):
                self.hidden[one.path] = None


def has_magic(path: str) -> bool:
    """Tell whether a path may be a pattern; the addresses of web pages are none."""
    return bool(_MAGIC.search(path)) and not (is_url(path) and path.startswith("http"))


def fixed_part(pattern: str) -> str:
    """Return the folder that the components before the first with a wildcard name."""
    return _split(pattern)[0]


def _split(pattern: str) -> tuple[str, list[str]]:
    """Split a pattern into the folder that its plain components name, and the components after it."""
    plain: list[str] = []
    pattern, chained, outer = pattern.partition("::") if is_url(pattern) else (pattern, "", "")
    scheme, mark, rest = pattern.partition("://") if is_url(pattern) else ("", "", pattern)
    components = rest.split("/")
    while len(components) > 1 and not _MAGIC.search(components[0]):
        plain.append(components.pop(0))
    root = f"{scheme}{mark}{'/'.join(plain)}{chained}{outer}"
    components = list(_without_repeats(components))
    if components[-2:] == [_ANY, "*"]:
        components.pop()  # all files at any depth
    return root or "/", components


def _without_repeats(components: list[str]) -> Iterator[str]:
    """Write ``**.csv`` as ``**/*.csv``, and a row of ``**`` as one."""
    before = ""
    for component in components:
        for one in (_ANY, component.replace(_ANY, "*")) if _ANY in component.strip("/") else (component,):
            one = _ANY if component == _ANY else one
            if one and not one == before == _ANY:
                yield one
            before = one


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_")) and "=" not in name


def _children(folder: Entry) -> list[Entry]:
    entries = folder.children()
    refuse_lakehouse(folder.path, entries)
    return entries


def _deeper(above: tuple[object, ...], entry: Entry) -> tuple[object, ...]:
    if entry.identity in above:
        raise DataError(
            f"{shortened(entry.path)} is a link to a folder above it, and so without end; remove the link."
        )
    return (*above, entry.identity)
