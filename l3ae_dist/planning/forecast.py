"""The forecast of a configured run: its plan, the time of every stage, its cost, and what it runs into."""

from dataclasses import asdict, dataclass

import numpy as np

from l3ae_dist.config.evaluated_models import evaluated_models
from l3ae_dist.config.prices import PriceConfig
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.errors import BudgetError
from l3ae_dist.planning.advice import encoder_remarks, faster, rate_remarks, size_remarks
from l3ae_dist.planning.estimate import StageForecast, estimate
from l3ae_dist.planning.intermediates import as_run_chooses, otherwise_by
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.plan_of_config import planned_device, uses_gpu
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.smallest_change import plan_or_smallest_change
from l3ae_dist.planning.stage_counts import StageCounts, fullest_bytes
from l3ae_dist.planning.tile_size import choose_tile, tile_limits
from l3ae_dist.planning.transform_stage import planned_transforms, transform_stage
from l3ae_dist.storage.stages import Stage
from l3ae_dist.units import GIB, human_bytes

_MONTH_HOURS = 730.0
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
    """A run before it is started: estimates of what it takes.

    Parameters
    ----------
    plan
        Tiles, memory and stages.
    size, resources
        Of the data, and what the estimates take for given.
    stages
        The estimate of every stage, of all its runs.
    tile_reason
        Why the tiles have their size, in words.
    storage_bytes, objects
        Of the workspace at its fullest, in chunks and done-marks.
    cost
        In the currency of the prices; None without prices.
    limits, advice
        Sentences: what the run comes near to, and what would make it faster.
    """

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
        """Seconds of all stages, one after the other."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def network_bytes(self) -> float:
        """Bytes that the workers read and write, and read from each other."""
        return sum(_moved(stage) for stage in self.stages if stage.engine == "Dask")

    @property
    def worker_bytes_s(self) -> float:
        """Bytes a second of one worker in the stage that moves the most in its time."""
        return max(
            _moved(stage) / stage.seconds / min(self.plan.workers, stage.tasks)
            for stage in self.stages
            if stage.engine == "Dask" and stage.tasks
        )

    def summary(self) -> dict[str, object]:
        """Return the forecast as JSON-like values; times are estimates."""
        size = {name: getattr(self.size, name) for name in ("items", "users", "interactions", "dim")}
        tail = {"tail": self.size.tail} if self.size.tail else {}
        return {
            **self.plan.summary(),
            "estimated": True,
            "data": size | tail,
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


def _moved(stage: StageForecast) -> float:
    return stage.bytes_read + stage.bytes_peers + stage.bytes_written


def forecast(config: RunConfig, size: DataSize, resources: Resources) -> Forecast:
    """Plan a run on data of this size and estimate what it takes.

    Parameters
    ----------
    config
        The run; its prices, where there are any, give the cost.
    size
        Of the data, which need not be there.
    resources
        Rates of the workers, embedding actors, network and disk.

    Raises
    ------
    BudgetError
        When it cannot run: with the numbers, and the smallest change with which it would.
    ConfigError
        When the rates are of another precision or device.
    """
    unchosen = plan_or_smallest_change(config, size)
    plan = as_run_chooses(unchosen, config.compute, resources)
    resources.rates.check(plan.arithmetic, planned_device(config))
    counts = StageCounts.of(evaluated_models(config))
    embeds = config.model.uses == "embeddings" and config.data.embeddings is None
    once = estimate(
        plan,
        size,
        resources,
        heads=counts.heads,
        embeds=embeds,
        workers_ingest=config.compute.ingests_on_workers(size.interactions),
    )
    stages = tuple(
        stage.ready() if stage.name in size.ready else stage.times(counts.stage(stage.name)) for stage in once
    )
    transforms = planned_transforms(config, size)
    if transforms:
        made = transform_stage(transforms, plan, resources.rates)
        stages = (*stages[: 1 + embeds], made, *stages[1 + embeds :])
    storage = fullest_bytes(plan, size, config.compute.keep, counts)
    # that of the configuration is counted with the rows of the model
    storage += sum(one.bytes for one in transforms if one.options != config.transform)
    _check_disk(storage, resources.disk_bytes, config)
    objects = 2 * sum(stage.tasks for stage in plan.stages if stage.bytes_written)
    remarks = size_remarks(config, plan, size) + rate_remarks(config, plan, resources, stages)
    remarks += otherwise_by(unchosen, plan, config.compute, resources)
    if embeds and Stage.EMBED not in size.ready:
        remarks += encoder_remarks(config)
    return Forecast(
        plan=plan,
        size=size,
        resources=resources,
        stages=stages,
        tile_reason=_tile_reason(config, plan),
        storage_bytes=storage,
        objects=objects,
        cost=None if config.prices is None else _cost(plan, stages, storage, resources, config.prices),
        limits=(*_fullest(plan, storage, objects), *remarks),
        advice=faster(config, size, resources, stages),
    )


def _tile_reason(config: RunConfig, plan: Plan) -> str:
    """Tell in words why the tiles have their size."""
    if config.compute.tile_size is not None:
        return _REASONS["given"]
    n, itemsize, budget = plan.grid.n, int(np.dtype(plan.dtype).itemsize), plan.memory_budget
    gpu = uses_gpu(config)
    widened = plan.arithmetic != plan.dtype and not gpu
    if plan.grid.tile < choose_tile(n, itemsize, budget, plan.workers, gpu=gpu, widened=widened):
        return _REASONS["popular"]
    return _REASONS[tile_limits(n, itemsize, budget, plan.workers, gpu=gpu, widened=widened).binding]


def _fullest(plan: Plan, storage: int, objects: int) -> list[str]:
    """Tell the largest memory of a worker, and the workspace at its fullest."""
    fullest = max(plan.stages, key=lambda stage: stage.peak_bytes)
    return [
        f"memory: {human_bytes(fullest.peak_bytes)} of {human_bytes(plan.memory_budget)} per worker, "
        f"in {fullest.name}",
        f"storage: {human_bytes(storage)} in {objects:,} objects at the fullest",
    ]


def _check_disk(storage: int, free: int | None, config: RunConfig) -> None:
    """Refuse a run whose workspace is larger than the disk that is given for it."""
    if free is not None and storage > free:
        kept = f", or leave out compute.keep = {list(config.compute.keep)}" if config.compute.keep else ""
        raise BudgetError(
            f"the workspace takes {storage / GIB:,.1f} GiB at its fullest, and {free / GIB:,.1f} GiB of disk "
            f"are given. The smallest change that fits: a disk or bucket of {storage / GIB:,.1f} GiB{kept}."
        )


def _cost(
    plan: Plan, stages: tuple[StageForecast, ...], storage: int, resources: Resources, prices: PriceConfig
) -> float:
    """Add up storage and workers for the time of the run, actors while they embed, and requests."""
    hours = sum(stage.seconds for stage in stages) / 3600
    embedding = sum(stage.seconds for stage in stages if stage.name == Stage.EMBED) / 3600
    tile = plan.grid.tile**2 * np.dtype(plan.dtype).itemsize
    reads = sum(stage.bytes_read for stage in stages) / tile
    writes = sum(stage.bytes_written for stage in stages) / tile
    return float(
        storage / GIB * prices.storage_gib_month * hours / _MONTH_HOURS
        + (reads * prices.per_1000_reads + 2 * writes * prices.per_1000_writes) / 1000
        + hours * plan.workers * prices.worker_hour
        + embedding * resources.actors * prices.actor_hour
    )
