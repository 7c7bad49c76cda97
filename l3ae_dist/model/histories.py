"""Histories and known users, told apart in whatever form a caller has them."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import TypeGuard

import numpy as np
from scipy import sparse

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import named, shown
from l3ae_dist.model.id_lists import FindItems, distinct_labels, id_list, is_list, is_lists, positions_of
from l3ae_dist.model.users import GivenUsers, KnownUsers, Users

USER, ITEM, WEIGHT = "user_id", "item_id", "weight"
_CALLS = (
    "for histories give a sparse matrix users x items, such as scipy.sparse.csr_array(array), or a list of "
    "item ids for each user; for known users a list of their ids, such as array.ravel()"
)
# A list of ids shorter than this may be a list of zeros and ones.
_FEWEST = 3


def users_of(source: object, dataset: Dataset, find: FindItems, *, unknown: bool = False) -> Users:
    """Read who a call is for: known users from ids (all when None), or fold-in users from histories.

    Parameters
    ----------
    source
        None; user ids, in a list, array, Series or Index; a list of lists of item ids, or of mappings from
        item id to weight; a mapping from user to either; a table with ``user_id``, ``item_id`` and perhaps
        ``weight``; or a sparse users x items matrix.
    dataset
        Where known users are.
    find
        Maps ids of catalog items to positions.
    unknown
        Whether users by id may be unknown; they have no history then.

    Raises
    ------
    UnknownIdError
        For users or items that are not known.
    ConfigError
        For a single id.
    DataError
        For weights that are negative, NaN or infinite, a matrix of another width, or a dense one.
    """
    if source is None:
        return KnownUsers(dataset)
    if _is_sparse(source):
        return _users_of_matrix(source, dataset.n_items)
    if is_table(source):
        return _users_of_table(source, dataset.n_items, find)
    if isinstance(source, Mapping):
        rows = list(source.values())
        return GivenUsers(_rows(rows, dataset.n_items, find), distinct_labels(list(source)))
    if isinstance(source, np.ndarray) and (source.ndim > 1 or source.dtype.kind == "b"):
        raise DataError(f"users is {shown(source)}, which may be users x items or ids; {_CALLS}.")
    values = id_list(source, "users")
    if is_lists(values, "users") or _is_mappings(values):
        return GivenUsers(_rows(values, dataset.n_items, find), np.arange(len(values)))
    if isinstance(source, np.ndarray) and source.dtype.kind == "f":
        _refuse_dense([values], dataset.n_items)
    if unknown:
        return KnownUsers(dataset, dataset.find_users(values), dataset.user_labels(values))
    return KnownUsers(dataset, dataset.user_index(values))


def history_of(source: object, dataset: Dataset, find: FindItems) -> sparse.csr_matrix:
    """Return the history of one user, (1, n_items).

    Parameters
    ----------
    source
        A user id, or a history: item ids, a mapping from item id to weight, a table, or one sparse row.
    dataset
        Where known users are.
    find
        Maps ids of catalog items to positions.

    Raises
    ------
    ConfigError
        For histories of several users.
    """
    if not (_is_sparse(source) or is_table(source)):
        return users_of([source], dataset, find).histories(0, 1)
    users = users_of(source, dataset, find)
    if len(users) != 1:
        raise ConfigError(f"the history is of {len(users)} users; explain takes one.")
    return users.histories(0, 1)


def is_table(source: object) -> bool:
    """Tell whether an object is a table with named columns."""
    if isinstance(source, np.ndarray):
        return source.dtype.names is not None
    if isinstance(source, Mapping):
        return USER in source and ITEM in source
    if isinstance(source, list):
        return bool(source) and all(isinstance(row, Mapping) and {USER, ITEM} <= row.keys() for row in source)
    if any(hasattr(type(source), name) for name in ("columns", "column_names", "collect_schema")):
        return True
    one_column = any(hasattr(source, name) for name in ("to_list", "to_pylist", "tolist"))
    return hasattr(source, "__arrow_c_stream__") and not one_column


def _is_sparse(source: object) -> "TypeGuard[sparse.spmatrix]":
    return bool(sparse.issparse(source))


def _is_mappings(values: Sequence[object]) -> "TypeGuard[Sequence[Mapping[object, object]]]":
    """Tell whether values are mappings from item ids to weights."""
    return bool(values) and all(isinstance(value, Mapping) for value in values)


def _users_of_matrix(source: sparse.spmatrix, n_items: int) -> GivenUsers:
    if len(source.shape) != 2 or source.shape[1] != n_items:
        raise DataError(
            f"the histories have {source.shape[-1]} columns and the catalog has {n_items} items; "
            "give one column for each, in catalog order."
        )
    matrix = sparse.csr_matrix(
        source.astype(np.float64).tocsr()
    )  # small integers would wrap as they are summed
    matrix.sum_duplicates()
    return GivenUsers(_checked(matrix), np.arange(source.shape[0]))


def _users_of_table(source: object, n_items: int, find: FindItems) -> GivenUsers:
    import pandas as pd

    from l3ae_dist.data.intake.open_table import open_table
    from l3ae_dist.data.intake.small_tables import form_of_ids, read_small

    table = open_table(source, "histories")
    for column in (ITEM, USER):
        if table.columns and column not in table.columns:
            raise DataError(
                f"the histories have no column {column!r}; they have {named(table.columns)}; for known users "
                "give a list of their ids, such as table['user_id']."
            )
    small = read_small(table, "histories", (USER, ITEM), (WEIGHT,))
    frame = small.frame({name: form_of_ids([small], name) for name in small.ids})
    codes, labels = pd.factorize(frame[USER].to_numpy())
    weighted = WEIGHT in frame.columns
    weights = frame[WEIGHT].to_numpy(np.float64) if weighted else np.ones(len(frame))
    where = (codes, find(frame[ITEM].to_numpy()))
    matrix = sparse.coo_matrix((weights, where), shape=(len(labels), n_items)).tocsr()
    if not weighted:
        matrix.data[:] = 1  # twice the same is once
    return GivenUsers(_checked(matrix), np.asarray(labels))


def _rows(rows: Sequence[object], n_items: int, find: FindItems) -> sparse.csr_matrix:
    """Return histories as rows of weights, (users, n_items); those without weights have ones."""
    weighted = [isinstance(row, Mapping) for row in rows]
    if any(weighted) and not all(weighted):
        raise DataError(
            "some histories have weights and others none; give a weight to every item, or to none."
        )
    if _is_mappings(rows):
        return _weighted_rows(rows, n_items, find)
    _refuse_dense(rows, n_items)
    return positions_of(rows, n_items, find, "users").astype(np.float64)


def _weighted_rows(
    rows: Sequence[Mapping[object, object]], n_items: int, find: FindItems
) -> sparse.csr_matrix:
    try:
        weights = np.array([weight for row in rows for weight in row.values()], np.float64)
    except (TypeError, ValueError):
        raise DataError("a mapping from item ids holds a weight that is no number; give numbers.") from None
    lengths = [len(row) for row in rows]
    where = (np.repeat(np.arange(len(rows)), lengths), find([item for row in rows for item in row]))
    return _checked(sparse.coo_matrix((weights, where), shape=(len(rows), n_items)).tocsr())


def _refuse_dense(rows: Iterable[object], n_items: int) -> None:
    """Raise for lists that are rows of a dense matrix: as long as the catalog, with zeros and ones."""
    lists = [row for row in rows if is_list(row)]
    if n_items < _FEWEST or not lists or any(_length(row) != n_items for row in lists):
        return
    if all(_is_dense(id_list(row, "users")) for row in lists):
        raise DataError(
            f"users holds lists of {n_items} numbers, as the rows of users x items are; {_CALLS}."
        )


def _is_dense(row: list[object]) -> bool:
    return row.count(0) > 1 or all(isinstance(one, int | float) and one in (0, 1) for one in row)


def _length(row: Iterable[object]) -> int:
    return len(row) if isinstance(row, Sized) else -1


def _checked(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    bad = ~(np.isfinite(matrix.data) & (matrix.data >= 0))
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} weight(s) of the histories are negative, NaN or infinite "
            f"(first: {matrix.data[bad][0]}); weights must be finite and not negative."
        )
    matrix.eliminate_zeros()
    return matrix


def labels_agree(labels: Array, keys: Iterable[object]) -> bool:
    """Tell whether some of the keys of a mapping may be labels of users: both integers, or both text."""
    kinds = {False} if labels.dtype.kind in "iu" else {isinstance(one, str) for one in labels.tolist()}
    return not len(labels) or any(isinstance(key, str) in kinds for key in keys)
