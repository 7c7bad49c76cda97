"""Reading everything that is marked as finished, for ``l3ae-dist verify``."""

from typing import Any

from l3ae_dist.errors import StageMissingError
from l3ae_dist.runtime.events import ChunkDone, OnEvent, StageEnd, StageStart
from l3ae_dist.storage.chunks import ChunkArray, done_counts
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.vectors import missing_array
from l3ae_dist.storage.workspace import Workspace


def damaged_chunks(url: str, on_event: OnEvent) -> tuple[int, list[dict[str, Any]]]:
    """Read every finished chunk of a workspace; costs one read of all of it.

    Returns
    -------
    How many arrays were read, and ``{"array", "i", "j", "problem"}`` of each damaged chunk.
    """
    workspace = Workspace.open(url)
    paths = list(done_counts(workspace))
    damage = []
    on_event(StageStart(stage=Stage.VERIFY, total=len(paths)))
    for count, path in enumerate(paths, start=1):
        damage += [
            {"array": path, "i": i, "j": j, "problem": text} for i, j, text in _damage(workspace, path)
        ]
        on_event(ChunkDone(stage=Stage.VERIFY, done=count, total=len(paths)))
    on_event(StageEnd(stage=Stage.VERIFY))
    return len(paths), damage


def _damage(workspace: Workspace, path: str) -> list[tuple[int, int, str]]:
    try:
        return ChunkArray.open(workspace, path).damage()
    except StageMissingError:
        # marks are deleted before their array: marks without an array are damage
        return [(-1, -1, str(missing_array(workspace, path)))]
