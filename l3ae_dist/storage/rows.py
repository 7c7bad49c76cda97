"""Reading a range of rows from a chunked array whose chunks are cut elsewhere."""

import numpy as np

from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage.chunks import ChunkArray


def read_rows(array: ChunkArray, start: int, stop: int) -> Array:
    """Read rows ``start`` to ``stop`` of an array with a single chunk column, checksums verified.

    Parameters
    ----------
    array
        Of two dimensions.
    start, stop
        Range of rows.

    Returns
    -------
    (stop - start) x columns array in the stored dtype.
    """
    step = array.chunks[0]
    parts = []
    for i in range(start // step, -(-stop // step)):
        chunk = array.read(i, 0)
        first = i * step
        parts.append(chunk[max(0, start - first) : stop - first])
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
