"""Recommendations for one batch of users: what they may get, the best of it, and why."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from l3ae_dist.graphs.batch_scoring import Candidates
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.model.arrays import ModelArrays
from l3ae_dist.model.cold_start import AddedItems
from l3ae_dist.model.queries import ItemList, Users


@dataclass(frozen=True)
class Query:
    """What a call asks for, checked."""

    users: Users
    n: int
    mask: bool
    allow: ItemList | None
    block: ItemList | None
    reasons: int
    added: AddedItems
    cold: bool
    items: Array | None
    """Items that any user may get; None for all."""


def recommend_batch(model: ModelArrays, query: Query, start: int, stop: int) -> Any:
    """The table of users ``start`` to ``stop``; users without a history have no rows."""
    labels, x = query.users.labels(start, stop), query.users.histories(start, stop)
    known = np.flatnonzero(np.diff(x.indptr))
    rows = x if len(known) == x.shape[0] else x[known]
    items = np.full((len(known), 0), -1, np.int64)
    scores = np.zeros((len(known), 0))
    if len(known) and query.n:
        candidates = _candidates(model, query, rows, start, stop, labels, known)
        terms = model.cold.terms(query.added) if query.cold else ()
        n_added = len(query.added) if query.cold else 0
        items, scores = model.server.top(model.head, rows, query.n, candidates, terms, n_added)
    frame = model.table("user_id", labels[known], items, scores, query.added)
    if query.reasons:
        frame["reasons"] = _reasons(model, rows, items, query.reasons, query.added)
    return frame


def _candidates(
    model: ModelArrays,
    query: Query,
    rows: sparse.csr_matrix,
    start: int,
    stop: int,
    labels: Array,
    known: Array,
) -> Candidates:
    hidden, only, listed = None, None, None
    width = model.grid.n + len(query.added)
    if query.mask:
        ones = np.ones(rows.nnz, np.float32)
        hidden = sparse.csr_matrix((ones, rows.indices, rows.indptr), shape=(len(known), width))
    if query.block is not None and query.block.common is None:
        refused = query.block.rows(start, stop, labels)[0][known]
        hidden = refused if hidden is None else hidden + refused
    if query.allow is not None and query.allow.common is None:
        only, listed = query.allow.rows(start, stop, labels)
        only, listed = only[known], listed[known]
    return Candidates(query.items, hidden, only, listed)


def _reasons(
    model: ModelArrays, rows: sparse.csr_matrix, items: Array, k: int, added: AddedItems
) -> list[Any]:
    """Of every listed item the ``k`` history items that contribute most."""
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
    columns = (
        ids.tolist(), titles.tolist(), collaborative[kept].tolist(), semantic[kept].tolist(),
        (collaborative + semantic)[kept].tolist(),
    )  # fmt: skip
    names = ("item_id", "title", "collaborative", "semantic", "total")
    flat = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    stops = np.cumsum(np.minimum(lengths, k))
    return [flat[stop - min(length, k) : stop] for stop, length in zip(stops, lengths, strict=True)]


def common_items(width: int, allow: ItemList | None, block: ItemList | None) -> Array:
    """Item positions that no list for every user takes out."""
    chosen = np.arange(width)
    if allow is not None and allow.common is not None:
        chosen = allow.common[allow.common < width]
    if block is not None and block.common is not None:
        chosen = np.setdiff1d(chosen, block.common, assume_unique=True)
    return chosen
