"""Tile tasks as data only: which chunk a task writes, from what, by which kernels.

A task never holds numbers of the matrix; :mod:`l3ae_dist.graphs.execute` runs it on a worker, the
plan and the simulator read its flops and bytes from here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from l3ae_dist.linalg.kernels import Kernel
from l3ae_dist.linalg.tiles import TileGrid


class TileRef(NamedTuple):
    """Chunk (i, j) of the array that the stage calls ``array`` (``gram``, ``L``, ``Linv``, ``P`` ...)."""

    array: str
    i: int
    j: int


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel applied in place to the accumulator.

    Parameters
    ----------
    kernel
        Which one.
    operand
        Its tile operand, where it has one.
    ridge
        What :attr:`Kernel.ADD_RIDGE` adds to the diagonal of the system, and what :attr:`Kernel.POTRF` names
        when the sum is not positive definite.
    """

    kernel: Kernel
    operand: TileRef | None = None
    ridge: float = 0.0

    @property
    def operands(self) -> tuple[TileRef, ...]:
        """Its tile operands: one or none."""
        return () if self.operand is None else (self.operand,)


class Task(Protocol):
    """One write-once chunk and what it waits for."""

    @property
    def target(self) -> TileRef:
        """The chunk that names the task: the one whose done-mark counts, or the first tile of a block."""

    @property
    def targets(self) -> tuple[TileRef, ...]:
        """The chunks whose done-marks make the task complete; more than one of a block of tiles."""

    @property
    def deps(self) -> tuple[TileRef, ...]:
        """Chunks of the same graph that must be done first."""

    @property
    def feeds(self) -> tuple[TileRef, ...]:
        """The chunks of which any that is done makes this one superfluous; the last is the final one."""

    def flops(self, grid: TileGrid) -> float:
        """Count the useful floating-point operations."""


@dataclass(frozen=True, slots=True)
class TileTask:
    """A left-looking tile: load, begin, accumulate operand pairs, finish, write once.

    Parameters
    ----------
    target
        The tile written.
    start
        Tile copied into the accumulator first.
    begin, finish
        Kernels before and after the updates.
    update
        Kernel applied for each entry of ``operands``.
    operands
        Tile operands of each update, in the order they are streamed.
    panel
        Which operands the neighbouring tasks read too: those of array ``panel[0]`` whose index
        ``panel[1]`` (``"i"`` or ``"j"``) is ``panel[2]``.
    deps
        Tiles of the same graph that must be done first.
    feeds
        For a partial sum: the later sums that it is a part of, and the tile; it is deleted once the next of
        them is done, and superfluous once any of them is.
    reread
        Whether later tasks of the stage read the target.
    shared
        Whether it is kept for other workers, before tiles that were only read.
    """

    target: TileRef
    start: TileRef
    begin: tuple[Step, ...]
    update: Kernel
    operands: tuple[tuple[TileRef, ...], ...]
    finish: tuple[Step, ...]
    panel: tuple[str, str, int]
    deps: tuple[TileRef, ...]
    feeds: tuple[TileRef, ...] = ()
    reread: bool = True
    shared: bool = False

    @property
    def targets(self) -> tuple[TileRef, ...]:
        """The tile written."""
        return (self.target,)

    @property
    def stage(self) -> str:
        """The array that the tasks of one stage make in the end."""
        return (self.feeds[-1] if self.feeds else self.target).array

    @property
    def spent(self) -> TileRef | None:
        """The partial sum that this task starts from and nobody else reads."""
        return self.start if self.start in self.deps else None

    def actions(self) -> Iterator[tuple[Step, tuple[TileRef, ...]]]:
        """Yield every kernel in order, with its tile operands."""
        for step in self.begin:
            yield step, step.operands
        for operands in self.operands:
            yield Step(self.update), operands
        for step in self.finish:
            yield step, step.operands

    def flops(self, grid: TileGrid) -> float:
        """Count the flops of all kernels of this task."""
        m, n = grid.shape(self.target.i, self.target.j)
        total = sum(kernel_flops(step.kernel, m, n) for step in (*self.begin, *self.finish))
        for operands in self.operands:
            total += kernel_flops(self.update, m, n, inner_size(self.update, operands[0], grid))
        return total


def inner_size(update: str, first: TileRef, grid: TileGrid) -> int:
    """Return the dimension that an update sums over, from its first operand.

    Parameters
    ----------
    update
        Name of the kernel.
    first
        Its first operand.
    grid
        The tile grid.
    """
    return grid.size(first.i if sums_over_rows(update) else first.j)


def sums_over_rows(update: str) -> bool:
    """Tell whether an update sums over the rows of its first operand, which is transposed."""
    return update.endswith(("_tn", "_t"))


def kernel_flops(kernel: str, m: int, n: int, inner: int = 0) -> float:
    """Count the useful flops of a kernel on an m x n accumulator: LAPACK's counts, leading terms.

    Parameters
    ----------
    kernel
        Name of the kernel, as in :class:`l3ae_dist.linalg.kernels.Kernel`.
    m, n
        Shape of the accumulator.
    inner
        Dimension that an update sums over.

    >>> kernel_flops("gemm_nt", 2, 3, 4), kernel_flops("potrf", 3, 3)
    (48.0, 9.0)
    """
    if kernel.startswith("gemm"):
        return 2.0 * m * n * inner
    if kernel.startswith("syrk"):
        return 1.0 * m * n * inner
    if kernel in ("potrf", "trtri", "lauum"):
        return m**3 / 3
    if kernel in ("trsm_rt", "trmm_rn"):
        return float(m) * n * n
    if kernel in ("trsm_ll", "trmm_lt"):
        return float(m) * m * n
    return 0.0


class Graph(Protocol):
    """The tasks of one stage, generated in an order that respects their dependencies."""

    @property
    def stage(self) -> str:
        """Name of the stage."""

    @property
    def grid(self) -> TileGrid:
        """The tile grid."""

    def __len__(self) -> int:
        """Number of tasks."""

    def tasks(self) -> Iterator[Task]:
        """Yield all tasks, dependencies before dependants."""

    def task_for(self, ref: TileRef) -> Task | None:
        """Return the task that writes ``ref``, or None when this graph does not."""
