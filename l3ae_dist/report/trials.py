"""The models that a grid or a sweep tried, as reports show them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PARAMETERS = (
    *("ridge", "reg_x", "reg_f", "reg_e", "whiten", "truncate_dim", "normalize"),
    *("p", "diagonal", "xi", "alpha", "beta", "a", "b", "rank"),
)
"""Hyper-parameters, in the order in which tables show them."""


@dataclass(frozen=True, slots=True)
class ShownTrial:
    """One model that was tried, with its metrics on the validation split.

    Parameters
    ----------
    model
        Title of its member.
    parameters
        Its hyper-parameters that are numbers.
    metrics
        On the validation split.
    words
        Its other hyper-parameters: words, switches, and all dimensions of the text.
    """

    model: str
    parameters: Mapping[str, float]
    metrics: Mapping[str, float]
    words: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Mapping[str, object]) -> "ShownTrial":
        """Read a row of ``grid`` or ``sweep.table`` of a result."""
        figures = {
            name: value
            for name, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        return cls(
            model=str(row["model"]),
            parameters={name: figures[name] for name in figures if "@" not in name},
            metrics={name: figures[name] for name in figures if "@" in name},
            words={name: _word(row[name]) for name in PARAMETERS if name in row and name not in figures},
        )

    def has(self, parameter: str) -> bool:
        """Tell whether the model depends on a hyper-parameter; EASEText has no ridge."""
        return parameter in self.parameters and not (parameter == "ridge" and self.model == "EASEText")

    def told(self, parameter: str) -> str:
        """Write the value of a hyper-parameter; nothing where the model does not have it."""
        if self.has(parameter):
            return f"{self.parameters[parameter]:g}"
        return self.words.get(parameter, "")


def _word(value: object) -> str:
    """Write a value that is no number; of the text's dimensions null is all."""
    if value is None:
        return "all"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Trials:
    """Every model that a search measured, in its order, the metric that picks, and the models given up."""

    all: tuple[ShownTrial, ...]
    metric: str
    given_up: tuple[ShownTrial, ...] = ()

    @classmethod
    def of_result(cls, result: Mapping[str, Any]) -> "Trials | None":
        """Read the search of a run's result; None when the run tried no models."""
        stopped: Sequence[Mapping[str, object]] = ()
        if result.get("sweep"):
            rows, metric = result["sweep"]["table"], str(result["sweep"]["metric"])
            stopped = result["sweep"].get("stopped", ())
        else:
            rows = result.get("grid") or []
            metric = list(rows[0])[-1] if rows else ""
        if not rows:
            return None
        return cls(tuple(map(ShownTrial.of, rows)), metric, tuple(map(ShownTrial.of, stopped)))

    @property
    def own(self) -> str:
        """The member that the figures are of: L3AE, or without it that of the best trial with a ridge."""
        names = {trial.model for trial in self.all}
        if "L3AE" in names:
            return "L3AE"
        return Trials(tuple(t for t in self.all if t.has("ridge")) or self.all, self.metric).best.model

    @property
    def with_ridge(self) -> list[str]:
        """The members that have a ridge, the one of the figures first."""
        names = dict.fromkeys(trial.model for trial in self.all if trial.has("ridge"))
        return sorted(names, key=lambda name: (name != self.own, name != "EASE"))

    @property
    def has_text(self) -> bool:
        """True where all models have the ridge of a text."""
        return all("reg_f" in trial.parameters and "reg_e" in trial.parameters for trial in self.all)

    def of(self, *models: str) -> "Trials":
        """Return the trials of some models alone."""
        all_of, given_up = (
            tuple(trial for trial in some if trial.model in models) for some in (self.all, self.given_up)
        )
        return Trials(all_of, self.metric, given_up)

    def at(self, parameter: str, value: float) -> "Trials":
        """Return the trials with one value of a hyper-parameter."""
        return Trials(tuple(trial for trial in self.all if trial.parameters[parameter] == value), self.metric)

    def best_of(self, *parameters: str) -> "Trials":
        """Return the best of the trials that agree in some hyper-parameters."""
        best: dict[tuple[float | None, ...], ShownTrial] = {}
        for trial in sorted(self.all, key=self.value):
            best[tuple(trial.parameters.get(name) for name in parameters)] = trial
        kept = {id(trial) for trial in best.values()}
        return Trials(tuple(trial for trial in self.all if id(trial) in kept), self.metric)

    def value(self, trial: ShownTrial) -> float:
        """Return the metric of a trial."""
        return float(trial.metrics[self.metric])

    @property
    def scores(self) -> list[float]:
        """Metric of each trial."""
        return [self.value(trial) for trial in self.all]

    @property
    def best(self) -> ShownTrial:
        """Trial with the largest metric, the first of several."""
        return max(self.all, key=self.value)

    def values(self, parameter: str) -> list[float]:
        """Return the distinct values of a hyper-parameter, ascending; models without it count for none."""
        known = (trial.parameters.get(parameter) for trial in self.all)
        return sorted({float(value) for value in known if value is not None})

    def bounds(self, parameter: str) -> tuple[float, float] | None:
        """Return the smallest and largest value tried, also by models given up; None of fewer than three.

        All dimensions of the text are more than any number of them.
        """
        tried = [*self.all, *self.given_up]
        values = {trial.parameters[parameter] for trial in tried if parameter in trial.parameters}
        if any(trial.words.get(parameter) == "all" for trial in tried):
            values.add(math.inf)
        return (min(values), max(values)) if len(values) > 2 else None

    def best_by_ridge(self) -> dict[float, float]:
        """Return the largest metric at each ridge, the ridges ascending."""
        best: dict[float, float] = {}
        for trial in self.all:
            ridge = trial.parameters["ridge"]
            best[ridge] = max(best.get(ridge, -math.inf), self.value(trial))
        return dict(sorted(best.items()))
