"""Evaluation of any table of recommendations, whoever made it, against any table of interactions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from l3ae_dist.data.intake.small_tables import SmallTable, form_of_ids, read_small
from l3ae_dist.data.tables import Table
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.evaluation.list_quality import concentration, diversity, miscalibration, novelty
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import listed, shown
from l3ae_dist.metrics import Figures, evaluate_top

if TYPE_CHECKING:
    import pandas as pd

_USER, _ITEM = "user_id", "item_id"


@dataclass(frozen=True)
class _Tables:
    """Recommendations, held-out and training interactions, with ids of one form."""

    recommended: "pd.DataFrame"
    held_out: "pd.DataFrame"
    train: "pd.DataFrame"


def evaluate_lists(
    recommendations: Table,
    held_out: Table,
    *,
    train: "Table | None" = None,
    ks: Sequence[int] = (5, 10, 20),
    vectors: Mapping[object, Array] | None = None,
    categories: "Table | None" = None,
) -> Figures:
    """Evaluate a table of recommendations against held-out interactions.

    Parameters
    ----------
    recommendations
        ``user_id``, ``item_id`` and ``rank`` (1 is best) or ``score``: a DataFrame of pandas or Polars, an
        Arrow table or a path. What a user has been given is taken as it is: nothing is left out of it.
    held_out
        ``user_id``, ``item_id`` of what users did afterwards. Its users count, those without a list as well.
    train
        ``user_id``, ``item_id`` of what was known, for popularity: head and tail, unbiased metrics, novelty.
    ks
        Cut-offs.
    vectors
        A vector for each item, by id, for the diversity of the lists.
    categories
        ``item_id``, ``category``, a row for each category of an item, for the calibration of the lists; needs
        ``train``.

    Returns
    -------
    What :func:`l3ae_dist.metrics.evaluate_top` returns, and ``novelty@k``, ``diversity@k``,
    ``miscalibration@k`` and ``concentration@k`` where what they need is given. Coverage is that of the items
    in any of the tables.

    Raises
    ------
    ConfigError
        For cut-offs that are not positive, or categories without training interactions.
    DataError
        For a table without the columns it needs, a user who is given an item or a rank twice, or items
        without a vector.
    """
    if not ks or min(ks) < 1:
        raise ConfigError(f"ks is {shown(list(ks))} but must be cut-offs of at least 1, such as (10, 20).")
    if categories is not None and train is None:
        raise ConfigError("categories are compared with those of histories; give train as well.")
    tables = _read(recommendations, held_out, train)
    users = np.unique(tables.held_out[_USER].to_numpy())
    if not len(users):
        raise DataError("held_out has no rows, so that there is nobody to evaluate for; check the table.")
    items = np.unique(np.concatenate([one[_ITEM].to_numpy() for one in vars(tables).values()]))
    top = _top_lists(tables.recommended, users, items, max(ks))
    known = _matrix(tables.train, users, items)
    popularity = np.bincount(np.searchsorted(items, tables.train[_ITEM].to_numpy()), minlength=len(items))
    found = evaluate_top(top, _matrix(tables.held_out, users, items), popularity, tuple(ks))
    if train is None:
        for part in ("head", "tail", "unbiased"):
            del found[part]
    listed_top, rows = _vectors(vectors, items, top) if vectors is not None else (top, top)
    kinds = None if categories is None else _categories(categories, items)
    everybody = tables.train[_USER].nunique()
    for k in ks:
        first = top[:, :k]
        found[f"concentration@{k}"] = concentration(first, len(items))
        if train is not None:
            found[f"novelty@{k}"] = _mean(novelty(first, popularity, everybody))
        if vectors is not None:
            found[f"diversity@{k}"] = _mean(diversity(listed_top[:, :k], rows))
        if kinds is not None:
            found[f"miscalibration@{k}"] = _mean(miscalibration(first, known, kinds))
    return found


def _read(recommendations: Table, held_out: Table, train: "Table | None") -> _Tables:
    """Read the tables; ids are integers or text in all of them."""
    sources = {"recommendations": recommendations, "held_out": held_out, "train": train}
    small = {
        name: read_small(source, name, (_USER, _ITEM), ("rank", "score") if name == "recommendations" else ())
        for name, source in sources.items()
        if source is not None
    }
    for name, table in small.items():
        if _ITEM not in table.ids:
            raise DataError(f"{name} has no column {shown(_ITEM)}; name the items so.")
    forms = {column: form_of_ids(small.values(), column) for column in (_USER, _ITEM)}
    frames = {name: table.frame(forms) for name, table in small.items()}
    nothing = frames["held_out"].iloc[:0]
    known = frames.get("train", nothing).drop_duplicates([_USER, _ITEM])  # twice the same is once
    return _Tables(_ranked(frames["recommendations"]), frames["held_out"], known)


def _ranked(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return recommendations, those of each user from the best on."""
    for name in {"rank", "score"} & set(frame.columns):
        if not np.isfinite(frame[name].to_numpy()).all():
            raise DataError(f"recommendations have a {name} that is missing or not finite; drop those rows.")
    if "rank" in frame.columns:
        ordered, by = frame.sort_values([_USER, "rank"], kind="stable"), "rank"
    elif "score" in frame.columns:
        ordered, by = frame.sort_values([_USER, "score"], ascending=[True, False], kind="stable"), _ITEM
    else:
        raise DataError("recommendations have neither a column 'rank' nor one 'score'; add one of the two.")
    for columns in ([_USER, _ITEM], [_USER, by]):
        twice = ordered.duplicated(columns)
        if twice.any():
            user, what = (ordered.loc[twice, column].iloc[0] for column in columns)
            kind = columns[1].removesuffix("_id")
            what = int(what) if kind == "rank" and float(what).is_integer() else what
            raise DataError(f"the user {shown(user)} is given the {kind} {shown(what)} twice; drop one.")
    return ordered


