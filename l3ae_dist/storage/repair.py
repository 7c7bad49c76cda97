"""Damage that was found since the last run: which chunks are made again, and by which stages.

Every read of a damaged chunk (by a kernel, by ``verify``, by a recommendation) leaves a note under
``meta/bad``. A run begins with these notes: what is damaged is taken out and the stage that wrote it is
incomplete again. The stage then makes those chunks and no others, while its own inputs are kept.
"""

from l3ae_dist.errors import DamagedTileError, StageMissingError
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace


def noted_damage(workspace: Workspace) -> list[tuple[str, int, int]]:
    """Return array path and chunk of every note, sorted; -1, -1 is a whole array. One listing."""
    return sorted(map(layout.damaged_chunk, workspace.blobs.list(layout.DAMAGE_NOTES)))


def take_out_damage(workspace: Workspace) -> list[tuple[str, int, int]]:
    """Take out every noted chunk that is really damaged and reopen its stage; returns those chunks.

    The caller holds the lock.
    """
    damaged = []
    for path, i, j in noted_damage(workspace):
        if not _is_damaged(workspace, path, i, j):
            workspace.blobs.delete(layout.damage_note(path, i, j))
            continue
        damaged.append((path, i, j))
        if workspace.has(path) and i >= 0:
            ChunkArray.open(workspace, path).discard(i, j)
        else:
            workspace.delete(path)
        reopen(workspace, path, i, j)
    return damaged


def _is_damaged(workspace: Workspace, path: str, i: int, j: int) -> bool:
    try:
        array = ChunkArray.open(workspace, path)
        if i < 0:
            return False
        array.read(i, j)
        return not array.is_done(i, j, array.marks().get((i, j), []))
    except (DamagedTileError, StageMissingError):
        # a tile without a done-mark was never finished (or has been taken out): nothing to repair; a
        # vector is read only when its stage is finished
        return layout.vector_maker(path) is not None or bool(_marks(workspace, path, i, j))


def _marks(workspace: Workspace, path: str, i: int, j: int) -> list[str]:
    keys = workspace.blobs.list(layout.done_marks(path))
    return [key for key in keys if i < 0 or key.rpartition("/")[2].startswith(f"{i}.{j}.")]


def reopen(workspace: Workspace, path: str, i: int = -1, j: int = -1) -> None:
    """Make the stage that wrote ``path`` incomplete again, since chunk (i, j) of it has been taken out.

    Parameters
    ----------
    workspace, path
        Where the array is, or was.
    i, j
        Coordinates of the chunk; -1, -1 for the whole array.
    """
    if layout.kind_of(path) is layout.Kind.ADDED:
        _forget_added_items(workspace, path)
    for stage, identifier in layout.makers(path):
        workspace.reopen_stage(stage, identifier)
    writer = layout.written_with(path)
    if writer is not None and workspace.has(writer):
        ChunkArray.open(workspace, writer).discard(i, j)


def _forget_added_items(workspace: Workspace, path: str) -> None:
    """Take out items that were added to fitted models: they have no source, so they are gone."""
    features, generation = layout.added_generation(path)
    key = layout.added_items(features)
    if str((workspace.read_doc(key) or {}).get("generation")) == generation:
        workspace.delete_doc(key)
