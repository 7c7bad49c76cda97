"""Measurements of tiles between memories, for a calibration: from worker to worker, and to and from a device.

They go the way that tiles go in a run: out of the cache of a worker, over the connections of the cluster, and
verified by whoever asked; between the memory of a worker and its device through page-locked memory.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from l3ae_dist.graphs.context import open_chunks
from l3ae_dist.graphs.device_tiles import io_threads
from l3ae_dist.graphs.tile_memory import give_up_tiles, process_kernels, process_reader
from l3ae_dist.linalg.torch_kernels import TorchKernels
from l3ae_dist.planning.worker_benchmarks import wait_until
from l3ae_dist.runtime.peer_reads import join_peers
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.local_copies import local_bytes_s
from l3ae_dist.storage.tile_reader import READ_THREADS
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest

_STAGE = "calibration"
# Tiles that each thread reads, or copies, after the first.
_ROUNDS = 8


class CopyRates(NamedTuple):
    """Bytes a second from the memory of a worker to its device, and back."""

    upload: float
    download: float


def hold_tiles(url: str, path: str, number: int, start: float) -> None:
    """Write a row of tiles and keep them, so that other workers can ask this one for them.

    Parameters
    ----------
    url, path
        Workspace, and array in it.
    number
        Of this worker: the chunk row.
    start
        Unix time to begin at.
    """
    array, reader = open_chunks(url, path, False), process_reader()
    join_peers()
    wait_until(start)
    reader.resize(2 * array.grid[1] * array.buffer().nbytes)
    block = np.random.default_rng(number).standard_normal(array.chunks).astype(array.dtype)
    for column in range(array.grid[1]):
        array.write(number, column, block)
        reader.release(reader.load(TileRequest(array, number, column, _STAGE), ReadCount()))


def measure_peers(url: str, path: str, addresses: Sequence[str], number: int, start: float) -> float | None:
    """Measure the bytes a second of tiles that this worker receives from the next one, and verifies.

    Parameters
    ----------
    url, path
        As for :func:`hold_tiles`, which every worker has run.
    addresses
        Of all workers, each of which asks the next: it sends as much as it receives.
    number
        Of this worker.
    start
        Unix time to begin at.

    Returns
    -------
    The rate; None where not a single tile arrived.
    """
    array, row = open_chunks(url, path, False), (number + 1) % len(addresses)
    requests = [_request(array, row, column, addresses[row]) for column in range(array.grid[1])]
    _received(requests, 1)  # it is connected then
    wait_until(start)
    began = time.perf_counter()
    with ThreadPoolExecutor(READ_THREADS) as pool:
        arrived = sum(pool.map(lambda _: _received(requests, _ROUNDS), range(READ_THREADS)))
    return arrived * array.chunk_nbytes / (time.perf_counter() - began) or None


def _request(array: ChunkArray, row: int, column: int, address: str) -> TileRequest:
    mark = array.find_mark(row, column)
    return TileRequest(array, row, column, holders=(address,), crc=None if mark is None else mark.crc)


def _received(requests: Sequence[TileRequest], count: int) -> int:
    """Ask a peer for some tiles, and count those that arrive."""
    peers, buffer = process_reader().peers, requests[0].array.buffer()
    asked = (requests[number % len(requests)] for number in range(count))
    return sum(peers is not None and peers.read(request, buffer) is not None for request in asked)


def give_back_tiles(start: float) -> None:
    """Give up the tiles of a measurement."""
    give_up_tiles()


def measure_local(directory: str, tile: int, start: float) -> float:
    """Measure the bytes a second that copies of float32 tiles are read at from a local disk.

    Parameters
    ----------
    directory
        Folder on that disk.
    tile
        Rows of a tile.
    start
        Unix time to begin at.
    """
    wait_until(start)
    return local_bytes_s(directory, 4 * tile**2)


def measure_device_copies(device: str, tile: int, start: float) -> CopyRates:
    """Measure copies of tiles to the device of this worker and back, by as many threads as a run has.

    Parameters
    ----------
    device
        ``cuda``, or ``cpu`` to try it.
    tile
        Rows of a tile.
    start
        Unix time to begin at.
    """
    kernels = process_kernels(device)
    if not isinstance(kernels, TorchKernels):
        kernels = TorchKernels(device)
    threads = io_threads()
    blocks = [np.ones((tile, tile), np.float32) for _ in range(threads)]
    tensors = [kernels.upload(block, "float32") for block in blocks]

    def upload(number: int) -> None:
        tensors[number] = kernels.upload(blocks[number], "float32")

    def download(number: int) -> None:
        kernels.download(tensors[number], blocks[number], kernels.mark())

    wait_until(start)
    with ThreadPoolExecutor(threads) as pool:
        # what was uploaded last is there once it has been copied back, which is left out of the time
        return CopyRates(*(_rate(pool, copy, blocks[0].nbytes, threads) for copy in (upload, download)))


def _rate(pool: ThreadPoolExecutor, copy: Callable[[int], None], nbytes: int, threads: int) -> float:
    """Return the bytes a second of all threads; each has its page-locked memory after the first copy."""

    def several(number: int) -> None:
        for _ in range(_ROUNDS):
            copy(number)

    list(pool.map(copy, range(threads)))
    began = time.perf_counter()
    list(pool.map(several, range(threads)))
    return threads * _ROUNDS * nbytes / (time.perf_counter() - began)
