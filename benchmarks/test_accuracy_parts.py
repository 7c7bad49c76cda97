"""The benchmark of accuracy on tiny data: splits, metrics, every method, tuning, and the whole of it once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from accuracy import heads, linear, measure, registry, search, splits, tables
from accuracy.jobs import Task
from accuracy.methods import Data, Peer, ScoredModel
from accuracy.neural import AlphaRec, LightGCN
from accuracy.peers import ALS, Neighbours, Popularity, Sansa
from accuracy.run import Options, budgets, main
from scipy import sparse

from l3ae_dist.config.members import MEMBERS
from l3ae_dist.config.sweep import SweepConfig
from l3ae_dist.data.splits import TEST, TRAIN, VALID
from l3ae_dist.linalg.closed_form import ease_dense
from l3ae_dist.linalg.top_k import top_k

USERS, ITEMS, BLOCKS, DIM = 160, 60, 4, 8


def blocks(seed=0):
    """A log in which users of a block have items of it, an interaction of each user held out twice."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        mine = np.arange(user % BLOCKS, ITEMS, BLOCKS)
        rows += [(user, item) for item in rng.choice(mine, 8, replace=False)]
    log = pd.DataFrame(rows, columns=["user_id", "item_id"])
    log["split"] = ["val", "test", *["train"] * 6] * USERS
    log["timestamp"] = rng.integers(0, 10**9, len(log))
    texts = [f"kind {item % BLOCKS}, thing {item}" for item in range(ITEMS)]
    items = pd.DataFrame({"item_id": range(ITEMS), "title": texts, "text": texts})
    vectors = rng.standard_normal((BLOCKS, DIM))[np.arange(ITEMS) % BLOCKS]
    vectors = vectors + 0.3 * rng.standard_normal((ITEMS, DIM))
    return log, items, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The reference data with one data set, and nothing else."""
    root = tmp_path_factory.mktemp("reference")
    log, items, vectors = blocks()
    for folder in (root / "data" / "amazon-industrial-2018-partial", root / "reference"):
        folder.mkdir(parents=True)
    log.to_parquet(root / "data" / "amazon-industrial-2018-partial" / "interactions.parquet")
    items.to_parquet(root / "data" / "amazon-industrial-2018-partial" / "items.parquet")
    np.save(root / "reference" / "amazon-industrial-2018-partial-minilm.npy", vectors)
    return root


@pytest.fixture
def data(tmp_path):
    log, items, vectors = blocks()
    split = splits.split_log("industrial", log, items, "column")
    np.save(tmp_path / "vectors.npy", vectors)
    return Data(split.train, split.valid, split.items, tmp_path / "vectors.npy", tmp_path / "scratch")


def positions(matrix):
    return set(zip(*matrix.nonzero(), strict=True))


# ---- splits


@pytest.mark.parametrize("how", ["column", "random", "time"])
def test_nothing_that_is_held_out_is_trained_on(how):
    log, items, _ = blocks()
    twice = pd.concat([log, log.assign(split="test", timestamp=10**9 + 1)])  # everything once more, later
    split = splits.split_log("industrial", twice, items, how)
    parts = [positions(part) for part in (split.train, split.valid, split.test)]
    assert [a & b for a, b in ((parts[0], parts[1]), (parts[0], parts[2]), (parts[1], parts[2]))] == [
        set()
    ] * 3
    assert set.union(*parts) == positions(sparse.csr_matrix((np.ones(len(log)), (log.user_id, log.item_id))))


def test_a_random_split_holds_out_items_of_each_user_whatever_the_order_of_the_log():
    log, items, _ = blocks()
    split = splits.split_log("books", log, items, "random")
    assert set(np.diff(split.valid.indptr)) == set(np.diff(split.test.indptr)) == {1}
    mixed = splits.split_log("books", log.sample(frac=1, random_state=3), items, "random")
    assert mixed.fingerprint == split.fingerprint


def test_a_split_by_time_has_the_same_dates_for_all_and_keeps_new_users_and_items():
    log, items, _ = blocks()
    day = 86_400
    log = pd.DataFrame(
        {"user_id": [0, 0, 1, 1, 2, 2, 3, 3, 0, 9], "item_id": [0, 1, 0, 2, 1, 3, 4, 5, 2, 59]}
    )
    log["timestamp"] = np.arange(10) * day
    split = splits.split_log("games-time", log, items, "time")
    assert split.dates == ("1970-01-09", "1970-01-10")
    assert positions(split.valid) == {(0, 2)}
    assert positions(split.test) == {(4, 59)}  # neither the user nor the item was there before
    assert positions(split.known()) == positions(split.train) | {(0, 2)}
    assert set(split.known().data) == {1.0}


def test_a_fingerprint_is_that_of_the_split():
    log, items, _ = blocks()
    first = splits.split_log("industrial", log, items, "column")
    moved = log.assign(split=np.where(log.index == 0, "train", log["split"]))
    assert splits.split_log("industrial", moved, items, "column").fingerprint != first.fingerprint
    assert len(first.fingerprint) == 16
    assert first.known() is first.train


def test_data_that_cannot_be_split_are_a_sentence(tmp_path, monkeypatch):
    log, items, _ = blocks()
    with pytest.raises(SystemExit, match="item '60', which is not in its catalog"):
        splits.split_log("toys", log.replace({"item_id": {log.item_id[0]: 60}}), items, "column")
    with pytest.raises(SystemExit, match="has the value 'dev'"):
        splits.split_log("toys", log.assign(split="dev"), items, "column")
    monkeypatch.setenv("L3AE_REFERENCE", str(tmp_path))
    with pytest.raises(SystemExit, match=r"toys cannot be measured: no interactions.parquet and no items"):
        splits.load("toys")


# ---- metrics


def test_lists_with_what_a_user_has_or_with_an_item_twice_are_refused():
    seen = sparse.csr_matrix(np.eye(2, 30))
    good = np.tile(np.arange(2, 22), (2, 1))
    assert measure.checked(good, seen) is good
    for wrong, words in ((1, "has"), (3, "twice")):
        lists = good.copy()
        lists[1, 0] = wrong
        with pytest.raises(ValueError, match=words):
            measure.checked(lists, seen)
    with pytest.raises(ValueError, match="are not 20 of 30 items"):
        measure.checked(good + 9, seen)


def test_figures_are_those_of_the_definition():
    # one hit at the second rank of two held-out items, none for the other user, who has one
    lists = np.tile(np.arange(20), (2, 1))
    truth = sparse.csr_matrix((np.ones(3), ([0, 0, 1], [1, 25, 24])), shape=(2, 30))
    popularity = np.arange(30)[::-1]
    found = measure.figures(lists, truth, popularity)
    ideal = 1 + 1 / np.log2(3)
    assert found["recall@20"] == pytest.approx(0.25)
    assert found["ndcg@20"] == pytest.approx((1 / np.log2(3)) / ideal / 2)
    assert found["tail recall@20"] == 0.0  # item 1 is one of the six most popular
    assert found["coverage@20"] == pytest.approx(20 / 30)
    of_tail = measure.of_users(lists, truth, popularity, measure.TAIL)
    assert of_tail.tolist() == [0.0, 0.0]


def test_users_without_a_history_get_what_is_popular():
    seen = sparse.csr_matrix((np.ones(3), ([0, 0, 2], [4, 5, 4])), shape=(3, 30))
    lists = np.full((3, 20), -1)
    found = measure.popular_for_strangers(lists, seen, np.asarray(seen.sum(axis=0)).ravel())
    assert found[1, :2].tolist() == [4, 5]
    assert (found[[0, 2]] == -1).all()


def test_intervals_hold_for_all_pairs_at_once():
    rng = np.random.default_rng(0)
    second = rng.random(400)
    pair = measure.Pair("a", "b", measure.NDCG, second + rng.normal(0.05, 0.2, 400), second)
    (alone,) = measure.compare([pair], repeats=500)
    among = measure.compare([pair, *[replace(pair, first=second + rng.normal(0, 0.2, 400))] * 9], repeats=500)
    assert alone["low"] > 0
    assert among[0]["low"] < alone["low"]
    assert among[0]["p_value"] == pytest.approx(10 * alone["p_value"])
    assert measure.holm([0.01, 0.04, 0.03, 0.5]) == [0.04, 0.09, 0.09, 0.5]


# ---- methods


def share_of_own_block(model, users=USERS):
    """The share of the first five items of each list that are of the user's block."""
    lists = model.top_lists(np.arange(users))[:, :5]
    return float(np.mean(lists % BLOCKS == np.arange(users)[:, None] % BLOCKS))


