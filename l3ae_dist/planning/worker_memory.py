"""Memory of one worker process: the interpreter, tiles at work, the tile cache, and a block of users."""

from dataclasses import dataclass

from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.plan_inputs import Machine
from l3ae_dist.storage.tile_reader import READ_AHEAD, READ_THREADS
from l3ae_dist.units import MIB

# A worker's interpreter with NumPy, SciPy, Zarr and Dask, and OpenBLAS's own buffers; measured.
INTERPRETER_BYTES = 320 * MIB
# Two staged tasks: an accumulator and the operand pairs read ahead for each, and those in use by one.
TILES_HELD = STAGED + 2 * (STAGED * READ_AHEAD + 1)
# The same when one operand of each pair lies in the cache, but for those on their way into it.
TILES_BESIDE_PANEL = STAGED + STAGED * READ_AHEAD + 1 + READ_THREADS
# Left free of tiles: what allocators and threads take beside them.
MARGIN_BYTES = 48 * MIB
# What torch with a CUDA context adds to a worker on the host: an allowance, to be replaced by a measurement.
GPU_HOST_BYTES = 1024 * MIB
# Page-locked copies of tiles on their way to a GPU.
PINNED_TILES = 2
# Users of a block at most, and at least.
_LARGEST_BLOCK, _SMALLEST_BLOCK = 16_384, 64


@dataclass(frozen=True, slots=True)
class WorkerMemory:
    """Bytes of one worker that runs tile tasks.

    Parameters
    ----------
    tile_bytes
        Of one tile.
    streaming
        Held at most while both operands of every product are read.
    beside_cache
        Held at most beside the cache; less, where the cache holds the row panel.
    cache
        What the tile cache may hold.
    """

    tile_bytes: int
    streaming: int
    beside_cache: int
    cache: int

    @classmethod
    def of(cls, grid: TileGrid, machine: Machine, gram_itemsize: int | None) -> "WorkerMemory":
        """Divide the budget of a worker between the tiles at work and the cache.

        Parameters
        ----------
        grid
            The tiles.
        machine
            Budget, dtype, and whether tiles are staged for a GPU.
        gram_itemsize
            Bytes of a Gram entry; where they are not the dtype's, staged tiles are converted to a copy.
        """
        itemsize, budget = machine.itemsize, machine.memory_budget
        tile_bytes = grid.tile * grid.tile * itemsize
        converted = STAGED * gram_itemsize / itemsize if gram_itemsize not in (None, itemsize) else 0.0
        process = process_bytes(gpu=machine.gpu)
        beside_tiles = converted + (PINNED_TILES if machine.gpu else 0)
        streaming = process + int((TILES_HELD + beside_tiles) * tile_bytes)
        panel = process + int((TILES_BESIDE_PANEL + beside_tiles) * tile_bytes)
        fits = panel + grid.count * tile_bytes + MARGIN_BYTES <= budget
        beside = panel if fits else streaming
        cache = max(0, min(budget - beside - MARGIN_BYTES, 2 * grid.lower_count * tile_bytes))
        return cls(tile_bytes, streaming, beside, cache)


def process_bytes(*, gpu: bool) -> int:
    """Return the bytes of a worker process before it holds a tile."""
    return INTERPRETER_BYTES + (GPU_HOST_BYTES if gpu else 0)


def score_block_bytes(users: int, tile: int, itemsize: int, heads: int, k: int, matrices: int = 1) -> int:
    """Return the bytes that scoring a user block on an item tile holds beside the tiles.

    Parameters
    ----------
    users, tile
        Rows and columns of the block of scores.
    itemsize
        Bytes of a score.
    heads, k
        Models scored together, and items kept of each user.
    matrices
        Products ``x A`` with n x n matrices that one model needs.
    """
    dense = users * tile * ((2 + matrices) * itemsize + 8)
    return dense + users * heads * k * (16 + 2 * itemsize)


def users_that_fit(count: int, per_user: float, free: int) -> int:
    """Return the users of a block: 60 % of the free bytes, at least 64 and at most 16,384 users.

    Parameters
    ----------
    count
        Users that there are.
    per_user
        Bytes that each takes.
    free
        Bytes that are left of the budget.
    """
    return int(max(_SMALLEST_BLOCK, min(count, _LARGEST_BLOCK, 0.6 * max(free, 0) / per_user)))
