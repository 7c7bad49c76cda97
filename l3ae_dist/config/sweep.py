"""The section on sweeps: grids and seeded random samples of the regularisers."""

import math
import random
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.config.section import Section
from l3ae_dist.errors import ConfigError

# Random draws for each wanted sample before a sweep gives up on finding a positive ridge.
_ATTEMPTS = 1000


class Range(Section):
    """Values between two bounds: ``count`` evenly spaced ones, or a new one for each sample."""

    low: float = Field(allow_inf_nan=False)
    """The smallest value."""
    high: float = Field(allow_inf_nan=False)
    """The largest value."""
    count: int | None = Field(default=None, ge=2)
    """Number of values, evenly spaced; null draws a new value for each random sample."""
    scale: Literal["auto", "log", "linear"] = "auto"
    """Even on which scale; auto is log where both bounds are positive."""

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> "Range":
        if self.low >= self.high:
            raise ConfigError(f"low is {self.low:g} but must be less than high, which is {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ConfigError(f"low is {self.low:g} but must be positive on a log scale")
        return self

    def at(self, share: float) -> float:
        """Return the value at a share of the way from low to high, to four digits."""
        if self.scale == "linear" or self.low <= 0:
            value = self.low + share * (self.high - self.low)
        else:
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        return float(f"{value:.4g}")

    def values(self) -> tuple[float, ...]:
        """Return the evenly spaced values.

        >>> Range(low=1, high=1000, count=4).values()
        (1.0, 10.0, 100.0, 1000.0)
        """
        steps = (self.count or 2) - 1
        return tuple(self.at(step / steps) for step in range(steps + 1))


def _axis(value: object) -> object:
    """Read a list of numbers, one number, or a range; with one sentence for anything else."""
    if isinstance(value, (Range, type(None))):
        return value
    if isinstance(value, dict):
        unknown = set(value) - set(Range.model_fields)
        if unknown or not {"low", "high"} <= set(value):
            raise ConfigError(f"{value} is no range; write {{low: 1, high: 1000, count: 5}}")
        return Range.model_validate(value)
    given = value if isinstance(value, (list, tuple)) else [value]
    if not given:
        raise ConfigError("the list is empty; give at least one value")
    numbers: list[float] = []
    for number in given:
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise ConfigError(f"{number!r} is not a finite number; write a list such as [20, 100, 500]")
        numbers.append(float(number))
    return tuple(dict.fromkeys(numbers))


Axis = Annotated[tuple[float, ...] | Range, BeforeValidator(_axis)]


class SweepConfig(Section):
    """A grid over (``ridge``, ``reg_f``, ``reg_e``) or over (``reg_x``, ``reg_f``, ``reg_e``).

    Each axis is a list of values or a range ``{low, high, count}``. Every distinct ridge costs one
    factorisation, however many pairs of reg_x and reg_e lead to it; the other axes cost little.
    """

    ridge: Axis | None = None
    """Values of ``reg_x + reg_e``; EASE is tried at each. Either this or ``reg_x``."""
    reg_x: Axis | None = None
    """Values of ``reg_x``; may be negative while every ridge ``reg_x + reg_e`` is positive."""
    reg_f: Axis = (5.0,)
    """Values of the semantic ridge weight; EASEText is tried at each."""
    reg_e: Axis = (100.0,)
    """Values of the distillation weight; 0 is EASE, which is tried at every ridge anyway."""
    samples: int | None = Field(default=None, ge=1)
    """Try so many random combinations instead of all."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random combinations."""

    @model_validator(mode="after")
    def _can_be_tried(self) -> "SweepConfig":
        if (self.ridge is None) == (self.reg_x is None):
            given = "neither ridge nor reg_x is" if self.ridge is None else "both ridge and reg_x are"
            raise ConfigError(f"{given} given; set one of sweep.ridge and sweep.reg_x")
        for name, least in (
            ("ridge", "greater than 0"),
            ("reg_f", "greater than 0"),
            ("reg_e", "at least 0"),
        ):
            low = _lowest(getattr(self, name))
            if low is not None and (low < 0 or (low == 0 and name != "reg_e")):
                raise ConfigError(f"{name} has the value {low:g} but every value must be {least}")
        self.models()
        return self

    def models(self) -> tuple[ModelSpec, ...]:
        """List the L3AE models to try, each once.

        Raises
        ------
        ConfigError
            For a ridge that is not positive, and when no model is left.
        """
        distilled = (spec for spec in self._combinations() if spec.reg_e > 0)
        specs = tuple({(spec.ridge, spec.reg_f, spec.reg_e): spec for spec in distilled}.values())
        if not specs:
            raise ConfigError("reg_e is 0 everywhere, which is EASE; give a positive value of sweep.reg_e")
        return specs

    def _combinations(self) -> Iterator[ModelSpec]:
        # one of ridge and reg_x is set
        first = self.reg_x if self.ridge is None else self.ridge
        axes = (() if first is None else first, self.reg_f, self.reg_e)
        drawn = [isinstance(axis, Range) and axis.count is None for axis in axes]
        if any(drawn):
            if self.samples is None:
                raise ConfigError("a range without count is for random samples; set count or sweep.samples")
            yield from self._draws(axes)
            return
        grid = list(product(*(axis.values() if isinstance(axis, Range) else axis for axis in axes)))
        specs = [self._model(*values) for values in grid]
        if self.samples is not None and self.samples < len(specs):
            specs = random.Random(self.seed).sample(specs, self.samples)  # noqa: S311
        yield from specs

    def _draws(self, axes: Sequence[tuple[float, ...] | Range]) -> Iterator[ModelSpec]:
        """Yield random combinations; a drawn ridge that is not positive is drawn again."""
        rng, wanted = random.Random(self.seed), int(self.samples or 0)  # noqa: S311
        for _ in range(_ATTEMPTS * wanted):
            values = [_draw(axis, rng) for axis in axes]
            if self.ridge is None and not values[0] + values[2] > 0:
                continue
            yield self._model(*values)
            wanted -= 1
            if not wanted:
                return
        raise ConfigError(
            "no random pair of reg_x and reg_e has a positive ridge; raise sweep.reg_x or reg_e"
        )

    def _model(self, first: float, reg_f: float, reg_e: float) -> ModelSpec:
        reg_x = first if self.ridge is None else first - reg_e
        spec = ModelSpec("L3AE", reg_x, reg_f, reg_e)
        if not spec.ridge > 0:
            raise ConfigError(
                f"reg_x = {reg_x:g} and reg_e = {reg_e:g} give the ridge {spec.ridge:g}, which must be "
                "greater than 0; raise sweep.reg_x or sweep.reg_e"
            )
        return spec


def _lowest(axis: tuple[float, ...] | Range | None) -> float | None:
    if axis is None:
        return None
    return float(axis.low if isinstance(axis, Range) else min(axis))


def _draw(axis: tuple[float, ...] | Range, rng: random.Random) -> float:
    if isinstance(axis, Range):
        return axis.at(rng.random()) if axis.count is None else rng.choice(axis.values())
    return float(rng.choice(axis))
