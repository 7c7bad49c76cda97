"""Search for the best models: measure groups of them on the validation split, and pick the best of each kind.

The models of a group share an inverse. There are two ways to measure them, one for each section of the
configuration: from top lists (``grid``), which serve every member and the figures of the picks, and from the
ranks of the held-out items alone (``sweep``), of which those of many heads of one inverse are cheap.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from l3ae_dist.config.evaluate import EvaluateConfig
from l3ae_dist.config.members import ModelSpec, Param, param_text
from l3ae_dist.config.transformed_spec import transform_settings
from l3ae_dist.evaluation.evaluate import measure_users
from l3ae_dist.evaluation.groups import ModelGroup, rank_groups, score_groups
from l3ae_dist.evaluation.sweep_ranking import HeldUsers, held_ranks
from l3ae_dist.evaluation.top_lists import TopLists, score
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.planning.ranking_plan import RankPlan
from l3ae_dist.runtime.run_graph import StageStats
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.family import Family
from l3ae_dist.storage.stages import TILE_STAGES

Specs = tuple[ModelSpec, ...]
Timed = Callable[[str], AbstractContextManager[None]]
"""Records the seconds of a ``with`` block under a label."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A model and its mean validation metrics by name."""

    spec: ModelSpec
    figures: Mapping[str, float]

    def row(self, *, with_ridge: bool) -> dict[str, object]:
        """Return the line of the model in the table of a search."""
        ridge = {"ridge": self.spec.ridge} if with_ridge else {}
        text = transform_settings(self.spec)
        return {"model": self.spec.name, **self.spec.params(), **text, **ridge, **self.figures}


@dataclass(slots=True)
class Search:
    """The trials of a search, in order, and the best one of each kind of model."""

    metric: str
    trials: list[Trial] = field(default_factory=list)
    picks: dict[str, Trial] = field(default_factory=dict)

    def add(self, trials: Sequence[Trial]) -> None:
        """Take the trials of a group; of equal models the first one tried stays the pick."""
        self.trials += trials
        for trial in trials:
            best = self.picks.get(trial.spec.name)
            if best is None or trial.figures[self.metric] > best.figures[self.metric]:
                self.picks[trial.spec.name] = trial

    @property
    def picked(self) -> list[ModelSpec]:
        """The best model of each kind, in the order in which the kinds were met."""
        return [trial.spec for trial in self.picks.values()]


class Measure(Protocol):
    """Measures models on the validation split."""

    keep_products: bool
    """True where Q and diag(P) outlive their inverse, because later groups or the picks read them."""

    def groups(self, specs: Specs) -> list[ModelGroup]:
        """Divide the models into groups that are measured together."""

    def trials(self, group: ModelGroup) -> list[Trial]:
        """Measure the models of a group."""

    def needed(self, search: Search, group: ModelGroup, later: Sequence[ModelSpec]) -> list[ModelSpec]:
        """Choose the models whose matrices are kept after a group.

        Parameters
        ----------
        search
            The trials and picks so far.
        group, later
            The group that was measured, and the models of those to come.
        """

    def lists(self, picked: Sequence[ModelSpec]) -> Mapping[ModelSpec, TopLists]:
        """Return the top lists of the picks."""


def search_models(
    measure: Measure,
    family: Family,
    specs: Specs,
    metric: str,
    *,
    timed: Timed,
    tell: Callable[[str], None] = lambda message: None,
) -> Search:
    """Measure all models, group by group, and pick the best of each kind.

    Parameters
    ----------
    measure
        How a group is measured.
    family, specs
        The models; matrices that none of those to come needs are deleted after each group.
    metric
        Validation metric that picks, of which more is better.
    timed
        Called with the label of each group.
    tell
        Called with a sentence after each group.
    """
    search = Search(metric)
    groups = measure.groups(specs)
    for number, group in enumerate(groups, start=1):
        with timed(group.label):
            trials = measure.trials(group)
        search.add(trials)
        tell(_progress(group, f"{number} of {len(groups)} groups", trials, metric))
        later = [spec for one in groups[number:] for spec in one.models]
        needed = measure.needed(search, group, later)
        family.release(specs, needed, keep_products=measure.keep_products)
    return search


def _progress(group: ModelGroup, place: str, trials: Sequence[Trial], metric: str) -> str:
    if not trials:
        return f"{group.label} ({place}): all {len(group.models)} models were given up early"
    best = max(trials, key=lambda trial: trial.figures[metric])
    values: dict[str, Param | None] = {**best.spec.params(), **transform_settings(best.spec)}
    params = ", ".join(f"{name} {param_text(value)}" for name, value in values.items() if value is not None)
    return (
        f"{group.label} ({place}): best {best.spec.name} with {params}, "
        f"validation {metric} {best.figures[metric]:.4f}"
    )


