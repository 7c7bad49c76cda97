"""Sections on the model: its regularisers, and the grid from which they are picked."""

from typing import Literal

from pydantic import Field, model_validator

from l3ae_dist.config.members import ADDITIVE, MEMBERS, Features, ModelSpec
from l3ae_dist.config.section import NotNegative, Positive, Section
from l3ae_dist.errors import ConfigError


class ModelConfig(Section):
    """One model with its regularisers."""

    name: Literal[
        "l3ae",
        "ease",
        "ease_text",
        "text_similarity",
        "collective_ease",
        "additive_ease",
        "l3ae_collective",
        "l3ae_additive",
        "gfcf",
    ] = "l3ae"
    """``l3ae`` uses interactions and text, ``ease`` and ``gfcf`` interactions alone, ``ease_text`` and
    ``text_similarity`` text alone; the collective and additive members mix both."""
    reg_x: float = Field(default=100.0, allow_inf_nan=False)
    """Ridge weight of the collaborative phase; may be negative while the ridge stays positive."""
    reg_f: Positive = 5.0
    """Ridge weight of the semantic phase (l3ae, ease_text and the additive members)."""
    reg_e: NotNegative = 100.0
    """Weight that pulls the model to the semantic one (l3ae; 0 is EASE)."""
    alpha: NotNegative | None = None
    """Weight of the features (collective: 0.5 or 5), of the semantic model (additive: 0.5) or of the
    low-pass filter (gfcf: 0.3)."""
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
        values = {name: getattr(self, name) for name in member.params}
        if "alpha" in values:
            values["alpha"] = self.weight
        return ModelSpec(member.title, **values)

    @model_validator(mode="after")
    def _ridge_is_positive(self) -> "ModelConfig":
        if "reg_x" in MEMBERS[self.name].params and self.ridge <= 0:
            terms = "reg_x + reg_e" if self.name == "l3ae" else f"reg_x ({self.name} has no reg_e)"
            raise ConfigError(
                f"the ridge {terms} is {self.ridge:g} but must be greater than 0; raise model.reg_x"
                + (" or model.reg_e" if self.name == "l3ae" else "")
            )
        if MEMBERS[self.name].title in ADDITIVE and self.weight > 1:
            raise ConfigError(
                f"alpha is {self.weight:g}, but {self.name} mixes with 1 - alpha; choose 0 to 1"
            )
        return self


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

    @model_validator(mode="after")
    def _distils(self) -> "GridConfig":
        if not any(self.reg_e):
            raise ConfigError(
                "grid.reg_e holds no value above 0, and with 0 L3AE is EASE, which is evaluated beside it "
                "anyway; add a value above 0, or take the model ease"
            )
        return self
