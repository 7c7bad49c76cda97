"""The section on sweeps: grids and seeded random samples of the parameters of linear members."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import Literal, TypeVar

from pydantic import Field, model_validator

from l3ae_dist.config.axes import (
    Axis,
    Choice,
    Diagonals,
    Dimensions,
    Range,
    Switches,
    draw,
    highest,
    lowest,
)
from l3ae_dist.config.embedding import TransformConfig
from l3ae_dist.config.members import BY_TITLE, MEMBERS, ModelSpec
from l3ae_dist.config.model import check_head
from l3ae_dist.config.section import Section
from l3ae_dist.config.transformed_spec import VARIED, TransformedSpec
from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import named

# Random draws for each wanted sample before a sweep gives up on finding a positive ridge.
_ATTEMPTS = 1000
# Combinations of a grid that are all made before samples are drawn of them; of a larger one so many are made
# for each sample.
_WHOLE_GRID, _SPARE = 5_000, 20
# Axes that every model has whose member has the parameter, with their bounds.
_HEAD_AXES = ("p", "beta", "alpha", "diagonal", "xi", "b")
_BOUNDS = {"whiten": 1.0, "beta": 1.0, "alpha": 1.0, "p": 1.0}
# The refusal of values that leave nothing of the text and nothing else of L3AE.
_ALL_EASE = "reg_e is 0 everywhere, which is EASE; give a positive value of sweep.reg_e"
_TEXT_AXES = ("reg_f", "reg_e", *VARIED)

Chosen = Mapping[str, Choice]
T = TypeVar("T")


class SweepConfig(Section):
    """A grid over ``ridge`` or ``reg_x``, ``reg_f``, ``reg_e``, and the other axes that are given.

    Each axis is a list of values or a range ``{low, high, count}``. Every distinct ridge, with every ``p``
    and ``beta``, costs one factorisation, however many pairs of reg_x and reg_e lead to it; the other axes
    cost little. The axes ``whiten``, ``truncate_dim`` and ``normalize`` vary the section ``transform``; texts
    are embedded once.
    """

    ridge: Axis | None = None
    """Values of ``reg_x + reg_e``; EASE is tried at each. Either this or ``reg_x``."""
    reg_x: Axis | None = None
    """Values of ``reg_x``; may be negative while every ridge ``reg_x + reg_e`` is positive."""
    reg_f: Axis = (5.0,)
    """Values of the semantic ridge weight; EASEText is tried at each."""
    reg_e: Axis = (100.0,)
    """Values of the distillation weight; a model that 0 makes EASE is tried under that name."""
    p: Axis | None = None
    """Values of the share of dropped interactions, each an inverse of its own; ``model.p`` when null."""
    beta: Axis | None = None
    """Values of the exponent of long histories, each an inverse of its own; ``model.beta`` when null."""
    alpha: Axis | None = None
    """Values of the exponent of popularity, from 0 to 1; ``model.alpha`` when null."""
    diagonal: Diagonals | None = Field(default=None, min_length=1)
    """Constraints on the diagonal for members that have a choice; ``model.diagonal`` when null."""
    xi: Axis | None = None
    """Bounds of the diagonal where it is ``at_most`` xi; ``model.xi`` when null."""
    b: Axis | None = None
    """Values of the weight of kept interactions, for deql and where ``model.a`` is set; ``model.b`` when
    null."""
    whiten: Axis | None = None
    """Values of ``transform.whiten``, from 0 to 1; that of ``transform`` when null."""
    truncate_dim: Dimensions | None = Field(default=None, min_length=1)
    """Values of ``transform.truncate_dim``, of which null keeps all dimensions."""
    normalize: Switches | None = Field(default=None, min_length=1)
    """Values of ``transform.normalize``."""
    members: tuple[Literal["ease", "lae", "rlae", "edlae", "dlae", "rdlae", "dan", "deql"], ...] = ()
    """Further members, tried with the values of the axes that they have; the best of each is compared."""
    early_stopping: bool = False
    """Rank the models on a growing sample of users, and give up those that are probably worse than the best
    of their kind. Saves scoring alone; needs optuna (the extra ``search``)."""
    samples: int | None = Field(default=None, ge=1)
    """Try so many random combinations instead of all."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random combinations."""

    @model_validator(mode="after")
    def _can_be_tried(self) -> "SweepConfig":
        if (self.ridge is None) == (self.reg_x is None):
            given = "neither ridge nor reg_x is" if self.ridge is None else "both ridge and reg_x are"
            raise ConfigError(f"{given} given; set one of sweep.ridge and sweep.reg_x")
        for name in ("ridge", "reg_f", "reg_e", "xi", "b"):
            _check_low(name, lowest(getattr(self, name)), positive=name in ("ridge", "reg_f"))
        for name, most in _BOUNDS.items():
            _check_share(name, getattr(self, name), most)
        bounded = self.xi is not None or "at_most" in (self.diagonal or ())
        self._tried(None, ModelSpec("L3AE", diagonal="at_most", xi=0.1) if bounded else ModelSpec("L3AE"))
        return self

    @property
    def varies_text(self) -> bool:
        """True when models read different transformations of the embeddings."""
        return any(getattr(self, name) is not None for name in VARIED)

    def models(
        self, transform: TransformConfig | None = None, model: ModelSpec | None = None
    ) -> tuple[ModelSpec, ...]:
        """List the models to try, each once; of L3AE those that read the text.

        Parameters
        ----------
        transform
            Settings of the transformation that are not varied; its defaults when None.
        model
            Parameters that are not varied; L3AE's own when None.

        Raises
        ------
        ConfigError
            For a ridge that is not positive, for fewer dimensions than are kept after them, for parameters
            that contradict each other, and when no model is left.
        """
        tried = self._tried(transform, model or ModelSpec("L3AE"))
        own = tuple(spec for spec, _ in tried if _is_own(spec))
        if not own:
            check_head(tried[0][0].name, tried[0][0])
            raise ConfigError(_ALL_EASE)
        return own

    def check_distils(self, model: ModelSpec) -> None:
        """Refuse values of L3AE that are all EASE, whatever the transformation.

        Raises
        ------
        ConfigError
            With what to set.
        """
        p = model.p if self.p is None else highest(self.p)
        diagonals = set(self.diagonal or (model.diagonal,))
        if not highest(self.reg_e) and not p and diagonals == {"zero"} and model.a is None:
            raise ConfigError(_ALL_EASE)

    def beside(self, transform: TransformConfig, model: ModelSpec) -> tuple[ModelSpec, ...]:
        """List the models of the further members, and the EASE that a model without text is, each once.

        Parameters
        ----------
        transform, model
            As of :meth:`models`.
        """
        found: dict[str, dict[ModelSpec, ModelSpec]] = {}
        for own, combinations in self._tried(transform, model):
            specs = [_ease(own)] if _is_ease(own) else []
            specs += (
                self._member(name, own.ridge, chosen) for chosen in combinations for name in self.members
            )
            for spec in specs:
                if spec.name != model.name and not _is_bound_with_weights(spec):
                    found.setdefault(spec.name, {}).setdefault(_by_ridge(spec), spec)
        return tuple(spec for specs in found.values() for spec in self._sampled(list(specs.values())))

    def _tried(
        self, transform: TransformConfig | None, model: ModelSpec
    ) -> list[tuple[ModelSpec, list[Chosen]]]:
        """Return each distinct model with all combinations of the axes that make it."""
        base = TransformConfig.model_validate({}) if transform is None else transform
        self._check_axes(model)
        found: dict[ModelSpec, tuple[ModelSpec, list[Chosen]]] = {}
        for chosen in self._combinations(model):
            spec = self._model(chosen, base, model)
            found.setdefault(_by_ridge(spec), (spec, []))[1].append(chosen)
        own = [one for one in found.values() if _is_own(one[0])]
        sampled = self._sampled(own)
        return sampled if len(sampled) < len(own) else list(found.values())

    def _sampled(self, tried: list[T]) -> list[T]:
        """Return as many as are wanted, drawn by the seed; all where there are no more."""
        if self.samples is None or self.samples >= len(tried):
            return tried
        return random.Random(self.seed).sample(tried, self.samples)  # noqa: S311

    def _check_axes(self, model: ModelSpec) -> None:
        """Refuse axes that no model has."""
        members = [BY_TITLE[model.name], *(MEMBERS[name] for name in self.members)]
        has = {name for member in members for name in member.all_params}
        has |= set(VARIED) if model.name == "L3AE" else set()
        given = [name for name in (*_HEAD_AXES, *_TEXT_AXES) if name in self.model_fields_set]
        unused = [name for name in given if getattr(self, name) is not None and name not in has]
        if unused:
            titles = named(member.title for member in members)
            raise ConfigError(
                f"sweep.{unused[0]} is given, which is no parameter of {titles}; leave it out, or add a "
                "member that has it to sweep.members"
            )
        bounded = {model.diagonal, *(self.diagonal or ()), *(one.default("diagonal") for one in members)}
        if self.xi is not None and "at_most" not in bounded:
            raise ConfigError(
                "xi is given, but no diagonal is at_most; add at_most to sweep.diagonal, or leave out "
                "sweep.xi"
            )

    def _axes(self, model: ModelSpec) -> dict[str, Sequence[Choice] | Range]:
        """Name what is varied, with its values."""
        # one of ridge and reg_x is set
        first = self.reg_x if self.ridge is None else self.ridge
        axes: dict[str, Sequence[Choice] | Range] = {"first": () if first is None else first}
        if model.name == "L3AE":
            axes |= {"reg_f": self.reg_f, "reg_e": self.reg_e}
        given = {name: getattr(self, name) for name in (*VARIED, *_HEAD_AXES)}
        return {**axes, **{name: axis for name, axis in given.items() if axis is not None}}

    def _combinations(self, model: ModelSpec) -> Iterator[Chosen]:
        axes = self._axes(model)
        if any(isinstance(axis, Range) and axis.count is None for axis in axes.values()):
            if self.samples is None:
                raise ConfigError("a range without count is for random samples; set count or sweep.samples")
            yield from self._draws(axes)
            return
        values = [axis.values() if isinstance(axis, Range) else axis for axis in axes.values()]
        some = product(*values) if self.samples is None else self._of_grid(values, self.samples)
        yield from (dict(zip(axes, chosen, strict=True)) for chosen in some)

    def _of_grid(self, values: Sequence[Sequence[Choice]], wanted: int) -> Iterator[tuple[Choice, ...]]:
        """Yield a grid, or where it is large some of it: enough that many of them may be the same model."""
        sizes = [len(some) for some in values]
        total, drawn = prod(sizes), _SPARE * wanted
        if total <= max(_WHOLE_GRID, drawn):
            yield from product(*values)
            return
        for place in sorted(random.Random(self.seed).sample(range(total), drawn)):  # noqa: S311
            digits = []
            for size in reversed(sizes):
                place, digit = divmod(place, size)
                digits.append(digit)
            yield tuple(some[digit] for some, digit in zip(values, reversed(digits), strict=True))

    def _draws(self, axes: Mapping[str, Sequence[Choice] | Range]) -> Iterator[Chosen]:
        """Yield random combinations; a drawn ridge that is not positive is drawn again."""
        rng, wanted = random.Random(self.seed), int(self.samples or 0)  # noqa: S311
        for _ in range(_ATTEMPTS * wanted):
            chosen = {name: draw(axis, rng) for name, axis in axes.items()}
            if self.ridge is None and not _number(chosen["first"]) + _number(chosen.get("reg_e")) > 0:
                continue
            yield chosen
            wanted -= 1
            if not wanted:
                return
        raise ConfigError(
            "no random pair of reg_x and reg_e has a positive ridge; raise sweep.reg_x or reg_e"
        )

    def _model(self, chosen: Chosen, base: TransformConfig, model: ModelSpec) -> ModelSpec:
        """Make the model of one value of each axis."""
        first, reg_e = _number(chosen["first"]), _number(chosen.get("reg_e"))
        reg_f = _number(chosen["reg_f"]) if "reg_f" in chosen else None
        own = replace(model, reg_x=1.0, reg_f=reg_f, reg_e=reg_e)
        spec = self._with_head(own, chosen)
        # the same to the last digit where there are no weights a and b
        scale = spec.objective.scale
        reg_x = first if self.ridge is None else first * scale - reg_e
        spec = replace(spec, reg_x=reg_x)
        if not spec.ridge > 0:
            raise ConfigError(
                f"reg_x = {reg_x:g} and reg_e = {reg_e:g} give the ridge {spec.ridge:g}, which must be "
                "greater than 0; raise sweep.reg_x or sweep.reg_e"
            )
        if not self.varies_text:
            return spec
        varied = {name: chosen[name] for name in VARIED if name in chosen}
        return TransformedSpec.on(spec, base.model_copy(update=varied).checked())

    def _member(self, name: str, ridge: float, chosen: Chosen) -> ModelSpec:
        """Make a further member at a ridge, with the values of the axes that it has."""
        member = MEMBERS[name]
        plain = replace(ModelSpec.of(member.title, {}), alpha=member.alpha)
        spec = self._with_head(plain, chosen)
        return replace(spec, reg_x=ridge * spec.objective.scale)

    def _with_head(self, spec: ModelSpec, chosen: Chosen) -> ModelSpec:
        """Return a model with the values of the head's axes that it has, also a bound with weights."""
        member = BY_TITLE[spec.name]
        mine = {name: chosen[name] for name in _HEAD_AXES if name in chosen and name in member.all_params}
        if "b" in mine and spec.a is None:
            del mine["b"]
        diagonal = mine.get("diagonal", spec.diagonal)
        if diagonal != "at_most":
            mine["xi"] = None
        spec = replace(spec, **mine)  # type: ignore[arg-type]
        if diagonal == "zero":
            spec = replace(spec, keep_diagonal=False)
        if not _is_bound_with_weights(spec):
            check_head(spec.name, spec)
        return spec


