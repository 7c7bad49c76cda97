"""Permissions of a workspace on disk: its user's alone, unless its folder was made for others too."""

import contextlib
import os
from itertools import takewhile
from pathlib import Path

PRIVATE = 0o700
_ALL = 0o777


def make_folders(folder: Path, root: Path) -> None:
    """Make a folder of a workspace, and those above it that are missing.

    Parameters
    ----------
    folder
        The root itself, or below it.
    root
        Folder of the workspace. A new one is its user's alone; folders in it get its permissions.
    """
    if folder.is_dir():
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        root.mkdir(PRIVATE)
    mode = root.stat().st_mode & _ALL
    missing = list(takewhile(lambda one: one != root, (folder, *folder.parents)))
    for one in reversed(missing):
        with contextlib.suppress(FileExistsError):
            one.mkdir(mode | PRIVATE)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")


def file_mode(root: Path) -> int:
    """Return the permissions of new files of a workspace: those of its folder, without execution."""
    try:
        return os.stat(root).st_mode & 0o666
    except FileNotFoundError:
        return 0o600
