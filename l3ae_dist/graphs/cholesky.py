"""Left-looking blocked Cholesky: ``G + ridge I = L L'``, lower tiles, each written once.

Tile form of LAPACK's ``?potrf``: column k of L is the column k of the Gram minus the products of the
finished columns to its left, solved with the diagonal tile. n^3 / 3 flops; T^3 / 6 tile pairs, of which a
block of r x q tiles reads r + q tiles for r q pairs.

Towards the end a column has fewer blocks than there are workers, and each of them waits for the column
before. For a few workers blocks get smaller there, and at last the updates of a single tile are split into
groups of panels: a group's sum is a partial tile, written once, which runs ahead as soon as its panels are
done and is deleted when the tile it feeds is there. The order of the sums, and so every bit, stays. For many
workers the sums of all tiles are cut (:mod:`l3ae_dist.graphs.cut_sums`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from l3ae_dist.graphs.blocks import SINGLE, AnyTask, BlockShape, as_task, even_groups
from l3ae_dist.graphs.cut_sums import group_cuts, in_flight, in_flight_shape
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
    i: int, k: int, *, ridge: float, cuts: Sequence[int] = (0,), link: int | None = None, alone: bool = False
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
    cuts
        First panels of the partial sums, and of what the task of the tile itself sums.
    link
        Which partial tile this task writes; None for the tile itself.
    alone
        Whether one worker runs all tasks in their order.
    """
    links = len(cuts) - 1
    step = links if link is None else link
    columns = range(cuts[step], k if link is None else cuts[step + 1])
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
    target = TileRef("L", i, k)
    later = () if link is None else tuple(TileRef(partial_name(n), i, k) for n in range(link + 1, links))
    return TileTask(
        target=target if link is None else TileRef(partial_name(link), i, k),
        start=before or TileRef("gram", i, k),
        begin=(Step(Kernel.ADD_RIDGE, ridge=ridge),) if i == k and before is None else (),
        update=Kernel.SYRK_N if i == k else Kernel.GEMM_NT,
        operands=pairs,
        finish=(finish,) if link is None else (),
        # where other workers compute the column before meanwhile, this row is not yet the panel
        panel=("L", "i", k if i > k or alone else -1),
        deps=tuple(deps),
        feeds=() if link is None else (*later, target),
        reread=link is None,
    )


@dataclass(frozen=True)
class CholeskyGraph:
    """The factor stage, one group of columns after the other.

    Parameters
    ----------
    grid
        The tile grid.
    workers
        Worker processes that the graph is for; with one there are no partial tiles.
    ridge
        Added to the diagonal of the Gram matrix.
    block
        Tiles that a task makes side by side at most.
    """

    grid: TileGrid
    workers: int = 1
    ridge: float = 0.0
    block: BlockShape = SINGLE
    stage: Stage = Stage.FACTOR

    def __len__(self) -> int:
        return sum(len(self.cuts(k)) * (self.grid.count - k) for k in range(self.grid.count))

    @property
    def partials(self) -> tuple[str, ...]:
        """Names of the partial arrays that the tasks use."""
        return tuple(partial_name(link) for link in range(len(self.cuts(self.grid.count - 1)) - 1))

    @cached_property
    def shape(self) -> BlockShape:
        """Tiles of a block; with a few workers those of its first columns, and fewer in the others."""
        return in_flight_shape(self.block, self.grid.count, self.workers)

    @cached_property
    def _groups(self) -> list[range]:
        """The groups of columns.

        Where several workers wait for each other's blocks, these are so small that a group has two for each
        of them, and single tiles in the last columns. Cut sums keep many of them busy instead.
        """
        start, count = 0, self.grid.count
        if self.workers == 1 or in_flight(self.workers):
            return even_groups(0, count, self.shape.columns)
        groups = []
        while start < count:
            shape = self.block.at_most(1, min(self._busy(start), count - start - _tail(self.workers)))
            groups.append(range(start, min(count, start + shape.columns)))
            start = groups[-1].stop
        return groups

    def _busy(self, start: int) -> int:
        return max(1, (self.grid.count - start) // (2 * self.workers))

    def columns(self) -> Iterator[tuple[range, int]]:
        """Yield the groups of columns, and the tile rows of a block below the diagonal of each."""
        few = self.workers > 1 and not in_flight(self.workers)
        for group in self._groups:
            yield group, min(self.shape.rows, self._busy(group.start)) if few else self.shape.rows

    @cached_property
    def _cuts(self) -> list[tuple[int, ...]]:
        """The first panels of the sums of each column."""
        if in_flight(self.workers):
            return [cuts for group, cuts in group_cuts(self._groups) for _ in group]
        tail = 0 if self.workers == 1 else _tail(self.workers)
        return [
            tuple(range(0, max(1, k), GROUP)) if self.grid.count - k <= tail else (0,)
            for k in range(self.grid.count)
        ]

    @property
    def sums(self) -> list[tuple[int, ...]]:
        """The cuts of every column: what decides what a partial tile holds."""
        return self._cuts if self.partials else []

    def cuts(self, k: int) -> tuple[int, ...]:
        """Return the first panels of the partial sums of column ``k``, and of what is summed last."""
        return self._cuts[k]

    def tasks(self) -> Iterator[AnyTask]:
        """Yield all tasks; a group of columns needs only columns to its left.

        With several workers the rows of the next diagonal block come first, and that block after them, so
        that the rest of the group is computed while that block, for which all of the next group waits, is
        written. A worker alone makes it last: the rows that it reads stay in its cache as the next panel.
        """
        groups = list(self.columns())
        yield from self._blocks(groups[0][0], [groups[0][0]])
        for number, (columns, height) in enumerate(groups):
            after = groups[number + 1][0] if number + 1 < len(groups) else range(columns.stop, columns.stop)
            if in_flight(self.workers):
                rows = [after] * bool(after) + even_groups(after.stop, self.grid.count, height)
            else:
                rows = even_groups(columns.stop, self.grid.count, height)
            first = sum(group.start < after.stop for group in rows) if self.workers > 1 else len(rows)
            yield from self._blocks(columns, rows[:first])
            if after:
                yield from self._blocks(after, [after])
            yield from self._blocks(columns, rows[first:])

    def _blocks(self, columns: range, rows: Sequence[range]) -> Iterator[AnyTask]:
        """The partial sums of some blocks of a group of columns, then the blocks."""
        for link in (*range(len(self.cuts(columns.start)) - 1), None):
            for group in rows:
                yield as_task([self._task(i, k, link) for i in group for k in columns if k <= i])

    def task_for(self, ref: TileRef) -> TileTask | None:
        """Return the task that writes ``ref`` alone, or None when this graph does not."""
        if ref.array == "L":
            return self._task(ref.i, ref.j)
        if ref.array in self.partials:
            return self._task(ref.i, ref.j, self.partials.index(ref.array))
        return None

    def _task(self, i: int, k: int, link: int | None = None) -> TileTask:
        alone = self.workers == 1 and i == k
        task = factor_task(i, k, ridge=self.ridge, cuts=self.cuts(k), link=link, alone=alone)
        return replace(task, shared=True) if in_flight(self.workers) else task


def _tail(workers: int) -> int:
    """Count the last columns, whose sums are split among a few workers."""
    return 2 * workers + 2
