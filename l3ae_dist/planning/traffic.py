"""Tiles that tasks read, by the policy of the workers' caches, and an estimate of those of a stage."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log

from l3ae_dist.graphs.blocks import (
    SINGLE,
    AnyTask,
    BlockShape,
    BlockTask,
    Panel,
    Segment,
    segments,
    tiles_of,
)
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.cut_sums import in_flight
from l3ae_dist.graphs.inverse import InverseGraph, TriangularInverseGraph
from l3ae_dist.graphs.tasks import Graph, TileRef, TileTask
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tile_cache import TileCache

# Beyond so many tiles a side the tasks are not gone through one by one.
_COUNTED = 48


@dataclass
class WorkerTiles:
    """The tiles that a modelled worker keeps.

    Parameters
    ----------
    cache
        In the memory of its process.
    device
        In the memory of its device; None for a worker that computes in that of its process.
    shared
        Whether other workers may ask for them.
    unwritten
        Arrays whose tiles are written only where there is no room for them.
    local
        Copies on a local disk of tiles that the caches have no room for; None without.
    """

    cache: TileCache[TileRef]
    device: TileCache[TileRef] | None = None
    shared: bool = False
    unwritten: frozenset[str] = frozenset()
    local: TileCache[TileRef] | None = None


def _graph(stage: Stage, grid: TileGrid, block: BlockShape) -> Graph:
    if stage == Stage.FACTOR:
        return CholeskyGraph(grid, block=block)
    return (TriangularInverseGraph if stage == Stage.LINV else InverseGraph)(grid, block=block)


@dataclass(frozen=True, slots=True)
class StageTraffic:
    """Tiles that a stage reads from the workspace and writes there."""

    read: float
    written: float


def give_up_unneeded(held: WorkerTiles, stage: str) -> None:
    """Give up the tiles of ``L`` that earlier stages kept in memory, when this stage does not read them."""
    for cache in (held.cache, held.device):
        if cache is not None:
            cache.unpin(lambda ref: stage != Stage.INVERT or (isinstance(ref, TileRef) and ref.array != "L"))


@lru_cache(maxsize=256)
def traffic_in_memory(
    count: int, cached: int, block: BlockShape, unwritten: frozenset[str]
) -> dict[Stage, StageTraffic]:
    """Count what one worker reads and writes that keeps the tiles of some arrays in memory.

    Its cache is replayed through all three stages, up to 48 tiles a side; beyond, what is read is estimated
    where not everything has room.

    Parameters
    ----------
    count, cached, block
        As for :func:`tiles_read`.
    unwritten
        Of ``L`` and ``Linv`` those whose tiles are written only where the cache has no room for them.
    """
    if count > _COUNTED:
        return _estimated_in_memory(count, cached, block, unwritten)
    held = WorkerTiles(TileCache(cached), unwritten=unwritten)
    found = {}
    for stage in (Stage.FACTOR, Stage.LINV, Stage.INVERT):
        give_up_unneeded(held, stage)
        found[stage] = _replayed(_graph(stage, TileGrid(count, 1), block), held)
    return found


def _estimated_in_memory(
    count: int, cached: int, block: BlockShape, unwritten: frozenset[str]
) -> dict[Stage, StageTraffic]:
    """Estimate as :func:`tiles_read` does: of the operands, those that are not kept are read."""
    triangle, found = count * (count + 1) // 2, {}
    room, missing = cached, dict.fromkeys(("gram", "L", "Linv"), 1.0)  # shares of tiles that are not kept
    for stage, source, made in (
        (Stage.FACTOR, "gram", "L"),
        (Stage.LINV, "L", "Linv"),
        (Stage.INVERT, "Linv", "P"),
    ):
        if stage == Stage.INVERT:  # L is given up
            room += round((1 - missing["L"]) * triangle)
        kept = min(room, triangle) if made in unwritten else 0
        room, missing[made] = room - kept, 1 - kept / triangle
        operands = max(0.0, tiles_read(count, 1, room, block) - triangle)
        share = {
            Stage.FACTOR: missing["L"],
            Stage.LINV: (missing["L"] + missing["Linv"]) / 2,
            Stage.INVERT: missing["Linv"],
        }[stage]
        found[stage] = StageTraffic(missing[source] * triangle + share * operands, triangle - kept)
    return found


class TaskReads:
    """The reads of one task by a worker whose caches hold what their policy wants.

    Parameters
    ----------
    task
        A task of a tile stage.
    held
        What its worker keeps.
    size
        Bytes of a tile, in the unit of the caches.
    """

    def __init__(self, task: AnyTask, held: WorkerTiles, size: int = 1) -> None:
        self.tiles = tiles_of(task)
        self.written = 0
        """Tiles that were finished and are written."""
        self.kept: set[int] = set()
        """Numbers of those that were finished and stay in memory alone."""
        self.on_device = 0
        """Tiles so far that the device held."""
        self.copied = 0
        """Tiles so far that were read from copies on a local disk."""
        self._panel, self._stage = Panel(self.tiles), self.tiles[0].stage
        self._held, self._size = held, size
        self._cache, self._device = held.cache, held.device

    def starts(self) -> list[TileRef]:
        """Return the start tiles that are read."""
        starts = [tile.start for tile in self.tiles]
        if self._device is not None:
            beside = [ref for ref in starts if ref not in self._device]
            self.on_device += len(starts) - len(beside)
            starts = beside
        missing = [ref for ref in starts if ref not in self._cache]
        if self._held.local is not None:
            beside = [ref for ref in missing if ref not in self._held.local]
            self.copied += len(missing) - len(beside)
            missing = beside
        return missing

    def segment(self, segment: Segment) -> list[TileRef]:
        """Return the operands of some kernels that no cache holds; keep what these have room for."""
        if not any(use.last for use in segment.uses):
            return self.missing(segment.reads)
        wanted, missing = dict.fromkeys(segment.reads), []
        for use in segment.uses:
            missing += self.missing(ref for ref in use.operands if wanted.pop(ref, self) is not self)
            if use.last:
                self.finish(use.tile)
        return missing

    def missing(self, refs: Iterable[TileRef]) -> list[TileRef]:
        """Return the operands that no cache holds, and no local copy is of; keep them."""
        panels = ((ref, self._panel.of(ref)) for ref in refs)
        return [ref for ref, panel in panels if not (self._keep(ref, panel) or self._copy(ref, panel))]

    def _copy(self, ref: TileRef, panel: object) -> bool:
        """Tell whether a copy is there; one is made where no cache keeps the tile."""
        local = self._held.local
        if local is None:
            return False
        if local.get(ref, self._stage, panel):
            self.copied += 1
            return True
        if ref not in self._cache and (self._device is None or ref not in self._device):
            local.put(ref, ref, self._size, self._stage, panel)
        return False

    def finish(self, number: int) -> None:
        """Keep a finished tile in place of writing it, or write it and keep it where later tasks read it.

        A worker with a device keeps in the memory of its process what others may ask for.
        """
        tile = self.tiles[number]
        if tile.target.array in self._held.unwritten and self._pinned(tile.target):
            self.kept.add(number)
            return
        self.written += 1
        if tile.reread:
            panel = self._panel.of_target(tile)
            if self._device is None or self._held.shared or not self._has_room(self._device):
                self._put(self._cache, tile.target, panel)
            if self._device is not None:
                self._put(self._device, tile.target, panel)
            if self._held.local is not None and tile.target not in self._held.local:
                self._copy(tile.target, panel)

    def _pinned(self, ref: TileRef) -> bool:
        """Hold a tile that is not written: on the device, or in the memory of the process."""
        caches = [cache for cache in (self._device, self._cache) if cache is not None]
        return any(cache.pin(ref, ref, self._size)[0] for cache in caches)

    def _keep(self, ref: TileRef, panel: object) -> bool:
        """Offer a tile to the caches; returns whether it was there."""
        if self._device is None:
            return self._put(self._cache, ref, panel)
        if self._device.get(ref, self._stage, panel):
            self.on_device += 1
            return True
        # the process keeps what it can of that for which the device has no room
        found = ref in self._cache if self._has_room(self._device) else self._put(self._cache, ref, panel)
        self._put(self._device, ref, panel)
        return found

    def _has_room(self, cache: TileCache[TileRef]) -> bool:
        return cache.used + self._size <= cache.limit

    def _put(self, cache: TileCache[TileRef], ref: TileRef, panel: object) -> bool:
        if cache.get(ref, self._stage, panel):
            return True
        cache.put(ref, ref, self._size, self._stage, panel)
        return False


def _replayed(graph: Graph, held: WorkerTiles) -> StageTraffic:
    """Count the tiles read and written by one worker, whose cache may hold tiles already."""
    read = written = 0
    for task in graph.tasks():
        assert isinstance(task, (TileTask, BlockTask))
        reads = TaskReads(task, held)
        read += len(reads.starts()) + sum(len(reads.segment(one)) for one in segments(reads.tiles))
        written += reads.written
    return StageTraffic(read, written)


@lru_cache(maxsize=1024)
def tiles_read(count: int, workers: int, cached: int, block: BlockShape = SINGLE) -> float:
    """Estimate the tiles that a stage reads: start tiles, operands, and panels once a worker.

    The blocks of the columns (or rows) from k on read k tiles for each of their rows, and the k of the panel
    for each of their columns, of which a worker keeps as many as its cache holds. What a cache holds beyond
    the panel is found there again, the whole triangle by a cache that holds it. Partial sums are not counted,
    and what workers read from each other is.

    Parameters
    ----------
    count
        Tiles a side.
    workers
        Worker processes.
    cached
        Tiles that the cache of each holds.
    block
        Tiles that a task makes side by side at most.
    """
    total, again, whole = 0.0, 0.0, count * (count + 1) / 2
    for columns, height in CholeskyGraph(TileGrid(count, 1), workers, block=block).columns():
        k, width, below = columns.start, len(columns), count - columns.stop
        blocks = -(-below // height)
        triangle = width * (width + 1) / 2
        if in_flight(workers):  # the next task of a worker is anywhere: it finds what its cache holds of all
            total += triangle + width * below
            again += k * (width * (blocks + 1) + below)
            continue
        held = min(width * k, cached)
        diagonal = min(triangle, cached - held)
        share = min(1.0, (cached - held) / whole)
        total += triangle + width * below
        total += (width * k - held) * (blocks + 1) + held * min(workers, blocks + 1)
        total += (triangle - diagonal) * blocks + k * below * (1 - share)
    return total + again * (1 - found_again(again / workers, cached, whole))


def found_again(uses: float, cached: float, whole: float) -> float:
    """Return the share of uses that find their tile in a cache which is empty at first, and then full.

    Parameters
    ----------
    uses
        Of one worker, each of any tile.
    cached, whole
        Tiles that its cache holds, and tiles that there are.
    """
    if not uses or not cached:
        return 0.0
    if cached >= whole:
        return 1 - whole / uses * (1 - exp(-uses / whole))
    full = min(uses, -whole * log(1 - cached / whole))  # uses until then
    found = full - whole * (1 - exp(-full / whole)) + cached / whole * (uses - full)
    return found / uses