def test_popularity_is_the_same_for_everybody_but_for_what_they_have(data):
    lists = Popularity().fit(data, {}, None).top_lists(np.arange(USERS))
    popularity = np.asarray(data.train.sum(axis=0)).ravel()
    for user in (0, 7):
        left = popularity.copy()
        left[data.train[user].indices] = -1
        assert lists[user].tolist() == np.argsort(-left, kind="stable")[:20].tolist()


def test_nearest_neighbours_are_those_of_the_cosine(data):
    pytest.importorskip("implicit")
    method = Neighbours("Cosine kNN", bm25=False)
    lists = method.fit(data, {"K": ITEMS}, None).top_lists(np.arange(USERS))
    x = data.train.toarray().astype(np.float64)
    similarity = (x.T @ x) / np.outer(np.linalg.norm(x, axis=0), np.linalg.norm(x, axis=0))
    expected = top_k((x @ similarity).round(6), 20, seen=data.train)[1]
    found = np.take_along_axis((x @ similarity).round(6), lists, axis=1)
    assert np.allclose(found, expected)  # the same scores, whichever of equal ones


@pytest.mark.filterwarnings("ignore:Method expects CSR input")  # what implicit passes to itself
def test_neighbours_by_bm25_are_those_that_implicit_recommends(data):
    pytest.importorskip("implicit")
    from implicit.nearest_neighbours import BM25Recommender

    setting = {"K": 30, "K1": 1.2, "B": 0.75}
    lists = Neighbours("BM25 kNN", bm25=True).fit(data, setting, None).top_lists(np.arange(USERS))
    model = BM25Recommender(**setting)
    model.fit(data.train.astype(np.float64), show_progress=False)
    _, wanted = model.recommend(np.arange(USERS), data.train.astype(np.float64), N=5)
    scores = (data.train @ model.similarity).toarray()
    assert np.allclose(np.take_along_axis(scores, lists[:, :5], axis=1), wanted)


