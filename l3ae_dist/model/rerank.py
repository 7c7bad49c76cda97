"""Lists in another order: boosts, diversity by maximal marginal relevance, caps of categories."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from l3ae_dist.data.tables import Frame, Id
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.whitening import unit_rows
from l3ae_dist.messages import listed, shown
from l3ae_dist.units import at_least_one

_COLUMNS = ("user_id", "item_id", "score")


@dataclass(frozen=True)
class _Choice:
    """The rules of a call: the weight of diversity, vectors, categories, the cap of each category."""

    diversity: float
    vectors: Mapping[Id, Array]
    categories: Mapping[Id, tuple[Hashable, ...]]
    caps: Mapping[Hashable, int]


def rerank(
    recommendations: Frame,
    n: int,
    *,
    boosts: Mapping[Id, float] | None = None,
    diversity: float = 0.0,
    vectors: Mapping[Id, Array] | None = None,
    categories: Mapping[Id, Hashable | Sequence[Hashable]] | None = None,
    at_most: int | Mapping[Hashable, int] | None = None,
) -> Frame:
    """Choose the best ``n`` items of longer lists once more, by rules that the model does not know.

    Each list is built from its best item on. The next is the candidate of the largest
    ``(1 - diversity) relevance - diversity similarity``, where relevance is the score, boosted and scaled to
    0 to 1 among the candidates of the user, and similarity the largest cosine with an item that was taken
    (maximal marginal relevance; Carbonell, Goldstein, SIGIR 1998). Candidates that a cap forbids are passed
    over.

    Parameters
    ----------
    recommendations
        Lists of several times ``n`` items, as ``recommend`` returns them: ``user_id``, ``item_id``,
        ``score``, and any further columns.
    n
        Items for each user; fewer where caps leave fewer.
    boosts
        By item what is added to its score: negative to let it come later.
    diversity
        From 0, the order of the scores, to below 1.
    vectors
        By item its vector, for ``diversity``.
    categories
        By item its category, or several; an item without any is under no cap.
    at_most
        Items of a category in a list: one number for all categories, or one by category.

    Returns
    -------
    The rows of the items that are chosen, ``score`` boosted and ``rank`` anew. Cost: ``n`` times the
    candidates of each user, times the length of the vectors with ``diversity``.

    Raises
    ------
    ConfigError
        For ``n`` or a cap below 1, diversity out of range or without vectors, or caps without categories.
    DataError
        For a table without the columns, scores that are not finite, or candidates without a vector.

    Examples
    --------
    >>> import pandas as pd
    >>> lists = pd.DataFrame({"user_id": 1, "item_id": [7, 8, 9], "score": [3.0, 2.0, 1.0]})
    >>> rerank(lists, 2, categories={7: "book", 8: "book"}, at_most=1)["item_id"].tolist()
    [7, 9]
    """
    n = at_least_one(n, "n")
    choice = _choice(diversity, vectors, categories, at_most)
    table = _boosted(recommendations, boosts or {})
    taken, ranks = list[int](), list[int]()
    positions = np.arange(len(table))
    for places in table.groupby("user_id", sort=False).indices.values():
        own = table.iloc[places]
        chosen = _chosen(own["item_id"].tolist(), own["score"].to_numpy(np.float64), n, choice)
        taken += positions[places][chosen].tolist()
        ranks += range(1, len(chosen) + 1)
    return table.iloc[taken].assign(rank=ranks).reset_index(drop=True)


def _choice(
    diversity: float,
    vectors: Mapping[Id, Array] | None,
    categories: Mapping[Id, Hashable | Sequence[Hashable]] | None,
    at_most: int | Mapping[Hashable, int] | None,
) -> _Choice:
    """Check the rules of a call."""
    if not 0 <= diversity < 1:
        raise ConfigError(f"diversity is {shown(diversity)} but must be at least 0 and below 1.")
    if diversity and vectors is None:
        raise ConfigError("diversity compares vectors of items; give vectors, by item id.")
    if (at_most is None) != (categories is None):
        raise ConfigError("at_most and categories go together; give both, or none.")
    several = {item: _several(found) for item, found in (categories or {}).items()}
    everything = {category for found in several.values() for category in found}
    caps = at_most if isinstance(at_most, Mapping) else dict.fromkeys(everything, at_most)
    return _Choice(
        diversity, vectors or {}, several,
        {category: at_least_one(cap, "at_most") for category, cap in caps.items() if cap is not None},
    )  # fmt: skip


def _several(found: Hashable | Sequence[Hashable]) -> tuple[Hashable, ...]:
    """Return the categories of an item; a missing value is none."""
    several = tuple(found) if isinstance(found, Iterable) and not isinstance(found, str) else (found,)
    return tuple(one for one in several if one is not None and one == one)  # NaN is not equal to itself


def _boosted(recommendations: Frame, boosts: Mapping[Id, float]) -> Frame:
    """Return the table with boosted scores."""
    import pandas as pd

    if not isinstance(recommendations, pd.DataFrame):
        raise DataError(f"recommendations are {shown(recommendations)}; give a DataFrame of pandas.")
    missing = [name for name in _COLUMNS if name not in recommendations.columns]
    if missing:
        raise DataError(
            f"recommendations have no column {listed(missing, 3)}; give a table as recommend returns it."
        )
    added = recommendations["item_id"].map(lambda item: boosts.get(item, 0.0)).astype(np.float64)
    table = recommendations.assign(score=recommendations["score"].astype(np.float64) + added)
    bad = ~np.isfinite(table["score"].to_numpy())
    if bad.any():
        item = shown(table.loc[bad, "item_id"].iloc[0])
        raise DataError(
            f"the score of item {item} is not finite with its boost; drop it, or lower the boost."
        )
    return table


def _chosen(items: list[Id], scores: Array, n: int, choice: _Choice) -> list[int]:
    """Return the places of the items of one list, in its order; equal values by the earlier place."""
    spread = scores.max() - scores.min()
    relevance = (1 - choice.diversity) * (
        (scores - scores.min()) / spread if spread else np.ones(len(scores))
    )
    unit = _unit(items, choice) if choice.diversity else None
    similarity = np.zeros(len(items))
    free = np.ones(len(items), bool)
    counts: Counter[Hashable] = Counter()
    chosen: list[int] = []
    while len(chosen) < n and free.any():
        best = int(np.argmax(np.where(free, relevance - choice.diversity * similarity, -np.inf)))
        free[best] = False
        own = [category for category in choice.categories.get(items[best], ()) if category in choice.caps]
        if any(counts[category] >= choice.caps[category] for category in own):
            continue
        counts.update(own)
        chosen.append(best)
        if unit is not None:
            like = unit @ unit[best]
            similarity = like if len(chosen) == 1 else np.maximum(similarity, like)
    return chosen


def _unit(items: list[Id], choice: _Choice) -> Array:
    missing = [item for item in items if item not in choice.vectors]
    if missing:
        raise DataError(f"{len(missing)} recommended items have no vector: {listed(missing, 5)}; add them.")
    rows = [np.asarray(choice.vectors[item], np.float64).ravel() for item in items]
    if len({len(row) for row in rows}) > 1:
        raise DataError("vectors have different lengths; give every item as many numbers.")
    if not np.isfinite(rows).all():
        raise DataError(
            "vectors of recommended items hold NaN or infinite numbers; mend or leave out those items."
        )
    return unit_rows(np.stack(rows))
