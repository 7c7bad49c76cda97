"""What a workspace holds, read from storage alone: no engine is started."""

from typing import Any

from l3ae_dist.errors import StageMissingError
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray, done_counts
from l3ae_dist.storage.lock import lock_holder
from l3ae_dist.storage.workspace import Workspace


def workspace_status(url: str) -> dict[str, Any]:
    """What a workspace holds and which run is writing it, read from storage alone."""
    workspace = Workspace.open(url)
    stages: dict[str, list[dict[str, Any]]] = {}
    for key in workspace.list_docs("stages"):
        record = workspace.read_doc(key)
        if record is not None:
            stages.setdefault(record["stage"], []).append(
                {"id": record["id"], "finished": record["finished"], "params": record["params"]}
            )
    results = [workspace.read_doc(key) for key in workspace.list_docs("results")]
    return {
        "workspace": workspace.url,
        "stages": stages,
        "arrays": _array_progress(workspace),
        "model": workspace.read_doc("model"),
        "lock": _lock(workspace),
        "results": [r for r in results if r is not None],
    }


def _lock(workspace: Workspace) -> dict[str, Any] | None:
    holder = lock_holder(workspace)
    if holder is None:
        return None
    names = ("run_id", "host", "pid", "epoch", "since", "heartbeat")
    return {name: getattr(holder, name) for name in names}


def _array_progress(workspace: Workspace) -> dict[str, dict[str, int]]:
    progress = {}
    for path, done in done_counts(workspace).items():
        try:
            grid = ChunkArray.open(workspace, path).grid
        except StageMissingError:  # a run that goes on has just deleted it
            continue
        progress[path] = {
            "done": done,
            "total": grid[0] * (grid[0] + 1) // 2 if layout.is_lower(path, grid) else grid[0] * grid[1],
        }
    return progress
