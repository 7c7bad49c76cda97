"""Groups of models that share their large matrices, and are measured in one pass over them."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from l3ae_dist.config.members import ModelSpec, Route


@dataclass(frozen=True, slots=True)
class ModelGroup:
    """Models that share their large matrices, and what they have in common in words."""

    label: str
    models: tuple[ModelSpec, ...]


def group_label(spec: ModelSpec) -> str:
    """Name what the models of a group have in common."""
    return f"ridge {spec.ridge:g}" if spec.with_interactions else spec.name


def score_groups(specs: Iterable[ModelSpec]) -> list[ModelGroup]:
    """Group models by their system, in the order of the first of each."""
    groups: dict[Hashable, list[ModelSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.group, []).append(spec)
    return [ModelGroup(group_label(models[0]), tuple(models)) for models in groups.values()]


def rank_groups(specs: Iterable[ModelSpec], route: Route) -> list[ModelGroup]:
    """Group models by ridge, with equal reg_f beside each other; on the direct route by reg_f too.

    There every reg_f has n x n matrices of its own, of which only those of one group are held.
    """
    groups: dict[tuple[float, float | None], list[ModelSpec]] = {}
    for spec in sorted(specs, key=lambda spec: (spec.ridge, spec.reg_f or 0.0, spec.reg_e)):
        reg_f = spec.reg_f if route == "direct" else None
        groups.setdefault((spec.ridge, reg_f), []).append(spec)
    return [ModelGroup(_rank_label(*key), tuple(models)) for key, models in groups.items()]


def _rank_label(ridge: float, reg_f: float | None) -> str:
    parts = [f"ridge {ridge:g}" if ridge else "EASEText", "" if reg_f is None else f"reg_f {reg_f:g}"]
    return ", ".join(part for part in parts if part)
