"""The members of the family of models and their parameters: names and values only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

from l3ae_dist.linalg.heads import Diagonal, LinearObjective

Features = Literal["embeddings", "words"]
Route: TypeAlias = Literal["woodbury", "direct"]
"""Route of the semantic phase: through a d x d inverse, or through n x n tiles."""
Param: TypeAlias = float | str
"""Value of a parameter: a number, a switch, or a word such as the constraint on the diagonal."""


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
    options
        Names of further parameters, which are told only where they differ from the member's own.
    defaults
        Its own values of parameters that others have too.
    """

    title: str
    params: tuple[str, ...]
    features: Features | None = None
    alpha: float = 0.0
    options: tuple[str, ...] = ()
    defaults: Mapping[str, Param] = field(default_factory=dict)

    @property
    def all_params(self) -> tuple[str, ...]:
        """Names of all parameters."""
        return (*self.params, *self.options)

    def default(self, name: str) -> Param | None:
        """Return the member's own value of a parameter of the linear members, None where there is none."""
        return self.alpha if name == "alpha" else self.defaults.get(name, _DEFAULTS[name])


_DEFAULTS: dict[str, Param | None] = {
    "p": 0.0,
    "beta": 0.0,
    "diagonal": "zero",
    "xi": None,
    "a": None,
    "b": None,
    "keep_diagonal": False,
    "weighted_dropout": False,
}
HEAD_PARAMS = tuple(_DEFAULTS)
"""Parameters of the linear members beside the ridge weights and alpha."""
_WEIGHTS = ("alpha", "beta")
_KEPT, _WEIGHTED = "keep_diagonal", "weighted_dropout"
_DROPOUT = 0.33  # the share that its paper takes most often