def _top_lists(frame: "pd.DataFrame", users: Array, items: Array, k: int) -> Array:
    """Return the first k items of each user as positions, (users, k), -1 for none."""
    frame = frame[frame[_USER].isin(users)]
    place = frame.groupby(_USER, sort=False).cumcount().to_numpy()
    rows = np.searchsorted(users, frame[_USER].to_numpy())
    columns = np.searchsorted(items, frame[_ITEM].to_numpy())
    top = np.full((len(users), k), -1, np.int64)
    inside = place < k
    top[rows[inside], place[inside]] = columns[inside]
    return top


def _matrix(frame: "pd.DataFrame", users: Array, items: Array) -> sparse.csr_matrix:
    """Return the interactions of some users, (users, items); one that is there twice counts once."""
    frame = frame[frame[_USER].isin(users)]
    rows = np.searchsorted(users, frame[_USER].to_numpy())
    columns = np.searchsorted(items, frame[_ITEM].to_numpy())
    found = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), (len(users), len(items)))
    found.data[:] = 1.0
    return found


def _vectors(vectors: Mapping[object, Array], items: Array, top: Array) -> tuple[Array, Array]:
    """Return the lists by the places of the items among those that are listed, and their vectors."""
    wanted = np.unique(top[top >= 0])
    missing = [item for item in items[wanted].tolist() if item not in vectors]
    if missing:
        raise DataError(f"{len(missing)} recommended items have no vector: {listed(missing, 5)}; add them.")
    rows = [np.asarray(vectors[item], np.float64).ravel() for item in items[wanted].tolist()]
    if len({len(row) for row in rows}) > 1:
        raise DataError("vectors have different lengths; give every item as many numbers.")
    places = np.where(top >= 0, np.searchsorted(wanted, top), -1)
    return places, np.stack(rows) if rows else np.zeros((1, 1))


def _categories(categories: Table, items: Array) -> sparse.csr_matrix:
    """Return which items have which categories, (items, categories)."""
    small: SmallTable = read_small(categories, "categories", (_ITEM, "category"))
    if "category" not in small.ids:
        raise DataError("categories have no column 'category'; name it so.")
    text = items.dtype == object
    frame = small.frame({_ITEM: "text" if text else "integer", "category": form_of_ids([small], "category")})
    frame = frame[frame[_ITEM].isin(items)]
    names, columns = np.unique(frame["category"].to_numpy(), return_inverse=True)
    rows = np.searchsorted(items, frame[_ITEM].to_numpy())
    shape = (len(items), max(1, len(names)))
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape)


def _mean(values: Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
