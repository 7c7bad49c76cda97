"""What a workspace takes, and taking out what no model needs any more."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from l3ae_dist.graphs.terms import ScoreTerms
from l3ae_dist.runtime.event_store import Attempt, attempts, read_events
from l3ae_dist.storage import layout
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.usage import array_bytes, free_bytes
from l3ae_dist.storage.workspace import Workspace

# What can be made again from the data and the embeddings, with the parts of the path that name one artifact.
_DERIVED = {
    "grams": 2,
    "factors": 4,
    "crosses": 2,
    "semantic": 4,
    "models": 2,
    "scores": 2,
    "weights": 2,
}


def usage(url: str) -> dict[str, Any]:
    """Bytes of every array by its finished chunks, of events and reports, and what the disk has left.

    Reads done-marks and array headers, no chunk.
    """
    workspace = Workspace.open(url)
    arrays = array_bytes(workspace)
    kinds: dict[str, dict[str, int]] = {}
    for path, found in arrays.items():
        kind = kinds.setdefault(path.split("/")[0], {"arrays": 0, "chunks": 0, "bytes": 0})
        kind["arrays"] += 1
        for name in ("chunks", "bytes"):
            kind[name] += found[name]
    for prefix in (layout.EVENTS, layout.REPORTS):
        sizes = [workspace.blobs.size(key) or 0 for key in workspace.blobs.list(prefix)]
        if sizes:
            kinds[prefix.split("/")[1]] = {"arrays": 0, "chunks": len(sizes), "bytes": sum(sizes)}
    return {
        "workspace": workspace.url,
        "bytes": sum(kind["bytes"] for kind in kinds.values()),
        "kinds": kinds,
        "arrays": arrays,
        "free_bytes": free_bytes(workspace),
    }


def collect_garbage(
    url: str, *, keep_runs: int = 1, keep_events: int = 20, dry_run: bool = False, force: bool = False
) -> dict[str, Any]:
    """Delete Gram matrices, factors, products and scores that no kept model needs.

    The data and the embeddings are never deleted.

    Parameters
    ----------
    url
        The workspace.
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
    ``{"workspace", "deleted": {path: bytes}, "kept": {path: bytes}, "unfinished": [path], "bytes", "events",
    "dry_run"}``.

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
) -> dict[str, Any]:
    """Find what is obsolete, and delete it where ``check`` raises nothing; None deletes nothing."""
    sizes: dict[str, int] = {}
    for path, found in array_bytes(workspace).items():
        root = _root(path)
        if root is not None:
            sizes[root] = sizes.get(root, 0) + found["bytes"]
    open_attempts = _unfinished(workspace)
    unfinished = set() if force else _touched(workspace, open_attempts) & set(sizes)
    needed = _needed(sizes, _kept_models(workspace, keep_runs), unfinished)
    obsolete = sorted(set(sizes) - needed)
    events = _old_events(workspace, keep_events, set() if force else {one.name for one in open_attempts})
    if check is not None:
        _delete(workspace, obsolete, check)
        for key in events:
            check()
            workspace.blobs.delete(key)
    return {
        "workspace": workspace.url,
        "deleted": {root: sizes[root] for root in obsolete},
        "kept": {root: sizes[root] for root in sorted(needed)},
        "unfinished": sorted(unfinished),
        "bytes": sum(sizes[root] for root in obsolete),
        "events": len(events),
        "dry_run": check is None,
    }


def _root(path: str) -> str | None:
    """The derived artifact that an array belongs to, None for data."""
    parts = path.split("/")
    return "/".join(parts[: _DERIVED[parts[0]]]) if parts[0] in _DERIVED else None


def _unfinished(workspace: Workspace) -> list[Attempt]:
    """All executions of the runs whose last one left no result."""
    runs: dict[str, list[Attempt]] = {}
    for attempt in attempts(workspace):
        runs.setdefault(attempt.run, []).append(attempt)
    found = []
    for run, executions in runs.items():
        finished = (workspace.read_doc(f"results/{run}") or {}).get("finished")
        if finished is None or executions[-1].started > datetime.fromisoformat(finished).timestamp() + 1:
            found += executions
    return found


def _touched(workspace: Workspace, executions: list[Attempt]) -> set[str]:
    """The artifacts that some executions wrote to, or found complete."""
    events = (event for attempt in executions for event in read_events(workspace, attempt))
    paths = (path for event in events for path in event.get("paths", ()))
    return {root for path in paths if (root := _root(path)) is not None}


def _kept_models(workspace: Workspace, keep_runs: int) -> list[dict[str, Any]]:
    """Documents of the current model and of the latest others."""
    current = workspace.read_doc(layout.CURRENT_MODEL)
    documents = [workspace.read_doc(key) for key in workspace.list_docs("fitted")]

    def finished(document: dict[str, Any]) -> str:
        return str((workspace.read_doc(f"results/{document['run']}") or {}).get("finished", ""))

    others = sorted((d for d in documents if d is not None and d != current), key=finished, reverse=True)
    kept = [] if current is None else [current]
    return [*kept, *others][: max(keep_runs, len(kept))]


def _needed(roots: Iterable[str], models: list[dict[str, Any]], unfinished: set[str]) -> set[str]:
    """The artifacts that the models read, those of unfinished runs, and the Gram matrices they came from."""
    paths = {path for model in models for path in ScoreTerms.from_document(model["head"]).paths()}
    paths |= {path for model in models for path in model["arrays"].values() if path}
    kept = unfinished | {root for path in paths if (root := _root(path)) is not None}
    grams = {f"grams/{root.split('/')[1]}" for root in kept if root.startswith("factors/")}
    return (kept | grams) & set(roots)


def _delete(workspace: Workspace, roots: list[str], check: Callable[[], None]) -> None:
    """Records first, so that no stage is taken for done whose arrays are gone."""
    for key in workspace.list_docs("stages"):
        record = workspace.read_doc(key)
        if record is not None and any(_made(record, root) for root in roots):
            check()
            workspace.delete_doc(key)
    for root in roots:
        check()
        workspace.delete(root)


def _made(record: dict[str, Any], root: str) -> bool:
    kind, _, identifier = root.partition("/")
    if kind == f"{record['stage']}s" and record["id"] == identifier:  # grams, scores
        return True
    values = [value for value in record["params"].values() if isinstance(value, str)]
    return any(value == root or value.startswith(f"{root}/") for value in values)


def _old_events(workspace: Workspace, keep: int, unfinished: set[str]) -> list[str]:
    """Keys of the events and reports of all executions but the latest and the unfinished."""
    every = attempts(workspace)
    old = {attempt.name for attempt in every[: max(0, len(every) - keep)]} - unfinished
    files = [key for attempt in every if attempt.name in old for key in attempt.files]
    reports = workspace.blobs.list(layout.REPORTS)
    return files + [key for key in reports if key.rpartition("/")[2].partition(".")[0] in old]
