"""Models that a sweep tries: the configured member, those beside it, and what L3AE is compared with."""

from l3ae_dist.config.embedding import TransformConfig
from l3ae_dist.config.members import LINEAR, MEMBERS, ModelSpec
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.config.transformed_spec import TransformedSpec, transform_of, transforms_of
from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import named


def check_sweep(config: RunConfig) -> None:
    """Refuse a sweep that cannot be run, as far as the configuration tells.

    Raises
    ------
    ConfigError
        For a model that is no linear member, and for values that cannot be tried.
    """
    assert config.sweep is not None
    if MEMBERS[config.model.name].title not in LINEAR:
        linear = named(name for name, member in MEMBERS.items() if member.title in LINEAR)
        raise ConfigError(
            f"model.name is {config.model.name}, but a sweep tries {linear}, and ease_text beside l3ae; "
            "set it to one of these, or try it with the section grid and l3ae-dist run."
        )
    if config.sweep.varies_text and config.model.uses != "embeddings":
        raise ConfigError(
            "the sweep varies the transformation of embeddings, and the model uses "
            f"{config.model.uses or 'none'}; leave sweep.whiten, truncate_dim and normalize out, or set "
            "model.features to embeddings."
        )
    sweep_models(config)


def sweep_models(config: RunConfig) -> tuple[ModelSpec, ...]:
    """List the models of a sweep: the configured member, those beside it, and what L3AE is compared with.

    That is EASEText at its reg_f and transformations, and EASE wherever it shares an inverse with L3AE.
    """
    assert config.sweep is not None
    own = config.model.spec()
    models = config.sweep.models(config.transform, own)
    beside = config.sweep.beside(config.transform, own)
    if own.name != "L3AE":
        return (*models, *beside)
    plain = dict.fromkeys(_ease_of(spec) for spec in models)
    eases = [spec for spec in plain if spec is not None and spec not in beside]
    return (
        *_text_models(models),
        *sorted(eases, key=lambda spec: (*spec.inverse, spec.alpha)),
        *models,
        *beside,
    )


def _ease_of(spec: ModelSpec) -> ModelSpec | None:
    """Return the EASE that shares an inverse and the weights of items and users; None with dropout."""
    ease = ModelSpec("EASE", spec.ridge, alpha=spec.alpha, beta=spec.beta)
    return ease if ease.inverse == spec.inverse else None


def _text_models(models: tuple[ModelSpec, ...]) -> tuple[ModelSpec, ...]:
    """Return EASEText for every pair of a transformation and a reg_f that one of the models has."""
    transforms = transforms_of(models)
    found: list[ModelSpec] = []
    for text in transforms or [""]:
        for reg_f in sorted({float(spec.reg_f or 0.0) for spec in models if transform_of(spec) == text}):
            spec = ModelSpec("EASEText", reg_f=reg_f)
            found.append(TransformedSpec.on(spec, transforms[text]) if text else spec)
    return tuple(found)


def swept_transforms(config: RunConfig) -> dict[str, TransformConfig]:
    """Return the transformations that a sweep of a configuration varies, by their names; none without one."""
    if config.sweep is None or not config.sweep.varies_text or config.model.name != "l3ae":
        return {}
    return transforms_of(config.sweep.models(config.transform, config.model.spec()))
