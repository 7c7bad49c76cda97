"""Diagonals of models whose first items alone are solved exactly."""

import numpy as np

from l3ae_dist.data.features import dense, open_rows
from l3ae_dist.graphs.score_terms import ProductTerm, Shares
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.model_parts import Product, Vectors


class Diagonals:
    """Diagonals of models whose first items are solved exactly.

    Parameters
    ----------
    store
        Where the arrays of all items are.
    core
        Number of the first items.
    """

    def __init__(self, store: ArtifactStore, core: int) -> None:
        self._store = store
        self._core = core
        self._last: tuple[tuple[str, str], Array] = ("", ""), np.empty(0)  # heads of one product are many

    def write(
        self,
        vectors: Vectors,
        level: Array | float,
        product: Product | None,
    ) -> tuple[str | float, Shares | None]:
        """Write what takes the diagonal of B to 0, and return it with its shares.

        Parameters
        ----------
        vectors
            Those of the model.
        level
            Of the items of the core. The diagonal of the others is that of the product alone.
        product
            The term of the text, if any.
        """
        n = self._store.grid.n
        if self._core == n:
            return (level if isinstance(level, float) else vectors.write("level", level)), None
        own = np.zeros(n)
        own[: self._core] = level
        if product is None or not isinstance(product.term, ProductTerm):
            return vectors.write("level", own), None
        text = -product.term.weight * self.of_tail(product.term)
        shares = Shares(vectors.write("level_collaborative", own), vectors.write("level_semantic", text))
        return vectors.write("level", own + text), shares

    def keep(self, vectors: Vectors, diagonal: Array) -> str:
        """Write the diagonal of B that a model keeps; that of items outside the core is 0."""
        whole = np.zeros(self._store.grid.n)
        whole[: self._core] = diagonal
        return vectors.write("kept", whole)

    def of_tail(self, product: ProductTerm) -> Array:
        """Compute ``L_j . R_j`` of the items outside the core, and 0 for its own; (n,) float64."""
        grid = self._store.grid
        out: Array = np.zeros(grid.n)
        if self._core == grid.n:
            return out
        key = product.left, product.right
        if self._last[0] == key:
            return self._last[1]
        left, right = (open_rows(self._store.workspace, path) for path in key)
        for i in range(self._core // grid.tile, grid.count):
            first, stop = max(grid.rows(i).start, self._core), grid.rows(i).stop
            rows = (dense(side.item_rows(first, stop)) for side in (left, right))
            out[first:stop] = np.einsum("id,id->i", *rows)
        self._last = key, out
        return out
