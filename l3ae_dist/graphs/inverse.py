"""Blocked inverse from the Cholesky factor: ``Linv = L^-1`` (?trtri), then ``P = Linv' Linv`` (?lauum).

n^3 / 3 flops each, lower tiles, each written once; the tiles of one row of Linv are independent of each
other and so are all tiles of P.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from l3ae_dist.graphs.blocks import SINGLE, AnyTask, BlockShape, as_task, even_groups
from l3ae_dist.graphs.cut_sums import group_cuts, in_flight, in_flight_shape
from l3ae_dist.graphs.tasks import Step, TileRef, TileTask
from l3ae_dist.linalg.kernels import Kernel
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.stages import Stage

# Blocks of P for each of several workers, so that none is left with a large one at the end.
_BLOCKS_EACH = 8


def sum_name(link: int) -> str:
    """Return the name of the array of the partial tiles that end sum ``link`` of a tile of Linv."""
    return f"sum{link}"


def linv_task(i: int, k: int, cuts: Sequence[int] = (), link: int | None = None) -> TileTask:
    """Return the task of tile (i, k) of ``W = L^-1``, or of one partial sum of it.

    ``W_kk = L_kk^-1`` and ``W_ik = -L_ii^-1 (L_ik W_kk + sum_{k<j<i} L_ij W_jk)`` below it.

    Parameters
    ----------
    i, k
        Row and column of the tile, ``i >= k``.
    cuts
        Panels at which the sum is cut, after ``k``.
    link
        Which partial tile this task writes; None for the tile itself.
    """
    if i == k:
        return TileTask(
            target=TileRef("Linv", k, k),
            start=TileRef("L", k, k),
            begin=(),
            update=Kernel.GEMM_NN,
            operands=(),
            finish=(Step(Kernel.TRTRI),),
            panel=("L", "i", i),
            deps=(),
        )
    edges = (k + 1, *cuts, i)
    step = len(cuts) if link is None else link
    pairs = tuple((TileRef("L", i, j), TileRef("Linv", j, k)) for j in range(edges[step], edges[step + 1]))
    diagonal, target = TileRef("Linv", k, k), TileRef("Linv", i, k)
    before = TileRef(sum_name(step - 1), i, k) if step else None
    later = () if link is None else tuple(TileRef(sum_name(n), i, k) for n in range(link + 1, len(cuts)))
    return TileTask(
        target=target if link is None else TileRef(sum_name(link), i, k),
        start=before or TileRef("L", i, k),
        begin=() if before else (Step(Kernel.TRMM_RN, diagonal),),
        update=Kernel.GEMM_NN,
        operands=pairs,
        finish=(Step(Kernel.TRSM_LL, TileRef("L", i, i)),) if link is None else (),
        panel=("L", "i", i),
        deps=(before or diagonal, *(pair[1] for pair in pairs)),
        feeds=() if link is None else (*later, target),
        reread=link is None,
    )


def inverse_task(i: int, j: int, count: int) -> TileTask:
    """Return the task of tile (i, j) of ``P = W' W``: ``P_ij = sum_{k>=i} W_ki' W_kj``.

    The first term is a triangular product (LAPACK's ?lauum on the diagonal).

    Parameters
    ----------
    i, j
        Row and column of the tile, ``i >= j``.
    count
        Tiles per side.
    """
    if i == j:
        return TileTask(
            target=TileRef("P", i, i),
            start=TileRef("Linv", i, i),
            begin=(Step(Kernel.LAUUM),),
            update=Kernel.SYRK_T,
            operands=tuple((TileRef("Linv", k, i),) for k in range(i + 1, count)),
            finish=(Step(Kernel.SYMMETRIZE),),
            panel=("Linv", "j", i),
            deps=(),
            reread=False,
        )
    return TileTask(
        target=TileRef("P", i, j),
        start=TileRef("Linv", i, j),
        begin=(Step(Kernel.TRMM_LT, TileRef("Linv", i, i)),),
        update=Kernel.GEMM_TN,
        operands=tuple((TileRef("Linv", k, i), TileRef("Linv", k, j)) for k in range(i + 1, count)),
        finish=(),
        panel=("Linv", "j", i),
        deps=(),
        reread=False,
    )


@dataclass(frozen=True)
class TriangularInverseGraph:
    """The tasks of ``Linv`` from ``L``, row by row so that a worker keeps the row panel ``L_ij``.

    Parameters
    ----------
    grid
        The tile grid.
    workers
        Worker processes; the groups of columns, which do not depend on each other, are two for each.
    block
        Tiles that a task makes side by side at most.
    """

    grid: TileGrid
    workers: int = 1
    block: BlockShape = SINGLE
    stage: Stage = Stage.LINV

    def __len__(self) -> int:
        if not in_flight(self.workers):
            return self.grid.lower_count
        stops = [0, *(columns.stop for columns in self._columns)]
        return self.grid.lower_count + sum(
            # one for each tile of the columns that end before the cut
            len(rows) * sum(stops[bisect_left(stops, cut, lo=1) - 1] for cut in cuts)
            for rows, cuts in group_cuts(self._rows)
        )

    @property
    def partials(self) -> tuple[str, ...]:
        """Names of the partial arrays that the tasks use."""
        return tuple(sum_name(link) for link in range(len(self.cuts(self.grid.count - 1, 0))))

    @property
    def shape(self) -> BlockShape:
        """Tiles of a block, so few that all workers have some."""
        count = self.grid.count
        if in_flight(self.workers):
            return in_flight_shape(self.block, count, self.workers)
        return self.block if self.workers == 1 else self.block.at_most(count, count // (2 * self.workers))

    @cached_property
    def _rows(self) -> list[range]:
        return even_groups(0, self.grid.count, self.shape.rows)

    @cached_property
    def _columns(self) -> list[range]:
        return even_groups(0, self.grid.count, self.shape.columns)

    @cached_property
    def _ends(self) -> list[int]:
        return [columns.stop for columns in self._columns for _ in columns]

    @cached_property
    def _cuts(self) -> list[tuple[int, ...]]:
        return [cuts for rows, cuts in group_cuts(self._rows) for _ in rows]

    @property
    def sums(self) -> list[tuple[int, ...]]:
        """The cuts of every row, and where each column begins: what decides what a partial tile holds."""
        return [*self._cuts, tuple(self._ends)] if self.partials else []

    def cuts(self, i: int, k: int) -> tuple[int, ...]:
        """Return the panels at which the sum of a tile is cut; the same for all tiles of a block."""
        if not in_flight(self.workers):
            return ()
        return tuple(cut for cut in self._cuts[i] if cut > self._ends[k])

    def tasks(self) -> Iterator[AnyTask]:
        """Yield all tasks; a row of blocks needs only rows above it and its own diagonal block."""
        for rows in self._rows:
            columns = [group for group in reversed(self._columns) if group.start < rows.stop]
            for link in (*range(len(self.cuts(rows.start, 0))), None):
                for group in columns:
                    if link is None or link < len(self.cuts(rows.start, group.start)):
                        yield as_task([self._task(i, k, link) for i in rows for k in group if k <= i])

    def _task(self, i: int, k: int, link: int | None = None) -> TileTask:
        task = linv_task(i, k, self.cuts(i, k), link)
        return replace(task, shared=True) if in_flight(self.workers) else task

    def task_for(self, ref: TileRef) -> TileTask | None:
        """Return the task that writes ``ref`` alone, or None when this graph does not."""
        if ref.array == "Linv":
            return self._task(ref.i, ref.j)
        if ref.array in self.partials:
            return self._task(ref.i, ref.j, self.partials.index(ref.array))
        return None


@dataclass(frozen=True)
class InverseGraph:
    """The tasks of ``P`` from ``Linv``, row by row so that a worker keeps the column panel ``W_ki``.

    Parameters
    ----------
    grid
        The tile grid.
    workers
        Worker processes, each of which has a few blocks.
    block
        Tiles that a task makes side by side at most.
    """

    grid: TileGrid
    workers: int = 1
    block: BlockShape = SINGLE
    stage: Stage = Stage.INVERT

    def __len__(self) -> int:
        return self.grid.lower_count

    @property
    def shape(self) -> BlockShape:
        """Tiles of a block, so few that each worker has several blocks of the triangle."""
        busy = busy_side(self.grid.count, self.workers)
        return self.block.at_most(busy, busy)

    def tasks(self) -> Iterator[AnyTask]:
        """Yield all tasks; they do not depend on each other."""
        for rows, columns in lower_blocks(self.grid.count, self.shape):
            yield as_task([inverse_task(i, j, self.grid.count) for i in rows for j in columns if j <= i])

    def task_for(self, ref: TileRef) -> TileTask | None:
        """Return the task that writes ``ref`` alone, or None when this graph does not."""
        return inverse_task(ref.i, ref.j, self.grid.count) if ref.array == "P" else None


def busy_side(count: int, workers: int) -> int:
    """Return the tiles a side of blocks that leave each of several workers a few of the triangle.

    Parameters
    ----------
    count
        Tiles a side of the triangle.
    workers
        Worker processes.
    """
    return count if workers == 1 else max(1, int(count / (2 * _BLOCKS_EACH * workers) ** 0.5))


def lower_blocks(count: int, shape: BlockShape) -> Iterator[tuple[range, range]]:
    """Yield tile rows and columns of the blocks on and below the diagonal, row by row from the diagonal.

    Parameters
    ----------
    count
        Tiles a side.
    shape
        Tiles of a block at most.
    """
    across = even_groups(0, count, shape.columns)
    for rows in even_groups(0, count, shape.rows):
        for columns in reversed(across):
            if columns.start < rows.stop:
                yield rows, columns
