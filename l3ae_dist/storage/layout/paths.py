"""Paths of the arrays of a workspace; their names follow the equations: ``L``, ``P``, ``M``, ``V``."""

from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.layout.kinds import DATASET_KINDS, Kind, identifier_of, kind_of
from l3ae_dist.storage.stages import Stage


def gram(identifier: str) -> str:
    """Return the path of the tiles of a Gram matrix."""
    return Kind.GRAMS.path(identifier)


def embeddings(identifier: str) -> str:
    """Return the path of n x d embeddings."""
    return Kind.EMBEDDINGS.path(identifier)


def digests(identifier: str) -> str:
    """Return the path of the digests of the texts of embeddings, n x 16 bytes."""
    return Kind.DIGESTS.path(identifier)


def apart(embeddings: str, digest: str = "") -> str:
    """Return the id of rows that are embedded apart, for some embeddings; that of all of them begins so."""
    return f"{embeddings}-{digest}"


def transform(identifier: str) -> str:
    """Return the path of shift and matrix with which the embeddings ``identifier`` were transformed."""
    return Kind.TRANSFORMS.path(identifier)


def words_id(digest: str) -> str:
    """Return the id of multi-hot words, which says that it is one."""
    return f"{Kind.WORDS}-{digest}"


def are_words(features: str) -> bool:
    """Tell whether features are multi-hot words; otherwise they are embeddings."""
    return features.startswith(f"{Kind.WORDS}-")


def features_stage(features: str) -> Stage:
    """Return the stage that makes these features."""
    return Stage.WORDS if are_words(features) else Stage.EMBED


def features(identifier: str) -> str:
    """Return the path of item features, n x d: an array, or the folder of sparse words."""
    return (Kind.WORDS if are_words(identifier) else Kind.EMBEDDINGS).path(identifier)


def semantic_folder(features: str) -> str:
    """Return the folder of the semantic phases of features, whatever tile size and ridge."""
    return f"{Kind.SEMANTIC}/{features}"


def cross(factor: str, features: str) -> str:
    """Return the path of ``Q = P F'``, n x d, of an inverse and of features."""
    return f"{Kind.CROSSES.path(factor)}/{features}/Q"


def cross_diagonal(factor: str, features: str, reg_f: float) -> str:
    """Return the path of ``diag(P C)``, n x 1, on the woodbury route.

    Parameters
    ----------
    factor, features
        Ids of the inverse and of the features.
    reg_f
        Of the semantic phase.
    """
    return f"{Kind.CROSSES.path(factor)}/{features}/pc/{reg_f!r}"


def product(factor: str, semantic_factor: str) -> str:
    """Return the path of the tiles of ``P C`` of two inverses, on the direct route."""
    return f"{Kind.CROSSES.path(factor)}/{semantic_factor}/PC"


def product_diagonal(path: str) -> str:
    """Return the path of the diagonal of the product at ``path``."""
    return f"{path}-diagonal"


def model_vector(model: str, name: str) -> str:
    """Return the path of one n x 1 vector of a model's scores."""
    return f"{Kind.MODELS.path(model)}/{name}"


