"""Which stage makes the vectors below a folder of the workspace, for errors and for repair."""

from l3ae_dist.storage.stages import Stage

_STAGES = {
    "interactions": Stage.INGEST,
    "users": Stage.INGEST,
    "items": Stage.INGEST,
    "words": Stage.WORDS,
    "roots": Stage.ROOTS,
}


def made_by(path: str) -> tuple[Stage, str] | None:
    """Stage and identifier of what wrote the vector at ``path``; None for tiles and for other paths."""
    folder, _, rest = path.partition("/")
    stage = _STAGES.get(folder)
    return None if stage is None else (stage, rest.partition("/")[0])


def remedy(path: str) -> str:
    """How damage at ``path`` is mended, as the end of a sentence."""
    made = made_by(path)
    if path.startswith("added/"):
        return "the next `l3ae-dist run` takes the added items out; add them again"
    if made is None:
        return "`l3ae-dist run` repairs it when its inputs are kept"
    if made[0] == Stage.INGEST:
        return (
            "`l3ae-dist run` with the interactions and items redoes the ingest stage, which makes it; append "
            "again what was appended"
        )
    return f"`l3ae-dist run` redoes the {made[0]} stage, which makes it"
