"""Blocked inverse from the Cholesky factor: ``Linv = L^-1`` (?trtri), then ``P = Linv' Linv`` (?lauum).

n^3 / 3 flops each, lower tiles, each written once; the tiles of one row of Linv are independent of each
other and so are all tiles of P.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from l3ae_dist.graphs.tasks import Step, TileRef, TileTask
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.stages import Stage


def linv_task(i: int, k: int) -> TileTask:
    """``W_kk = L_kk^-1``; ``W_ik = -L_ii^-1 (L_ik W_kk + sum_{k<j<i} L_ij W_jk)`` below it."""
    if i == k:
        return TileTask(
            target=TileRef("Linv", k, k),
            start=TileRef("L", k, k),
            begin=(),
            update="gemm_nn",
            operands=(),
            finish=(Step("trtri"),),
            panel=("L", "i", i),
            deps=(),
        )
    pairs = tuple((TileRef("L", i, j), TileRef("Linv", j, k)) for j in range(k + 1, i))
    diagonal = TileRef("Linv", k, k)
    return TileTask(
        target=TileRef("Linv", i, k),
        start=TileRef("L", i, k),
        begin=(Step("trmm_rn", diagonal),),
        update="gemm_nn",
        operands=pairs,
        finish=(Step("trsm_ll", TileRef("L", i, i)),),
        panel=("L", "i", i),
        deps=(diagonal, *(pair[1] for pair in pairs)),
    )


def inverse_task(i: int, j: int, count: int) -> TileTask:
    """``P_ij = sum_{k>=i} W_ki' W_kj``; the first term is triangular."""
    if i == j:
        return TileTask(
            target=TileRef("P", i, i),
            start=TileRef("Linv", i, i),
            begin=(Step("lauum"),),
            update="syrk_t",
            operands=tuple((TileRef("Linv", k, i),) for k in range(i + 1, count)),
            finish=(Step("symmetrize"),),
            panel=("Linv", "j", i),
            deps=(),
            reread=False,
        )
    return TileTask(
        target=TileRef("P", i, j),
        start=TileRef("Linv", i, j),
        begin=(Step("trmm_lt", TileRef("Linv", i, i)),),
        update="gemm_tn",
        operands=tuple((TileRef("Linv", k, i), TileRef("Linv", k, j)) for k in range(i + 1, count)),
        finish=(),
        panel=("Linv", "j", i),
        deps=(),
        reread=False,
    )


@dataclass(frozen=True)
class TriangularInverseGraph:
    """``Linv`` from ``L``, row by row so that a worker keeps the row panel ``L_ij``."""

    grid: TileGrid
    stage: Stage = Stage.LINV

    def __len__(self) -> int:
        return self.grid.lower_count

    def tasks(self) -> Iterator[TileTask]:
        """All tasks; a row needs only rows above it and its own diagonal tile."""
        for i in range(self.grid.count):
            for k in range(i, -1, -1):
                yield linv_task(i, k)

    def task_for(self, ref: TileRef) -> TileTask | None:
        """The task that writes ``ref``."""
        return linv_task(ref.i, ref.j) if ref.array == "Linv" else None


@dataclass(frozen=True)
class InverseGraph:
    """``P`` from ``Linv``, row by row so that a worker keeps the column panel ``W_ki``."""

    grid: TileGrid
    stage: Stage = Stage.INVERT

    def __len__(self) -> int:
        return self.grid.lower_count

    def tasks(self) -> Iterator[TileTask]:
        """All tasks; they do not depend on each other."""
        for i in range(self.grid.count):
            for j in range(i, -1, -1):
                yield inverse_task(i, j, self.grid.count)

    def task_for(self, ref: TileRef) -> TileTask | None:
        """The task that writes ``ref``."""
        return inverse_task(ref.i, ref.j, self.grid.count) if ref.array == "P" else None
