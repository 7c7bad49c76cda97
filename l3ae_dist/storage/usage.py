"""What the arrays of a workspace take, and what its disk has left."""

import shutil

from l3ae_dist.errors import StageMissingError
from l3ae_dist.storage.chunks import TRAILER, ChunkArray, done_counts
from l3ae_dist.storage.local_blobs import LocalBlobs
from l3ae_dist.storage.workspace import Workspace


def free_bytes(workspace: Workspace) -> int | None:
    """Bytes that the workspace's disk has left; None on object storage."""
    if not isinstance(workspace.blobs, LocalBlobs):
        return None
    return shutil.disk_usage(workspace.url).free


def array_bytes(workspace: Workspace) -> dict[str, dict[str, int]]:
    """Finished chunks and bytes of every array that has done-marks, by path."""
    found = {}
    for path, chunks in done_counts(workspace).items():
        try:
            size = ChunkArray.open(workspace, path).chunk_nbytes + TRAILER
        except StageMissingError:  # a run that goes on has just deleted it
            continue
        found[path] = {"chunks": chunks, "bytes": chunks * size}
    return found
