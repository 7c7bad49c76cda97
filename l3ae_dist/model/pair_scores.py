"""Scores of pairs of users and items, and how well held-out pairs rank."""

import numpy as np

from l3ae_dist.data.intake.open_table import open_table
from l3ae_dist.data.intake.small_tables import form_of_ids, read_small
from l3ae_dist.data.tables import Frame, Table
from l3ae_dist.errors import DataError
from l3ae_dist.evaluation.evaluate_lists import evaluate_lists
from l3ae_dist.linalg.arrays import Floats
from l3ae_dist.messages import named
from l3ae_dist.model.model_arrays import ModelArrays
from l3ae_dist.model.rules import Rules
from l3ae_dist.model.user_batches import recommend_batches

USER, ITEM = "user_id", "item_id"
_LISTED = 20


def pair_scores(model: ModelArrays, pairs: Table) -> Floats:
    """Return the score of each pair, (rows,) float64.

    Parameters
    ----------
    model
        The fitted model.
    pairs
        ``user_id`` and ``item_id``.
    """
    frame = _read(pairs, "pairs")
    users, items = (
        model.dataset.user_index(frame[USER].tolist()),
        model.find(frame[ITEM].tolist(), model.added()),
    )
    found = np.full(len(frame), np.nan)
    if not len(frame):
        return found
    per_user = np.bincount(np.unique(np.stack([users, items]), axis=1)[0]).max()
    names = model.dataset.user_ids()[np.unique(users)]
    allowed = frame.assign(**{USER: model.dataset.user_ids()[users]})
    rules = Rules(False, None, allowed, True)
    for table in recommend_batches(model, names.tolist(), int(per_user), rules, reasons=0, batch_size=None):
        of_user = model.dataset.user_index(table[USER].tolist())
        keys = _keys(of_user, model.find(table[ITEM].tolist()))
        order = np.argsort(keys)
        wanted = _keys(users, items)
        places = np.searchsorted(keys[order], wanted).clip(max=max(0, len(keys) - 1))
        here = np.flatnonzero(keys[order][places] == wanted) if len(keys) else np.empty(0, np.int64)
        found[here] = table["score"].to_numpy(np.float64)[order[places[here]]]
    return found


def held_out_ndcg(model: ModelArrays, interactions: Table) -> float:
    """Return the NDCG@20 of recommendations to the users of some interactions.

    Parameters
    ----------
    model
        The fitted model.
    interactions
        ``user_id`` and ``item_id``.
    """
    frame = _read(interactions, "interactions").drop_duplicates([USER, ITEM])
    if not len(frame):
        raise DataError("the interactions have no rows, so that there is nobody to score; check the table.")
    users = frame[USER].drop_duplicates().tolist()
    tables = recommend_batches(model, users, _LISTED, Rules(), reasons=0, batch_size=None, on_unknown="skip")
    import pandas as pd

    lists = pd.concat(list(tables), ignore_index=True)[[USER, ITEM, "rank"]]
    if lists[USER].dtype != frame[USER].dtype or lists[ITEM].dtype != frame[ITEM].dtype:
        frame, lists = frame.astype(str), lists.astype({USER: str, ITEM: str})
    return float(evaluate_lists(lists, frame[[USER, ITEM]], ks=(_LISTED,))[f"ndcg@{_LISTED}"])


def _keys(users: "np.ndarray", items: "np.ndarray") -> "np.ndarray":
    return users.astype(np.int64) << 32 | items.astype(np.int64)


def _read(source: Table, name: str) -> Frame:
    """Read users and items of a table.

    Raises
    ------
    DataError
        Without these columns.
    """
    table = open_table(source, name)
    for column in (USER, ITEM):
        if table.columns and column not in table.columns:
            raise DataError(f"the {name} have no column {column!r}; they have {named(table.columns)}.")
    small = read_small(table, name, (USER, ITEM), ())
    return small.frame({one: form_of_ids([small], one) for one in small.ids})
