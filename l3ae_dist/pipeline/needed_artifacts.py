"""Artifacts of a workspace that can be made again, and which of them a model needs."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from l3ae_dist.embed.core_order import in_catalog_order, ordered_id
from l3ae_dist.embed.stored_transform import fitted_for
from l3ae_dist.errors import StageMissingError
from l3ae_dist.pipeline.model_document import ModelDocument
from l3ae_dist.storage import layout
from l3ae_dist.storage.array_sizes import array_sizes
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.layout import Kind
from l3ae_dist.storage.records import StageRecord
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


def derived_bytes(workspace: Workspace) -> dict[str, int]:
    """Sum up the arrays of every artifact that can be made again."""
    sizes: dict[str, int] = {}
    arrays = array_sizes(workspace)
    records = list(workspace.stage_records())
    copies = _copies(workspace, records) | _unrecorded_copies(workspace, records, arrays)
    for path, size in arrays.items():
        if layout.is_derived(path) or path in copies:
            artifact = layout.artifact_of(path)
            sizes[artifact] = sizes.get(artifact, 0) + size.bytes
    return sizes


def _copies(workspace: Workspace, records: Iterable[StageRecord]) -> set[str]:
    """Return the embeddings that were transformed or ordered, if those they were made from are there."""
    found = set()
    for record in records:
        if record.stage is Stage.EMBED:
            source = _made_from(workspace, record)
            if source is not None and workspace.has(layout.embeddings(source)):
                found.add(layout.embeddings(record.id))
    return found


def _unrecorded_copies(
    workspace: Workspace, records: Sequence[StageRecord], arrays: Iterable[str]
) -> set[str]:
    """Return the copies of embeddings without a completion record: of killed runs, or damaged ones.

    Transformed ones are float64, which embeddings as they were made or given never are; ordered ones are told
    by their ids. Others may be an import or an encoder's rows on their way, and are no copies.
    """
    complete, datasets = (
        {record.id for record in records if record.stage is stage} for stage in (Stage.EMBED, Stage.INGEST)
    )
    ordered = {ordered_id(source, dataset) for source in complete for dataset in datasets}
    begun = {path: layout.identifier_of(path) for path in arrays if layout.kind_of(path) is Kind.EMBEDDINGS}
    return {
        path
        for path, identifier in begun.items()
        if identifier not in complete and (identifier in ordered or _is_float64(workspace, path))
    }


def _is_float64(workspace: Workspace, path: str) -> bool:
    """Tell whether an array holds float64; not where a run that goes on has just deleted it."""
    try:
        return bool(ChunkArray.open(workspace, path).dtype == np.float64)
    except StageMissingError:
        return False


def _made_from(workspace: Workspace, record: StageRecord) -> str | None:
    """Return the id of the embeddings that others were made from in this workspace; None for other ones."""
    if "source" in record.params:
        return str(record.params["source"])
    before = in_catalog_order(workspace, record.id)
    return None if before == record.id else before


def artifacts_of(workspace: Workspace, model: ModelDocument) -> set[str]:
    """Return the artifacts that a model reads, and those that new items and its repairs need."""
    artifacts = {
        layout.artifact_of(path) for path in (*model.terms.paths(), *filter(None, model.arrays.values()))
    }
    if any(layout.kind_of(path) is Kind.SPECTRAL for path in artifacts):
        artifacts.add(Kind.ROOTS.path(model.dataset))
    if model.embedding is not None:
        artifacts |= _features(workspace, model.embedding)
    return artifacts


def _features(workspace: Workspace, features: str) -> set[str]:
    """Return the embeddings that a model reads, those that they were made from, and their transformation."""
    if layout.are_words(features):
        return set()
    record = workspace.stage_done(Stage.EMBED, features)
    if record is None:
        return {layout.transform(features), layout.embeddings(features)}
    fitted = fitted_for(workspace, features) or features
    needed = (features, fitted, _made_from(workspace, record))
    return {layout.transform(fitted), *(layout.embeddings(one) for one in needed if one is not None)}


def lacks_record(workspace: Workspace, features: str | None) -> bool:
    """Tell whether nothing says what the embeddings of a model were made from, and with which transformation.

    So it is between a repair that took a damaged chunk out and the run that makes it again.
    """
    embedded = features is not None and not layout.are_words(features)
    return embedded and workspace.stage_done(Stage.EMBED, str(features)) is None


def features_of_last_run(workspace: Workspace) -> set[str]:
    """Return the transformation of the embeddings that a run without sources goes on with."""
    embedding = (workspace.read_doc(layout.LAST_RUN) or {}).get("embedding")
    return set() if embedding is None else {layout.transform(str(embedding))}


def delete_artifacts(workspace: Workspace, artifacts: list[str], check: Callable[[], None]) -> None:
    """Delete completion records first, so that no stage is taken for done whose arrays are gone.

    Parameters
    ----------
    workspace, artifacts
        Where, and the paths.
    check
        Called before each; it raises where the lock was lost.
    """
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
