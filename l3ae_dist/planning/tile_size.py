"""The tile size: the largest tile whose working set fits a worker's budget and that keeps all workers busy.

``compute.tile_size`` sets it instead. Where the interactions of popular items take more than these tiles
leave, ``l3ae_dist.planning.plan_of_config.fitting_plan`` takes a smaller one.
"""

from dataclasses import asdict, dataclass

import numpy as np

from l3ae_dist.errors import BudgetError
from l3ae_dist.graphs.blocks import SINGLE, BlockShape
from l3ae_dist.planning.worker_memory import (
    MARGIN_BYTES,
    MAX_BLOCK,
    WIDENED_TILES,
    host_tiles,
    process_bytes,
)
from l3ae_dist.units import MIB, mebibytes

MAX_TILE = 4096
# Rows of a tile are chosen in steps of so many.
STEP = 128
# Rows that a kernel of float32 or float64 takes at a time divide this.
_ALIGNED = 32
# Kernels beside reads and writes lose little on such tiles (those of 1,024 a tenth), and blocks of many of
# them read less than fewer larger tiles do.
_EFFICIENT = 1408
# No smaller tile is chosen to keep workers busy.
_SMALLEST_BUSY = 512


@dataclass(frozen=True, slots=True)
class TileLimits:
    """The largest rows of a tile for each thing that bounds them.

    Parameters
    ----------
    memory
        By the working set in the memory budget.
    workers
        By the tiles that all workers need to be busy.
    largest
        By what kernels gain from.
    items
        By the items that there are.
    """

    memory: int
    workers: int
    largest: int
    items: int

    @property
    def side(self) -> int:
        """The smallest of them."""
        return min(self.memory, self.workers, self.largest, self.items)

    @property
    def binding(self) -> str:
        """The name of the limit that decides, the first of equal ones."""
        limits = asdict(self)
        return min(limits, key=lambda name: limits[name])


def choose_tile(
    n: int, itemsize: int, memory_budget: int, workers: int, *, gpu: bool = False, widened: bool = False
) -> int:
    """Choose the largest tile whose working set fits the budget and that leaves every worker enough tiles.

    Parameters
    ----------
    n
        Items.
    itemsize
        Bytes of one matrix entry.
    memory_budget
        Bytes per worker.
    workers
        Worker processes; with several, :func:`tiles_for` them on each side keep them all busy.
    gpu
        Whether workers compute on a GPU, which takes host memory too.
    widened
        Whether they compute in copies of tiles in float64.

    Returns
    -------
    Rows of a tile, a multiple of 32 (or ``n`` when that is smaller).

    Raises
    ------
    BudgetError
        When not even the smallest tile fits.

    >>> choose_tile(100_000, 4, memory_budget=2 * 2**30, workers=1)
    1888
    """
    return _even(n, tile_limits(n, itemsize, memory_budget, workers, gpu=gpu, widened=widened).side)


def tile_limits(
    n: int, itemsize: int, memory_budget: int, workers: int, *, gpu: bool = False, widened: bool = False
) -> TileLimits:
    """Return what bounds the rows of a tile.

    Parameters
    ----------
    n, itemsize, memory_budget, workers, gpu, widened
        As for :func:`choose_tile`.

    Raises
    ------
    BudgetError
        When not even the smallest tile fits.
    """
    process, beside = process_bytes(gpu=gpu), WIDENED_TILES if widened else 0
    free = max(memory_budget - process - MARGIN_BYTES, 0) / itemsize
    side = 0
    for block in (MAX_BLOCK, 2, 1):
        # a quarter of what is free stays for the user blocks and a part of the panel
        fits = (
            int(np.sqrt(0.75 * free / (host_tiles(BlockShape(block, block), gpu=gpu) + beside)))
            // STEP
            * STEP
        )
        side = max(side, fits if block == MAX_BLOCK else min(fits, _EFFICIENT))
        if side >= _EFFICIENT:
            break
    if side < STEP:
        needed = (
            process
            + MARGIN_BYTES
            + int((host_tiles(SINGLE, gpu=gpu) + beside) * STEP**2 * itemsize / 0.75)
            + MIB
        )
        raise BudgetError(
            f"the memory budget of {mebibytes(memory_budget)} per worker is too small: "
            f"at least {mebibytes(needed)} is needed."
        )
    busy = -(-n // tiles_for(workers))
    return TileLimits(
        memory=side, workers=max(_SMALLEST_BUSY, -(-busy // STEP) * STEP), largest=MAX_TILE, items=n
    )


def tiles_for(workers: int) -> int:
    """Return the tiles a side that keep so many workers busy: six for each of a few, one for each of many."""
    return 4 if workers == 1 else min(6 * workers, max(24, workers))


def _even(n: int, side: int) -> int:
    """Return the smallest tile that needs no more tiles than ``side``: the last ones are stored whole too."""
    each = -(-n // -(-n // side))
    return min(side, -(-each // _ALIGNED) * _ALIGNED)
