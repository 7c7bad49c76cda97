"""The time of one tile task on a modelled worker: kernels by their rates, reads by the cache's policy.

The order of things is that of :mod:`l3ae_dist.graphs.execute`: the first tile, the operands of the next
kernel while the kernel before it runs, one write.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from l3ae_dist.graphs.tasks import TileRef, TileTask, inner_size, kernel_flops
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.rates import Rates
from l3ae_dist.storage.tile_cache import TileCache

# Gives the seconds that a read of so many bytes takes now.
ReadSeconds = Callable[[float], float]


@dataclass(frozen=True)
class Arithmetic:
    """The kernels of one task on a worker.

    Parameters
    ----------
    end
        When they end, on the clock of the simulation.
    computed, stalled, reading
        Seconds that they ran, that they waited for tiles, and that reads took.
    bytes_read
        Of their operands.
    """

    end: float
    computed: float
    stalled: float
    reading: float
    bytes_read: float


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
        self.kernel = lru_cache(maxsize=None)(self._kernel)

    def _kernel(self, kernel: str, m: int, n: int, inner: int) -> float:
        flops = kernel_flops(kernel, m, n, inner)
        if not flops:  # it moves the tile and no more
            return 2 * self.tile_bytes / self.rates.copy_bytes_s if kernel == "symmetrize" else 0.0
        return self.rates.seconds(kernel, flops, self.dtype, (m * n) ** 0.5)

    def actions(self, task: TileTask) -> Iterator[tuple[float, tuple[TileRef, ...]]]:
        """Yield the seconds of every kernel in order, with its tile operands."""
        m, n = self.grid.shape(task.target.i, task.target.j)
        for step in task.begin:
            yield self.kernel(step.kernel, m, n, 0), step.operands
        for operands in task.operands:
            inner = inner_size(task.update, operands[0], self.grid)
            yield self.kernel(task.update, m, n, inner), operands
        for step in task.finish:
            yield self.kernel(step.kernel, m, n, 0), step.operands

    def alone(self, task: TileTask) -> float:
        """Return the seconds of a task whose tiles are all there: its part of a critical path."""
        rates = self.rates
        read = rates.read_seconds + self.tile_bytes / rates.read_bytes_s
        write = rates.write_seconds + self.tile_bytes / rates.write_bytes_s
        return sum(seconds for seconds, _ in self.actions(task)) + read + write + rates.latency_seconds

    def missing(self, ref: TileRef, task: TileTask, cache: TileCache[bool]) -> float:
        """Count the bytes to read for an operand, which the cache then holds if its policy wants it.

        Parameters
        ----------
        ref, task
            The operand, and the task that reads it.
        cache
            Of the worker.
        """
        panel = task.panel if task.in_panel(ref) else None
        if cache.get(ref, task.stage, panel):
            return 0.0
        cache.put(ref, True, self._size, task.stage, panel)
        return self.tile_bytes

    def arithmetic(
        self, task: TileTask, cache: TileCache[bool], read: ReadSeconds, prefetched: float, now: float,
        slow: float,
    ) -> Arithmetic:  # fmt: skip
        """Time all kernels of a task that begins now.

        Parameters
        ----------
        task
            With its kernels and operands.
        cache
            Of the worker.
        read
            Seconds of a read of so many bytes.
        prefetched, now
            When the first operands began to be read, and when the kernels begin.
        slow
            Factor by which the worker is slower than its rates.
        """
        upload = self.rates.upload_bytes_s
        clock, issued, moved, stalled, computed, reading = now, prefetched, 0.0, 0.0, 0.0, 0.0
        for seconds, refs in self.actions(task):
            if refs:
                wanted = sum(self.missing(ref, task, cache) for ref in refs)
                moved += wanted
                took = read(wanted) if wanted else 0.0
                reading += took
                ready = issued + took
                stalled += max(0.0, ready - clock)
                clock = max(clock, ready)
                issued = clock  # the next operands are read while this kernel runs
                if upload is not None:
                    seconds = max(seconds, len(refs) * self.tile_bytes / upload)
            clock += seconds * slow
            computed += seconds * slow
        return Arithmetic(clock, computed, stalled, reading, moved)
