"""The context of a stage, sent to workers with each of its tasks: small, picklable, the same for all."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from l3ae_dist.data.features import Rows, open_rows
from l3ae_dist.graphs.holders import NOBODY, Holders
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True)
class StageParams:
    """Values that the tasks of one stage need beside its arrays; each such stage has its own class."""


P = TypeVar("P", bound=StageParams)


@dataclass(frozen=True, slots=True)
class Unwritten:
    """Arrays whose tiles stay in memory and are written only where that has no room for them.

    Parameters
    ----------
    solve
        Tells one try of a factorisation from all others, whose tiles a worker then gives up.
    names
        Names of the arrays.
    """

    solve: str = ""
    names: frozenset[str] = frozenset()


NOTHING_UNWRITTEN = Unwritten()


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
        Dtype of the tiles at work.
    cache_bytes
        How many bytes of tiles a worker may keep between tasks.
    accumulators
        How many tiles a worker may hold that are computed, or on their way to and from the store.
    tiles_held
        How many tiles a worker holds at most while a task of the stage computes, operands included.
    device_memory
        Bytes that may be used of the memory of a device; 0 for a share of it, or most of what is free.
    device_sharers
        Workers on one device at most, among whom its memory is divided.
    epoch
        The lock's epoch, recorded in done-marks.
    device
        Kernel back end, as :func:`l3ae_dist.linalg.kernels.get_kernels` takes it; ``"auto"`` is decided by
        each worker process for itself.
    durable
        Whether writes are flushed to the disk before they count.
    params
        Further values of the stage; None where it needs none.
    arithmetic
        Least precise dtype that kernels compute in; tiles of a more precise one are computed in theirs.
    holders
        Workers that hold tiles which the task reads; nobody where workers do not read from each other.
    unwritten
        Arrays whose tiles stay in memory.
    local_directory, local_bytes
        Folder of a local disk for copies of tiles that memory has no room for, and what they may take there;
        empty for none.
    """

    url: str
    paths: dict[str, str]
    grid: TileGrid
    dtype: str
    cache_bytes: int = 0
    accumulators: int = 2
    tiles_held: int = 8
    device_memory: int = 0
    device_sharers: int = 1
    epoch: int = 0
    device: str = "cpu"
    durable: bool = False
    params: StageParams | None = None
    arithmetic: str = "float32"
    holders: Holders = NOBODY
    unwritten: Unwritten = NOTHING_UNWRITTEN
    local_directory: str = ""
    local_bytes: int = 0

    def workspace(self) -> Workspace:
        """Return the workspace, opened once per process."""
        return open_workspace(self.url, self.durable)

    def array(self, name: str) -> ChunkArray:
        """Return the stage's array ``name``, opened once per process."""
        return open_chunks(self.url, self.paths[name], self.durable)

    @property
    def unwritten_paths(self) -> frozenset[str]:
        """Paths of the arrays whose tiles stay in memory."""
        return frozenset(self.paths[name] for name in self.unwritten.names)

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