def test_als_finds_the_blocks(data):
    pytest.importorskip("implicit")
    setting = {"factors": 8, "regularization": 0.01, "alpha": 10.0, "iterations": 10}
    assert share_of_own_block(ALS().fit(data, setting, None)) > 0.95


def test_sansa_with_all_weights_is_near_ease(data):
    pytest.importorskip("sksparse")
    pytest.importorskip("sansa")
    lists = Sansa().fit(data, {"l2": 20.0, "density": 1.0}, None).top_lists(np.arange(USERS))
    x = data.train.toarray().astype(np.float64)
    exact = top_k(x @ ease_dense(x, 20.0), 20, seen=data.train)[0]
    same = [len({*a[:5]} & {*b[:5]}) for a, b in zip(lists, exact, strict=True)]
    assert np.mean(same) > 4


def test_the_graph_is_normalised_on_both_sides(data):
    from accuracy.graph_models import propagation

    graph = propagation(data.train).to_dense().numpy()
    x = data.train.toarray()
    whole = np.block([[np.zeros((USERS, USERS)), x], [x.T, np.zeros((ITEMS, ITEMS))]])
    scale = 1 / np.sqrt(np.maximum(whole.sum(0), 1))
    assert np.allclose(graph, scale[:, None] * whole * scale, atol=1e-6)


def test_batches_hold_every_interaction_once(data):
    from accuracy.graph_models import batches

    found = list(batches(data.train, 100, 3, np.random.default_rng(0)))
    pairs = [pair for users, liked, _ in found for pair in zip(users.tolist(), liked.tolist(), strict=True)]
    assert sorted(pairs) == sorted((int(u), int(i)) for u, i in positions(data.train))
    assert {tuple(others.shape) for _, _, others in found} == {(100, 3), (data.train.nnz % 100, 3)}


@pytest.mark.parametrize(
    ("method", "setting"),
    [
        (LightGCN(), {"layers": 2, "rate": 0.02, "penalty": 1e-4, "batch": 256}),
        (AlphaRec(), {"layers": 2, "rate": 0.01, "tau": 0.15, "hidden": 16, "negatives": 16, "batch": 256}),
    ],
    ids=["LightGCN", "AlphaRec"],
)
def test_neural_peers_learn_blocks_better_than_popularity_and_repeat_their_best_epoch(data, method, setting):
    model = method.fit(data, {**setting, "epochs": 25}, None)
    assert share_of_own_block(model) > 0.9 > 2 * share_of_own_block(Popularity().fit(data, {}, None))
    # stopped at once by the clock, they know after which epoch
    stopped = method.fit(data, setting, 0.0)
    again = method.fit(data, {**setting, **stopped.notes}, None)
    assert stopped.notes["epochs"] == 1
    assert np.array_equal(again.top_lists(np.arange(9)), stopped.top_lists(np.arange(9)))


def test_every_parameter_of_every_member_has_values_to_try():
    for key, member in MEMBERS.items():
        missing = [name for name in member.params if not {f"{key} {name}", name} & set(linear.AXES)]
        assert missing == [], f"give {key} an axis for them in accuracy/linear.py"
    names = [method.name for method in linear.linear_methods()]
    assert names[:2] == [linear.PUBLISHED, linear.WHITENED]
    assert len(set(names)) == len(names) >= len(MEMBERS) + 1
    assert {member.title for key, member in MEMBERS.items() if key != "l3ae"} <= set(names)


