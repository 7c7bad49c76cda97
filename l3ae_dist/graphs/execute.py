"""Running one task inside a worker: read, compute, write once, report.

The result is a small record; tiles move through the workspace only. A worker runs two tasks at a time,
of which one computes with all BLAS threads while the other reads its first tiles or writes its result.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from socket import gethostname

from l3ae_dist.graphs.blocks import AnyTask, tiles_of
from l3ae_dist.graphs.chunk_tasks import Blocks, ChunkTask
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.make_tiles import (
    ARITHMETIC,
    UNMEASURED,
    MadeTiles,
    Timing,
    make_tiles,
)
from l3ae_dist.graphs.tasks import TileRef, TileTask
from l3ae_dist.graphs.tile_memory import give_up_tiles
from l3ae_dist.storage.chunks import TRAILER
from l3ae_dist.storage.done_marks import ChunkMark
from l3ae_dist.storage.forked import ProcessLock
from l3ae_dist.storage.tile_requests import ReadCount

# Tasks of a worker process that hold tiles at the same time: one computes, one reads or writes.
STAGED = 2
STAGING = ProcessLock(STAGED)


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
    timing: Timing = UNMEASURED
    bytes_from_peers: int = 0
    bytes_from_copies: int = 0
    worker: str = ""
    """Address of the worker, where workers read tiles from each other."""
    kept: int = 0
    """With the first record of a task: which of the tiles that it made and read its worker holds now, as bits
    in the order of :func:`~l3ae_dist.graphs.holders.tiles_known`."""
    unwritten: bool = False
    """True of a tile that stays in memory and has no done-mark."""


@dataclass(frozen=True, slots=True)
class _Written:
    """The done-mark of a task's target, None when it stays in memory, and what it took."""

    mark: ChunkMark | None
    bytes_read: int
    bytes_written: int
    timing: Timing
    bytes_from_peers: int = 0
    bytes_from_copies: int = 0


def run_task(task: AnyTask | ChunkTask, context: StageContext) -> list[TaskRecord]:
    """Compute and write the chunks of a task inside a worker, but those whose done-marks say they are there.

    Returns
    -------
    One record for each tile of a block, in their order; the time of the block is divided evenly among those
    that it made.

    Raises
    ------
    DamagedTileError
        When an operand is missing or fails its checksum.
    NotPositiveDefiniteError
        Naming the tile and the global item index.
    """
    started = time.time()
    marks = {ref: context.array(ref.array).find_mark(ref.i, ref.j) for ref in task.targets}
    found = [_skipped(ref, mark, started) for ref, mark in marks.items() if mark is not None]
    if len(found) == len(marks):
        return found
    if isinstance(task, ChunkTask):
        return [_record(task, _write_chunk(task, context), context, started, time.time() - started)]
    missing = [tile for tile in tiles_of(task) if marks[tile.target] is None]
    with STAGING:
        made = make_tiles(missing, context)
    return found + _shares(missing, made, context, started)


def _skipped(target: TileRef, mark: ChunkMark, started: float) -> TaskRecord:
    seconds = time.time() - started
    return TaskRecord(target, True, mark.crc, 0.0, 0, 0, started, seconds, os.getpid(), gethostname())


def _shares(
    tiles: Sequence[TileTask], made: MadeTiles, context: StageContext, started: float
) -> list[TaskRecord]:
    """Divide the time and the bytes read of a block among its tiles, one after the other."""
    count, seconds, timing = len(tiles), time.time() - started, made.timing
    computed, part = timing.computed / count, seconds / count
    records = []
    for number, (tile, mark) in enumerate(zip(tiles, made.marks, strict=True)):
        share = Timing(
            timing.began + number * computed,
            computed,
            timing.staged if number == 0 else 0.0,
            timing.loaded if number == 0 else 0.0,
            timing.stalled / count,
        )
        sizes = (made.bytes_read, made.bytes_from_peers, made.bytes_from_copies)
        read, peers, copies = (_part(size, number, count) for size in sizes)
        size = context.array(tile.target.array).chunk_nbytes + TRAILER if mark is not None else 0
        written = _Written(mark, read, size, share, peers, copies)
        records.append(_record(tile, written, context, started + number * part, part))
    return records


def _part(size: int, number: int, count: int) -> int:
    """Return one of ``count`` parts of a size that differ by one at most, and add up to it."""
    return size * (number + 1) // count - size * number // count


def _record(
    task: TileTask | ChunkTask, written: _Written, context: StageContext, started: float, seconds: float
) -> TaskRecord:
    return TaskRecord(
        target=task.target,
        skipped=False,
        crc=0 if written.mark is None else written.mark.crc,
        flops=task.flops(context.grid),
        bytes_read=written.bytes_read,
        bytes_written=written.bytes_written,
        started=started,
        seconds=seconds,
        pid=os.getpid(),
        host=gethostname(),
        timing=written.timing,
        bytes_from_peers=written.bytes_from_peers,
        bytes_from_copies=written.bytes_from_copies,
        unwritten=written.mark is None,
    )


def _write_chunk(task: ChunkTask, context: StageContext) -> _Written:
    """Compute by the task's function and write; its arithmetic is measured where its flops are counted.

    A lone task gives the BLAS threads to the next before it writes, unless its result is a whole tile, of
    which a worker holds one.
    """
    count = ReadCount()
    with ARITHMETIC if task.alone else STAGING:
        give_up_tiles()
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
        mark = array.write(ref.i, ref.j, values, epoch=context.epoch, anew=True)
        size += array.chunk_nbytes + TRAILER
    return _Written(mark, count.bytes, size, timing)
