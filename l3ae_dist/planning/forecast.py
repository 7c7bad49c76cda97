"""The forecast of a configured run: its plan, the time of every stage, and what it runs into."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from l3ae_dist.config.candidates import candidates
from l3ae_dist.config.prices import PriceConfig
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.errors import BudgetError
from l3ae_dist.planning.data_size import evaluated_count
from l3ae_dist.planning.estimate import StageForecast, estimate
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.plan_run import cluster_plan
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.stage_counts import StageCounts, fullest_bytes
from l3ae_dist.planning.tile_size import choose_tile, tile_limits
from l3ae_dist.storage.stages import TILE_STAGES
from l3ae_dist.units import GIB, MIB, human_bytes

_MONTH_HOURS = 730.0
# Tiles that are compared with the chosen one, and how much faster one must be to be told of.
_TILES = (512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
_WORTH = 0.85
# The client's interpreter with pandas, Dask and the window.
_CLIENT_BYTES = 700 * MIB
# No larger budget is tried: none is a machine's.
_LARGEST_BUDGET = 2**46
_REASONS = {
    "memory": "the largest whose operands fit the memory budget",
    "workers": "small enough to keep all workers busy",
    "largest": "the largest that kernels gain from",
    "items": "all items fit one tile",
    "popular": "the largest beside which the interactions of popular items fit",
    "given": "as configured",
}


@dataclass(frozen=True)
class Forecast:
    """What a run will take; ``limits`` and ``advice`` are sentences."""

    plan: Plan
    size: DataSize
    resources: Resources
    stages: tuple[StageForecast, ...]
    tile_reason: str
    storage_bytes: int
    objects: int
    cost: float | None
    limits: tuple[str, ...]
    advice: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """All stages, one after the other."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def network_bytes(self) -> float:
        """What the workers read and write."""
        return sum(stage.bytes_read + stage.bytes_written for stage in self.stages if stage.engine == "Dask")

    @property
    def worker_bytes_s(self) -> float:
        """Bytes a second of one worker in the stage that moves the most in its time."""
        return max(
            (stage.bytes_read + stage.bytes_written) / stage.seconds / min(self.plan.workers, stage.tasks)
            for stage in self.stages
            if stage.engine == "Dask"
        )

    def summary(self) -> dict[str, Any]:
        """The forecast as JSON-like values; times are estimates."""
        size = {name: getattr(self.size, name) for name in ("items", "users", "interactions", "dim")}
        return {
            **self.plan.summary(),
            "estimated": True,
            "data": size,
            "workers": self.plan.workers,
            "tile_reason": self.tile_reason,
            "stages": [asdict(stage) for stage in self.stages],
            "seconds": self.seconds,
            "storage_bytes": self.storage_bytes,
            "objects": self.objects,
            "network_bytes": self.network_bytes,
            "cost": self.cost,
            "limits": list(self.limits),
            "advice": list(self.advice),
            "rates": self.resources.rates.model_dump(mode="json"),
        }


def forecast(config: RunConfig, size: DataSize, resources: Resources) -> Forecast:
    """Plan a run on data of this size and estimate what it takes.

    Raises
    ------
    BudgetError
        When it cannot run: with the numbers, and the smallest change with which it would.
    """
    plan = _plan_or_smallest_change(config, size)
    resources.rates.check(plan.dtype, "cuda" if uses_gpu(config) else "cpu")
    counts = StageCounts.of(candidates(config))
    embeds = config.model.uses == "embeddings" and config.data.embeddings is None
    once = estimate(plan, size, resources, heads=counts.heads, embeds=embeds)
    stages = tuple(stage.times(counts.stage(stage.name)) for stage in once)
    storage = fullest_bytes(plan, size, config.compute.keep, counts.ridges)
    _check_disk(storage, resources.disk_bytes, config)
    found = Forecast(
        plan=plan,
        size=size,
        resources=resources,
        stages=stages,
        tile_reason=_tile_reason(config, plan),
        storage_bytes=storage,
        objects=2 * sum(stage.tasks for stage in plan.stages if stage.bytes_written),
        cost=None,
        limits=(),
        advice=(),
    )
    cost = None if config.prices is None else _cost(found, config.prices)
    limits, advice = _limits(found, config), _advice(found, config)
    return replace(found, cost=cost, limits=limits, advice=advice)


