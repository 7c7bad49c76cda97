"""Ranking metrics against a plain-Python reading of their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from l3ae_dist.evaluation.significance import paired_bootstrap
from l3ae_dist.linalg.top_k import merge_top_k, top_k
from l3ae_dist.metrics import evaluate_top, head_items, hits, per_user, restrict, unbiased_per_user


def case(seed, users=7, n=12, k=6):
    rng = np.random.default_rng(seed)
    top = np.stack([rng.permutation(n)[:k] for _ in range(users)])
    truth = sparse.csr_matrix((rng.random((users, n)) < 0.2).astype(np.float32))
    return top, truth, rng.integers(0, 30, n)


def plain(name, ranking, wanted, k):
    got = [int(item in wanted) for item in ranking[:k]]
    if name == "recall":
        return sum(got) / len(wanted)
    if name == "truncated_recall":
        return sum(got) / min(k, len(wanted))
    if name == "hit_rate":
        return float(any(got))
    if name == "mrr":
        return next((1 / (i + 1) for i, hit in enumerate(got) if hit), 0.0)
    ideal = sum(1 / math.log2(i + 2) for i in range(min(k, len(wanted))))
    return sum(hit / math.log2(i + 2) for i, hit in enumerate(got)) / ideal


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 6]))
def test_every_metric_equals_its_definition(seed, k):
    top, truth, popularity = case(seed)
    for name in ("recall", "truncated_recall", "ndcg", "hit_rate", "mrr"):
        values = per_user(top, truth, f"{name}@{k}")
        for user in range(len(top)):
            wanted = set(truth[user].indices.tolist())
            if wanted:
                assert values[user] == pytest.approx(plain(name, top[user], wanted, k))
            else:
                assert np.isnan(values[user])
    p = [max((pop / max(popularity.max(), 1)) ** 0.5, 1e-3) for pop in popularity]
    recall, ndcg = unbiased_per_user(top, truth, popularity, k)
    for user in range(len(top)):
        wanted = set(truth[user].indices.tolist())
        if wanted:
            mass = sum(1 / p[i] for i in wanted)
            gained = [(1 / p[i] if i in wanted else 0.0) for i in top[user][:k]]
            ideal = sum(1 / math.log2(i + 2) for i in range(min(k, len(wanted))))
            disc = sum(g / math.log2(i + 2) for i, g in enumerate(gained))
            assert recall[user] == pytest.approx(sum(gained) / mass)
            assert ndcg[user] == pytest.approx(disc / ideal / mass)


def test_missing_recommendations_are_not_hits():
    truth = sparse.csr_matrix(np.array([[0, 0, 1.0], [1.0, 0, 0]]))
    assert hits(np.array([[-1, 2], [-1, -1]]), truth).tolist() == [[False, True], [False, False]]


def test_head_and_tail_share_the_ground_truth():
    top, truth, popularity = case(5, users=30, n=20)
    head = head_items(popularity)
    tail = np.setdiff1d(np.arange(20), head)
    assert len(head) == 4
    assert popularity[head].min() >= popularity[tail].max()
    assert restrict(truth, head).nnz + restrict(truth, tail).nnz == truth.nnz
    result = evaluate_top(top, truth, popularity, (3,))
    assert set(result["head"]) == {"recall@3", "ndcg@3"}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 14))
def test_top_k_is_exact_and_ties_go_to_the_lower_item(seed, k):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (5, 11)).astype(np.float32)
    seen = sparse.csr_matrix((rng.random((5, 11)) < 0.3).astype(np.float32))
    items, values = top_k(scores.copy(), k, seen)
    for user in range(5):
        known = set(seen[user].indices.tolist())
        order = sorted((i for i in range(11) if i not in known), key=lambda i: (-scores[user, i], i))[:k]
        assert items[user][items[user] >= 0].tolist() == order
        assert np.isneginf(values[user][len(order) :]).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_merging_tiles_equals_ranking_the_whole_row(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (4, 20)).astype(np.float64)
    whole, _ = top_k(scores.copy(), 5)
    parts = [top_k(scores[:, s : s + 7].copy(), 5) for s in (0, 7, 14)]
    items = np.hstack([np.where(p[0] >= 0, p[0] + s, -1) for p, s in zip(parts, (0, 7, 14), strict=True)])
    merged, _ = merge_top_k(items, np.hstack([p[1] for p in parts]), 5)
    np.testing.assert_array_equal(merged, whole)


def test_bootstrap_interval_covers_the_difference_and_repeats():
    rng = np.random.default_rng(0)
    other = rng.random(400)
    ours = other + 0.05 + 0.1 * rng.standard_normal(400)
    ours[3] = np.nan
    result = paired_bootstrap(ours, other, repeats=500)
    assert result == paired_bootstrap(ours, other, repeats=500)
    assert result["low"] < result["difference"] < result["high"]
    assert result["low"] > 0
    assert result["p_value"] < 0.01
    assert result["users"] == 399
    null = paired_bootstrap(other + 0.1 * rng.standard_normal(400), other, repeats=500)
    assert null["low"] < 0 < null["high"]
