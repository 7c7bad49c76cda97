"""Left-looking blocked Cholesky: ``G + ridge I = L L'``, lower tiles, each written once.

Tile form of LAPACK's ``?potrf``: column k of L is the column k of the Gram minus the products of the
finished columns to its left, solved with the diagonal tile. n^3 / 3 flops; T^3 / 6 tile pairs.

One task per tile caps the speed-up at about T / 6, because towards the end a column has fewer tiles than
there are workers, and each of them waits for the column before. There the updates of a tile are split into
groups of panels: a group's sum is a partial tile, written once, which runs ahead as soon as its panels
are done and is deleted when the tile it feeds is there. The order of the sums, and so every bit, stays.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from l3ae_dist.graphs.tasks import Step, TileRef, TileTask
from l3ae_dist.linalg.kernels import Kernel
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.stages import Stage

# Panels in a group: a partial tile is written and read once for every 8 tiles its sum reads.
GROUP = 4


def partial_name(link: int) -> str:
    """Return the name of the array of the partial tiles that end group ``link``."""
    return f"partial{link}"


def factor_task(
    i: int, k: int, *, ridge: float, links: int = 0, link: int | None = None, alone: bool = False
) -> TileTask:
    """Return the task of tile (i, k) of L, or of one partial sum of it.

    ``L_kk = chol(G_kk + ridge I - sum_j L_kj L_kj')`` and
    ``L_ik = (G_ik - sum_j L_ij L_kj') L_kk^-T`` for i > k.

    Parameters
    ----------
    i, k
        Row and column of the tile, ``i >= k``.
    ridge
        Added to the diagonal of the Gram matrix.
    links
        How many partial tiles precede the tile.
    link
        Which partial tile this task writes; None for the tile itself.
    alone
        Whether one worker runs all tasks in their order.
    """
    step = links if link is None else link
    first, last = step * GROUP, (k if link is None else (link + 1) * GROUP)
    columns = range(first, last)
    diagonal = TileRef("L", k, k)
    if i == k:
        pairs: tuple[tuple[TileRef, ...], ...] = tuple((TileRef("L", k, j),) for j in columns)
        finish = Step(Kernel.POTRF, ridge=ridge)
    else:
        pairs = tuple((TileRef("L", i, j), TileRef("L", k, j)) for j in columns)
        finish = Step(Kernel.TRSM_RT, diagonal)
    before = TileRef(partial_name(step - 1), i, k) if step else None
    deps = [ref for pair in pairs for ref in pair]
    deps += [] if before is None else [before]
    deps += [diagonal] if link is None and i > k else []
    return TileTask(
        target=TileRef("L", i, k) if link is None else TileRef(partial_name(link), i, k),
        start=before or TileRef("gram", i, k),
        begin=(Step(Kernel.ADD_RIDGE, ridge=ridge),) if i == k and before is None else (),
        update=Kernel.SYRK_N if i == k else Kernel.GEMM_NT,
        operands=pairs,
        finish=(finish,) if link is None else (),
        # where other workers compute the column before meanwhile, this row is not yet the panel
        panel=("L", "i", k if i > k or alone else -1),
        deps=tuple(deps),
        feeds=None if link is None else TileRef("L", i, k),
        reread=link is None,
    )


@dataclass(frozen=True)
class CholeskyGraph:
    """The factor stage, column by column.

    Parameters
    ----------
    grid
        The tile grid.
    workers
        Worker processes that the graph is for; with one there are no partial tiles.
    ridge
        Added to the diagonal of the Gram matrix.
    """

    grid: TileGrid
    workers: int = 1
    ridge: float = 0.0
    stage: Stage = Stage.FACTOR

    def __len__(self) -> int:
        return self.grid.lower_count + sum(self.links(k) * (self.grid.count - k) for k in self._columns())

    @property
    def partials(self) -> tuple[str, ...]:
        """Names of the partial arrays that the tasks use."""
        return tuple(partial_name(link) for link in range(self.links(self.grid.count - 1)))

    def links(self, k: int) -> int:
        """Count the partial tiles that precede each tile of column ``k``: none while columns are long."""
        if self.workers == 1 or self.grid.count - k > 2 * self.workers + 2:
            return 0
        return max(0, (k - 1) // GROUP)

    def tasks(self) -> Iterator[TileTask]:
        """Yield all tasks; column k needs only columns to its left.

        With several workers the diagonal tile of the next column comes as soon as its row is done, so that
        the rest of the column is computed while that tile, for which all of the next column waits, is
        written. A worker alone makes it last: the row that it reads stays in its cache as the next panel.
        """
        yield from self._chain(0, 0)
        for k in self._columns():
            links, below = self.links(k), range(k + 1, self.grid.count)
            for link in range(links):
                for i in below:
                    yield self._task(i, k, link=link)
            for i in below:
                yield self._task(i, k)
                if i == (self.grid.count - 1 if self.workers == 1 else k + 1):
                    yield from self._chain(k + 1, k + 1)

    def _chain(self, i: int, k: int) -> Iterator[TileTask]:
        """The partial sums of a tile, then the tile."""
        for link in range(self.links(k)):
            yield self._task(i, k, link=link)
        yield self._task(i, k, alone=self.workers == 1)

    def task_for(self, ref: TileRef) -> TileTask | None:
        """Return the task that writes ``ref``, or None when this graph does not."""
        if ref.array == "L":
            return self._task(ref.i, ref.j, alone=self.workers == 1 and ref.i == ref.j)
        if ref.array in self.partials:
            return self._task(ref.i, ref.j, link=self.partials.index(ref.array))
        return None

    def _task(self, i: int, k: int, *, link: int | None = None, alone: bool = False) -> TileTask:
        return factor_task(i, k, ridge=self.ridge, links=self.links(k), link=link, alone=alone)

    def _columns(self) -> range:
        return range(self.grid.count)
