"""Blocked inverse from the Cholesky factor: ``Linv = L^-1`` (?trtri), then ``P = Linv' Linv`` (?lauum).

n^3 / 3 flops each, lower tiles, each written once; the tiles of one row of Linv are independent of each
other and so are all tiles of P.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from l3ae_dist.graphs.tasks import Step, TileRef, TileTask
from l3ae_dist.linalg.kernels import Kernel
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.stages import Stage


def linv_task(i: int, k: int) -> TileTask:
    """Return the task of tile (i, k) of ``W = L^-1``.

    ``W_kk = L_kk^-1`` and ``W_ik = -L_ii^-1 (L_ik W_kk + sum_{k<j<i} L_ij W_jk)`` below it.
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
    pairs = tuple((TileRef("L", i, j), TileRef("Linv", j, k)) for j in range(k + 1, i))
    diagonal = TileRef("Linv", k, k)
    return TileTask(
        target=TileRef("Linv", i, k),
        start=TileRef("L", i, k),
        begin=(Step(Kernel.TRMM_RN, diagonal),),
        update=Kernel.GEMM_NN,
        operands=pairs,
        finish=(Step(Kernel.TRSM_LL, TileRef("L", i, i)),),
        panel=("L", "i", i),
        deps=(diagonal, *(pair[1] for pair in pairs)),
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
    """The tasks of ``Linv`` from ``L``, row by row so that a worker keeps the row panel ``L_ij``."""

    grid: TileGrid
    stage: Stage = Stage.LINV

    def __len__(self) -> int:
        return self.grid.lower_count

    def tasks(self) -> Iterator[TileTask]:
        """Yield all tasks; a row needs only rows above it and its own diagonal tile."""
        for i in range(self.grid.count):
            for k in range(i, -1, -1):
                yield linv_task(i, k)

    def task_for(self, ref: TileRef) -> TileTask | None:
        """Return the task that writes ``ref``, or None when this graph does not."""
        return linv_task(ref.i, ref.j) if ref.array == "Linv" else None


@dataclass(frozen=True)
class InverseGraph:
    """The tasks of ``P`` from ``Linv``, row by row so that a worker keeps the column panel ``W_ki``."""

    grid: TileGrid
    stage: Stage = Stage.INVERT

    def __len__(self) -> int:
        return self.grid.lower_count

    def tasks(self) -> Iterator[TileTask]:
        """Yield all tasks; they do not depend on each other."""
        for i in range(self.grid.count):
            for j in range(i, -1, -1):
                yield inverse_task(i, j, self.grid.count)

    def task_for(self, ref: TileRef) -> TileTask | None:
        """Return the task that writes ``ref``, or None when this graph does not."""
        return inverse_task(ref.i, ref.j, self.grid.count) if ref.array == "P" else None
