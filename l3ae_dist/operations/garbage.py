"""Deleting what no kept model needs, for ``l3ae-dist gc``."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import named, shown
from l3ae_dist.pipeline.model_document import ModelDocument
from l3ae_dist.pipeline.named_models import forget_model, known_models, read_current
from l3ae_dist.pipeline.needed_artifacts import (
    artifacts_of,
    delete_artifacts,
    derived_bytes,
    features_of_last_run,
    lacks_record,
)
from l3ae_dist.runtime.event_store import Attempt, attempts, read_events
from l3ae_dist.storage import layout
from l3ae_dist.storage.layout import Kind
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.readers import is_read, knows_readers
from l3ae_dist.storage.scratch import abandoned_scratch, sweep_scratch
from l3ae_dist.storage.workspace import Workspace

# What a run uses without an event that tells so: kept for every run that has not finished.
_UNTOLD = (Kind.ROOTS, Kind.SPECTRAL, Kind.TRANSFORMS, Kind.EMBEDDINGS)


@dataclass(frozen=True, slots=True)
class Collection:
    """The outcome of a collection: what was deleted from a workspace, or would be.

    Parameters
    ----------
    workspace
        Path or URL.
    deleted, kept
        Bytes of every derived artifact, by path; the deleted ones with left-over scratch.
    unfinished
        Those of the kept ones that runs which have not finished would go on with.
    models
        Names of the models that are kept.
    read
        Names of those of the kept ones that a process of this machine has open, and that were deleted else.
    readers_known
        False on object storage, where nobody knows who has a model open.
    left_over
        Bytes of what killed processes left: unfinished files of the workspace, temporary folders of this
        machine.
    given_up
        Names of the models whose arrays are deleted, and which no call can name any more.
    events
        Number of deleted files of events and reports.
    dry_run
        True when nothing was deleted.
    """

    workspace: str
    deleted: dict[str, int]
    kept: dict[str, int]
    unfinished: list[str]
    models: list[str]
    read: list[str]
    readers_known: bool
    left_over: dict[str, int]
    given_up: list[str]
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
    url: str,
    *,
    keep_runs: int = 1,
    keep_events: int = 20,
    drop: Sequence[str] = (),
    dry_run: bool = False,
    force: bool = False,
) -> Collection:
    """Delete Gram matrices, factors, products, scores and the like that no kept model needs.

    So are transformed copies of embeddings, and the scratch that killed runs left. The data and the
    embeddings as they were made or given are never deleted. Kept are the current model, those with a name
    that a user gave, those that an append or update made or a sweep picked (unless a later one went on from
    them), and of all others the latest.

    Parameters
    ----------
    url
        Path or URL of the workspace.
    keep_runs
        How many models to keep: the current one, then the latest.
    keep_events
        The events and reports of how many executions to keep.
    drop
        Names of models that are not to be kept.
    dry_run
        Only tell what would be deleted.
    force
        Delete also what runs that have not finished would go on with.

    Returns
    -------
    The artifacts that were deleted and those that are kept, with their bytes.

    Raises
    ------
    ConfigError
        For a model to drop that is not there, or is the current one.
    DamagedDocumentError
        When the document of the current model is damaged or lost.
    WorkspaceLockedError
        While a run writes to the workspace.
    """
    workspace = Workspace.open(url)
    workspace.refuse_lost_model()
    keep = _Kept(keep_runs, keep_events, frozenset(drop), force)
    if dry_run:
        return _collect(workspace, keep, None)
    with WorkspaceLock(workspace, "gc") as lock:
        return _collect(workspace, keep, lock.renew)


@dataclass(frozen=True, slots=True)
class _Kept:
    """Numbers of models and executions to keep, models to drop, and whether unfinished runs count."""

    runs: int
    events: int
    drop: frozenset[str]
    force: bool


def _collect(workspace: Workspace, keep: _Kept, check: Callable[[], None] | None) -> Collection:
    """Find what is obsolete, and delete it where ``check`` raises nothing; None deletes nothing."""
    models = known_models(workspace)
    kept_models = _kept_models(workspace, models, keep)
    others = [model for model in models if model not in kept_models]
    read = [] if keep.force else [one for one in others if is_read(workspace.blobs, one.own_path)]
    kept_models = [*kept_models, *read]
    unfinished_files, temporary = workspace.blobs.abandoned(), abandoned_scratch()
    sizes = derived_bytes(workspace)
    open_executions = [] if keep.force else _unfinished(workspace)
    unfinished = _used_by(workspace, open_executions, set(sizes))
    needed = unfinished | {path for model in kept_models for path in artifacts_of(workspace, model)}
    needed |= features_of_last_run(workspace)
    if any(lacks_record(workspace, model.embedding) for model in kept_models):
        needed |= {path for path in sizes if layout.kind_of(path) in (Kind.TRANSFORMS, Kind.EMBEDDINGS)}
    needed |= {gram for path in needed if (gram := layout.gram_of(path)) is not None}
    needed &= set(sizes)
    sizes |= (scratch := _scratch_bytes(workspace))
    obsolete = sorted(set(sizes) - needed)
    events = _old_events(workspace, keep.events, {one.name for one in open_executions})
    given_up = _given_up(workspace, models, kept_models, keep, set(obsolete))
    if check is not None:
        for name in given_up:
            check()
            forget_model(workspace, name)
        delete_artifacts(workspace, [path for path in obsolete if path not in scratch], check)
        for path in scratch:
            check()
            workspace.blobs.delete_prefix(path)
        for key in (*events, *unfinished_files):
            check()
            workspace.blobs.delete(key)
        sweep_scratch()
    return Collection(
        workspace=workspace.url,
        deleted={path: sizes[path] for path in obsolete},
        kept={path: sizes[path] for path in sorted(needed)},
        unfinished=sorted(unfinished),
        models=[model.label for model in models if model.label not in given_up],
        read=[model.label for model in read],
        readers_known=knows_readers(workspace.blobs),
        left_over={**unfinished_files, **temporary},
        given_up=given_up,
        events=len(events),
        dry_run=check is None,
    )


def _scratch_bytes(workspace: Workspace) -> dict[str, int]:
    """Sum up what was left below the scratch folder by run; under the lock none of it is in use."""
    sizes: dict[str, int] = {}
    for key in workspace.blobs.list(layout.SCRATCH):
        folder = layout.scratch_of(key)
        sizes[folder] = sizes.get(folder, 0) + (workspace.blobs.size(key) or 0)
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


def _kept_models(workspace: Workspace, models: list[ModelDocument], keep: _Kept) -> list[ModelDocument]:
    """Choose the models to keep: the current one, those that nothing makes again as such, and the latest."""
    current = read_current(workspace)
    name = None if current is None else current.model.label
    known = {model.label for model in models}
    for dropped in sorted(keep.drop):
        if dropped not in known or dropped == name:
            why = "is the current model; make another current first" if dropped == name else "is no model"
            raise ConfigError(f"{shown(dropped)} {why} (models of {workspace.url}: {named(sorted(known))}).")
    left = [model for model in models if model.label not in keep.drop]
    outgrown = {model.parent for model in left}
    lasting = [model for model in left if model.label == name or model.given or _is_lasting(model, outgrown)]
    others = [model for model in reversed(left) if model not in lasting]
    count = keep.runs - (1 if name is not None else 0)
    return [*lasting, *others[: max(0, count)]]


def _is_lasting(model: ModelDocument, outgrown: set[str | None]) -> bool:
    """Tell whether a model grew from another or was picked by a sweep, and no later one went on from it."""
    return model.by in ("append", "update", "forget", "sweep") and model.label not in outgrown


def _given_up(
    workspace: Workspace,
    models: list[ModelDocument],
    kept: list[ModelDocument],
    keep: _Kept,
    obsolete: set[str],
) -> list[str]:
    """Name the models that are dropped, or lose an array."""
    lost = [
        model.label
        for model in models
        if model not in kept and (model.label in keep.drop or artifacts_of(workspace, model) & obsolete)
    ]
    return sorted(lost)


def _old_events(workspace: Workspace, keep: int, unfinished: set[str]) -> list[str]:
    """Return the keys of events and reports of all executions but the latest and the unfinished."""
    every = attempts(workspace)
    old = {attempt.name for attempt in every[: max(0, len(every) - keep)]} - unfinished
    files = [key for attempt in every if attempt.name in old for key in attempt.files]
    reports = workspace.blobs.list(layout.REPORTS)
    return files + [key for key in reports if layout.execution_of(key) in old]
