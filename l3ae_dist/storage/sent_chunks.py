"""Chunks as one process sends them to another: the bytes of the workspace, in pieces, verified there."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import crc32c
from l3ae_dist.storage.done_marks import ChunkMark
from l3ae_dist.storage.payload import padded
from l3ae_dist.storage.tile_requests import TileRequest


def pieces(tile: Array, chunks: tuple[int, int], size: int) -> Sequence[memoryview]:
    """Cut a chunk's bytes into pieces, without a copy unless the tile is narrower than the chunk.

    Parameters
    ----------
    tile
        The rows and columns of the chunk inside the array.
    chunks
        Shape of the full chunk.
    size
        Bytes of a piece at most.
    """
    parts = [part.reshape(-1).view(np.uint8) for part in padded(tile, chunks, tile.dtype)]
    return [part[first : first + size].data for part in parts for first in range(0, part.size, size)]


def accepted(request: TileRequest, buffer: npt.NDArray[np.uint8]) -> Array | None:
    """Take a chunk that another process sent, if it is the one that its done-mark names.

    Parameters
    ----------
    request
        The tile that was asked for.
    buffer
        The bytes of the chunk without its CRC32C; it may be longer.

    Returns
    -------
    A view of the buffer as of :meth:`ChunkArray.read`; None for other bytes, or a chunk without a done-mark.
    """
    array, i, j = request.array, request.i, request.j
    chunk = buffer[: array.chunk_nbytes]
    sent = ChunkMark(i, j, crc32c.value(chunk))
    marks = array.workspace.done_marks(array.path, array.grid)
    if sent.crc != request.crc and not marks.agrees(sent):
        return None
    rows, columns = array.valid_shape(i, j)
    tile: Array = chunk.view(array.dtype).reshape(array.chunks)
    return tile[:rows, :columns]