class Least:
    """Draws the lowest value, or the first word."""

    def suggest_float(self, name, low, high, *, log=False):
        return low

    suggest_int = suggest_float

    def suggest_categorical(self, name, choices):
        return choices[0]


def test_the_first_trial_of_l3ae_is_the_published_model_and_draws_have_a_bound_only_with_at_most():
    method = linear.Linear("l3ae", linear.HEADS, ("whiten", *linear.HEAD_OPTIONS))
    plain = linear.Linear("l3ae", linear.PUBLISHED)
    assert {name: method.published[name] for name in plain.published} == plain.published
    assert method.published["whiten"] == method.published["p"] == method.published["beta"] == 0.0
    assert "xi" not in method.published
    assert method.shared == ("reg_x", "p", "beta")
    assert "xi" not in method.suggest(Least())

    class Bounded(Least):
        def suggest_categorical(self, name, choices):
            return "at_most"

    assert method.suggest(Bounded())["xi"] == 0


def test_our_lists_are_those_of_the_closed_form(data):
    x = data.train.toarray().astype(np.float64)
    x[5] = 0  # a user without a history gets none
    data = replace(data, train=sparse.csr_matrix(x, dtype=np.float32))
    lists = linear.Linear("ease").fit(data, {"reg_x": 20.0}, None).top_lists(np.array([7, 5, 0]))
    exact = top_k(x @ ease_dense(x, 20.0), 20, seen=data.train)[0]
    assert lists[[0, 2]].tolist() == exact[[7, 0]].tolist()
    assert (lists[1] == -1).all()


def test_models_of_one_inverse_share_a_workspace_that_the_next_replaces(data):
    method = linear.Linear("l3ae", linear.PUBLISHED)
    assert (method.shared, method.run) == (("reg_x",), 2 * linear.RUN_EACH)
    first = method.fit(data, {"reg_x": 50.0, "reg_f": 5.0, "reg_e": 100.0}, None)
    second = method.fit(data, {"reg_x": 50.0, "reg_f": 5.0, "reg_e": 10.0}, None)
    assert (first.estimator.reg_x, second.estimator.reg_x) == (-50.0, 40.0)  # the ridge is 50
    assert second.estimator.result_["stages"].get("factor") is None
    assert share_of_own_block(first, 20) > 0.9
    whitened = linear.Linear("l3ae", linear.PUBLISHED, ("whiten",))
    setting = {"reg_x": 50.0, "reg_f": 5.0, "reg_e": 10.0, "whiten": 0.5}
    again = whitened.fit(data, setting, None)
    assert again.estimator.transform == {"whiten": 0.5}
    assert again.estimator.result_["stages"].get("factor") is None
    assert not np.array_equal(again.top_lists(np.arange(20)), second.top_lists(np.arange(20)))
    place = second.estimator.model_.workspace.url
    third = method.fit(data, {"reg_x": 60.0, "reg_f": 5.0, "reg_e": 10.0}, None)
    assert [str(path) for path in data.scratch.glob("inverse-*")] == [third.estimator.model_.workspace.url]
    assert third.estimator.model_.workspace.url != place


# ---- tuning


class Guess(Peer):
    """Popularity for half of the settings; the others are refused."""

    name = "Guess"
    published: ClassVar[dict] = {"shared": 1.0, "own": 0.5}
    shared = ("shared",)
    run = 3

    def suggest(self, draw):
        return {"shared": draw.suggest_float("shared", 0.0, 1.0), "own": draw.suggest_float("own", 0.0, 1.0)}

    def fit(self, data, setting, seconds):
        if setting["own"] > 0.7:
            raise ValueError("too large")
        score = np.tile(np.arange(ITEMS) * (setting["own"] - 0.4), (1, 1))
        return ScoredModel(data.train, lambda users: np.tile(score, (len(users), 1)), {"found": 7})


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna")


def tuned(data, path, inverses):
    """Search until so many runs of trials are over: what an endless budget ends with."""
    book = search.Notebook(path)
    search.search(Guess(), data, book, search.Limits(1e9, inverses))
    return book


