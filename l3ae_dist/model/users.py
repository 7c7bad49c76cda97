"""Users of a call, from whatever form a caller has them in: known ones by id, others by their histories."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np
from scipy import sparse

from l3ae_dist.data.columns import read_column
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.tables import Frame
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.linalg.arrays import Array, Integers

FindItems = Callable[[Sequence[object]], Integers]
"""Maps item ids to positions; raises for unknown ones."""
USER, ITEM, WEIGHT = "user_id", "item_id", "weight"


class KnownUsers:
    """Users of the log, all of them or some rows, with their histories."""

    def __init__(self, dataset: Dataset, rows: Array | None = None) -> None:
        self._dataset = dataset
        self._rows = rows

    def __len__(self) -> int:
        return self._dataset.n_users if self._rows is None else len(self._rows)

    def degree(self) -> float:
        """Return how many items a user has, on average."""
        return self._dataset.nnz("train") / max(1, self._dataset.n_users)

    def labels(self, start: int, stop: int) -> Array:
        """Return the ids of a range of them."""
        if self._rows is None:
            return self._dataset.user_ids(start, stop)
        rows = self._rows[start:stop]
        path = self._dataset.paths.user_ids
        first = int(rows.min(initial=0))
        last = int(rows.max(initial=0)) + 1
        return np.asarray(read_column(self._dataset.workspace, path, first, last)[rows - first])

    def histories(self, start: int, stop: int) -> sparse.csr_matrix:
        """Return the histories of a range of them, (users, n_items)."""
        if self._rows is None:
            return self._dataset.user_rows("input", start, stop)
        if start == stop:
            return sparse.csr_matrix((0, self._dataset.n_items), dtype=np.float32)
        unique, position = np.unique(self._rows[start:stop], return_inverse=True)
        return self._dataset.rows_of("input", unique)[position]


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


def users_of(source: object, dataset: Dataset, find: FindItems) -> Users:
    """Read who a call is for: known users from ids (all when None), or fold-in users from histories.

    Parameters
    ----------
    source
        None; user ids; a list of lists of item ids; a mapping from user to item ids; a DataFrame with
        ``user_id``, ``item_id`` and perhaps ``weight``; or a sparse users x items matrix.
    dataset
        Where known users are.
    find
        Maps ids of catalog items to positions.

    Raises
    ------
    UnknownIdError
        For users or items that are not known.
    ConfigError
        For a single id.
    DataError
        For weights that are negative, NaN or infinite, or a matrix of another width.
    """
    if source is None:
        return KnownUsers(dataset)
    if _is_sparse(source):
        return _users_of_matrix(source, dataset.n_items)
    if hasattr(source, "columns"):
        return _users_of_frame(source, dataset.n_items, find)
    if isinstance(source, Mapping):
        labels = _labels(list(source))
        return GivenUsers(_binary(list(source.values()), dataset.n_items, find), labels)
    values = id_list(source, "users")
    if values and is_list(values[0]):
        return GivenUsers(_binary(values, dataset.n_items, find), np.arange(len(values)))
    return KnownUsers(dataset, dataset.user_index(values))


def history_of(source: object, dataset: Dataset, find: FindItems) -> sparse.csr_matrix:
    """Return the history of one user, (1, n_items).

    Parameters
    ----------
    source
        A user id, or a history: item ids, a mapping from item id to weight, a DataFrame, or one sparse row.
    dataset
        Where known users are.
    find
        Maps ids of catalog items to positions.

    Raises
    ------
    ConfigError
        For histories of several users.
    """
    if isinstance(source, Mapping):
        import pandas as pd

        frame = pd.DataFrame({USER: 0, ITEM: list(source), WEIGHT: list(source.values())})
        return users_of(frame, dataset, find).histories(0, 1)
    if _is_sparse(source) or hasattr(source, "columns"):
        users = users_of(source, dataset, find)
        if len(users) != 1:
            raise ConfigError(f"the history is of {len(users)} users; explain takes one.")
        return users.histories(0, 1)
    return users_of([source], dataset, find).histories(0, 1)


def id_list(ids: object, name: str) -> list[Any]:
    """Return ids as a list; raise :class:`ConfigError` for a single one, which is no list."""
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise ConfigError(f"{name} is the single id {ids!r}; give a list of ids, such as [{ids!r}].")
    return list(ids)


def is_list(value: object) -> bool:
    """Tell whether a value holds several ids; a string is one."""
    return isinstance(value, (list, tuple, set, frozenset, np.ndarray))


def _is_sparse(source: object) -> "TypeGuard[sparse.spmatrix]":
    return bool(sparse.issparse(source))


def _users_of_matrix(source: sparse.spmatrix, n_items: int) -> GivenUsers:
    if source.shape[1] != n_items:
        raise DataError(
            f"the histories have {source.shape[1]} columns and the catalog has {n_items} items; "
            "give one column for each, in catalog order."
        )
    matrix = source.tocsr().astype(np.float64)
    matrix.sum_duplicates()
    return GivenUsers(_checked(matrix), np.arange(source.shape[0]))


def _users_of_frame(frame: Frame, n_items: int, find: FindItems) -> GivenUsers:
    import pandas as pd

    for column in (USER, ITEM):
        if column not in frame.columns:
            raise DataError(f"the histories have no column {column!r}; they have {', '.join(frame.columns)}.")
        if frame[column].isna().any():
            raise DataError(f"{int(frame[column].isna().sum())} row(s) of the histories have no {column}.")
    codes, labels = pd.factorize(frame[USER])
    weights = frame[WEIGHT].to_numpy(np.float64) if WEIGHT in frame.columns else np.ones(len(frame))
    found = find(frame[ITEM].to_numpy())
    matrix = sparse.coo_matrix((weights, (codes, found)), shape=(len(labels), n_items)).tocsr()
    if WEIGHT not in frame.columns:
        matrix.data[:] = 1  # twice the same is once
    return GivenUsers(_checked(matrix), np.asarray(labels))


def _binary(lists: Iterable[Iterable[object]], n_items: int, find: FindItems) -> sparse.csr_matrix:
    matrix = positions_of(lists, n_items, find)
    return matrix.astype(np.float64)


def positions_of(lists: Iterable[Iterable[object]], width: int, find: FindItems) -> sparse.csr_matrix:
    """Return lists of item ids as rows of ones, (lists, width) float32.

    Parameters
    ----------
    lists
        Item ids; an id twice in a list counts once.
    width
        Item positions.
    find
        Maps ids to positions.
    """
    rows = [list(ids) for ids in lists]
    lengths = np.array([len(ids) for ids in rows], np.int64)
    found = find([item for ids in rows for item in ids])
    where = (np.repeat(np.arange(len(rows)), lengths), found)
    matrix = sparse.coo_matrix((np.ones(len(found), np.float32), where), shape=(len(rows), width)).tocsr()
    matrix.data[:] = 1
    return matrix


def _checked(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    bad = ~(np.isfinite(matrix.data) & (matrix.data >= 0))
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} weight(s) of the histories are negative, NaN or infinite "
            f"(first: {matrix.data[bad][0]}); weights must be finite and not negative."
        )
    matrix.eliminate_zeros()
    return matrix


def _labels(values: list[object]) -> Array:
    found = np.empty(len(values), object)
    found[:] = values
    return np.array(values) if all(isinstance(value, (int, np.integer)) for value in values) else found
