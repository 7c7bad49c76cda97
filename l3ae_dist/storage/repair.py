"""Damage that was found since the last run: which chunks are made again, and by which stages.

Every read of a damaged chunk (by a kernel, by ``verify``, by a recommendation) leaves a note under
``meta/bad``. A run begins with these notes: what is damaged is taken out and the stage that wrote it is
incomplete again. The stage then makes those chunks and no others, while its own inputs are kept.
"""

from l3ae_dist.errors import DamagedTileError, StageMissingError
from l3ae_dist.storage.chunks import BAD, ChunkArray, bad_key
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.makers import made_by
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

_STAGES = {"grams": Stage.GRAM, "embeddings": Stage.EMBED, "transforms": Stage.EMBED}
_FACTOR_STAGES = {"L": (Stage.FACTOR,), "Linv": (Stage.LINV,), "P": (Stage.INVERT, Stage.CERTIFIED)}


def noted_damage(workspace: Workspace) -> list[tuple[str, int, int]]:
    """Array path and chunk of every note, sorted; -1, -1 for a whole array. One listing."""
    found = []
    for key in workspace.blobs.list(BAD):
        path, _, chunk = key.removeprefix(f"{BAD}/").rpartition("/")
        i, j = chunk.split(".")
        found.append((path, int(i), int(j)))
    return sorted(found)


def take_out_damage(workspace: Workspace) -> list[tuple[str, int, int]]:
    """Take out every noted chunk that is really damaged and reopen its stage; returns those chunks.

    The caller holds the lock.
    """
    damaged = []
    for path, i, j in noted_damage(workspace):
        if not _is_damaged(workspace, path, i, j):
            workspace.blobs.delete(bad_key(path, i, j))
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
        return made_by(path) is not None or bool(_marks(workspace, path, i, j))


def _marks(workspace: Workspace, path: str, i: int, j: int) -> list[str]:
    keys = workspace.blobs.list(f"meta/done/{path}")
    return [key for key in keys if i < 0 or key.rpartition("/")[2].startswith(f"{i}.{j}.")]


def reopen(workspace: Workspace, path: str, i: int = -1, j: int = -1) -> None:
    """Make the stage that wrote ``path`` incomplete again, since chunk (i, j) of it has been taken out."""
    base, _, name = path.rpartition("/")
    kind = path.partition("/")[0]
    made = made_by(path)
    if made is not None:
        workspace.reopen_stage(*made)
    elif kind == "added":  # items added to a fitted model have no source: they are gone
        document, generation = "/".join(path.split("/")[:2]), path.split("/")[2]
        if str((workspace.read_doc(document) or {}).get("generation")) == generation:
            workspace.delete_doc(document)
    elif kind in _STAGES:
        workspace.reopen_stage(_STAGES[kind], name)
    elif kind == "factors" and name in _FACTOR_STAGES:
        for stage in _FACTOR_STAGES[name]:
            workspace.reopen_stage(stage, fingerprint(base))
    elif kind == "semantic":
        workspace.reopen_stage(Stage.SEMANTIC, fingerprint(base))
        if name == "a" and workspace.has(f"{base}/V"):  # written by the task of V
            ChunkArray.open(workspace, f"{base}/V").discard(i, j)
    elif kind == "spectral":
        workspace.reopen_stage(Stage.SPECTRAL, base.rpartition("/")[2])
    elif kind in ("factors", "crosses"):
        workspace.reopen_stage(Stage.ASSEMBLE, fingerprint(path))
    elif kind == "scores":
        workspace.reopen_stage(Stage.SCORE, base.rpartition("/")[2])
