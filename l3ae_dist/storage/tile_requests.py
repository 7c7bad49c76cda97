"""A tile that is to be read, one that is in memory, and the bytes that were read."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage.chunks import ChunkArray

Key = tuple[str, str, int, int]


@dataclass
class HeldTile:
    """A tile in memory: the buffer it lies in, how many use it now, and whether the cache holds it."""

    tile: Array
    buffer: npt.NDArray[np.uint8]
    users: int = 1
    cached: bool = False


@dataclass(frozen=True)
class TileRequest:
    """One tile to read.

    ``stage`` names the tasks that may read it again, None to read it once; ``panel`` the group of
    neighbouring tasks that all read it, None when they do not; ``holders`` are addresses of workers that
    probably hold it in memory, ``crc`` is the CRC32C that its done-mark names, where that is known;
    ``unwritten`` tells that it may be in memory alone.
    """

    array: ChunkArray
    i: int
    j: int
    stage: str | None = None
    panel: object = None
    holders: tuple[str, ...] = ()
    crc: int | None = None
    unwritten: bool = False

    @property
    def key(self) -> Key:
        """Identity of the tile across arrays and workspaces."""
        return (self.array.workspace.url, self.array.path, self.i, self.j)


@dataclass
class ReadCount:
    """Bytes that one task really read from the workspace, from other workers and from copies on a local disk,
    and the seconds that its arithmetic waited for tiles."""

    bytes: int = 0
    waited: float = 0.0
    bytes_from_peers: int = 0
    bytes_from_copies: int = 0
