"""Ranking metrics against ir-measures (trec_eval) on random rankings.

Compared: Recall, NDCG, hit rate, reciprocal rank and Precision by name; truncated Recall through Precision and
average precision through its sum, which is divided by all held-out items there; head, tail
and every popularity group through restricted relevance judgements, activity groups through a subset of the
users; the propensity-unbiased forms through graded judgements, on popularities for which 1/p is an integer.
Coverage has no counterpart there and is compared with a set. Equal means to 1e-12 for every user.
"""

import math

import numpy as np
import pytest
from scipy import sparse

from l3ae_dist.metrics import (
    by_item_popularity,
    by_user_activity,
    evaluate_top,
    head_items,
    per_user,
    quantile_groups,
    restrict,
    unbiased_per_user,
)

ir = pytest.importorskip("ir_measures", reason="ir-measures is not installed (the test extra has it)")
KS = (1, 3, 10)
N, USERS, DEPTH = 60, 50, 10
NAMES = {"recall": "R", "ndcg": "nDCG", "hit_rate": "Success", "mrr": "RR", "precision": "P"}


@pytest.fixture(params=range(3))
def case(request):
    """Rankings with some places empty, users with no, few and many held-out items, skewed popularity."""
    rng = np.random.default_rng(request.param)
    top = np.stack([rng.permutation(N)[:DEPTH] for _ in range(USERS)])
    top[:4, 6:] = -1
    density = rng.random((USERS, 1)) ** 3
    truth = sparse.csr_matrix((rng.random((USERS, N)) < density).astype(np.float32))
    truth = sparse.csr_matrix(truth.multiply((np.arange(USERS) % 7 != 3)[:, None]))
    truth.eliminate_zeros()
    return top, truth, (rng.pareto(1.0, N) * 20).astype(np.int64)


def peer(top, truth, measure, weight=None):
    """One measure for every user by the library, NaN without held-out items."""
    weight = np.ones(N, np.int64) if weight is None else weight
    coo = truth.tocoo()
    pairs = zip(coo.row, coo.col, strict=True)
    wanted = [ir.Qrel(str(user), str(item), int(weight[item])) for user, item in pairs]
    shown = [
        ir.ScoredDoc(str(user), str(item), float(DEPTH - rank))
        for user, row in enumerate(top)
        for rank, item in enumerate(row)
        if item >= 0
    ]
    values = np.full(truth.shape[0], np.nan)
    for found in ir.iter_calc([ir.parse_measure(measure)], wanted, shown):
        if truth.indptr[int(found.query_id)] < truth.indptr[int(found.query_id) + 1]:
            values[int(found.query_id)] = found.value
    return values


