"""Positions of items: in the order of the catalog, as calls have them, and as a model's arrays have them."""

from dataclasses import replace

import numpy as np
from scipy import sparse

from l3ae_dist.data.core import with_columns
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.graphs.batch_scoring import Candidates
from l3ae_dist.linalg.arrays import Array


class ItemOrder:
    """The places of the catalog's items in the arrays of a model; added items follow in both.

    Parameters
    ----------
    stored
        The dataset of the model as it is stored; its order is that of the catalog where there is no core.
    """

    def __init__(self, stored: Dataset) -> None:
        self._n = stored.n_items
        self._order: Array | None = None if stored.stats.core is None else stored.order
        self._places = None if self._order is None else np.argsort(self._order)

    def places(self, items: Array) -> Array:
        """Return the places of catalog positions; those of added items and -1 stay."""
        return _mapped(self._places, items, self._n)

    def items(self, places: Array) -> Array:
        """Return the catalog positions of places; those of added items and -1 stay."""
        return _mapped(self._order, places, self._n)

    def stored_columns(self, rows: sparse.csr_matrix) -> sparse.csr_matrix:
        """Return rows by catalog position, with added items or without, as rows by place."""
        if self._places is None:
            return rows
        return with_columns(rows, self.places(rows.indices))

    def stored_candidates(self, candidates: Candidates) -> Candidates:
        """Return candidates by catalog position as candidates by place."""
        if self._places is None:
            return candidates
        items, hidden, only = candidates.items, candidates.hidden, candidates.only
        return replace(
            candidates,
            items=None if items is None else np.sort(self.places(items)),
            hidden=None if hidden is None else self.stored_columns(hidden),
            only=None if only is None else self.stored_columns(only),
        )


def _mapped(table: Array | None, values: Array, n: int) -> Array:
    if table is None:
        return values
    inside = (values >= 0) & (values < n)
    return np.where(inside, table[np.where(inside, values, 0)], values)
