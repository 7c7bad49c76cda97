"""The workspace: one Zarr v3 group at a path or URL that holds every artifact of a run."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from l3ae_dist.errors import StageMissingError
from l3ae_dist.messages import shown
from l3ae_dist.storage import layout
from l3ae_dist.storage.blobs import read_again
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.documents import DocumentProblem, opened, sealed, unsealed
from l3ae_dist.storage.lock import free_for_writing
from l3ae_dist.storage.records import JsonObject, StageRecord
from l3ae_dist.storage.root import WorkspaceRoot
from l3ae_dist.storage.scratch import scratch_folder
from l3ae_dist.storage.stages import Stage


class Workspace(WorkspaceRoot):
    """Everything a run keeps: arrays, JSON documents and completion records below one path or URL.

    The properties ``gram`` to ``embeddings`` raise :class:`StageMissingError` without a fitted model, or for
    one that has no such array.

    Parameters
    ----------
    blobs
        The store. Use :meth:`open` or :meth:`create`.
    """

    model: str | None = None
    """Name of the model whose arrays the properties open; None for the current one."""

    def of_model(self, name: str | None) -> Self:
        """Return this workspace with the arrays of the model of that name as its properties."""
        other = type(self)(self.blobs)
        other.model = name
        return other

    def __reduce__(self) -> tuple[object, ...]:
        if self.model is None:
            return super().__reduce__()
        return _workspace_of_model, (self.url, self.blobs.durable, self.model)

    # ---- documents

    def write_doc(self, key: str, value: JsonObject) -> None:
        """Write a JSON document under ``meta/``, with its digest; a run that was taken over raises."""
        epoch = free_for_writing(self)
        if epoch is not None and layout.tells_epoch(key):
            value = {**value, "epoch": epoch}
        data = sealed(key, value) if self.has_digests else unsealed(value)
        self.blobs.put(layout.document(key), [data])

    def read_doc(self, key: str) -> JsonObject | None:
        """Read a JSON document, or None when there is none.

        Raises
        ------
        DamagedDocumentError
            When it is no JSON object, or does not fit its digest.
        """

        def read() -> JsonObject | None:
            data = self.blobs.get(layout.document(key))
            return None if data is None else opened(key, data, required=self.has_digests)

        try:
            return read_again(self.blobs, read, DocumentProblem)
        except DocumentProblem as error:
            raise self.damaged_document(layout.document(key), str(error)) from error

    def list_docs(self, prefix: str) -> list[str]:
        """List the keys of the documents below ``prefix``, sorted."""
        paths = self.blobs.list(f"{layout.META}/{prefix}")
        return sorted(layout.document_key(path) for path in paths if path.endswith(".json"))

    def delete_doc(self, key: str) -> None:
        """Delete a document if it exists."""
        free_for_writing(self)
        self.blobs.delete(layout.document(key))

    # ---- completed stages

    def stage_done(self, stage: Stage, identifier: str) -> StageRecord | None:
        """Return the completion record of an artifact, or None while it is incomplete."""
        document = self.read_doc(layout.completed_stage(stage, identifier))
        return None if document is None else StageRecord.of(document)

    def stage_held(self, stage: Stage, identifier: str) -> StageRecord | None:
        """Return the completion record of an artifact whose arrays are here, or None.

        A model that was saved has the records of what it was made from, without their arrays.
        """
        record = self.stage_done(stage, identifier)
        return None if record is None or record.arrays == [] else record

    def stage_records(self) -> Iterator[StageRecord]:
        """Yield every completion record, by stage and id."""
        documents = (self.read_doc(key) for key in self.list_docs(layout.COMPLETED_STAGES))
        return (StageRecord.of(one) for one in documents if one is not None)

    def mark_stage(self, stage: Stage, identifier: str, params: JsonObject, stats: JsonObject) -> StageRecord:
        """Record that an artifact is complete, and return the record, which names its arrays.

        Parameters
        ----------
        stage
            What made it.
        identifier
            Fingerprint of what it was made from.
        params
            What it was made from.
        stats
            Figures of the stage: sizes, times, or a certificate.
        """
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        arrays = self._arrays_of(stage, identifier, params)
        record = StageRecord(stage, identifier, params, stats, finished, arrays=arrays)
        self.write_doc(layout.completed_stage(stage, identifier), record.document())
        return record

    def _arrays_of(self, stage: Stage, identifier: str, params: JsonObject) -> list[str]:
        """List the arrays that the record of a stage says to be complete: those with done-marks."""
        folders = layout.folders_of_stage(stage, identifier, params)
        marks = (key for folder in folders for key in self.blobs.list(layout.done_marks(folder)))
        arrays = set(map(layout.array_of_mark, marks))
        return sorted(path for path in arrays if (stage, identifier) in layout.makers(path))

    def drop(self, path: str) -> None:
        """Delete what completed stages have made at or below ``path`` and nothing needs any more.

        Their records stay, and no longer name it.
        """
        for array in set(map(layout.array_of_mark, self.blobs.list(layout.done_marks(path)))):
            for stage, identifier in layout.makers(array):
                record = self.stage_done(stage, identifier)
                if record is not None and array in (record.arrays or ()):
                    kept = [other for other in record.arrays or () if other != array]
                    document = replace(record, arrays=kept).document()
                    self.write_doc(layout.completed_stage(stage, identifier), document)
        self.delete(path)

    def require_stage(self, stage: Stage, identifier: str) -> StageRecord:
        """Return :meth:`stage_done`, or raise :class:`StageMissingError`."""
        record = self.stage_done(stage, identifier)
        if record is None:
            raise StageMissingError(
                f"{self.url} has no finished {stage} {shown(identifier)}; run `l3ae-dist run` to make it."
            )
        return record

    def reopen_stage(self, stage: Stage, identifier: str) -> None:
        """Delete the completion record of an artifact, so that the next run makes what is missing of it."""
        self.delete_doc(layout.completed_stage(stage, identifier))

    # ---- the matrices of a model, the current one unless another is named

    @property
    def gram(self) -> ChunkArray:
        """The Gram matrix of the current model, lower tiles; ``gram.as_dask()`` is the whole matrix."""
        return self._of_model("gram")

    @property
    def inverse(self) -> ChunkArray:
        """``P`` of the current model, lower tiles."""
        return self._of_model("P")

    @property
    def cross(self) -> ChunkArray:
        """``Q = P F'`` of the current L3AE model, n x d; on the woodbury route."""
        return self._of_model("Q")

    @property
    def semantic(self) -> ChunkArray:
        """``V`` of the current model as n x d rows, whose transpose is the V of the equations."""
        return self._of_model("V")

    @property
    def column_scale(self) -> ChunkArray:
        """``c`` of the current model, n x 1."""
        return self._of_model("c")

    @property
    def embeddings(self) -> ChunkArray:
        """``F`` of the current model as n x d rows, after the transformation if there is one."""
        return self._of_model("F")

    def refuse_lost_model(self) -> None:
        """Raise :class:`DamagedDocumentError` where there are models, and not that of the current one."""
        key = layout.CURRENT_MODEL
        if self.read_doc(key) is None and self.list_docs(f"{layout.NAMED_MODELS}/"):
            raise self.damaged_document(layout.document(key), "is missing")

    def no_model(self) -> StageMissingError:
        """Return the error for a workspace without a model, such as a copy of one that was cut short.

        Raises
        ------
        DamagedDocumentError
            When it holds models, and the document that tells the current one is lost.
        """
        self.refuse_lost_model()
        if self.read_doc(layout.UNFINISHED_COPY) is None:
            return StageMissingError(f"{self.url} holds no fitted model; run `l3ae-dist fit` first.")
        return StageMissingError(
            f"{self.url} is a copy of a model that was cut short; save the model there again."
        )

    def _of_model(self, name: str) -> ChunkArray:
        document = None if self.model is None else self.read_doc(layout.named_model(self.model))
        document = document or self.read_doc(layout.CURRENT_MODEL)
        if document is None:
            raise self.no_model()
        if self.model is not None and document.get("label", self.model) != self.model:
            raise StageMissingError(f"{self.url} holds the model {shown(self.model)} no more.")
        path = document["arrays"].get(name)
        if path is None:
            raise StageMissingError(f"the model {document['name']} in {self.url} has no array {name!r} here.")
        return ChunkArray.open(self, path)

    @contextlib.contextmanager
    def scratch_dir(self) -> Iterator[Path]:
        """Provide a local temporary directory for spilling, removed on exit."""
        with scratch_folder() as path:
            yield path


def _workspace_of_model(url: str, durable: bool, model: str) -> Workspace:
    """Open the workspace that a pickle names, with the arrays of its model as properties."""
    return Workspace.open(url, durable=durable).of_model(model)
