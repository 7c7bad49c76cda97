"""The tiles of a block inside a worker: read ahead, computed side by side, written behind the arithmetic."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic

from l3ae_dist.errors import NotPositiveDefiniteError
from l3ae_dist.graphs.blocks import Operand, Operation, Panel, Program, program
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.tasks import TileRef, TileTask
from l3ae_dist.graphs.tile_memory import DeviceMemory, H, TileMemory, process_memory
from l3ae_dist.linalg.kernels import Handle, apply_kernel
from l3ae_dist.storage.accumulators import Claim
from l3ae_dist.storage.done_marks import ChunkMark
from l3ae_dist.storage.forked import ProcessLock
from l3ae_dist.storage.operand_stream import OperandStream
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest

# Whoever holds it has the BLAS threads to itself.
ARITHMETIC = ProcessLock()


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


UNMEASURED = Timing()


@dataclass(frozen=True, slots=True)
class MadeTiles:
    """The done-marks of some tiles, in their order, and what it took to make them.

    The mark of a tile that stays in memory, and is not written, is None.
    """

    marks: tuple[ChunkMark | None, ...]
    bytes_read: int
    bytes_from_peers: int
    bytes_from_copies: int
    timing: Timing


def make_tiles(tasks: Sequence[TileTask], context: StageContext) -> MadeTiles:
    """Compute and write tiles of one stage side by side.

    Parameters
    ----------
    tasks
        Of the tiles, in row-major order; none of them is done.
    context
        Of the stage.

    Raises
    ------
    DamagedTileError
        When an operand is missing or fails its checksum.
    NotPositiveDefiniteError
        Naming the tile and the global item index.
    """
    memory = process_memory(context.device, context.arithmetic)
    if isinstance(memory, DeviceMemory):
        return _made(tasks, context, memory)
    return _made(tasks, context, memory)


def _made(tasks: Sequence[TileTask], context: StageContext, memory: TileMemory[H]) -> MadeTiles:
    memory.resize(context)
    limit = max(context.accumulators, len(tasks)) + memory.waiting
    with memory.accumulators.claim(limit) as claim:
        run = _BlockRun(tasks, context, memory, claim)
        try:
            return run.make()
        finally:
            run.close()


class _Accumulator(Generic[H]):
    """A tile of the block while it is made; given back when it is written and no kernel reads it any more."""

    def __init__(
        self, task: TileTask, memory: TileMemory[H], claim: Claim[H], number: int, request: TileRequest
    ) -> None:
        self.task, self._memory = task, memory
        self.handle: Handle = None
        self.writing: Future[ChunkMark | None] | None = None
        self._claim, self._number = claim, number
        self._request = request
        self._needed = {"to write", "to compute"}
        self._written = False
        self._lock = threading.Lock()

    def tile(self) -> H:
        """Wait for its first value."""
        return self._claim.loading[self._number].result()

    def over(self, reason: str) -> None:
        """Say that it is no longer needed for some reason; without any left it is given back."""
        if reason == "to compute":
            self.handle = None
        with self._lock:
            self._needed.remove(reason)
            last = not self._needed
        if last:
            kept_for = self._request if self._written and self.task.reread else None
            self._memory.accumulators.release(self._claim, self.tile(), kept_for)

    def write(self, context: StageContext) -> ChunkMark | None:
        """Write the finished tile unless it can stay in memory; delete the partial sum that it started from.

        Returns
        -------
        None when it is not written.
        """
        ref, spent, mark = self.task.target, self.task.spent, None
        try:
            if not (self._request.unwritten and self._memory.tiles.pin(self._request, self.tile())):
                with self._memory.on_host(self.tile(), self._request, kept=self.task.reread) as tile:
                    mark = context.array(ref.array).write(ref.i, ref.j, tile, epoch=context.epoch)
                self._written = True
            if spent is not None:
                context.array(spent.array).delete(spent.i, spent.j)
            return mark
        finally:
            self.over("to write")

    def wait(self) -> None:
        """Wait until it is written, or cannot be."""
        self.handle = None
        if self.writing is not None:
            self.writing.exception()


class _BlockRun(Generic[H]):
    """One block on its way: its accumulators, its operands, and the kernels between them."""

    def __init__(
        self, tasks: Sequence[TileTask], context: StageContext, memory: TileMemory[H], claim: Claim[H]
    ) -> None:
        self._context, self._memory, self._claim = context, memory, claim
        self._count = ReadCount()
        self._stage, self._panel = tasks[0].stage, Panel(tuple(tasks))
        self._staged = time.time()
        kernels = self._program(tasks)
        self._operations = kernels.operations
        operands = [operand for one in kernels.operations for operand in one.operands]
        self._inside = {operand.number for operand in operands if operand.own}
        self._held = [
            _Accumulator(task, memory, claim, number, self._target(task)) for number, task in enumerate(tasks)
        ]
        order = list(dict.fromkeys(one.tile for one in kernels.operations))
        starts = {number: self._request(tasks[number].start) for number in order}
        memory.accumulators.load(claim, starts, context.dtype, self._count)
        requests = [self._request(ref) for ref in kernels.reads]
        self._stream = OperandStream(memory.tiles, requests, self._count)
        self._read: dict[int, Handle] = {}

    def _program(self, tasks: Sequence[TileTask]) -> Program:
        """Order the kernels; row by row only where that reads no operand twice, or none at all."""
        shared = program(tasks)
        if not self._memory.evenly:
            return shared
        uses_own = any(operand.own for one in shared.operations for operand in one.operands)
        if uses_own or all(self._memory.tiles.cached(self._request(ref)) for ref in shared.reads):
            return program(tasks, evenly=True)
        return shared

    def make(self) -> MadeTiles:
        """Run all kernels, and wait until every tile is written."""
        self._held[self._operations[0].tile].tile()
        loaded = time.time() - self._staged
        with self._memory.accumulators.turn(self._claim), ARITHMETIC:
            began = time.time()
            for operation in self._operations:
                self._run(operation)
            computed = time.time() - began
        marks = tuple(one.writing.result() for one in self._held if one.writing is not None)
        timing = Timing(began, computed, self._staged, loaded, self._count.waited)
        count = self._count
        return MadeTiles(marks, count.bytes, count.bytes_from_peers, count.bytes_from_copies, timing)

    def close(self) -> None:
        """Give back the operands that a task that failed still holds, and wait for what is being written."""
        self._read.clear()
        try:
            self._stream.close()
        finally:
            for one in self._held:
                one.wait()

    def _target(self, task: TileTask) -> TileRequest:
        return replace(self._request(task.target), panel=self._panel.of_target(task))

    def _request(self, ref: TileRef) -> TileRequest:
        array, held = self._context.array(ref.array), self._context.holders
        panel, crc = self._panel.of(ref), held.crcs.get(ref)
        unwritten = ref.array in self._context.unwritten.names
        return TileRequest(array, ref.i, ref.j, self._stage, panel, held.of(ref), crc, unwritten)

    def _run(self, operation: Operation) -> None:
        one = self._held[operation.tile]
        if one.handle is None:
            asked = time.perf_counter()
            held = one.tile()
            self._count.waited += time.perf_counter() - asked
            one.handle = self._memory.begin(held)
        operands = [self._operand(operand) for operand in operation.operands]
        self._apply(operation, one, operands)
        for operand in operation.operands:
            if operand.last:
                self._over(operand)
        if operation.last:
            self._finish(operation, one)

    def _operand(self, operand: Operand) -> Handle:
        if operand.own:
            return self._held[operand.number].handle
        if operand.number not in self._read:
            self._read[operand.number] = self._memory.operand(self._stream.get(operand.number))
        return self._read[operand.number]

    def _over(self, operand: Operand) -> None:
        if operand.own:
            self._held[operand.number].over("to compute")
        else:
            del self._read[operand.number]
            self._stream.release(operand.number)

    def _apply(self, operation: Operation, one: _Accumulator[H], operands: Sequence[Handle]) -> None:
        """Run one kernel; a pivot that is not positive is named by its item."""
        step, row = operation.step, one.task.target.i
        try:
            apply_kernel(self._memory.kernels, step.kernel, one.handle, *operands, ridge=step.ridge)
        except NotPositiveDefiniteError as error:
            item = self._context.grid.rows(row).start + (error.item or 0)
            raise NotPositiveDefiniteError.at(item, row, step.ridge, self._context.dtype) from None

    def _finish(self, operation: Operation, one: _Accumulator[H]) -> None:
        """Hand a finished tile to the threads that write."""
        one.handle = self._memory.finish(one.handle, one.tile(), self._context.dtype)
        one.writing = self._memory.accumulators.write(partial(one.write, self._context))
        if operation.tile not in self._inside:
            one.over("to compute")
