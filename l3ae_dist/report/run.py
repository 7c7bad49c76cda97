"""One run as its workspace remembers it, and finding runs by what people type."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from l3ae_dist.errors import ConfigError, L3AEError, StageMissingError
from l3ae_dist.planning.rates import CALIBRATION_DOC
from l3ae_dist.report.trace import Trace
from l3ae_dist.runtime.event_store import Attempt, attempts, stream_events
from l3ae_dist.runtime.events import RunStart
from l3ae_dist.storage import layout
from l3ae_dist.storage.lock import lock_holder
from l3ae_dist.storage.workspace import Workspace

_KNOWN = 8


@dataclass(frozen=True)
class RunRecord:
    """What is known of the latest execution of a run.

    ``result`` is empty when it left none; ``name`` is what its files are called.
    """

    workspace: Workspace
    run: str
    name: str
    result: dict[str, Any]
    trace: Trace
    has_events: bool
    outcome: str
    calibration: dict[str, Any] | None
    fitted: dict[str, Any] | None
    """The document of the model that the run fitted."""
    earlier_result: str
    """When an execution before the latest one, which left no result, finished; else empty."""
    earlier_versions: tuple[dict[str, str], ...]
    """Of the other executions of this run."""

    def _told(self, key: str) -> dict[str, Any]:
        return dict(self.result.get(key) or getattr(self.trace.start, key, None) or {})

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, without secrets; empty for a run that did not keep it."""
        return self._told("config")

    @property
    def versions(self) -> dict[str, str]:
        """Python and packages."""
        return self._told("versions")

    @property
    def machine(self) -> dict[str, Any]:
        """Processor, cores and memory of the client."""
        return self._told("machine")

    @property
    def plan(self) -> dict[str, Any]:
        """``memory_budget``, ``projected_peak_bytes``, and ``stages`` with the peak of each by name."""
        plan = self.result.get("plan") or self.trace.plan
        if not plan:
            return {}
        stages = plan["stages"]
        if isinstance(stages, list):
            stages = {stage["name"]: stage["peak_bytes"] for stage in stages}
        return {**plan, "stages": stages}

    @property
    def started(self) -> datetime | None:
        """When its latest execution began."""
        return datetime.fromtimestamp(self.trace.first, UTC) if self.has_events else None


def find_run(workspace: Workspace, run: str | None = None) -> str:
    """The full id of a run, from the beginning of it; the latest run when it is None.

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
    found = [name for name in known if name == run] or [name for name in known if name.startswith(run)]
    if run and len(found) == 1:
        return found[0]
    shown = ", ".join(reversed(known[-_KNOWN:])) + (", ..." if len(known) > _KNOWN else "")
    problem = f"{len(found)} runs whose ids begin with {run!r}" if found else f"no run {run!r}"
    raise ConfigError(f"{workspace.url} holds {problem}; its runs, the latest first: {shown}.")


def known_runs(workspace: Workspace) -> list[str]:
    """Ids of all runs that left a result or events, the latest last."""
    when: dict[str, float] = {}
    for key in workspace.list_docs(layout.RESULTS):
        finished = (workspace.read_doc(key) or {}).get("finished")
        when[layout.run_of(key)] = _timestamp(finished)
    for attempt in attempts(workspace):
        when[attempt.run] = max(when.get(attempt.run, 0.0), attempt.started)
    return sorted(when, key=lambda run: (when[run], run))


def read_run(workspace: Workspace, run: str) -> RunRecord:
    """Everything that the workspace holds of a run; its events are read once, in batches."""
    executions = [attempt for attempt in attempts(workspace) if attempt.run == run]
    latest = executions[-1] if executions else None
    result = workspace.read_doc(layout.result(run)) or {}
    trace = Trace() if latest is None else Trace.of(stream_events(workspace, latest))
    # a result is written before the events are closed, and after they began
    ended = bool(result) and (latest is None or _timestamp(result.get("finished")) + 1 >= latest.started)
    return RunRecord(
        workspace=workspace,
        run=run,
        name=run if latest is None else latest.name,
        result=result if ended else {},
        trace=trace,
        has_events=latest is not None,
        outcome=_outcome(workspace, run, latest, trace, ended=ended),
        calibration=_calibration(workspace),
        fitted=workspace.read_doc(layout.fitted_model(run)),
        earlier_result="" if ended else str(result.get("finished", "")),
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


def _versions(workspace: Workspace, attempt: Attempt) -> dict[str, str]:
    """What an execution began with; its first event alone is read."""
    first = next(iter(stream_events(workspace, attempt)), None)
    return dict(first.versions) if isinstance(first, RunStart) else {}


def _calibration(workspace: Workspace) -> dict[str, Any] | None:
    try:
        return workspace.read_doc(CALIBRATION_DOC)
    except (L3AEError, ValueError):  # another program's document; the report does without
        return None


def _timestamp(finished: str | None) -> float:
    return datetime.fromisoformat(finished).timestamp() if finished else 0.0
