"""Copying a model out of its workspace: what it scores with, and nothing of how it was made."""

from dataclasses import asdict, replace

from l3ae_dist.data.forgotten import Forgotten
from l3ae_dist.errors import WorkspaceError
from l3ae_dist.messages import shown
from l3ae_dist.model.added_items import AddedRecord
from l3ae_dist.pipeline.copies_elsewhere import note_copy
from l3ae_dist.pipeline.model_document import ModelDocument
from l3ae_dist.pipeline.named_models import keep_model
from l3ae_dist.storage import layout
from l3ae_dist.storage.blobs import Blobs, inside
from l3ae_dist.storage.chunks import TRAILER, ChunkArray
from l3ae_dist.storage.headers import is_workspace
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.open_blobs import open_blobs
from l3ae_dist.storage.records import JsonObject, StageRecord
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


def save_model(workspace: Workspace, document: ModelDocument, url: str) -> None:
    """Write the model ``document`` of a workspace, and what it needs, to a new workspace at ``url``.

    Its document is written last: a copy that was cut short holds no model, and the same call completes it.
    One object at a time is held.

    Parameters
    ----------
    workspace
        That of the model.
    document
        Record of the model.
    url
        Path or URL that is empty or not there, or holds a copy of this model that was cut short.

    Raises
    ------
    WorkspaceError
        When something else is there already.
    WorkspaceLockedError
        While another process saves there.
    """
    blobs = open_blobs(url)
    if f"{blobs.url}/".startswith(f"{workspace.url.rstrip('/')}/"):
        raise WorkspaceError(f"{url} is in the workspace {workspace.url}; save the model outside it.")
    paths = _paths(workspace, document)  # before anything is made
    copied: JsonObject = {"workspace": workspace.url, "run": document.run}
    _refuse_others(blobs, copied)
    note_copy(workspace, document, "saved model", url)  # before it holds anything
    target = Workspace.create(url, version=workspace.format)
    with WorkspaceLock(target, "save"):
        target.write_doc(layout.UNFINISHED_COPY, copied)
        forgotten = Forgotten.read(workspace)
        if forgotten:  # before the data: the copy keeps them out too
            forgotten.write(target)
        _copy_model(workspace, target, document, paths)
        target.delete_doc(layout.UNFINISHED_COPY)


def _refuse_others(blobs: Blobs, copied: JsonObject) -> None:
    """Refuse a place that holds anything but the beginning of the same copy."""
    held = set(blobs.list(""))
    if held <= layout.NEW_WORKSPACE:
        return
    begun = Workspace.open(blobs.url).read_doc(layout.UNFINISHED_COPY) if is_workspace(blobs) else None
    if begun is None:
        raise WorkspaceError(f"{blobs.url} is not empty; save the model to a new location.")
    if begun != copied:
        raise WorkspaceError(
            f"{blobs.url} holds the beginning of a copy of another model (run {shown(begun.get('run'))} of "
            f"{shown(begun.get('workspace'))}); repeat that save, or save this model to a new location."
        )


def _copy_model(workspace: Workspace, target: Workspace, document: ModelDocument, paths: list[str]) -> None:
    dataset, features = document.dataset, document.embedding
    for path in [*paths, *layout.DatasetPaths(dataset).folders]:
        _copy(workspace, target, path)
    _copy_stage(workspace, target, Stage.INGEST, dataset)
    if features is not None:
        _copy_features(workspace, target, features)
    saved = replace(document, arrays={**document.arrays, "gram": None})
    keep_model(target, saved)


def _paths(workspace: Workspace, document: ModelDocument) -> list[str]:
    """Every array of the terms, those that cold start needs beside it, and the features."""
    arrays = {name: path for name, path in document.arrays.items() if path and name != "gram"}
    paths = [*document.terms.paths(), *arrays.values()]
    for name, path in arrays.items():
        if name == "V":
            paths.append(layout.SemanticPaths.holding(path).a)
        if name in ("P", "P1"):
            paths.append(layout.FactorPaths.holding(path).diagonal)
    return [inside(path, workspace.url) for path in dict.fromkeys(paths)]


def _copy_features(workspace: Workspace, target: Workspace, features: str) -> None:
    """Copy the records of how the features were made, for new text, and the added items."""
    stage = layout.features_stage(features)
    record = _copy_stage(workspace, target, stage, features)
    source = record.params.get("source")
    if source is not None:
        # for its encoder: new items need no row that was there before the transformation
        made = replace(workspace.require_stage(stage, source), arrays=[])
        target.write_doc(layout.completed_stage(stage, source), made.document())
        _copy(workspace, target, layout.transform(str(record.params.get("fitted", features))))
    _copy(workspace, target, layout.digests(features))
    added = AddedRecord.read(workspace, features)
    if added is not None:
        _copy(workspace, target, added.paths(features).base)
        target.write_doc(layout.added_items(features), asdict(added))


def _copy_stage(workspace: Workspace, target: Workspace, stage: Stage, identifier: str) -> StageRecord:
    record = workspace.require_stage(stage, identifier)
    target.write_doc(layout.completed_stage(stage, identifier), record.document())
    return record


def _copy(workspace: Workspace, target: Workspace, path: str) -> None:
    """Copy every array at or below a path, and what else is there."""
    marks = workspace.blobs.list(layout.done_marks(path))
    copied = {
        key for array in set(map(layout.array_of_mark, marks)) for key in copy_array(workspace, target, array)
    }
    for prefix in (path, layout.done_marks(path)):
        for key in workspace.blobs.list(prefix):
            data = None if key in copied else workspace.blobs.get(key)
            if data is not None:
                target.blobs.put(key, [data])


def copy_array(workspace: Workspace, target: Workspace, path: str) -> set[str]:
    """Copy the chunks of a finished array, each read and verified; return the keys of the chunks.

    Parameters
    ----------
    workspace, target
        From where, and to where.
    path
        Of the array.

    Raises
    ------
    DamagedTileError
        When a chunk is damaged or missing.
    """
    target.write_groups(path)
    array = ChunkArray.open(workspace, path)
    buffer, keys = array.buffer(), set()
    for i, j in array.cells():
        array.read(i, j, buffer)
        keys.add(key := layout.chunk(path, i, j, flat=array.flat))
        target.blobs.put(key, [buffer[: array.chunk_nbytes + TRAILER].data])
    return keys
