"""One run as its workspace remembers it, and the way from what people type to a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from l3ae_dist.errors import ConfigError, L3AEError, StageMissingError
from l3ae_dist.messages import shown
from l3ae_dist.pipeline.named_models import known_models
from l3ae_dist.report.result import PlanFigures, Result
from l3ae_dist.report.trace import Trace
from l3ae_dist.runtime.event_store import Attempt, attempts, stream_events
from l3ae_dist.runtime.events import RunStart
from l3ae_dist.storage import layout
from l3ae_dist.storage.lock import lock_holder
from l3ae_dist.storage.workspace import Workspace

_MOST_NAMED = 8


@dataclass(frozen=True)
class RunRecord:
    """Everything that a workspace holds of the latest execution of a run."""

    workspace: Workspace
    run: str
    name: str
    """Name of the execution, which its files carry."""
    result: Result
    """Empty when the execution left none."""
    trace: Trace
    has_events: bool
    outcome: str
    calibration: Mapping[str, Any] | None
    """Rates of the machine that the workspace was calibrated on."""
    fitted: Mapping[str, Any] | None
    """Document of the model that the run fitted."""
    earlier_result: str
    """Time at which an earlier execution finished, where the latest one left no result; else empty."""
    earlier_versions: tuple[Mapping[str, str], ...]
    """Versions of the other executions of this run."""

    @property
    def _start(self) -> RunStart:
        """First event of the execution; an empty one where the events are gone."""
        return self.trace.start or RunStart()

    @property
    def config(self) -> Mapping[str, Any]:
        """Configuration of the run, without secrets; empty for a run that did not keep it."""
        return self.result.config or self._start.config

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of Python and of packages."""
        return self.result.versions or self._start.versions

    @property
    def machine(self) -> Mapping[str, object]:
        """Processor, cores and memory of the client."""
        return self.result.machine or self._start.machine

    @property
    def compute(self) -> Mapping[str, Any]:
        """Section ``compute`` of the configuration."""
        section: Mapping[str, Any] = self.config.get("compute", {})
        return section

    @property
    def plan(self) -> PlanFigures | None:
        """Plan of the run; None for a run that came to none."""
        told = self.trace.plan
        return self.result.plan or (None if told is None else PlanFigures.of(told))

    @property
    def started(self) -> datetime | None:
        """Time at which the latest execution began."""
        return datetime.fromtimestamp(self.trace.first, UTC) if self.has_events else None


def find_run(workspace: Workspace, run: str | None = None) -> str:
    """Return the full id of a run from its beginning, or of the latest run for None.

    The name of a model stands for the run that made it.

    Raises
    ------
    StageMissingError
        When the workspace holds no run at all.
    ConfigError
        When it holds no such run, or several that begin so.
    """
    known = known_runs(workspace)
    if not known:
        raise StageMissingError(f"{workspace.url} holds no runs yet; start one with `l3ae-dist run`.")
    if run is None:
        return known[-1]
    matches = [name for name in known if name == run] or [name for name in known if name.startswith(run)]
    if run and not matches:
        matches = [model.run for model in known_models(workspace) if model.label == run]
    if run and len(matches) == 1:
        return matches[0]
    latest = ", ".join(reversed(known[-_MOST_NAMED:])) + (", ..." if len(known) > _MOST_NAMED else "")
    problem = f"{len(matches)} runs whose ids begin with {shown(run)}" if matches else f"no run {shown(run)}"
    raise ConfigError(f"{workspace.url} holds {problem}; its runs, the latest first: {latest}.")


def known_runs(workspace: Workspace) -> list[str]:
    """List the ids of all runs that left a result or events, the latest last."""
    when: dict[str, float] = {}
    for key in workspace.list_docs(layout.RESULTS):
        finished = (workspace.read_doc(key) or {}).get("finished")
        when[layout.run_of(key)] = _timestamp(finished)
    for attempt in attempts(workspace):
        when[attempt.run] = max(when.get(attempt.run, 0.0), attempt.started)
    return sorted(when, key=lambda run: (when[run], run))


def read_run(workspace: Workspace, run: str) -> RunRecord:
    """Read everything that a workspace holds of a run; its events are read once, in batches."""
    executions = [attempt for attempt in attempts(workspace) if attempt.run == run]
    latest = executions[-1] if executions else None
    document = workspace.read_doc(layout.result(run)) or {}
    finished = document.get("finished")
    trace = Trace() if latest is None else Trace.of(stream_events(workspace, latest))
    # a result is written before the events are closed, and after they began
    ended = bool(document) and (latest is None or _timestamp(finished) + 1 >= latest.started)
    return RunRecord(
        workspace=workspace,
        run=run,
        name=run if latest is None else latest.name,
        result=Result.of(document if ended else {}),
        trace=trace,
        has_events=latest is not None,
        outcome=_outcome(workspace, run, latest, trace, ended=ended),
        calibration=_calibration(workspace),
        fitted=workspace.read_doc(layout.fitted_model(run)),
        earlier_result="" if ended else str(finished or ""),
        earlier_versions=tuple(_versions(workspace, attempt) for attempt in executions[-4:-1]),
    )


def _outcome(workspace: Workspace, run: str, latest: Attempt | None, trace: Trace, *, ended: bool) -> str:
    if ended:
        return "finished"
    if trace.outcome and trace.outcome != "finished":
        return trace.outcome
    holder = lock_holder(workspace)
    if holder is not None and holder.run_id == run:
        return "still running"
    return "ended without a word (killed, or its machine was lost)" if latest else "unknown"


def _versions(workspace: Workspace, attempt: Attempt) -> Mapping[str, str]:
    """Read the versions that an execution began with, from its first event alone."""
    first = next(iter(stream_events(workspace, attempt)), None)
    return first.versions if isinstance(first, RunStart) else {}


def _calibration(workspace: Workspace) -> Mapping[str, Any] | None:
    try:
        return workspace.read_doc(layout.CALIBRATION)
    except (L3AEError, ValueError):  # another program's document; the report does without
        return None


def _timestamp(finished: str | None) -> float:
    return datetime.fromisoformat(finished).timestamp() if finished else 0.0