class Name:
    """The name of an array in a :class:`Folder`; read from a folder it is the array's path."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: "Folder", owner: type) -> str:
        """Return the path of the array."""
        return folder.array(self.name)


@dataclass(frozen=True)
class Folder:
    """Arrays that belong together: below ``base``, by their names."""

    base: str

    @classmethod
    def holding(cls, path: str) -> Self:
        """Return the paths beside the array at ``path``."""
        return cls(path.rpartition("/")[0])

    def array(self, name: str) -> str:
        """Return the path of the array ``name``."""
        return f"{self.base}/{name}"

    def holds(self, path: str) -> bool:
        """Tell whether the array at ``path`` lies in this folder."""
        return path.startswith(f"{self.base}/")


@dataclass(frozen=True)
class FactorPaths(Folder):
    """The paths of one Gram matrix, ridge and precision: ``G + ridge I = L L'``, ``P = L^-T L^-1``."""

    @classmethod
    def of(cls, gram: str, ridge: float, dtype: str, arithmetic: str | None = None) -> Self:
        """Return the paths for the Gram matrix with the id ``gram``.

        Parameters
        ----------
        gram
            Id of the Gram matrix.
        ridge
            Added to its diagonal.
        dtype
            Of the tiles: ``"float32"`` or ``"float64"``.
        arithmetic
            What they are computed in; their own dtype when None.
        """
        precision = dtype if arithmetic in (None, dtype) else f"{dtype}-by-{arithmetic}"
        return cls(f"{Kind.FACTORS}/{gram}/{ridge!r}/{precision}")

    @property
    def id(self) -> str:
        """Id of the completion records of the factorisation."""
        return fingerprint(self.base)

    cholesky = Name("L")
    """``L``, lower tiles."""
    cholesky_inverse = Name("Linv")
    """``L^-1``, lower tiles."""
    inverse = Name("P")
    """``P``, lower tiles."""
    diagonal = Name("diagonal")
    """``diag(P)``, n x 1."""
    probe = Name("probe")
    """Random vectors that the residual is measured on."""
    image = Name("image")
    """``P`` times the probe."""

    partials = Name("partials")
    """Partial sums of the factorisation, which are deleted after it."""

    def sums(self, sums: object) -> str:
        """Return the folder of partial sums with some cuts: with others a tile holds something else."""
        return f"{self.partials}/{fingerprint(sums)}"

    def partial(self, sums: object, name: str) -> str:
        """Return the path of an array of partial sums.

        Parameters
        ----------
        sums
            All panels at which sums are cut.
        name
            Of the array in the graph.
        """
        return f"{self.sums(sums)}/{name}"


@dataclass(frozen=True)
class SemanticPaths(Folder):
    """The semantic phase of one ``reg_f`` (woodbury route): ``C = diag(a) + F' V``."""

    @classmethod
    def of(cls, features: str, tile: int, reg_f: float) -> Self:
        """Return the paths for the features with that id.

        Parameters
        ----------
        features
            Id of the embeddings or words.
        tile
            Items of a tile.
        reg_f
            Ridge of the semantic phase.
        """
        return cls(f"{Kind.SEMANTIC}/{features}/{tile}/{reg_f!r}")

    @property
    def id(self) -> str:
        """Id of its completion record."""
        return fingerprint(self.base)

    m = Name("M")
    """``M = (F F' + reg_f I)^-1``, d x d."""
    a = Name("a")
    """``a``, n x 1."""
    v = Name("V")
    """``V`` as n x d rows."""


@dataclass(frozen=True)
class SpectralPaths(Folder):
    """Singular vectors of the normalised interactions, scaled for the two sides of GFCF's product."""

    @classmethod
    def of(cls, identifier: str) -> Self:
        """Return the paths for the vectors with that id."""
        return cls(Kind.SPECTRAL.path(identifier))

    @property
    def id(self) -> str:
        """Id of its completion record."""
        return identifier_of(self.base)

    left = Name("left")
    """``D^-1/2 V``, n x rank."""
    right = Name("right")
    """``D^1/2 V``, n x rank."""


@dataclass(frozen=True)
class RootPaths(Folder):
    """Inverse square roots of the weights of users and items of a dataset."""

    @classmethod
    def of(cls, dataset: str) -> Self:
        """Return the paths for a dataset."""
        return cls(Kind.ROOTS.path(dataset))

    users = Name("users")
    """``D_u^-1/2``."""
    items = Name("items")
    """``D^-1/2``."""


@dataclass(frozen=True)
class ScorePaths(Folder):
    """Top lists or ranks of the models of one group."""

    @classmethod
    def of(cls, identifier: str) -> Self:
        """Return the paths for the scores with that id."""
        return cls(Kind.SCORES.path(identifier))

    top_lists = Name("merged")
    """Top items of every user and model, users x (models k)."""
    ranks = Name("ranks")
    """Ranks of held-out items, items x models."""

    def work(self, users: int) -> Folder:
        """Return the folder of what is deleted when the ranks are there, in blocks of ``users``."""
        return Folder(self.array(f"work-{users}"))


