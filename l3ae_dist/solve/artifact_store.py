"""Artifacts of a solve: arrays of a workspace, made by task graphs and then marked complete."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from l3ae_dist.errors import DamagedTileError
from l3ae_dist.graphs.assemble import row_graph
from l3ae_dist.graphs.chunk_tasks import Compute
from l3ae_dist.graphs.context import StageContext, StageParams
from l3ae_dist.graphs.tasks import Graph
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.plan import Plan
from l3ae_dist.runtime.events import Message, OnEvent, ignore
from l3ae_dist.runtime.executors import Executor
from l3ae_dist.runtime.run_graph import StageStats, run_graph
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.kept import Kept
from l3ae_dist.storage.repair import reopen
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True, slots=True)
class UpdateBase:
    """An inverse that others may be made from, by the rows that changed since.

    Parameters
    ----------
    dataset
        Id of the interactions that it is of.
    inverse
        Place of its tiles.
    most_rows
        Changed rows beyond which an inverse is made anew.
    """

    dataset: str
    inverse: str
    most_rows: int


@dataclass(frozen=True, slots=True)
class SolveSettings:
    """The settings that the task graphs of a solve run with.

    Parameters
    ----------
    plan
        Tile grid, dtype and memory.
    executor
        Where tasks run.
    keep
        Which of ``L``, ``Linv`` and ``P`` to keep after the stage that needs them.
    epoch, durable
        The lock's epoch, and whether writes are flushed.
    device
        Kernel back end of the workers: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    device_memory
        Bytes that may be used of the memory of a device; 0 for most of what is free.
    on_event
        Called with every event.
    kept
        Told of what is in memory alone.
    protected
        Paths of arrays that models of the workspace read, which no search deletes.
    local_directory, local_bytes
        Folder for copies of tiles on a local disk of each worker, and what they may take; empty for none.
    updates
        Whether an inverse may be another one with its change.
    update
        The one that new inverses are made from where they can; None to solve.
    """

    plan: Plan
    executor: Executor
    keep: tuple[str, ...] = ()
    epoch: int = 0
    durable: bool = False
    device: str = "cpu"
    device_memory: int = 0
    on_event: OnEvent = ignore
    kept: Kept = field(default_factory=Kept)
    protected: frozenset[str] = frozenset()
    local_directory: str = ""
    local_bytes: int = 0
    updates: bool = False
    update: UpdateBase | None = None


class ArtifactStore:
    """Creates arrays in a workspace, runs the graphs that fill them, and marks what is complete.

    Parameters
    ----------
    workspace
        Where the artifacts are.
    settings
        How graphs run.
    """

    def __init__(self, workspace: Workspace, settings: SolveSettings) -> None:
        self.workspace = workspace
        self.settings = settings
        self.plan = settings.plan
        """Plan of the run."""
        self.grid = settings.plan.grid
        self.dtype = settings.plan.dtype
        self.arithmetic = settings.plan.arithmetic
        self.stats: dict[str, StageStats] = {}
        """Statistics of the graphs that ran, by label."""

    @property
    def in_memory(self) -> frozenset[str]:
        """Names of the arrays whose tiles are not written as long as the workers have room for them."""
        return frozenset(self.plan.in_memory).difference(self.settings.keep)

    def write_all(self, reason: str) -> None:
        """Write every tile from now on, and say why, in the plan too."""
        if self.in_memory:
            written = f"L and Linv are written after tiles in memory had to be made again: {reason}"
            self.plan = replace(self.plan, in_memory=(), intermediates=written)
            self.say(
                f"{reason}: tiles that were in memory alone are made again, and all are written for the rest "
                "of the run"
            )

    def say(self, message: str) -> None:
        """Send a message to the log of the run."""
        self.settings.on_event(Message(message=message))

    def for_items(self, n: int) -> "ArtifactStore":
        """Return a store for arrays of ``n`` items, with tiles of the same size."""
        if n == self.grid.n:
            return self
        other = copy(self)
        other.grid = TileGrid(n, self.grid.tile)
        return other

    # ---- arrays

    def create(
        self, path: str, shape: tuple[int, int], chunks: tuple[int, int], dtype: npt.DTypeLike
    ) -> ChunkArray:
        """Create an array, or reopen it with its finished chunks.

        Parameters
        ----------
        path
            Its place in the workspace.
        shape, chunks, dtype
            As of a Zarr array; an array that differs is made anew.
        """
        return ChunkArray.create(self.workspace, path, shape=shape, chunks=chunks, dtype=dtype)

    def tiles(self, path: str, dtype: str) -> ChunkArray:
        """Create or reopen an n x n array of tiles."""
        n, b = self.grid.n, self.grid.tile
        return self.create(path, (n, n), (b, b), dtype)

    def rows(self, path: str, columns: int, dtype: str = "float64") -> ChunkArray:
        """Create or reopen an n x columns array that is cut by item tile.

        Parameters
        ----------
        path
            Its place in the workspace.
        columns, dtype
            Width and dtype.
        """
        return self.create(path, (self.grid.n, columns), (self.grid.tile, columns), dtype)

    def open(self, path: str) -> ChunkArray:
        """Open an existing array."""
        return ChunkArray.open(self.workspace, path)

    def would_change(self, path: str, values: Array) -> bool:
        """Tell whether :meth:`write_rows` would replace finished chunks by other bytes."""
        array = self.rows(path, values.shape[1])
        finished = (i for i, _ in array.marked())
        return any(not array.holds(i, 0, values[self.grid.rows(i)]) for i in finished)

    def write_rows(self, path: str, values: Array) -> str:
        """Write an (n, columns) float64 array by item tile, made anew, and return its path.

        Parameters
        ----------
        path
            Its place in the workspace.
        values
            (n, columns) float64.
        """
        array = self.rows(path, values.shape[1])
        for i in range(self.grid.count):
            rows = values[self.grid.rows(i)]
            if not array.holds(i, 0, rows):
                array.write(i, 0, rows, epoch=self.settings.epoch, anew=True)
        return path

    def read_rows(self, path: str) -> Array:
        """Read a whole array that is cut by rows alone."""
        array = self.open(path)
        return np.concatenate([array.read(i, 0) for i in range(array.grid[0])])

    def vector(self, path: str) -> Array:
        """Read an n x 1 array as a vector."""
        return self.read_rows(path)[:, 0]

    def delete(self, *paths: str) -> None:
        """Delete arrays."""
        for path in paths:
            self.workspace.delete(path)

    # ---- graphs

    def context(
        self, paths: Mapping[str, str], params: StageParams | None = None, *, dtype: str | None = None
    ) -> StageContext:
        """Describe a stage to the workers.

        Parameters
        ----------
        paths
            Array path for each name that the tasks use.
        params
            Further values of the stage.
        dtype
            Dtype of the tiles at work; that of the plan when None.
        """
        return StageContext(
            url=self.workspace.url,
            paths=dict(paths),
            grid=self.grid,
            dtype=dtype or self.dtype,
            cache_bytes=self.plan.cache_bytes,
            accumulators=self.plan.accumulators,
            tiles_held=self.plan.tiles_held,
            device_memory=self.settings.device_memory,
            device_sharers=self.plan.device_sharers,
            epoch=self.settings.epoch,
            device=self.settings.device,
            durable=self.settings.durable,
            params=params,
            arithmetic=self.arithmetic,
            local_directory=self.settings.local_directory,
            local_bytes=self.settings.local_bytes,
        )

    def run(self, graph: Graph, context: StageContext, targets: set[str], label: str) -> StageStats:
        """Run a graph and keep its statistics.

        Parameters
        ----------
        graph, context
            What to run, and its arrays.
        targets
            Names of the arrays that the graph writes.
        label
            What the statistics are kept under.

        Raises
        ------
        DamagedTileError
            When an input is damaged; the stage that made it is incomplete again.
        """
        settings = self.settings
        try:
            stats = run_graph(graph, context, settings.executor, targets=targets, on_event=settings.on_event)
        except DamagedTileError as error:
            # what is made from the sources waits for the next run
            if layout.vector_maker(error.path) is None:
                reopen(self.workspace, error.path, error.i, error.j)
                self.say(f"a tile of {error.path} is damaged and will be made again")
            raise
        self.stats[label] = stats
        return stats

    # ---- completion

    def is_done(self, stage: Stage, identifier: str) -> bool:
        """Tell whether an artifact is complete."""
        return self.workspace.stage_done(stage, identifier) is not None

    def mark(self, stage: Stage, identifier: str, params: Mapping[str, object], stats: StageStats) -> None:
        """Record that an artifact is complete.

        Parameters
        ----------
        stage, identifier
            What is complete.
        params, stats
            What it was made from, and the work that it took.
        """
        self.workspace.mark_stage(stage, identifier, dict(params), vars(stats))

    def has_assembled(self, path: str) -> bool:
        """Tell whether an array of the assemble stage is there and complete."""
        return self.is_done(Stage.ASSEMBLE, fingerprint(path)) and self.workspace.has(path)

    def make_rows(
        self,
        path: str,
        columns: int,
        compute: Compute,
        inputs: Mapping[str, str],
        dtype: str,
        params: StageParams | None = None,
    ) -> str:
        """Make sure that an n x columns array of the assemble stage exists, and return its path.

        Parameters
        ----------
        path, columns, dtype
            The array.
        compute
            Function of :mod:`l3ae_dist.graphs.assemble` that computes the rows of an item tile.
        inputs
            Array path for each name that ``compute`` reads.
        params
            Further values that it takes.
        """
        if not self.has_assembled(path):
            self.rows(path, columns, dtype)
            graph = row_graph(self.grid, "target", compute)
            context = self.context({**inputs, "target": path}, params)
            stats = self.run(graph, context, {"target"}, compute.__name__)
            self.mark(Stage.ASSEMBLE, fingerprint(path), {"path": path}, stats)
        return path
