"""The data that a run starts from, as they are given."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.intake.objects import kept
from l3ae_dist.data.items_table import items_table
from l3ae_dist.embed.stored_transform import KeptTransform
from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import shown

Until: TypeAlias = Literal["ingest", "embed", "fit"]
"""Step after which a run stops."""


def checked_until(until: str | None) -> Until | None:
    """Return the step after which a run is to stop; None for a whole run.

    Raises
    ------
    ConfigError
        When it is none of these steps.
    """
    for step in get_args(Until):
        if isinstance(until, str) and until == step:
            return step  # type: ignore[no-any-return]
    if until is not None:
        raise ConfigError(f"until is {shown(until)} but must be ingest, embed, fit or None.")
    return None


@dataclass(frozen=True, slots=True)
class Source:
    """Ids of a dataset and of its embeddings or words in a workspace; None for models without text.

    Parameters
    ----------
    dataset, embedding
        The ids.
    model
        Name of the model that is measured, or appended to; None for other runs.
    transform
        The transformation of its features, which is not fitted again; None where there is none.
    """

    dataset: str
    embedding: str | None = None
    model: str | None = None
    transform: KeptTransform | None = None

    @classmethod
    def of(cls, document: Mapping[str, str | None]) -> "Source":
        """Read what a run noted, or a caller gave, as ``dataset`` and ``embedding``."""
        return cls(str(document["dataset"]), document["embedding"])


@dataclass(frozen=True, slots=True)
class Inputs:
    """Sources of a run; None where the configuration or the workspace has them.

    Parameters
    ----------
    interactions, items
        DataFrames, paths or URLs.
    embeddings
        (n, d) array, path or URL.
    """

    interactions: object = None
    items: object = None
    embeddings: object = None

    def or_configured(self, config: RunConfig) -> "Inputs":
        """Fill in the sources of a configuration where none is given; texts by id become a table."""
        data = config.data
        items = data.items if self.items is None else self.items
        return Inputs(
            data.interactions if self.interactions is None else kept(self.interactions),
            None if items is None else kept(items_table(items, data.options)),
            data.embeddings if self.embeddings is None else self.embeddings,
        )
