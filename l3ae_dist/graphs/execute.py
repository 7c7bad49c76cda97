"""Running one tile task inside a worker: read, compute, write once, report.

The result is a small record; tiles move through the workspace only. A worker runs two tasks at a time,
of which one computes with all BLAS threads while the other reads its first tiles or writes its result.
"""

import os
import threading
import time
from dataclasses import dataclass
from functools import lru_cache, singledispatch
from socket import gethostname
from typing import Any

import numpy as np

from l3ae_dist.errors import NotPositiveDefiniteError
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.tasks import TileRef, TileTask
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.kernels import Handle, Kernels, get_kernels
from l3ae_dist.storage.chunks import ChunkMark
from l3ae_dist.storage.tile_reader import HeldTile, ReadCount, TileReader, TileRequest

# Tasks of a worker process that hold tiles at the same time: one computes, one reads or writes.
STAGED = 2
STAGING = threading.BoundedSemaphore(STAGED)
# Whoever holds it has the BLAS threads to itself.
ARITHMETIC = threading.Lock()


@dataclass(frozen=True)
class TaskRecord:
    """What a finished task tells the client.

    It read its first tile from ``staged`` (Unix time) for ``loaded`` seconds, and computed from ``began``
    for ``computed`` seconds, of which the arithmetic waited ``stalled`` for further tiles.
    """

    target: TileRef
    skipped: bool
    crc: int
    flops: float
    bytes_read: int
    bytes_written: int
    started: float
    seconds: float
    pid: int
    host: str
    began: float = 0.0
    computed: float = 0.0
    staged: float = 0.0
    loaded: float = 0.0
    stalled: float = 0.0


@lru_cache(maxsize=1)
def process_reader() -> TileReader:
    """The one :class:`TileReader` of this process."""
    return TileReader()


@lru_cache(maxsize=4)
def process_kernels(device: str) -> Kernels:
    """The kernel back end of this process."""
    return get_kernels(device)


@singledispatch
def run_task(task: Any, context: StageContext) -> TaskRecord:
    """Run one task of any kind inside a worker; each kind registers its function here."""
    raise TypeError(f"no function runs tasks of type {type(task).__name__}")


@run_task.register
def run_tile_task(task: TileTask, context: StageContext) -> TaskRecord:
    """Compute and write one tile unless its done-mark says it is there.

    Raises
    ------
    DamagedTileError
        When an operand is missing or fails its checksum.
    NotPositiveDefiniteError
        Naming the tile and the global item index.
    """
    started = time.time()
    done = existing_record(task.target, context, started)
    if done is not None:
        return done
    with STAGING:
        return _run_staged(task, context, started)


def _run_staged(task: TileTask, context: StageContext, started: float) -> TaskRecord:
    reader, kernels, count = process_reader(), process_kernels(context.device), ReadCount()
    reader.resize(context.cache_bytes)
    staged = time.time()
    held = _start(task, context, reader, count)
    loaded = time.time() - staged
    actions = list(task.actions())
    requests = [tuple(_request(ref, task, context) for ref in refs) for _, refs in actions]
    stream = reader.stream(requests, count)
    with ARITHMETIC:
        began = time.time()
        handle = kernels.load(held.tile)
        for (kernel, _), tiles in zip(actions, stream, strict=True):
            _apply(kernel, handle, tiles, task, context, kernels)
        kernels.store(handle, held.tile)
        computed = time.time() - began
    array = context.array(task.target.array)
    mark = array.write(task.target.i, task.target.j, held.tile, epoch=context.epoch)
    if task.reread:
        reader.keep(_request(task.target, task, context), held)
    else:
        reader.release(held)
    if task.spent is not None:
        context.array(task.spent.array).delete(task.spent.i, task.spent.j)
    return written_record(
        task.target,
        mark,
        started,
        flops=task.flops(context.grid),
        bytes_read=count.bytes,
        bytes_written=array.chunk_nbytes + 4,
        began=began,
        computed=computed,
        staged=staged,
        loaded=loaded,
        stalled=count.waited,
    )


def existing_record(ref: TileRef, context: StageContext, started: float) -> TaskRecord | None:
    """The record of a chunk that is already done, or None."""
    mark = context.array(ref.array).find_mark(ref.i, ref.j)
    if mark is None:
        return None
    return TaskRecord(
        ref, True, mark.crc, 0.0, 0, 0, started, time.time() - started, os.getpid(), gethostname()
    )


def written_record(
    target: TileRef,
    mark: ChunkMark,
    started: float,
    *,
    bytes_read: int,
    bytes_written: int,
    flops: float = 0.0,
    **times: float,
) -> TaskRecord:
    """The record of a chunk that was written just now; ``times`` are those of :class:`TaskRecord`."""
    return TaskRecord(
        target=target,
        skipped=False,
        crc=mark.crc,
        flops=flops,
        bytes_read=bytes_read,
        bytes_written=bytes_written,
        started=started,
        seconds=time.time() - started,
        pid=os.getpid(),
        host=gethostname(),
        **times,
    )


def _start(task: TileTask, context: StageContext, reader: TileReader, count: ReadCount) -> HeldTile:
    return reader.take(_request(task.start, task, context), np.dtype(context.dtype), count)


def _apply(
    kernel: str,
    handle: Handle,
    tiles: tuple[Array, ...],
    task: TileTask,
    context: StageContext,
    kernels: Kernels,
) -> None:
    if kernel == "add_ridge":
        kernels.add_diagonal(handle, context.ridge)
        return
    try:
        getattr(kernels, kernel)(handle, *tiles)
    except NotPositiveDefiniteError as error:
        raise _named(error, task.target.i, context) from None


def _request(ref: TileRef, task: TileTask, context: StageContext) -> TileRequest:
    panel = task.panel if task.in_panel(ref) else None
    return TileRequest(context.array(ref.array), ref.i, ref.j, task.stage, panel)


def _named(error: NotPositiveDefiniteError, tile: int, context: StageContext) -> NotPositiveDefiniteError:
    item = context.grid.rows(tile).start + (error.item or 0)
    return NotPositiveDefiniteError(
        f"the system is not positive definite at item {item} (diagonal tile {tile}) with ridge "
        f"{context.ridge:g} in {context.dtype}; use a larger ridge or float64.",
        tile=tile,
        item=item,
    )
