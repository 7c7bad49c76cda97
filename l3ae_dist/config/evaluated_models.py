"""Models that a configuration evaluates: its own, at every setting of the grid, and those beside them."""

from itertools import product

from l3ae_dist.config.members import MEMBERS, ModelSpec
from l3ae_dist.config.run_config import RunConfig


def evaluated_models(config: RunConfig) -> tuple[ModelSpec, ...]:
    """List the models to evaluate: the grid or the model, and those beside it that share its inverses.

    EASE stands beside models that invert its matrix, EASEText beside L3AE, whose semantic part it is.
    """
    own, beside = _own_models(config), config.evaluate.beside
    found: list[ModelSpec] = []
    for spec in own:
        ease = ModelSpec("EASE", spec.ridge)
        wanted = "ease" in beside and spec.with_interactions and spec.name != "EASE" and ease not in found
        # a grid names EASE first at each ridge, a single model itself
        found += [
            *([ease] if wanted and config.grid else []),
            spec,
            *([ease] if wanted and not config.grid else []),
        ]
    if "ease_text" in beside:
        reg_fs = dict.fromkeys(spec.reg_f for spec in own if spec.name == "L3AE" and spec.with_semantics)
        found += [ModelSpec("EASEText", reg_f=reg_f) for reg_f in reg_fs]
    return tuple(found)


def _own_models(config: RunConfig) -> list[ModelSpec]:
    """List the configured model at every setting of the grid."""
    grid, model = config.grid, config.model
    if grid is None:
        return [model.spec()]
    member = MEMBERS[model.name]
    alphas = (grid.alphas or (model.weight,)) if "alpha" in member.params else (0.0,)
    reg_fs = grid.reg_f if "reg_f" in member.params else (None,)
    reg_es = tuple(e for e in grid.reg_e if e > 0) if "reg_e" in member.params else (0.0,)
    rank = model.rank if "rank" in member.params else 0
    ridges = grid.ridges if "reg_x" in member.params else (0.0,)
    return [
        ModelSpec(member.title, ridge - reg_e, reg_f, reg_e, alpha, rank)
        for ridge, reg_f, reg_e, alpha in product(ridges, reg_fs, reg_es, alphas)
    ]
