"""Core and tail: the core against the dense formula on it alone, the tail against its text's column.

Nothing here uses what the package makes of the arrangement: X and F are cut with NumPy.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone

import l3ae_dist
from l3ae_dist import EASE, append, load_model
from l3ae_dist.config.load import make_config
from l3ae_dist.config.members import ModelSpec
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.linalg.heads import linear_dense
from l3ae_dist.metrics import evaluate_top
from l3ae_dist.operations.garbage import collect_garbage
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.pipeline.evaluate import evaluate_workspace
from l3ae_dist.pipeline.inputs import Inputs
from l3ae_dist.pipeline.named_models import use_model
from l3ae_dist.pipeline.run import run
from l3ae_dist.pipeline.sweep import run_sweep
from l3ae_dist.serving import load_export
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint

N, K, REG_X, REG_F, REG_E = 40, 5, 10.0, 5.0, 10.0
L3AE = {"reg_x": REG_X, "reg_f": REG_F, "reg_e": REG_E}
COMPUTE = {"cluster": "synchronous", "threads": 1, "dtype": "float64", "tile_size": 16}


def _sources() -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Popular, rare and unseen items in no order."""
    rng = np.random.default_rng(5)
    weight = rng.permutation(np.r_[np.full(22, 1.0), np.full(14, 0.08), np.zeros(4)])
    users, items = rng.integers(0, 60, 700), rng.choice(N, 700, p=weight / weight.sum())
    log = pd.DataFrame({"user_id": users, "item_id": items}).drop_duplicates()
    return log, pd.DataFrame({"item_id": range(N)}), rng.standard_normal((N, 8)).astype(np.float32)


LOG, ITEMS, F = _sources()


def _config(where, core=K, split="none", *, model=None, compute=None, **sections):
    data = {"options": {"split": split}, **({} if core is None else {"core": {"min_interactions": core}})}
    return make_config({"workspace": str(where), "model": model or L3AE, "data": data,
                        "evaluate": {"ks": [3, 20], "bootstrap": 0},
                        "compute": {**COMPUTE, **(compute or {})}, **sections})  # fmt: skip


def _fit(where, *, until="fit", embeddings=F, **settings):
    return run(_config(where, **settings), interactions=LOG, items=ITEMS, embeddings=embeddings, until=until)


