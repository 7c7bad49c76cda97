"""The plan of a run as an event: its memory, and the estimated seconds of its stages for its progress."""

from collections.abc import Sequence

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.errors import ConfigError
from l3ae_dist.planning.estimate import estimate
from l3ae_dist.planning.look_ahead import resources_of
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.rates import assumed_rates
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.stage_counts import StageCounts
from l3ae_dist.runtime.events import PlanMade
from l3ae_dist.storage.stages import Stage


def plan_made(
    config: RunConfig, plan: Plan, size: DataSize, specs: Sequence[ModelSpec], *, estimated: bool
) -> PlanMade:
    """Tell of a plan that the run goes on with.

    Parameters
    ----------
    config, plan, size
        The run, its plan, and its data.
    specs
        All models that are tried.
    estimated
        Whether the seconds of its stages are estimated; not for a run that may spare most of them.
    """
    counts, seconds = StageCounts.of(specs), {}
    if estimated:
        for stage in estimate(plan, size, _resources(config, plan), heads=counts.heads):
            if stage.name != Stage.INGEST:
                seconds[str(stage.name)] = round(stage.seconds * counts.stage(stage.name), 3)
    return PlanMade(
        memory_budget=plan.memory_budget,
        projected_peak_bytes=plan.peak_bytes,
        stages={stage.name: stage.peak_bytes for stage in plan.stages},
        work=seconds,
        repeats={name: counts.stage(name) for name in seconds},
    )


def _resources(config: RunConfig, plan: Plan) -> Resources:
    """Return the measured rates of the workers, or assumed ones where they do not fit the plan."""
    found = resources_of(config)
    try:
        found.rates.check(plan.arithmetic, found.rates.device)
    except ConfigError:
        return resources_of(config, rates=assumed_rates(found.rates.threads, found.rates.device))
    return found
