"""Measurements inside one worker, for a calibration: kernels, copies, storage of tiles, sparse products.

Every function is sent to a worker, and all workers begin at the same time, so that what they share (caches,
memory, disks) is shared as in a run.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import NamedTuple, TypedDict

import numpy as np
from scipy import sparse

from l3ae_dist.graphs.context import open_chunks
from l3ae_dist.graphs.make_tiles import ARITHMETIC
from l3ae_dist.graphs.tasks import kernel_flops
from l3ae_dist.graphs.tile_memory import process_kernels
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.kernels import Handle, Kernel, Kernels, apply_kernel
from l3ae_dist.linalg.sparse_gram import gram_block
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.planning.rates import KERNELS
from l3ae_dist.storage.tile_reader import READ_THREADS


class SparseRates(TypedDict):
    """The rates of sparse products; fields of :class:`~l3ae_dist.planning.rates.Rates` with these names."""

    pair_rate: float
    score_flops: float
    rank_rate: float


class StoreSeconds(NamedTuple):
    """Median seconds to read and to write one tile."""

    read: float
    write: float


# Items kept of each user.
_RANKED = 50
# Clocks of workers may differ by more.
_LONGEST_WAIT = 1.0
# Applied in a row, so that what begins and ends a measurement is small beside it.
_IN_A_ROW = 2


def wait_until(start: float) -> None:
    """Sleep until a Unix time, for workers to begin together."""
    time.sleep(min(max(0.0, start - time.time()), _LONGEST_WAIT))


def measure_kernels(
    dtype: str, tiles: tuple[int, ...], device: str, repeats: int, start: float
) -> dict[str, dict[int, float]]:
    """Measure the GFLOP/s of every kernel at every tile size, with operands in the memory of the device.

    Parameters
    ----------
    dtype, device
        Of the arithmetic: ``float32`` or ``float64``, on ``cpu`` or ``cuda``.
    tiles
        Rows of the tiles.
    repeats
        Measurements, of which the median is taken.
    start
        Unix time to begin at.
    """
    kernels = process_kernels(device)
    found: dict[str, dict[int, float]] = {name: {} for name in KERNELS}
    wait_until(start)
    with ARITHMETIC:
        for tile in tiles:
            dense, lower, positive = _operands(tile, dtype)
            for name in KERNELS:
                acc = positive if name == "potrf" else lower if name in ("trtri", "lauum") else dense
                other = lower if name.startswith("tr") else dense
                operands = _operand_count(name) * (kernels.operand(other),)
                _seconds(kernels, name, acc, operands)  # threads and caches are warm then
                seconds = median(_seconds(kernels, name, acc, operands) for _ in range(repeats))
                found[name][tile] = kernel_flops(name, tile, tile, tile) / seconds / 1e9
    return found


def _operands(tile: int, dtype: str) -> tuple[Array, Array, Array]:
    """Make a dense tile, a lower triangle and a positive definite tile, all well conditioned."""
    dense = np.random.default_rng(0).standard_normal((tile, tile)).astype(dtype) / np.sqrt(tile).astype(dtype)
    lower = np.tril(dense, -1)
    lower[np.diag_indices(tile)] = 2
    positive = np.asarray(dense + dense.T, dtype)
    positive[np.diag_indices(tile)] += 8
    return dense, lower, positive


def _operand_count(name: str) -> int:
    return {"gemm": 2, "syrk": 1, "trsm": 1, "trmm": 1}.get(name[:4], 0)


def _seconds(kernels: Kernels, name: str, acc: Array, operands: tuple[Handle, ...]) -> float:
    """Time one kernel.

    A GPU goes on after the call: fetching the last result waits for it, and what a second fetch takes is the
    copy alone.
    """
    held = [acc.copy() for _ in range(_IN_A_ROW)]
    handles = [kernels.load(tile) for tile in held]
    kernels.store(handles[0], held[0])  # on a GPU: everything before has ended
    started = time.perf_counter()
    for handle in handles:
        apply_kernel(kernels, Kernel(name), handle, *operands)
    ended = time.perf_counter()
    kernels.store(handles[-1], held[-1])
    stored = time.perf_counter()
    again = time.perf_counter()
    kernels.store(handles[-1], held[-1])
    copied = time.perf_counter() - again
    return max(ended - started, stored - started - copied, 1e-9) / _IN_A_ROW


def measure_copies(tile: int, start: float) -> float:
    """Measure the bytes a second copied from one tile to another, both counted."""
    source = np.ones((tile, tile), np.float32)
    target = np.empty_like(source)
    wait_until(start)
    return 2 * source.nbytes / _median_seconds(lambda: np.copyto(target, source), 9)


def measure_store(url: str, path: str, count: int, row: int, start: float) -> StoreSeconds:
    """Measure the median seconds to write a tile with its done-mark, and to read one while another is read.

    Parameters
    ----------
    url, path
        Workspace, and array in it.
    count, row
        Tiles of a chunk row, and the row whose tiles this worker writes and reads.
    start
        Unix time to begin at.
    """
    array = open_chunks(url, path, False)
    block = np.random.default_rng(row).standard_normal(array.chunks).astype(array.dtype)
    wait_until(start)
    writes = []
    for column in range(count):
        began = time.perf_counter()
        array.write(row, column, block)
        writes.append(time.perf_counter() - began)
    buffers = [array.buffer() for _ in range(READ_THREADS)]
    reads = []
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for column in range(0, count, READ_THREADS):
            columns = range(column, min(column + READ_THREADS, count))
            began = time.perf_counter()
            list(pool.map(lambda c: array.read(row, c, buffers[c % READ_THREADS]), columns))
            reads.append((time.perf_counter() - began) / len(columns))
    return StoreSeconds(read=median(reads), write=median(writes))


def measure_sparse(tile: int, start: float) -> SparseRates:
    """Measure pairs a second into a Gram tile, flops a second of scoring, and scores a second ranked."""
    users, each = 20_000, 12
    random = np.random.default_rng(0)
    rows = np.repeat(np.arange(users), each)
    columns = random.integers(0, tile, users * each)
    block = sparse.csc_matrix((np.ones(users * each, np.float32), (rows, columns)), (users, tile))
    block.data[:] = 1
    by_row = block.tocsr()
    pairs = float(np.square(np.diff(by_row.indptr), dtype=np.float64).sum())
    dense = random.standard_normal((tile, tile)).astype(np.float32)
    some = by_row[:2000]
    wait_until(start)
    with ARITHMETIC:
        gram = _median_seconds(lambda: gram_block(block, by_row, "float32"), 3)
        score = _median_seconds(lambda: some @ dense, 3)
        values = some @ dense
        rank = _median_seconds(lambda: top_k(values.copy(), _RANKED, seen=some), 3)
    flops = 2.0 * some.nnz * tile
    return {"pair_rate": pairs / gram, "score_flops": flops / score, "rank_rate": values.size / rank}


def _median_seconds(work: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return median(taken)


def nothing(task: object, context: object) -> None:
    """Do nothing, as a task that takes no time."""
