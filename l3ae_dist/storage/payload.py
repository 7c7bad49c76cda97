"""The bytes of a chunk: little-endian rows of the full chunk shape, zero beyond the edge of the array."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import crc32c


def padded(block: Array, shape: tuple[int, int], dtype: npt.DTypeLike) -> list[Array]:
    """Return arrays that make up a chunk one after the other: whole rows without a copy, then zeros.

    Parameters
    ----------
    block
        The rows and columns inside the array.
    shape
        Of the full chunk.
    dtype
        As stored.
    """
    rows, columns = block.shape
    if columns == shape[1]:
        whole: Array = np.ascontiguousarray(block, dtype=dtype)
        # nobody writes to the zeros, which take no memory that way
        return [whole, np.zeros((shape[0] - rows, columns), dtype)] if rows < shape[0] else [whole]
    full: Array = np.zeros(shape, dtype)
    full[:rows, :columns] = block
    return [full]


def checksum(parts: Sequence[Array]) -> int:
    """Return the CRC32C of arrays one after the other."""
    crc = 0
    for part in parts:
        crc = crc32c.extend(crc, part)
    return crc
