"""The data that a run starts from, as they are given."""

from collections.abc import Mapping
from dataclasses import dataclass

from l3ae_dist.config.run_config import RunConfig


@dataclass(frozen=True, slots=True)
class Source:
    """Ids of a dataset and of its embeddings or words in a workspace; None for models without text."""

    dataset: str
    embedding: str | None = None

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
        """Fill in the sources of a configuration where none is given."""
        data = config.data
        return Inputs(
            data.interactions if self.interactions is None else self.interactions,
            data.items if self.items is None else self.items,
            data.embeddings if self.embeddings is None else self.embeddings,
        )
