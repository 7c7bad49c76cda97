"""The tiles that factor and inverse take from each tier: device, own cache, other workers, workspace.

Stages of one worker with up to 48 tiles a side, and of several with some thousand operands, are replayed: the
real graph, submission window and account of holders, and caches with the policy of the real ones, which stay
from stage to stage. Beyond, the tiles are estimated.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from l3ae_dist.graphs.blocks import SINGLE, AnyTask, BlockShape, BlockTask, segments
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.cut_sums import in_flight, in_flight_shape
from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.graphs.holders import NOBODY, Holders
from l3ae_dist.graphs.inverse import InverseGraph, TriangularInverseGraph
from l3ae_dist.graphs.tasks import Graph, TileTask
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.simulated_links import Peers
from l3ae_dist.planning.traffic import TaskReads, WorkerTiles, tiles_read
from l3ae_dist.runtime.submission_window import SubmissionWindow
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.storage.tile_cache import TileCache

# Beyond so many tiles a side, or operands of a stage of several workers, tasks are not gone through.
_COUNTED_SIDE, _COUNTED = 48, 6000
# Caches of so large a part of a factor hold what cut sums still need of it: old columns are added early.
_SUFFICIENT = 0.6
# Tasks in flight for each worker.
_PER_WORKER = STAGED + 1


@dataclass
class TierTraffic:
    """Tiles that the tasks of a stage use, each counted once for a task, by where they come from.

    Parameters
    ----------
    device
        In the memory of the worker's device.
    cache
        In that of its process.
    local
        In a copy on the worker's disk.
    peers
        In that of another worker's process.
    workspace
        Nowhere else.
    """

    device: float = 0.0
    cache: float = 0.0
    local: float = 0.0
    peers: float = 0.0
    workspace: float = 0.0

    @property
    def moved(self) -> float:
        """Tiles that a worker gets from outside its memory."""
        return self.peers + self.workspace

    def times(self, factor: float) -> "TierTraffic":
        """Return all of it so many times, such as in bytes."""
        return TierTraffic(**{one.name: factor * getattr(self, one.name) for one in fields(self)})

    def asking(self, share: float) -> "TierTraffic":
        """Return the traffic of workers that ask others for a share alone of what these hold."""
        peers = share * self.peers
        return TierTraffic(self.device, self.cache, self.local, peers, self.moved - peers)


@dataclass(frozen=True, slots=True)
class TileMemories:
    """Memories of the workers of a stage, in tiles.

    Parameters
    ----------
    workers
        Worker processes.
    cached
        Tiles that the cache of each holds.
    device
        Tiles that its device holds beside those at work; 0 without one.
    local
        Copies that its disk holds.
    """

    workers: int = 1
    cached: int = 0
    device: int = 0
    local: int = 0


def stage_traffic(
    stage: Stage, count: int, memories: TileMemories, block: BlockShape = SINGLE, *, counted: bool = True
) -> TierTraffic:
    """Count the tiles that a stage of a factorisation and its inverse takes from each tier.

    Parameters
    ----------
    stage
        ``factor``, ``linv`` or ``invert``, after those before it.
    count
        Tiles a side.
    memories
        Of the workers.
    block
        Tiles that a task makes side by side at most.
    counted
        Whether the tiles of a small stage are counted, and not estimated.

    Returns
    -------
    The traffic of workers that ask each other for all that one of them holds.
    """
    small = memories.workers == 1 or tiles_read(count, memories.workers, 0, block) <= _COUNTED
    stages = _replayed if counted and small and count <= _COUNTED_SIDE else _estimated
    return stages(count, memories, block)[TILE_STAGES.index(stage)]


def _graphs(count: int, workers: int, block: BlockShape) -> tuple[Graph, Graph, Graph]:
    grid = TileGrid(count, 1)
    return (
        CholeskyGraph(grid, workers, block=block),
        TriangularInverseGraph(grid, workers, block),
        InverseGraph(grid, workers, block),
    )


@lru_cache(maxsize=256)
def partial_tiles(stage: str, count: int, workers: int, block: BlockShape) -> int:
    """Count the tiles of partial sums that a stage writes.

    Parameters
    ----------
    stage, count, block
        As for :func:`stage_traffic`.
    workers
        Worker processes.
    """
    graph = _graphs(count, workers, block)[TILE_STAGES.index(Stage(stage))]
    return len(graph) - graph.grid.lower_count


@lru_cache(maxsize=256)
def _replayed(count: int, memories: TileMemories, block: BlockShape) -> tuple[TierTraffic, ...]:
    """Run the stages on workers that take turns, with caches that are empty before the first of them."""
    workers = _Workers(memories)
    return tuple(workers.run(graph) for graph in _graphs(count, memories.workers, block))


class _Workers:
    """The memories of workers, as the tasks that they take turns at fill them."""

    def __init__(self, memories: TileMemories) -> None:
        count = memories.workers
        self._random = np.random.default_rng(0)
        self._held = [
            WorkerTiles(
                TileCache(memories.cached),
                TileCache(memories.device) if memories.device else None,
                count > 1,
                local=TileCache(memories.local) if memories.local else None,
            )
            for _ in range(count)
        ]
        self._peers = Peers([held.cache for held in self._held])

    def run(self, graph: Graph) -> TierTraffic:
        """Run a stage: workers of equal pace take turns, in an order that is drawn each time."""
        found = TierTraffic()
        window = SubmissionWindow(graph.tasks(), set())
        queues: list[deque[tuple[AnyTask, Holders]]] = [deque() for _ in self._held]
        self._submit(window, queues)
        while not window.finished:
            for number in self._random.permutation(len(queues)):
                if queues[number]:
                    task, told = queues[number].popleft()
                    self._task(int(number), task, told, found)
                    if len(queues) > 1:
                        self._peers.note(task, int(number), self._peers.kept(task, int(number)))
                    window.complete(task)
                    self._submit(window, queues)
        return found

    def _submit(self, window: SubmissionWindow, queues: Sequence[deque[tuple[AnyTask, Holders]]]) -> None:
        """Give tasks that are ready to the workers that have the fewest."""
        while len(shortest := min(queues, key=len)) < _PER_WORKER and (task := window.pop()) is not None:
            assert isinstance(task, (TileTask, BlockTask))
            shortest.append((task, self._peers.told(task) if len(queues) > 1 else NOBODY))

    def _task(self, number: int, task: AnyTask, told: Holders, found: TierTraffic) -> None:
        reads = TaskReads(task, self._held[number])
        missing, used = reads.starts(), len(reads.tiles)
        for segment in segments(reads.tiles):
            missing += reads.segment(segment)
            used += len(segment.reads)
        held = sum(bool(self._peers.holding(ref, told, number)) for ref in missing)
        found.device += reads.on_device
        found.local += reads.copied
        found.cache += used - reads.on_device - reads.copied - len(missing)
        found.peers += held
        found.workspace += len(missing) - held


@lru_cache(maxsize=256)
def _estimated(count: int, memories: TileMemories, block: BlockShape) -> tuple[TierTraffic, ...]:
    """Estimate the same from the operands that caches of their sizes hold.

    A cache that holds the tiles of two stages reads the second's from nowhere. What a stage starts from is
    the Gram matrix, or partial sums, which none keeps. Of all else the others hold what any of their caches
    does; with cut sums the workers keep what they made of a factor until the next stage. A disk has what its
    worker made or read before.
    """
    workers, own = memories.workers, memories.cached + memories.device
    whole = count * (count + 1) / 2
    uses, read = (tiles_read(count, workers, tiles, block) for tiles in (0, own))
    stages = []
    for number, graph in enumerate(_graphs(count, workers, block)):
        if isinstance(graph, InverseGraph) and in_flight(workers):  # whose blocks may be larger
            larger = graph.shape.columns / in_flight_shape(block, count, workers).columns
            uses, read = uses / larger, read / larger
        partials = partial_tiles(graph.stage, count, workers, block)
        compulsory = partials + (whole if number == 0 else 0.0)
        moved = compulsory if number and own >= 2 * whole else read + partials
        kept = uses + partials - moved
        on_device = kept * (memories.device / own if own else 0.0)
        held = 1 - (1 - min(1.0, memories.cached / whole)) ** (workers - 1)
        if number == 0 and in_flight(workers):
            held = min(1.0, workers * memories.cached / whole / _SUFFICIENT)
        again = max(0.0, moved - compulsory - (workers - 1) * whole) * min(1.0, memories.local / whole)
        peers = max(0.0, moved - again - compulsory) * held
        stages.append(TierTraffic(on_device, kept - on_device, again, peers, moved - again - peers))
    return tuple(stages)
