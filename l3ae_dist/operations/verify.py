"""Reading everything that is marked as finished, for ``l3ae-dist verify``."""

from dataclasses import asdict, dataclass

from l3ae_dist.errors import StageMissingError
from l3ae_dist.runtime.events import ChunkDone, OnEvent, StageEnd, StageStart
from l3ae_dist.storage.chunks import ChunkArray, DamagedChunk, done_counts
from l3ae_dist.storage.records import JsonObject
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.vectors import missing_array
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Verification:
    """Number of arrays that were read, and the chunks that were found damaged."""

    arrays: int
    damage: list[DamagedChunk]

    def document(self) -> JsonObject:
        """Return the verification as JSON-like values."""
        return asdict(self)


def verify_workspace(url: str, on_event: OnEvent) -> Verification:
    """Read every finished chunk of a workspace and compare it with its checksum.

    Costs one read of everything that the workspace holds; ``on_event`` is told of each array.
    """
    workspace = Workspace.open(url)
    paths = list(done_counts(workspace))
    damage: list[DamagedChunk] = []
    on_event(StageStart(stage=Stage.VERIFY, total=len(paths)))
    for count, path in enumerate(paths, start=1):
        damage += _damage(workspace, path)
        on_event(ChunkDone(stage=Stage.VERIFY, done=count, total=len(paths)))
    on_event(StageEnd(stage=Stage.VERIFY))
    return Verification(len(paths), damage)


def _damage(workspace: Workspace, path: str) -> list[DamagedChunk]:
    try:
        return ChunkArray.open(workspace, path).damage()
    except StageMissingError:
        # marks are deleted before their array: marks without an array are damage
        return [DamagedChunk(path, -1, -1, str(missing_array(workspace, path)))]