def _is_own(spec: ModelSpec) -> bool:
    """Return True for a model that there is and that is tried under its own name."""
    return not _is_ease(spec) and not _is_bound_with_weights(spec)


def _is_ease(spec: ModelSpec) -> bool:
    return spec.name == "L3AE" and (spec.reg_e, spec.p, spec.diagonal, spec.a) == (0, 0, "zero", None)


def _is_bound_with_weights(spec: ModelSpec) -> bool:
    """Return True for a combination that no member has."""
    return spec.diagonal == "at_most" and spec.a is not None


def _ease(spec: ModelSpec) -> ModelSpec:
    return ModelSpec("EASE", spec.ridge, alpha=spec.alpha, beta=spec.beta)


def _by_ridge(spec: ModelSpec) -> ModelSpec:
    """Return the model at its ridge, which is equal for all splits of it."""
    return replace(spec, reg_x=spec.ridge)


def _check_low(name: str, low: float | None, *, positive: bool) -> None:
    if low is not None and (low < 0 or (low == 0 and positive)):
        least = "greater than 0" if positive else "at least 0"
        raise ConfigError(f"{name} has the value {low:g} but every value must be {least}")


def _check_share(name: str, axis: tuple[float, ...] | Range | None, most: float) -> None:
    for bound in (lowest(axis), highest(axis)):
        if bound is not None and (not 0 <= bound <= most or (name == "p" and bound == most)):
            least = "at least 0 and less than 1" if name == "p" else "between 0 and 1"
            raise ConfigError(f"{name} has the value {bound:g} but every value must be {least}")


def _number(value: Choice | None) -> float:
    return 0.0 if value is None else float(value)
