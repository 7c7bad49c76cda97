"""Models that a configuration evaluates: its own, at every setting of the grid, and those beside them."""

from dataclasses import replace
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
        wanted = wanted and spec.inverse == ease.inverse
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
    own, has = model.spec(), MEMBERS[model.name].all_params
    xis = grid.xis if own.diagonal == "at_most" else ()
    axes = (
        grid.ridges if "reg_x" in has else (0.0,),
        grid.reg_f if "reg_f" in has else (None,),
        tuple(e for e in grid.reg_e if e > 0) if "reg_e" in has else (0.0,),
        (grid.ps if "p" in has else ()) or (own.p,),
        (grid.betas if "beta" in has else ()) or (own.beta,),
        (grid.alphas if "alpha" in has else ()) or (own.alpha,),
        xis or (own.xi,),
    )
    return [
        replace(own, reg_x=ridge - reg_e, reg_f=reg_f, reg_e=reg_e, p=p, beta=beta, alpha=alpha, xi=xi)
        for ridge, reg_f, reg_e, p, beta, alpha, xi in product(*axes)
    ]
