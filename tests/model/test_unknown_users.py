"""Users without a history: refused, left out, or given popular items; users alike; scores of pairs."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from typer.testing import CliRunner

import l3ae_dist
from l3ae_dist import EASE, L3AE
from l3ae_dist.cli import app as cli
from l3ae_dist.config.load import make_config
from l3ae_dist.errors import BudgetError, ConfigError, DataError, UnknownIdError
from l3ae_dist.model.fitted import load_model

N, USERS = 60, 80
COMPUTE = {"cluster": "synchronous", "dtype": "float64", "tile_size": 16, "memory_budget": "1GiB"}


def interactions(seed=0):
    rng = np.random.default_rng(seed)
    rows = [(u, int(i)) for u in range(USERS) for i in rng.choice(N, rng.integers(2, 12), replace=False)]
    return pd.DataFrame(rows, columns=["user_id", "item_id"])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    log = interactions()
    model = EASE(reg_x=10.0, compute=COMPUTE)
    titles = ["=1+1", "Banana NaN", *(f"thing {item}" for item in range(2, N))]
    items = pd.DataFrame({"item_id": range(N), "title": titles})
    return model.fit(log, items, workspace=tmp_path_factory.mktemp("w")), log


def popular(log, allowed=range(N)):
    counts = log.item_id.value_counts().reindex(range(N), fill_value=0)
    return [item for item in np.argsort(-counts.to_numpy(), kind="stable").tolist() if item in set(allowed)]


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_unknown_users_are_refused_skipped_or_given_popular_items(fitted, batch_size):
    model, log = fitted
    users = [500, 3, 501, 7, 502]
    with pytest.raises(UnknownIdError, match="500"):
        model.recommend(users, 5)
    known = model.recommend([3, 7], 5)
    skipped = model.recommend(users, 5, on_unknown="skip", batch_size=batch_size)
    pd.testing.assert_frame_equal(skipped, known)
    filled = model.recommend(users, 5, on_unknown="popular", batch_size=batch_size)
    assert filled.user_id.drop_duplicates().tolist() == users
    assert filled.user_id.dtype == np.int64
    pd.testing.assert_frame_equal(filled[filled.user_id.isin([3, 7])].reset_index(drop=True), known)
    for user in (500, 501, 502):
        rows = filled[filled.user_id == user]
        assert rows.item_id.tolist() == popular(log)[:5]
        assert rows["rank"].tolist() == [1, 2, 3, 4, 5]
        assert rows.score.isna().all()


def test_popular_items_obey_the_lists_of_a_call(fitted):
    model, log = fitted
    best = popular(log)
    call = {"on_unknown": "popular", "n": 4}
    assert model.recommend([900], filter_items=best[:3], **call).item_id.tolist() == best[3:7]
    assert model.recommend([900], items=best[10:12], **call).item_id.tolist() == best[10:12]
    each = {900: best[:2], 901: best[5:9]}
    found = model.recommend([900, 901, 3], filter_items=each, **call)
    assert found[found.user_id == 900].item_id.tolist() == best[2:6]
    assert found[found.user_id == 901].item_id.tolist() == best[:4]
    only = model.recommend([900, 901], items=each, **call)
    assert only[only.user_id == 901].item_id.tolist() == best[5:9]
    mixed = model.recommend([3, "nobody"], filter_items={3: best[:9], "nobody": best[:2]}, **call)
    assert not set(mixed[mixed.user_id == 3].item_id) & set(best[:9])
    assert mixed[mixed.user_id == "nobody"].item_id.tolist() == best[2:6]
    alone = model.recommend([3, "nobody"], filter_items={3: best[:9]}, **call)
    assert not set(alone[alone.user_id == 3].item_id) & set(best[:9])
    reasons = model.recommend([900, 3], return_reasons=2, **call)
    assert all(one == [] for one in reasons[reasons.user_id == 900].reasons)
    assert all(len(one) == 2 for one in reasons[reasons.user_id == 3].reasons)


def test_users_without_a_history_and_empty_ones_are_strangers_too(fitted):
    model, log = fitted
    found = model.recommend([[], [3, 4]], 3, on_unknown="popular")
    assert found.user_id.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.item_id.tolist()[:3] == popular(log)[:3]
    assert not len(model.recommend([], 3, on_unknown="popular"))
    words = model.recommend(["nobody", 3], 2, on_unknown="popular")
    assert words.user_id.tolist() == ["nobody", "nobody", 3, 3]
    with pytest.raises(ConfigError, match="must be raise, skip or popular"):
        model.recommend([1], 3, on_unknown="guess")


def test_the_command_takes_unknown_users(fitted, tmp_path):
    model, log = fitted
    where = model.model_.workspace.url
    call = ["recommend", where, "900", "3", "-n", "3", "--json"]
    assert CliRunner().invoke(cli.app, call).exit_code != 0
    done = CliRunner().invoke(cli.app, [*call, "--on-unknown", "popular"])
    assert done.exit_code == 0, done.output
    out = tmp_path / "lists.parquet"
    done = CliRunner().invoke(cli.app, [*call, "--on-unknown", "popular", "--output", str(out)])
    assert done.exit_code == 0, done.output
    table = pd.read_parquet(out)
    assert table[table.user_id == 900].item_id.tolist() == popular(log)[:3]


def test_users_alike_have_the_largest_cosines(fitted):
    model, log = fitted
    x = sparse.csr_matrix((np.ones(len(log)), (log.user_id, log.item_id)), shape=(USERS, N)).toarray()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, 0.0)
    found = model.similar_users([7, 3, 7], 4)
    assert found.user_id.tolist() == [7] * 4 + [3] * 4 + [7] * 4
    for user, rows in found.groupby("user_id"):
        best = np.argsort(-cosines[user], kind="stable")[:4]
        assert rows.similar_user_id.tolist()[:4] == best.tolist()
        np.testing.assert_allclose(rows.score.to_numpy()[:4], cosines[user][best], rtol=1e-12)
    everyone = model.similar_users([0], USERS + 5)
    assert 0 not in set(everyone.similar_user_id)
    assert len(everyone) == (cosines[0] > 0).sum()
    with pytest.raises(UnknownIdError):
        model.similar_users([999])
    with pytest.raises(ConfigError):
        model.similar_users([1], 0)
    assert not len(model.similar_users([]))


def test_predict_is_the_score_of_each_pair(fitted):
    model, log = fitted
    rng = np.random.default_rng(2)
    pairs = pd.DataFrame({"user_id": rng.integers(0, USERS, 50), "item_id": rng.integers(0, N, 50)})
    pairs = pd.concat([pairs, pairs.head(3)], ignore_index=True)
    x = sparse.csr_matrix((np.ones(len(log)), (log.user_id, log.item_id)), shape=(USERS, N))
    scores = x @ model.weights(list(range(N)))
    np.testing.assert_allclose(
        model.predict(pairs), scores[pairs.user_id, pairs.item_id], rtol=1e-9, atol=1e-13
    )
    assert model.predict(pairs.head(0)).shape == (0,)
    with pytest.raises(UnknownIdError):
        model.predict(pd.DataFrame({"user_id": [1], "item_id": [N]}))
    with pytest.raises(DataError, match="item_id"):
        model.predict(pd.DataFrame({"user_id": [1]}))


def test_score_is_the_ndcg_of_lists(fitted):
    model, _ = fitted
    new = interactions(5)
    lists = model.recommend(sorted(set(new.user_id)), 20)
    expected = l3ae_dist.evaluate_lists(lists, new, ks=(20,))["ndcg@20"]
    assert model.score(new) == pytest.approx(expected, rel=1e-12)
    some = new[new.user_id < 10]
    with_unknown = pd.concat([some, pd.DataFrame({"user_id": [900] * 2, "item_id": [1, 2]})])
    assert model.score(with_unknown) == pytest.approx(model.score(some) * 10 / 11, rel=1e-9)
    with pytest.raises(DataError, match="no rows"):
        model.score(new.head(0))


def test_grid_search_and_pipelines_of_scikit_learn(fitted, tmp_path):
    _, log = fitted
    search = GridSearchCV(EASE(compute=COMPUTE), {"reg_x": [5.0, 50.0]}, cv=2)
    search.fit(log.sample(frac=1.0, random_state=0), workspace=tmp_path / "w")
    assert search.best_params_["reg_x"] in (5.0, 50.0)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.n_users_ == USERS
    line = Pipeline([("model", EASE(reg_x=10.0, compute=COMPUTE))])
    line.fit(log, model__workspace=tmp_path / "p")
    assert line.predict(log.head(4)).shape == (4,)
    assert clone(line["model"]).get_params()["reg_x"] == 10.0


def test_fitted_attributes_weights_and_card(fitted, tmp_path):
    model, _ = fitted
    assert (model.n_users_, model.n_items_) == (USERS, N)
    assert model.item_ids_.tolist() == list(range(N))
    assert model.user_ids_.tolist() == list(range(USERS))
    b = model.weights(list(range(N)))
    every = model.sparse_weights("all")
    np.testing.assert_allclose(every.toarray(), b, rtol=1e-5, atol=1e-7)
    few = model.sparse_weights(5)
    assert np.diff(few.tocsc().indptr).tolist() == [5] * N
    magnitudes = np.sort(np.abs(b), axis=0)[-5:].sum()
    assert np.abs(few.toarray()).sum() == pytest.approx(magnitudes, rel=1e-5)
    with pytest.raises(BudgetError):
        model.sparse_weights("all", memory_budget=1000)
    assert not hasattr(EASE(), "item_ids_")
    bundle = model._repr_mimebundle_()
    assert "EASE" in bundle["text/html"]
    assert f"{USERS:,} users" in bundle["text/html"]
    assert "text/plain" in EASE()._repr_mimebundle_()
    assert model.__sklearn_tags__().target_tags.required is False
    hostile = EASE(reg_x=1.0, compute=COMPUTE).fit(
        pd.DataFrame({"user_id": [1, 2], "item_id": [1, 1]}), workspace=tmp_path / "<script>x"
    )
    assert "<script>" not in load_model(hostile.model_.workspace.url)._repr_html_()


def test_estimators_and_the_configuration_have_the_same_defaults():
    for name in l3ae_dist.__all__:
        one = getattr(l3ae_dist, name)
        if not (isinstance(one, type) and hasattr(one, "_name")):
            continue
        section = one()._model_section()
        own = make_config({"workspace": "w", "model": {"name": one._name}}).model.spec().params()
        given = make_config({"workspace": "w", "model": {"name": one._name, **section}}).model.spec().params()
        assert own == given, name
    assert L3AE().reg_x == make_config({"workspace": "w"}).model.reg_x


def test_plan_and_simulate_are_calls(tmp_path):
    config = {
        "workspace": str(tmp_path / "w"),
        "model": {"name": "ease"},
        "compute": {"workers": 4, "memory_budget": "8GiB"},
    }
    size = {"items": 100_000, "users": 1_000_000, "interactions": 20_000_000}
    planned = l3ae_dist.plan(config, size=size)
    done = CliRunner().invoke(
        cli.app,
        ["plan", "--items", "1e5", "--users", "1e6", "--interactions", "2e7", "--workers", "4",
         "--worker-memory", "8GiB", "--set", "model.name=ease", "--set", f"workspace={tmp_path / 'w'}", "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    import json

    assert json.loads(done.stdout)["stages"] == json.loads(json.dumps(planned["stages"]))
    simulated = l3ae_dist.simulate(config, size={"items": 30_000, "users": 10_000, "interactions": 10**6})
    assert simulated
    with pytest.raises(ConfigError, match="none of items"):
        l3ae_dist.plan(config, size={**size, "dims": 384})
    with pytest.raises(ConfigError, match="greater than 0"):
        l3ae_dist.plan(config, size=size, network=0)
    with pytest.raises(ConfigError, match="mtbf_hours"):
        l3ae_dist.simulate(config, size=size, mtbf_hours=0)
    with pytest.raises(ConfigError, match="go together"):
        l3ae_dist.plan(config, size={"items": 10})
    with pytest.raises(ConfigError):
        l3ae_dist.plan({**config, "workspace": str(tmp_path / "none")})


@pytest.mark.parametrize("name", ["lists.csv", "lists.jsonl", "lists.parquet", "lists"])
def test_files_of_recommendations_have_the_form_of_their_name(fitted, tmp_path, name):
    model, _ = fitted
    where, out = model.model_.workspace.url, tmp_path / name
    call = [
        "recommend",
        where,
        "900",
        "3",
        "7",
        "-n",
        str(N),
        "--on-unknown",
        "popular",
        "--output",
        str(out),
    ]
    for _ in range(2):  # an earlier file of recommendations is replaced
        done = CliRunner().invoke(cli.app, call)
        assert done.exit_code == 0, done.output
    read = {".csv": pd.read_csv, ".jsonl": lambda path: pd.read_json(path, lines=True)}.get(
        out.suffix, pd.read_parquet
    )
    found, expected = read(out), model.recommend([900, 3, 7], N, on_unknown="popular")
    formula = "'=1+1" if out.suffix == ".csv" else "=1+1"  # a spreadsheet would compute it
    assert found.title.tolist() == [formula if one == "=1+1" else one for one in expected.title]
    assert {"Banana NaN", formula} <= set(found.title)
    assert found.columns.tolist() == ["user_id", "item_id", "title", "rank", "score"]
    assert found.item_id.tolist() == expected.item_id.tolist()
    np.testing.assert_allclose(found.score.astype(float), expected.score, rtol=1e-6)


def test_a_file_of_another_form_and_reasons_in_a_csv_are_refused(fitted, tmp_path):
    model, _ = fitted
    (tmp_path / "notes.csv").write_text("mine\n1\n")
    for name, more in {"notes.csv": (), "a.csv": ("--reasons", "2"), "b": ("--format", "xml")}.items():
        call = ["recommend", model.model_.workspace.url, "3", "--output", str(tmp_path / name), *more]
        done = CliRunner().invoke(cli.app, call)
        assert done.exit_code == 2, done.output
    assert (tmp_path / "notes.csv").read_text() == "mine\n1\n"
    reasons = [
        "recommend",
        model.model_.workspace.url,
        "3",
        "--output",
        str(tmp_path / "r.jsonl"),
        "--reasons",
        "2",
    ]
    assert CliRunner().invoke(cli.app, reasons).exit_code == 0
    assert len(pd.read_json(tmp_path / "r.jsonl", lines=True).reasons[0]) == 2
