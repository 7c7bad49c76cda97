"""Synthetic interaction logs of any size: a few items take most of the interactions, as in real logs."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd

_OVERSAMPLE = 3
_USERS_PER_DRAW = 2048


def zipf_items(
    users: int, per_user: int, n_items: int, *, exponent: float = 1.0, seed: int = 0
) -> npt.NDArray[np.int32]:
    """Draw distinct items for each user, with probabilities proportional to ``1 / rank^exponent``.

    Ranks are dealt to the items at random, the same way for every ``seed``.

    Parameters
    ----------
    users, per_user, n_items
        How many users, distinct items of each, and items; ``per_user`` must be well below ``n_items``.
    exponent
        Of Zipf's law; 0 is uniform.
    seed
        Of the users' draws.

    Returns
    -------
    (users, per_user) int32; about 100 ns per entry.
    """
    if not 0 < per_user <= n_items // 2:
        raise ValueError(f"per_user must be between 1 and half of {n_items} items, not {per_user}")
    weights = np.arange(1, n_items + 1, dtype=np.float64) ** -exponent
    cumulative = np.cumsum(weights / weights.sum())
    cumulative[-1] = 1.0
    item_of_rank = np.random.default_rng(0).permutation(n_items).astype(np.int32)
    rng = np.random.default_rng([1, seed])
    out = np.empty((users, per_user), np.int32)
    for start in range(0, users, _USERS_PER_DRAW):
        block = out[start : start + _USERS_PER_DRAW]
        width = _OVERSAMPLE * per_user
        todo = np.arange(len(block))
        while len(todo):
            ranks = np.searchsorted(cumulative, rng.random((len(todo), width)), side="right")
            first, enough = _first_distinct(ranks.astype(np.int32), per_user)
            block[todo[enough]] = item_of_rank[first[enough]]
            todo, width = todo[~enough], 2 * width
    return out


def zipf_log(
    n_users: int, per_user: int, n_items: int, *, exponent: float = 1.0, partitions: int = 20
) -> "dd.DataFrame":
    """Return a log of :func:`zipf_items` as a Dask DataFrame ``user_id``, ``item_id``, drawn as it is read.

    Parameters
    ----------
    n_users, per_user, n_items
        How many users, distinct items of each, and items.
    exponent
        Of Zipf's law; 0 is uniform.
    partitions
        Parts of the table, each drawn with its number as the seed.
    """
    import dask.dataframe as dd
    import pandas as pd

    edges = np.linspace(0, n_users, partitions + 1).astype(np.int64)

    def make(part: int) -> "pd.DataFrame":
        first, last = int(edges[part]), int(edges[part + 1])
        items = zipf_items(last - first, per_user, n_items, exponent=exponent, seed=part)
        users = np.repeat(np.arange(first, last), per_user)
        return pd.DataFrame({"user_id": users, "item_id": items.ravel().astype(np.int64)})

    meta = pd.DataFrame({"user_id": np.empty(0, np.int64), "item_id": np.empty(0, np.int64)})
    return dd.from_map(make, range(partitions), meta=meta)


def _first_distinct(
    ranks: npt.NDArray[np.int32], count: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """The first ``count`` distinct values of each row, and which rows have so many."""
    order = np.argsort(ranks, axis=1, kind="stable")
    ordered = np.take_along_axis(ranks, order, axis=1)
    new = np.ones(ordered.shape, bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    drawn = np.zeros(ranks.shape, bool)
    np.put_along_axis(drawn, order, new, axis=1)
    enough = drawn.sum(axis=1) >= count
    position = np.argsort(~drawn, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(ranks, position, axis=1), enough
