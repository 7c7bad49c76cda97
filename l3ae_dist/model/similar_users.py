"""Users whose histories are alike: the cosine of their interactions."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.tables import Frame, Id
from l3ae_dist.linalg.arrays import Array, Integers
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.model.id_lists import id_list
from l3ae_dist.model.model_arrays import ModelArrays
from l3ae_dist.units import at_least_one

# Users that are compared at once with those who are asked for, and numbers of their dense products.
_USERS, _PRODUCTS = 1 << 14, 1 << 24


def similar_users(model: ModelArrays, user_ids: Sequence[Id], n: int) -> Frame:
    """Return the users with the largest cosines of histories.

    Parameters
    ----------
    model
        The fitted model.
    user_ids
        Known users.
    n
        Users for each.
    """
    import pandas as pd

    dataset, k = model.dataset, at_least_one(n, "n")
    rows = dataset.user_index(id_list(user_ids, "user_ids"))
    some = max(1, _PRODUCTS // _USERS)
    parts = [_nearest(dataset, rows[start : start + some], k) for start in range(0, len(rows), some)]
    users, scores = (
        np.concatenate([part[place] for part in parts]) if parts else np.zeros((0, 0)) for place in (0, 1)
    )
    kept = scores > 0
    ids = dataset.user_ids()
    return pd.DataFrame(
        {
            "user_id": np.repeat(ids[rows], kept.sum(axis=1)),
            "similar_user_id": ids[users[kept].astype(np.int64)],
            "rank": np.broadcast_to(np.arange(1, kept.shape[1] + 1), kept.shape)[kept],
            "score": scores[kept],
        }
    )


def _nearest(dataset: Dataset, rows: Integers, k: int) -> tuple[Array, Array]:
    """Return the rows of the nearest users of each, (users, k), and their cosines; 0 for none."""
    unique, position = np.unique(rows, return_inverse=True)
    wanted = _unit_rows(dataset.rows_of("input", unique)[position])
    best, scores = np.zeros((len(rows), 0), np.int64), np.zeros((len(rows), 0))
    for start in range(0, dataset.n_users, _USERS):
        stop = min(start + _USERS, dataset.n_users)
        products = (wanted @ _unit_rows(dataset.user_rows("input", start, stop)).T).toarray()
        inside = np.flatnonzero((rows >= start) & (rows < stop))
        products[inside, rows[inside] - start] = 0.0  # not the user who is asked for
        users = np.broadcast_to(np.arange(start, stop), products.shape)
        together = np.concatenate([scores, products], axis=1)
        names = np.concatenate([best, users], axis=1)
        places, scores = top_k(together, min(k, together.shape[1]))
        best = np.take_along_axis(names, places, axis=1)
    return best, scores


def _unit_rows(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    """Divide rows by their length; float64."""
    rows = rows.astype(np.float64)
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    lengths[lengths == 0] = 1.0
    return sparse.csr_matrix(sparse.diags(1.0 / lengths) @ rows)
