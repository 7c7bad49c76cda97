"""Bytes that a workspace takes, for ``l3ae-dist du``."""

from dataclasses import asdict, dataclass

from l3ae_dist.storage import layout
from l3ae_dist.storage.array_sizes import ArraySize, array_sizes, free_bytes
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True, slots=True)
class KindUsage:
    """Arrays of one kind, or files of events or reports: their number, chunks or files, and bytes."""

    arrays: int
    chunks: int
    bytes: int


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
        By the name of the kind: ``grams``, ``factors``, ``events`` ...
    arrays
        Finished chunks of every array, by path.
    free_bytes
        What the disk has left; None on object storage.
    """

    workspace: str
    bytes: int
    kinds: dict[str, KindUsage]
    arrays: dict[str, ArraySize]
    free_bytes: int | None

    def document(self) -> dict[str, object]:
        """Return the usage as JSON-like values."""
        return asdict(self)


def workspace_usage(url: str) -> WorkspaceUsage:
    """Count the bytes of every array by its finished chunks, and those of events and reports.

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
        free_bytes=free_bytes(workspace),
    )


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
    for name, folder in (("events", layout.EVENTS), ("reports", layout.REPORTS)):
        sizes = [workspace.blobs.size(key) or 0 for key in workspace.blobs.list(folder)]
        if sizes:
            kinds[name] = KindUsage(0, len(sizes), sum(sizes))
    return kinds