def test_a_search_begins_with_the_published_setting_and_keeps_what_is_costly_for_a_run(
    data, tmp_path, optuna
):
    book = tuned(data, tmp_path / "trials.jsonl", 4)
    settings = [trial.setting for trial in book.trials]
    assert (settings[0]["shared"], settings[0]["own"]) == (1.0, 0.5)
    assert [len({one["shared"] for one in settings[i : i + 3]}) for i in (0, 3, 6, 9)] == [1] * 4
    assert len({one["shared"] for one in settings}) == 4
    assert len({one["own"] for one in settings}) == 12
    assert {trial.setting.get("found") for trial in book.trials} == {7, None}
    refused = [trial for trial in book.trials if trial.valid is None]
    assert refused
    assert {trial.trouble for trial in refused} == {"ValueError: too large"}
    assert book.best.valid == max(trial.valid for trial in book.trials if trial.valid is not None)


def test_a_search_that_was_cut_goes_on_as_it_would_have(data, tmp_path, optuna):
    whole = tuned(data, tmp_path / "whole.jsonl", 4)
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_text("".join(lines[:5]) + lines[5][:20])  # killed in the middle of a line
    (tmp_path / "cut.jsonl").write_text("".join(lines[:5]))
    cut = tuned(data, tmp_path / "cut.jsonl", 4)
    assert [trial.setting for trial in cut.trials] == [trial.setting for trial in whole.trials]
    assert cut.trials[:5] == whole.trials[:5]
    assert cut.spent >= whole.trials[4].until


def test_a_search_ends_with_its_time_after_one_trial_at_least(data, tmp_path, optuna):
    book = search.Notebook(tmp_path / "trials.jsonl")
    search.search(Guess(), data, book, search.Limits(0.0))
    assert len(book.trials) == 1
    search.search(Guess(), data, book, search.Limits(0.0))  # and begins none when it is over
    assert len(book.trials) == 1


def test_the_first_trial_may_take_longer_and_the_next_ones_what_is_left(data, tmp_path, optuna):
    given = []

    class Timed(Guess):
        def fit(self, data, setting, seconds):
            given.append(seconds)
            return super().fit(data, {**setting, "own": 0.5}, seconds)

    book = search.Notebook(tmp_path / "trials.jsonl")
    search.search(Timed(), data, book, search.Limits(1000.0, 1), end=pytest.fail)
    assert given[0] == 10 * 1000.0
    assert all(seconds < 1000.0 for seconds in given[1:])
    assert given[1:] == sorted(given[1:], reverse=True)


def test_a_method_that_is_always_refused_is_given_up(data, tmp_path, optuna):
    class Never(Guess):
        def fit(self, data, setting, seconds):
            raise ValueError("never")

    book = search.Notebook(tmp_path / "trials.jsonl")
    search.search(Never(), data, book, search.Limits(1e9))
    assert len(book.trials) == 5
    assert book.best is None


# ---- the whole


def test_names_choose_data_sets_and_methods():
    names = {
        data: [method.name for method in some]
        for data, some in registry.chosen("toys/als,ease", slow=False).items()
    }
    assert names["toys"] == ["EASE", "ALS"]
    assert names["books"] == ["EASE"]
    everywhere = registry.chosen(None, slow=False)
    assert "LightGCN" in [method.name for method in everywhere["toys"]]
    assert "LightGCN" not in [method.name for method in everywhere["games"]]
    assert "LightGCN" in [method.name for method in registry.chosen("games/lightgcn", slow=False)["games"]]
    with pytest.raises(SystemExit, match="'toys/nobody', which is no data set"):
        registry.chosen("toys/nobody", slow=False)


def test_what_is_not_run_has_the_time_that_it_would_take():
    log, items, _ = blocks()
    small = splits.split_log("toys", log, items, "column")
    large = splits.split_log(
        "games", pd.concat([log, log.assign(item_id=(log.item_id + 1) % ITEMS)]), items, "column"
    )
    ratio = large.train.nnz / small.train.nnz
    measured = tables.Measured(small, outcomes={"LightGCN": {"fit_seconds": 7200.0}})
    text = tables.extrapolated(LightGCN(), large, {"toys": measured})
    assert text == f"not run: one fit would take about {2 * ratio**2:.1f} h, extrapolated from toys"
    assert "small data sets alone" in tables.extrapolated(LightGCN(), large, {})


def figure(method, valid, ndcg, rng, lead=0.0):
    """What is measured of a method: its validation figure, and test figures of 300 users about a mean."""
    noise = np.random.default_rng(1).normal(0, 0.1, 300)
    of_users = ndcg + noise + rng.normal(lead, 0.02, 300)
    values = {measure.NDCG: of_users, measure.TAIL: 2 * of_users}
    outcome = {
        "valid": valid,
        "fit_seconds": 1.0 if method.ours else 20.0,
        "key": {"seconds": 60},
        "cut": None,
    }
    means = {name: float(one.mean()) for name, one in values.items()}
    return method, outcome, values, {**means, "recall@20": 0.1, "coverage@20": 0.5}


