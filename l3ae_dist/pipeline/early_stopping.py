"""Sweeps that rank models on a growing sample of users, and give up those probably worse than the best.

It saves scoring alone: every inverse is made, and every model that is measured to the end has the figures
that it has without. Which models are given up is decided by optuna, through its ask and tell: a model is,
once its metric is below that of the best so far by a Wilcoxon signed-rank test over parts of the users. The
test is made of every model at every look, on parts that chose the best too: of models that are nearly equal
it may give up the one that all users would have chosen. Ranks are kept, so that a killed sweep decides the
same again.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import ConfigError
from l3ae_dist.evaluation.groups import ModelGroup
from l3ae_dist.evaluation.sweep_ranking import HeldUsers, held_ranks, held_users
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.pipeline.model_search import RankMeasure, Trial

if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial as Asked

# Parts of the users that figures are compared over, and how many are ranked before each look at them.
_PARTS = 64
_LOOKS = (0, 8, 16, 32, 64)
# A model is given up where it would be as bad by chance with this probability.
_P_VALUE = 0.05


def require_optuna() -> None:
    """Refuse early stopping where optuna is not installed.

    Raises
    ------
    ConfigError
        With the command that installs it.
    """
    if find_spec("optuna") is None:
        raise ConfigError(
            "sweep.early_stopping needs optuna, which is not installed; pip install 'l3ae-dist[search]', or "
            "leave it out."
        )


@dataclass(frozen=True)
class Sample:
    """Users that are ranked together.

    Parameters
    ----------
    users
        The users.
    parts
        Part of each of them, (users,), from 0.
    first, count
        Number of the first part among all, and how many there are here.
    """

    users: HeldUsers
    parts: Array
    first: int
    count: int

    @cached_property
    def sizes(self) -> Array:
        """Number of users of each part."""
        return np.bincount(self.parts, minlength=self.count)

    def totals(self, blocks: Iterable[Array]) -> Array:
        """Sum figures over the users of each part, (..., parts), from blocks of (..., users) in order."""
        done, total = 0, np.zeros(())
        for values in blocks:
            parts = self.parts[done : done + values.shape[-1]]
            total = total + values @ np.eye(self.count)[parts]
            done += values.shape[-1]
        return total


def growing_samples(dataset: Dataset, users: Array, seed: int) -> list[Sample]:
    """Divide users with validation items at random into samples, of which each is as large as all before it.

    Parameters
    ----------
    dataset
        The held-out items.
    users
        Ascending rows of users who all have some.
    seed
        Of the division.
    """
    parts = min(_PARTS, len(users))
    number = np.random.default_rng(seed).permutation(np.arange(len(users)) % parts)
    found = []
    for start, stop in pairwise(_LOOKS):
        stop = min(stop, parts)
        if start < stop:
            inside = (number >= start) & (number < stop)
            sample = held_users(dataset, users[inside])
            found.append(Sample(sample, number[inside] - start, start, stop - start))
    return found


@dataclass(slots=True)
class _Runner:
    """A model that is ranked on one sample after the other: its trial of optuna, and its sums so far."""

    spec: ModelSpec
    asked: "Asked"
    sums: Array
    users: int = 0

    def add(self, sample: Sample, totals: Array, place: int) -> None:
        """Take the sums of the parts of a sample, (metrics, parts); report one metric of each part."""
        for part, mean in enumerate(totals[place] / sample.sizes):
            self.asked.report(float(mean), sample.first + part)
        self.sums = self.sums + totals.sum(axis=1)
        self.users += len(sample.parts)

    def figures(self, names: Sequence[str]) -> dict[str, float]:
        """Average the metrics over the users that were ranked."""
        return dict(zip(names, (self.sums / self.users).tolist(), strict=True))


@dataclass(slots=True)
class StoppedModels:
    """Models that were given up, as rows of a table, and the share of all scoring that was done."""

    rows: list[dict[str, object]] = field(default_factory=list)
    scored: int = 0
    wanted: int = 0

    def document(self) -> dict[str, object]:
        """Return both as JSON-like values."""
        return {"stopped": self.rows, "scored_share": self.scored / max(self.wanted, 1)}


class StoppingMeasure(RankMeasure):
    """Measures heads on a growing sample of users, with a study of optuna for each kind of model."""

    @cached_property
    def _samples(self) -> list[Sample]:
        return growing_samples(self._family.dataset, self._held.rows, self._options.seed)

    @cached_property
    def _studies(self) -> "dict[str, Study]":
        return {}

    @cached_property
    def stopped(self) -> StoppedModels:
        """Models that were given up so far."""
        return StoppedModels()

    def measured(self, group: ModelGroup) -> list[Trial]:
        """Rank models of a group while they may be the best of their kind; return those ranked to the end."""
        names = self.names()
        runners = [_Runner(spec, self._study(spec).ask(), np.zeros(len(names))) for spec in group.models]
        first, *others = self._samples
        self._rank(group, runners, first)
        leaders = self._leaders(runners)
        for sample in others:
            self._rank(group, leaders, sample)
        for leader in leaders:
            self._tell(leader)
        left = self._worth_it([one for one in runners if one not in leaders])
        for sample in others:
            self._rank(group, left, sample)
            left = self._worth_it(left)
        for runner in left:
            self._tell(runner)
        self.stopped.wanted += len(runners) * len(self._held.rows)
        self.stopped.scored += sum(one.users for one in runners)
        done = [one for one in runners if one in leaders or one in left]
        return [Trial(one.spec, one.figures(names)) for one in done]

    def _study(self, spec: ModelSpec) -> "Study":
        if spec.name not in self._studies:
            self._studies[spec.name] = _new_study()
        return self._studies[spec.name]

    def _rank(self, group: ModelGroup, runners: Sequence[_Runner], sample: Sample) -> None:
        """Rank the items of a sample's users under some models of a group, in one pass."""
        if not runners:
            return
        some, names = ModelGroup(group.label, tuple(one.spec for one in runners)), self.names()
        ranks = held_ranks(self._store, self._family, some, sample.users, self._plan)
        totals = sample.totals(ranks.measured(names))
        for number, runner in enumerate(runners):
            runner.add(sample, totals[:, number], names.index(self._options.metric))

    def _leaders(self, runners: Sequence[_Runner]) -> list[_Runner]:
        """Return the best so far of each kind of which no model was measured to the end yet."""
        place, found = self.names().index(self._options.metric), {}
        for runner in sorted(runners, key=lambda one: one.sums[place]):
            found[runner.spec.name] = runner
        finished = {name for name, study in self._studies.items() if _has_best(study)}
        return [runner for name, runner in found.items() if name not in finished]

    def _worth_it(self, runners: Sequence[_Runner]) -> list[_Runner]:
        """Return the models that may be the best of their kind; the others are noted as given up."""
        from optuna.trial import TrialState

        left = []
        for runner in runners:
            if not runner.asked.should_prune():
                left.append(runner)
                continue
            self._study(runner.spec).tell(runner.asked, state=TrialState.PRUNED)
            trial = Trial(runner.spec, runner.figures(self.names()))
            row = trial.row(with_ridge=runner.spec.with_interactions)
            self.stopped.rows.append({**row, "users": runner.users})
        return left

    def _tell(self, runner: _Runner) -> None:
        value = runner.figures(self.names())[self._options.metric]
        self._study(runner.spec).tell(runner.asked, value)


def _new_study() -> "Study":
    """Make a study in memory; what optuna says of itself is left out."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=_P_VALUE)
            return optuna.create_study(direction="maximize", pruner=pruner)
    finally:
        optuna.logging.set_verbosity(before)


def _has_best(study: "Study") -> bool:
    from optuna.trial import TrialState

    return bool(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
