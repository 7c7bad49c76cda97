"""The plan of a run as an event: its memory, and the estimated seconds of its stages for its progress."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.linear_systems import System
from l3ae_dist.errors import L3AEError
from l3ae_dist.planning.estimate import estimate
from l3ae_dist.planning.look_ahead import resources_of
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.plan_of_config import planned_device
from l3ae_dist.planning.rates import assumed_rates
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.stage_counts import StageCounts
from l3ae_dist.planning.stage_plans import phaseless
from l3ae_dist.planning.storage_need import certified
from l3ae_dist.runtime.backends.session import default_threads
from l3ae_dist.runtime.events import PlanMade
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.storage.workspace import Workspace

# Stages that begin more often than models are made, by parts of them, or before there is a plan.
_UNCOUNTED = (Stage.INGEST, Stage.EMBED, Stage.ASSEMBLE)


def plan_made(config: RunConfig, plan: Plan, size: DataSize, repeats: Mapping[str, int]) -> PlanMade:
    """Tell of a plan that the run goes on with.

    Parameters
    ----------
    config, plan, size
        The run, its plan, and its data.
    repeats
        How often each stage of the plan is still to be run, by its name there; what is not in it has no
        estimate.
    """
    work: dict[str, float] = {}
    counts: Counter[str] = Counter()
    if repeats:
        for stage in estimate(plan, size, _resources(config, plan)):
            # events call the stages of the text as those of the interactions
            name, number = str(phaseless(stage.name)), repeats.get(stage.name, 0)
            if name not in _UNCOUNTED and number:
                work[name] = work.get(name, 0.0) + stage.seconds * number
                counts[name] += number
    return PlanMade(
        memory_budget=plan.memory_budget,
        projected_peak_bytes=plan.peak_bytes,
        stages={stage.name: stage.peak_bytes for stage in plan.stages},
        work={name: round(seconds, 3) for name, seconds in work.items()},
        repeats=dict(counts),
    )


def stage_repeats(
    workspace: Workspace,
    dataset: Dataset,
    plan: Plan,
    systems: Iterable[tuple[float, System]],
    models: Sequence[ModelSpec],
) -> dict[str, int]:
    """Count how often each stage of a plan is still to be run, without inverses that are certified.

    Parameters
    ----------
    workspace, dataset, plan
        Where the inverses lie, the interactions, and the tiles.
    systems
        Ridge and matrix of every inverse.
    models
        All that are tried.
    """
    counts, solved = StageCounts.of(models), certified(workspace, dataset, plan, systems)
    found = {stage: counts.stage(stage) for stage in (*(one.name for one in plan.stages), Stage.CERTIFY)}
    inverse = (*TILE_STAGES, Stage.CERTIFY)
    return {name: max(0, number - solved * (name in inverse)) for name, number in found.items()}


def _resources(config: RunConfig, plan: Plan) -> Resources:
    """Return the workers' measured rates, or assumed ones where they are unreadable or of another plan."""
    with contextlib.suppress(L3AEError, OSError):
        found = resources_of(config)
        found.rates.check(plan.arithmetic, found.rates.device)
        return found
    threads = config.compute.threads or default_threads(config.compute.workers)
    return resources_of(config, rates=assumed_rates(threads, planned_device(config)))
