"""The blocks and cuts of each stage of a factorisation with its inverse, why, and what others would cost."""

from collections.abc import Iterator
from dataclasses import dataclass

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.graphs.blocks import BlockShape
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.cut_sums import in_flight
from l3ae_dist.graphs.inverse import TriangularInverseGraph
from l3ae_dist.planning.estimate import estimate
from l3ae_dist.planning.intermediates import as_run_chooses
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.smallest_change import plan_with
from l3ae_dist.planning.tile_size import STEP
from l3ae_dist.planning.trial_solve import solve_graphs
from l3ae_dist.planning.worker_memory import MAX_BLOCK, largest_side
from l3ae_dist.storage.stages import TILE_STAGES, Stage


@dataclass(frozen=True)
class StageBlocks:
    """The blocks of one stage.

    Parameters
    ----------
    stage
        Its name.
    tile
        Rows of a tile.
    rows, columns
        Tiles of a block at most.
    parts
        Tasks, one after the other, that the longest sum is cut into.
    partial_tiles
        Tiles of partial sums, which are written and read once more.
    reason
        What bounds the blocks, in words.
    """

    stage: str
    tile: int
    rows: int
    columns: int
    parts: int
    partial_tiles: int
    reason: str


@dataclass(frozen=True)
class Alternative:
    """Factor and inverse as they are planned, or with other settings.

    Parameters
    ----------
    change
        The settings, such as ``compute.block = 1``.
    tile, rows, columns
        Of a block of the factor.
    seconds
        Estimate of the three stages; None where the plan does not fit the memory budget.
    bytes_device, bytes_cached, bytes_peers, bytes_read
        Tiles from each tier.
    peak_bytes
        Held at most by a worker in these stages.
    """

    change: str
    tile: int = 0
    rows: int = 0
    columns: int = 0
    seconds: float | None = None
    bytes_device: float = 0.0
    bytes_cached: float = 0.0
    bytes_peers: float = 0.0
    bytes_read: float = 0.0
    peak_bytes: int = 0


def stage_blocks(plan: Plan) -> list[StageBlocks]:
    """Return the blocks of the three stages, and why they are no larger."""
    found = []
    for graph in solve_graphs(plan.grid, plan.workers, block=plan.block):
        last = plan.grid.count - 1
        parts = 1
        if isinstance(graph, CholeskyGraph):
            parts = len(graph.cuts(last))
        elif isinstance(graph, TriangularInverseGraph):
            parts = len(graph.cuts(last, 0)) + 1
        found.append(
            StageBlocks(
                str(graph.stage),
                plan.grid.tile,
                graph.shape.rows,
                graph.shape.columns,
                parts,
                len(graph) - plan.grid.lower_count,
                _reason(graph.stage, graph.shape, plan),
            )
        )
    return found


def _reason(stage: Stage, shape: BlockShape, plan: Plan) -> str:
    workers, most = plan.workers, plan.block
    smaller = shape.columns < most.columns
    if smaller and stage == Stage.INVERT:
        return "8 blocks for each worker"
    if smaller and in_flight(workers):
        return "17 blocks a worker keep chains short"
    if smaller:
        return "2 blocks of a group for each worker"
    if plan.arithmetic != plan.dtype and most.columns == 1:
        return "tiles have copies in another dtype"
    if most.columns >= min(MAX_BLOCK, plan.grid.count):
        return "the largest: a kill costs little"
    if most.columns >= largest_side(plan.grid.count, workers):
        return "larger ones leave workers idle"
    return "as configured, or what memory allows"


def alternatives(config: RunConfig, size: DataSize, resources: Resources, plan: Plan) -> list[Alternative]:
    """Return the plan, and what other blocks and tiles would cost by the same estimates.

    Parameters
    ----------
    config, size, resources
        The run, its data and its workers.
    plan
        The plan that was made for them.
    """
    found = [_of("as planned", plan, size, resources)]
    for change in _changes(config, plan):
        text = ", ".join(f"compute.{name} = {value}" for name, value in change.items())
        other = plan_with(config, size, change)
        if other is not None:
            compute = config.compute.model_copy(update=change)
            other = as_run_chooses(other, compute, resources)
        found.append(Alternative(text) if other is None else _of(text, other, size, resources))
    return found


def _changes(config: RunConfig, plan: Plan) -> Iterator[dict[str, object]]:
    side, tile = plan.block.columns, plan.grid.tile
    for block in sorted({1, side // 2, min(side + 1, MAX_BLOCK, plan.grid.count)} - {0, side}):
        yield {"block": block}
    for other in (tile // 2 // STEP * STEP, 2 * tile):
        if 0 < other < plan.grid.n:
            yield {"tile_size": other}
    if plan.peer_reads and plan.workers > 1:
        yield {"peer_reads": "off"}


def _of(change: str, plan: Plan, size: DataSize, resources: Resources) -> Alternative:
    stages = [stage for stage in estimate(plan, size, resources) if stage.name in TILE_STAGES]
    shape = stage_blocks(plan)[0]
    return Alternative(
        change,
        plan.grid.tile,
        shape.rows,
        shape.columns,
        sum(stage.seconds for stage in stages),
        sum(stage.bytes_device for stage in stages),
        sum(stage.bytes_cached for stage in stages),
        sum(stage.bytes_peers for stage in stages),
        sum(stage.bytes_read for stage in stages),
        max(stage.peak_bytes for stage in stages),
    )