class TopListMeasure:
    """Measures models by the top lists of all evaluated users.

    Parameters
    ----------
    store, family
        Where lists are made, and of which models.
    users
        Ascending user rows, (users,).
    options
        Metric and cut-offs.
    saved
        Kind of model whose best keeps its matrices.
    """

    keep_products = False

    def __init__(
        self, store: ArtifactStore, family: Family, users: Array, options: EvaluateConfig, saved: str
    ) -> None:
        self._store = store
        self._family = family
        self._users = users
        self._options = options
        self._saved = saved
        self._lists: dict[ModelSpec, TopLists] = {}

    def groups(self, specs: Specs) -> list[ModelGroup]:
        """Group models by their system."""
        return score_groups(specs)

    def trials(self, group: ModelGroup) -> list[Trial]:
        """Score the models of a group and measure their lists."""
        lists = score(self._store, self._family, group, max(self._options.cutoffs), self._users)
        self._lists |= dict.fromkeys(group.models, lists)
        return [self._trial(spec, lists) for spec in group.models]

    def _trial(self, spec: ModelSpec, lists: TopLists) -> Trial:
        values = measure_users(lists, spec, "valid", self._options.metric)
        mean = float(np.nanmean(values)) if np.isfinite(values).any() else 0.0
        return Trial(spec, {self._options.metric: mean})

    def needed(self, search: Search, group: ModelGroup, later: Sequence[ModelSpec]) -> list[ModelSpec]:
        """Keep the best of the saved kind so far, or of the group's own before there is one.

        Parameters
        ----------
        search, group, later
            As for :meth:`Measure.needed`.
        """
        return [(search.picks.get(self._saved) or search.picks[group.models[0].name]).spec]

    def lists(self, picked: Sequence[ModelSpec]) -> Mapping[ModelSpec, TopLists]:
        """Return the lists that the picks were measured by."""
        return {spec: self._lists[spec] for spec in picked}


class RankMeasure:
    """Measures heads of one inverse by the ranks of all validation items.

    Parameters
    ----------
    store, family
        Where ranks are made, and of which models.
    users, held
        Ascending rows of the evaluated users, and those of them with validation items.
    options
        Metric and cut-offs.
    plan
        Blocks of the ranking stage.
    """

    keep_products = True

    def __init__(
        self,
        store: ArtifactStore,
        family: Family,
        users: Array,
        held: HeldUsers,
        options: EvaluateConfig,
        plan: RankPlan,
    ) -> None:
        self._store = store
        self._family = family
        self._users = users
        self._held = held
        self._options = options
        self._plan = plan
        self.factorised: list[dict[str, float]] = []
        """Ridge, p and beta, and the seconds, of every factorisation that was run."""

    def groups(self, specs: Specs) -> list[ModelGroup]:
        """Group models by inverse, on the direct route by features and reg_f too; at most those of a pass."""
        groups = rank_groups(specs, self._family.route)
        return [part for group in groups for part in group.parts(self._plan.models)]

    def trials(self, group: ModelGroup) -> list[Trial]:
        """Rank the validation items under the models of a group and average their metrics."""
        before = dict(self._store.stats)
        found = self.measured(group)
        seconds = _solve_seconds(before, self._store.stats)
        if seconds and group.models[0].with_interactions:
            self.factorised.append({**_inverse_params(group.models[0]), "seconds": seconds})
        return found

    def measured(self, group: ModelGroup) -> list[Trial]:
        """Rank all held-out items under all models of a group."""
        ranks, names = held_ranks(self._store, self._family, group, self._held, self._plan), self.names()
        return [
            Trial(spec, dict(zip(names, map(float, values), strict=True)))
            for spec, values in zip(group.models, ranks.means(names).T, strict=True)
        ]

    def names(self) -> tuple[str, ...]:
        """Name the metrics: at the cut-off of the one that picks."""
        metric = self._options.metric
        cut = metric.partition("@")[2]
        return tuple(dict.fromkeys((f"recall@{cut}", f"ndcg@{cut}", metric)))

    def needed(self, search: Search, group: ModelGroup, later: Sequence[ModelSpec]) -> list[ModelSpec]:
        """Keep what later groups and the picks read.

        Parameters
        ----------
        search, group, later
            As for :meth:`Measure.needed`.
        """
        return [*later, *search.picked]

    def lists(self, picked: Sequence[ModelSpec]) -> Mapping[ModelSpec, TopLists]:
        """Score the picks, those of one system together."""
        lists: dict[ModelSpec, TopLists] = {}
        for group in score_groups(picked):
            made = score(self._store, self._family, group, max(self._options.cutoffs), self._users)
            lists |= dict.fromkeys(group.models, made)
        return lists


def _inverse_params(spec: ModelSpec) -> dict[str, float]:
    """Return the parameters of a model that are in its inverse; p and beta where there are any."""
    others = {name: getattr(spec, name) for name in ("p", "beta") if getattr(spec, name)}
    return {"ridge": spec.ridge, **others}


def _solve_seconds(before: Mapping[str, StageStats], after: Mapping[str, StageStats]) -> float:
    """Return the seconds of factorisation and inversion that were run in between; 0 when nothing was."""
    return sum(after[name].seconds for name in TILE_STAGES if after.get(name) is not before.get(name))
