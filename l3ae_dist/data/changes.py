"""Tiles of ``X' X`` that differ between two datasets of which one continues the other."""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.tiles import TileGrid

_ROWS = 65536


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