def equal(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("k", KS)
def test_metrics_of_every_user_equal_the_library(case, k):
    top, truth, _ = case
    assert np.isnan(per_user(top, truth, f"recall@{k}")).any()
    for ours, theirs in NAMES.items():
        equal(per_user(top, truth, f"{ours}@{k}"), peer(top, truth, f"{theirs}@{k}"))
    counts = np.diff(truth.indptr)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = k / np.minimum(k, counts)
        whole = counts / np.minimum(k, counts)
    equal(per_user(top, truth, f"truncated_recall@{k}"), peer(top, truth, f"P@{k}") * scale)
    equal(per_user(top, truth, f"map@{k}"), peer(top, truth, f"AP@{k}") * whole)


def test_means_leave_out_users_without_held_out_items(case):
    top, truth, popularity = case
    result = evaluate_top(top, truth, popularity, KS)
    for k in KS:
        for ours, theirs in NAMES.items():
            equal(result[f"{ours}@{k}"], np.nanmean(peer(top, truth, f"{theirs}@{k}")))
        assert result[f"coverage@{k}"] == len(set(top[:, :k].ravel().tolist()) - {-1}) / N
    assert result["users"] == np.isfinite(peer(top, truth, "R@1")).sum()


def test_head_and_tail_are_the_library_on_restricted_judgements(case):
    top, truth, popularity = case
    result = evaluate_top(top, truth, popularity, KS)
    head = head_items(popularity)
    parts = {"head": head, "tail": np.setdiff1d(np.arange(N), head)}
    assert set(result) >= set(parts)
    assert min(len(items) for items in parts.values()) > 0
    for k in KS:
        for part, items in parts.items():
            for ours in ("recall", "ndcg"):
                theirs = np.nanmean(peer(top, restrict(truth, items), f"{NAMES[ours]}@{k}"))
                equal(result[part][f"{ours}@{k}"], theirs)


def test_popularity_groups_are_the_library_on_restricted_judgements(case):
    top, truth, popularity = case
    groups, found = (
        quantile_groups(popularity, popularity),
        by_item_popularity(top, truth, popularity, KS),
    )
    assert len(found) == len(groups)
    for items, group in zip(groups, found, strict=True):
        wanted = restrict(truth, items)
        assert group["items"] == len(items)
        assert group["interactions"] == [popularity[items].min(), popularity[items].max()]
        assert group["users"] == (np.diff(wanted.indptr) > 0).sum()
        for k in KS:
            for ours in ("recall", "ndcg"):
                equal(group[f"{ours}@{k}"], np.nanmean(peer(top, wanted, f"{NAMES[ours]}@{k}")))


def test_activity_groups_are_the_library_on_those_users(case):
    top, truth, _ = case
    activity = np.random.default_rng(9).geometric(0.2, USERS)
    found = by_user_activity(top, truth, activity, KS)
    has_truth = np.diff(truth.indptr) > 0
    assert sum(group["users"] for group in found) == has_truth.sum()
    for group in found:
        least, most = group["interactions"]
        users = np.flatnonzero(has_truth & (activity >= least) & (activity <= most))
        assert len(users) == group["users"]
        for k in KS:
            for ours in ("recall", "ndcg"):
                equal(group[f"{ours}@{k}"], np.mean(peer(top[users], truth[users], f"{NAMES[ours]}@{k}")))


@pytest.mark.parametrize("k", KS)
def test_unbiased_metrics_are_the_library_on_graded_judgements(case, k):
    """1/p = (pop / 3600)^-0.5 is 1 to 6. NDCG: the library's ideal is graded, ours is binary by the mass."""
    top, truth, _ = case
    weight = np.random.default_rng(k).integers(1, 7, N)
    weight[0] = 1
    popularity = 3600 // weight**2
    recall, ndcg = unbiased_per_user(top, truth, popularity, k)
    # an item of weight m as m items: the share of all of them that is found
    copies = np.repeat(np.arange(N), weight)
    spread = sparse.csr_matrix(truth[:, copies])
    shown = [np.flatnonzero(np.isin(copies, row[:k])) for row in top]
    wanted = [set(row.indices.tolist()) for row in spread]
    for user in range(USERS):
        if not wanted[user]:
            assert np.isnan(recall[user])
            continue
        qrels = [ir.Qrel("u", str(copy), 1) for copy in wanted[user]]
        run = [ir.ScoredDoc("u", str(copy), 1.0) for copy in shown[user].tolist()]
        assert recall[user] == pytest.approx(
            ir.calc_aggregate([ir.R @ 100], qrels, run)[ir.R @ 100], abs=1e-12
        )
    graded = peer(top, truth, f"nDCG@{k}", weight)
    for user in np.flatnonzero(np.isfinite(graded)):
        mine = np.sort(weight[truth[user].indices])[::-1][:k]
        discounts = [1 / math.log2(i + 2) for i in range(len(mine))]
        gain = graded[user] * sum(w * d for w, d in zip(mine, discounts, strict=True))
        mass = weight[truth[user].indices].sum()
        assert ndcg[user] == pytest.approx(gain / sum(discounts) / mass, abs=1e-12)


def test_groups_have_about_equal_weight_and_keep_equal_values_together():
    values = np.array([5, 5, 1, 9, 1, 1, 3, 0, 0, 1])
    groups = quantile_groups(values, values)
    assert sorted(np.concatenate(groups).tolist()) == list(range(10))
    for one in np.unique(values):
        assert sum(bool(set(np.flatnonzero(values == one)) & set(group)) for group in groups) == 1
    means = [values[group].mean() for group in groups]
    assert means == sorted(means, reverse=True)
    many = np.random.default_rng(0).permutation(1000)
    assert [len(group) for group in quantile_groups(many, np.ones(1000))] == [200] * 5
    masses = [many[group].sum() for group in quantile_groups(many, many)]
    assert max(masses) - min(masses) <= 2 * 1000
    assert len(quantile_groups(np.zeros(7), np.zeros(7))) == 1
