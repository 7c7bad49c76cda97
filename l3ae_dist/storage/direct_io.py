"""Large objects past the page cache, where the file system can (``O_DIRECT``).

The engine streams more bytes than memory holds and keeps what it reads again itself, within its budget.
A second copy in the page cache costs processor time that the kernels need, and memory that nobody counts.
``L3AE_DIRECT_IO=0`` turns it off: worth trying when the disk is slow and the matrix fits into free memory.
"""

import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

ALIGNMENT = 4096
# Below this size the page cache is as good.
_SMALLEST = 2**20
_REFUSALS = (errno.EINVAL, errno.ENOTSUP)


def aligned_size(nbytes: int) -> int:
    """Round ``nbytes`` up to a multiple of 4096."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def aligned_buffer(nbytes: int) -> npt.NDArray[np.uint8]:
    """Allocate ``nbytes`` that direct transfers can use; the size is rounded up to a multiple of 4096."""
    size = aligned_size(nbytes)
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def open_direct(path: Path, flags: int, view: memoryview, mode: int = 0o666) -> int | None:
    """Open a file past the page cache.

    Parameters
    ----------
    path, flags
        As for ``os.open``.
    view
        The memory that will be read into or written from.
    mode
        Permissions of a new file.

    Returns
    -------
    A file descriptor; None when the memory or the file system does not allow it.
    """
    wanted = os.environ.get("L3AE_DIRECT_IO", "1") != "0" and hasattr(os, "O_DIRECT")
    if not wanted or view.nbytes < _SMALLEST or _address(view) % ALIGNMENT:
        return None
    try:
        return os.open(path, flags | os.O_DIRECT, mode)
    except OSError as error:
        if error.errno in _REFUSALS:
            return None
        raise


def read_direct(path: Path, view: memoryview) -> int | None:
    """Read a file into aligned memory; returns its length (even if that is more), None if not possible."""
    descriptor = open_direct(path, os.O_RDONLY, view)
    if descriptor is None:
        return None
    try:
        size, filled = os.fstat(descriptor).st_size, 0
        if size > view.nbytes:
            return size
        while filled < size:
            count = os.readv(descriptor, [view[filled:]])
            filled += count
            if not count or (filled < size and filled % ALIGNMENT):
                return None  # cut off meanwhile, or an odd file system: read it in the ordinary way
        return size
    finally:
        os.close(descriptor)


def write_new(path: Path, parts: Sequence[memoryview], mode: int = 0o666) -> int:
    """Write the parts as a new file, the aligned beginning past the page cache where possible.

    Parameters
    ----------
    path
        Of the file.
    parts
        Its bytes.
    mode
        Its permissions, before the user's mask.

    Returns
    -------
    The open descriptor.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    direct = open_direct(path, flags, parts[0], mode)
    descriptor = os.open(path, flags, mode) if direct is None else direct
    head = 0 if direct is None else parts[0].nbytes // ALIGNMENT * ALIGNMENT
    try:
        _write_all(descriptor, parts[0][:head])
        if direct is not None:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)
        for part in (parts[0][head:], *parts[1:]):
            _write_all(descriptor, part)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _write_all(descriptor: int, data: memoryview) -> None:
    """Write all bytes; a short direct write means that the disk filled up, and the next call says so."""
    written = 0
    while written < data.nbytes:
        written += os.write(descriptor, data[written:])


def _address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).ctypes.data)
