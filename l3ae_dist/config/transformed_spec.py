"""Models of a sweep that read embeddings under a transformation of their own."""

import json
from dataclasses import dataclass, fields

from l3ae_dist.config.embedding import TransformConfig
from l3ae_dist.config.members import ModelSpec, Param


@dataclass(frozen=True)
class TransformedSpec(ModelSpec):
    """One model with the values of its parameters, and the transformation of the embeddings that it reads.

    Parameters
    ----------
    transform
        The settings of the transformation as JSON, so that models can be compared and named.
    """

    transform: str = ""

    @classmethod
    def on(cls, spec: ModelSpec, transform: TransformConfig) -> "TransformedSpec":
        """Return a model on embeddings under a transformation."""
        values = {one.name: getattr(spec, one.name) for one in fields(ModelSpec)}
        return cls(**values, transform=json.dumps(transform.record(), sort_keys=True))

    @property
    def settings(self) -> dict[str, Param | None]:
        """The settings of the transformation that a sweep varies."""
        values = json.loads(self.transform)
        return {name: values[name] for name in VARIED}


VARIED = ("whiten", "truncate_dim", "normalize")
"""Settings of the transformation that a sweep can vary."""


def transform_of(spec: ModelSpec) -> str:
    """Return the transformation that a model reads embeddings under; empty for that of the configuration."""
    return spec.transform if isinstance(spec, TransformedSpec) else ""


def transform_settings(spec: ModelSpec) -> dict[str, Param | None]:
    """Return what a sweep varied of a model's transformation; nothing for a model without its own."""
    return spec.settings if isinstance(spec, TransformedSpec) else {}


def transforms_of(specs: tuple[ModelSpec, ...]) -> dict[str, TransformConfig]:
    """Return the transformations of some models, each once."""
    found = dict.fromkeys(filter(None, map(transform_of, specs)))
    return {text: TransformConfig.model_validate_json(text) for text in found}
