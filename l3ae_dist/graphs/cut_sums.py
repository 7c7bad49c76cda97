"""Sums over panels that are cut into parts, each a task of its own as soon as its panels are there.

A block that waits for all its operands comes too late where there are about as many workers as tile columns:
one group of columns keeps few of them busy, and the next waits for it. So the sum of each tile is cut after
every 24 panels, and once more before the last group of panels: what is far away is added early, in large
blocks of partial sums, and what the chain of diagonal blocks waits for is one group of panels and a solve.
The order of the sum, and so every bit, stays.
"""

from collections.abc import Iterator, Sequence

from l3ae_dist.graphs.blocks import BlockShape

# With fewer workers a group of columns keeps all of them busy, and partial sums cost more than they save.
_MANY = 9
# Panels between two cuts: a partial tile is written and read once for every 24 products.
_PANELS = 24
# Blocks of the triangle for each worker.
_BLOCKS_EACH = 17


def in_flight(workers: int) -> bool:
    """Tell whether sums are cut, so that several groups of columns are in flight."""
    return workers >= _MANY


def in_flight_shape(block: BlockShape, count: int, workers: int) -> BlockShape:
    """Return the shape of blocks, so small that many workers have some, and that a chain of them is short.

    Parameters
    ----------
    block
        Tiles of a block at most.
    count
        Tiles a side of the triangle.
    workers
        Worker processes; with few the shape is the given one.
    """
    if not in_flight(workers):
        return block
    side = round(count / (2 * _BLOCKS_EACH * workers) ** 0.5)
    return block.at_most(side, side)


def group_cuts(groups: Sequence[range]) -> Iterator[tuple[range, tuple[int, ...]]]:
    """Yield groups of panels, and for each the first panels of the sums over all that come before it.

    Parameters
    ----------
    groups
        Of all panels, in their order.
    """
    every = max(1, _PANELS // len(groups[0]))
    for number, group in enumerate(groups):
        far = [before.start for before in groups[:number:every]] or [0]
        last = groups[max(0, number - 1)].start
        yield group, tuple(dict.fromkeys((*far, last)))