def uses_gpu(config: RunConfig) -> bool:
    """Whether the plan is for workers that compute on a GPU."""
    return config.compute.device == "cuda"


def _plan_or_smallest_change(config: RunConfig, size: DataSize) -> Plan:
    try:
        return cluster_plan(config, size, gpu=uses_gpu(config))
    except BudgetError as error:
        # the plan's own advice looks at one stage, the smallest change at all of them
        refusal = str(error).partition("; raise the budget")[0].rstrip(".")
        raise BudgetError(f"{refusal}. {_smallest_change(config, size)}") from error


def _smallest_change(config: RunConfig, size: DataSize) -> str:
    """The smallest budget, and the largest smaller tile, with which the run would fit."""
    budget = _smallest_budget(config, size)
    found = [] if budget is None else [f"compute.memory_budget = {-(-budget // MIB)}MiB"]
    tile = _largest_tile(config, size)
    found += [] if tile is None else [f"compute.tile_size = {tile}"]
    if not found:
        return "No memory budget of one worker would do; use fewer items or a smaller embedding."
    return "The smallest change that fits: " + ", or ".join(found) + "."


def _fits(config: RunConfig, size: DataSize, **changes: Any) -> bool:
    compute = config.compute.model_copy(update=changes)
    try:
        cluster_plan(config.model_copy(update={"compute": compute}), size, gpu=uses_gpu(config))
    except BudgetError:
        return False
    return True


def _smallest_budget(config: RunConfig, size: DataSize) -> int | None:
    """Bytes, to a MiB; None when no budget is enough."""
    low, high = config.compute.memory_budget, 2 * config.compute.memory_budget
    while not _fits(config, size, memory_budget=high):
        low, high = high, 2 * high
        if high > _LARGEST_BUDGET:
            return None
    while high - low > MIB:
        middle = (low + high) // 2
        low, high = (low, middle) if _fits(config, size, memory_budget=middle) else (middle, high)
    return high


def _largest_tile(config: RunConfig, size: DataSize) -> int | None:
    """The largest tile that fits the budget as it is; None when none does."""
    sides = range(4096, 127, -128)
    return next((side for side in sides if side < size.items and _fits(config, size, tile_size=side)), None)


def _tile_reason(config: RunConfig, plan: Plan) -> str:
    if config.compute.tile_size is not None:
        return _REASONS["given"]
    itemsize = int(np.dtype(plan.dtype).itemsize)
    limits = tile_limits(plan.grid.n, itemsize, plan.memory_budget, plan.workers, gpu=uses_gpu(config))
    wanted = choose_tile(plan.grid.n, itemsize, plan.memory_budget, plan.workers, gpu=uses_gpu(config))
    if plan.grid.tile < wanted:
        return _REASONS["popular"]
    return _REASONS[limits.binding]


def _check_disk(storage: int, free: int | None, config: RunConfig) -> None:
    if free is not None and storage > free:
        kept = f", or leave out compute.keep = {list(config.compute.keep)}" if config.compute.keep else ""
        raise BudgetError(
            f"the workspace takes {storage / GIB:,.1f} GiB at its fullest, and {free / GIB:,.1f} GiB of disk "
            f"are given. The smallest change that fits: a disk or bucket of {storage / GIB:,.1f} GiB{kept}."
        )


def _cost(found: Forecast, prices: PriceConfig) -> float:
    """Storage and workers for the time of the run, actors while they embed, and requests."""
    hours = found.seconds / 3600
    embedding = sum(stage.seconds for stage in found.stages if stage.name == "embed") / 3600
    tile = found.plan.grid.tile**2 * np.dtype(found.plan.dtype).itemsize
    reads, writes = (
        sum(getattr(stage, name) for stage in found.stages) / tile for name in ("bytes_read", "bytes_written")
    )
    return float(
        found.storage_bytes / GIB * prices.storage_gib_month * hours / _MONTH_HOURS
        + (reads * prices.per_1000_reads + 2 * writes * prices.per_1000_writes) / 1000
        + hours * found.plan.workers * prices.worker_hour
        + embedding * found.resources.actors * prices.actor_hour
    )


