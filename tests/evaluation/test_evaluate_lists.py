"""Any table of recommendations against any interactions: by hand, by brute force, and as the package's own figures."""

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from l3ae_dist import evaluate_lists
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.evaluation.list_quality import concentration, diversity, miscalibration, novelty
from l3ae_dist.metrics import evaluate_top

RNG = np.random.default_rng(7)
USERS, ITEMS, K = 30, 25, 6


def tables(seed=0, text=False):
    rng = np.random.default_rng(seed)
    name = (lambda kind, number: f"{kind}-{number}") if text else (lambda kind, number: int(number))
    rows = [(name("u", u), name("i", i), rank + 1) for u in range(USERS)
            for rank, i in enumerate(rng.permutation(ITEMS)[: rng.integers(0, K + 1)])]  # fmt: skip
    lists = pd.DataFrame(rows, columns=["user_id", "item_id", "rank"])

    def log(share):
        found = [
            (name("u", u), name("i", i)) for u in range(USERS) for i in range(ITEMS) if rng.random() < share
        ]
        return pd.DataFrame(found, columns=["user_id", "item_id"])

    return lists, log(0.1), log(0.2)


def by_hand(lists, held_out, train, ks):
    users = sorted(held_out["user_id"].unique())
    items = sorted(set(lists["item_id"]) | set(held_out["item_id"]) | set(train["item_id"]))
    place = {item: number for number, item in enumerate(items)}
    top = np.full((len(users), max(ks)), -1, np.int64)
    truth = np.zeros((len(users), len(items)), np.float32)
    for row, user in enumerate(users):
        mine = lists[lists["user_id"] == user].sort_values("rank")["item_id"].tolist()[: max(ks)]
        top[row, : len(mine)] = [place[item] for item in mine]
        truth[row, [place[item] for item in held_out.loc[held_out["user_id"] == user, "item_id"]]] = 1
    popularity = np.array([(train["item_id"] == item).sum() for item in items])
    return evaluate_top(top, sparse.csr_matrix(truth), popularity, ks)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_accuracy_is_that_of_the_top_lists(seed, text):
    lists, held_out, train = tables(seed, text)
    shuffled = lists.sample(frac=1, random_state=1)
    found = evaluate_lists(shuffled, held_out, train=train, ks=(1, 5))
    wanted = by_hand(lists, held_out, train, (1, 5))
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, nan_ok=True), name


def test_scores_rank_as_ranks_do_and_users_without_a_list_count():
    lists, held_out, _ = tables()
    scored = lists.assign(score=-lists["rank"] / 7).drop(columns="rank")
    assert evaluate_lists(scored, held_out, ks=(3,)) == evaluate_lists(lists, held_out, ks=(3,))
    user = held_out["user_id"].iloc[0]
    without = lists[lists["user_id"] != user]
    found = evaluate_lists(without, held_out, ks=(3,))
    assert found["users"] == held_out["user_id"].nunique()
    assert found["recall@3"] <= evaluate_lists(lists, held_out, ks=(3,))["recall@3"]
    assert "head" not in found  # popularity is not known
    assert "novelty@3" not in found


def test_an_interaction_that_is_there_twice_counts_once():
    lists, held_out, train = tables(3)
    twice = pd.concat([train, train.iloc[::2], train.iloc[:5]])
    assert evaluate_lists(lists, held_out, train=twice, ks=(5,)) == evaluate_lists(
        lists, held_out, train=train, ks=(5,)
    )


def test_other_forms_of_tables_give_the_same(tmp_path):
    polars = pytest.importorskip("polars")
    lists, held_out, train = tables(1)
    lists.to_parquet(tmp_path / "lists.parquet")
    held_out.to_csv(tmp_path / "held_out.csv", index=False)
    wanted = evaluate_lists(lists, held_out, train=train, ks=(5,))
    assert evaluate_lists(tmp_path / "lists.parquet", str(tmp_path / "held_out.csv"), train=polars.from_pandas(train),
                          ks=(5,)) == wanted  # fmt: skip


def test_what_a_recommender_returns_is_evaluated_as_it_is():
    from small_fits import tables as small

    log, _, _ = small()
    pairs = log.drop_duplicates()
    lists = (
        pairs.groupby("user_id").head(3).assign(rank=lambda frame: frame.groupby("user_id").cumcount() + 1)
    )
    found = evaluate_lists(lists, pairs, ks=(3,))
    assert found["precision@3"] == pytest.approx(1.0)  # each user is given what the user did
    assert found["map@3"] == pytest.approx(1.0)


def test_novelty_is_the_mean_of_bits():
    top = np.array([[0, 2, -1], [-1, -1, -1], [3, 1, 0]])
    popularity = np.array([10, 5, 0, 1])
    bits = [math.log2(10 / max(count, 1)) for count in popularity]
    found = novelty(top, popularity, 10)
    assert found[0] == pytest.approx((bits[0] + bits[2]) / 2)
    assert np.isnan(found[1])
    assert found[2] == pytest.approx((bits[3] + bits[1] + bits[0]) / 3)