def a_set(name, *, family, published=0.3, als=0.28, light=0.2):
    """A data set on which methods have such test figures."""
    log, items, _ = blocks()
    found = tables.Measured(splits.split_log(name, log, items, "column"))
    rng = np.random.default_rng(2)
    for method, valid, ndcg in (
        (linear.Linear("l3ae", linear.PUBLISHED), 0.5, published),
        (linear.Linear("l3ae", linear.WHITENED, ("whiten",)), 0.6, family),
        (linear.Linear("ease"), 0.4, 0.9),  # best on the test, which picks nothing of ours
        (ALS(), 0.9, als),
        (LightGCN(), 0.1, light),
    ):
        one, outcome, values, means = figure(method, valid, ndcg, rng)
        found.methods[one.name], found.outcomes[one.name] = one, outcome
        found.values[one.name], found.test[one.name] = values, means
    return found


def test_targets_count_data_sets_where_the_pick_on_validation_gains_and_leads():
    sets = {
        "industrial": a_set("industrial", family=0.33),
        "toys": a_set("toys", family=0.33, light=0.4),  # a peer is ahead
        "games": a_set("games", family=0.303),  # 1 % is not enough
        "books": a_set("books", family=0.32),
        "games-time": a_set("games-time", family=0.9),  # beside them
    }
    rows, documents = [], {}
    for name, found in sets.items():
        comparisons = tables.all_compared(found)
        documents[name] = found.document(comparisons)
        rows += tables.rows_of(name, found, comparisons)
    assert documents["toys"]["best_peer"] == "LightGCN"
    assert {one["best_of_ours"] for one in documents.values()} == {linear.WHITENED}
    gains, leads, surely, quick = tables.total_rows(documents, rows)
    assert (gains["ours"], leads["ours"], surely["ours"]) == (3, 3, 3)
    assert (gains["met"], leads["met"]) == (True, True)
    assert (quick["ours"], quick["met"]) == (0.05, True)
    of = {line["name"].partition(":")[0]: [] for line in rows}
    for line in rows:
        of[line["name"].partition(":")[0]].append(line["met"])
    assert of["games"] == [False, False, True, True]
    assert of["toys"] == [True, True, False, True]


def test_a_gain_that_may_be_none_is_not_met():
    found = a_set("toys", family=0.33)
    rng = np.random.default_rng(3)
    found.values[linear.WHITENED][measure.NDCG] = found.values[linear.PUBLISHED][measure.NDCG] + rng.normal(
        0.01, 0.5, 300
    )
    found.test[linear.WHITENED][measure.NDCG] = 0.4
    gain = tables.difference(tables.all_compared(found), linear.WHITENED, linear.PUBLISHED, measure.NDCG)
    assert gain["low"] < 0
    line = tables.gain_row("toys", gain, found, 1.02)
    assert line["ratio"] > 1.02
    assert line["met"] is False


def test_a_tuning_that_was_killed_goes_on_with_what_it_finished(tmp_path, monkeypatch):
    from accuracy import jobs

    def run_process(part, task):
        if part == "tune":
            task.trials.write_text(json.dumps(trial) + "\n")
            raise jobs.JobFailed("the process of tune ended with code -9: without a word")
        np.savez(task.lists, users=np.arange(3), lists=np.zeros((3, 20), int))
        jobs.write(task.place / "fit.json", {"fit_seconds": 1.0, "list_seconds": 1.0})
        return 5

    trial = {"number": 0, "setting": {"own": 1}, "valid": 0.25, "seconds": 2.0, "until": 2.0, "trouble": None}
    monkeypatch.setattr(jobs, "run_process", run_process)
    task = Task("toys", "Guess", 60.0, None, str(tmp_path))
    found = jobs.measured(task, Guess(), "a")
    assert (found["tried"], found["valid"], found["peak_bytes"]) == (1, 0.25, 5)
    assert "code -9" in found["cut"]
    trial["valid"] = None
    with pytest.raises(jobs.JobFailed, match="code -9"):
        jobs.measured(replace(task, seconds=30.0), Guess(), "a")


