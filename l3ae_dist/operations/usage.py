"""Bytes that a workspace takes, for ``l3ae-dist du``."""

from dataclasses import asdict, dataclass

from l3ae_dist.pipeline.model_document import ModelDocument
from l3ae_dist.pipeline.named_models import known_models, read_current
from l3ae_dist.storage import layout
from l3ae_dist.storage.array_sizes import ArraySize, array_sizes, free_bytes
from l3ae_dist.storage.scratch import abandoned_scratch
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True, slots=True)
class KindUsage:
    """Arrays of one kind, or other files: their number, chunks or files, and bytes."""

    arrays: int
    chunks: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Bytes of the derived arrays that a model reads, some of which others may share."""

    name: str
    bytes: int
    current: bool


@dataclass(frozen=True, slots=True)
class WorkspaceUsage:
    """Bytes of a workspace by kind and by array.

    Parameters
    ----------
    workspace
        Path or URL.
    bytes
        Sum over all kinds.
    kinds
        By the name of the kind: ``grams``, ``factors``, ``events`` ...; ``unfinished``
        are the files that killed processes left.
    arrays
        Finished chunks of every array, by path.
    models
        What each model reads, the oldest first.
    free_bytes
        What the disk has left; None on object storage.
    temporary
        Bytes of the folders that killed processes left in this machine's temporary folder, by path.
    """

    workspace: str
    bytes: int
    kinds: dict[str, KindUsage]
    arrays: dict[str, ArraySize]
    models: list[ModelUsage]
    free_bytes: int | None
    temporary: dict[str, int]

    def document(self) -> dict[str, object]:
        """Return the usage as JSON-like values."""
        return asdict(self)


def workspace_usage(url: str) -> WorkspaceUsage:
    """Count the bytes of every array by its finished chunks, and those of events, reports and scratch.

    Reads done-marks and array headers, no chunk.
    """
    workspace = Workspace.open(url)
    arrays = array_sizes(workspace)
    kinds = _array_kinds(arrays) | _file_kinds(workspace)
    return WorkspaceUsage(
        workspace=workspace.url,
        bytes=sum(kind.bytes for kind in kinds.values()),
        kinds=kinds,
        arrays=arrays,
        models=_models(workspace, arrays),
        free_bytes=free_bytes(workspace),
        temporary=abandoned_scratch(),
    )


def _models(workspace: Workspace, arrays: dict[str, ArraySize]) -> list[ModelUsage]:
    current = read_current(workspace)
    name = None if current is None else current.model.label
    return [
        ModelUsage(
            model.label,
            sum(arrays[path].bytes for path in _read_by(model) if path in arrays),
            model.label == name,
        )
        for model in known_models(workspace)
    ]


def _read_by(model: ModelDocument) -> set[str]:
    """Return the arrays that a model reads, but for the Gram matrix."""
    named = {path for name, path in model.arrays.items() if path is not None and name != "gram"}
    return {path for path in named | set(model.terms.paths()) if layout.is_derived(path)}


def _array_kinds(arrays: dict[str, ArraySize]) -> dict[str, KindUsage]:
    by_kind: dict[str, list[ArraySize]] = {}
    for path, size in arrays.items():
        by_kind.setdefault(layout.folder_of(path), []).append(size)
    return {
        kind: KindUsage(len(sizes), sum(one.chunks for one in sizes), sum(one.bytes for one in sizes))
        for kind, sizes in by_kind.items()
    }


def _file_kinds(workspace: Workspace) -> dict[str, KindUsage]:
    kinds = {}
    folders = {"events": layout.EVENTS, "reports": layout.REPORTS, "scratch": layout.SCRATCH}
    for name, folder in folders.items():
        sizes = [workspace.blobs.size(key) or 0 for key in workspace.blobs.list(folder)]
        if sizes:
            kinds[name] = KindUsage(0, len(sizes), sum(sizes))
    if left := workspace.blobs.abandoned():
        kinds["unfinished"] = KindUsage(0, len(left), sum(left.values()))
    return kinds
