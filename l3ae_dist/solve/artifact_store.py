"""Artifacts of a solve: arrays of a workspace, made by task graphs and then marked complete."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l3ae_dist.errors import DamagedTileError
from l3ae_dist.graphs.assemble import row_graph
from l3ae_dist.graphs.chunk_tasks import Compute
from l3ae_dist.graphs.context import StageContext, StageParams
from l3ae_dist.graphs.tasks import Graph
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.planning.plan import Plan
from l3ae_dist.runtime.events import Message, OnEvent, ignore
from l3ae_dist.runtime.executors import Executor
from l3ae_dist.runtime.run_graph import StageStats, run_graph
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.repair import reopen
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


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
    on_event
        Called with every event.
    """

    plan: Plan
    executor: Executor
    keep: tuple[str, ...] = ()
    epoch: int = 0
    durable: bool = False
    device: str = "cpu"
    on_event: OnEvent = ignore


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
        self.grid = settings.plan.grid
        self.dtype = settings.plan.dtype
        self.stats: dict[str, StageStats] = {}
        """Statistics of the graphs that ran, by label."""

    @property
    def plan(self) -> Plan:
        """Plan of the run."""
        return self.settings.plan

    def say(self, message: str) -> None:
        """Send a message to the log of the run."""
        self.settings.on_event(Message(message=message))

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

    def write_rows(self, path: str, values: Array, *, epoch: int = 0) -> str:
        """Write an (n, columns) float64 array by item tile and return its path.

        Parameters
        ----------
        path
            Its place in the workspace.
        values
            (n, columns) float64.
        epoch
            The lock's epoch that is recorded in the done-marks.
        """
        array = self.rows(path, values.shape[1])
        for i in range(self.grid.count):
            array.write(i, 0, values[self.grid.rows(i)], epoch=epoch)
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
            Dtype of the arithmetic; that of the plan when None.
        """
        return StageContext(
            url=self.workspace.url,
            paths=dict(paths),
            grid=self.grid,
            dtype=dtype or self.dtype,
            cache_bytes=self.plan.cache_bytes,
            epoch=self.settings.epoch,
            device=self.settings.device,
            durable=self.settings.durable,
            params=params,
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

    def dask_scheduler(self) -> object:
        """Return the scheduler that computes Dask collections where the tasks run."""
        return self.settings.executor.dask_scheduler()

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
        self, path: str, columns: int, compute: Compute, inputs: Mapping[str, str], dtype: str
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
        """
        if not self.has_assembled(path):
            self.rows(path, columns, dtype)
            graph, context = row_graph(self.grid, "target", compute), self.context({**inputs, "target": path})
            stats = self.run(graph, context, {"target"}, compute.__name__)
            self.mark(Stage.ASSEMBLE, fingerprint(path), {"path": path}, stats)
        return path
