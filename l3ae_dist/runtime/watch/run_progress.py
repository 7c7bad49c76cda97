"""Progress of a whole run: the share of the planned work that is done, and how long the rest takes."""

from collections.abc import Sequence
from dataclasses import dataclass

from l3ae_dist.runtime.events import PlanMade
from l3ae_dist.runtime.watch.stage_progress import StageProgress, clock
from l3ae_dist.storage.stages import Stage

# Share of the work that must have been done in this run before its own pace counts and not the estimate.
_ENOUGH = 0.02
# Stages of which each goes on from the tiles of the one before: where a later one began, those were there.
_CHAIN = (Stage.GRAM, Stage.FACTOR, Stage.LINV, Stage.INVERT)


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
    total = 0.0 if plan is None else sum(plan.work.values())
    if plan is None or not total:
        return None
    done = made = spent = 0.0
    began = {stage.name for stage in stages}
    for name, seconds in plan.work.items():
        repeats = plan.repeats.get(name, 1)
        if repeats == 1 and _was_there(name, began):
            done += seconds
            continue
        share = new = 0.0
        for at, stage in enumerate(stages):
            if stage.name == name:
                finished, made_now, took = _shares(stages, at, now)
                share, new, spent = share + finished, new + made_now, spent + took
        # a stage that is run more often than planned, as after damage, counts no more than planned
        done += min(share / repeats, 1.0) * seconds
        made += min(new / repeats, 1.0) * seconds
    pace = spent / made if made > _ENOUGH * total else 1.0
    return RunProgress(min(done / total, 1.0), max(total - done, 0.0) * pace)


def _was_there(name: str, began: set[str]) -> bool:
    """Tell whether a stage was complete before the run: one that goes on from it began without it."""
    if name in began or name not in _CHAIN:
        return False
    return any(later in began for later in _CHAIN[_CHAIN.index(Stage(name)) + 1 :])


def _shares(stages: Sequence[StageProgress], at: int, now: float) -> tuple[float, float, float]:
    """Return which share of a stage is done, which was made in this run, and in how many seconds."""
    stage = stages[at]
    end = stage.ended
    if end is None and at + 1 < len(stages):  # another followed, so it has ended
        end = stages[at + 1].started
    done = stage.done if end is None else stage.total
    if not stage.total:
        made = finished = float(end is not None)
    else:
        finished, made = done / stage.total, max(done - stage.already, 0) / stage.total
    return finished, made, max((now if end is None else end) - stage.started, 0.0) if made else 0.0