def _dense(model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X of the training split, positions of the core and of the tail, all in catalog order."""
    rows = model.dataset.user_rows("train", 0, model.dataset.n_users)
    x = rows.toarray().astype(np.float64)
    core = np.flatnonzero(x.sum(axis=0) >= K)
    return x, core, np.setdiff1d(np.arange(N), core)


def _semantic(rows: np.ndarray) -> np.ndarray:
    return cf.semantic_dense(rows.astype(np.float64).T, REG_F)


def _text_columns(x: np.ndarray, core: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """``reg_e Q M f`` of some items, (core, items), by the formulas on the core."""
    f = F[core].astype(np.float64).T
    q = np.linalg.solve(x[:, core].T @ x[:, core] + (REG_X + REG_E) * np.eye(len(core)), f.T)
    return REG_E * q @ np.linalg.solve(f @ f.T + REG_F * np.eye(8), F[wanted].T.astype(np.float64))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    where = tmp_path_factory.mktemp("core") / "ws"
    _fit(where)
    return load_model(where)


MEMBERS = {
    "ease": {"name": "ease", "reg_x": 20},
    "edlae": {"name": "edlae", "reg_x": 20, "p": 0.3},
    "dan": {"name": "dan", "reg_x": 20, "p": 0.3, "alpha": 0.3, "beta": 0.2},
    "rlae": {"name": "rlae", "reg_x": 20, "xi": 0.2},
    "l3ae": L3AE,
    "l3ae of all parameters": {**L3AE, "p": 0.3, "alpha": 0.3, "beta": 0.2},
    "lae with its diagonal": {"name": "lae", "reg_x": 20, "keep_diagonal": True},
    "l3ae with its diagonal": {**L3AE, "diagonal": "none", "p": 0.3, "keep_diagonal": True},
}


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("tile", [16, 64])
def test_the_core_is_that_of_a_dense_fit_of_the_core_alone(tmp_path, member, tile):
    _fit(tmp_path, model=MEMBERS[member], compute={"tile_size": tile})
    model = load_model(tmp_path)
    x, core, tail = _dense(model)
    assert len(core) not in (16, 32, 48)
    assert 3 < len(tail) < N
    spec = ModelSpec.of(model.name, model.params)
    c = _semantic(F[core]) if model.name == "L3AE" else None
    b = model.weights(list(range(N)))
    want = linear_dense(x[:, core], spec.objective, c, keep_diagonal=spec.keep_diagonal)
    np.testing.assert_allclose(b[np.ix_(core, core)], want, atol=1e-12)
    assert np.abs(np.diag(b)[tail]).max() < 1e-12
    if model.name != "L3AE":
        assert not b[tail].any()
        assert not b[:, tail].any()


def test_the_tail_gets_the_column_of_its_text(model):
    x, core, tail = _dense(model)
    b = model.weights(list(range(N)))
    np.testing.assert_allclose(b[np.ix_(core, tail)], _text_columns(x, core, tail), atol=1e-13)


def test_reasons_of_weighted_histories_add_up_to_the_scores(tmp_path):
    log = LOG.assign(stars=np.random.default_rng(6).integers(1, 6, len(LOG)))
    options = {"split": "none", "weight_column": "stars"}
    config = _config(tmp_path, data={"options": options, "core": {"min_interactions": K}})
    run(config, interactions=log, items=ITEMS, embeddings=F, until="fit")
    model = load_model(tmp_path)
    weights = np.arange(1.0, N + 1)
    everything = pd.DataFrame({"user_id": 0, "item_id": range(N), "weight": weights})
    for users, already in ((None, True), (everything, False)):
        table = model.recommend(users, 5, filter_already_liked=already, return_reasons=N)
        sums = [sum(reason["total"] for reason in reasons) for reasons in table.reasons]
        np.testing.assert_allclose(sums, table.score, atol=1e-12)


def test_a_history_of_tail_items_scores_with_their_texts(model):
    _, core, tail = _dense(model)
    b = model.weights(list(range(N)))
    f = F.astype(np.float64)
    m = np.linalg.inv(f[core].T @ f[core] + REG_F * np.eye(8))
    columns = m @ f.T
    held = np.einsum("jd,dj->j", f[core], columns[:, core])
    columns[:, core] /= 1 - held  # C of the core, its own item left out
    share = REG_E / (REG_X + REG_E)
    rows = share * f[tail] @ columns
    rows[np.arange(len(tail)), tail] = 0
    np.testing.assert_allclose(b[tail], rows, atol=1e-13)


def test_an_item_without_interactions_gets_the_column_of_a_fit_with_it(model):
    x, core, tail = _dense(model)
    unseen = tail[x[:, tail].sum(axis=0) == 0]
    assert len(unseen) >= 3
    for item in unseen:
        every = np.append(core, item)
        objective = ModelSpec("L3AE", REG_X, REG_F, REG_E).objective
        whole = linear_dense(x[:, every], objective, _semantic(F[every]))
        np.testing.assert_allclose(model.weights([int(item)])[core, 0], whole[:-1, -1], atol=1e-13)


def test_a_tail_of_one_unseen_item_loses_nothing(tmp_path):
    seen = np.unique(LOG.item_id)
    kept = np.append(seen, np.setdiff1d(np.arange(N), seen)[:1])
    sources = {"interactions": LOG, "items": ITEMS.iloc[kept], "embeddings": F[kept]}
    for name, core in (("core", 1), ("whole", None)):
        run(_config(tmp_path / name, core=core), **sources, until="fit")
    found, whole = (load_model(tmp_path / name) for name in ("core", "whole"))
    assert found.dataset.stats.core.items == len(seen)
    unseen = [int(kept[-1])]
    np.testing.assert_allclose(found.weights(unseen), whole.weights(unseen), atol=1e-13)


def test_calls_know_the_items_in_catalog_order(model):
    assert model.dataset.item_ids().tolist() == list(range(N))
    x, core, tail = _dense(model)
    b = model.weights(list(range(N)))
    scores = x @ b
    users = model.dataset.user_ids()[:12].tolist()
    hidden = np.where(x > 0, -np.inf, scores)[:12]
    known = model.recommend(users, n=15)
    given = model.recommend(sparse.csr_matrix(x[:12]), n=15)
    listed = model.recommend([np.flatnonzero(row).tolist() for row in x[:12]], n=15)
    order = np.argsort(-hidden, axis=1)[:, :15].ravel()
    for table in (known, given, listed):
        assert table.item_id.tolist() == order.tolist()
    assert set(tail) & set(order)  # the tail is recommended, too
    some = [int(core[0]), int(tail[0]), int(tail[1])]
    only = model.recommend(users[:1], items=some, filter_items=some[:1], filter_already_liked=False)
    assert set(only.item_id) == set(some[1:])
    user = int(np.flatnonzero(x[:, tail].any(axis=1))[0])
    for item in some:
        parts = model.explain(model.dataset.user_ids()[user], item)
        assert parts.total.sum() == pytest.approx(scores[user, item], abs=1e-12)
        assert set(parts.item_id) == set(np.flatnonzero(x[user]))
        row = np.delete(b[item], item)
        near = model.similar_items([item], n=5)
        np.testing.assert_allclose(near.score, np.sort(row)[::-1][:5], atol=1e-12)
        np.testing.assert_allclose(near.score, b[item, near.similar_item_id], atol=1e-12)


def test_an_export_and_a_saved_copy_have_all_items_in_catalog_order(model, tmp_path):
    b = model.weights(list(range(N)))
    model.export_weights(tmp_path / "export", k="all", format="both", dtype="float64")
    served = load_export(tmp_path / "export")
    np.testing.assert_allclose(served.weights.toarray(), b, atol=1e-13)
    table = pd.read_parquet(tmp_path / "export" / "weights.parquet")
    np.testing.assert_allclose(table.weight, b[table.history_item_id, table.item_id], atol=1e-13)
    model.save(tmp_path / "copy")
    copy = load_model(tmp_path / "copy")
    np.testing.assert_array_equal(copy.weights(list(range(N))), b)


def test_items_that_are_added_later_follow_core_and_tail(tmp_path):
    _fit(tmp_path)
    model = load_model(tmp_path)
    model.add_items(["new"], ids=[99], embeddings=F[:1] + F[1:2])
    x, core, tail = _dense(model)
    vector = F[:1].astype(np.float64) + F[1:2]
    f = F[core].astype(np.float64)
    m = np.linalg.inv(f.T @ f + REG_F * np.eye(8))
    column = model.weights([99])[:, 0]
    q = np.linalg.solve(x[:, core].T @ x[:, core] + (REG_X + REG_E) * np.eye(len(core)), f)
    np.testing.assert_allclose(column[core], REG_E * q @ m @ vector[0], atol=1e-8)
    share = REG_E / (REG_X + REG_E)
    np.testing.assert_allclose(column[tail], share * F[tail] @ m @ vector[0], atol=1e-8)
    near = model.similar_items([99], n=N)
    expected = share * F[tail] @ m @ vector[0] / (1 + vector[0] @ m @ vector[0])
    found = near.set_index("similar_item_id").score[list(tail)]
    np.testing.assert_allclose(found, expected, atol=1e-8)


def _dense_figures(model, split: str) -> dict:
    rows = model.dataset.user_rows("train", 0, model.dataset.n_users).toarray()
    scores = np.where(rows > 0, -np.inf, rows @ model.weights(list(range(N))))
    top = np.argsort(-scores, axis=1, kind="stable")[:, :20]
    truth = model.dataset.user_rows(split, 0, model.dataset.n_users)
    return evaluate_top(top, truth, model.dataset.popularity(), (3, 20))


def test_the_evaluation_counts_the_tail(tmp_path):
    result = _fit(tmp_path, split="random", until=None)
    model = load_model(tmp_path)
    assert result["dataset"]["core"]["min_interactions"] == K
    expected = _dense_figures(model, "test")
    assert expected["tail"]["recall@20"] > 0
    again = evaluate_workspace(make_config({"workspace": str(tmp_path), "compute": COMPUTE,
                                            "evaluate": {"ks": [3, 20], "bootstrap": 0}}))  # fmt: skip
    for told in (result, again):
        figures = told["models"]["L3AE"]["test"]
        assert figures["ndcg@20"] == pytest.approx(expected["ndcg@20"])
        assert figures["tail"] == pytest.approx(expected["tail"])


def test_a_sweep_ranks_the_tail(tmp_path):
    sections = {"sweep": {"ridge": [20, 50], "reg_f": [1, 5], "reg_e": [5, 10]}}
    result = run_sweep(_config(tmp_path, split="random", **sections), Inputs(LOG, ITEMS, F))
    model = load_model(tmp_path)
    row = next(one for one in result["sweep"]["table"]
               if all(one.get(name) == value for name, value in model.params.items()))  # fmt: skip
    assert row["ndcg@20"] == pytest.approx(_dense_figures(model, "valid")["ndcg@20"])
    assert len(result["sweep"]["table"]) == 2 * 2 * 2 + 2 + 2


@pytest.mark.parametrize("sections", [{"transform": {"whiten": 0.5}}, {"transform": {"normalize": True}}])
def test_transformed_embeddings_are_ordered_before(tmp_path, sections):
    _fit(tmp_path / "core", **sections)
    _fit(tmp_path / "whole", core=None, **sections)
    model, whole = (load_model(tmp_path / name) for name in ("core", "whole"))
    order = model.stored.order
    rows = [one.stored.workspace for one in (model, whole)]
    from l3ae_dist.data.features import open_rows

    found, expected = (
        open_rows(workspace, one.document.arrays["F"]).item_rows(0, N)
        for workspace, one in zip(rows, (model, whole), strict=True)
    )
    np.testing.assert_allclose(found, expected[order], atol=1e-12)


def test_words_serve_as_texts(tmp_path):
    words = ["red", "green", "blue", "car", "boat", "plane"]
    texts = [f"{words[i % 3]} {words[3 + i % 2]}" for i in range(N)]
    items = ITEMS.assign(text=texts)
    config = _config(tmp_path, model={**L3AE, "features": "words"})
    run(config, interactions=LOG, items=items, until="fit")
    model = load_model(tmp_path)
    _, _, tail = _dense(model)
    same = [i for i in range(N) if i in tail and texts[i] == texts[tail[0]]]
    columns = model.weights([int(i) for i in same])
    inside = np.setdiff1d(np.arange(N), same)
    np.testing.assert_allclose(columns[inside], columns[inside][:, :1].repeat(len(same), 1), atol=1e-13)
    assert np.abs(columns).max() > 0


def test_a_later_run_goes_on_with_all_data_and_with_another_core(tmp_path):
    _fit(tmp_path)
    first = load_model(tmp_path)
    run(_config(tmp_path, core=3), until="fit")
    second = load_model(tmp_path)
    assert second.dataset.stats.core.items > first.dataset.stats.core.items
    run(_config(tmp_path, core=None), until="fit")
    assert load_model(tmp_path).dataset.stats.core is None
    assert run(_config(tmp_path), until="fit")["reused"]
    use_model(tmp_path, second.label)
    run(_config(tmp_path, core=None), until="fit")
    assert load_model(tmp_path).dataset.stats.core is None


def test_estimators_have_a_core(tmp_path, model):
    """The same weights as by the configuration; a model that is loaded knows it, and can be cloned and refitted."""
    fitted = l3ae_dist.L3AE(REG_X, REG_F, REG_E, core={"min_interactions": K}, compute=COMPUTE)
    fitted.fit(LOG, ITEMS, embeddings=F, workspace=tmp_path / "w")
    np.testing.assert_allclose(fitted.model_.weights(range(N)), model.weights(range(N)), rtol=0, atol=1e-12)
    loaded = l3ae_dist.L3AE.load(tmp_path / "w")
    assert clone(loaded).core == {"min_interactions": K}
    with pytest.raises(ConfigError, match=r"data\.core.*min_interactions"):
        EASE(core={"min_interactions": 0}, compute=COMPUTE).fit(LOG, workspace=tmp_path / "other")
    with pytest.raises(ConfigError, match=r"data\.core\.min_interactions"):
        EASE(core={}, compute=COMPUTE).fit(LOG, workspace=tmp_path / "other")
    with pytest.raises(ConfigError, match="core is 5 but must be a mapping of settings"):
        EASE(core=5, compute=COMPUTE).fit(LOG, workspace=tmp_path / "other")


def test_what_a_core_cannot_do_is_refused(tmp_path, model):
    with pytest.raises(ConfigError, match="fit again with `l3ae-dist run`"):
        append(model.workspace.url, LOG.head())
    with pytest.raises(ConfigError, match=r"model.name is gfcf; leave data.core out"):
        _config(tmp_path, model={"name": "gfcf"})
    with pytest.raises(ConfigError, match=r"data.core needs the woodbury route"):
        _config(tmp_path, compute={"semantic_route": "direct"})
    with pytest.raises(ConfigError, match="greater than or equal to 1"):
        _config(tmp_path, core=0)
    with pytest.raises(ConfigError, match=r"is 1,000, and no item has more than \d+ training"):
        _fit(tmp_path, core=1000)


def test_a_core_of_all_items_is_a_whole_fit(tmp_path):
    seen = np.unique(LOG.item_id)
    sources = {"interactions": LOG, "items": ITEMS.iloc[seen], "embeddings": F[seen]}
    for name, core in (("core", 1), ("whole", None)):
        run(_config(tmp_path / name, core=core), **sources, until="fit")
    found, whole = (load_model(tmp_path / name).weights(seen.tolist()) for name in ("core", "whole"))
    np.testing.assert_allclose(found, whole, atol=1e-13)


def test_a_saved_copy_is_measured_as_the_original_is(tmp_path):
    result = _fit(tmp_path / "ws", split="random", until=None)
    load_model(tmp_path / "ws").save(tmp_path / "copy")
    again = evaluate_workspace(make_config({"workspace": str(tmp_path / "copy"), "compute": COMPUTE,
                                            "evaluate": {"ks": [3, 20], "bootstrap": 0}}))  # fmt: skip
    for name in ("valid", "test"):
        assert again["models"]["L3AE"][name] == result["models"]["L3AE"][name]
    use_model(tmp_path / "copy", load_model(tmp_path / "copy").label)
    with pytest.raises(ConfigError, match=r"those of a saved model with 5; give data\.interactions"):
        run(_config(tmp_path / "copy", core=3, split="random"), until="fit")


@pytest.mark.parametrize("victim", ["order", "embeddings", "tail of Q"])
def test_what_is_damaged_of_a_core_is_made_again(tmp_path, victim):
    _fit(tmp_path)
    model = load_model(tmp_path)
    expected, document = model.weights(list(range(N))), model.document
    path = {
        "order": f"items/{document.dataset}/order",
        "embeddings": document.arrays["F"],
        "tail of Q": document.arrays["Q"],
    }[victim]
    chunk = sorted(one for one in (tmp_path / path).rglob("*") if one.is_file() and one.name != "zarr.json")[
        -1
    ]
    chunk.write_bytes(bytes(byte ^ 255 for byte in chunk.read_bytes()))
    verify_workspace(str(tmp_path), lambda event: None)
    assert not run(_config(tmp_path), until="fit")["reused"]
    np.testing.assert_array_equal(load_model(tmp_path).weights(list(range(N))), expected)


def test_the_precision_is_decided_by_the_texts_of_the_core_alone(tmp_path):
    """Few items of many dimensions are nearly sums of each other, however many texts the tail has."""
    rng = np.random.default_rng(0)
    vectors = (100 * rng.standard_normal((N, 18))).astype(np.float32)
    _fit(tmp_path, core=10, embeddings=vectors, compute={"dtype": "auto"}, model={**L3AE, "reg_f": 1.0})
    model = load_model(tmp_path)
    core = model.stored.order[: model.stored.n_core]
    f = vectors[core].astype(np.float64)
    held = np.einsum("jd,jd->j", f, np.linalg.solve(f.T @ f + np.eye(18), f.T).T)
    key = layout.spectrum(fingerprint(["cancellation", model.document.embedding, 1.0]))
    found = model.workspace.read_doc(key)["cancellation"]
    assert found == pytest.approx(min(1 / (1 - held).min(), 1 + (f**2).sum(axis=1).max()), rel=1e-6)


def test_ordered_copies_of_embeddings_that_no_model_reads_are_garbage(tmp_path):
    for core, transform in ((3, {}), (8, {}), (K, {"whiten": 0.5})):
        _fit(tmp_path, core=core, transform=transform)
    workspace = load_model(tmp_path).workspace
    folder = tmp_path / "embeddings"
    assert len([one for one in folder.iterdir() if one.is_dir()]) == 5  # given, three orders, whitened
    before = load_model(tmp_path).weights(list(range(N)))
    collect_garbage(str(tmp_path))
    assert len([one for one in folder.iterdir() if one.is_dir()]) == 3
    assert verify_workspace(str(tmp_path), lambda event: None).damage == []
    np.testing.assert_array_equal(load_model(tmp_path).weights(list(range(N))), before)
    _fit(tmp_path, core=8)
    assert len([one for one in folder.iterdir() if one.is_dir()]) == 4
    collect_garbage(str(tmp_path))
    assert workspace.has(f"embeddings/{load_model(tmp_path).document.embedding}")
    assert len([one for one in folder.iterdir() if one.is_dir()]) == 2
