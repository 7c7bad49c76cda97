"""Progress of a whole run: the share of the planned work that is done, and how long the rest takes."""

from collections.abc import Sequence
from dataclasses import dataclass

from l3ae_dist.runtime.events import PlanMade
from l3ae_dist.runtime.watch.stage_progress import StageProgress, clock

# Share of the work that must have been done in this run before its own pace counts and not the estimate.
_ENOUGH = 0.02


@dataclass(frozen=True, slots=True)
class RunProgress:
    """The share of a run's work that is done, from 0 to 1, and the estimated seconds of the rest."""

    done: float
    seconds_left: float

    def __str__(self) -> str:
        """Write it for people, such as ``42 %, about 3:10 left``."""
        return f"{min(99, int(100 * self.done))} %, about {clock(self.seconds_left)} left"


def run_progress(plan: PlanMade | None, stages: Sequence[StageProgress], now: float) -> RunProgress | None:
    """Estimate the progress of a run by the work of its stages; None before it is planned.

    A stage counts with the seconds that the plan estimates for it. They are scaled by what the stages of this
    run have really taken, so that an estimate that is wrong by one factor everywhere is mended.

    Parameters
    ----------
    plan
        Estimated seconds of each stage, and how often it runs.
    stages
        Those that began, in order.
    now
        Time on the clock of the stages.
    """
    if plan is None or not sum(plan.work.values()):
        return None
    done = made = spent = 0.0
    current = len(stages) - 1
    last = {stage.name: place for place, stage in enumerate(stages)}
    began = [place for place, name in enumerate(plan.work) if name in last]
    for place, (name, seconds) in enumerate(plan.work.items()):
        repeats = plan.repeats.get(name, 1)
        if name not in last and repeats == 1 and began and place < began[-1]:
            done += seconds  # what later stages go on from was there
            continue
        runs = [(at, stage) for at, stage in enumerate(stages) if stage.name == name][-repeats:]
        for at, stage in runs:
            share, new = _shares(stage, ended=at < current or stage.ended is not None)
            done += share * seconds / repeats
            made += new * seconds / repeats
            spent += max((stage.ended or now) - stage.started, 0.0) if new and at == current else 0.0
            spent += max(_length(stages, at), 0.0) if new and at < current else 0.0
    total = sum(plan.work.values())
    pace = spent / made if made > _ENOUGH * total else 1.0
    return RunProgress(min(done / total, 1.0), max(total - done, 0.0) * pace)


def _shares(stage: StageProgress, *, ended: bool) -> tuple[float, float]:
    """Return which share of a stage is done, and which was made in this run."""
    if not stage.total:
        return float(ended), float(ended)
    done = stage.total if ended else stage.done
    return done / stage.total, max(done - stage.already, 0) / stage.total


def _length(stages: Sequence[StageProgress], at: int) -> float:
    """Return the seconds of a stage that has ended, or that another followed."""
    stage = stages[at]
    return (stages[at + 1].started if stage.ended is None else stage.ended) - stage.started
