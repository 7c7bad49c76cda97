"""The workers that hold the tiles of a task in their memory, as the client tells them with it."""

from dataclasses import dataclass, field
from itertools import chain

from l3ae_dist.graphs.blocks import AnyTask, tiles_of
from l3ae_dist.graphs.tasks import TileRef


@dataclass(frozen=True, slots=True)
class Holders:
    """Workers that probably hold tiles which a task reads.

    Parameters
    ----------
    workers
        Their addresses.
    numbers
        For each tile that is held some of them, by their place in ``workers``.
    crcs
        The CRC32C of such tiles, as their done-marks name it.
    """

    workers: tuple[str, ...] = ()
    numbers: dict[TileRef, tuple[int, ...]] = field(default_factory=dict)
    crcs: dict[TileRef, int] = field(default_factory=dict)

    def of(self, ref: TileRef) -> tuple[str, ...]:
        """Return the addresses of the workers that probably hold a tile."""
        return tuple(self.workers[number] for number in self.numbers.get(ref, ()))


NOBODY = Holders()


def tiles_read_by(task: AnyTask) -> tuple[TileRef, ...]:
    """List the tiles that a task starts from and its operands, each of them once."""
    own = set(task.targets)
    tiles = tiles_of(task)
    starts = (tile.start for tile in tiles)
    operands = (ref for tile in tiles for _, refs in tile.actions() for ref in refs)
    return tuple(dict.fromkeys(ref for ref in chain(starts, operands) if ref not in own))


def tiles_known(task: AnyTask) -> tuple[TileRef, ...]:
    """List the tiles of which a worker tells whether it holds them: those it made and those it read."""
    return (*task.targets, *tiles_read_by(task))


def as_bits(flags: list[bool]) -> int:
    """Pack flags into a number, the first of them in its lowest bit.

    >>> bin(as_bits([True, False, True, True]))
    '0b1101'
    """
    return sum(1 << place for place, flag in enumerate(flags) if flag)
