"""The time of one tile task on a modelled worker: kernels by their rates, reads by the cache's policy.

The order of things is that of :mod:`l3ae_dist.graphs.make_tiles`: operands are read while the kernels before
them run; the first value of a tile is waited for when its first kernel begins, and a tile is written when its
last one ends.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from l3ae_dist.graphs.blocks import AnyTask, Segment, segments, tiles_of
from l3ae_dist.graphs.tasks import TileRef, TileTask, kernel_flops, sums_over_rows
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.rates import ASSUMED_LOCAL_BYTES_S, Rates
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
    finished
        When each tile is finished, in their order, and whether it is written.
    copied
        Tiles that were read from copies on a local disk.
    """

    end: float
    kernels: float
    computed: float
    stalled: float
    finished: list[tuple[float, bool]]
    copied: int = 0

    @property
    def written(self) -> int:
        """Tiles that are written."""
        return sum(writes for _, writes in self.finished)

    def not_before(self, time: float) -> "Arithmetic":
        """Return the same that waits for tiles, if it would end before this time."""
        late = max(0.0, time - self.end)
        last, writes = self.finished[-1]
        finished = [*self.finished[:-1], (last + late, writes)]
        return replace(self, end=self.end + late, stalled=self.stalled + late, finished=finished)


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
        self._local_bytes_s = rates.local_bytes_s or ASSUMED_LOCAL_BYTES_S
        self._known: dict[tuple[str, bool, bool, int], float] = {}

    def _kernel(self, kernel: str, m: int, n: int, inner: int) -> float:
        flops = kernel_flops(kernel, m, n, inner)
        if not flops:  # it moves the tile and no more
            return 2 * self.tile_bytes / self.rates.copy_bytes_s if kernel == "symmetrize" else 0.0
        return self.rates.seconds(kernel, flops, self.dtype, (m * n) ** 0.5)

    def kernels(self, task: AnyTask) -> float:
        """Return the seconds of all kernels of a task."""
        tiles = tiles_of(task)
        return sum(sum(self._seconds(tiles, segment)) for segment in segments(tiles))

    def _seconds(self, tiles: Sequence[TileTask], segment: Segment) -> list[float]:
        found, last = [], self.grid.count - 1
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
            found.append(seconds)
        return found

    def alone(self, task: AnyTask, kernels: float) -> float:
        """Return the seconds that a task takes at least: its part of a critical path.

        Of its tiles the first is read before the kernels and the last written after them.

        Parameters
        ----------
        task
            With the tiles that it starts from and writes.
        kernels
            Seconds of its kernels.
        """
        rates = self.rates
        read = rates.read_seconds + self.tile_bytes / rates.read_bytes_s
        write = rates.write_seconds + self.tile_bytes / rates.write_bytes_s
        return kernels + read + write + rates.latency_seconds

    def reads(self, task: AnyTask, held: WorkerTiles) -> TaskReads:
        """Return the reads of a task by a worker that keeps these tiles."""
        return TaskReads(task, held, self._size)

    def arithmetic(
        self,
        reads: TaskReads,
        read: ReadSeconds,
        there: Sequence[float],
        prefetched: float,
        now: float,
        slow: float,
    ) -> Arithmetic:
        """Time all kernels of a task that begins now.

        Parameters
        ----------
        reads
            Of the task, by its worker.
        read
            Seconds of a read of some tiles.
        there
            When each tile of the task has its first value.
        prefetched, now
            When the first operands began to be read, and when the kernels may begin.
        slow
            Factor by which the worker is slower than its rates.
        """
        clock, issued, stalled, computed, kernels = now, prefetched, 0.0, 0.0, 0.0
        begun: set[int] = set()
        finished = []
        for segment in segments(reads.tiles):
            each = self._seconds(reads.tiles, segment)
            seconds = sum(each)
            kernels += seconds
            before, copies = reads.on_device, reads.copied
            missing = reads.segment(segment)
            local = (reads.copied - copies) * self.tile_bytes / self._local_bytes_s
            copied = len(segment.reads) - (reads.on_device - before)
            stretch = slow
            if segment.reads:
                ready = issued + max(local, read(missing) if missing else 0.0)
                stalled += max(0.0, ready - clock)
                clock = max(clock, ready)
                issued = clock  # the next operands are read while these kernels run
                uploaded = self.rates.upload_seconds(copied * self.tile_bytes)
                stretch *= max(1.0, uploaded / seconds) if seconds else 1.0
            for use, kernel in zip(segment.uses, each, strict=True):
                if use.tile not in begun:
                    begun.add(use.tile)
                    stalled += max(0.0, there[use.tile] - clock)
                    clock = max(clock, there[use.tile])
                clock += kernel * stretch
                if use.last:
                    finished.append((clock, use.tile not in reads.kept))
            computed += seconds * stretch
        return Arithmetic(clock, kernels, computed, stalled, finished, reads.copied)