MEMBERS = {
    "l3ae": Member(
        "L3AE",
        ("reg_x", "reg_f", "reg_e"),
        "embeddings",
        options=("diagonal", "xi", "p", *_WEIGHTS, "a", "b", _KEPT, _WEIGHTED),
    ),
    "ease": Member("EASE", ("reg_x",), options=_WEIGHTS),
    "lae": Member("LAE", ("reg_x",), options=(*_WEIGHTS, _KEPT), defaults={"diagonal": "none"}),
    "rlae": Member(
        "RLAE", ("reg_x", "xi"), options=(*_WEIGHTS, _KEPT), defaults={"diagonal": "at_most", "xi": 0.1}
    ),
    "edlae": Member("EDLAE", ("reg_x", "p"), options=(*_WEIGHTS, _WEIGHTED), defaults={"p": _DROPOUT}),
    "dlae": Member(
        "DLAE",
        ("reg_x", "p"),
        options=(*_WEIGHTS, _KEPT, _WEIGHTED),
        defaults={"p": _DROPOUT, "diagonal": "none"},
    ),
    "rdlae": Member(
        "RDLAE",
        ("reg_x", "p", "xi"),
        options=(*_WEIGHTS, _KEPT, _WEIGHTED),
        defaults={"p": _DROPOUT, "diagonal": "at_most", "xi": 0.1},
    ),
    "dan": Member(
        "DAN",
        ("reg_x", "p", "alpha", "beta"),
        alpha=0.3,
        options=("diagonal", "xi", _KEPT, _WEIGHTED),
        defaults={"p": 0.4, "beta": 0.2},
    ),
    "deql": Member(
        "DEQL",
        ("reg_x", "p", "a", "b"),
        options=("diagonal", *_WEIGHTS, _KEPT),
        defaults={"p": _DROPOUT, "a": 1.0, "b": 0.5, "diagonal": "none"},
    ),
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
LINEAR = ("L3AE", "EASE", "LAE", "RLAE", "EDLAE", "DLAE", "RDLAE", "DAN", "DEQL")
"""Members that are heads of one inverse."""
# What every model is named by; further parameters only where they differ from what they are by themselves.
_ALWAYS_TOLD = ("name", "reg_x", "reg_f", "reg_e", "alpha", "rank")


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
        Weight of the features (collective), of the semantic model (additive) or of the low-pass filter;
        exponent of the popularity of items for the members that are heads of one inverse.
    rank
        Singular vectors of GF-CF.
    p, beta, diagonal, xi, a, b, weighted_dropout
        As of :class:`~l3ae_dist.linalg.heads.LinearObjective`.
    keep_diagonal
        Whether scores use the weights of items for themselves.
    """

    name: str
    reg_x: float = 0.0
    reg_f: float | None = None
    reg_e: float = 0.0
    alpha: float = 0.0
    rank: int = 0
    p: float = 0.0
    beta: float = 0.0
    diagonal: Diagonal = "zero"
    xi: float | None = None
    a: float | None = None
    b: float | None = None
    keep_diagonal: bool = False
    weighted_dropout: bool = False

    @classmethod
    def of(cls, name: str, params: Mapping[str, Param]) -> "ModelSpec":
        """Return the model with the parameters that its document tells."""
        own = {key: BY_TITLE[name].default(key) for key in HEAD_PARAMS} if name in LINEAR else {}
        return cls(name, **{**own, **params})  # type: ignore[arg-type]

    @property
    def objective(self) -> LinearObjective:
        """The loss of a linear member."""
        return LinearObjective(
            reg_x=self.reg_x,
            reg_e=self.reg_e,
            p=self.p,
            alpha=self.alpha if self.name in LINEAR else 0.0,
            beta=self.beta,
            diagonal=self.diagonal,
            xi=self.xi or 0.0,
            a=self.a,
            b=self.b,
            weighted_dropout=self.weighted_dropout,
        )

    @property
    def ridge(self) -> float:
        """``reg_x + reg_e``, for DEQL over ``g``; 0 for a model without interactions in its system.

        To twelve digits, so that every split of one ridge shares its factorisation.

        >>> ModelSpec("L3AE", reg_x=-100, reg_f=5, reg_e=200).ridge
        100.0
        """
        return self.objective.ridge

    @property
    def inverse(self) -> tuple[float, ...]:
        """Key of the inverse: the ridge, and beta and p where there are any.

        >>> ModelSpec("L3AE", 50, 5, 50).inverse == ModelSpec("RLAE", 100, xi=0.1).inverse
        True
        """
        others = (self.beta, self.p, float(self.objective.weighs_penalty))
        return (self.ridge, *others) if any(others) else (self.ridge,)

    @property
    def with_interactions(self) -> bool:
        """True when the model needs ``P``, the inverse of a system of the interactions."""
        return self.name in (*LINEAR, *ADDITIVE)

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
            return ("interactions", *self.inverse)
        return (self.name, self.ridge, self.alpha, self.rank)

    def params(self) -> dict[str, Param]:
        """Return the parameters that the model has, with their values; options where they are used.

        >>> ModelSpec("L3AE", 50, 5, 50).params()
        {'reg_x': 50, 'reg_f': 5, 'reg_e': 50}
        >>> ModelSpec("RLAE", 50, diagonal="at_most", xi=0.2, beta=0.1).params()
        {'reg_x': 50, 'xi': 0.2, 'beta': 0.1}
        """
        member = BY_TITLE[self.name]
        found = {name: getattr(self, name) for name in member.params}
        unused = (_KEPT,) if self.diagonal == "zero" else ()
        for name in member.options:
            value = getattr(self, name)
            if value is not None and value != member.default(name) and name not in unused:
                found[name] = value
        return found

    def document(self) -> dict[str, object]:
        """Return all that tells the model from others, for fingerprints."""
        own = type(self)(self.name)
        return {
            name: value
            for name, value in asdict(self).items()
            if name in _ALWAYS_TOLD or value != getattr(own, name)
        }


def param_text(value: Param) -> str:
    """Write the value of a parameter.

    >>> param_text(100.0), param_text("at_most"), param_text(True)
    ('100', 'at_most', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:g}"
