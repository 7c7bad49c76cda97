"""Folders that open models read, marked by a shared lock of the system that ends with its process.

Nothing is written, so that models of a workspace which this user may only read are known too. On object
storage there are no such locks: who reads there is not known. On a network file system the locks of another
machine may not be seen here.
"""

import contextlib
import fcntl
import os
import weakref

from l3ae_dist.storage.blobs import Blobs
from l3ae_dist.storage.local_blobs import LocalBlobs


class Reader:
    """A reader of one folder of a workspace, known to ``l3ae-dist gc`` as long as this object lives.

    Parameters
    ----------
    blobs
        The store.
    path
        Folder of an array.
    """

    def __init__(self, blobs: Blobs, path: str) -> None:
        if isinstance(blobs, LocalBlobs):
            with contextlib.suppress(OSError):  # no such folder, or a file system without locks
                descriptor = os.open(blobs.root / path, os.O_RDONLY)
                weakref.finalize(self, os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def knows_readers(blobs: Blobs) -> bool:
    """Tell whether :func:`is_read` can know the readers on this machine; those on others are never known."""
    return isinstance(blobs, LocalBlobs)


def is_read(blobs: Blobs, path: str) -> bool:
    """Tell whether a process of this machine has a :class:`Reader` of a folder."""
    if not isinstance(blobs, LocalBlobs):
        return False
    try:
        descriptor = os.open(blobs.root / path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
