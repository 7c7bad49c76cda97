"""A trial factorisation and inversion on the real cluster: what a run leaves of the kernels' rates."""

from collections.abc import Iterator
from uuid import uuid4

import numpy as np

from l3ae_dist.graphs.blocks import SINGLE, BlockShape
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.inverse import InverseGraph, TriangularInverseGraph
from l3ae_dist.graphs.tasks import Graph, TileRef, TileTask
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.plan import Plan, make_plan
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.rates import Rates
from l3ae_dist.planning.task_model import TaskModel
from l3ae_dist.runtime.backends.session import Session
from l3ae_dist.runtime.events import Event, TileDone
from l3ae_dist.runtime.run_graph import StageStats, run_graph
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

# Where the arrays of a calibration are, while it lasts.
SCRATCH = "calibration"
RANK = 64
# Tiles a side of a trial by rows of a tile, so that each takes a second or a few; 0 for all others.
_SIDES = {512: 10, 1024: 7, 0: 4}


def solve_graphs(
    grid: TileGrid, workers: int, ridge: float = 0.0, block: BlockShape = SINGLE
) -> tuple[CholeskyGraph, TriangularInverseGraph, InverseGraph]:
    """Return the stages of an inverse.

    Parameters
    ----------
    grid
        The tile grid.
    workers
        Worker processes.
    ridge
        Added to the diagonal of the Gram matrix; plans and simulations need none.
    block
        Tiles that a task makes side by side at most.
    """
    return (
        CholeskyGraph(grid, workers, ridge, block),
        TriangularInverseGraph(grid, workers, block),
        InverseGraph(grid, workers, block),
    )


def trial_overlap(
    session: Session,
    workspace: Workspace,
    rates: Rates,
    tile: int,
    dtype: str,
    memory_budget: int,
) -> float:
    """Measure the share of the kernels' rates that is left in a run, which reads and writes beside them.

    As in a run whose budget is not tight, what is read again is kept where the memory budget allows it.

    Parameters
    ----------
    session
        Runs the tasks.
    workspace
        Holds the trial's arrays meanwhile.
    rates
        Of lone kernels.
    tile, dtype
        Of the trial's tiles.
    memory_budget
        Bytes of a worker.

    Returns
    -------
    Seconds that the kernels should take by their rates, over those that they took; at most 1.
    """
    grid = TileGrid(_SIDES.get(tile, _SIDES[0]) * tile, tile)
    machine = Machine(memory_budget, rates.workers, dtype, tile=tile)
    plan = make_plan(DataSize(items=grid.n, users=1, interactions=1), ModelNeeds(), machine)
    # workers keep what they know of an array, and its tiles, by its name
    path = f"{SCRATCH}/trial-{uuid4().hex}"
    stages = list(trial(session, workspace, path, plan))
    workspace.delete(path)
    times = TaskModel(
        rates.model_copy(update={"overlap": {tile: 1.0}}), grid, dtype, np.dtype(dtype).itemsize
    )
    expected = measured = 0.0
    for graph, _, events in stages:
        for event in events:
            task = graph.task_for(TileRef(event.array, event.i, event.j))
            assert isinstance(task, TileTask)
            expected += times.kernels(task)
            measured += event.computed - event.stalled
    return min(1.0, expected / measured)  # more is noise


def system_rows(n: int, dtype: str) -> Array:
    """Return Y, (n, r), of the synthetic system ``Y Y' / r + I``: well conditioned, cheap to make."""
    return np.random.default_rng(0).standard_normal((n, RANK)).astype(dtype)


def write_system(
    workspace: Workspace, path: str, plan: Plan
) -> tuple[StageContext, list[tuple[Graph, set[str]]]]:
    """Write the Gram tiles ``Y Y' / r`` and make the arrays of the stages.

    Parameters
    ----------
    workspace, path
        Where: the arrays lie below the path.
    plan
        Tiles, blocks and memory of the stages.

    Returns
    -------
    The context of the stages, and their graphs (with ridge 1) with the arrays that each writes.
    """
    grid, workers, dtype = plan.grid, plan.workers, plan.dtype
    factor, linv, invert = solve_graphs(grid, workers, 1.0, plan.block)
    stages: list[tuple[Graph, set[str]]] = [
        (factor, {"L", *factor.partials}),
        (linv, {"Linv", *linv.partials}),
        (invert, {"P"}),
    ]
    paths = {name: f"{path}/{name}" for name in {"gram"}.union(*(targets for _, targets in stages))}
    shape, chunks = (grid.n, grid.n), (grid.tile, grid.tile)
    for where in paths.values():
        ChunkArray.create(workspace, where, shape=shape, chunks=chunks, dtype=dtype)
    context = StageContext(
        url=workspace.url,
        paths=paths,
        grid=grid,
        dtype=dtype,
        cache_bytes=plan.cache_bytes,
        accumulators=plan.accumulators,
        tiles_held=plan.tiles_held,
        arithmetic=plan.arithmetic,
    )
    y, gram = system_rows(grid.n, dtype), ChunkArray.open(workspace, paths["gram"])
    for i, j in grid.lower():
        gram.write(i, j, y[grid.rows(i)] @ y[grid.rows(j)].T / np.asarray(RANK, dtype))
    return context, stages


def trial(
    session: Session, workspace: Workspace, path: str, plan: Plan
) -> Iterator[tuple[Graph, StageStats, list[TileDone]]]:
    """Factor and invert the synthetic system, stage by stage, with the events of its tiles.

    Parameters
    ----------
    session
        Runs the tasks.
    workspace, path, plan
        As for :func:`write_system`.
    """
    context, stages = write_system(workspace, path, plan)
    for graph, written in stages:
        events: list[Event] = []
        stats = run_graph(graph, context, session.executor(), targets=written, on_event=events.append)
        yield graph, stats, [event for event in events if isinstance(event, TileDone) and not event.skipped]
