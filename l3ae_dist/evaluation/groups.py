"""Groups of models that share their large matrices, and are measured in one pass over them."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from l3ae_dist.config.members import ModelSpec, Route
from l3ae_dist.config.transformed_spec import transform_of, transform_settings


@dataclass(frozen=True, slots=True)
class ModelGroup:
    """Models that share their large matrices, and what they have in common in words."""

    label: str
    models: tuple[ModelSpec, ...]

    def parts(self, most: int) -> "list[ModelGroup]":
        """Divide the group into groups of at most so many models; the labels of several are numbered.

        >>> group = ModelGroup("ridge 1", tuple(ModelSpec("EASE", float(k)) for k in range(3)))
        >>> [(part.label, len(part.models)) for part in group.parts(2)]
        [('ridge 1, part 1 of 2', 2), ('ridge 1, part 2 of 2', 1)]
        """
        if len(self.models) <= most:
            return [self]
        several = [self.models[start : start + most] for start in range(0, len(self.models), most)]
        return [
            ModelGroup(f"{self.label}, part {number} of {len(several)}", models)
            for number, models in enumerate(several, start=1)
        ]


def group_label(spec: ModelSpec) -> str:
    """Name what the models of a group have in common.

    >>> group_label(ModelSpec("EDLAE", 50.0, p=0.25))
    'ridge 50, p 0.25'
    """
    if not spec.with_interactions:
        return spec.name
    others = [f"{name} {getattr(spec, name):g}" for name in ("p", "beta") if getattr(spec, name)]
    others += ["weighted dropout"] if spec.objective.weighs_penalty else []
    return ", ".join([f"ridge {spec.ridge:g}", *others])


def score_groups(specs: Iterable[ModelSpec]) -> list[ModelGroup]:
    """Group models by their system, in the order of the first of each."""
    groups: dict[Hashable, list[ModelSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.group, []).append(spec)
    return [ModelGroup(group_label(models[0]), tuple(models)) for models in groups.values()]


def rank_groups(specs: Iterable[ModelSpec], route: Route) -> list[ModelGroup]:
    """Group models by inverse, equal features and reg_f beside each other; on the direct route by these too.

    There all features and every reg_f have n x n matrices of their own, of which only one group's are held.
    """
    groups: dict[Hashable, list[ModelSpec]] = {}
    for spec in sorted(specs, key=_order):
        text, reg_f = (transform_of(spec), spec.reg_f) if route == "direct" else ("", None)
        groups.setdefault((spec.inverse, text, reg_f), []).append(spec)
    with_text = route == "direct"
    return [
        ModelGroup(_rank_label(models[0], with_text=with_text), tuple(models)) for models in groups.values()
    ]


def _order(spec: ModelSpec) -> tuple[object, ...]:
    return spec.inverse, transform_of(spec), spec.reg_f or 0.0, spec.alpha, spec.reg_e


def _rank_label(spec: ModelSpec, *, with_text: bool) -> str:
    """Name the inverse of a group, and the features that it has alone.

    >>> _rank_label(ModelSpec("L3AE", 50.0, 5.0, 50.0), with_text=True)
    'ridge 100, reg_f 5'
    """
    if not with_text or spec.reg_f is None:
        return group_label(spec)
    told = transform_settings(spec)
    text = [f"{name} {told[name]}" for name in ("whiten", "truncate_dim") if told.get(name)]
    text += ["unit length"] if told.get("normalize") else []
    return ", ".join([group_label(spec), f"reg_f {spec.reg_f:g}", *text])
