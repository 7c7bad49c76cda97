"""Sections on the model: its regularisers, and the grid from which they are picked."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from l3ae_dist.config.members import ADDITIVE, HEAD_PARAMS, LINEAR, MEMBERS, Features, ModelSpec
from l3ae_dist.config.section import NotNegative, Positive, Section
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.heads import Diagonal
from l3ae_dist.messages import named


class ModelConfig(Section):
    """One model with its regularisers."""

    name: Literal[
        "l3ae",
        "ease",
        "lae",
        "rlae",
        "edlae",
        "dlae",
        "rdlae",
        "dan",
        "deql",
        "ease_text",
        "text_similarity",
        "collective_ease",
        "additive_ease",
        "l3ae_collective",
        "l3ae_additive",
        "gfcf",
    ] = "l3ae"
    """``l3ae`` uses interactions and text, ``ease``, ``lae``, ``rlae``, ``edlae``, ``dlae``, ``rdlae``,
    ``dan``, ``deql`` and ``gfcf`` interactions alone, ``ease_text`` and ``text_similarity`` text alone; the
    collective and additive members mix both."""
    reg_x: float = Field(default=100.0, allow_inf_nan=False)
    """Ridge weight of the collaborative phase (DEQL's L2); may be negative while the ridge stays positive."""
    reg_f: Positive = 5.0
    """Ridge weight of the semantic phase (l3ae, ease_text and the additive members)."""
    reg_e: NotNegative = 100.0
    """Weight that pulls the model to the semantic one (l3ae; 0 is EASE)."""
    alpha: NotNegative | None = None
    """Weight of the features (collective: 0.5 or 5), of the semantic model (additive: 0.5) or of the
    low-pass filter (gfcf: 0.3); for l3ae, ease and the members like it the exponent by which the popularity
    of items is taken out of the columns and put back when scoring, 0 to 1 (dan: 0.3, else 0)."""
    beta: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    """Exponent by which users with many interactions count less, 0 to 1 (dan: 0.2, else 0)."""
    p: float | None = Field(default=None, ge=0, lt=1, allow_inf_nan=False)
    """Share of the interactions that are dropped at random while training, in expectation (edlae, dlae,
    rdlae, deql: 0.33; dan: 0.4; l3ae: 0)."""
    diagonal: Diagonal | None = None
    """Constraint on the weight of an item for itself while training: ``zero``, ``at_most`` xi or ``none``
    (l3ae, dan: zero; deql: none or zero). Scores use that weight with ``keep_diagonal`` alone."""
    xi: NotNegative | None = None
    """Bound of that weight for ``at_most`` (rlae, rdlae: 0.1)."""
    a: NotNegative | None = None
    """Weight of dropped interactions in the loss (deql: 1; l3ae with b)."""
    b: NotNegative | None = None
    """Weight of kept interactions in the loss (deql: 0.5; l3ae with a)."""
    keep_diagonal: bool | None = None
    """Let items of a history score themselves by that weight, for recommendations that may repeat (sessions);
    for a diagonal that is at_most xi or none. Other items are ranked the same."""
    weighted_dropout: bool | None = None
    """Count interactions by the weights of their users in the penalty of dropout, as its expectation does,
    where there is a beta; the published code of DAN counts each as 1, and so does this when off."""
    rank: int = Field(default=256, ge=1)
    """Singular vectors of the low-pass filter (gfcf)."""
    features: Literal["auto", "embeddings", "words"] = "auto"
    """Dense embeddings or multi-hot words; auto takes words for collective_ease and additive_ease."""

    @property
    def uses(self) -> Features | None:
        """The item features that the model reads."""
        own = MEMBERS[self.name].features
        return own if own is None or self.features == "auto" else self.features

    @property
    def ridge(self) -> float:
        """The ridge added to the diagonal of the Gram matrix: ``reg_x + reg_e`` for l3ae, else ``reg_x``."""
        return self.reg_x + (self.reg_e if self.name == "l3ae" else 0.0)

    @property
    def weight(self) -> float:
        """``alpha``, or the member's own."""
        return MEMBERS[self.name].alpha if self.alpha is None else self.alpha

    def spec(self) -> ModelSpec:
        """Return the model with the parameters that it has, and no others."""
        member = MEMBERS[self.name]
        values = {name: getattr(self, name) for name in member.all_params}
        if "alpha" in values:
            values["alpha"] = self.weight
        for name in HEAD_PARAMS:
            if member.title in LINEAR and values.get(name) is None:
                values[name] = member.default(name)
        return ModelSpec(member.title, **values)

    @model_validator(mode="after")
    def _ridge_is_positive(self) -> "ModelConfig":
        if "reg_x" in MEMBERS[self.name].params and self.ridge <= 0:
            terms = "reg_x + reg_e" if self.name == "l3ae" else f"reg_x ({self.name} has no reg_e)"
            raise ConfigError(
                f"the ridge {terms} is {self.ridge:g} but must be greater than 0; raise model.reg_x"
                + (" or model.reg_e" if self.name == "l3ae" else "")
            )
        return self

    @model_validator(mode="after")
    def _parameters_are_the_members(self) -> "ModelConfig":
        for name in HEAD_PARAMS:
            if getattr(self, name) is not None and name not in MEMBERS[self.name].all_params:
                others = [key for key, member in MEMBERS.items() if name in member.all_params]
                raise ConfigError(
                    f"{name} is no parameter of {self.name} but of {named(others)}; leave it out or set "
                    "model.name to one of these"
                )
        if MEMBERS[self.name].title in LINEAR:
            check_head(self.name, self.spec())
        return self

    @model_validator(mode="after")
    def _alpha_is_in_range(self) -> "ModelConfig":
        if MEMBERS[self.name].title in LINEAR and self.weight > 1:
            raise ConfigError(
                f"alpha is {self.weight:g}, but for {self.name} it is an exponent of popularity; "
                "choose 0 to 1"
            )
        if MEMBERS[self.name].title in ADDITIVE and self.weight > 1:
            raise ConfigError(
                f"alpha is {self.weight:g}, but {self.name} mixes with 1 - alpha; choose 0 to 1"
            )
        return self


def check_head(name: str, spec: ModelSpec) -> None:
    """Refuse parameters of a linear member that contradict each other.

    Raises
    ------
    ConfigError
        With the values and what to set.
    """
    bounded = spec.diagonal == "at_most"
    if (spec.a is None) != (spec.b is None):
        given, other = ("a", "b") if spec.b is None else ("b", "a")
        raise ConfigError(f"{given} is set without {other}; set both, the weights of dropped and of kept")
    if spec.a is not None and not spec.objective.squares > 0:
        raise ConfigError(
            f"a is {spec.a:g}, b is {spec.b:g} and p is {spec.p:g}, so no interaction has a weight; raise b"
        )
    if bounded and spec.a is not None:
        raise ConfigError(
            f"diagonal is at_most, but with the weights a and b {name} has zero or none; choose one of these"
        )
    if bounded and spec.xi is None:
        raise ConfigError(
            "diagonal is at_most but xi is not set; set model.xi, or in a sweep sweep.xi, to the bound, such "
            "as 0.1"
        )
    if spec.keep_diagonal and spec.diagonal == "zero":
        raise ConfigError(
            "keep_diagonal is true, but diagonal is zero, so there is nothing to keep; set model.diagonal to "
            "none or at_most, or leave out keep_diagonal"
        )
    if spec.xi is not None and not bounded:
        raise ConfigError(
            f"xi is {spec.xi:g}, but diagonal is {spec.diagonal}; set model.diagonal to at_most, or leave "
            "out xi"
        )


class GridConfig(Section):
    """A grid from which each model's regularisers are picked on the validation split."""

    ridges: tuple[Positive, ...] = Field(min_length=1)
    """Values of ``reg_x + reg_e``; each costs one factorisation, shared by all models."""
    reg_f: tuple[Positive, ...] = Field(default=(5.0,), min_length=1)
    """Values of the semantic ridge weight."""
    reg_e: tuple[NotNegative, ...] = Field(default=(100.0,), min_length=1)
    """Values of the distillation weight; ``reg_x`` is the ridge minus it."""
    alphas: tuple[NotNegative, ...] = ()
    """Values of alpha for the members that have one; ``model.alpha`` when empty."""
    betas: tuple[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)], ...] = ()
    """Values of beta for the members that have one, each an inverse of its own; ``model.beta`` when empty."""
    ps: tuple[Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)], ...] = ()
    """Values of p for the members that have one, each an inverse of its own; ``model.p`` when empty."""
    xis: tuple[NotNegative, ...] = ()
    """Values of xi for a diagonal that is ``at_most`` xi; ``model.xi`` when empty."""

    @model_validator(mode="after")
    def _distils(self) -> "GridConfig":
        if not any(self.reg_e):
            raise ConfigError(
                "grid.reg_e holds no value above 0, and with 0 L3AE is EASE, which is evaluated beside it "
                "anyway; add a value above 0, or take the model ease"
            )
        return self
