"""The members of the family of models and their parameters: names and numbers only."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Features = Literal["embeddings", "words"]
Route: TypeAlias = Literal["woodbury", "direct"]
"""Route of the semantic phase: through a d x d inverse, or through n x n tiles."""


@dataclass(frozen=True)
class Member:
    """A member of the family.

    Parameters
    ----------
    title
        Its name in results, and of its estimator.
    params
        Names of the parameters that it has.
    features
        Item features that it takes unless told otherwise, None for none.
    alpha
        Its weight unless told otherwise.
    """

    title: str
    params: tuple[str, ...]
    features: Features | None = None
    alpha: float = 0.0


MEMBERS = {
    "l3ae": Member("L3AE", ("reg_x", "reg_f", "reg_e"), "embeddings"),
    "ease": Member("EASE", ("reg_x",)),
    "ease_text": Member("EASEText", ("reg_f",), "embeddings"),
    "text_similarity": Member("TextSimilarity", (), "embeddings"),
    "collective_ease": Member("CollectiveEASE", ("reg_x", "alpha"), "words", 0.5),
    "additive_ease": Member("AdditiveEASE", ("reg_x", "reg_f", "alpha"), "words", 0.5),
    "l3ae_collective": Member("L3AECollective", ("reg_x", "alpha"), "embeddings", 5.0),
    "l3ae_additive": Member("L3AEAdditive", ("reg_x", "reg_f", "alpha"), "embeddings", 0.5),
    "gfcf": Member("GFCF", ("rank", "alpha"), None, 0.3),
}
"""By name in the configuration."""
BY_TITLE = {member.title: member for member in MEMBERS.values()}
COLLECTIVE = ("CollectiveEASE", "L3AECollective")
ADDITIVE = ("AdditiveEASE", "L3AEAdditive")


@dataclass(frozen=True)
class ModelSpec:
    """One model with the values of its parameters.

    Parameters
    ----------
    name
        Title of a member.
    reg_x, reg_f, reg_e
        Ridge weights; ``reg_f`` is None and ``reg_e`` 0 for EASE.
    alpha
        Weight of the features (collective), of the semantic model (additive) or of the low-pass filter.
    rank
        Singular vectors of GF-CF.
    """

    name: str
    reg_x: float = 0.0
    reg_f: float | None = None
    reg_e: float = 0.0
    alpha: float = 0.0
    rank: int = 0

    @property
    def ridge(self) -> float:
        """``reg_x + reg_e``; 0 for a model without interactions in its system.

        To twelve digits, so that every split of one ridge shares its factorisation.

        >>> ModelSpec("L3AE", reg_x=-100, reg_f=5, reg_e=200).ridge
        100.0
        """
        return float(f"{self.reg_x + self.reg_e:.12g}")

    @property
    def with_interactions(self) -> bool:
        """True when the model needs ``P = (X'X + ridge I)^-1``."""
        return self.name in ("L3AE", "EASE", *ADDITIVE)

    @property
    def with_semantics(self) -> bool:
        """True when the model needs the semantic phase ``C``."""
        return self.name in ("EASEText", *ADDITIVE) or (self.name == "L3AE" and self.reg_e > 0)

    @property
    def with_features(self) -> bool:
        """True when the model reads item features."""
        return BY_TITLE[self.name].features is not None

    @property
    def group(self) -> tuple[object, ...]:
        """Key of the models that share their large matrices and are scored together."""
        if self.with_interactions:
            return ("interactions", self.ridge)
        return (self.name, self.ridge, self.alpha, self.rank)

    def params(self) -> dict[str, float]:
        """Return the parameters that the model has, with their values."""
        return {name: getattr(self, name) for name in BY_TITLE[self.name].params}
