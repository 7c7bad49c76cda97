"""The time of one tile task on a modelled worker: kernels by their rates, reads by the cache's policy.

The order of things is that of :mod:`l3ae_dist.graphs.execute`: the first tile, the operands of the next
kernel while the kernel before it runs, one write.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from l3ae_dist.graphs.blocks import AnyTask, Segment, segments, tiles_of
from l3ae_dist.graphs.tasks import TileRef, TileTask, kernel_flops, sums_over_rows
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.rates import Rates
from l3ae_dist.planning.traffic import TaskReads, WorkerTiles

# Gives the seconds that a read of some tiles takes now.
ReadSeconds = Callable[[Sequence[TileRef]], float]


@dataclass(frozen=True)
class Arithmetic:
    """The kernels of one task on a worker.

    Parameters
    ----------
    end
        When they end, on the clock of the simulation.
    kernels
        Seconds of them on a worker that is not slow.
    computed, stalled
        Seconds that they ran, and that they waited for tiles.
    written
        Tiles that are written.
    """

    end: float
    kernels: float
    computed: float
    stalled: float
    written: int


class TaskModel:
    """A model of the time that each task of one stage takes.

    Parameters
    ----------
    rates
        Of a worker.
    grid, dtype, itemsize
        The tiles.
    """

    def __init__(self, rates: Rates, grid: TileGrid, dtype: str, itemsize: int) -> None:
        self.rates = rates
        self.grid = grid
        self.dtype = dtype
        self.tile_bytes = float(grid.tile**2 * itemsize + 4)
        self._size = int(self.tile_bytes)
        self._known: dict[tuple[str, bool, bool, int], float] = {}

    def _kernel(self, kernel: str, m: int, n: int, inner: int) -> float:
        flops = kernel_flops(kernel, m, n, inner)
        if not flops:  # it moves the tile and no more
            return 2 * self.tile_bytes / self.rates.copy_bytes_s if kernel == "symmetrize" else 0.0
        return self.rates.seconds(kernel, flops, self.dtype, (m * n) ** 0.5)

    def kernels(self, task: AnyTask) -> float:
        """Return the seconds of all kernels of a task."""
        tiles = tiles_of(task)
        return sum(self._seconds(tiles, segment) for segment in segments(tiles))

    def _seconds(self, tiles: Sequence[TileTask], segment: Segment) -> float:
        found, last = 0.0, self.grid.count - 1
        for number, step, operands, _, _ in segment.uses:
            tile = tiles[number]
            ref, summed = tile.target, -1
            if operands and step.kernel == tile.update:
                summed = operands[0].i if sums_over_rows(tile.update) else operands[0].j
            # the last tiles are smaller, all others alike
            key = (step.kernel, ref.i == last, ref.j == last, summed if summed in (-1, last) else 0)
            seconds = self._known.get(key)
            if seconds is None:
                m, n = self.grid.shape(ref.i, ref.j)
                inner = 0 if summed < 0 else self.grid.size(summed)
                seconds = self._known[key] = self._kernel(step.kernel, m, n, inner)
            found += seconds
        return found

    def alone(self, task: AnyTask, kernels: float) -> float:
        """Return the seconds of a task whose tiles are all there: its part of a critical path.

        Parameters
        ----------
        task
            With the tiles that it starts from and writes.
        kernels
            Seconds of its kernels.
        """
        rates = self.rates
        count = len(task.targets)
        read = count * (rates.read_seconds + self.tile_bytes / rates.read_bytes_s)
        write = count * (rates.write_seconds + self.tile_bytes / rates.write_bytes_s)
        return kernels + read + write + rates.latency_seconds

    def reads(self, task: AnyTask, held: WorkerTiles) -> TaskReads:
        """Return the reads of a task by a worker that keeps these tiles."""
        return TaskReads(task, held, self._size)

    def arithmetic(
        self, reads: TaskReads, read: ReadSeconds, prefetched: float, now: float, slow: float
    ) -> Arithmetic:
        """Time all kernels of a task that begins now.

        Parameters
        ----------
        reads
            Of the task, by its worker.
        read
            Seconds of a read of some tiles.
        prefetched, now
            When the first operands began to be read, and when the kernels begin.
        slow
            Factor by which the worker is slower than its rates.
        """
        clock, issued, stalled, computed, kernels = now, prefetched, 0.0, 0.0, 0.0
        for segment in segments(reads.tiles):
            seconds = self._seconds(reads.tiles, segment)
            kernels += seconds
            before = reads.on_device
            missing = reads.segment(segment)
            copied = len(segment.reads) - (reads.on_device - before)
            if segment.reads:
                ready = issued + (read(missing) if missing else 0.0)
                stalled += max(0.0, ready - clock)
                clock = max(clock, ready)
                issued = clock  # the next operands are read while these kernels run
                seconds = max(seconds, self.rates.upload_seconds(copied * self.tile_bytes))
            clock += seconds * slow
            computed += seconds * slow
        return Arithmetic(clock, kernels, computed, stalled, reads.written)
