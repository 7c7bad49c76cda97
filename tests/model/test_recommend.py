"""Recommendations for known and unknown users, with lists and reasons, against the dense scores."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import compute, dense_x, text
from scipy import sparse

from l3ae_dist import EASE, L3AE, EASEText, L3AEAdditive
from l3ae_dist.errors import ConfigError, DataError, UnknownIdError
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.linalg.top_k import RunningTop, top_k
from l3ae_dist.model.fitted import load_model

pytestmark = pytest.mark.dask
N = 40


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, dask_session):
    """A model on tiles of 16, its dense B, and X; one user's only item is 5."""
    rng = np.random.default_rng(3)
    pairs = {(u, int(i)) for u in range(60) for i in rng.choice(38, rng.integers(3, 12), replace=False)}
    pairs = {(u, i) for u, i in pairs if u != 7} | {(7, 5)}
    log = pd.DataFrame(sorted(pairs), columns=["user_id", "item_id"])
    items = pd.DataFrame({"item_id": range(N), "text": [f"title {i}" for i in range(N)]})
    f = text(N, 8)
    model = L3AE(-5.0, 5.0, 20.0, compute=compute(dask_session))
    model.fit(log, items, workspace=str(tmp_path_factory.mktemp("fit") / "w"), embeddings=f)
    x = dense_x(log, N)
    return model.model_, x, cf.l3ae_dense(x, cf.semantic_dense(f.T.astype(float), 5.0), -5.0, 20.0)


def best(scores, refused, n):
    """Positions of the best allowed scores, ties to the lower."""
    left = np.where(refused, -np.inf, scores)
    return [i for i in np.argsort(-left, kind="stable")[:n].tolist() if np.isfinite(left[i])]


def lists(table):
    return {user: part.item_id.tolist() for user, part in table.groupby("user_id")}


