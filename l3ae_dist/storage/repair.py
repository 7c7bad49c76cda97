"""Damage that was found since the last run: which chunks are made again, and by which stages.

Every read of a damaged chunk (by a kernel, by ``verify``, by a recommendation) leaves a note under
``meta/bad``. A run begins with these notes, and with what completed stages lack
(:mod:`l3ae_dist.storage.completeness`): what is damaged is taken out and the stage that wrote it is
incomplete again. The stage then makes those chunks and no others, while its own inputs are kept.
"""

from collections.abc import Sequence

from l3ae_dist.errors import DamagedTileError, StageMissingError
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.completeness import arrays_of_model, lost_chunks, unsound_chunks
from l3ae_dist.storage.damage_notes import DamagedChunk, noted_damage
from l3ae_dist.storage.workspace import Workspace


def take_out_damage(
    workspace: Workspace, models: Sequence[str] = (layout.CURRENT_MODEL,)
) -> list[tuple[str, int, int]]:
    """Take out every chunk that is lost, or noted and really damaged, and reopen its stage; returns them.

    The caller holds the lock. Arrays of ``models``, keys of documents, are held to their marks.
    """
    sweep_partials(workspace)
    damaged = []
    lost = {(one.array, one.i, one.j) for one in find_lost(workspace, models)}
    for path, i, j in sorted({*noted_damage(workspace), *lost}):
        if (path, i, j) not in lost and not _is_damaged(workspace, path, i, j):
            workspace.blobs.delete(layout.damage_note(path, i, j))
            continue
        damaged.append((path, i, j))
        if workspace.has(path) and i >= 0:
            ChunkArray.open(workspace, path).discard(i, j)
        else:
            workspace.delete(path)
        reopen(workspace, path, i, j)
    return damaged


def sweep_partials(workspace: Workspace) -> None:
    """Delete the unfinished files of processes that were killed; the caller holds the lock."""
    for key in workspace.blobs.abandoned():
        workspace.blobs.delete(key)


def find_lost(workspace: Workspace, models: Sequence[str]) -> list[DamagedChunk]:
    """Find what completed stages and models lack, and what of the models is not what its marks name.

    No chunk is read whole; ``models`` are the keys of their documents.
    """
    arrays = {path for model in models for path in arrays_of_model(workspace, model)}
    return lost_chunks(workspace, models) + unsound_chunks(workspace, arrays)


def _is_damaged(workspace: Workspace, path: str, i: int, j: int) -> bool:
    try:
        array = ChunkArray.open(workspace, path)
        if i >= 0:
            array.read(i, j)
    except (DamagedTileError, StageMissingError):
        # a tile without a done-mark was never finished (or has been taken out): nothing to repair; a
        # vector is read only when its stage is finished
        return layout.vector_maker(path) is not None or bool(_marks(workspace, path, i, j))
    return False


def _marks(workspace: Workspace, path: str, i: int, j: int) -> list[str]:
    keys = workspace.blobs.list(layout.done_marks(path))
    return [key for key in keys if i < 0 or layout.is_mark_of(key, i, j)]


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
    if writer is not None and i < 0:
        workspace.delete(writer)
    elif writer is not None and workspace.has(writer):
        ChunkArray.open(workspace, writer).discard(i, j)


def _forget_added_items(workspace: Workspace, path: str) -> None:
    """Take out items that were added to fitted models: they have no source, so they are gone."""
    features, generation = layout.added_generation(path)
    key = layout.added_items(features)
    if str((workspace.read_doc(key) or {}).get("generation")) == generation:
        workspace.delete_doc(key)
