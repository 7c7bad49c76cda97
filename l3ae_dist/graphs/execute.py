"""Running one task inside a worker: read, compute, write once, report.

The result is a small record; tiles move through the workspace only. A worker runs two tasks at a time,
of which one computes with all BLAS threads while the other reads its first tiles or writes its result.
"""

import os
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from socket import gethostname

import numpy as np

from l3ae_dist.errors import NotPositiveDefiniteError
from l3ae_dist.graphs.chunk_tasks import Blocks, ChunkTask
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.tasks import Step, TileRef, TileTask
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.kernels import Handle, Kernels, apply_kernel, get_kernels
from l3ae_dist.storage.chunks import TRAILER, ChunkMark
from l3ae_dist.storage.tile_reader import ReadCount, TileReader, TileRequest

# Tasks of a worker process that hold tiles at the same time: one computes, one reads or writes.
STAGED = 2
STAGING = threading.BoundedSemaphore(STAGED)
# Whoever holds it has the BLAS threads to itself.
ARITHMETIC = threading.Lock()


@dataclass(frozen=True, slots=True)
class Timing:
    """The times at which the parts of a task ran; zeros where its arithmetic is not measured.

    It read its first tile from ``staged`` (Unix time) for ``loaded`` seconds, and computed from ``began``
    (Unix time) for ``computed`` seconds, of which the arithmetic waited ``stalled`` for further tiles.
    """

    began: float = 0.0
    computed: float = 0.0
    staged: float = 0.0
    loaded: float = 0.0
    stalled: float = 0.0


@dataclass(frozen=True)
class TaskRecord:
    """The record of a finished task, which goes back to the client."""

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
    timing: Timing = Timing()


@dataclass(frozen=True, slots=True)
class _Written:
    """The done-mark of a task's target, and what it took."""

    mark: ChunkMark
    bytes_read: int
    bytes_written: int
    timing: Timing


@lru_cache(maxsize=1)
def process_reader() -> TileReader:
    """Return the one :class:`TileReader` of this process."""
    return TileReader()


@lru_cache(maxsize=4)
def process_kernels(device: str) -> Kernels:
    """Return the kernel back end of this process for a device."""
    return get_kernels(device)


def run_task(task: TileTask | ChunkTask, context: StageContext) -> TaskRecord:
    """Compute and write one chunk inside a worker, unless its done-mark says that it is there.

    Raises
    ------
    DamagedTileError
        When an operand is missing or fails its checksum.
    NotPositiveDefiniteError
        Naming the tile and the global item index.
    """
    started = time.time()
    target = task.target
    mark = context.array(target.array).find_mark(target.i, target.j)
    if mark is not None:
        seconds = time.time() - started
        return TaskRecord(target, True, mark.crc, 0.0, 0, 0, started, seconds, os.getpid(), gethostname())
    if isinstance(task, TileTask):
        with STAGING:
            written = _write_tile(task, context)
    else:
        written = _write_chunk(task, context)
    return TaskRecord(
        target=target,
        skipped=False,
        crc=written.mark.crc,
        flops=task.flops(context.grid),
        bytes_read=written.bytes_read,
        bytes_written=written.bytes_written,
        started=started,
        seconds=time.time() - started,
        pid=os.getpid(),
        host=gethostname(),
        timing=written.timing,
    )


def _write_chunk(task: ChunkTask, context: StageContext) -> _Written:
    """Compute by the task's function and write; its arithmetic is measured where its flops are counted.

    A lone task gives the BLAS threads to the next before it writes, unless its result is a whole tile, of
    which a worker holds one.
    """
    count = ReadCount()
    with ARITHMETIC if task.alone else STAGING:
        process_reader().resize(0)
        began = time.time()
        blocks = task.compute(task.target, context, count)
        timing = Timing(began, time.time() - began) if task.inner else Timing()
        if not task.alone or task.inner:
            return _written(blocks, context, count, timing)
    return _written(blocks, context, count, timing)


def _written(blocks: Blocks, context: StageContext, count: ReadCount, timing: Timing) -> _Written:
    """Write chunks in order, the target last."""
    size = 0
    for ref, values in blocks:
        array = context.array(ref.array)
        mark = array.write(ref.i, ref.j, values, epoch=context.epoch)
        size += array.chunk_nbytes + TRAILER
    return _Written(mark, count.bytes, size, timing)


def _write_tile(task: TileTask, context: StageContext) -> _Written:
    """Load, apply the kernels in order while further operands are read, write."""
    reader, kernels, count = process_reader(), process_kernels(context.device), ReadCount()
    reader.resize(context.cache_bytes)
    staged = time.time()
    held = reader.take(_request(task.start, task, context), np.dtype(context.dtype), count)
    loaded = time.time() - staged
    actions = list(task.actions())
    requests = [tuple(_request(ref, task, context) for ref in refs) for _, refs in actions]
    stream = reader.stream(requests, count)
    with ARITHMETIC:
        began = time.time()
        handle = kernels.load(held.tile)
        for (step, _), tiles in zip(actions, stream, strict=True):
            _apply(step, handle, tiles, kernels, task.target.i, context)
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
    timing = Timing(began, computed, staged, loaded, count.waited)
    return _Written(mark, count.bytes, array.chunk_nbytes + TRAILER, timing)


def _apply(
    step: Step, handle: Handle, tiles: tuple[Array, ...], kernels: Kernels, row: int, context: StageContext
) -> None:
    """Run one kernel; a pivot that is not positive is named by its item."""
    try:
        apply_kernel(kernels, step.kernel, handle, *tiles, ridge=step.ridge)
    except NotPositiveDefiniteError as error:
        item = context.grid.rows(row).start + (error.item or 0)
        raise NotPositiveDefiniteError.at(item, row, step.ridge, context.dtype) from None


def _request(ref: TileRef, task: TileTask, context: StageContext) -> TileRequest:
    panel = task.panel if task.in_panel(ref) else None
    return TileRequest(context.array(ref.array), ref.i, ref.j, task.stage, panel)
