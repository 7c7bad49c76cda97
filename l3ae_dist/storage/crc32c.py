"""CRC32C of large buffers, computed without the interpreter lock.

The functions of ``google_crc32c`` hold the lock for as long as they run: a quarter of a gigabyte takes 15 ms,
in which no other thread of a worker starts a kernel, a copy or a write. The C function behind them is called
here in its place; ``ctypes`` gives the lock up meanwhile.
"""

import ctypes
from collections.abc import Callable

import google_crc32c
import numpy as np

from l3ae_dist.linalg.arrays import Array

# Where the C function cannot be called, the lock is given up between pieces of so many bytes.
_PIECE_BYTES = 2**20


def _c_function() -> Callable[[int, int, int], int] | None:
    """Return ``crc32c_extend(crc, bytes, count)`` of the library that ``google_crc32c`` has loaded."""
    try:
        from google_crc32c import _crc32c

        function = ctypes.CDLL(_crc32c.__file__).crc32c_extend
    except (ImportError, AttributeError, OSError):  # the pure Python form, or another build
        return None
    function.restype = ctypes.c_uint32
    function.argtypes = [ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t]
    return function


_EXTEND = _c_function()


def extend(crc: int, block: Array) -> int:
    """Return the CRC32C of what ``crc`` is of, followed by the bytes of a block.

    Parameters
    ----------
    crc
        CRC32C of what comes before; 0 of nothing.
    block
        Contiguous in row-major order.
    """
    if not block.flags.c_contiguous:
        raise ValueError(f"the checksum is of contiguous memory, not of strides {block.strides}")
    if _EXTEND is not None:
        return int(_EXTEND(crc, block.ctypes.data, block.nbytes))
    data = block.reshape(-1).view(np.uint8)
    for start in range(0, data.nbytes, _PIECE_BYTES):
        crc = int(google_crc32c.extend(crc, data[start : start + _PIECE_BYTES]))
    return crc


def value(block: Array) -> int:
    """Return the CRC32C of the bytes of a block, which is contiguous in row-major order."""
    return extend(0, block)
