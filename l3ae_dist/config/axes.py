"""Axes of a sweep: lists of values, and ranges."""

import math
import random
from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from l3ae_dist.config.section import Section
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.heads import Diagonal
from l3ae_dist.messages import shown


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
        """Return the value at a share of the way from low to high, to four digits within the bounds."""
        if self.scale == "linear" or self.low <= 0:
            value = self.low + share * (self.high - self.low)
        else:
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        return min(max(float(f"{value:.4g}"), self.low), self.high)

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
            raise ConfigError(f"{shown(number)} is not a finite number; write a list such as [20, 100, 500]")
        numbers.append(float(number))
    return tuple(dict.fromkeys(numbers))


Choice: TypeAlias = float | str | None
"""One value of an axis: a number, a switch, a word, or null."""
Axis = Annotated[tuple[float, ...] | Range, BeforeValidator(_axis)]


def _choices(value: object) -> object:
    """Read one value as a list of it."""
    return value if isinstance(value, (list, tuple, type(None))) else [value]


Dimensions = Annotated[tuple[Annotated[int, Field(ge=1, strict=True)] | None, ...], BeforeValidator(_choices)]
Diagonals = Annotated[tuple[Diagonal, ...], BeforeValidator(_choices)]
Switches = Annotated[tuple[Annotated[bool, Field(strict=True)], ...], BeforeValidator(_choices)]


def lowest(axis: tuple[float, ...] | Range | None) -> float | None:
    """Return the smallest value of an axis; None without one."""
    if axis is None:
        return None
    return float(axis.low if isinstance(axis, Range) else min(axis))


def highest(axis: tuple[float, ...] | Range | None) -> float | None:
    """Return the largest value of an axis; None without one."""
    if axis is None:
        return None
    return float(axis.high if isinstance(axis, Range) else max(axis))


def draw(axis: Sequence[Choice] | Range, rng: random.Random) -> Choice:
    """Draw a value of an axis; of a range without count a new one."""
    if isinstance(axis, Range):
        return axis.at(rng.random()) if axis.count is None else rng.choice(axis.values())
    return rng.choice(axis)
