"""Reading all documents and everything that is marked as finished, for ``l3ae-dist verify``."""

from dataclasses import asdict, dataclass

from l3ae_dist.errors import DamagedDocumentError, StageMissingError
from l3ae_dist.runtime.events import ChunkDone, OnEvent, StageEnd, StageStart
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.completeness import damaged_chunks, lost_chunks, lost_of_models
from l3ae_dist.storage.damage_notes import DamagedChunk, note_damage
from l3ae_dist.storage.done_marks import done_counts
from l3ae_dist.storage.mend import DamagedDocument, damaged_documents
from l3ae_dist.storage.records import JsonObject
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.vectors import missing_array
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Verification:
    """Number of arrays that were read, and the chunks and documents that were found damaged."""

    arrays: int
    damage: list[DamagedChunk]
    documents: list[DamagedDocument]

    def document(self) -> JsonObject:
        """Return the verification as JSON-like values."""
        return asdict(self)


def verify_workspace(url: str, on_event: OnEvent) -> Verification:
    """Read every document and every finished chunk of a workspace and compare them with their checksums.

    A completed stage implies every chunk of its arrays, and a model, the current one or not, those that it
    needs to answer, so that one which is gone with its done-mark is damage. Costs one read of everything that
    the workspace holds; ``on_event`` is told of each array.
    """
    workspace = Workspace.open(url)
    paths = list(done_counts(workspace.blobs))
    damage: list[DamagedChunk] = []
    on_event(StageStart(stage=Stage.VERIFY, total=len(paths)))
    for count, path in enumerate(paths, start=1):
        damage += _damage(workspace, path)
        on_event(ChunkDone(stage=Stage.VERIFY, done=count, total=len(paths)))
    damage += _lost(workspace, damage)
    on_event(StageEnd(stage=Stage.VERIFY))
    return Verification(len(paths), damage, damaged_documents(workspace))


def _lost(workspace: Workspace, damage: list[DamagedChunk]) -> list[DamagedChunk]:
    """Return what is lost and not among the damage that was read, and note it for the next run."""
    read = {(one.array, one.i, one.j) for one in damage}
    arrays = {one.array for one in damage}
    try:
        lost = [one for one in lost_chunks(workspace) if (one.array, one.i, one.j) not in read]
        of_models = lost_of_models(workspace)
    except DamagedDocumentError:  # it is among the documents; what it claims cannot be told
        return []
    lost = [one for one in lost if one.i >= 0 or one.array not in arrays]
    for one in lost:
        note_damage(workspace, one.array, one.i, one.j, "is lost")
    told = arrays | {one.array for one in lost}  # what else a model lacks, the next run does not make again
    return lost + [one for one in of_models if one.array not in told]


def _damage(workspace: Workspace, path: str) -> list[DamagedChunk]:
    try:
        return damaged_chunks(ChunkArray.open(workspace, path))
    except DamagedDocumentError:  # it is among the documents
        return []
    except StageMissingError:
        # marks are deleted before their array: marks without an array are damage
        return [DamagedChunk(path, -1, -1, str(missing_array(workspace, path)))]