@pytest.mark.parametrize("batch_size", [None, 1, 7])
@pytest.mark.parametrize("memory_budget", ["2GiB", "24KiB", 3000])
def test_every_user_gets_the_best_unseen_items_however_little_memory_there_is(
    fitted, batch_size, memory_budget
):
    """At 3,000 bytes a block of B holds few rows at a time, so that sums are carried from one to the next."""
    model, x, b = fitted
    small = load_model(model.workspace.url, memory_budget=memory_budget)
    frames = list(small.recommend_batches(None, 6, batch_size=batch_size))
    if batch_size:
        assert len(frames) == -(-60 // batch_size)
    got = pd.concat(frames)
    scores = x @ b
    assert lists(got) == {u: best(scores[u], x[u] > 0, 6) for u in range(60)}
    np.testing.assert_allclose(got.score, scores[got.user_id, got.item_id], atol=1e-12)
    assert got["rank"].tolist() == list(range(1, 7)) * 60
    assert got.title.tolist() == [f"title {i}" for i in got.item_id]


def test_known_users_may_repeat_and_come_in_any_order(fitted):
    model, x, b = fitted
    got = model.recommend([9, 3, 9], n=2)
    want = {u: best((x @ b)[u], x[u] > 0, 2) for u in (3, 9)}
    assert got.user_id.tolist() == [9, 9, 3, 3, 9, 9]
    assert got.item_id.tolist() == want[9] + want[3] + want[9]


HISTORIES = [[4, 9, 30], [], [5], [0, 39, 39]]


def fold_in_x():
    x = np.zeros((4, N))
    for row, items in enumerate(HISTORIES):
        x[row, items] = 1
    return x


@pytest.mark.parametrize(
    "form",
    [
        lambda: HISTORIES,
        lambda: [np.array(items, int) for items in HISTORIES],
        lambda: dict(enumerate(HISTORIES)),
        lambda: sparse.csr_matrix(fold_in_x()),
        lambda: pd.DataFrame(
            [(u, i) for u, items in enumerate(HISTORIES) for i in items], columns=["user_id", "item_id"]
        ),
    ],
    ids=["lists", "arrays", "mapping", "sparse", "frame"],
)
def test_users_given_by_their_history_are_scored_like_known_ones(fitted, form):
    model, _, b = fitted
    x = fold_in_x()
    got = model.recommend(form(), n=5)
    want = {u: best((x @ b)[u], x[u] > 0, 5) for u in (0, 1, 2, 3)}
    assert lists(got) == {u: want[u] for u in (0, 2, 3)}
    np.testing.assert_allclose(got.score, (x @ b)[got.user_id, got.item_id], atol=1e-12)


def test_weights_of_a_history_count_and_twice_the_same_adds_up(fitted):
    model, _, b = fitted
    table = pd.DataFrame({"user_id": ["ann"] * 4, "item_id": [4, 9, 9, 12], "weight": [0.5, 1.0, 2.0, 0.0]})
    got = model.recommend(table, n=40, filter_already_liked=False).set_index("item_id")
    np.testing.assert_allclose(got.score.sort_index(), 0.5 * b[4] + 3 * b[9], atol=1e-12)
    assert set(got.user_id) == {"ann"}
    # an item of weight zero is not part of the history, and may be recommended
    assert 12 in model.recommend(table, n=40).item_id.tolist()


def test_lists_for_everybody_allow_and_block(fitted):
    model, x, b = fitted
    scores = x @ b
    allowed, blocked = [3, 11, 17, 20, 33, 38], [17, 33]
    refused = np.ones(N, bool)
    refused[np.setdiff1d(allowed, blocked)] = False
    got = model.recommend([3, 4], n=10, items=allowed, filter_items=blocked, filter_already_liked=False)
    assert lists(got) == {u: best(scores[u], refused, 10) for u in (3, 4)}
    only_block = model.recommend([3], n=40, filter_items=blocked)
    assert only_block.item_id.tolist() == best(scores[3], (x[3] > 0) | np.isin(np.arange(N), blocked), 40)


@pytest.mark.parametrize("form", ["lists", "mapping", "frame"])
def test_lists_for_each_user_allow_and_block(fitted, form):
    model, x, b = fitted
    scores = x @ b
    allow = {3: [1, 2, 3, 30, 39], 4: [8, 9, 10]}
    block = {3: [2], 4: [10, 9]}
    users = [3, 4] if form == "lists" else [3, 4, 5]

    def shape(lists):
        if form == "lists":
            return list(lists.values())
        if form == "mapping":
            return lists
        return pd.DataFrame([(u, i) for u, items in lists.items() for i in items],
                            columns=["user_id", "item_id"])  # fmt: skip

    got = model.recommend(users, n=4, items=shape(allow), filter_items=shape(block))
    want = {}
    for user in users:
        refused = x[user] > 0
        if user in allow:  # a user whom no list names has none
            refused = refused | ~np.isin(np.arange(N), allow[user]) | np.isin(np.arange(N), block[user])
        want[user] = best(scores[user], refused, 4)
    assert lists(got) == {user: items for user, items in want.items() if items}


@pytest.mark.parametrize("budget", ["2GiB", 40_000])
def test_reasons_are_the_largest_contributions_and_split_exactly(fitted, budget):
    model, x, _ = fitted
    small = load_model(model.workspace.url, memory_budget=budget)
    got = small.recommend([3, 7, 8], n=4, return_reasons=3)
    for line in got.itertuples():
        full = model.explain(line.user_id, line.item_id)
        expected = full.head(3).to_dict("records")
        assert [r["item_id"] for r in line.reasons] == [e["item_id"] for e in expected]
        for reason, e in zip(line.reasons, expected, strict=True):
            assert reason["title"] == e["title"]
            for part in ("collaborative", "semantic", "total"):
                assert reason[part] == pytest.approx(e[part], abs=1e-13)
        assert full.total.sum() == pytest.approx(line.score, abs=1e-12)
        assert len(full) == (x[line.user_id] > 0).sum()


def test_a_history_is_explained_like_a_user(fitted):
    model, x, b = fitted
    known = model.explain(3, 20)
    given_items = model.explain(np.flatnonzero(x[3]).tolist(), 20)
    pd.testing.assert_frame_equal(known, given_items)
    weighted = model.explain({4: 0.5, 9: 2.0}, 20)
    assert weighted.total.sum() == pytest.approx(0.5 * b[4, 20] + 2 * b[9, 20], abs=1e-13)
    assert len(model.explain([], 20)) == 0


def test_similar_items_rank_rows_of_b_and_of_its_parts(fitted):
    model, x, b = fitted
    kinds = {
        kind: model.similar_items(range(N), n=N, kind=kind)
        for kind in ("weights", "semantic", "collaborative")
    }
    dense = {
        kind: table.pivot(index="item_id", columns="similar_item_id", values="score")
        .reindex(index=range(N), columns=range(N)).to_numpy()
        for kind, table in kinds.items()
    }  # fmt: skip
    off = ~np.eye(N, dtype=bool)
    assert all(np.isnan(np.diag(values)).all() for values in dense.values())
    np.testing.assert_allclose(dense["weights"][off], b[off], atol=1e-12)
    np.testing.assert_allclose((dense["semantic"] + dense["collaborative"])[off], b[off], atol=1e-12)
    semantic = 20.0 * cf.gram_inverse(x, 15.0) @ cf.semantic_dense(text(N, 8).T.astype(float), 5.0)
    np.testing.assert_allclose(dense["semantic"][off], semantic[off], atol=1e-12)


def test_a_user_without_history_gets_no_rows(fitted):
    model, _, _ = fitted
    got = model.recommend([[], []], n=5)
    assert list(got.columns) == ["user_id", "item_id", "title", "rank", "score"]
    assert len(got) == 0
    assert len(model.recommend([], n=5)) == 0


def test_fewer_rows_when_fewer_items_are_left_and_none_when_all_are_filtered(fitted):
    model, x, _ = fitted
    assert len(model.recommend([3], n=10_000)) == N - (x[3] > 0).sum()
    assert len(model.recommend([3, 4], n=5, items=[])) == 0
    assert len(model.recommend([3], n=5, filter_items=range(N))) == 0
    assert len(model.recommend([3], n=5, items=np.flatnonzero(x[3]).tolist())) == 0
    assert len(model.recommend([3], n=5, items=[[]])) == 0


NAN_WEIGHT = pd.DataFrame({"user_id": [1], "item_id": [2], "weight": [np.nan]})
BAD = [
    (lambda m: m.recommend([3, 1234]), UnknownIdError, "1 user id.* 1234"),
    (lambda m: m.recommend(["x"]), UnknownIdError, "user id"),
    (lambda m: m.recommend([3], 0), ConfigError, "n is 0"),
    (lambda m: m.recommend([3], return_reasons=-1), ConfigError, "return_reasons"),
    (lambda m: m.recommend([[4, 77]]), UnknownIdError, "1 item id.* 77"),
    (lambda m: m.recommend([3], items=[99]), UnknownIdError, "99"),
    (lambda m: m.recommend([3], filter_items={3: [99]}), UnknownIdError, "99"),
    (lambda m: m.recommend([3, 4], items=[[1]]), ConfigError, "items has 1 lists for 2 users"),
    (lambda m: m.recommend(NAN_WEIGHT), DataError, "negative, NaN or infinite"),
    (lambda m: m.recommend(NAN_WEIGHT.assign(weight=-1.0)), DataError, "first: -1.0"),
    (lambda m: m.recommend(sparse.csr_matrix((2, 39))), DataError, "39 columns .* 40 items"),
    (lambda m: m.recommend(pd.DataFrame({"user_id": [1]})), DataError, "no column 'item_id'"),
    (lambda m: m.similar_items([3], 0), ConfigError, "n is 0"),
    (lambda m: m.similar_items([99]), UnknownIdError, "99"),
    (lambda m: m.similar_items([3], kind="nearest"), ConfigError, "kind is 'nearest'"),
    (lambda m: m.explain(3, 99), UnknownIdError, "99"),
    (lambda m: m.explain(1234, 3), UnknownIdError, "1234"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input_is_refused_with_one_sentence(fitted, call, error, message):
    with pytest.raises(error, match=message):
        call(fitted[0])


@pytest.mark.parametrize("member", [EASE(10.0), EASEText(2.0), L3AEAdditive(20.0, 10.0, 0.6)],
                         ids=lambda member: type(member).__name__)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("route", ["woodbury", "direct"])
def test_all_members_serve_many_users_and_few_alike(
    tmp_path, small_tables, dask_session, member, dtype, route
):
    """Few users multiply with the factors, many with a block of B."""
    log, items = small_tables
    options = {**compute(dask_session, dtype), "semantic_route": route}
    member.set_params(compute=options).fit(log, items, workspace=str(tmp_path / "w"), embeddings=text(N, 8))
    model, x = member.model_, dense_x(log, N)
    scores = x @ model.weights(range(N))
    bound = (1e-11 if dtype == "float64" else 1e-5) * np.abs(scores).max()
    for users in ([3, 7], list(range(60))):
        got = model.recommend(users, n=N, filter_already_liked=False)
        np.testing.assert_allclose(got.score, scores[got.user_id, got.item_id], atol=bound)


@given(
    users=st.integers(1, 5),
    columns=st.integers(1, 1500),
    k=st.integers(1, 40),
    cut=st.integers(1, 1500),
    seed=st.integers(0, 2**32),
)
def test_a_running_top_list_equals_ranking_everything_at_once(users, columns, k, cut, seed):
    """Many ties: the lower column wins wherever the blocks are cut."""
    scores = np.random.default_rng(seed).choice([-np.inf, 0.0, 1.0, 2.0, 3.0], (users, columns))
    items, values = top_k(scores.copy(), k)
    running = RunningTop(users, k, scores.dtype)
    for start in range(0, columns, cut):
        stop = min(start + cut, columns)
        running.update(slice(0, users), scores[:, start:stop], np.arange(start, stop), start)
    np.testing.assert_array_equal(running.values, values)
    np.testing.assert_array_equal(running.items, items)
