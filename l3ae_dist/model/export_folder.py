"""The folder of an export: known by its files, replaced by another export alone, and never half there.

An export lists its files with their sizes and digests in ``header.json``. A folder is replaced only when it
is empty, or holds those files and nothing else. The old one is put aside, comes back when the new one cannot
take its place, and is deleted file by file.
"""

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from l3ae_dist.errors import ConfigError, WorkspaceError
from l3ae_dist.messages import listed, shown
from l3ae_dist.storage.documents import DocumentProblem, opened
from l3ae_dist.storage.export_header import FORMAT, HEADER, ITEMS, WEIGHTS, FileDigest, file_digest

PARQUET = "weights.parquet"
_OWN = (HEADER, ITEMS, WEIGHTS, PARQUET)
# Keys of every header, also of exports that did not list their files yet.
_KEYS = ("format_version", "package_version", "model", "params", "k", "n_items", "entries", "dtype")
_LARGEST_HEADER = 1 << 24

Stamps = dict[str, tuple[int, int, int]]
"""Inode, size and time of the files of a folder, by name."""


def export_target(path: str | Path, workspace: str) -> Path:
    """Return the folder, links resolved, that an export to ``path`` may make or replace.

    Parameters
    ----------
    path
        As the user names it.
    workspace
        Path or URL of the workspace, in which no export is put.

    Raises
    ------
    ConfigError
        For a URL.
    WorkspaceError
        For a folder that holds anything but an export.
    """
    if "://" in str(path):
        raise ConfigError(f"{shown(str(path))} is a URL; export to a local folder and copy that.")
    try:
        target = Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL
        raise ConfigError(f"{shown(str(path))} is no path ({error}); choose another folder.") from error
    if "://" not in workspace and target.is_relative_to(Path(workspace).resolve()):
        raise WorkspaceError(
            f"{target} is in the workspace {workspace}, which keeps its own files; choose another folder."
        )
    _bring_back(target)
    _refuse_others(target)
    return target


@contextlib.contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Provide an empty folder beside ``target`` that takes its place at the end, when nothing fails.

    Parameters
    ----------
    target
        What :func:`export_target` returned.

    Raises
    ------
    WorkspaceError
        When the target has changed in the meantime, or cannot be replaced.
    """
    before = _refuse_others(target)
    _sweep(target)
    partial = _beside(target, "partial")
    partial.mkdir(parents=True)
    with _held(partial):
        try:
            yield partial
            if _stamps(target) != before:
                raise WorkspaceError(
                    f"{target} was changed while the export was made, and is left as it is now; export to "
                    "another folder."
                )
            _swap(partial, target)
        finally:
            _remove(partial)


def file_digests(folder: Path) -> dict[str, FileDigest]:
    """Return sizes and SHA-256 digests of the files of a folder, by name."""
    return {path.name: file_digest(path) for path in sorted(folder.iterdir())}


# ---- whose folder it is


def _refuse_others(target: Path) -> Stamps | None:
    """Refuse a folder that is not an export's; return the stamps of its files, None where there is none."""
    if not os.path.lexists(target):
        return None
    before = _stamps(target)
    problem = _foreign(target)
    if problem:
        raise WorkspaceError(
            f"{target} is there and is no export: {problem}. Nothing was changed; choose a new or "
            "empty folder."
        )
    return before


def _foreign(folder: Path) -> str:
    """Say what in a folder no export wrote; empty for an export and for an empty folder."""
    if not folder.is_dir():
        return "it is no folder"
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    if not entries:
        return ""
    others = [one.name for one in entries if one.name not in _OWN or not one.is_file(follow_symlinks=False)]
    if others:
        return f"it holds {listed(others, 3)}"
    header = _header(folder / HEADER)
    if header is None:
        return f"its {HEADER} is missing or not that of an export"
    return _changed(folder, {entry.name for entry in entries} - {HEADER}, header)


def _header(path: Path) -> dict[str, object] | None:
    """Read the header of an export; None for anything else."""
    try:
        if path.stat().st_size > _LARGEST_HEADER:
            return None
        header = opened(HEADER, path.read_bytes(), required=False)
    except (FileNotFoundError, DocumentProblem):
        return None
    if header.get("format") != FORMAT:
        return None
    return header if all(key in header for key in _KEYS) else None


def _changed(folder: Path, names: set[str], header: dict[str, object]) -> str:
    """Say which file is not the one that the header lists; headers of old exports list none."""
    files = header.get("files")
    if files is None:
        return ""
    if not isinstance(files, dict):
        return f"its {HEADER} is not that of an export"
    for name in sorted(names):
        if files.get(name) != file_digest(folder / name):
            return f"{name} is not the file that was exported"
    return ""


def _stamps(folder: Path) -> Stamps | None:
    """Return what tells that a file was changed or replaced; None where there is no folder."""
    try:
        found = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(folder)}
    except (FileNotFoundError, NotADirectoryError):
        return None
    return {name: (one.st_ino, one.st_size, one.st_mtime_ns) for name, one in found.items()}


# ---- one folder in the place of another


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f".{target.name}.l3ae-{what}-{uuid.uuid4().hex[:8]}")


def _left(target: Path, what: str) -> list[Path]:
    """List the folders beside ``target`` that exports to it made."""
    prefix = f".{target.name}.l3ae-{what}-"
    try:
        entries = [entry for entry in os.scandir(target.parent) if entry.name.startswith(prefix)]
    except OSError:  # a parent that is not there, or must not be listed
        return []
    return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


def _swap(partial: Path, target: Path) -> None:
    """Put a finished export in its place; what was there comes back when that fails."""
    if not os.path.lexists(target):
        partial.rename(target)
        return
    aside = _beside(target, "old")
    try:
        target.rename(aside)
        try:
            partial.rename(target)
        except BaseException:
            aside.rename(target)
            raise
    except OSError as error:
        raise WorkspaceError(
            f"{target} cannot be replaced ({error.strerror or error}) and is left as it is; export "
            "to another folder."
        ) from error
    _remove(aside)


def _bring_back(target: Path) -> None:
    """Put an old export back that a killed export had put aside and not replaced."""
    asides = [path for path in _left(target, "old") if not _foreign(path)]
    if asides and not os.path.lexists(target):
        asides.pop().rename(target)
    for path in asides:
        _remove(path)


def _sweep(target: Path) -> None:
    """Delete what killed exports to this folder left; what a living one holds stays."""
    for path in _left(target, "partial"):
        with _held(path) as free:
            if free:
                _remove(path)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Lock a folder while the block runs; false when another process has it. A killed process has none."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks
        return False
    return True


def _remove(folder: Path) -> None:
    """Delete the files of an export and its folder, which stays when it holds anything else."""
    with contextlib.suppress(OSError):
        for name in _OWN:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
