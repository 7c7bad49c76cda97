"""Neighbours of an item: what owning it recommends, which is its row of B."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from scipy import sparse

from l3ae_dist.data.tables import Frame, Id
from l3ae_dist.errors import ConfigError
from l3ae_dist.graphs.batch_scoring import Candidates
from l3ae_dist.graphs.score_terms import ScoreTerms, terms_of_part
from l3ae_dist.linalg.arrays import Array, Integers
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.messages import shown
from l3ae_dist.model.added_items import AddedItems
from l3ae_dist.model.id_lists import id_list
from l3ae_dist.model.model_arrays import ModelArrays
from l3ae_dist.units import at_least_one

WeightPart = Literal["weights", "semantic", "collaborative"]
# Added items whose rows, n items wide, are held at once.
_COLD_ROWS = 64


def similar_items(
    model: ModelArrays, item_ids: Sequence[Id], n: int, kind: WeightPart, cold_items: bool
) -> Frame:
    """Return the largest entries of the items' rows of B.

    Parameters
    ----------
    model
        The fitted model.
    item_ids
        Items of the catalog or added ones.
    n
        Neighbours of each.
    kind
        All of B, or a part of it.
    cold_items
        Whether added items may be listed.
    """
    n = at_least_one(n, "n")
    part, added = _part(model, kind), model.added()
    wanted = model.find(id_list(item_ids, "item_ids"), added)
    n_added = len(added) if cold_items and kind != "collaborative" else 0
    k = min(n, model.n_items + n_added)
    items, scores = np.full((len(wanted), k), -1, np.int64), np.full((len(wanted), k), -np.inf)
    warm = np.flatnonzero(wanted < model.n_items)
    size = model.scorer.batch_size(part, k, 1.0)
    for some in (warm[start : start + size] for start in range(0, len(warm), size)):
        items[some], scores[some] = _of_catalog(model, part, wanted[some], k, added, n_added)
    cold = np.flatnonzero((wanted >= model.n_items) & (kind != "collaborative"))
    width = min(k, model.n_items)
    for some in (cold[start : start + _COLD_ROWS] for start in range(0, len(cold), _COLD_ROWS)):
        rows = model.cold.weight_rows(added.features[wanted[some] - model.n_items])
        rows = rows[:, model.order.places(np.arange(model.n_items))]
        items[some, : model.n_items], scores[some, : model.n_items] = top_k(rows, width)
    frame = model.table("of", model.named(wanted, added)[0], items, scores, added)
    return frame.rename(columns={"item_id": "similar_item_id", "of": "item_id"})


def _of_catalog(
    model: ModelArrays, part: ScoreTerms, wanted: Integers, k: int, added: AddedItems, n_added: int
) -> tuple[Array, Array]:
    """The best ``k`` for users who have one item each, without that item."""
    one_hot = sparse.csr_matrix(
        (np.ones(len(wanted), np.float32), wanted, np.arange(len(wanted) + 1)),
        shape=(len(wanted), model.n_items + n_added),
    )
    rows = one_hot[:, : model.n_items]
    terms = model.cold.terms(added) if n_added else ()
    return model.top(part, rows, k, Candidates(hidden=one_hot), terms, n_added)


def _part(model: ModelArrays, kind: WeightPart) -> ScoreTerms:
    """The terms of one part of the score."""
    if str(kind) not in get_args(WeightPart):  # an array is in nothing
        raise ConfigError(f"kind is {shown(kind)} but must be weights, semantic or collaborative.")
    if kind == "weights":
        return model.terms
    model.require_parts()
    part = terms_of_part(model.terms, kind)
    if not part.matrices and not part.products:
        raise ConfigError(f"{model.name} has no {kind} part; ask for kind='weights'.")
    return part
