"""Erasing forgotten users from all that a workspace keeps: what may hold them is made again, or deleted.

The current model is solved from data without them first. Then everything goes that is not certainly free of
them: their datasets, models and figures of these, Gram matrices, inverses and changes of inverses, scores,
results, events and reports. What a kept model needs stays.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.forgotten import Forgotten
from l3ae_dist.embed.stored_transform import kept_transform
from l3ae_dist.errors import DamagedTileError, StageMissingError, WorkspaceError
from l3ae_dist.pipeline.copies_elsewhere import copies_of_others
from l3ae_dist.pipeline.corrections import change_of, changed_by
from l3ae_dist.pipeline.evaluate import solve_of
from l3ae_dist.pipeline.inputs import Inputs, Source
from l3ae_dist.pipeline.job import Job
from l3ae_dist.pipeline.model_document import MadeBy, ModelDocument, config_of_model, raw_embeddings
from l3ae_dist.pipeline.named_models import (
    Current,
    forget_model,
    go_on_with,
    known_models,
    read_current,
    read_model,
)
from l3ae_dist.pipeline.needed_artifacts import artifacts_of, delete_artifacts
from l3ae_dist.pipeline.result import ResultDocument
from l3ae_dist.pipeline.run import run_job
from l3ae_dist.runtime.event_log import told_as_events
from l3ae_dist.runtime.event_store import attempts
from l3ae_dist.runtime.events import OnEvent
from l3ae_dist.storage import layout
from l3ae_dist.storage.layout import DATASET_KINDS, Kind
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.mend import mend_documents
from l3ae_dist.storage.os_errors import storage_errors
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

# What is made of the items alone, whoever has them.
_OF_ITEMS = (Kind.TRANSFORMS, Kind.EMBEDDINGS, Kind.DIGESTS, Kind.WORDS, Kind.ADDED)


class ErasureJob(Job):
    """A fit of data without forgotten users, with an inverse of its own."""

    made_by: ClassVar[MadeBy] = "forget"


@dataclass(frozen=True, slots=True)
class Erasure:
    """Outcome of an erasure.

    Parameters
    ----------
    datasets, models
        Numbers of datasets that were deleted, and names of the models.
    bytes
        Bytes that were deleted with them.
    elsewhere
        What was made of the deleted models outside the workspace, which nobody here can delete.
    """

    datasets: int
    models: list[str]
    bytes: int
    elsewhere: list[dict[str, str]]

    def told(self) -> dict[str, object]:
        """Return what a result tells of it."""
        return asdict(self)


def is_free(workspace: Workspace, model: ModelDocument, forgotten: Forgotten) -> bool:
    """Tell whether neither the data of a model nor those of its inverse hold forgotten users.

    Parameters
    ----------
    workspace, model
        The model.
    forgotten
        The users.
    """
    return all(one is not None and _is_free(workspace, one, forgotten) for one in _data_of(workspace, model))


def _data_of(workspace: Workspace, model: ModelDocument) -> list[str | None]:
    """Name the data of a model and those of the inverse that its own is changed from; None if not known."""
    if changed_by(model) is None:
        return [model.dataset]
    change = change_of(workspace, model)
    return [model.dataset, None if change is None else str(change.params["dataset"])]


def _is_free(workspace: Workspace, dataset: str, forgotten: Forgotten) -> bool:
    """Tell whether a dataset is there and holds none of the users; a damaged one may hold any."""
    try:
        return not forgotten.users_of(Dataset(workspace, dataset)).any()
    except (StageMissingError, DamagedTileError):
        return False


def erase_when_due(
    workspace: Workspace, compute: Mapping[str, object] | None, on_event: OnEvent | None
) -> ResultDocument | None:
    """Erase where the deadline of a request has come; return what a result tells of it, or None.

    Parameters
    ----------
    workspace, compute, on_event
        Where, and with which section of the configuration the current model is solved where it must be.
    """
    forgotten = Forgotten.read(workspace)
    if not forgotten.due:
        return None
    document = read_model(workspace)
    if not is_free(workspace, document, forgotten):
        solve = {**(compute or {}), **solve_of(document, {})}
        config = config_of_model(workspace, document, compute=solve)
        embedding = raw_embeddings(workspace, document.embedding)
        kept = kept_transform(workspace, document.embedding)
        source = Source(document.dataset, embedding, document.label, kept)
        run_job(ErasureJob, config, Inputs(), source=source, until="fit", on_event=on_event)
    erased = erase(workspace, on_event).told()
    return {**(Forgotten.read(workspace).told() or {}), **erased}


def erase(workspace: Workspace, on_event: OnEvent | None) -> Erasure:
    """Delete what may hold forgotten users, and note that they are erased; what was begun is gone on with.

    Parameters
    ----------
    workspace
        Its current model is free of them.
    on_event
        Told of the lock.

    Raises
    ------
    WorkspaceError
        When the current model may hold them; nothing is deleted then.
    WorkspaceLockedError
        While another run writes to the workspace.
    """
    mend_documents(workspace)
    with (
        storage_errors(workspace.url),
        WorkspaceLock(workspace, "erase", told_as_events(on_event)) as lock,
    ):
        forgotten = Forgotten.read(workspace)
        recorded = [record.id for record in workspace.stage_records() if record.stage is Stage.INGEST]
        free = {one for one in recorded if _is_free(workspace, one, forgotten)}
        models = known_models(workspace)
        kept = [one for one in models if free.issuperset(_data_of(workspace, one))]
        labels = {one.label for one in kept}
        current = read_current(workspace)
        if current is None or current.model.label not in labels:
            raise WorkspaceError(
                f"the current model of {workspace.url} may hold forgotten users, so nothing was erased; "
                "repeat `l3ae-dist forget --erase`."
            )
        elsewhere = copies_of_others(workspace, free, labels)
        workspace.write_doc(layout.CURRENT_MODEL, Current(current.model, current.since).document())
        go_on_with(workspace, current.model)
        gone = sorted(one.label for one in models if one.label not in labels)
        for name in gone:
            forget_model(workspace, name)
        datasets, size = _delete_arrays(workspace, kept, free, lock.renew)
        _delete_documents(workspace, kept, free, lock.renew)
        forgotten.all_erased().write(workspace)
    return Erasure(datasets, gone, size, elsewhere)


def _delete_arrays(
    workspace: Workspace, kept: list[ModelDocument], free: set[str], check: Callable[[], None]
) -> tuple[int, int]:
    """Delete what no kept model needs, other datasets and scratch; return how many datasets, and bytes.

    What there is comes from a listing of all files, since a chunk that was never marked is no array.
    """
    needed = {path for model in kept for path in artifacts_of(workspace, model)}
    needed |= {gram for path in needed if (gram := layout.gram_of(path)) is not None}
    needed |= {kind.path(dataset) for kind in DATASET_KINDS for dataset in free}
    sizes: dict[str, int] = {}
    for kind in Kind:
        for key in () if kind in _OF_ITEMS else workspace.blobs.list(kind):
            artifact = layout.artifact_of(key)
            if artifact not in needed and key.count("/") >= kind.depth:
                sizes[artifact] = sizes.get(artifact, 0) + (workspace.blobs.size(key) or 0)
    datasets = {layout.identifier_of(path) for path in sizes if layout.kind_of(path) in DATASET_KINDS}
    recorded = {record.id for record in workspace.stage_records() if record.stage is Stage.INGEST}
    for dataset in sorted(datasets | (recorded - free)):
        check()
        workspace.reopen_stage(Stage.INGEST, dataset)
    delete_artifacts(workspace, sorted(sizes), check)
    for path in sorted(sizes):
        workspace.blobs.delete_prefix(path)
    workspace.blobs.delete_prefix(layout.SCRATCH)
    for key in workspace.blobs.abandoned():
        workspace.blobs.delete(key)
    return len(datasets), sum(sizes.values())


def _delete_documents(
    workspace: Workspace, kept: list[ModelDocument], free: set[str], check: Callable[[], None]
) -> None:
    """Delete results, models, events, reports and notes that are not of a kept model alone."""
    labels, runs = {one.label for one in kept}, {one.run for one in kept}
    for key in workspace.list_docs(f"{layout.RESULTS}/"):
        result, run = workspace.read_doc(key) or {}, layout.run_of(key)
        if _is_kept(result, labels, free) and (run in runs or result.get("models")):
            runs.add(run)
            if "replaced" in result:
                workspace.write_doc(key, {name: one for name, one in result.items() if name != "replaced"})
        else:
            check()
            workspace.delete_doc(key)
    for key in workspace.list_docs(f"{layout.FITTED_MODELS}/"):
        if layout.run_of(key) not in runs:
            check()
            workspace.delete_doc(key)
    for key in workspace.list_docs(f"{layout.SPECTRA}/"):  # each run makes its own again
        workspace.delete_doc(key)
    told = {attempt.name for attempt in attempts(workspace) if attempt.run in runs}
    for folder in (layout.EVENTS, layout.REPORTS):
        for key in workspace.blobs.list(folder):
            if layout.execution_of(key) not in told:
                check()
                workspace.blobs.delete(key)
    pages = {layout.sweep_plot(run) for run in runs}
    for key in workspace.blobs.list(layout.PLOTS):
        if key not in pages:
            workspace.blobs.delete(key)
    for key in workspace.blobs.list(layout.DAMAGE_NOTES):
        if not workspace.has(layout.damaged_chunk(key)[0]):
            workspace.blobs.delete(key)


def _is_kept(result: Mapping[str, object], labels: set[str], free: set[str]) -> bool:
    """Tell whether a result is of a kept model, and of data without the users."""
    model, dataset = result.get("model"), result.get("dataset")
    if not isinstance(model, Mapping) or not isinstance(dataset, Mapping):
        return False
    return str(model.get("name")) in labels and str(dataset.get("id")) in free
