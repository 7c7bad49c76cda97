"""Recommendations, one batch of users after the other: what they may get, the best of it, and why."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from l3ae_dist.data.tables import Frame
from l3ae_dist.errors import ConfigError
from l3ae_dist.model.added_items import AddedItems
from l3ae_dist.model.histories import users_of
from l3ae_dist.model.model_arrays import ModelArrays
from l3ae_dist.model.reasons import history_reasons
from l3ae_dist.model.rules import AllowedItems, Rules
from l3ae_dist.model.users import Batch, Users
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
    """

    users: Users
    k: int
    allowed: AllowedItems
    reasons: int
    added: AddedItems
    n_scored: int


def recommend_batches(
    model: ModelArrays, users: object, n: int, rules: Rules, *, reasons: int, batch_size: int | None
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
    """
    n = at_least_one(n, "n")
    if reasons < 0 or (batch_size is not None and batch_size < 1):
        raise ConfigError("return_reasons must not be negative, and batch_size must be at least 1.")
    added = model.added()
    given = users_of(users, model.dataset, model.find_in_catalog)
    count = len(given)
    find = partial(model.find, added=added)
    allowed = AllowedItems(rules, count, model.n_items, len(added), find)
    n_scored = len(added) if rules.cold_items else 0
    query = Query(given, min(n, len(allowed)), allowed, reasons, added, n_scored)
    size = batch_size or model.scorer.batch_size(model.terms, query.k, given.degree(), reasons=reasons > 0)
    starts = range(0, max(count, 1), size)
    return (_table(model, query, Batch.of(given, start, min(start + size, count))) for start in starts)


def _table(model: ModelArrays, query: Query, batch: Batch) -> Frame:
    """The recommendations of a batch; users without a history have no rows."""
    users = len(batch.known)
    items, scores = np.full((users, 0), -1, np.int64), np.zeros((users, 0))
    if users and query.k:
        candidates = query.allowed.candidates(batch)
        terms = model.cold.terms(query.added) if query.n_scored else ()
        items, scores = model.top(model.terms, batch.rows, query.k, candidates, terms, query.n_scored)
    frame = model.table("user_id", batch.labels[batch.known], items, scores, query.added)
    if query.reasons:
        frame["reasons"] = history_reasons(model, batch.rows, items, query.reasons, query.added)
    return frame
