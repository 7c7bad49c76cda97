"""A discrete-event simulation of tile stages: the real task graph and submission window, modelled workers.

The client takes finished tasks one at a time, asks the package's own
:class:`~l3ae_dist.runtime.submission_window.SubmissionWindow` for the next, and sends them to
the worker with the fewest. A worker has two tasks at a time: one computes, the other reads its first tiles or
writes its last ones. Workers may be slow or fail; what a failed one had begun goes to others.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from l3ae_dist.errors import ConfigError
from l3ae_dist.graphs.blocks import AnyTask, BlockTask
from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.graphs.holders import NOBODY, Holders
from l3ae_dist.graphs.tasks import Graph, TileRef, TileTask
from l3ae_dist.planning.model_cluster import ModelCluster
from l3ae_dist.planning.simulated_accumulators import SimulatedAccumulators
from l3ae_dist.planning.simulated_links import Links, Load, Peers
from l3ae_dist.planning.task_model import Arithmetic, TaskModel
from l3ae_dist.planning.traffic import WorkerTiles, give_up_unneeded
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
        From and to storage, of all workers.
    bytes_peers, bytes_local
        That workers read from the caches of others, and from copies on their disks.
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
    bytes_peers: float = 0.0
    bytes_local: float = 0.0
    cache_bytes: int = 0
    failures: int = 0
    repeated: int = 0


@dataclass
class _Worker:
    tiles: WorkerTiles
    under_way: SimulatedAccumulators
    slow: float = 1.0
    life: int = 0  # counts its failures: what belongs to an earlier life is void
    up: bool = True
    queue: deque[AnyTask] = field(default_factory=deque)
    held: dict[TileRef, AnyTask] = field(default_factory=dict)
    arithmetic: deque[tuple[AnyTask, float]] = field(default_factory=deque)
    computing: bool = False
    failed: float = 0.0  # when it last did

    @property
    def load(self) -> int:
        """Tasks it was given and has not told of."""
        return len(self.queue) + len(self.held)


def _no_tiles(cluster: ModelCluster) -> WorkerTiles:
    device = TileCache[TileRef](cluster.device_cache_bytes) if cluster.device_cache_bytes else None
    local = TileCache[TileRef](cluster.local_bytes) if cluster.local_bytes else None
    return WorkerTiles(TileCache(cluster.cache_bytes), device, cluster.peers, cluster.unwritten, local)


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
            _Worker(
                _no_tiles(cluster),
                SimulatedAccumulators(cluster.accumulators),
                trouble.straggler_factor if is_slow else 1.0,
            )
            for is_slow in slow
        ]
        self._peers = Peers([worker.tiles.cache for worker in self._workers])
        self._links = Links(cluster, self._peers)
        self._random = random

    def run(self, graph: Graph) -> SimulatedStage:
        """Simulate one stage of tile tasks.

        Cost: a few microseconds for every operand of every task.
        """
        times = TaskModel(self._cluster.rates, graph.grid, self._dtype, self._itemsize)
        for worker in self._workers:
            give_up_unneeded(worker.tiles, graph.stage)
        return _Stage(
            graph, times, self._cluster, self._links, self._peers, self._workers, self._random
        ).run()

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
        links: Links,
        peers: Peers,
        workers: list[_Worker],
        random: np.random.Generator,
    ) -> None:
        self._times = times
        self._cluster, self._rates, self._trouble = cluster, cluster.rates, cluster.trouble
        self._links, self._peers = links, peers
        links.clear()  # between stages nothing is on its way
        self._workers, self._random = workers, random
        self._window = SubmissionWindow(graph.tasks(), set(), self._trouble.lookahead)
        self._total = SimulatedStage(graph.stage)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        self._now = 0.0
        self._client_free = 0.0
        self._in_flight = 0
        self._path: dict[TileRef, float] = {}
        self._kernels: dict[TileRef, float] = {}
        self._told: dict[TileRef, Holders] = {}
        self._homeless: list[AnyTask] = []
        for worker in workers:  # between stages those that failed come back
            worker.up = True
            worker.under_way = SimulatedAccumulators(cluster.accumulators)
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
            assert isinstance(task, (TileTask, BlockTask))
            self._in_flight += 1
            if any_up:
                self._send(task, self._rates.latency_seconds / 2)
            else:
                self._homeless.append(task)

    def _send(self, task: AnyTask, delay: float) -> None:
        """Give a task to the worker with the fewest."""
        while True:
            load, number = heapq.heappop(self._idle)
            worker = self._workers[number]
            if worker.up and load == worker.load:  # else a later entry tells its load
                break
        worker.queue.append(task)
        self._told[task.target] = self._peers.told(task) if self._cluster.peers else NOBODY
        heapq.heappush(self._idle, (worker.load, number))
        life = worker.life
        self._at(delay, lambda: self._begin(number) if worker.life == life else None)

    def _hear(self, task: AnyTask, number: int, kept: int) -> None:
        """The client hears of a finished task when it is free."""
        start = max(self._now, self._client_free)
        self._client_free = start + self._rates.task_seconds
        self._total.client += self._rates.task_seconds
        self._at(self._client_free - self._now, lambda: self._complete(task, number, kept))

    def _complete(self, task: AnyTask, number: int, kept: int) -> None:
        if self._cluster.peers:
            self._peers.note(task, number, kept)
        del self._told[task.target]
        before = max((self._path.get(ref, 0.0) for ref in task.deps), default=0.0)
        self._path |= dict.fromkeys(
            task.targets, before + self._times.alone(task, self._kernels.pop(task.target))
        )
        self._total.tasks += len(task.targets)
        self._in_flight -= 1
        self._window.complete(task)
        self._submit()

    # a worker

    def _begin(self, number: int) -> None:
        """Take the next task where one of the two places is free: its tiles are read from now on."""
        worker = self._workers[number]
        while worker.queue and len(worker.held) < STAGED:
            task = worker.queue.popleft()
            worker.held[task.target] = task
            worker.arithmetic.append((task, self._now))
            self._compute(number)

    def _compute(self, number: int) -> None:
        """Run the kernels of the next task unless others run; its finished tiles are written meanwhile."""
        worker = self._workers[number]
        if worker.computing or not worker.arithmetic:
            return
        worker.computing = True
        task, asked = worker.arithmetic.popleft()
        load, told, size = Load(number), self._told[task.target], self._times.tile_bytes

        def read(tiles: Sequence[TileRef]) -> float:
            reading = self._links.read(number, size, tiles, told)
            load.join(reading)
            return reading.seconds

        reads = self._times.reads(task, worker.tiles)
        starts = reads.starts()
        each = read(starts) / len(starts) if starts else 0.0
        missing = set(starts)
        there = worker.under_way.load(asked, [each * (tile.start in missing) for tile in reads.tiles])
        done = self._times.arithmetic(reads, read, there, asked, self._now, worker.slow)
        done = done.not_before(worker.under_way.carried(asked, load.seconds))
        self._kernels[task.target] = done.kernels
        writing = self._links.write(number, done.written * size, done.written)
        each = writing.seconds / done.written if done.written else 0.0
        written = worker.under_way.write((time, each * writes) for time, writes in done.finished)
        load.join(writing)
        length = max(done.end - self._now, 1e-9)
        self._on_the_way(load, max(length, written - self._now), task)
        self._at(length, partial(self._computed, number, worker.life, task, done, load, length))

    def _computed(
        self, number: int, life: int, task: AnyTask, done: Arithmetic, load: Load, length: float
    ) -> None:
        """Count what a task did; of a worker that failed meanwhile, what it did until then."""
        worker, total = self._workers[number], self._total
        alive = worker.life == life
        part = 1.0 if alive else max(0.0, min(1.0, 1 - (self._now - worker.failed) / length))
        total.bytes_read += part * load.bytes_storage
        total.bytes_peers += part * load.bytes_peers
        total.bytes_local += part * done.copied * self._times.tile_bytes
        total.computing += part * done.computed
        total.reading += part * done.stalled
        if alive:
            total.bytes_written += done.written * self._times.tile_bytes
            worker.computing = False
            self._compute(number)

    def _on_the_way(self, load: Load, seconds: float, task: AnyTask) -> None:
        """Let tiles of a task take their share of the ways until the last one is written."""
        worker, life = self._workers[load.worker], self._workers[load.worker].life
        self._links.add(load.over(seconds))

        def end() -> None:
            self._links.add(load, -1)
            if worker.life == life:
                self._written(load.worker, task)

        self._at(seconds, end)

    def _written(self, number: int, task: AnyTask) -> None:
        worker = self._workers[number]
        del worker.held[task.target]
        self._total.cache_bytes = max(self._total.cache_bytes, worker.tiles.cache.used)
        heapq.heappush(self._idle, (worker.load, number))
        kept = self._peers.kept(task, number) if self._cluster.peers else 0
        self._at(self._rates.latency_seconds / 2, lambda: self._hear(task, number, kept))
        self._begin(number)

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
        worker.tiles = _no_tiles(self._cluster)
        worker.under_way = SimulatedAccumulators(self._cluster.accumulators)
        self._peers.lose(number, worker.tiles.cache)
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
