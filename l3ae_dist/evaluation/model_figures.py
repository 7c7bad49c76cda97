"""The measured figures of a model, as results keep them."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

from l3ae_dist.config.members import Param
from l3ae_dist.metrics import Figures


class Intervals(TypedDict):
    """Bootstrap intervals over users, ``[low, high]`` by metric; None where no user has such an item.

    ``level`` is their coverage and ``repeats`` the number of resamples; ``all``, ``head`` and ``tail`` are of
    all held-out items, of the popular ones and of the rest.
    """

    level: float
    repeats: int
    all: dict[str, list[float] | None]
    head: dict[str, list[float] | None]
    tail: dict[str, list[float] | None]


class ModelFigures(TypedDict):
    """Parameters of a model and, once it is measured, its figures on the splits and their intervals.

    ``ridge`` is that of a pick of a sweep, and ``transform`` what the sweep varied of its embeddings.
    """

    params: dict[str, Param]
    valid: NotRequired[Figures]
    test: NotRequired[Figures]
    intervals: NotRequired[Intervals]
    ridge: NotRequired[float]
    transform: NotRequired[Mapping[str, Param | None]]