def test_methods_that_read_texts_are_left_out_where_these_cannot_be_embedded(
    reference, tmp_path, monkeypatch, capsys
):
    from accuracy import jobs, run

    def fails(part, task):
        raise jobs.JobFailed(f"the process of {part} ended with code 1: no encoder")

    monkeypatch.setenv("L3AE_REFERENCE", str(reference))
    monkeypatch.setattr(run, "run_process", fails)
    monkeypatch.setattr(splits, "load", lambda name: replace(loaded, vectors=None))
    loaded = splits.split_log("industrial", *blocks()[:2], "column")
    options = run.Options({"industrial": 1.0}, tmp_path)
    found = run.on_data("industrial", [linear.Linear("l3ae", linear.PUBLISHED)], options)
    assert found.not_run == {linear.PUBLISHED: "the text could not be embedded"}
    assert "no encoder; methods that read them are left out" in capsys.readouterr().out


@pytest.mark.timeout(900)  # four processes that import everything, however busy the machine is
def test_the_whole_benchmark_on_tiny_data_and_what_is_finished_is_not_run_again(
    reference, tmp_path, monkeypatch, capsys, optuna
):
    monkeypatch.setenv("L3AE_REFERENCE", str(reference))
    monkeypatch.setenv("L3AE_BENCHMARK_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(ALS, "needs", ("no_such_package",))
    given = ["--budget", "0.005", "--folder", str(tmp_path / "work"), "--only"]
    main([*given, "industrial/popularity,industrial/als,industrial/ease"])
    said = capsys.readouterr().out
    assert "ALS is not run: no_such_package is not installed (pip install no_such_package)" in said
    place = tmp_path / "work" / "industrial" / "ease"
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    assert {"trials.jsonl", "lists.npz", "outcome.json"} <= set(before)
    assert not (place / "scratch").exists()

    # the next call goes on with what is there, and takes the others with it
    main([*given, "industrial/ease"])
    said = capsys.readouterr().out
    assert "EASE: done before" in said
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    document = json.loads((tmp_path / "results" / "accuracy.json").read_text())
    found = document["data"]["industrial"]
    assert found["split"]["fingerprint"] == splits_of(reference, monkeypatch).fingerprint
    assert set(found["methods"]) == {"EASE", "Popularity"}
    assert found["best_peer"] == "Popularity"
    assert found["methods"]["Popularity"]["tried"] == 1
    for one in found["methods"].values():
        assert one["peak_bytes"] > 2**20
        assert one["fit_seconds"] > 0
        assert one["minutes"] == pytest.approx(0.005)
    ndcg = {name: one["test"]["ndcg@20"] for name, one in found["methods"].items()}
    assert ndcg["EASE"] > ndcg["Popularity"]
    lead = next(line for line in document["rows"] if "against the best peer, Popularity" in line["name"])
    assert lead["met"]
    assert document["rows"][0]["target"] == 3
    assert {"numpy", "l3ae_dist"} <= set(document["versions"])

    from report import table

    page = table("accuracy-industrial")
    assert "| **EASE** (our pick) |" in page
    assert "Popularity (best peer)" in page
    assert "0.005 minutes of tuning for each." in page
    assert f"`{found['split']['fingerprint']}`" in table("accuracy-splits")
    assert table("accuracy-toys") is None


def splits_of(reference, monkeypatch):
    monkeypatch.setenv("L3AE_REFERENCE", str(reference))
    return splits.load("industrial")


def test_trials_of_another_budget_are_not_taken(tmp_path):
    from accuracy.jobs import begin, key_of

    task = Task("toys", "Guess", 60.0, None, str(tmp_path))
    begin(task, key_of(task, Guess(), "a"))
    search.Notebook(task.trials).add(search.Trial(0, {}, 0.5, 1.0, 1.0))
    begin(task, key_of(task, Guess(), "a"))
    assert task.trials.exists()
    longer = replace(task, seconds=90.0)
    begin(longer, key_of(longer, Guess(), "a"))
    assert not task.trials.exists()


def test_a_search_in_which_nothing_succeeded_begins_again(tmp_path):
    from accuracy.jobs import begin, key_of

    task = Task("toys", "Guess", 60.0, None, str(tmp_path))
    begin(task, key_of(task, Guess(), "a"))
    search.Notebook(task.trials).add(search.Trial(0, {}, None, 1.0, 1.0, "ImportError: gone"))
    begin(task, key_of(task, Guess(), "a"))
    assert not task.trials.exists()


def test_a_failure_names_no_folder_of_the_machine():
    from accuracy.jobs import JobFailed

    told = "cannot import name 'x' from 'a.b' (/data/me/a/b.py); see https://host/a/b and 3/4"
    assert str(JobFailed(told)) == ("cannot import name 'x' from 'a.b' (b.py); see https://host/a/b and 3/4")


def test_codes_of_the_parts_are_those_of_the_package():
    assert (splits.PARTS["train"], splits.PARTS["val"], splits.PARTS["test"]) == (TRAIN, VALID, TEST)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("0", "'0' must be more than 0 minutes"),
        ("toys=nan", "'nan' must be more than 0 minutes"),
        ("toys=1,games", "'games' must be more than 0 minutes"),
        ("shops=2", "'shops' is no data set (industrial, toys"),
    ],
)
def test_a_budget_is_a_positive_number_for_data_sets_that_are_known(given, said, capsys):
    with pytest.raises(SystemExit):
        main(["--budget", given, "--list"])
    assert said in " ".join(capsys.readouterr().err.split())


