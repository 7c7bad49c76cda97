"""Macro blocks: tiles of a stage that one task makes side by side, so that an operand is read once for all.

The tile stays the unit of storage, checksum, done-mark and resume. Each tile of a block gets the same
kernels in the same order as by itself, so that its bits do not depend on the block that it is made in.
"""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from l3ae_dist.graphs.tasks import Step, Task, TileRef, TileTask, sums_over_rows
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.tile_cache import MADE


@dataclass(frozen=True, slots=True)
class BlockShape:
    """Tiles of a block at most, in each direction."""

    rows: int = 1
    columns: int = 1

    @property
    def tiles(self) -> int:
        """Tiles of the largest block: a rectangle, or a triangle on the diagonal."""
        return max(self.rows * self.columns, self.columns * (self.columns + 1) // 2)

    def at_most(self, rows: int, columns: int) -> "BlockShape":
        """Return the shape cut to so many rows and columns, of which there is always one."""
        return BlockShape(max(1, min(self.rows, rows)), max(1, min(self.columns, columns)))


def even_groups(start: int, stop: int, most: int) -> list[range]:
    """Cut tile rows or columns into as few groups of at most ``most`` as it takes, even to within one.

    Parameters
    ----------
    start, stop
        First row or column, and the one after the last.
    most
        Of a group.

    >>> even_groups(0, 7, 3)
    [range(0, 3), range(3, 5), range(5, 7)]
    """
    count = -(-(stop - start) // most)
    edges = [start + -(-(stop - start) * k // count) for k in range(count + 1)] if count else [start]
    return [range(first, last) for first, last in itertools.pairwise(edges)]


SINGLE = BlockShape()


@dataclass(frozen=True, slots=True)
class Operand:
    """A tile that a kernel reads: a tile of the same block that is finished, or one that is read for it.

    Parameters
    ----------
    number
        Of the tile in the block, or of the read.
    own
        Whether it is a tile of the block.
    last
        Whether no later kernel uses the tile, or the read.
    """

    number: int
    own: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One kernel of a block.

    Parameters
    ----------
    tile
        Number of the tile in the block that it changes.
    step
        The kernel.
    operands
        The tiles it reads.
    reads
        Those of them that are read from the store for it, and not for an operation before.
    last
        Whether the tile is finished by it.
    """

    tile: int
    step: Step
    operands: tuple[Operand, ...]
    reads: tuple[TileRef, ...]
    last: bool


@dataclass(frozen=True, slots=True)
class Program:
    """The kernels of a block in their order, and the tiles read for them in the order of their first use."""

    reads: tuple[TileRef, ...]
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class BlockTask:
    """Tiles of one stage that are made side by side; a single tile has a task of its own.

    Parameters
    ----------
    tiles
        Tasks of the tiles; all or none of them are partial sums.
    """

    tiles: tuple[TileTask, ...]

    @property
    def target(self) -> TileRef:
        """The tile that names the block."""
        return self.tiles[0].target

    @cached_property
    def targets(self) -> tuple[TileRef, ...]:
        """All tiles that the block writes."""
        return tuple(tile.target for tile in self.tiles)

    @property
    def deps(self) -> tuple[TileRef, ...]:
        """Tiles of the same graph, but not of the block, that must be done first."""
        own = set(self.targets)
        return tuple(dict.fromkeys(ref for tile in self.tiles for ref in tile.deps if ref not in own))

    @property
    def feeds(self) -> tuple[TileRef, ...]:
        """Nothing: what makes its tiles superfluous differs from tile to tile."""
        return ()

    def without(self, done: set[TileRef]) -> "AnyTask | None":
        """Return the task of the tiles that are neither done nor superfluous; None where all are."""
        missing = [tile for tile in self.tiles if is_missing(tile, done)]
        return as_task(missing) if missing else None

    def flops(self, grid: TileGrid) -> float:
        """Count the flops of all tiles."""
        return sum(tile.flops(grid) for tile in self.tiles)


def is_missing(task: Task, done: set[TileRef]) -> bool:
    """Tell whether a task has a chunk to make that is neither done nor a part of one that is done.

    Parameters
    ----------
    task
        Of any stage.
    done
        Chunks that are complete.
    """
    return not done.issuperset(task.targets) and done.isdisjoint(task.feeds)


AnyTask = TileTask | BlockTask
"""A task of a tile stage."""


@dataclass(frozen=True)
class Panel:
    """The operands that the next blocks read too, of whose rows or columns a worker keeps what it can.

    Parameters
    ----------
    tiles
        Tasks of a block.
    """

    tiles: tuple[TileTask, ...]

    @cached_property
    def _members(self) -> frozenset[tuple[str, str, int]]:
        return frozenset(tile.panel for tile in self.tiles)

    @cached_property
    def name(self) -> tuple[str, str, int]:
        """Array, axis and first index of the panel, the same for all blocks that share it."""
        return min(self._members)

    def of(self, ref: TileRef) -> tuple[str, str, int] | None:
        """Return the panel's name when ``ref`` is a tile of it."""
        axis = self.name[1]
        member = (ref.array, axis, ref.i if axis == "i" else ref.j)
        return self.name if member in self._members else None

    def of_target(self, tile: TileTask) -> object:
        """Return the panel that a tile of the block is kept in when it is finished."""
        return MADE if tile.shared else self.of(tile.target)


def as_task(tiles: Sequence[TileTask]) -> AnyTask:
    """Return the task of some tiles; of a single one its own."""
    return tiles[0] if len(tiles) == 1 else BlockTask(tuple(tiles))


def tiles_of(task: AnyTask) -> tuple[TileTask, ...]:
    """Return the tasks of the tiles that a task makes."""
    return task.tiles if isinstance(task, BlockTask) else (task,)


class Use(NamedTuple):
    """A kernel before its operands are numbered; those of one segment read an operand once for all."""

    tile: int
    step: Step
    operands: tuple[TileRef, ...]
    segment: int
    last: bool


def program(tiles: Sequence[TileTask], *, evenly: bool = False) -> Program:
    """Order the kernels of some tiles, of each tile in its own order, so that they share what is read.

    Parameters
    ----------
    tiles
        Of one stage, in row-major order.
    evenly
        Whether the tiles are begun and finished column by column (those of inverses row by row), so that they
        are read and written all the time; otherwise each is given up as early as it can be. Where no tile of
        the block is an operand of another, operands are then read once for every column, or row.
    """
    own = {tile.target: number for number, tile in enumerate(tiles)}
    uses = tuple(_uses(tiles, evenly=evenly))
    reads: list[TileRef] = []
    numbers: dict[tuple[int, TileRef], int] = {}
    last: dict[tuple[bool, int], int] = {}
    found: list[tuple[list[tuple[bool, int]], int]] = []
    for place, use in enumerate(uses):
        found.append(([], len(reads)))
        for ref in use.operands:
            if ref not in own and (use.segment, ref) not in numbers:
                numbers[use.segment, ref] = len(reads)
                reads.append(ref)
            key = (ref in own, own[ref] if ref in own else numbers[use.segment, ref])
            last[key] = place
            found[-1][0].append(key)
    ends = [first for _, first in found[1:]] + [len(reads)]
    return Program(
        tuple(reads),
        tuple(
            Operation(
                use.tile,
                use.step,
                tuple(Operand(key[1], key[0], last[key] == place) for key in keys),
                tuple(reads[first:end]),
                use.last,
            )
            for place, (use, (keys, first), end) in enumerate(zip(uses, found, ends, strict=True))
        ),
    )


class Segment(NamedTuple):
    """Kernels of a block that share what is read for them from the store."""

    uses: tuple[Use, ...]
    reads: tuple[TileRef, ...]


def segments(tiles: Sequence[TileTask]) -> Iterator[Segment]:
    """Yield the kernels of :func:`program` in groups that read each operand once.

    Parameters
    ----------
    tiles
        As for :func:`program`.
    """
    own = {tile.target for tile in tiles}
    for _, group in itertools.groupby(_uses(tiles), lambda use: use.segment):
        uses = tuple(group)
        reads = dict.fromkeys(ref for use in uses for ref in use.operands if ref not in own)
        yield Segment(uses, tuple(reads))


_Actions = deque[tuple[Step, tuple[TileRef, ...]]]


def _uses(tiles: Sequence[TileTask], *, evenly: bool = False) -> Iterator[Use]:
    """Yield the kernels of some tiles segment by segment.

    A segment is one step of the sum over panels, row of tiles by row, or what begins and finishes tiles
    between two of them. A tile of the block is an operand as soon as it is finished.
    """
    own = {tile.target for tile in tiles}
    uses_own = evenly and any(not own.isdisjoint(refs) for tile in tiles for _, refs in tile.actions())
    waiting = [deque(tile.actions()) for tile in tiles]
    finished: set[TileRef] = set()
    segment = 0
    # of a block that is finished evenly, the sums of operands that are not its own come first
    sums = ((tile.update, step, refs) for tile in tiles for step, refs in tile.actions()) if evenly else ()
    outside = sum(step.kernel == update and own.isdisjoint(refs) for update, step, refs in sums)
    while any(waiting):
        ready = [
            number
            for number, queue in enumerate(waiting)
            if queue and all(ref not in own or ref in finished for ref in queue[0][1])
        ]
        if evenly and not (uses_own and outside):
            ready = _leading(tiles, ready)
        for number in _segment(tiles, waiting, ready):
            step, refs = waiting[number].popleft()
            outside -= evenly and step.kernel == tiles[number].update and own.isdisjoint(refs)
            if not waiting[number]:
                finished.add(tiles[number].target)
            yield Use(number, step, refs, segment, not waiting[number])
        segment += 1


def _leading(tiles: Sequence[TileTask], ready: Sequence[int]) -> list[int]:
    """Return those of the first column among some tiles; of inverses those of the first row.

    The tiles of a column of the factor wait for those of the columns before, and so do rows of its inverse.
    """
    by_row = tiles[0].stage != "L"
    places = {number: tiles[number].target.i if by_row else tiles[number].target.j for number in ready}
    first = min(places.values())
    return [number for number in ready if places[number] == first]


def _segment(tiles: Sequence[TileTask], waiting: Sequence[_Actions], ready: Sequence[int]) -> list[int]:
    """Choose tiles whose next kernels make a segment: all that begin or finish, else those of one panel."""
    heads = {number: waiting[number][0] for number in ready}
    sums = {number: refs for number, (step, refs) in heads.items() if step.kernel == tiles[number].update}
    if len(sums) < len(ready):
        return [number for number in ready if number not in sums]
    panels = {number: _panel_of(tiles[number], refs) for number, refs in sums.items()}
    first = min(panels.values())
    return [number for number in ready if panels[number] == first]


def _panel_of(tile: TileTask, refs: tuple[TileRef, ...]) -> int:
    """Return the panel that an update sums over."""
    return refs[0].i if sums_over_rows(tile.update) else refs[0].j
