"""Reasons for a score: the part that each item of the history adds to it."""

from typing import TypedDict

import numpy as np
from scipy import sparse

from l3ae_dist.data.tables import Frame, Id
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.model.added_items import AddedItems
from l3ae_dist.model.histories import history_of
from l3ae_dist.model.model_arrays import ModelArrays


class Reason(TypedDict):
    """An item of the history and what it adds to a score."""

    item_id: Id
    title: str
    collaborative: float
    semantic: float
    total: float


def explain(model: ModelArrays, user: object, item_id: Id) -> Frame:
    """Return what each item of a history adds to the score of one item, largest first.

    Parameters
    ----------
    model
        The fitted model.
    user
        A known user's id, or a history.
    item_id
        Any item.
    """
    import pandas as pd

    model.require_parts()
    added = model.added()
    j = int(model.find([item_id], added)[0])
    row = history_of(user, model.dataset, model.find_in_catalog)
    weight = row.data.astype(np.float64)
    entries = model.pairs(row.indices, np.full(row.nnz, j), added)
    parts = {name: weight * entries[name] for name in ("collaborative", "semantic")}
    ids, titles = model.named(row.indices, added)
    total = parts["collaborative"] + parts["semantic"]
    frame = pd.DataFrame({"item_id": ids, "title": titles, **parts, "total": total})
    return frame.sort_values("total", ascending=False, ignore_index=True, kind="stable")


def history_reasons(
    model: ModelArrays, rows: sparse.csr_matrix, items: Array, k: int, added: AddedItems
) -> list[list[Reason]]:
    """Return, for every listed item, the ``k`` items of the history that contribute most.

    Parameters
    ----------
    model
        The fitted model.
    rows
        (users, n_items) histories.
    items
        (users, n) positions of the recommended items, -1 where there is none.
    k
        Reasons for each.
    added
        The items added after the fit.

    Returns
    -------
    One list for each item that is not -1, users in order.
    """
    model.require_parts()
    user, place = np.nonzero(items >= 0)
    lengths = np.diff(rows.indptr)[user]
    first = np.cumsum(lengths) - lengths
    entry = np.repeat(np.arange(len(user)), lengths)
    source = np.arange(len(entry)) - first[entry] + rows.indptr[user][entry]
    history, weight = rows.indices[source], rows.data[source].astype(np.float64)
    parts = model.pairs(history, items[user, place][entry], added)
    collaborative, semantic = weight * parts["collaborative"], weight * parts["semantic"]
    order = np.lexsort((-(collaborative + semantic), entry))
    kept = order[np.arange(len(order)) - first[entry] < k]  # entries stay together when sorted
    ids, titles = model.named(history[kept], added)
    lines = zip(
        ids.tolist(), titles.tolist(), collaborative[kept].tolist(), semantic[kept].tolist(),
        (collaborative + semantic)[kept].tolist(), strict=True,
    )  # fmt: skip
    flat = [
        Reason(item_id=item, title=title, collaborative=from_users, semantic=from_text, total=total)
        for item, title, from_users, from_text, total in lines
    ]
    stops = np.cumsum(np.minimum(lengths, k))
    return [flat[stop - min(length, k) : stop] for stop, length in zip(stops, lengths, strict=True)]
