"""Deleting what no kept model needs, for ``l3ae-dist gc``."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from l3ae_dist.graphs.score_terms import ScoreTerms
from l3ae_dist.runtime.event_store import Attempt, attempts, read_events
from l3ae_dist.storage import layout
from l3ae_dist.storage.array_sizes import array_sizes
from l3ae_dist.storage.layout import Kind
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.records import JsonObject, StageRecord
from l3ae_dist.storage.workspace import Workspace

# What a run uses without an event that tells so: kept for every run that has not finished.
_UNTOLD = (Kind.ROOTS, Kind.SPECTRAL, Kind.TRANSFORMS)


@dataclass(frozen=True, slots=True)
class Collection:
    """The outcome of a collection: what was deleted from a workspace, or would be.

    Parameters
    ----------
    workspace
        Path or URL.
    deleted, kept
        Bytes of every derived artifact, by path.
    unfinished
        Those of the kept ones that runs which have not finished would go on with.
    events
        Number of deleted files of events and reports.
    dry_run
        True when nothing was deleted.
    """

    workspace: str
    deleted: dict[str, int]
    kept: dict[str, int]
    unfinished: list[str]
    events: int
    dry_run: bool

    @property
    def freed_bytes(self) -> int:
        """Bytes of all deleted artifacts."""
        return sum(self.deleted.values())

    def document(self) -> dict[str, object]:
        """Return the collection as JSON-like values; ``bytes`` is :attr:`freed_bytes`."""
        values = asdict(self)
        last = {name: values.pop(name) for name in ("events", "dry_run")}
        return {**values, "bytes": self.freed_bytes, **last}


def collect_garbage(
    url: str, *, keep_runs: int = 1, keep_events: int = 20, dry_run: bool = False, force: bool = False
) -> Collection:
    """Delete Gram matrices, factors, products, scores and the like that no kept model needs.

    The data and the embeddings are never deleted.

    Parameters
    ----------
    url
        Path or URL of the workspace.
    keep_runs
        The models of how many runs to keep: the current one, then the latest.
    keep_events
        The events and reports of how many executions to keep.
    dry_run
        Only tell what would be deleted.
    force
        Delete also what runs that have not finished would go on with.

    Returns
    -------
    The artifacts that were deleted and those that are kept, with their bytes.

    Raises
    ------
    WorkspaceLockedError
        While a run writes to the workspace.
    """
    workspace = Workspace.open(url)
    if dry_run:
        return _collect(workspace, keep_runs, keep_events, None, force=force)
    with WorkspaceLock(workspace, "gc") as lock:
        return _collect(workspace, keep_runs, keep_events, lock.check, force=force)


def _collect(
    workspace: Workspace, keep_runs: int, keep_events: int, check: Callable[[], None] | None, *, force: bool
) -> Collection:
    """Find what is obsolete, and delete it where ``check`` raises nothing; None deletes nothing."""
    sizes = _derived_bytes(workspace)
    open_executions = [] if force else _unfinished(workspace)
    unfinished = _used_by(workspace, open_executions, set(sizes))
    needed = unfinished | _needed_by_models(_kept_models(workspace, keep_runs))
    needed |= _features_of_last_run(workspace)
    needed |= {gram for path in needed if (gram := layout.gram_of(path)) is not None}
    needed &= set(sizes)
    obsolete = sorted(set(sizes) - needed)
    events = _old_events(workspace, keep_events, {one.name for one in open_executions})
    if check is not None:
        _delete(workspace, obsolete, check)
        for key in events:
            check()
            workspace.blobs.delete(key)
    return Collection(
        workspace=workspace.url,
        deleted={path: sizes[path] for path in obsolete},
        kept={path: sizes[path] for path in sorted(needed)},
        unfinished=sorted(unfinished),
        events=len(events),
        dry_run=check is None,
    )


def _derived_bytes(workspace: Workspace) -> dict[str, int]:
    """Sum up the arrays of every artifact that can be made again."""
    sizes: dict[str, int] = {}
    for path, size in array_sizes(workspace).items():
        if layout.is_derived(path):
            artifact = layout.artifact_of(path)
            sizes[artifact] = sizes.get(artifact, 0) + size.bytes
    return sizes


def _unfinished(workspace: Workspace) -> list[Attempt]:
    """Return all executions of the runs whose last one left no result."""
    runs: dict[str, list[Attempt]] = {}
    for attempt in attempts(workspace):
        runs.setdefault(attempt.run, []).append(attempt)
    unfinished = []
    for run, executions in runs.items():
        finished = _finished(workspace, run)
        if not finished or executions[-1].started > datetime.fromisoformat(finished).timestamp() + 1:
            unfinished += executions
    return unfinished


def _finished(workspace: Workspace, run: str) -> str:
    """Return when a run finished; empty when it left no result."""
    return str((workspace.read_doc(layout.result(run)) or {}).get("finished") or "")


def _used_by(workspace: Workspace, executions: list[Attempt], artifacts: set[str]) -> set[str]:
    """Return the artifacts that some executions wrote to or found complete, as far as that is known."""
    events = (event for attempt in executions for event in read_events(workspace, attempt))
    told = {layout.artifact_of(path) for event in events for path in event.get("paths") or ()}
    untold = {path for path in artifacts if executions and layout.kind_of(path) in _UNTOLD}
    return (told & artifacts) | untold


def _kept_models(workspace: Workspace, keep_runs: int) -> list[JsonObject]:
    """Return the documents of the current model and of the latest others."""
    current = workspace.read_doc(layout.CURRENT_MODEL)
    documents = [workspace.read_doc(key) for key in workspace.list_docs(layout.FITTED_MODELS)]
    others = sorted(
        (one for one in documents if one is not None and one != current),
        key=lambda document: _finished(workspace, document["run"]),
        reverse=True,
    )
    kept = [] if current is None else [current]
    return [*kept, *others][: max(keep_runs, len(kept))]


def _needed_by_models(models: list[JsonObject]) -> set[str]:
    """Return the artifacts that models read, and those that new items and repairs of the models need."""
    needed = set()
    for model in models:
        paths = [*ScoreTerms.from_document(model["terms"]).paths(), *filter(None, model["arrays"].values())]
        artifacts = {layout.artifact_of(path) for path in paths}
        if any(layout.kind_of(path) is Kind.SPECTRAL for path in artifacts):
            artifacts.add(Kind.ROOTS.path(model["dataset"]))
        if model["embedding"] is not None:
            artifacts.add(layout.transform(model["embedding"]))
        needed |= artifacts
    return needed


def _features_of_last_run(workspace: Workspace) -> set[str]:
    """Return the transformation of the embeddings that a run without sources goes on with."""
    embedding = (workspace.read_doc(layout.LAST_RUN) or {}).get("embedding")
    return set() if embedding is None else {layout.transform(str(embedding))}


def _delete(workspace: Workspace, artifacts: list[str], check: Callable[[], None]) -> None:
    """Delete completion records first, so that no stage is taken for done whose arrays are gone."""
    for record in workspace.stage_records():
        if any(_made(record, path) for path in artifacts):
            check()
            workspace.reopen_stage(record.stage, record.id)
    for path in artifacts:
        check()
        workspace.delete(path)


def _made(record: StageRecord, artifact: str) -> bool:
    """Tell whether a completion record says that an artifact, or an array of it, is finished."""
    if artifact in layout.made_by(record.stage, record.id):
        return True
    values = [value for value in record.params.values() if isinstance(value, str)]
    return any(layout.artifact_of(value) == artifact for value in values)


def _old_events(workspace: Workspace, keep: int, unfinished: set[str]) -> list[str]:
    """Return the keys of events and reports of all executions but the latest and the unfinished."""
    every = attempts(workspace)
    old = {attempt.name for attempt in every[: max(0, len(every) - keep)]} - unfinished
    files = [key for attempt in every if attempt.name in old for key in attempt.files]
    reports = workspace.blobs.list(layout.REPORTS)
    return files + [key for key in reports if layout.execution_of(key) in old]
