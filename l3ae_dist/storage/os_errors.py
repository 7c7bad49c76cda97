"""Errors of the operating system as sentences that say what helps: a full disk, permissions, limits."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from l3ae_dist.errors import L3AEError, WorkspaceError
from l3ae_dist.messages import shown

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# Limits of the process or the machine, which no other path would change.
_LIMITS = {
    errno.EMFILE: "raise the limit of open files (ulimit -n), 1024 is enough",
    errno.ENFILE: "end other programs, or raise fs.file-max",
    errno.EFBIG: "raise the limit of the size of files (ulimit -f), or use another place",
}


@contextlib.contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Say in one sentence that the disk is full or must not be written, whoever was writing (Zarr, say).

    Raises
    ------
    WorkspaceError
        Naming the file where the system tells it, else ``where``.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, L3AEError) or error.errno not in (*_FULL, *_FORBIDDEN):
            raise
        raise os_error(error, Path(error.filename or where), "write") from error


def os_error(error: OSError, path: Path, verb: str) -> WorkspaceError:
    """Return the error that says what could not be done, why, and what helps.

    Parameters
    ----------
    error
        Of the operating system.
    path, verb
        What could not be done to which file: ``read``, ``write``, ...
    """
    if error.errno in _FULL:
        fix = "the disk is full: free space or move the workspace, then run the same command again"
    elif error.errno in _FORBIDDEN:
        fix = "permission denied: choose a path that this user can write, or mend its permissions"
    else:
        step = _LIMITS.get(error.errno or 0, "check the path")
        fix = f"{error.strerror or error}: {step}, then run the same command again"
    return WorkspaceError(f"cannot {verb} {shown(str(path), 200)[1:-1]}: {fix}.")