@given(st.integers(0, 2**31), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_diversity_is_that_of_all_pairs(seed, depth):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((8, 4)) * (rng.random(8) > 0.2)[:, None]
    top = np.stack([rng.permutation(8)[:depth] for _ in range(5)])
    top[rng.random(top.shape) < 0.3] = -1

    def cosine(a, b):
        lengths = np.linalg.norm(a) * np.linalg.norm(b)
        return a @ b / lengths if lengths else 0.0

    for row, value in zip(top, diversity(top, vectors), strict=True):
        mine = [item for item in row if item >= 0]
        pairs = [1 - cosine(vectors[i], vectors[j]) for i, j in combinations(mine, 2)]
        assert value == pytest.approx(np.mean(pairs) if pairs else np.nan, abs=1e-12, nan_ok=True)


@given(st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_miscalibration_is_the_divergence_of_the_two_distributions(seed):
    rng = np.random.default_rng(seed)
    categories = (rng.random((9, 3)) < 0.4).astype(float)
    histories = (rng.random((6, 9)) < 0.4) * rng.integers(1, 4, (6, 9)).astype(float)
    top = np.stack([rng.permutation(9)[:4] for _ in range(6)])
    top[rng.random(top.shape) < 0.2] = -1
    found = miscalibration(top, sparse.csr_matrix(histories), sparse.csr_matrix(categories))

    def distribution(weights):
        share = np.zeros(3)
        for item, weight in weights:
            if categories[item].sum():
                share += weight * categories[item] / categories[item].sum()
        return share / share.sum() if share.sum() else None

    for user in range(6):
        p = distribution([(item, histories[user, item]) for item in range(9)])
        q = distribution([(item, 1.0) for item in top[user] if item >= 0])
        if p is None or q is None:
            assert np.isnan(found[user])
            continue
        mixed = 0.99 * q + 0.01 * p
        wanted = sum(a * math.log(a / b) for a, b in zip(p, mixed, strict=True) if a > 0)
        assert found[user] == pytest.approx(wanted, abs=1e-12)
        assert found[user] >= -1e-12


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(7, 12))
def test_concentration_is_the_mean_difference_of_counts(items, n):
    counts = np.bincount(items, minlength=n).astype(float)
    differences = np.abs(counts[:, None] - counts).sum()
    found = concentration(np.array(items)[:, None], n)
    assert found == pytest.approx(differences / (2 * n * counts.sum()))


def test_qualities_appear_with_what_they_need():
    lists, held_out, train = tables(2)
    items = sorted(set(lists["item_id"]))
    vectors = {item: RNG.standard_normal(4) for item in items}
    categories = pd.DataFrame({"item_id": items, "category": [f"c{item % 3}" for item in items]})
    found = evaluate_lists(lists, held_out, train=train, ks=(5,), vectors=vectors, categories=categories)
    assert 0 < found["novelty@5"] < math.log2(USERS) + 1
    assert 0 < found["diversity@5"] < 2
    assert 0 <= found["miscalibration@5"] < math.log(100)
    assert 0 <= found["concentration@5"] < 1
    assert {"head", "tail", "unbiased"} <= set(found)


LISTS = pd.DataFrame({"user_id": [1, 1], "item_id": [5, 6], "rank": [1, 2]})
HELD = pd.DataFrame({"user_id": [1], "item_id": [6]})
WRONG = {
    "no rank": (LISTS.drop(columns="rank"), HELD, {}, DataError, "rank"),
    "an item twice": (LISTS.assign(item_id=5), HELD, {}, DataError, "item 5 twice"),
    "a rank twice": (LISTS.assign(rank=1), HELD, {}, DataError, "rank 1 twice"),
    "a rank that is missing": (LISTS.assign(rank=[1, np.nan]), HELD, {}, DataError, "rank"),
    "an endless score": (LISTS.assign(score=[1, np.inf]), HELD, {}, DataError, "score"),
    "no items": (LISTS, HELD.rename(columns={"item_id": "item"}), {}, DataError, "held_out"),
    "nobody": (LISTS, HELD.iloc[:0], {}, DataError, "no rows"),
    "cut-offs of 0": (LISTS, HELD, {"ks": (0,)}, ConfigError, "ks"),
    "no cut-offs": (LISTS, HELD, {"ks": ()}, ConfigError, "ks"),
    "categories alone": (LISTS, HELD, {"categories": HELD}, ConfigError, "train"),
    "no vector": (LISTS, HELD, {"vectors": {5: [1.0]}}, DataError, "6"),
    "vectors of two lengths": (LISTS, HELD, {"vectors": {5: [1.0], 6: [1.0, 2.0]}}, DataError, "lengths"),
    "no category": (LISTS, HELD, {"train": HELD, "categories": HELD}, DataError, "category"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_table_that_cannot_be_used_is_refused_in_a_sentence(name):
    lists, held_out, options, kind, words = WRONG[name]
    with pytest.raises(kind, match=words) as caught:
        evaluate_lists(lists, held_out, **{"ks": (2,), **options})
    assert "\n" not in str(caught.value)
