"""Archives of arrays that somebody else may have made: what they promise is checked before it is read."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.lib.npyio import NpzFile
from scipy import sparse

from l3ae_dist.linalg.arrays import Matrix
from l3ae_dist.messages import shown

UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    NotImplementedError,
    MemoryError,
    BadZipFile,
)
"""Errors that reading such an archive raises, those of its own checks among them."""


def read_csr(path: Path, n: int, entries: int) -> Matrix:
    """Read a square CSR matrix, all indices checked: SciPy trusts those of a file with memory.

    Parameters
    ----------
    path
        File that ``scipy.sparse.save_npz`` wrote without compression.
    n, entries
        Rows and columns, and entries, that it must have.

    Raises
    ------
    ValueError
        When it has others, or is not a matrix of numbers.
    """
    with open_arrays(path) as arrays:
        if arrays["format"].item() not in (b"csr", "csr"):
            raise ValueError("they are no CSR matrix")
        parts = [arrays[name] for name in ("data", "indices", "indptr")]
        if tuple(arrays["shape"].tolist()) != (n, n) or len(parts[0]) != entries:
            raise ValueError(f"they are not {shown(entries)} entries of {shown(n)} rows and columns")
    if parts[0].dtype.kind != "f" or any(part.dtype.kind not in "iu" for part in parts[1:]):
        raise ValueError("they are not numbers with integer indices")
    weights = sparse.csr_matrix(tuple(parts), shape=(n, n))
    weights.check_format(full_check=True)
    return weights


@contextlib.contextmanager
def open_arrays(path: Path) -> Iterator[NpzFile]:
    """Open an archive of arrays for the ``with`` block; refuse one that unpacks to more than it holds."""
    # opened here, since NumPy leaves a file that is no archive open
    with path.open("rb") as stored:
        with ZipFile(stored) as archive:
            for member in archive.infolist():
                _refuse_bomb(archive, member)
        stored.seek(0)
        with np.load(stored, allow_pickle=False) as arrays:
            yield arrays


def _refuse_bomb(archive: ZipFile, member: ZipInfo) -> None:
    """Refuse an array that is compressed, or whose header promises another size than it has."""
    if member.compress_type != ZIP_STORED or member.file_size != member.compress_size:
        raise ValueError(
            f"{shown(member.filename)} holds {member.compress_size:,} bytes and promises {member.file_size:,}"
        )
    with archive.open(member) as file:
        shape, dtype = read_header(file)
        promised = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or promised != member.file_size - file.tell():
            raise ValueError(
                f"{shown(member.filename)} promises {promised:,} bytes of shape {shown(shape)} and holds "
                f"{member.file_size - file.tell():,}"
            )


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Read the shape and dtype of an array from the start of a ``.npy`` file.

    Raises
    ------
    ValueError
        For another file.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype
