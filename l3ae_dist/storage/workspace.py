"""The workspace: one Zarr v3 group at a path or URL that holds every artifact of a run."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from l3ae_dist.errors import StageMissingError
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.records import JsonObject, StageRecord
from l3ae_dist.storage.root import WorkspaceRoot
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

    # ---- documents

    def write_doc(self, key: str, value: JsonObject) -> None:
        """Write a JSON document under ``meta/``."""
        self.blobs.put(layout.document(key), [json.dumps(value, indent=1, default=_plain).encode()])

    def read_doc(self, key: str) -> JsonObject | None:
        """Read a JSON document, or None when there is none."""
        data = self.blobs.get(layout.document(key))
        return None if data is None else dict(json.loads(data))

    def list_docs(self, prefix: str) -> list[str]:
        """List the keys of the documents below ``prefix``, sorted."""
        paths = self.blobs.list(f"{layout.META}/{prefix}")
        return sorted(layout.document_key(path) for path in paths if path.endswith(".json"))

    def delete_doc(self, key: str) -> None:
        """Delete a document if it exists."""
        self.blobs.delete(layout.document(key))

    # ---- completed stages

    def stage_done(self, stage: Stage, identifier: str) -> StageRecord | None:
        """Return the completion record of an artifact, or None while it is incomplete."""
        document = self.read_doc(layout.completed_stage(stage, identifier))
        return None if document is None else StageRecord.of(document)

    def stage_records(self) -> Iterator[StageRecord]:
        """Yield every completion record, by stage and id."""
        documents = (self.read_doc(key) for key in self.list_docs(layout.COMPLETED_STAGES))
        return (StageRecord.of(one) for one in documents if one is not None)

    def mark_stage(self, stage: Stage, identifier: str, params: JsonObject, stats: JsonObject) -> StageRecord:
        """Record that an artifact is complete, and return the record.

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
        record = StageRecord(stage, identifier, params, stats, finished)
        self.write_doc(layout.completed_stage(stage, identifier), record.document())
        return record

    def require_stage(self, stage: Stage, identifier: str) -> StageRecord:
        """Return :meth:`stage_done`, or raise :class:`StageMissingError`."""
        record = self.stage_done(stage, identifier)
        if record is None:
            raise StageMissingError(
                f"{self.url} has no finished {stage} {identifier!r}; run `l3ae-dist run` to make it."
            )
        return record

    def reopen_stage(self, stage: Stage, identifier: str) -> None:
        """Delete the completion record of an artifact, so that the next run makes what is missing of it."""
        self.delete_doc(layout.completed_stage(stage, identifier))

    # ---- the current run's matrices

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

    def _of_model(self, name: str) -> ChunkArray:
        document = self.read_doc(layout.CURRENT_MODEL)
        if document is None:
            raise StageMissingError(f"{self.url} holds no fitted model; run `l3ae-dist fit` first.")
        path = document["arrays"].get(name)
        if path is None:
            raise StageMissingError(f"the model {document['name']} in {self.url} has no array {name!r} here.")
        return ChunkArray.open(self, path)

    @contextlib.contextmanager
    def scratch_dir(self) -> Iterator[Path]:
        """Provide a local temporary directory for spilling, removed on exit."""
        with tempfile.TemporaryDirectory(prefix="l3ae-scratch-") as path:
            yield Path(path)


def _plain(value: object) -> object:
    """NumPy scalars and paths as plain JSON values."""
    if hasattr(value, "item"):
        return value.item()
    return str(value)
