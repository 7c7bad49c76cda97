"""Parts of a model while it is made: its product with the semantic model, and its vectors."""

from dataclasses import dataclass, replace

import numpy as np

from l3ae_dist.graphs.score_terms import MatrixTerm, ProductTerm, ScoreTerms, Shares
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.solve.factor import Correction
from l3ae_dist.storage import layout


@dataclass(frozen=True, slots=True)
class Product:
    """``P C``: its diagonal ``pc``, the ``a`` of C (0 on the direct route), and its term in the scores."""

    pc: Array
    a: Array | None
    term: MatrixTerm | ProductTerm

    def weighing(self, weight: float) -> "Product":
        """Return the product with another weight of its term."""
        if isinstance(self.term, MatrixTerm):
            return replace(self, term=replace(self.term, scale=weight))
        return replace(self, term=replace(self.term, weight=weight))

    def sum_with(
        self,
        name: str,
        matrices: tuple[MatrixTerm, ...],
        level: str | float,
        shares: Shares | None = None,
    ) -> ScoreTerms:
        """Return the scores of a model that has this term beside others.

        Parameters
        ----------
        name
            Of the model.
        matrices, level
            Its other terms, and what is on its diagonal.
        shares
            How the latter is divided.
        """
        if isinstance(self.term, MatrixTerm):
            return ScoreTerms(name, (*matrices, self.term), (), level, shares)
        return ScoreTerms(name, matrices, (self.term,), level, shares)


class Vectors:
    """The n-vectors of one model, held until they have passed its self-check.

    Parameters
    ----------
    held
        Takes them by path.
    identifier
        Id of the model.
    n
        Items of the catalog.
    """

    def __init__(self, held: dict[str, Array], identifier: str, n: int) -> None:
        self._held = held
        self._identifier = identifier
        self._n = n

    def write(self, name: str, values: Array) -> str:
        """Hold a vector that is to be written as an n x 1 array; return its path.

        One of the items of a core is 0 for the others.
        """
        path = layout.model_vector(self._identifier, name)
        held = np.zeros((self._n, 1))
        held[: len(values), 0] = values
        self._held[path] = held
        return path


def change_term(correction: Correction, scale: str, shares: Shares | None = None) -> ProductTerm:
    """Return the term ``-(Y K) Y' diag(scale)`` of an inverse that is changed from another.

    Parameters
    ----------
    correction
        The change.
    scale, shares
        Those of the term of the inverse itself.
    """
    paths = correction.paths
    return ProductTerm(paths.left, paths.right, -1.0, "collaborative", scale, shares)
