"""Users whose histories differ between two datasets, and the tiles of ``X' X`` that differ by them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.tiles import TileGrid

_ROWS = 65536


@dataclass(frozen=True, slots=True)
class ChangedRows:
    """The rows by which the training interactions of two datasets differ.

    Parameters
    ----------
    rows
        (r, items) float64: histories as they were, and as they are.
    joins
        (r,) bool: those that are; the others are no longer.
    users
        Number of users whose history differs.
    """

    rows: sparse.csr_matrix
    joins: npt.NDArray[np.bool_]
    users: int


def changed_rows(before: Dataset, after: Dataset, most: int | None = None) -> ChangedRows | None:
    """Find the histories that leave and join when a dataset becomes another of the same items.

    A changed user is a row that leaves and one that joins; a user without training items on one side is one
    row. Cost: O(nnz), a block of users at a time.

    Parameters
    ----------
    before, after
        Their users may be any, their items are equal and in the same order.
    most
        Rows that are looked for at most.

    Returns
    -------
    None where there are more.
    """
    leaving, joining, users, count = [], [], 0, 0
    for old, new in _histories(before, after):
        difference = new - old
        difference.eliminate_zeros()
        differs = np.diff(difference.indptr) > 0
        users += int(differs.sum())
        leaving.append(old[differs & (np.diff(old.indptr) > 0)])
        joining.append(new[differs & (np.diff(new.indptr) > 0)])
        count += leaving[-1].shape[0] + joining[-1].shape[0]
        if most is not None and count > most:
            return None
    parts = [sparse.csr_matrix((0, after.n_items)), *leaving, *joining]
    rows = sparse.vstack(parts, format="csr").astype(np.float64)
    gone = sum(part.shape[0] for part in leaving)
    return ChangedRows(rows, np.arange(rows.shape[0]) >= gone, users)


def _histories(before: Dataset, after: Dataset) -> Iterator[tuple[sparse.csr_matrix, sparse.csr_matrix]]:
    """Yield training rows of the users of both datasets, side by side; those that one lacks are empty."""
    known, users = before.user_ids(), after.user_ids()
    places = np.searchsorted(users, known)
    here = places < len(users)
    here[here] = users[places[here]] == known[here]
    for start in range(0, before.n_users, _ROWS):  # who is gone
        stop = min(start + _ROWS, before.n_users)
        rows = before.user_rows("train", start, stop)[~here[start:stop]]
        yield rows, sparse.csr_matrix(rows.shape)
    kept = np.flatnonzero(here)
    for start in range(0, after.n_users, _ROWS):
        stop = min(start + _ROWS, after.n_users)
        first, last = np.searchsorted(places[kept], (start, stop)).tolist()
        some = kept[first:last]
        new = after.user_rows("train", start, stop)
        if len(some):
            old = before.user_rows("train", int(some[0]), int(some[-1]) + 1)[some - some[0]]
            yield _spread(old, places[some] - start, new.shape), new
        else:
            yield sparse.csr_matrix(new.shape), new


def touched_tiles(
    parent: Dataset, child: Dataset, grid: TileGrid, *, whole_histories: bool = False
) -> npt.NDArray[np.bool_]:
    """Find the tiles of ``X' X`` that differ between a dataset and one that continues it.

    These are the tiles (i, j) for which some user has a changed training item in one block and any item in
    the other.

    Parameters
    ----------
    parent, child
        The users and items of ``child`` contain those of ``parent``, the items in the same order.
    grid
        Tiles of the child's items.
    whole_histories
        Whether a user with a changed item counts with all items, as where lengths of histories are weights.

    Returns
    -------
    (count, count) bool, symmetric. Every other tile of the two Gram matrices is the same, bit by bit.
    Cost: O(nnz), a block of users at a time.
    """
    known = parent.user_ids()
    places = np.searchsorted(child.user_ids(), known)
    found = sparse.csr_matrix((grid.count, grid.count), dtype=bool)
    for start in range(0, child.n_users, _ROWS):
        stop = min(start + _ROWS, child.n_users)
        first, last = np.searchsorted(places, (start, stop)).tolist()
        after = child.user_rows("train", start, stop)
        before = _spread(parent.user_rows("train", first, last), places[first:last] - start, after.shape)
        difference = after - before
        changed = _blocks(difference, grid)
        if whole_histories:
            differs = np.diff(difference.indptr) > 0
            changed = _blocks(after.multiply(differs[:, None]).tocsr(), grid)
        found = found + changed.T @ _blocks(after, grid)
    touched: npt.NDArray[np.bool_] = found.toarray()
    return touched | touched.T


def _spread(rows: sparse.csr_matrix, places: Array, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Rows put at ``places`` of a matrix of another shape."""
    counts = np.zeros(shape[0], np.int64)
    counts[places] = np.diff(rows.indptr)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return sparse.csr_matrix((rows.data, rows.indices, indptr), shape=shape)


def _blocks(rows: sparse.csr_matrix, grid: TileGrid) -> sparse.csr_matrix:
    """Mark the blocks of items that each row has an entry in."""
    rows.eliminate_zeros()
    data = np.ones(rows.nnz, bool)
    return sparse.csr_matrix(
        (data, rows.indices // grid.tile, rows.indptr), shape=(rows.shape[0], grid.count)
    )
