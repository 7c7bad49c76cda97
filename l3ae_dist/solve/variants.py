"""Models that read several transformations of the embeddings, and share their inverses."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from l3ae_dist.config.members import ModelSpec, Route
from l3ae_dist.config.transformed_spec import transform_of
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.graphs.score_terms import ScoreTerms
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.family import Family


class VariantFamily(Family):
    """Makes models of one dataset on several transformations of its embeddings.

    Parameters
    ----------
    store, dataset, embedding, route
        As for :class:`~l3ae_dist.solve.family.Family`; the embedding is that of models without their own.
    variants
        Ids of the transformed embeddings by the transformation of the models that read them.
    """

    def __init__(
        self,
        store: ArtifactStore,
        dataset: Dataset,
        embedding: str | None,
        route: Route,
        variants: Mapping[str, str],
    ) -> None:
        super().__init__(store, dataset, embedding, route)
        self._families = {text: Family(store, dataset, name, route) for text, name in variants.items()}

    def of(self, spec: ModelSpec) -> Family:
        """Return the family on the embeddings that a model reads."""
        return self._families.get(transform_of(spec), self)

    def heads(self, specs: Iterable[ModelSpec]) -> Iterator[tuple[ScoreTerms, Mapping[str, Array]]]:
        """Make what models still need, those of one transformation beside each other."""
        for family, some in groupby(specs, self.of):
            make = super().heads if family is self else family.heads
            yield from make(some)

    def identity(self, ridge: float) -> list[object]:
        """Return what the models of one ridge share and depend on, for fingerprints."""
        read = sorted(str(one.embedding) for one in self._families.values())
        return [*super().identity(ridge), *([read] if read else [])]
