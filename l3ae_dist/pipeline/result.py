"""The result of a run: built stage by stage, written by one serialiser, and its comparisons read back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from l3ae_dist.config.members import Route
from l3ae_dist.evaluation.model_figures import ModelFigures
from l3ae_dist.evaluation.significance import PairedComparison
from l3ae_dist.runtime.run_graph import StageStats
from l3ae_dist.solve.certificate import Certificate

ResultDocument = dict[str, Any]
"""A result as JSON-like values, as users get it and the workspace keeps it."""


@dataclass(frozen=True, slots=True)
class Planned:
    """Plan, route of the semantic phase, and what the tiles take of the storage, as JSON-like values."""

    plan: Mapping[str, object]
    semantic_route: Route
    storage: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The models that were fitted and their figures.

    Parameters
    ----------
    certificate
        Of the model that was saved.
    models
        Parameters and metrics of the picks, by name.
    users
        Evaluated users; None where nothing was measured.
    comparisons
        The saved model against each other pick.
    grid, sweep
        Table of a grid with more models than picks, and summary and table of a sweep.
    """

    certificate: Certificate
    models: Mapping[str, ModelFigures]
    users: int | None = None
    comparisons: Sequence[PairedComparison] = ()
    grid: Sequence[Mapping[str, object]] | None = None
    sweep: Mapping[str, object] | None = None

    def document(self) -> ResultDocument:
        """Return the outcome as JSON-like values.

        A sweep always has ``comparisons``; other runs have the first as ``comparison``, and
        ``comparisons`` too where there are several.
        """
        comparisons = [one.document() for one in self.comparisons]
        document: ResultDocument = {"certificate": self.certificate.document(), "models": self.models}
        if self.users is not None:
            document["users"] = self.users
        if self.grid is not None:
            document["grid"] = self.grid
        if comparisons and self.sweep is None:
            document["comparison"] = comparisons[0]
        if len(comparisons) > 1 or self.sweep is not None:
            document["comparisons"] = comparisons
        if self.sweep is not None:
            document["sweep"] = self.sweep
        return document


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Provenance and bookkeeping of a run."""

    config: Mapping[str, object]
    versions: Mapping[str, str]
    machine: Mapping[str, object]
    workspace: str
    run: str
    seconds: float
    finished: str
    peak_memory_bytes: Mapping[str, int]
    tiles_written: int
    reused: bool = False


@dataclass(slots=True)
class RunResult:
    """The result of a run as it grows; None is what the run did not come to.

    Parameters
    ----------
    dataset
        Id and figures of the data.
    stage_seconds
        Wall time of each stage.
    embedding
        One entry, the id of the item features (None without any); empty before they are there.
    planned, outcome, facts
        Of later stages.
    stages
        Work of each task graph that ran, by label; None before there are any.
    told
        ``model``, the fitted or measured one, and ``replaced``, the one that was current before.
    """

    dataset: Mapping[str, object]
    stage_seconds: Mapping[str, float]
    embedding: tuple[str | None, ...] = ()
    planned: Planned | None = None
    outcome: Outcome | None = None
    stages: Mapping[str, StageStats] | None = field(default=None)
    facts: RunFacts | None = None
    told: Mapping[str, object] = field(default_factory=dict)

    def document(self) -> ResultDocument:
        """Return the result as JSON-like values, without what it does not have."""
        document: ResultDocument = {"dataset": self.dataset, **self.told}
        if self.embedding:
            document["embedding"] = self.embedding[0]
        if self.planned is not None:
            document |= asdict(self.planned)
        if self.outcome is not None:
            document |= self.outcome.document()
        if self.stages is not None:
            document["stages"] = {str(label): asdict(stats) for label, stats in self.stages.items()}
        document["stage_seconds"] = self.stage_seconds
        return document if self.facts is None else document | asdict(self.facts)


def comparisons_of(document: Mapping[str, Any]) -> tuple[PairedComparison, ...]:
    """Read the comparisons of a stored result, of whichever kind of run; those without users are none."""
    single = document.get("comparison")
    found = map(PairedComparison.of, document.get("comparisons") or ([single] if single else []))
    return tuple(one for one in found if one.users != 0)