def test_each_data_set_may_have_minutes_of_its_own(capsys):
    given = {"industrial": 1.5, "toys": 2.0}
    options = Options(budgets("industrial=1.5,toys=2"), Path("w"))
    found = {data: options.task(data, Guess()).seconds / 60 for data in splits.SOURCES}
    assert found == {data: given.get(data, source.minutes) for data, source in splits.SOURCES.items()}
    assert set(budgets("3").values()) == {3.0}


def test_the_list_says_how_long_it_takes_and_runs_nothing(reference, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("L3AE_REFERENCE", str(reference))
    main(["--list", "--only", "industrial,toys/ease", "--budget", "6", "--folder", str(tmp_path / "w")])
    said = capsys.readouterr().out
    assert "industrial: " in said
    assert "toys: 6 minutes of tuning, 6 for each of 1 methods" in said
    assert "left out: no interactions.parquet" in said
    assert "hours of tuning in all" in said
    assert not (tmp_path / "w").exists()


def test_many_heads_are_timed_apart_from_scoring_and_kept(reference, monkeypatch, tmp_path):
    monkeypatch.setenv("L3AE_REFERENCE", str(reference))
    split = splits.load("industrial")
    some = {
        "ridge": [5, 20],
        "reg_e": [10],
        "whiten": [0, 1],
        "diagonal": ["zero", "at_most"],
        "xi": [0.1, 0.2],
    }
    monkeypatch.setattr(heads, "AXES", some)
    found = heads.measured(split, split.vectors, some)
    assert (found["heads"], found["inverses"]) == (2 * 2 * 3, 2)
    assert 0 < found["factor_seconds"] < found["seconds"]
    assert 0 < found["scoring_seconds"] < found["seconds"]
    line = heads.heads_row(found, "industrial")
    assert line["name"].startswith("industrial: 12 heads on 2 inverses, time apart from scoring")
    assert line["ours"] == pytest.approx(found["seconds"] - found["scoring_seconds"])
    (tmp_path / "heads.json").write_text(json.dumps(found))
    heads.measure(tmp_path, split, split.vectors)  # not again
    assert heads.kept(tmp_path) == found


def test_the_thousand_heads_are_at_least_a_thousand_on_five_inverses():
    models = SweepConfig.model_validate(heads.AXES).models()
    assert len(models) == 1000
    assert len({one.inverse for one in models}) == 5


def test_what_a_core_loses_is_compared_with_the_whole(reference, tmp_path, monkeypatch):
    from accuracy import core_tail

    monkeypatch.setenv("L3AE_REFERENCE", str(reference))
    monkeypatch.setenv("L3AE_BENCHMARK_RESULTS", str(tmp_path / "results"))
    split = splits.load("industrial")
    popularity = np.asarray(split.train.sum(axis=0)).ravel()
    k = int(np.median(popularity)) + 1
    given = ["--data", "industrial", "--ks", f"1,{k}", "--folder", str(tmp_path / "work"), "--memory", "1GiB"]
    core_tail.main([*given, "--dtype", "float64"])
    document = json.loads((tmp_path / "results" / "core.json").read_text())
    figures = {line["name"]: line for line in document["rows"]}
    whole = figures["industrial, k = 1: ndcg@20 of all"]
    assert whole["ours"] == pytest.approx(whole["peer"], abs=1e-9)  # every item is bought: nothing is lost
    assert f"industrial, k = {k}: recall@20 of outside the core" in figures
    items = int((popularity >= k).sum())
    assert any(name.endswith(f"k = {k}: inverse of {items} of {ITEMS} items") for name in figures)
    lost = next(one for one in document["comparisons"]
                if (one["ours"], one["group"], one["metric"]) == (f"k = {k}", "all", "ndcg@20"))  # fmt: skip
    own = figures[f"industrial, k = {k}: ndcg@20 of all"]
    assert lost["difference"] == pytest.approx(own["ours"] - own["peer"])
    with pytest.raises(SystemExit):
        core_tail.main(["--ks", "0"])
