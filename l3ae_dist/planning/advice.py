"""Remarks on a forecast: what the run comes near to, what its rates leave open, what would make it faster."""

from l3ae_dist.config.members import LINEAR, MEMBERS
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.config.swept_models import sweep_models
from l3ae_dist.embed.encoder_identity import pinned
from l3ae_dist.errors import ConfigError
from l3ae_dist.planning.data_size import evaluated_count
from l3ae_dist.planning.estimate import StageForecast, estimate
from l3ae_dist.planning.intermediates import as_run_chooses
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.resources import Resources, assumed_lines
from l3ae_dist.planning.smallest_change import plan_with_tile
from l3ae_dist.planning.stage_counts import StageCounts, sweep_text
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.units import MIB, human_bytes

# Tiles that are compared with the chosen one, and how much faster one must be to be told of.
_TILES = (512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
_WORTH = 0.85
# The client's interpreter with pandas, Dask and the window.
_CLIENT_BYTES = 700 * MIB
# What bounds a stage of the solve, and what follows from it.
_BOUNDS = {
    "storage": "workers wait for storage; a larger memory budget or faster storage helps",
    "peers": "workers wait for tiles of each other; a larger memory budget or a faster network helps",
    "local": "workers wait for copies of tiles on their disks; a larger memory budget helps",
    "copies": "the GPU waits for tiles from the memory of its worker; a larger compute.device_memory helps",
    "chain": "tiles wait for each other; more workers do not help",
    "client": "the client hands out tasks too slowly; more workers do not help",
}


def size_remarks(config: RunConfig, plan: Plan, size: DataSize) -> list[str]:
    """Tell what a run does differently because of its size.

    Parameters
    ----------
    config
        The run.
    plan, size
        Its plan, and its data.
    """
    lines = list(size.remarks)
    scored = evaluated_count(size.interactions, size.items, size.users, config.evaluate.max_users)
    if scored < size.users:
        lines.append(f"evaluation: a sample of {scored:,} of {size.users:,} users")
    if size.dim:
        lines.append(
            f"text: {human_bytes(24 * size.dim**2)} for a {size.dim:,} x {size.dim:,} system in a worker"
        )
    if config.sweep is not None and MEMBERS[config.model.name].title in LINEAR:
        models = sweep_models(config)
        direct = any(stage.name == Stage.PRODUCT for stage in plan.stages)
        text = sweep_text(len(models), StageCounts.of(models), "direct" if direct else "woodbury")
        lines.append(f"l3ae-dist sweep: {text}")
    if config.compute.dtype == "auto" and size.dtype is not None:
        lines.append(f"precision: {size.dtype}, by the data in the workspace")
    elif config.compute.dtype == "auto":
        lines.append(
            "precision: float64 until the data tell that float32 is enough (--dtype float32 plans that)"
        )
    client = _CLIENT_BYTES + 24 * size.users + 80 * size.catalog
    lines.append(f"client: about {human_bytes(client)}, for the vectors of users and items above all")
    return lines


def encoder_remarks(config: RunConfig) -> list[str]:
    """Tell that a run from this machine would be refused for its encoder, such as one without a commit."""
    try:
        pinned(config.encoder)
    except ConfigError as error:
        return [f"encoder: a run is refused here until this is mended: {error}"]
    return []


def rate_remarks(
    config: RunConfig, plan: Plan, resources: Resources, stages: tuple[StageForecast, ...]
) -> list[str]:
    """Tell where rates are taken for something that they were not measured on.

    Parameters
    ----------
    config
        The run, for its encoder.
    plan
        Its tiles and workers.
    resources
        The rates.
    stages
        The estimate of every stage.
    """
    rates, lines = resources.rates, []
    low, high = rates.measured_tiles(plan.arithmetic)
    if not rates.assumed and not low <= plan.grid.tile <= high:
        lines.append(f"rates: measured for tiles of {low:,} to {high:,}, taken for {plan.grid.tile:,}")
    if not rates.assumed and rates.workers != plan.workers:
        lines.append(
            f"storage: its bandwidth was measured with {rates.workers} worker(s), taken for {plan.workers}"
        )
    lines += assumed_lines(resources)
    if any(stage.name == Stage.EMBED and stage.tasks for stage in stages):
        if rates.texts_per_second is None:
            lines.append("embedding: not measured; an assumed rate is taken (calibrate without --no-texts)")
        elif rates.encoder.lower() != config.encoder.model.lower():
            lines.append(f"embedding: the rate of {rates.encoder} is taken for {config.encoder.model}")
    ridges = max(stage.repeats for stage in stages if stage.name in TILE_STAGES)
    if ridges > 1:
        lines.append(f"search: {ridges} ridges, one factorisation and inverse after the other")
    return lines


def faster(
    config: RunConfig, size: DataSize, resources: Resources, stages: tuple[StageForecast, ...]
) -> tuple[str, ...]:
    """Tell what would make the run faster by these estimates.

    Parameters
    ----------
    config, size
        The run and its data.
    resources
        Rates of the workers, and what their network carries.
    stages
        The estimate of every stage.
    """
    solve = [stage for stage in stages if stage.name in TILE_STAGES]
    lines = []
    for bound, consequence in _BOUNDS.items():
        names = ", ".join(stage.name for stage in solve if stage.bound == bound)
        lines += [f"{names}: {consequence}"] if names else []
    once = sum(stage.seconds / stage.repeats for stage in solve)
    best = _fastest_tile(config, size, resources)
    if best is not None and best[1] <= _WORTH * once:
        tile, seconds = best
        lines.append(
            f"compute.tile_size = {tile}: factor and inverse in {seconds / once:.0%} of the estimated time"
        )
    return tuple(lines)


def _fastest_tile(config: RunConfig, size: DataSize, resources: Resources) -> tuple[int, float] | None:
    """Return the tile that fits with the shortest estimate of factor and inverse, and its seconds."""
    seconds = {}
    for tile in _TILES:
        plan = plan_with_tile(config, size, tile) if tile < size.items else None
        if plan is not None:
            plan = as_run_chooses(plan, config.compute, resources)
            stages = estimate(plan, size, resources)
            seconds[tile] = sum(stage.seconds for stage in stages if stage.name in TILE_STAGES)
    best = min(seconds, key=lambda tile: seconds[tile], default=None)
    return None if best is None else (best, seconds[best])
