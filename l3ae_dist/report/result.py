"""The result of a run as a report reads it: what is missing, as in results of older versions, is empty."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from l3ae_dist.evaluation.significance import PairedComparison
from l3ae_dist.evaluation.verdict import evidence, verdict
from l3ae_dist.pipeline.result import comparisons_of
from l3ae_dist.report.formatting import PART_NAMES
from l3ae_dist.report.trials import Trials
from l3ae_dist.storage.records import JsonObject


@dataclass(frozen=True, slots=True)
class PlanFigures:
    """Plan of a run: sizes in bytes, and the projected peak of each stage by name."""

    memory_budget: int
    projected_peak_bytes: int
    stages: Mapping[str, int]
    tile: int | None = None
    """Side of a tile."""
    dtype: str | None = None
    arithmetic: str | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read the plan of a result, or the shorter one of the event ``plan``."""
        stages = document["stages"]
        if not isinstance(stages, Mapping):
            stages = {stage["name"]: stage["peak_bytes"] for stage in stages}
        sizes = (document["memory_budget"], document["projected_peak_bytes"])
        dtypes = (document.get("dtype"), document.get("arithmetic"))
        return cls(*sizes, stages, document.get("tile"), *dtypes)


@dataclass(frozen=True, slots=True)
class MetricFigure:
    """One metric of one model on the test split, with its bootstrap interval where that was made."""

    part: str
    """``all``, ``head`` or ``tail``."""
    metric: str
    model: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        """Value and interval with four decimals."""
        return f"{self.value:.4f}{self.interval}"

    @property
    def interval(self) -> str:
        """Interval in parentheses after a space; empty where there is none."""
        return "" if self.low is None else f" ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """One model of a run: its hyper-parameters, its figures on the test split, and their intervals."""

    name: str
    parameters: Mapping[str, float]
    test: Mapping[str, Any]
    """Metrics by name; those of the parts and groups of users and items below their names."""
    intervals: Mapping[str, Any]
    """``level`` and ``repeats`` of the bootstrap, and for each part the bounds by metric."""

    def figure(self, part: str, metric: str) -> MetricFigure | None:
        """Return one metric on one part of the catalog; None where it was not measured."""
        figures = self.test if part == "all" else self.test.get(part, {})
        low, high = self.intervals.get(part, {}).get(metric) or (None, None)
        if figures.get(metric) is None:
            return None
        return MetricFigure(part, metric, self.name, figures[metric], low, high)


@dataclass(frozen=True, slots=True)
class DatasetFigures:
    """Identity and sizes of the data of a run; ``id`` is None when it read none."""

    id: str | None = None
    n_users: int = 0
    n_items: int = 0
    nnz: Mapping[str, int] = field(default_factory=dict)
    """Interactions of each split."""
    known: Mapping[str, object] = field(default_factory=dict)
    """All figures that the result keeps."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read the section ``dataset`` of a result."""
        names = ("id", "n_users", "n_items", "nnz")
        return cls(**{name: document[name] for name in names if name in document}, known=document)


@dataclass(frozen=True, slots=True)
class Result:
    """Figures of a finished run; every one is empty in the result of a run that did not finish."""

    found: bool = False
    finished: str = ""
    """Time, as ISO 8601."""
    seconds: float | None = None
    users: int | None = None
    """Users that were evaluated; None for a run that measured nothing."""
    dataset: DatasetFigures = field(default_factory=DatasetFigures)
    embedding: str | None = None
    plan: PlanFigures | None = None
    models: Mapping[str, MeasuredModel] = field(default_factory=dict)
    comparisons: tuple[PairedComparison, ...] = ()
    trials: Trials | None = None
    examples: Sequence[Mapping[str, Any]] | None = None
    certificate: Mapping[str, Any] = field(default_factory=dict)
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    """Peak memory of each group of processes; ``worker_max`` is the largest worker."""
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time of the steps of the client."""
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read a stored result; an empty document is that of a run without a result."""
        models = document.get("models", {})
        return cls(
            found=bool(document),
            finished=str(document.get("finished") or ""),
            seconds=document.get("seconds"),
            users=document.get("users"),
            dataset=DatasetFigures.of(document.get("dataset", {})),
            embedding=document.get("embedding"),
            plan=PlanFigures.of(document["plan"]) if document.get("plan") else None,
            models={
                name: MeasuredModel(
                    name, model.get("params", {}), model.get("test", {}), model.get("intervals", {})
                )
                for name, model in models.items()
            },
            comparisons=comparisons_of(document),
            trials=Trials.of_result(document),
            examples=document.get("examples"),
            certificate=document.get("certificate") or {},
            peak_bytes=document.get("peak_memory_bytes") or {},
            stages=document.get("stages", {}),
            stage_seconds=document.get("stage_seconds") or {},
            config=document.get("config") or {},
            versions=document.get("versions") or {},
            machine=document.get("machine") or {},
        )

    @property
    def verdict(self) -> str:
        """The outcome of the run in one sentence; empty where it measured nothing."""
        return verdict(self._measured, self.comparisons)

    @property
    def evidence(self) -> str:
        """The figures that the verdict rests on; empty where nothing was compared."""
        return evidence(self._measured, self.comparisons)

    @property
    def _measured(self) -> dict[str, JsonObject]:
        return {model.name: {"test": model.test} for model in self.models.values()}

    @property
    def largest_worker(self) -> int:
        """Peak bytes of the largest worker; 0 when no worker was measured."""
        return int(self.peak_bytes.get("worker_max", 0))

    def metric_figures(self) -> list[MetricFigure]:
        """List the test metrics that have intervals, or NDCG and recall at 20 where none has.

        They are ordered by part, metric and model.
        """
        return list(self._metric_figures())

    def _metric_figures(self) -> Iterator[MetricFigure]:
        for part in PART_NAMES:
            for metric in self._main_metrics(part):
                figures = (model.figure(part, metric) for model in self.models.values())
                yield from (figure for figure in figures if figure is not None)

    def _main_metrics(self, part: str) -> list[str]:
        models = self.models.values()
        known = dict.fromkeys(metric for model in models for metric in model.intervals.get(part, ()))
        if known:
            return list(known)
        tests = [model.test for model in models if model.test]
        usual = [metric for metric in ("ndcg@20", "recall@20") if any(metric in test for test in tests)]
        other = (name for test in tests for name in test if name.startswith(("ndcg", "recall")))
        return usual or list(dict.fromkeys(other))
