"""Whom to recommend to and which items may be recommended, from whatever form a caller has them in."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from l3ae_dist.data.columns import read_column
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.linalg.arrays import Array

FindItems = Callable[[Sequence[Any]], Array]
"""Item ids to positions; raises for unknown ones."""
USER, ITEM, WEIGHT = "user_id", "item_id", "weight"


class KnownUsers:
    """Users of the log, all of them or some rows, with what they have."""

    def __init__(self, dataset: Dataset, rows: Array | None = None) -> None:
        self._dataset = dataset
        self._rows = rows

    def __len__(self) -> int:
        return self._dataset.n_users if self._rows is None else len(self._rows)

    def degree(self) -> float:
        """Items of a user, on average."""
        return self._dataset.nnz("train") / max(1, self._dataset.n_users)

    def labels(self, start: int, stop: int) -> Array:
        """Ids of a range of them."""
        if self._rows is None:
            return self._dataset.user_ids(start, stop)
        rows = self._rows[start:stop]
        path = f"users/{self._dataset.id}/ids"
        first = int(rows.min(initial=0))
        last = int(rows.max(initial=0)) + 1
        return np.asarray(read_column(self._dataset.workspace, path, first, last)[rows - first])

    def histories(self, start: int, stop: int) -> sparse.csr_matrix:
        """What a range of them has, (users, n_items)."""
        if self._rows is None:
            return self._dataset.user_rows("input", start, stop)
        if start == stop:
            return sparse.csr_matrix((0, self._dataset.n_items), dtype=np.float32)
        unique, position = np.unique(self._rows[start:stop], return_inverse=True)
        return self._dataset.rows_of("input", unique)[position]


class GivenUsers:
    """Users who are given by what they have (fold-in)."""

    def __init__(self, matrix: sparse.csr_matrix, labels: Array) -> None:
        self._matrix = matrix
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def degree(self) -> float:
        """Items of a user, on average."""
        return float(self._matrix.nnz) / max(1, len(self))

    def labels(self, start: int, stop: int) -> Array:
        """What a range of them is called."""
        return self._labels[start:stop]

    def histories(self, start: int, stop: int) -> sparse.csr_matrix:
        """What a range of them has, (users, n_items)."""
        return self._matrix[start:stop]


Users = KnownUsers | GivenUsers


def users_of(source: Any, dataset: Dataset, find: FindItems) -> Users:
    """Known users from ids (all when None), or fold-in users from histories.

    Parameters
    ----------
    source
        None; user ids; a list of lists of item ids; a mapping from user to item ids; a DataFrame with
        ``user_id``, ``item_id`` and perhaps ``weight``; or a sparse users x items matrix.
    dataset
        Where known users are.
    find
        Positions of catalog items.

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
    if sparse.issparse(source):
        if source.shape[1] != dataset.n_items:
            raise DataError(
                f"the histories have {source.shape[1]} columns and the catalog has {dataset.n_items} items; "
                "give one column for each, in catalog order."
            )
        matrix = source.tocsr().astype(np.float64)
        matrix.sum_duplicates()
        return GivenUsers(_checked(matrix), np.arange(source.shape[0]))
    if hasattr(source, "columns"):
        return _users_of_frame(source, dataset.n_items, find)
    if isinstance(source, Mapping):
        labels = _labels(list(source))
        return GivenUsers(_binary(list(source.values()), dataset.n_items, find), labels)
    values = id_list(source, "users")
    if values and is_list(values[0]):
        return GivenUsers(_binary(values, dataset.n_items, find), np.arange(len(values)))
    return KnownUsers(dataset, dataset.user_index(values))


def history_of(source: Any, dataset: Dataset, find: FindItems) -> sparse.csr_matrix:
    """What one user has, (1, n_items): of a user id, or of a history (item ids, or item id to weight)."""
    if isinstance(source, Mapping):
        import pandas as pd

        frame = pd.DataFrame({USER: 0, ITEM: list(source), WEIGHT: list(source.values())})
        return users_of(frame, dataset, find).histories(0, 1)
    if sparse.issparse(source) or hasattr(source, "columns"):
        users = users_of(source, dataset, find)
        if len(users) != 1:
            raise ConfigError(f"the history is of {len(users)} users; explain takes one.")
        return users.histories(0, 1)
    return users_of([source], dataset, find).histories(0, 1)


def id_list(ids: Any, name: str) -> list[Any]:
    """Ids as a list; raises :class:`ConfigError` for a single one, whose letters would be taken for ids."""
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise ConfigError(f"{name} is the single id {ids!r}; give a list of ids, such as [{ids!r}].")
    return list(ids)


def is_list(value: Any) -> bool:
    """Whether a value holds several ids; strings are one."""
    return isinstance(value, (list, tuple, set, frozenset, np.ndarray))


def _users_of_frame(frame: Any, n_items: int, find: FindItems) -> GivenUsers:
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


def _binary(lists: Iterable[Any], n_items: int, find: FindItems) -> sparse.csr_matrix:
    matrix = positions_of(lists, n_items, find)
    return matrix.astype(np.float64)


def positions_of(lists: Iterable[Any], width: int, find: FindItems) -> sparse.csr_matrix:
    """Lists of item ids as rows of ones, (lists, width); ids twice in a list count once."""
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


def _labels(values: list[Any]) -> Array:
    found = np.empty(len(values), object)
    found[:] = values
    return np.array(values) if all(isinstance(value, (int, np.integer)) for value in values) else found


class ItemList:
    """An allow-list or a block-list: for every user, or one for each.

    Parameters
    ----------
    value
        Item ids; or for each user a list, by position in a list of lists, by user id in a mapping, or as
        rows ``user_id``, ``item_id`` of a DataFrame (one without ``user_id`` is for every user).
    users
        How many users there are.
    width
        Item positions.
    find
        Ids to positions.
    name
        What the argument is called in errors.
    """

    def __init__(self, value: Any, users: int, width: int, find: FindItems, name: str) -> None:
        self.common: Array | None = None
        self._rows = sparse.csr_matrix((0, width), dtype=np.float32)
        self._of_user: dict[Any, int] | None = None
        if hasattr(value, "columns"):
            if ITEM not in value.columns:
                raise DataError(f"{name} has no column {ITEM!r}; it has {', '.join(value.columns)}.")
            groups = value.groupby(USER)[ITEM] if USER in value.columns else None
            value = value[ITEM].tolist() if groups is None else {u: ids.tolist() for u, ids in groups}
        if isinstance(value, Mapping):
            self._of_user = {user: row for row, user in enumerate(value)}
            self._rows = positions_of(value.values(), width, find)
            return
        values = id_list(value, name)
        if values and all(is_list(entry) for entry in values):
            if len(values) != users:
                raise ConfigError(f"{name} has {len(values)} lists for {users} users; give one for each.")
            self._rows = positions_of(values, width, find)
            return
        self.common = np.unique(find(values)) if values else np.empty(0, np.int64)

    def rows(self, start: int, stop: int, labels: Array) -> tuple[sparse.csr_matrix, Array]:
        """The lists of a range of users, (users, width), and which of these users have one."""
        if self._of_user is None:
            return self._rows[start:stop], np.ones(stop - start, bool)
        last = self._rows.shape[0]
        which = np.array([self._of_user.get(label, last) for label in labels.tolist()], np.int64)
        none = sparse.csr_matrix((1, self._rows.shape[1]), dtype=np.float32)
        return sparse.vstack([self._rows, none], format="csr")[which], which < last
