"""Lists in another order: against a search over all choices, and the rules one by one."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l3ae_dist import rerank
from l3ae_dist.errors import ConfigError, DataError


def lists(users=4, candidates=9, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        {"user_id": user, "item_id": int(item), "title": f"t{item}", "score": float(score)}
        for user in range(users)
        for item, score in zip(
            rng.permutation(12)[:candidates], np.sort(rng.random(candidates))[::-1], strict=True
        )
    ]
    return pd.DataFrame(rows)


def greedy(items, scores, n, diversity, vectors, categories, cap):
    """The definition, item by item, without arrays."""
    low, high = min(scores), max(scores)
    left, chosen = list(range(len(items))), []
    while left and len(chosen) < n:

        def value(place):
            relevance = (scores[place] - low) / (high - low) if high > low else 1.0
            cosines = [vectors[items[place]] @ vectors[items[other]]
                       / (np.linalg.norm(vectors[items[place]]) * np.linalg.norm(vectors[items[other]]))
                       for other in chosen]  # fmt: skip
            return (1 - diversity) * relevance - diversity * max(cosines, default=0.0)

        best = max(left, key=lambda place: (round(value(place), 12), -place))
        left.remove(best)
        taken = [categories[items[other]] for other in chosen]
        if cap is None or taken.count(categories[items[best]]) < cap:
            chosen.append(best)
    return [items[place] for place in chosen]


@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.3, 0.7, 0.95]),
    st.sampled_from([None, 1, 2]),
    st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_lists_are_those_of_the_definition(seed, diversity, cap, n):
    rng = np.random.default_rng(seed)
    table = lists(seed=seed)
    vectors = {item: rng.standard_normal(3) for item in range(12)}
    categories = {item: f"c{item % 3}" for item in range(12)}
    given_caps = {} if cap is None else {"categories": categories, "at_most": cap}
    found = rerank(table, n, diversity=diversity, vectors=vectors, **given_caps)
    for user, own in table.groupby("user_id"):
        wanted = greedy(
            own["item_id"].tolist(), own["score"].tolist(), n, diversity, vectors, categories, cap
        )
        mine = found[found["user_id"] == user]
        assert mine["item_id"].tolist() == wanted
        assert mine["rank"].tolist() == list(range(1, len(wanted) + 1))


def test_without_rules_the_best_stay_as_they_are():
    table = lists()
    found = rerank(table, 3)
    wanted = table.groupby("user_id").head(3).reset_index(drop=True)
    pd.testing.assert_frame_equal(found[["user_id", "item_id", "title", "score"]], wanted)


def test_boosts_are_added_to_the_scores():
    table = lists(users=1)
    last = table["item_id"].iloc[-1]
    found = rerank(table, 2, boosts={last: 10.0, -1: 5.0})
    assert found["item_id"].iloc[0] == last
    assert found["score"].iloc[0] == pytest.approx(table["score"].iloc[-1] + 10)
    first = table["item_id"].iloc[0]
    assert first not in set(rerank(table, 5, boosts={first: -10.0})["item_id"])


def test_an_item_of_several_categories_counts_in_each_and_caps_may_differ():
    table = pd.DataFrame({"user_id": 1, "item_id": ["a", "b", "c", "d"], "score": [4.0, 3.0, 2.0, 1.0]})
    categories = {"a": ["x", "y"], "b": ("y",), "c": "x", "d": "z"}
    assert rerank(table, 4, categories=categories, at_most=1)["item_id"].tolist() == ["a", "d"]
    assert rerank(table, 4, categories=categories, at_most={"x": 1})["item_id"].tolist() == ["a", "b", "d"]


def test_items_without_a_category_are_under_no_cap():
    table = pd.DataFrame({"user_id": 1, "item_id": [1, 2, 3], "score": [3.0, 2.0, 1.0]})
    genres = pd.DataFrame({"genre": [None, np.nan, None]}, index=[1, 2, 3])["genre"].to_dict()
    assert rerank(table, 3, categories=genres, at_most=1)["item_id"].tolist() == [1, 2, 3]


def test_users_keep_their_order_and_an_empty_table_stays_empty():
    table = lists().sort_values("user_id", ascending=False, kind="stable")
    assert rerank(table, 1)["user_id"].tolist() == [3, 2, 1, 0]
    assert len(rerank(table.iloc[:0], 3)) == 0


def test_what_a_model_recommends_is_taken_and_evaluated(tmp_path):
    from small_fits import fit, tables

    from l3ae_dist import evaluate_lists, load_model

    fit(tmp_path / "w", reg_x=20, name="ease")
    log = tables()[0].drop_duplicates()
    found = load_model(tmp_path / "w").recommend(log["user_id"].unique(), 12)
    categories = {item: item % 4 for item in range(40)}
    again = rerank(found, 4, categories=categories, at_most=1)
    kinds = again.assign(kind=again["item_id"] % 4).groupby("user_id")["kind"]
    assert (kinds.nunique() == kinds.size()).all()
    assert kinds.size().max() == 4
    assert evaluate_lists(again, log, ks=(4,))["users"] == log["user_id"].nunique()


WRONG = {
    "n of 0": ({"n": 0}, ConfigError, "n"),
    "diversity of 1": ({"diversity": 1.0, "vectors": {}}, ConfigError, "below 1"),
    "diversity alone": ({"diversity": 0.5}, ConfigError, "vectors"),
    "caps alone": ({"at_most": 1}, ConfigError, "categories"),
    "a cap of 0": ({"at_most": 0, "categories": {1: "a"}}, ConfigError, "at_most"),
    "no vectors of some": ({"diversity": 0.5, "vectors": {0: np.ones(2)}}, DataError, "no vector"),
    "vectors with NaN": ({"diversity": 0.5, "vectors": dict.fromkeys(range(12), np.array([np.nan]))}, DataError, "NaN"),
    "an endless boost": ({"boosts": dict.fromkeys(range(12), float("inf"))}, DataError, "not finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_rules_that_cannot_be_followed_are_refused_in_a_sentence(name):
    options, kind, words = WRONG[name]
    with pytest.raises(kind, match=words):
        rerank(lists(), **{"n": 3, **options})


def test_a_table_of_something_else_is_refused():
    with pytest.raises(DataError, match="pandas"):
        rerank(lists().to_dict("records"), 3)
    with pytest.raises(DataError, match="score"):
        rerank(lists().drop(columns="score"), 3)
