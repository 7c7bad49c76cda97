"""What a worker needs to know to run the tasks of a stage: small, picklable, the same for all tasks."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from l3ae_dist.data.features import Rows, open_rows
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True)
class StageContext:
    """Where a stage's arrays live and its numbers.

    Parameters
    ----------
    url
        The workspace.
    paths
        Array path for each name used by the stage's tasks.
    grid
        The tile grid.
    dtype
        Dtype of the arithmetic.
    ridge
        Added to the diagonal by the factor stage.
    cache_bytes
        How many bytes of tiles a worker may keep between tasks.
    epoch
        The lock's epoch, recorded in done-marks.
    device
        Kernel back end, as :func:`l3ae_dist.linalg.kernels.get_kernels` takes it; ``"auto"`` is decided by
        each worker process for itself.
    params
        Further values that single stages use.
    """

    url: str
    paths: dict[str, str]
    grid: TileGrid
    dtype: str
    ridge: float = 0.0
    cache_bytes: int = 0
    epoch: int = 0
    device: str = "cpu"
    durable: bool = False
    params: dict[str, Any] = field(default_factory=dict)

    def workspace(self) -> Workspace:
        """The workspace, opened once per process."""
        return open_workspace(self.url, self.durable)

    def array(self, name: str) -> ChunkArray:
        """The stage's array ``name``, opened once per process."""
        return open_chunks(self.url, self.paths[name], self.durable)

    def rows(self, name: str) -> Rows:
        """The stage's features or n x d array ``name`` by item rows, opened once per process."""
        return open_item_rows(self.url, self.paths[name], self.durable)


@lru_cache(maxsize=8)
def open_workspace(url: str, durable: bool) -> Workspace:
    """One :class:`Workspace` per process and location."""
    return Workspace.open(url, durable=durable)


@lru_cache(maxsize=256)
def open_chunks(url: str, path: str, durable: bool) -> ChunkArray:
    """One :class:`ChunkArray` per process and path."""
    return ChunkArray.open(open_workspace(url, durable), path)


@lru_cache(maxsize=64)
def open_item_rows(url: str, path: str, durable: bool) -> Rows:
    """One reader of item rows per process and path."""
    return open_rows(open_workspace(url, durable), path)
