"""The workspace: one Zarr v3 group at a path or URL that holds every artifact of a run."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec
from zarr.errors import ContainsArrayError, GroupNotFoundError

from l3ae_dist.errors import StageMissingError, WorkspaceError, WorkspaceVersionError
from l3ae_dist.storage.blobs import Blobs, open_blobs
from l3ae_dist.storage.stages import Stage

if TYPE_CHECKING:
    from l3ae_dist.storage.chunks import ChunkArray

FORMAT_VERSION = 3
_FORMAT_KEY = "l3ae_dist_format"
LAST_RUN_DOC = "last_run"


class Workspace:
    """Arrays, documents and completion records below one root.

    Parameters
    ----------
    blobs
        The store. Use :meth:`open` or :meth:`create`.
    """

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self.url = blobs.url

    def __repr__(self) -> str:
        return f"Workspace({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Workspace.open, (self.url,))

    @classmethod
    def create(cls, url: str | Path, *, durable: bool = False) -> "Workspace":
        """Open the workspace at ``url``, or make it.

        Raises
        ------
        WorkspaceError
            When the path cannot be written or holds something else.
        WorkspaceVersionError
            When another version of the format wrote it.
        """
        blobs = open_blobs(url, durable=durable)
        if blobs.get("zarr.json") is None:
            if any(True for _ in blobs.list("")):
                raise WorkspaceError(
                    f"{blobs.url} is not empty and not a workspace; choose a new or empty location."
                )
            try:
                root = zarr.create_group(blobs.zarr_store(), attributes={_FORMAT_KEY: FORMAT_VERSION})
                # bookkeeping lives beside an empty *array*: a leaf, so Zarr's own listings stay quiet
                root.create_array("meta", shape=(0,), chunks=(1,), dtype="uint8")
            except OSError as error:
                raise WorkspaceError(
                    f"cannot create a workspace at {blobs.url} ({error.strerror or error}); "
                    "choose a location that this user can write."
                ) from error
        return cls(blobs)._checked()

    @classmethod
    def open(cls, url: str | Path, *, durable: bool = False) -> "Workspace":
        """Open an existing workspace; raises :class:`WorkspaceError` when there is none."""
        blobs = open_blobs(url, durable=durable)
        if blobs.get("zarr.json") is None:
            raise WorkspaceError(f"no workspace at {blobs.url}; create one with `l3ae-dist run`.")
        return cls(blobs)._checked()

    def _checked(self) -> "Workspace":
        try:
            version = self.group.attrs.get(_FORMAT_KEY)
        except (ValueError, GroupNotFoundError, ContainsArrayError) as error:
            raise WorkspaceError(f"{self.url} is not a workspace; choose another location.") from error
        if version is None:
            raise WorkspaceError(f"{self.url} is a Zarr group but not a workspace; choose another location.")
        if version != FORMAT_VERSION:
            raise WorkspaceVersionError(
                f"{self.url} has workspace format {version}, this version reads {FORMAT_VERSION}; "
                "use the version that wrote it, or a new location."
            )
        return self

    @cached_property
    def group(self) -> zarr.Group:
        """The root group, writable."""
        return zarr.open_group(self.blobs.zarr_store(), mode="r+")

    # ---- arrays

    def create_array(
        self, path: str, *, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: npt.DTypeLike
    ) -> zarr.Array[Any]:
        """Create a Zarr array with checksummed chunks, replacing what is at ``path``."""
        return self.group.create_array(
            path,
            shape=shape,
            chunks=tuple(max(1, size) for size in chunks),
            dtype=dtype,
            compressors=[Crc32cCodec()],
            filters=None,
            fill_value=0,
            overwrite=True,
            config={"write_empty_chunks": True},
        )

    def array(self, path: str) -> zarr.Array[Any]:
        """Zarr's own view of an array, to which a missing chunk is zeros; the package reads checked chunks.

        Raises :class:`StageMissingError` when there is none.
        """
        node = self.group.get(path)
        if not isinstance(node, zarr.Array):
            raise StageMissingError(f"{self.url} holds no array {path!r}; run the stage that makes it.")
        return node

    def has(self, path: str) -> bool:
        """Whether a group or array exists at ``path``."""
        return self.blobs.get(f"{path}/zarr.json") is not None

    def delete(self, path: str) -> None:
        """Delete the subtree at ``path``, its done-marks first."""
        self.blobs.delete_prefix(f"meta/done/{path}")
        self.blobs.delete_prefix(f"meta/bad/{path}")
        self.blobs.delete_prefix(path)

    # ---- documents

    def write_doc(self, key: str, value: dict[str, Any]) -> None:
        """Write a JSON document under ``meta/``."""
        self.blobs.put(f"meta/{key}.json", [json.dumps(value, indent=1, default=_plain).encode()])

    def read_doc(self, key: str) -> dict[str, Any] | None:
        """Read a JSON document, or None when there is none."""
        data = self.blobs.get(f"meta/{key}.json")
        return None if data is None else dict(json.loads(data))

    def list_docs(self, prefix: str) -> list[str]:
        """Keys of the documents below ``prefix``, sorted."""
        keys = self.blobs.list(f"meta/{prefix}")
        return sorted(key.removeprefix("meta/")[: -len(".json")] for key in keys if key.endswith(".json"))

    def delete_doc(self, key: str) -> None:
        """Delete a document if it exists."""
        self.blobs.delete(f"meta/{key}.json")

    # ---- completed stages

    def stage_done(self, stage: Stage, identifier: str) -> dict[str, Any] | None:
        """The completion record of an artifact, or None while it is incomplete."""
        return self.read_doc(f"stages/{stage}/{identifier}")

    def mark_stage(
        self, stage: Stage, identifier: str, params: dict[str, Any], stats: dict[str, Any]
    ) -> dict[str, Any]:
        """Record that an artifact is complete; returns the record."""
        record = {
            "stage": stage,
            "id": identifier,
            "params": params,
            "stats": stats,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.write_doc(f"stages/{stage}/{identifier}", record)
        return record

    def require_stage(self, stage: Stage, identifier: str) -> dict[str, Any]:
        """Return :meth:`stage_done`, or raise :class:`StageMissingError`."""
        record = self.stage_done(stage, identifier)
        if record is None:
            raise StageMissingError(
                f"{self.url} has no finished {stage} {identifier!r}; run `l3ae-dist run` to make it."
            )
        return record

    def reopen_stage(self, stage: Stage, identifier: str) -> None:
        """Delete the completion record of an artifact, so that the next run makes what is missing of it."""
        self.delete_doc(f"stages/{stage}/{identifier}")

    # ---- the current run's matrices

    @property
    def gram(self) -> "ChunkArray":
        """The Gram matrix of the current model, lower tiles; ``gram.as_dask()`` is the whole matrix."""
        return self._of_model("gram")

    @property
    def inverse(self) -> "ChunkArray":
        """``P`` of the current model, lower tiles."""
        return self._of_model("P")

    @property
    def cross(self) -> "ChunkArray":
        """``Q = P F'`` of the current L3AE model, n x d; on the woodbury route."""
        return self._of_model("Q")

    @property
    def semantic(self) -> "ChunkArray":
        """``V`` of the current model as n x d rows, whose transpose is the V of the equations."""
        return self._of_model("V")

    @property
    def column_scale(self) -> "ChunkArray":
        """``c`` of the current model, n x 1."""
        return self._of_model("c")

    @property
    def embeddings(self) -> "ChunkArray":
        """``F`` of the current model as n x d rows, after the transformation if there is one."""
        return self._of_model("F")

    def _of_model(self, name: str) -> "ChunkArray":
        from l3ae_dist.storage.chunks import ChunkArray

        document = self.read_doc("model")
        if document is None:
            raise StageMissingError(f"{self.url} holds no fitted model; run `l3ae-dist fit` first.")
        path = document["arrays"].get(name)
        if path is None:
            raise StageMissingError(f"the model {document['name']} in {self.url} has no array {name!r} here.")
        return ChunkArray.open(self, path)

    @contextlib.contextmanager
    def scratch_dir(self) -> Iterator[Path]:
        """A local temporary directory for spilling, removed on exit."""
        with tempfile.TemporaryDirectory(prefix="l3ae-scratch-") as path:
            yield Path(path)


def _plain(value: Any) -> Any:
    """NumPy scalars and paths as plain JSON values."""
    if hasattr(value, "item"):
        return value.item()
    return str(value)
