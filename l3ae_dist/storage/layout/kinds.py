"""Kinds of artifacts: which stage makes an array, how damage to it is mended, what can be made again."""

from enum import StrEnum
from typing import Literal, Self

from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage


class Kind(StrEnum):
    """A folder of artifacts of one kind.

    Attributes
    ----------
    depth
        How many parts of a path name one artifact: ``grams/ID`` are two.
    stage
        What makes the artifacts; None where several stages share the folder, or none makes them again.
    derived
        True for what can be made again from the dataset and its features.
    """

    depth: int
    stage: Stage | None
    derived: bool

    def __new__(cls, folder: str, depth: int, stage: Stage | None, derived: bool) -> Self:
        """Make a member whose value is the name of its folder."""
        kind = str.__new__(cls, folder)
        kind._value_ = folder
        kind.depth, kind.stage, kind.derived = depth, stage, derived
        return kind

    ITEMS = "items", 2, Stage.INGEST, False
    USERS = "users", 2, Stage.INGEST, False
    INTERACTIONS = "interactions", 2, Stage.INGEST, False
    WORDS = "words", 2, Stage.WORDS, False
    EMBEDDINGS = "embeddings", 2, Stage.EMBED, False
    DIGESTS = "digests", 2, Stage.EMBED, False
    TRANSFORMS = "transforms", 2, Stage.EMBED, True
    ADDED = "added", 2, None, False
    ROOTS = "roots", 2, Stage.ROOTS, True
    GRAMS = "grams", 2, Stage.GRAM, True
    FACTORS = "factors", 4, None, True
    SEMANTIC = "semantic", 4, Stage.SEMANTIC, True
    CROSSES = "crosses", 2, Stage.ASSEMBLE, True
    UPDATES = "updates", 2, Stage.UPDATE, True
    SPECTRAL = "spectral", 2, Stage.SPECTRAL, True
    MODELS = "models", 2, None, True
    SCORES = "scores", 2, Stage.SCORE, True
    WEIGHTS = "weights", 2, Stage.EXPORT, True

    def path(self, identifier: str) -> str:
        """Return the path of the artifact with that id, in a folder whose artifacts have one part."""
        return f"{self}/{identifier}"


VECTOR_KINDS = (Kind.INTERACTIONS, Kind.USERS, Kind.ITEMS, Kind.WORDS, Kind.ROOTS)
"""Kinds that are stored as vectors and columns by one stage as a whole, not as tiles."""
DATASET_KINDS = (Kind.ITEMS, Kind.USERS, Kind.INTERACTIONS)
"""Kinds that one dataset consists of."""
_KINDS = {str(kind): kind for kind in Kind}


def folder_of(path: str) -> str:
    """Return the folder at the root of the workspace that an array lies in: its kind, or its own name."""
    return path.partition("/")[0]


def kind_of(path: str) -> Kind | None:
    """Return the kind of the artifact that ``path`` is part of; None for other paths."""
    return _KINDS.get(folder_of(path))


def artifact_of(path: str) -> str:
    """Return the path of the artifact that an array belongs to; paths of no kind are their own."""
    kind = kind_of(path)
    return path if kind is None else "/".join(path.split("/")[: kind.depth])


def identifier_of(path: str) -> str:
    """Return the id of the artifact that an array belongs to, where one part of the path is the id."""
    return path.split("/")[1]


def name_of(path: str) -> str:
    """Return the name of an array inside its artifact: ``L``, ``P``, ``diagonal`` ..."""
    return path.rpartition("/")[2]


def is_derived(path: str) -> bool:
    """Tell whether an array can be made again from the dataset and its features."""
    kind = kind_of(path)
    return kind is not None and kind.derived


def gram_of(path: str) -> str | None:
    """Return the path of the Gram matrix that an array of a factorisation was made from; None for others."""
    return Kind.GRAMS.path(identifier_of(path)) if kind_of(path) is Kind.FACTORS else None


def vector_maker(path: str) -> tuple[Stage, str] | None:
    """Return stage and id of what wrote the vector at ``path``; None for tiles and for other paths."""
    kind = kind_of(path)
    if kind is None or kind.stage is None or kind not in VECTOR_KINDS:
        return None
    return kind.stage, identifier_of(path)


def made_by(stage: Stage, identifier: str) -> list[str]:
    """Return the artifacts that a stage makes under one id."""
    return [kind.path(identifier) for kind in Kind if kind.stage is stage and kind.depth == 2]


def is_product(path: str) -> bool:
    """Tell whether ``path`` is the array of tiles of ``P C``."""
    return kind_of(path) is Kind.CROSSES and path.endswith("/PC")


_FACTORISATION = {
    "L": (Stage.FACTOR,),
    "Linv": (Stage.LINV,),
    "P": (Stage.INVERT, Stage.CERTIFIED),
}


def makers(path: str) -> list[tuple[Stage, str]]:
    """Return the completion records, as stage and id, that say that the array at ``path`` is finished."""
    kind, (folder, _, name) = kind_of(path), path.rpartition("/")
    if kind is None or kind in (Kind.ADDED, Kind.MODELS, Kind.WEIGHTS):
        return []
    if kind is Kind.FACTORS and name in _FACTORISATION:
        return [(stage, fingerprint(folder)) for stage in _FACTORISATION[name]]
    if kind is Kind.SEMANTIC:
        return [(Stage.SEMANTIC, fingerprint(folder))]
    if kind in (Kind.FACTORS, Kind.CROSSES, Kind.UPDATES):
        return [(Stage.ASSEMBLE, fingerprint(path))]
    assert kind.stage is not None
    return [(kind.stage, identifier_of(path))]


def written_with(path: str) -> str | None:
    """Return the array whose tasks write ``path`` beside their own chunks; None for most arrays."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/V" if kind_of(path) is Kind.SEMANTIC and name == "a" else None


def remedy(path: str) -> str:
    """Say how damage at ``path`` is mended, as the end of a sentence."""
    made = vector_maker(path)
    if kind_of(path) is Kind.ADDED:
        return "the next `l3ae-dist run` takes the added items out; add them again"
    if kind_of(path) is Kind.UPDATES:
        return "`l3ae-dist evaluate`, or the same update once more, makes it again"
    if made is None:
        return "`l3ae-dist run` repairs it when its inputs are kept"
    if made[0] is Stage.INGEST:
        return (
            "`l3ae-dist run` with the interactions and items redoes the ingest stage, which makes it; append "
            "again what was appended"
        )
    return f"`l3ae-dist run` redoes the {made[0]} stage, which makes it"


def above_diagonal(path: str) -> Literal["mirror", "zero", "stored"]:
    """Say what stands above the diagonal of an array: its mirror image, zeros, or tiles of its own."""
    name = name_of(path)
    if kind_of(path) is Kind.GRAMS or name == "P":
        return "mirror"
    return "zero" if name in ("L", "Linv") else "stored"


def is_lower(path: str, grid: tuple[int, int]) -> bool:
    """Tell whether the array at ``path`` has chunks on and below its diagonal alone."""
    return grid[0] == grid[1] and kind_of(path) in (Kind.GRAMS, Kind.FACTORS)
