"""Inputs are read again before numbers are blamed: damage looks like an ill-conditioned system."""

import contextlib
from collections.abc import Iterable, Iterator

from l3ae_dist.errors import DamagedTileError, NumericalError
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.completeness import damaged_chunks, lost_chunks
from l3ae_dist.storage.damage_notes import DamagedChunk
from l3ae_dist.storage.workspace import Workspace


@contextlib.contextmanager
def inputs_first(workspace: Workspace, folders: Iterable[str]) -> Iterator[None]:
    """Read the arrays below some folders before a numerical error leaves the block, which then says so.

    Raises
    ------
    DamagedTileError
        Instead of the numerical error, when one of them is damaged or incomplete.
    NumericalError
        With a clause that says that its inputs are sound.
    """
    try:
        yield
    except NumericalError as error:
        if not error.inputs_sound:
            damaged = next(_damage(workspace, tuple(folders)), None)
            if damaged is not None:
                raise DamagedTileError(
                    damaged.problem, path=damaged.array, i=damaged.i, j=damaged.j
                ) from error
            error.say_inputs_sound()
        raise


def _damage(workspace: Workspace, folders: tuple[str, ...]) -> Iterator[DamagedChunk]:
    for lost in lost_chunks(workspace):
        if any(f"{lost.array}/".startswith(f"{folder}/") for folder in folders):
            yield lost
    marks = (key for folder in folders for key in workspace.blobs.list(layout.done_marks(folder)))
    for path in sorted(set(map(layout.array_of_mark, marks))):
        yield from damaged_chunks(ChunkArray.open(workspace, path))
