"""Models of one inverse as heads of the same products, so that all of them are scored in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.graphs.held_out_ranks import HeadBatch, Heads, ScaledProduct
from l3ae_dist.graphs.score_terms import MatrixTerm, ProductTerm, ScoreTerms
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.solve.family import Family


@dataclass(frozen=True, slots=True)
class BatchedHeads:
    """Models of one inverse, ready to be scored together.

    Parameters
    ----------
    batches
        The models, those that share the scores of a text beside each other.
    factors
        (n, columns) float64 factors of the products' columns.
    order
        (models,) place in the batches of each model.
    """

    batches: tuple[HeadBatch, ...]
    factors: Array
    order: Array

    def paths(self) -> list[str]:
        """List every array that the scores are made of, each once."""
        found = [path for batch in self.batches if batch.text is not None for path in batch.text.paths()]
        terms = [made.term for batch in self.batches for heads in batch.heads for made in heads.products]
        found += [path for term in terms for path in (term.path, term.rows) if isinstance(path, str)]
        return list(dict.fromkeys(found))


_Products = tuple[MatrixTerm, ...]


@dataclass(slots=True)
class _Shared:
    """Models with the same products and the same text: their numbers, weights and factors."""

    numbers: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    factors: list[list[Array]] = field(default_factory=list)


def batched_heads(family: Family, specs: Sequence[ModelSpec]) -> BatchedHeads:
    """Make everything that models of one inverse still need, and gather them by what they share.

    Parameters
    ----------
    family, specs
        The models; their vectors are those of each model by itself.
    """
    shared: dict[ScoreTerms | None, dict[_Products, _Shared]] = {}
    for number, (terms, vectors) in enumerate(family.heads(specs)):
        text, weight = _text_of(terms)
        scaled = [term for term in terms.matrices if isinstance(term.scale, str)]
        key = tuple(replace(term, scale=1.0, part="collaborative", shares=None) for term in scaled)
        found = shared.setdefault(text, {}).setdefault(key, _Shared())
        found.numbers.append(number)
        found.weights.append(weight)
        found.factors.append([vectors[str(term.scale)][:, 0] for term in scaled])
    return _gathered(shared, family.dataset.n_items)


def _gathered(shared: dict[ScoreTerms | None, dict[_Products, _Shared]], items: int) -> BatchedHeads:
    batches: list[HeadBatch] = []
    columns: list[Array] = []
    numbers: list[int] = []
    for text, by_products in shared.items():
        heads = []
        for key, found in by_products.items():
            products = []
            for place, term in enumerate(key):
                products.append(ScaledProduct(term, len(columns)))
                columns += [factors[place] for factors in found.factors]
            heads.append(Heads(tuple(products), tuple(found.weights), len(numbers)))
            numbers += found.numbers
        batches.append(HeadBatch(text, tuple(heads)))
    factors = np.column_stack(columns) if columns else np.zeros((items, 1))
    return BatchedHeads(tuple(batches), factors, np.argsort(numbers))


def _text_of(terms: ScoreTerms) -> tuple[ScoreTerms | None, float]:
    """Return the scores of the text alone at weight 1, and the model's weight of them; None without text."""
    products = terms.products
    matrices = [term for term in terms.matrices if not isinstance(term.scale, str)]
    found: list[MatrixTerm | ProductTerm] = [*products, *matrices]
    if not found:
        return None, 0.0
    (term,) = found
    if isinstance(term, ProductTerm):
        return ScoreTerms("text", (), (replace(term, weight=1.0),), 0.0), term.weight
    assert isinstance(term.scale, float)
    return ScoreTerms("text", (replace(term, scale=1.0),), (), 0.0), term.scale
