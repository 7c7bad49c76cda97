"""Before anything runs: the tile size, the memory of every stage, and a refusal with the numbers.

The memory contract: ``memory_budget`` is bytes per worker process, interpreter included; what a stage
is projected to hold at most must fit, and the tile size follows from it.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from l3ae_dist.errors import BudgetError
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.storage.tile_reader import READ_AHEAD, READ_THREADS

MIB = 2**20
# A worker's interpreter with NumPy, SciPy, Zarr and Dask, and OpenBLAS's own buffers; measured.
INTERPRETER_BYTES = 320 * MIB
# Two staged tasks: an accumulator and the operand pairs read ahead for each, and those in use by one.
TILES_HELD = STAGED + 2 * (STAGED * READ_AHEAD + 1)
# The same when one operand of each pair lies in the cache, but for those on their way into it.
TILES_BESIDE_PANEL = STAGED + STAGED * READ_AHEAD + 1 + READ_THREADS
# Left free of tiles: what allocators and threads take beside them.
_MARGIN = 48 * MIB
# What torch with a CUDA context adds to a worker on the host: an allowance, to be replaced by a measurement.
GPU_HOST_BYTES = 1024 * MIB
# Page-locked copies of tiles on their way to a GPU.
PINNED_TILES = 2
MAX_TILE = 4096
# Rows of a tile are chosen in steps of so many.
STEP = 128
# Rows that a kernel of float32 or float64 takes at a time divide this.
_ALIGNED = 32


@dataclass(frozen=True)
class StagePlan:
    """Projection of one stage: tasks, flops, bytes moved, and bytes a worker holds at most."""

    name: str
    tasks: int
    flops: float
    bytes_read: float
    bytes_written: float
    peak_bytes: int


@dataclass(frozen=True)
class Plan:
    """What a run will do; immutable, made before any process is started."""

    grid: TileGrid
    dtype: str
    memory_budget: int
    workers: int
    cache_bytes: int
    user_block: int
    stages: tuple[StagePlan, ...]

    @property
    def peak_bytes(self) -> int:
        """The largest projection of any stage."""
        return max(stage.peak_bytes for stage in self.stages)

    def summary(self) -> dict[str, Any]:
        """The plan as JSON-like values."""
        return {
            "items": self.grid.n,
            "tile": self.grid.tile,
            "tiles_per_side": self.grid.count,
            "dtype": self.dtype,
            "memory_budget": self.memory_budget,
            "projected_peak_bytes": self.peak_bytes,
            "stages": [asdict(stage) for stage in self.stages],
        }

    def validate(self) -> None:
        """Refuse a plan that does not fit its budget.

        Raises
        ------
        BudgetError
            Naming the stage, what it needs, the budget, and the smallest budget that works.
        """
        for stage in self.stages:
            if stage.peak_bytes > self.memory_budget:
                raise BudgetError(
                    f"stage {stage.name} needs {_mib(stage.peak_bytes)} per worker with tiles of "
                    f"{self.grid.tile}, and the memory budget is {_mib(self.memory_budget)}; "
                    f"raise the budget to {_mib(stage.peak_bytes)} or choose a smaller tile size."
                )


def choose_tile(n: int, itemsize: int, memory_budget: int, workers: int, *, gpu: bool = False) -> int:
    """The largest tile whose working set fits the budget and leaves every worker enough tiles.

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

    Returns
    -------
    Rows of a tile, a multiple of 32 (or ``n`` when that is smaller).

    Raises
    ------
    BudgetError
        When not even the smallest tile fits.

    >>> choose_tile(100_000, 4, memory_budget=2 * 2**30, workers=1)
    3456
    """
    return _even(n, min(tile_limits(n, itemsize, memory_budget, workers, gpu=gpu).values()))


def tile_limits(
    n: int, itemsize: int, memory_budget: int, workers: int, *, gpu: bool = False
) -> dict[str, int]:
    """What bounds the rows of a tile, by reason; parameters and errors are those of :func:`choose_tile`.

    The keys are ``memory``, ``workers`` (tiles for all of them), ``largest`` and ``items``.
    """
    process, pinned = _process_bytes(gpu), PINNED_TILES if gpu else 0
    free = max(memory_budget - process - _MARGIN, 0) / itemsize
    # a quarter of what is free stays for the user blocks and a part of the row panel
    streamed = int(np.sqrt(0.75 * free / (TILES_HELD + pinned))) // STEP * STEP
    # with a row panel of T tiles in the cache too, half as much is read for each product
    held = TILES_BESIDE_PANEL + pinned
    cached = MAX_TILE
    while cached >= STEP and (held - (-n // cached)) * cached**2 > free:
        cached -= STEP
    side = cached if 2 * cached >= streamed else streamed
    if side < STEP:
        needed = process + _MARGIN + int((TILES_HELD + pinned) * STEP**2 * itemsize / 0.75) + MIB
        raise BudgetError(
            f"the memory budget of {_mib(memory_budget)} per worker is too small: "
            f"at least {_mib(needed)} is needed."
        )
    busy = -(-n // tiles_for(workers))
    return {
        "memory": side,
        "workers": max(512, -(-busy // STEP) * STEP),
        "largest": MAX_TILE,
        "items": n,
    }


def tiles_for(workers: int) -> int:
    """Tiles a side that keep so many workers busy: six for each of a few, one for each of many."""
    return 4 if workers == 1 else min(6 * workers, max(24, workers))


def _even(n: int, side: int) -> int:
    """The smallest tile that needs no more tiles than ``side``: the last ones are stored whole too."""
    each = -(-n // -(-n // side))
    return min(side, -(-each // _ALIGNED) * _ALIGNED)


def make_plan(
    *,
    n: int,
    n_users: int,
    nnz: int,
    widest_block_nnz: int,
    d: int,
    dtype: str,
    memory_budget: int,
    workers: int,
    heads: int = 1,
    k: int = 50,
    tile: int | None = None,
    gpu: bool = False,
    gram_itemsize: int | None = None,
    semantic_tiles: bool = False,
    product: bool = False,
    low_rank: int = 0,
    scored_users: int | None = None,
) -> Plan:
    """Plan the tile stages of one fit and its evaluation.

    Parameters
    ----------
    n, n_users, nnz, d
        Items, users, training interactions, embedding dimension (0 without text).
    widest_block_nnz
        Interactions of the most popular tile of items.
    dtype
        Of the arithmetic.
    memory_budget, workers
        Bytes per worker process, and how many.
    heads, k
        Models scored together, and items kept for each user.
    tile
        Tile size; chosen when None.
    gpu
        Whether workers compute on a GPU: allows for torch and its page-locked tiles on the host.
    gram_itemsize
        Bytes of a Gram entry, where that is not the dtype's.
    semantic_tiles, product
        Whether the semantic phase is solved in tiles too (direct route), and multiplied by P.
    low_rank
        Singular vectors of a low-pass filter, 0 for none.
    scored_users
        Users that are evaluated, all when None.
    """
    itemsize = np.dtype(dtype).itemsize
    side = choose_tile(n, itemsize, memory_budget, workers, gpu=gpu) if tile is None else min(tile, n)
    grid = TileGrid(n, side)
    tile_bytes = side * side * itemsize
    converted = STAGED * gram_itemsize / itemsize if gram_itemsize not in (None, itemsize) else 0.0
    process, beside_tiles = _process_bytes(gpu), converted + (PINNED_TILES if gpu else 0)
    held = process + int((TILES_HELD + beside_tiles) * tile_bytes)
    panel = process + int((TILES_BESIDE_PANEL + beside_tiles) * tile_bytes)
    beside = panel if panel + grid.count * tile_bytes + _MARGIN <= memory_budget else held
    cache = max(0, min(memory_budget - beside - _MARGIN, 2 * grid.lower_count * tile_bytes))
    matrices = 2 if semantic_tiles else 1
    scored = n_users if scored_users is None else min(scored_users, n_users)
    user_block = _user_block(scored, side, itemsize, heads, k, memory_budget - held, matrices)
    count, lower = grid.count, grid.lower_count
    cubic = float(n) ** 3 / 3
    read = tiles_read(count, workers, cache // tile_bytes) * tile_bytes
    partials = len(CholeskyGraph(grid, workers)) - lower
    solve = [
        StagePlan(
            name,
            lower + extra,
            cubic,
            read + extra * tile_bytes,
            (lower + extra) * tile_bytes,
            max(held, beside + cache),
        )
        for name, extra in zip(TILE_STAGES, (partials, 0, 0), strict=True)
    ]
    # each staged task: a tile, its copy, its blocks by column and by row, and what converting them takes
    gram_bytes = INTERPRETER_BYTES + STAGED * (2 * tile_bytes + 32 * widest_block_nnz + 8 * n_users)
    # the products of features are summed in float64 before they join the tile
    gram_bytes += STAGED * 8 * side * (side + 2 * d) if d or semantic_tiles else 0
    stages = [StagePlan(Stage.GRAM, lower, 0.0, 16.0 * nnz * count, lower * tile_bytes, gram_bytes), *solve]
    if semantic_tiles:
        stages += [replace(stage, name=f"semantic {stage.name}") for stage in stages]
    if product:
        flops, moved = 2.0 * float(n) ** 3, 2.0 * count**3 * tile_bytes
        stages.append(StagePlan(Stage.PRODUCT, count**2, flops, moved, count**2 * tile_bytes, held))
    if d:
        rows_bytes = held + 24 * d * d + 4 * side * d * 8
        stages.append(
            StagePlan(
                "assemble",
                4 * count + 1,
                2.0 * n * n * d + 4.0 * n * d * d,
                # P for Q = P F' and each of its tile rows all of F; F twice for M and V
                count**2 * tile_bytes + (count + 2.0) * n * d * itemsize,
                n * d * (8.0 + itemsize),
                rows_bytes,
            )
        )
    blocks = -(-scored // user_block)
    score_bytes = held + score_block_bytes(user_block, side, itemsize, heads, k, matrices)
    score_bytes += user_block * max(d, low_rank) * itemsize
    stages.append(
        StagePlan(
            "score",
            blocks * count,
            2.0 * nnz * n * scored / n_users,
            2.0 * blocks * lower * tile_bytes,
            0.0,
            score_bytes,
        )
    )
    return Plan(grid, dtype, memory_budget, workers, cache, user_block, tuple(stages))


def tiles_read(count: int, workers: int, cached: int) -> float:
    """Tiles that a stage of ``count`` tiles a side reads: start tiles, operands, and panels once a worker.

    The tasks of a column (or row) k read k tiles that are their own (but the one on the diagonal), and the k
    of the panel, of which a worker keeps as many as its cache holds. What a cache holds beyond the panel is
    found there again, the whole triangle by a cache that holds it.
    """
    total, whole = 0.0, count * (count + 1) / 2
    for k in range(count):
        tasks = count - k
        held = min(k, cached)
        found = min(1.0, (cached - held) / whole)
        total += tasks * (1 + k - held) + (tasks - 1) * k * (1 - found) + held * min(workers, tasks)
    return total


def score_block_bytes(users: int, tile: int, itemsize: int, heads: int, k: int, matrices: int = 1) -> int:
    """Bytes that scoring a user block on an item tile holds beside the tiles, with so many products x A."""
    dense = users * tile * ((2 + matrices) * itemsize + 8)
    return dense + users * heads * k * (16 + 2 * itemsize)


def _process_bytes(gpu: bool) -> int:
    return INTERPRETER_BYTES + (GPU_HOST_BYTES if gpu else 0)


def _user_block(n_users: int, tile: int, itemsize: int, heads: int, k: int, free: int, matrices: int) -> int:
    per_user = score_block_bytes(1, tile, itemsize, heads, k, matrices)
    return int(max(64, min(n_users, 16384, 0.6 * max(free, 0) / per_user)))


def _mib(count: float) -> str:
    return f"{count / MIB:,.0f} MiB"
