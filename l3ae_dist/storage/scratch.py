"""Temporary folders of this machine that are locked while their process lives, so that others sweep the rest.

A process that is killed removes nothing, but the kernel takes its locks away. What this module made and
nobody holds is left over: the next folder that is made, the next run and ``l3ae-dist gc`` delete it.
"""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

ScratchKind = Literal["scratch", "intake", "check", "ray", "tiles"]
# Folders of versions that locked none have other names: whether they are in use nobody can tell.
_SUFFIX = "-held"
_NAME = re.compile(rf"l3ae-(scratch|intake|check|ray|tiles)-\w+{_SUFFIX}")
LONGEST_NAME = len("l3ae-scratch-12345678") + len(_SUFFIX)


@contextlib.contextmanager
def scratch_folder(kind: ScratchKind = "scratch", parent: str | None = None) -> Iterator[Path]:
    """Provide a temporary folder that is removed on exit, or swept by others when this process is killed.

    Parameters
    ----------
    kind
        What it is for; part of its name.
    parent
        Where it is made; the system's temporary folder when None.
    """
    folder, descriptor = held_folder(kind, parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def held_folder(kind: ScratchKind, parent: str | None = None) -> tuple[Path, int]:
    """Make a temporary folder that is locked as long as the descriptor is open; others are swept before.

    Parameters
    ----------
    kind, parent
        As for :func:`scratch_folder`.

    Returns
    -------
    The folder, and the descriptor to close after it was removed.
    """
    sweep_scratch(parent)
    return _make(kind, parent)


def _make(kind: str, parent: str | None) -> tuple[Path, int]:
    while True:
        folder = tempfile.mkdtemp(prefix=f"l3ae-{kind}-", suffix=_SUFFIX, dir=parent)
        # a sweep of another process may take it before it is locked: then another is made
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        if _lock(descriptor) is not False and os.path.isdir(folder):
            return Path(folder), descriptor
        os.close(descriptor)


def abandoned_scratch() -> dict[str, int]:
    """Return the bytes of each temporary folder that a killed process of this user left, by path."""
    found = {}
    for folder in _candidates():
        with _free(folder) as free:
            if free:
                found[folder] = _bytes_below(folder)
    return found


def sweep_scratch(parent: str | None = None) -> None:
    """Delete the temporary folders that killed processes of this user left, those in ``parent`` too."""
    for folder in _candidates(parent):
        with _free(folder) as free:
            if free:
                shutil.rmtree(folder, ignore_errors=True)


def _candidates(beside: str | None = None) -> list[str]:
    """List the folders of this module that belong to this user."""
    found = set()
    places = {tempfile.gettempdir(), "/tmp"}  # noqa: S108 - where the paths of Ray's sockets stay short
    for parent in places | ({beside} if beside else set()):
        with contextlib.suppress(OSError):
            named = [entry for entry in os.scandir(parent) if _NAME.fullmatch(entry.name)]
            found |= {entry.path for entry in named if _is_own(entry)}
    return sorted(found)


def _is_own(entry: "os.DirEntry[str]") -> bool:
    with contextlib.suppress(OSError):
        owner = entry.stat(follow_symlinks=False).st_uid
        return owner == os.geteuid() and entry.is_dir(follow_symlinks=False)
    return False


@contextlib.contextmanager
def _free(folder: str) -> Iterator[bool]:
    """Hold a folder while the block runs; false when another process has it, or nobody can tell."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        yield _lock(descriptor) is True
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock a folder: true, false when another process holds it, None where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _bytes_below(folder: str) -> int:
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total
