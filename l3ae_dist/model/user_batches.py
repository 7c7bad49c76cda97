"""Recommendations, one batch of users after the other: what they may get, the best of it, and why."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import get_args

import numpy as np

from l3ae_dist.data.tables import Frame
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import shown
from l3ae_dist.model.added_items import AddedItems
from l3ae_dist.model.histories import users_of
from l3ae_dist.model.model_arrays import ModelArrays
from l3ae_dist.model.popular import OnUnknown, popular_items
from l3ae_dist.model.reasons import history_reasons
from l3ae_dist.model.rules import AllowedItems, Rules
from l3ae_dist.model.users import Batch, Users, WithoutHistory
from l3ae_dist.units import at_least_one


@dataclass(frozen=True, slots=True)
class Query:
    """A checked call for recommendations.

    Parameters
    ----------
    users
        Who they are for.
    k
        Items for each user.
    allowed
        Which items each may get.
    reasons
        Items of the history that are named beside each recommended one; 0 for none.
    added
        The items added after the fit.
    n_scored
        How many of them take part.
    popular
        Whether users without a history get popular items.
    """

    users: Users
    k: int
    allowed: AllowedItems
    reasons: int
    added: AddedItems
    n_scored: int
    popular: bool = False


def recommend_batches(
    model: ModelArrays,
    users: object,
    n: int,
    rules: Rules,
    *,
    reasons: int,
    batch_size: int | None,
    on_unknown: OnUnknown = "raise",
) -> Iterator[Frame]:
    """Check a call, and return an iterator over its tables, one for each batch of users.

    Parameters
    ----------
    model
        The fitted model.
    users
        Users by id, histories, or None for all known users.
    n
        Items for each user.
    rules
        Which items each may get.
    reasons
        Items of the history to name beside each recommended one; 0 for none.
    batch_size
        Users at a time; as many as the memory budget allows when None.
    on_unknown
        What becomes of users who are not known, or have no history.
    """
    n = at_least_one(n, "n")
    if reasons < 0 or (batch_size is not None and batch_size < 1):
        raise ConfigError("return_reasons must not be negative, and batch_size must be at least 1.")
    if str(on_unknown) not in get_args(OnUnknown):
        raise ConfigError(f"on_unknown is {shown(on_unknown)} but must be raise, skip or popular.")
    added = model.added()
    given = users_of(users, model.dataset, model.find_in_catalog, unknown=on_unknown != "raise")
    count = len(given)
    find = partial(model.find, added=added)
    allowed = AllowedItems(rules, count, model.n_items, len(added), find)
    n_scored = len(added) if rules.cold_items else 0
    query = Query(given, min(n, len(allowed)), allowed, reasons, added, n_scored, on_unknown == "popular")
    size = batch_size or model.scorer.batch_size(model.terms, query.k, given.degree(), reasons=reasons > 0)
    starts = range(0, max(count, 1), size)
    return (_table(model, query, Batch.of(given, start, min(start + size, count))) for start in starts)


def _table(model: ModelArrays, query: Query, batch: Batch) -> Frame:
    """The recommendations of a batch; users without a history have popular items, or no rows."""
    items, scores = _best(model, query, batch)
    labels, rows = batch.labels[batch.known], batch.rows
    if query.popular:
        labels, rows = batch.labels, batch.histories
        items, scores = _with_popular(model, query, batch, items, scores)
    frame = model.table("user_id", labels, items, scores, query.added)
    if query.reasons:
        frame["reasons"] = history_reasons(model, rows, items, query.reasons, query.added)
    return frame


def _best(model: ModelArrays, query: Query, batch: Batch) -> tuple[Array, Array]:
    """List the best items of the users that have a history, and their scores."""
    users = len(batch.known)
    if not users or not query.k:
        return np.full((users, 0), -1, np.int64), np.zeros((users, 0))
    candidates = query.allowed.candidates(batch)
    terms = model.cold.terms(query.added) if query.n_scored else ()
    return model.top(model.terms, batch.rows, query.k, candidates, terms, query.n_scored)


def _with_popular(
    model: ModelArrays, query: Query, batch: Batch, items: Array, scores: Array
) -> tuple[Array, Array]:
    """Put popular items, whose scores are NaN, beside the lists of the users that have a history."""
    others = WithoutHistory(batch.start, batch.labels, batch.histories)
    every = np.full((len(batch.labels), query.k), -1, np.int64)
    of_all = np.full(every.shape, np.nan)
    every[batch.known, : items.shape[1]], of_all[batch.known, : items.shape[1]] = items, scores
    if len(others.known) and query.k:
        candidates = query.allowed.candidates(others)
        every[others.known] = popular_items(model.popularity, len(others.known), query.k, candidates)
    return every, of_all.astype(model.scorer.dtype, copy=False)
