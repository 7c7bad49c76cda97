"""Sizes of the arrays of a workspace, and what its disk has left."""

import shutil
from dataclasses import dataclass

from l3ae_dist.errors import StageMissingError
from l3ae_dist.storage.chunks import TRAILER, ChunkArray
from l3ae_dist.storage.done_marks import done_counts
from l3ae_dist.storage.local_blobs import LocalBlobs
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ArraySize:
    """Finished chunks of one array and their bytes."""

    chunks: int
    bytes: int


def free_bytes(workspace: Workspace) -> int | None:
    """Return the bytes that the workspace's disk has left; None on object storage."""
    if not isinstance(workspace.blobs, LocalBlobs):
        return None
    return shutil.disk_usage(workspace.url).free


def array_sizes(workspace: Workspace) -> dict[str, ArraySize]:
    """Count the finished chunks of every array that has done-marks, by path."""
    sizes = {}
    for path, chunks in done_counts(workspace.blobs).items():
        try:
            chunk_bytes = ChunkArray.open(workspace, path).chunk_nbytes + TRAILER
        except StageMissingError:  # a run that goes on has just deleted it
            continue
        sizes[path] = ArraySize(chunks, chunks * chunk_bytes)
    return sizes
