"""Memory of one worker process: the interpreter, tiles at work, the tile cache, and a block of users."""

from dataclasses import dataclass

import numpy as np

from l3ae_dist.errors import BudgetError
from l3ae_dist.graphs.blocks import SINGLE, BlockShape
from l3ae_dist.graphs.device_tiles import MOST_IO_THREADS, TEMPORARY_TILES
from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.graphs.inverse import busy_side
from l3ae_dist.linalg.staging import PIECE_BYTES
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.plan_inputs import Machine
from l3ae_dist.planning.traffic import tiles_read
from l3ae_dist.runtime.peer_reads import RECEIVED, SENT_BYTES, SERVED
from l3ae_dist.storage.chunks import TRAILER
from l3ae_dist.storage.direct_io import aligned_size
from l3ae_dist.storage.operand_stream import AHEAD
from l3ae_dist.units import GIB, MIB, mebibytes

# A worker's interpreter with NumPy, SciPy, Zarr and Dask, and OpenBLAS's own buffers; measured.
INTERPRETER_BYTES = 320 * MIB
# Tiles a side of the largest block: more would leave a worker that is killed with much to do again.
MAX_BLOCK = 8
# Tiles at most that wait to be written, or are there for the next block.
_WAITING = 4
# Left free of tiles: what allocators and threads take beside them.
MARGIN_BYTES = 48 * MIB
# What torch with a CUDA context adds to a worker on the host: an allowance, to be replaced by a measurement.
GPU_HOST_BYTES = 1024 * MIB
ASSUMED_DEVICE_BYTES = 64 * GIB
"""Bytes of a GPU that tiles may take, where no run tells: of 80 GB, nine tenths of what is free."""
# Page-locked memory: two pieces of each thread that copies tiles.
_PINNED_BYTES = 2 * PIECE_BYTES * (3 * MOST_IO_THREADS + 1)
# Tiles of a worker on their way to and from a GPU: by threads that read operands, read accumulators, write.
_ON_THEIR_WAY = 3 * MOST_IO_THREADS
# Tiles of float32 that the float64 copies of an accumulator and of one operand pair take.
WIDENED_TILES = 2 * 3
# Pieces of tiles on their way from peers.
PEER_BYTES = RECEIVED * SENT_BYTES
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
        Held at most by stages that make one tile at a time.
    block
        The largest block of tiles that a task of the factorisation makes side by side.
    beside_cache
        Held at most beside the cache while blocks are made.
    cache
        What the tile cache may hold.
    """

    tile_bytes: int
    streaming: int
    block: BlockShape
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
        gram = gram_itemsize / itemsize if gram_itemsize and gram_itemsize != itemsize else 0.0
        beside_tiles = WIDENED_TILES if machine.widened else 0

        beside = process_bytes(gpu=machine.gpu)
        if machine.among_peers:
            beside_tiles += SERVED  # which may have left the cache since
            beside += PEER_BYTES

        def held(block: BlockShape) -> int:
            tiles = host_tiles(block, gpu=machine.gpu, gram=gram) + beside_tiles
            return beside + int(tiles * tile_bytes)

        def cache(block: BlockShape) -> int:
            most = 2 * grid.lower_count * pinned_bytes(tile_bytes)
            return max(0, min(budget - held(block) - MARGIN_BYTES, most))

        def reads(block: BlockShape) -> float:
            return tiles_read(grid.count, machine.workers, cache(block) // tile_bytes, block)

        side = min(machine.block or largest_side(grid.count, machine.workers), grid.count)
        if machine.widened:  # each accumulator would have a copy twice as large
            side = 1
        fitting = [SINGLE] + [BlockShape(q, q) for q in range(2, side + 1)]
        fitting = [block for block in fitting if block == SINGLE or held(block) + MARGIN_BYTES <= budget]
        fitting = _fitting_a_device(fitting, grid, machine, gram_itemsize)
        # what a block takes is lost to the cache; of equal ones the smaller
        block = fitting[-1] if machine.block or machine.workers > 1 else min(fitting, key=reads)
        return cls(tile_bytes, held(SINGLE), block, held(block), cache(block))


def pinned_bytes(tile_bytes: int) -> int:
    """Return the bytes of the buffer in which a worker keeps a tile."""
    return aligned_size(tile_bytes + TRAILER)


def accumulators(block: BlockShape) -> int:
    """Return the tiles of a worker that are computed, or on their way to and from the store."""
    return block.tiles + max(1, min(_WAITING, block.tiles // 4))


def tiles_held(block: BlockShape) -> int:
    """Return the tiles that a worker holds at most: accumulators, operands in use, operands read ahead.

    Operands are those of a row of the block and one of a column, and of two tasks those read ahead.
    """
    return accumulators(block) + block.columns + 1 + STAGED * AHEAD


TILES_HELD = tiles_held(SINGLE)


def device_bytes(
    block: BlockShape, grid: TileGrid, machine: Machine, gram_itemsize: int | None = None
) -> int:
    """Return the bytes of a device that tiles at work take at most, those that are kept apart.

    Parameters
    ----------
    block
        Tiles of a block at most.
    grid, machine
        The tiles, and the dtype that they are computed in.
    gram_itemsize
        Bytes of a Gram entry; where they are not the dtype's, tiles are converted on the device.
    """
    itemsize = max(machine.itemsize, np.dtype(machine.arithmetic or machine.dtype).itemsize)
    tiles = tiles_held(block) + MOST_IO_THREADS + TEMPORARY_TILES
    converted = MOST_IO_THREADS * gram_itemsize if gram_itemsize and gram_itemsize != machine.itemsize else 0
    return (tiles * itemsize + converted) * grid.tile**2


def device_cache_bytes(
    block: BlockShape, grid: TileGrid, machine: Machine, gram_itemsize: int | None = None
) -> int:
    """Return the bytes of tiles that a worker keeps on its device, 0 without one.

    Parameters
    ----------
    block, grid, machine, gram_itemsize
        As for :func:`device_bytes`; where the memory of the device is not configured, it is assumed, and
        divided among the workers on it.
    """
    if not machine.gpu:
        return 0
    usable = machine.device_memory or ASSUMED_DEVICE_BYTES // machine.sharers
    return max(0, usable - device_bytes(block, grid, machine, gram_itemsize))


def _fitting_a_device(
    blocks: list[BlockShape], grid: TileGrid, machine: Machine, gram_itemsize: int | None
) -> list[BlockShape]:
    """Return the blocks that the configured memory of a device has room for."""
    limit = machine.device_memory
    if not machine.gpu or limit is None:
        return blocks
    found = [block for block in blocks if device_bytes(block, grid, machine, gram_itemsize) <= limit]
    if not found:
        least = device_bytes(SINGLE, grid, machine, gram_itemsize)
        raise BudgetError(
            f"tiles of {grid.tile} rows take {mebibytes(least)} of a GPU at work and compute.device_memory "
            f"is {mebibytes(limit)}; raise it or lower compute.tile_size."
        )
    return found


def host_tiles(block: BlockShape, *, gpu: bool, gram: float = 0.0) -> float:
    """Return the tiles that a worker holds in the memory of its process at most.

    Where it may have a GPU, that is where it computes or that is on the way; ``auto`` leaves it open.

    Parameters
    ----------
    block
        Tiles of a block at most.
    gpu
        Whether it may have a GPU.
    gram
        Size of a tile of the Gram matrix where that has another dtype, in tiles; 0 where it has theirs.
    """
    computed = tiles_held(block) + STAGED * gram
    on_their_way = _ON_THEIR_WAY + MOST_IO_THREADS * max(0.0, gram - 1)
    return max(computed, on_their_way) if gpu else computed


def largest_side(count: int, workers: int) -> int:
    """Return the tiles a side of the largest block that leaves all workers busy.

    Parameters
    ----------
    count
        Tiles a side of the matrix.
    workers
        Worker processes.
    """
    return min(MAX_BLOCK, busy_side(count, workers))


def process_bytes(*, gpu: bool) -> int:
    """Return the bytes of a worker process before it holds a tile."""
    return INTERPRETER_BYTES + (GPU_HOST_BYTES + _PINNED_BYTES if gpu else 0)


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
