"""Tasks that compute one chunk by a function of their own: all stages beside those of the factorisation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tile_requests import ReadCount

Blocks = list[tuple[TileRef, Array]]
"""Chunks to write in this order; the last one is the task's target, whose done-mark completes it."""
Compute = Callable[[TileRef, StageContext, ReadCount], Blocks]
"""Makes the target from what the stage reads, and counts the bytes read; a function of a module, so that it
is sent to a worker by its name."""


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """One chunk and the function that computes it.

    Parameters
    ----------
    target
        The chunk that is written last.
    compute
        The function; see :data:`Compute`.
    deps
        Chunks of the same graph that must be done first.
    inner
        Items that a tile of a matrix product sums over; 0 where the flops depend on the data and are not
        counted.
    alone
        Whether it computes with all BLAS threads, one task at a time in each process; otherwise two run at
        once.
    """

    target: TileRef
    compute: Compute
    deps: tuple[TileRef, ...] = ()
    inner: int = 0
    alone: bool = True

    @property
    def targets(self) -> tuple[TileRef, ...]:
        """The chunk that is written last."""
        return (self.target,)

    @property
    def feeds(self) -> tuple[TileRef, ...]:
        """Nothing: no other chunk makes this one superfluous."""
        return ()

    def flops(self, grid: TileGrid) -> float:
        """Count the flops of a matrix product, ``2 m n inner``; 0 where they depend on the data."""
        if not self.inner:
            return 0.0
        m, n = grid.shape(self.target.i, self.target.j)
        return 2.0 * m * n * self.inner


@dataclass(frozen=True)
class ChunkGraph:
    """Independent tasks, one for each chunk of one array, row by row.

    Parameters
    ----------
    stage
        Name of the stage.
    grid
        The tile grid of the matrices read.
    array
        What the stage calls the array that is written.
    compute
        Computes a chunk; see :data:`Compute`.
    rows, columns
        Chunks of the array in each direction.
    lower
        Whether only the chunks on and below the diagonal exist.
    inner, alone
        As for :class:`ChunkTask`.
    """

    stage: Stage
    grid: TileGrid
    array: str
    compute: Compute
    rows: int
    columns: int = 1
    lower: bool = False
    inner: int = 0
    alone: bool = True

    def __len__(self) -> int:
        return sum(self._width(i) for i in range(self.rows))

    def tasks(self) -> Iterator[ChunkTask]:
        """Yield all tasks; they do not depend on each other."""
        for i in range(self.rows):
            for j in range(self._width(i)):
                yield self._task(TileRef(self.array, i, j))

    def task_for(self, ref: TileRef) -> ChunkTask | None:
        """Return the task that writes ``ref``, or None when this graph does not."""
        return self._task(ref) if ref.array == self.array else None

    def _task(self, ref: TileRef) -> ChunkTask:
        return ChunkTask(ref, self.compute, inner=self.inner, alone=self.alone)

    def _width(self, i: int) -> int:
        return i + 1 if self.lower else self.columns
