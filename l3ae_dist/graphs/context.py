"""The context of a stage, sent to workers with each of its tasks: small, picklable, the same for all."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from l3ae_dist.data.features import Rows, open_rows
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True)
class StageParams:
    """Values that the tasks of one stage need beside its arrays; each such stage has its own class."""


P = TypeVar("P", bound=StageParams)


@dataclass(frozen=True)
class StageContext:
    """The arrays and numbers of a stage, the same for all of its tasks.

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
    cache_bytes
        How many bytes of tiles a worker may keep between tasks.
    epoch
        The lock's epoch, recorded in done-marks.
    device
        Kernel back end, as :func:`l3ae_dist.linalg.kernels.get_kernels` takes it; ``"auto"`` is decided by
        each worker process for itself.
    durable
        Whether writes are flushed to the disk before they count.
    params
        Further values of the stage; None where it needs none.
    """

    url: str
    paths: dict[str, str]
    grid: TileGrid
    dtype: str
    cache_bytes: int = 0
    epoch: int = 0
    device: str = "cpu"
    durable: bool = False
    params: StageParams | None = None

    def workspace(self) -> Workspace:
        """Return the workspace, opened once per process."""
        return open_workspace(self.url, self.durable)

    def array(self, name: str) -> ChunkArray:
        """Return the stage's array ``name``, opened once per process."""
        return open_chunks(self.url, self.paths[name], self.durable)

    def item_rows(self, name: str) -> Rows:
        """Return the stage's features or n x d array ``name`` by item rows, opened once per process."""
        return open_item_rows(self.url, self.paths[name], self.durable)

    def params_as(self, kind: type[P]) -> P:
        """Return the parameters of the stage, which must be of the class ``kind``."""
        if not isinstance(self.params, kind):
            raise TypeError(f"the stage needs {kind.__name__}, not {type(self.params).__name__}")
        return self.params


@lru_cache(maxsize=8)
def open_workspace(url: str, durable: bool) -> Workspace:
    """Open a workspace once per process and location."""
    return Workspace.open(url, durable=durable)


@lru_cache(maxsize=256)
def open_chunks(url: str, path: str, durable: bool) -> ChunkArray:
    """Open an array of chunks once per process and path.

    Parameters
    ----------
    url, path
        The workspace and the array in it.
    durable
        Whether writes are flushed to the disk before they count.
    """
    return ChunkArray.open(open_workspace(url, durable), path)


@lru_cache(maxsize=64)
def open_item_rows(url: str, path: str, durable: bool) -> Rows:
    """Open features, or any n x d array, by item rows once per process and path.

    Parameters
    ----------
    url, path
        The workspace and the array in it.
    durable
        Whether writes of the workspace are flushed; part of its identity only.
    """
    return open_rows(open_workspace(url, durable), path)