@dataclass(frozen=True)
class WeightPaths(Folder):
    """The largest weights of every column of B."""

    @classmethod
    def of(cls, identifier: str) -> Self:
        """Return the paths for the weights with that id."""
        return cls(Kind.WEIGHTS.path(identifier))

    rows = Name("rows")
    """Rows of B, items x k."""
    values = Name("values")
    """Weights, items x k."""


@dataclass(frozen=True)
class SparseRowPaths(Folder):
    """A sparse matrix in compressed rows or columns, as three vectors."""

    indptr = Name("indptr")
    """Positions at which each row begins and ends."""
    indices = Name("indices")
    """Columns."""
    data = Name("data")
    """Values; a matrix of ones has none."""


def first_array(path: str) -> str:
    """Return the path of an array that is there when the features, or the array, at ``path`` are."""
    return SparseRowPaths(path).indptr if kind_of(path) is Kind.WORDS else path


@dataclass(frozen=True)
class StringColumnPaths(Folder):
    """A column of strings, as two vectors."""

    offsets = Name("offsets")
    """Positions at which each string begins and ends."""
    bytes = Name("bytes")
    """UTF-8 text of all strings."""


def stored_with(path: str) -> str | None:
    """Return the other vector of a column of strings or of sparse rows, be it without chunks; else None."""
    folder, _, name = path.rpartition("/")
    other = _PARTNERS.get(name)
    return None if other is None else f"{folder}/{other}"


_PARTNERS = {"offsets": "bytes", "bytes": "offsets", "indptr": "indices", "indices": "indptr"}

Split: TypeAlias = Literal["train", "valid", "test", "input"]
"""Part of the interactions; ``input`` is what is known of a user at prediction time."""


@dataclass(frozen=True)
class DatasetPaths:
    """Ids, texts and interactions of one dataset."""

    id: str

    @property
    def user_ids(self) -> str:
        """Ids in the order of the rows of X."""
        return f"{Kind.USERS.path(self.id)}/ids"

    @property
    def item_ids(self) -> str:
        """Ids in the order of the columns of X."""
        return self.item_column("ids")

    @property
    def titles(self) -> str:
        """Names of the items for people."""
        return self.item_column("title")

    @property
    def texts(self) -> str:
        """Texts that are embedded."""
        return self.item_column("text")

    @property
    def order(self) -> str:
        """Catalog row of each item, where the core comes first."""
        return self.item_column("order")

    def item_column(self, name: str) -> str:
        """Return the path of the column ``name`` of the catalog."""
        return f"{Kind.ITEMS.path(self.id)}/{name}"

    @property
    def train_by_item(self) -> SparseRowPaths:
        """Training interactions, by columns of X."""
        return SparseRowPaths(f"{Kind.INTERACTIONS.path(self.id)}/train_csc")

    def by_user(self, split: Split) -> SparseRowPaths:
        """Return the paths of the interactions of a split, by rows of X."""
        return SparseRowPaths(f"{Kind.INTERACTIONS.path(self.id)}/{split}_csr")

    @property
    def folders(self) -> tuple[str, ...]:
        """All that belongs to the dataset."""
        return tuple(kind.path(self.id) for kind in DATASET_KINDS)


@dataclass(frozen=True)
class AddedPaths(SparseRowPaths):
    """Items added to fitted models on some features: one generation of them."""

    @classmethod
    def of(cls, features: str, generation: int) -> Self:
        """Return the paths of a generation."""
        return cls(f"{Kind.ADDED.path(features)}/{generation}")

    ids = Name("ids")
    """Their ids."""
    titles = Name("title")
    """Titles of the items."""
    rows = Name("rows")
    """Their dense features, items x d; sparse ones are compressed rows."""


def added_generation(path: str) -> tuple[str, str]:
    """Return features and generation of the added items that the array at ``path`` belongs to."""
    _, features, generation, *_ = path.split("/")
    return features, generation
