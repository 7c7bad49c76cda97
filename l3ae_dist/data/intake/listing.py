"""Files and folders on this machine or behind a URL."""

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from l3ae_dist.data.intake.files import (
    SourceFile,
    cannot_open,
    filesystem,
    is_url,
    refuse_special,
    shortened,
)
from l3ae_dist.data.intake.stamps import stamp_of
from l3ae_dist.errors import DataError


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder.

    Parameters
    ----------
    name
        Last component of its path.
    path
        Absolute path, or URL.
    identity
        The same for all paths of one file.
    file
        The file; None for a folder.
    list_children
        Lists the folder; None for a file.
    problem
        Why it cannot be read: a pipe, a link to nothing.
    """

    name: str
    path: str
    identity: object
    file: SourceFile | None
    list_children: "Callable[[], list[Entry]] | None"
    problem: DataError | None = None

    @property
    def is_folder(self) -> bool:
        """True for a folder."""
        return self.list_children is not None

    def children(self) -> "list[Entry]":
        """List what the folder holds, sorted by name."""
        assert self.list_children is not None
        return self.list_children()


def find_entry(path: str) -> Entry | None:
    """Return what stands at an absolute path or URL; None for nothing.

    Raises
    ------
    DataError
        Where it cannot be known, and for pipes, devices and links to nothing.
    """
    return _remote_entry(path) if is_url(path) else _local_entry(path)


def _local_entry(path: str) -> Entry | None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.islink(path):
            return None
        target = shortened(os.readlink(path))
        raise DataError(f"{shortened(path)} is a link to {target}, which is not there; mend it.") from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and os.path.islink(path):
            raise DataError(f"{shortened(path)} is a link that leads to itself; remove it.") from error
        raise cannot_open(path, error) from error
    name = os.path.basename(path)
    identity = (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)
    if stat.S_ISDIR(status.st_mode):
        return Entry(name, path, identity, None, lambda: _local_children(path))
    refuse_special(path, status.st_mode)
    return Entry(name, path, identity, SourceFile(path, status.st_size, str(status.st_mtime)), None)


def _local_children(folder: str) -> list[Entry]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise cannot_open(folder, error) from error
    entries = (_local_child(os.path.join(folder, name)) for name in names)
    return [entry for entry in entries if entry is not None]


def _local_child(path: str) -> Entry | None:
    try:
        return _local_entry(path)
    except DataError as problem:  # it may be no data, and in nobody's way
        return Entry(os.path.basename(path), path, path, None, None, problem)


def _remote_entry(url: str) -> Entry | None:
    fs, path = filesystem(url)
    try:
        info = fs.info(path)
    except FileNotFoundError:
        return None
    except Exception as error:
        raise cannot_open(url, error) from error
    if info.get("type") == "directory" or _is_mark_of_folder(url, info):
        return _remote_folder(url, lambda: _tree(url))
    return _remote_file(url, info)


def _is_mark_of_folder(url: str, info: Mapping[str, object]) -> bool:
    """Tell whether an object without a byte, or a bucket, stands for what is below it."""
    return not info.get("size") and not url.startswith("http") and bool(_tree(url))


def _remote_file(url: str, info: Mapping[str, object]) -> Entry:
    size = info.get("size")
    file = SourceFile(url, size if isinstance(size, int) else 0, stamp_of(info))
    return Entry(_name(url), url, url, file, None)


def _remote_folder(url: str, children: "Callable[[], list[Entry]]") -> Entry:
    return Entry(_name(url), url, url, None, children)


def _name(url: str) -> str:
    return url.partition("::")[0].rstrip("/").rpartition("/")[2]


def _tree(url: str) -> list[Entry]:
    """List a folder behind a URL with all that is below it in one request."""
    fs, path = filesystem(url)
    try:
        found = fs.find(path, detail=True)
    except Exception as error:
        raise cannot_open(url, error) from error
    root = path.rstrip("/")
    below = {name.removeprefix(root).removeprefix("/"): info for name, info in sorted(found.items())}
    return _grouped(url, [(name.split("/"), info) for name, info in below.items()])


def _grouped(url: str, found: Iterable[tuple[list[str], Mapping[str, object]]]) -> list[Entry]:
    """Make the entries of one folder of what is below it, each with its path from the folder."""
    files: list[Entry] = []
    folders: dict[str, list[tuple[list[str], Mapping[str, object]]]] = {}
    for (name, *rest), info in found:
        if rest:
            folders.setdefault(name, []).append((rest, info))
        elif name:  # some stores list the folder itself
            files.append(_remote_file(_below(url, name), info))
    files = [file for file in files if file.name not in folders]  # marks of folders in buckets
    return sorted(
        [*files, *(_subfolder(_below(url, name), below) for name, below in folders.items())],
        key=lambda entry: entry.name,
    )


def _subfolder(url: str, below: list[tuple[list[str], Mapping[str, object]]]) -> Entry:
    return _remote_folder(url, lambda: _grouped(url, below))


def _below(url: str, name: str) -> str:
    """Return the URL of what a folder holds; ``zip://a::s3://b/c.zip`` names the folder first."""
    head, mark, tail = url.partition("::")
    scheme, colon, path = head.partition("://")
    folder = f"{path.rstrip('/')}/" if path.strip("/") else path
    return f"{scheme}{colon}{folder}{name}{mark}{tail}"
