"""Users of a call with their histories, read in batches: known users of the log, and users who are given."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from l3ae_dist.data.columns import read_column
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.linalg.arrays import Array, Integers


class KnownUsers:
    """Users of the log, all of them or some rows, with their histories.

    Parameters
    ----------
    dataset
        That of the fit.
    rows
        Their rows, -1 for a user who is not in it and so has no history; None for all.
    labels
        Their ids, where some are not in the dataset.
    """

    def __init__(self, dataset: Dataset, rows: Array | None = None, labels: Array | None = None) -> None:
        self._dataset = dataset
        self._rows = rows
        self._labels = labels

    def __len__(self) -> int:
        return self._dataset.n_users if self._rows is None else len(self._rows)

    def degree(self) -> float:
        """Return how many items a user has, on average."""
        return self._dataset.nnz("train") / max(1, self._dataset.n_users)

    def labels(self, start: int, stop: int) -> Array:
        """Return the ids of a range of them."""
        if self._rows is None:
            return self._dataset.user_ids(start, stop)
        if self._labels is not None:
            return self._labels[start:stop]
        rows = self._rows[start:stop]
        path = self._dataset.paths.user_ids
        first = int(rows.min(initial=0))
        last = int(rows.max(initial=0)) + 1
        return np.asarray(read_column(self._dataset.workspace, path, first, last)[rows - first])

    def histories(self, start: int, stop: int) -> sparse.csr_matrix:
        """Return the histories of a range of them, (users, n_items)."""
        if self._rows is None:
            return self._dataset.user_rows("input", start, stop)
        rows = self._rows[start:stop]
        there = rows >= 0
        if not there.any():
            return sparse.csr_matrix((len(rows), self._dataset.n_items), dtype=np.float32)
        unique, position = np.unique(rows[there], return_inverse=True)
        found = self._dataset.rows_of("input", unique)[position]
        if there.all():
            return found
        lengths = np.zeros(len(rows), np.int64)
        lengths[there] = np.diff(found.indptr)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        return sparse.csr_matrix((found.data, found.indices, bounds), shape=(len(rows), found.shape[1]))


class GivenUsers:
    """Users who are given by their histories (fold-in)."""

    def __init__(self, matrix: sparse.csr_matrix, labels: Array) -> None:
        self._matrix = matrix
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def degree(self) -> float:
        """Return how many items a user has, on average."""
        return float(self._matrix.nnz) / max(1, len(self))

    def labels(self, start: int, stop: int) -> Array:
        """Return the labels of a range of them: their positions, or the keys they came with."""
        return self._labels[start:stop]

    def histories(self, start: int, stop: int) -> sparse.csr_matrix:
        """Return the histories of a range of them, (users, n_items)."""
        return self._matrix[start:stop]


Users = KnownUsers | GivenUsers


@dataclass(frozen=True)
class Batch:
    """Consecutive users of a call.

    Parameters
    ----------
    start
        Position of the first one.
    labels
        (users,) ids or positions.
    histories
        (users, n_items) weights.
    """

    start: int
    labels: Array
    histories: sparse.csr_matrix

    @classmethod
    def of(cls, users: Users, start: int, stop: int) -> "Batch":
        """Read the users ``start`` to ``stop``.

        Parameters
        ----------
        users
            All users of the call.
        start, stop
            Range of their positions.
        """
        return cls(start, users.labels(start, stop), users.histories(start, stop))

    @cached_property
    def known(self) -> Integers:
        """Positions, within the batch, of the users that have a history."""
        return np.flatnonzero(np.diff(self.histories.indptr))

    @cached_property
    def rows(self) -> sparse.csr_matrix:
        """Histories of the users that have one."""
        everyone = len(self.known) == self.histories.shape[0]
        return self.histories if everyone else self.histories[self.known]


class WithoutHistory(Batch):
    """The users of a batch that have no history, in the place of those that have one."""

    @cached_property
    def known(self) -> Integers:
        """Positions, within the batch, of the users that have none."""
        return np.flatnonzero(np.diff(self.histories.indptr) == 0)
