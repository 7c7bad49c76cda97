"""State of a workspace, read from storage alone, for ``l3ae-dist status``: no engine is started."""

from dataclasses import asdict, dataclass

from l3ae_dist.errors import StageMissingError
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray, done_counts
from l3ae_dist.storage.lock import Holder, lock_holder
from l3ae_dist.storage.records import JsonObject, StageRecord
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
    model
        Document of the current model; None when none was fitted.
    lock
        The run that writes to the workspace; None when it is free.
    results
        Documents of the results of all runs.
    """

    workspace: str
    stages: dict[str, list[StageRecord]]
    arrays: dict[str, ArrayProgress]
    model: JsonObject | None
    lock: Holder | None
    results: list[JsonObject]

    def document(self) -> JsonObject:
        """Return the state as JSON-like values."""
        return {
            "workspace": self.workspace,
            "stages": {
                stage: [{"id": one.id, "finished": one.finished, "params": one.params} for one in records]
                for stage, records in self.stages.items()
            },
            "arrays": {path: asdict(progress) for path, progress in self.arrays.items()},
            "model": self.model,
            "lock": None if self.lock is None else _lock_document(self.lock),
            "results": self.results,
        }


def workspace_status(url: str) -> WorkspaceStatus:
    """Read which stages are complete in a workspace, how far its arrays are, and which run writes to it."""
    workspace = Workspace.open(url)
    stages: dict[str, list[StageRecord]] = {}
    for record in workspace.stage_records():
        stages.setdefault(record.stage, []).append(record)
    results = (workspace.read_doc(key) for key in workspace.list_docs(layout.RESULTS))
    return WorkspaceStatus(
        workspace=workspace.url,
        stages=stages,
        arrays=_array_progress(workspace),
        model=workspace.read_doc(layout.CURRENT_MODEL),
        lock=lock_holder(workspace),
        results=[result for result in results if result is not None],
    )


def _lock_document(holder: Holder) -> JsonObject:
    names = ("run_id", "host", "pid", "epoch", "since", "heartbeat")
    return {name: getattr(holder, name) for name in names}


def _array_progress(workspace: Workspace) -> dict[str, ArrayProgress]:
    progress = {}
    for path, done in done_counts(workspace).items():
        try:
            grid = ChunkArray.open(workspace, path).grid
        except StageMissingError:  # a run that goes on has just deleted it
            continue
        lower = layout.is_lower(path, grid)
        progress[path] = ArrayProgress(done, grid[0] * (grid[0] + 1) // 2 if lower else grid[0] * grid[1])
    return progress
