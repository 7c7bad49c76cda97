"""Copying a model out of its workspace: what it scores with, and nothing of how it was made."""

from dataclasses import asdict, replace

from l3ae_dist.errors import WorkspaceError
from l3ae_dist.model.added_items import AddedRecord
from l3ae_dist.pipeline.model_document import ModelDocument
from l3ae_dist.storage import layout
from l3ae_dist.storage.open_blobs import open_blobs
from l3ae_dist.storage.records import StageRecord
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


def save_model(workspace: Workspace, document: ModelDocument, url: str) -> None:
    """Write the model ``document`` of a workspace, and what it needs, to a new workspace at ``url``.

    Its document is written last: a copy that was cut short holds no model. One object at a time is held.

    Parameters
    ----------
    workspace
        That of the model.
    document
        Record of the model.
    url
        Path or URL that is empty or not there.

    Raises
    ------
    WorkspaceError
        When something is there already.
    """
    if any(True for _ in open_blobs(url).list("")):
        raise WorkspaceError(f"{url} is not empty; save the model to a new location.")
    target = Workspace.create(url)
    dataset, features = document.dataset, document.embedding
    paths = _paths(document)
    for path in [*paths, *layout.DatasetPaths(dataset).folders]:
        _copy(workspace, target, path)
    _copy_stage(workspace, target, Stage.INGEST, dataset)
    if features is not None:
        _copy_features(workspace, target, features)
    saved = replace(document, arrays={**document.arrays, "gram": None})
    target.write_doc(layout.CURRENT_MODEL, saved.document())


def _paths(document: ModelDocument) -> list[str]:
    """Every array of the terms, those that cold start needs beside it, and the features."""
    arrays = {name: path for name, path in document.arrays.items() if path and name != "gram"}
    paths = [*document.terms.paths(), *arrays.values()]
    for name, path in arrays.items():
        if name == "V":
            paths.append(layout.SemanticPaths.holding(path).a)
        if name in ("P", "P1"):
            paths.append(layout.FactorPaths.holding(path).diagonal)
    return list(dict.fromkeys(paths))


def _copy_features(workspace: Workspace, target: Workspace, features: str) -> None:
    """Copy the records of how the features were made, for new text, and the added items."""
    stage = layout.features_stage(features)
    record = _copy_stage(workspace, target, stage, features)
    source = record.params.get("source")
    if source is not None:
        _copy_stage(workspace, target, stage, source)
        _copy(workspace, target, layout.transform(features))
    added = AddedRecord.read(workspace, features)
    if added is not None:
        _copy(workspace, target, added.paths(features).base)
        target.write_doc(layout.added_items(features), asdict(added))


def _copy_stage(workspace: Workspace, target: Workspace, stage: Stage, identifier: str) -> StageRecord:
    record = workspace.require_stage(stage, identifier)
    target.write_doc(layout.completed_stage(stage, identifier), record.document())
    return record


def _copy(workspace: Workspace, target: Workspace, path: str) -> None:
    """All objects below a path, and the done-marks of its chunks."""
    for prefix in (path, layout.done_marks(path)):
        for key in workspace.blobs.list(prefix):
            data = workspace.blobs.get(key)
            if data is not None:
                target.blobs.put(key, [data])