def _limits(found: Forecast, config: RunConfig) -> tuple[str, ...]:
    """What the run comes near to, or does differently because of its size."""
    plan, size = found.plan, found.size
    fullest = max(plan.stages, key=lambda stage: stage.peak_bytes)
    lines = [
        f"memory: {human_bytes(fullest.peak_bytes)} of {human_bytes(plan.memory_budget)} per worker, "
        f"in {fullest.name}",
        f"storage: {human_bytes(found.storage_bytes)} in {found.objects:,} objects at the fullest",
    ]
    scored = evaluated_count(size.interactions, size.items, size.users, config.evaluate.max_users)
    if scored < size.users:
        lines.append(f"evaluation: a sample of {scored:,} of {size.users:,} users")
    if size.dim:
        lines.append(
            f"text: {human_bytes(24 * size.dim**2)} for a {size.dim:,} x {size.dim:,} system in a worker"
        )
    if config.compute.dtype == "auto":
        lines.append(
            "precision: float64 until the data tell that float32 is enough (--dtype float32 plans that)"
        )
    client = _CLIENT_BYTES + 24 * size.users + 80 * size.items
    lines.append(f"client: about {human_bytes(client)}, for the vectors of users and items above all")
    lines += _doubts(found, config)
    return tuple(lines)


def _doubts(found: Forecast, config: RunConfig) -> list[str]:
    """Where rates are taken for something that they were not measured on."""
    rates, plan = found.resources.rates, found.plan
    lines = []
    low, high = rates.measured_tiles(plan.dtype)
    if not rates.assumed and not low <= plan.grid.tile <= high:
        lines.append(f"rates: measured for tiles of {low:,} to {high:,}, taken for {plan.grid.tile:,}")
    if not rates.assumed and rates.workers != plan.workers:
        lines.append(
            f"storage: its bandwidth was measured with {rates.workers} worker(s), taken for {plan.workers}"
        )
    if any(stage.name == "embed" for stage in found.stages):
        if rates.texts_per_second is None:
            lines.append("embedding: not measured; an assumed rate is taken (calibrate without --no-texts)")
        elif rates.encoder.lower() != config.encoder.model.lower():
            lines.append(f"embedding: the rate of {rates.encoder} is taken for {config.encoder.model}")
    ridges = max(stage.repeats for stage in found.stages if stage.name in TILE_STAGES)
    if ridges > 1:
        lines.append(f"search: {ridges} ridges, one factorisation and inverse after the other")
    return lines


def _advice(found: Forecast, config: RunConfig) -> tuple[str, ...]:
    """What would make the run faster by these estimates."""
    lines = []
    solve = [stage for stage in found.stages if stage.name in TILE_STAGES]
    waiting = [stage.name for stage in solve if stage.bound == "storage"]
    if waiting:
        lines.append(
            f"{', '.join(waiting)}: workers wait for storage; a larger memory budget or faster storage helps"
        )
    chained = [stage.name for stage in solve if stage.bound == "chain"]
    if chained:
        lines.append(f"{', '.join(chained)}: tiles wait for each other; more workers do not help")
    busy = [stage.name for stage in solve if stage.bound == "client"]
    if busy:
        lines.append(f"{', '.join(busy)}: the client hands out tasks too slowly; more workers do not help")
    best = _fastest_tile(found, config)
    if best is not None:
        tile, seconds = best
        mine = sum(stage.seconds / stage.repeats for stage in solve)
        lines.append(
            f"compute.tile_size = {tile}: factor and inverse in {seconds / mine:.0%} of the estimated time"
        )
    return tuple(lines)


def _fastest_tile(found: Forecast, config: RunConfig) -> tuple[int, float] | None:
    """The tile with the shortest estimate of factor and inverse, where it is worth a change."""
    seconds = {}
    for tile in _TILES:
        if tile >= found.size.items or not _fits(config, found.size, tile_size=tile):
            continue
        compute = config.compute.model_copy(update={"tile_size": tile})
        plan = cluster_plan(config.model_copy(update={"compute": compute}), found.size, gpu=uses_gpu(config))
        stages = estimate(plan, found.size, found.resources)
        seconds[tile] = sum(stage.seconds for stage in stages if stage.name in TILE_STAGES)
    mine = sum(stage.seconds / stage.repeats for stage in found.stages if stage.name in TILE_STAGES)
    best = min(seconds, key=lambda tile: seconds[tile], default=None)
    return None if best is None or seconds[best] > _WORTH * mine else (best, seconds[best])
