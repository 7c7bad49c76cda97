"""State of a workspace, read from storage alone, for ``l3ae-dist status``: no engine is started."""

from dataclasses import asdict, dataclass

from l3ae_dist.data.forgotten import Forgotten
from l3ae_dist.errors import StageMissingError
from l3ae_dist.pipeline.model_document import ModelDocument, is_whole
from l3ae_dist.pipeline.named_models import Current, known_models, read_current
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.completeness import lost_chunks
from l3ae_dist.storage.damage_notes import DamagedChunk
from l3ae_dist.storage.done_marks import done_counts
from l3ae_dist.storage.holder import Holder
from l3ae_dist.storage.lock import lock_holder
from l3ae_dist.storage.records import JsonObject, StageRecord
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ArrayProgress:
    """Chunks of one array: finished ones, and all that it will have."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class WorkspaceStatus:
    """State of a workspace.

    Parameters
    ----------
    workspace
        Path or URL.
    stages
        Completion records by the name of their stage.
    arrays
        Finished chunks by the path of the array.
    current
        The current model: name, member, params, date, what made it, data, figures, and the model that it
        replaced; None when none was fitted.
    models
        All models, the oldest first.
    model
        Document of the current model; None when none was fitted.
    lock
        The run that holds the workspace, as far as one look tells; None when it is free.
    results
        Documents of the results of all runs.
    lost
        Chunks that completed stages and the current model lack; such stages are not among ``stages``.
    forgotten
        Users who were forgotten: ``state``, numbers and deadlines; None for nobody.
    """

    workspace: str
    current: JsonObject | None
    models: list[JsonObject]
    stages: dict[str, list[StageRecord]]
    arrays: dict[str, ArrayProgress]
    model: JsonObject | None
    lock: Holder | None
    results: list[JsonObject]
    lost: list[DamagedChunk]
    forgotten: JsonObject | None = None

    def document(self) -> JsonObject:
        """Return the state as JSON-like values."""
        return {
            "workspace": self.workspace,
            "current": self.current,
            "models": self.models,
            "stages": {
                stage: [_stage_document(one) for one in records] for stage, records in self.stages.items()
            },
            "arrays": {path: asdict(progress) for path, progress in self.arrays.items()},
            "model": self.model,
            "lock": None if self.lock is None else _lock_document(self.lock),
            "results": self.results,
            "lost": [asdict(one) for one in self.lost],
            "forgotten": self.forgotten,
        }


def _stage_document(record: StageRecord) -> JsonObject:
    """Describe a finished stage; of data with their figures, which tell what was read and dropped."""
    document = {"id": record.id, "finished": record.finished, "params": record.params}
    return document | {"stats": record.stats} if record.stage == Stage.INGEST else document


def workspace_status(url: str) -> WorkspaceStatus:
    """Read which stages are complete in a workspace, how far its arrays are, and which run writes to it.

    Raises
    ------
    WorkspaceError
        When there is none.
    DamagedDocumentError
        When one of its documents is damaged, or that of the current model is lost.
    """
    workspace = Workspace.open(url)
    workspace.refuse_lost_model()
    stages: dict[str, list[StageRecord]] = {}
    lost = lost_chunks(workspace)
    incomplete = {maker for one in lost for maker in layout.makers(one.array)}
    for record in workspace.stage_records():
        if (record.stage, record.id) not in incomplete:
            stages.setdefault(record.stage, []).append(record)
    stored = (workspace.read_doc(key) for key in workspace.list_docs(layout.RESULTS))
    results = [{**result, "workspace": workspace.url} for result in stored if result is not None]
    current = read_current(workspace)
    name = None if current is None else current.model.label
    return WorkspaceStatus(
        workspace=workspace.url,
        current=None if current is None else _current_document(workspace, current, results),
        models=[
            _model_document(workspace, model, results) | {"current": model.label == name}
            for model in known_models(workspace)
        ],
        stages=stages,
        arrays=_array_progress(workspace),
        model=workspace.read_doc(layout.CURRENT_MODEL),
        lock=lock_holder(workspace),
        results=results,
        lost=lost,
        forgotten=Forgotten.read(workspace).told(),
    )


def _current_document(workspace: Workspace, current: Current, results: list[JsonObject]) -> JsonObject:
    """Describe the current model: what it is, since when it is current, and what it replaced."""
    told = current.told()
    return _model_document(workspace, current.model, results) | {
        "since": current.since or None,
        "replaced": told.get("replaced"),
    }


def _model_document(workspace: Workspace, model: ModelDocument, results: list[JsonObject]) -> JsonObject:
    """Describe a model with the size of its data and its figures, where some run measured it."""
    record = workspace.stage_done(Stage.INGEST, model.dataset)
    stats = {} if record is None else record.stats
    data = None
    if stats:
        data = {
            "interactions": sum(stats["nnz"].get(split, 0) for split in ("train", "valid", "test")),
            "users": stats["n_users"],
            "items": stats["n_items"],
        }
    return {
        **model.summary(),
        "run": model.run,
        "data": data,
        "figures": _figures(model, results),
        "whole": is_whole(workspace, model),
    }


def _figures(model: ModelDocument, results: list[JsonObject]) -> JsonObject:
    """Return the test metrics of a model by name: those of the latest run that measured it."""
    found: tuple[str, JsonObject] = ("", {})
    for result in results:
        told = (result.get("model") or {}).get("name")
        test = result.get("models", {}).get(model.name, {}).get("test")
        if test and (told == model.label or (told is None and result.get("run") == model.run)):
            metrics = {name: value for name, value in test.items() if isinstance(value, float)}
            found = max(found, (str(result.get("finished") or ""), metrics), key=lambda one: one[0])
    return found[1]


def _lock_document(holder: Holder) -> JsonObject:
    names = ("run_id", "host", "pid", "epoch", "since", "heartbeat")
    document: JsonObject = {name: getattr(holder, name) for name in names}
    return document | {"silent_seconds": holder.silent_seconds}


def _array_progress(workspace: Workspace) -> dict[str, ArrayProgress]:
    progress = {}
    for path, done in done_counts(workspace.blobs).items():
        try:
            grid = ChunkArray.open(workspace, path).grid
        except StageMissingError:  # a run that goes on has just deleted it
            continue
        lower = layout.is_lower(path, grid)
        progress[path] = ArrayProgress(done, grid[0] * (grid[0] + 1) // 2 if lower else grid[0] * grid[1])
    return progress
