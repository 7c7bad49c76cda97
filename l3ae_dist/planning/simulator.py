"""A discrete-event simulation of tile stages: the real task graph and submission window, modelled workers.

The client takes finished tasks one at a time, asks the package's own
:class:`~l3ae_dist.runtime.submission_window.SubmissionWindow` for the next, and sends them to
the worker with the fewest. A worker has two tasks at a time: one computes, the other reads its first tile or
writes its result. Workers may be slow or fail; what a failed one had begun goes to others.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from l3ae_dist.errors import ConfigError
from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.graphs.tasks import Graph, TileRef, TileTask
from l3ae_dist.planning.model_cluster import ModelCluster
from l3ae_dist.planning.task_model import TaskModel
from l3ae_dist.runtime.submission_window import SubmissionWindow
from l3ae_dist.storage.tile_cache import TileCache

# What has been simulated and then run (benchmarks/results/simulator.json); all else is extrapolated.
VALIDATED_WORKERS, VALIDATED_ITEMS, VALIDATED_TILES = 2, 13_824, (640, 1536)
# Failures for each completed task, beyond which a simulation is given up.
_HOPELESS = 50
# Tasks in flight for each worker, as DaskExecutor has them.
PER_WORKER = STAGED + 1


@dataclass
class SimulatedStage:
    """The prediction for one stage.

    Parameters
    ----------
    stage, tasks, seconds
        Its name, its tile tasks, and its wall time.
    critical_path
        Seconds of the longest chain of tasks that wait for each other.
    computing, reading
        Shares of the time of all workers in which kernels run, and in which they wait for tiles.
    client
        Share of the time in which the client is busy.
    bytes_read, bytes_written
        Of all workers.
    cache_bytes
        The most that the cache of a worker held.
    failures, repeated
        Failures of workers, and tasks that were begun again.
    """

    stage: str
    tasks: int = 0
    seconds: float = 0.0
    critical_path: float = 0.0
    computing: float = 0.0
    reading: float = 0.0
    client: float = 0.0
    bytes_read: float = 0.0
    bytes_written: float = 0.0
    cache_bytes: int = 0
    failures: int = 0
    repeated: int = 0


@dataclass
class _Worker:
    cache: TileCache[bool]
    slow: float = 1.0
    life: int = 0  # counts its failures: what belongs to an earlier life is void
    up: bool = True
    queue: deque[TileTask] = field(default_factory=deque)
    held: dict[TileRef, TileTask] = field(default_factory=dict)
    arithmetic: deque[tuple[TileTask, float]] = field(default_factory=deque)
    computing: bool = False
    failed: float = 0.0  # when it last did
    streams: float = 0.0  # its transfers now; one that computes counts in part

    @property
    def load(self) -> int:
        """Tasks it was given and has not told of."""
        return len(self.queue) + len(self.held)


def outside_validation(workers: int, items: int, tile: int) -> str | None:
    """Tell in words what lies beyond the simulations that were compared with real runs; None for nothing.

    Parameters
    ----------
    workers, items, tile
        Worker processes, items, and rows of a tile of a simulation.
    """
    low, high = VALIDATED_TILES
    beyond = []
    if workers > VALIDATED_WORKERS:
        beyond.append(f"{workers:,} workers (validated to {VALIDATED_WORKERS})")
    if items > VALIDATED_ITEMS:
        beyond.append(f"{items:,} items (to {VALIDATED_ITEMS:,})")
    if not low <= tile <= high:
        beyond.append(f"tiles of {tile:,} ({low:,} to {high:,})")
    return "beyond the validated range: " + ", ".join(beyond) if beyond else None


class Simulation:
    """Modelled workers that run stages one after the other; their caches stay from stage to stage.

    Parameters
    ----------
    cluster
        The workers.
    dtype, itemsize
        Of the tiles.
    """

    def __init__(self, cluster: ModelCluster, dtype: str, itemsize: int) -> None:
        self._cluster = cluster
        self._dtype, self._itemsize = dtype, itemsize
        trouble = cluster.trouble
        random = np.random.default_rng(trouble.seed)
        slow = random.random(cluster.workers) < trouble.straggler_share
        self._workers = [
            _Worker(TileCache(cluster.cache_bytes), trouble.straggler_factor if is_slow else 1.0)
            for is_slow in slow
        ]
        self._random = random

    def run(self, graph: Graph) -> SimulatedStage:
        """Simulate one stage of tile tasks.

        Cost: a few microseconds for every operand of every task.
        """
        times = TaskModel(self._cluster.rates, graph.grid, self._dtype, self._itemsize)
        return _Stage(graph, times, self._cluster, self._workers, self._random).run()

    def run_all(self, graphs: Sequence[Graph]) -> list[SimulatedStage]:
        """Simulate stages in their order."""
        return [self.run(graph) for graph in graphs]


class _Stage:
    """One stage: a clock, a heap of what happens when, and the state of client and workers."""

    def __init__(
        self,
        graph: Graph,
        times: TaskModel,
        cluster: ModelCluster,
        workers: list[_Worker],
        random: np.random.Generator,
    ) -> None:
        self._times = times
        self._cluster, self._rates, self._trouble = cluster, cluster.rates, cluster.trouble
        self._workers, self._random = workers, random
        self._window = SubmissionWindow(graph.tasks(), set(), cluster.trouble.lookahead)
        self._total = SimulatedStage(graph.stage)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        self._now = 0.0
        self._client_free = 0.0
        self._in_flight = 0
        self._streams = 0.0  # workers that read or write now; one that computes counts in part
        self._path: dict[TileRef, float] = {}
        self._homeless: list[TileTask] = []
        for worker in workers:  # between stages those that failed come back, and nothing is on its way
            worker.up, worker.streams = True, 0.0
        self._idle = [(0, number) for number in range(len(workers))]

    def run(self) -> SimulatedStage:
        for number in range(len(self._workers)):
            self._next_failure(number)
        self._submit()
        while not self._window.finished:
            self._now, _, happen = heapq.heappop(self._heap)
            happen()
        total, workers = self._total, self._cluster.workers
        total.seconds = self._now
        total.computing /= self._now * workers
        total.reading /= self._now * workers
        total.client /= self._now
        total.critical_path = max(self._path.values())
        return total

    def _at(self, seconds: float, happen: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (self._now + seconds, self._serial, happen))

    # the client

    def _submit(self) -> None:
        slots, any_up = PER_WORKER * self._cluster.workers, any(worker.up for worker in self._workers)
        while self._in_flight < slots and (task := self._window.pop()) is not None:
            assert isinstance(task, TileTask)
            self._in_flight += 1
            if any_up:
                self._send(task, self._rates.latency_seconds / 2)
            else:
                self._homeless.append(task)

    def _send(self, task: TileTask, delay: float) -> None:
        """Give a task to the worker with the fewest."""
        while True:
            load, number = heapq.heappop(self._idle)
            worker = self._workers[number]
            if worker.up and load == worker.load:  # else a later entry tells its load
                break
        worker.queue.append(task)
        heapq.heappush(self._idle, (worker.load, number))
        life = worker.life
        self._at(delay, lambda: self._begin(number) if worker.life == life else None)

    def _told(self, task: TileTask) -> None:
        """The client hears of a finished task when it is free."""
        start = max(self._now, self._client_free)
        self._client_free = start + self._rates.task_seconds
        self._total.client += self._rates.task_seconds
        self._at(self._client_free - self._now, lambda: self._complete(task))

    def _complete(self, task: TileTask) -> None:
        before = max((self._path.get(ref, 0.0) for ref in task.deps), default=0.0)
        self._path[task.target] = before + self._times.alone(task)
        self._total.tasks += 1
        self._in_flight -= 1
        self._window.complete(task)
        self._submit()

    # a worker

    def _begin(self, number: int) -> None:
        """Take the next task where one of the two places is free: read its first tile."""
        worker = self._workers[number]
        while worker.queue and len(worker.held) < STAGED:
            task = worker.queue.popleft()
            worker.held[task.target] = task
            size = 0.0 if task.start in worker.cache else self._times.tile_bytes
            self._total.bytes_read += size
            self._transfer(number, self._read(number, size), self._loaded, task)

    def _loaded(self, number: int, task: TileTask) -> None:
        self._workers[number].arithmetic.append((task, self._now))
        self._compute(number)

    def _compute(self, number: int) -> None:
        """Run the kernels of the next loaded task unless others run."""
        worker = self._workers[number]
        if worker.computing or not worker.arithmetic:
            return
        worker.computing = True
        task, loaded = worker.arithmetic.popleft()
        done = self._times.arithmetic(
            task, worker.cache, lambda size: self._read(number, size), loaded, self._now, worker.slow
        )
        total, length = self._total, max(done.end - self._now, 1e-9)
        began = self._now
        share = min(1.0, done.reading / length)
        self._stream(worker, share)
        life = worker.life

        def end() -> None:
            self._stream(worker, -share)
            # of a worker that failed meanwhile, what it did until then
            part = 1.0 if worker.life == life else max(0.0, min(1.0, (worker.failed - began) / length))
            total.bytes_read += part * done.bytes_read
            total.computing += part * done.computed
            total.reading += part * done.stalled
            if worker.life != life:
                return
            worker.computing = False
            size = self._times.tile_bytes
            total.bytes_written += size
            self._transfer(number, self._write(number, size), self._written, task)
            self._compute(number)

        self._at(length, end)

    def _written(self, number: int, task: TileTask) -> None:
        worker = self._workers[number]
        del worker.held[task.target]
        if task.reread:
            panel = task.panel if task.in_panel(task.target) else None
            worker.cache.put(task.target, True, int(self._times.tile_bytes), task.stage, panel)
            self._total.cache_bytes = max(self._total.cache_bytes, worker.cache.used)
        heapq.heappush(self._idle, (worker.load, number))
        self._at(self._rates.latency_seconds / 2, lambda: self._told(task))
        self._begin(number)

    # storage

    def _transfer(
        self, number: int, seconds: float, then: Callable[[int, TileTask], None], task: TileTask
    ) -> None:
        worker, life = self._workers[number], self._workers[number].life
        self._stream(worker, 1)

        def end() -> None:
            self._stream(worker, -1)
            if worker.life == life:
                then(number, task)

        self._at(seconds, end)

    def _stream(self, worker: _Worker, share: float) -> None:
        worker.streams += share
        self._streams += share

    def _read(self, number: int, size: float) -> float:
        rates = self._rates
        moving = self._moving(number, size, rates.read_bytes_s, rates.shared_read_bytes_s)
        return rates.read_seconds + moving

    def _write(self, number: int, size: float) -> float:
        rates = self._rates
        moving = self._moving(number, size, rates.write_bytes_s, rates.shared_write_bytes_s)
        return rates.write_seconds + moving

    def _moving(self, number: int, size: float, own: float, shared: float) -> float:
        """Seconds at this transfer's part of what the worker, its network and the storage carry."""
        mine = min(own, self._cluster.network_bytes_s) / max(1.0, self._workers[number].streams + 1)
        return size / min(mine, shared / max(1.0, self._streams + 1))

    # failures

    def _next_failure(self, number: int) -> None:
        if self._trouble.mtbf_seconds is not None:
            self._at(self._random.exponential(self._trouble.mtbf_seconds), lambda: self._fail(number))

    def _fail(self, number: int) -> None:
        worker = self._workers[number]
        lost = [*worker.held.values(), *worker.queue]
        worker.life += 1
        worker.failed = self._now
        worker.up, worker.computing = False, False
        worker.held.clear()
        worker.queue.clear()
        worker.arithmetic.clear()
        worker.cache = TileCache(self._cluster.cache_bytes)
        self._total.failures += 1
        if self._total.failures > _HOPELESS * (self._total.tasks + self._cluster.workers):
            raise ConfigError(
                f"after {self._total.failures:,} failures only {self._total.tasks:,} tasks of "
                f"{self._total.stage} are complete: the workers fail too often to get on; raise the mean "
                "time between failures, or use smaller tiles."
            )
        self._total.repeated += len(lost)
        self._at(self._trouble.restart_seconds, lambda: self._back(number))
        self._homeless += lost
        self._resend()

    def _back(self, number: int) -> None:
        self._workers[number].up = True
        heapq.heappush(self._idle, (0, number))
        self._next_failure(number)
        self._resend()

    def _resend(self) -> None:
        """Give the tasks of failed workers to others, once there are any."""
        if any(worker.up for worker in self._workers):
            lost, self._homeless = self._homeless, []
            for task in lost:
                self._send(task, self._rates.latency_seconds)
