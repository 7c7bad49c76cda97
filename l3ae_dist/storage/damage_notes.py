"""Damaged chunks, and the notes by which the next run learns of them."""

import contextlib
from dataclasses import dataclass

from l3ae_dist.errors import WorkspaceError
from l3ae_dist.storage import layout
from l3ae_dist.storage.root import WorkspaceRoot


@dataclass(frozen=True, slots=True)
class DamagedChunk:
    """Chunk (i, j) of an array, and in a sentence what is wrong with it; -1, -1 is the whole array."""

    array: str
    i: int
    j: int
    problem: str


def note_damage(workspace: WorkspaceRoot, path: str, i: int, j: int, what: str) -> None:
    """Note for the next run that a chunk is damaged.

    Parameters
    ----------
    workspace, path
        Where the array is.
    i, j
        Chunk coordinates; -1, -1 for the whole array.
    what
        What is wrong with it, as the end of a sentence.
    """
    with contextlib.suppress(WorkspaceError):  # a reader may have no right to write
        workspace.blobs.put(layout.damage_note(path, i, j), [what.encode()])


def noted_damage(workspace: WorkspaceRoot) -> list[tuple[str, int, int]]:
    """Return array path and chunk of every note, sorted; -1, -1 is a whole array. One listing."""
    return sorted(map(layout.damaged_chunk, workspace.blobs.list(layout.DAMAGE_NOTES)))
