"""Every member of the family on a real Dask cluster, against its dense formula."""

import numpy as np
import pytest
from samples import DENSE, compute, dense_x, text
from sklearn.base import clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.preprocessing import StandardScaler

import l3ae_dist
from l3ae_dist import (
    GFCF,
    L3AE,
    AdditiveEASE,
    CollectiveEASE,
    EASEText,
    L3AEAdditive,
)
from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data import multi_hot_words as words
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import open_rows
from l3ae_dist.data.ingest import ingest
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask


def check_weights(model, want, dtype):
    got = model.model_.weights(range(len(want)))
    bound = 1e-10 if dtype == "float64" else 1e-4
    assert np.abs(got - want).max() <= bound * np.abs(want).max()
    assert model.certificate_["residual"] <= model.certificate_["tolerance"]


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize(
    ("dtype", "tile", "d"), [("float64", 16, 8), ("float64", 40, 60), ("float32", 16, 8)]
)
def test_weights_of_every_member_equal_its_dense_formula(
    tmp_path, small_tables, dask_session, name, dtype, tile, d
):
    log, items = small_tables
    member, dense = DENSE[name]
    f = text(40, d)
    model = clone(member).set_params(compute=compute(dask_session, dtype, tile))
    model.fit(log, items, workspace=str(tmp_path / "w"), embeddings=f)
    x = dense_x(log, 40)
    want = dense(x, f.T.astype(float))
    check_weights(model, want, dtype)
    scores = x[[3, 7]] @ want
    got = model.recommend([3, 7], n=40, filter_already_liked=False)
    for user, row in zip((3, 7), scores, strict=True):
        mine = got[got.user_id == user].set_index("item_id").score.reindex(range(40))
        np.testing.assert_allclose(
            mine, row, atol=(1e-11 if dtype == "float64" else 1e-5) * np.abs(scores).max()
        )
    reasons = model.explain(3, 5)
    assert reasons.total.sum() == pytest.approx(scores[0, 5], abs=1e-4 if dtype == "float32" else 1e-11)


@pytest.mark.parametrize(
    "name",
    [name for name in l3ae_dist.__all__ if name[0].isupper() and name != "Workspace"],
)
def test_estimators_can_be_cloned(name):
    model = getattr(l3ae_dist, name)()
    assert clone(model).get_params() == model.get_params()
    assert set(model.get_params()) >= {"compute", "data_options"}


@pytest.mark.parametrize(("rank", "tile"), [(5, 16), (60, 40)])
def test_gfcf_equals_its_dense_formula_and_leaves_unknown_items_at_zero(
    tmp_path, small_tables, dask_session, rank, tile
):
    """A rank beyond that of the matrix too; two items have no interactions."""
    log, items = small_tables
    model = GFCF(rank, 0.3, compute=compute(dask_session, tile=tile))
    model.fit(log, items, workspace=str(tmp_path / "w"))
    want = cf.gfcf_dense(dense_x(log, 40), rank, 0.3)
    got = model.model_.weights(range(40))
    assert np.abs(got - want).max() <= 1e-10 * np.abs(want).max()
    assert np.isfinite(got).all()
    assert not got[38:].any()
    assert not got[:, 38:].any()
    assert model.certificate_["residual"] <= model.certificate_["tolerance"]
    assert len(model.recommend([3], n=40)) > 0


ROUTES = [
    L3AE(-5.0, 2.0, 25.0),
    L3AE(500.0, 50.0, 500.0),
    EASEText(2.0),
    AdditiveEASE(20.0, 3.0, 0.3, features="embeddings"),
    L3AEAdditive(20.0, 10.0, 0.6),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("member", ROUTES, ids=lambda member: type(member).__name__)
def test_both_routes_of_the_semantic_phase_agree(tmp_path, small_tables, dask_session, member, dtype):
    log, items = small_tables
    f = text(40, 8)
    found, tops = {}, {}
    for route in ("woodbury", "direct"):
        options = {**compute(dask_session, dtype), "semantic_route": route}
        model = clone(member).set_params(compute=options)
        model.fit(log, items, workspace=str(tmp_path / route), embeddings=f)
        assert model.result_["semantic_route"] == route
        assert model.certificate_["residual"] <= model.certificate_["tolerance"]
        found[route] = model.model_.weights(range(40))
        tops[route] = model.recommend([3, 7], n=5)
        row = dense_x(log, 40)[3]
        assert model.explain(3, 5).total.sum() == pytest.approx(row @ found[route][:, 5], abs=1e-5)
    bound = 1e-10 if dtype == "float64" else 1e-4
    scale = np.abs(found["woodbury"]).max()
    assert np.abs(found["direct"] - found["woodbury"]).max() <= bound * scale
    assert np.abs(np.diag(found["direct"])).max() <= bound * scale
    assert tops["direct"].item_id.tolist() == tops["woodbury"].item_id.tolist()


def test_the_cheaper_route_is_taken_by_itself(tmp_path, small_tables, dask_session):
    log, items = small_tables
    for d, budget, route in ((8, "2GiB", "woodbury"), (8, "450MiB", "woodbury"), (400, "2GiB", "direct")):
        options = {**compute(dask_session), "memory_budget": budget}
        model = EASEText(2.0, compute=options)
        model.fit(log, items, workspace=str(tmp_path / f"{route}-{budget}"), embeddings=text(40, d))
        assert model.result_["semantic_route"] == route
        check_weights(model, cf.semantic_dense(text(40, d).T.astype(float), 2.0), "float64")


def multi_hot(items, **options):
    found = CountVectorizer(binary=True, **options).fit_transform(items.text).toarray()
    return found.T.astype(float)


@pytest.mark.parametrize("route", ["woodbury", "direct"])
@pytest.mark.parametrize("name", ["CollectiveEASE", "AdditiveEASE", "L3AEAdditive"])
def test_members_on_multi_hot_words_equal_their_dense_formulas(
    tmp_path, small_tables, dask_session, name, route
):
    log, items = small_tables
    w, x = multi_hot(items, min_df=2), dense_x(log, 40)
    member, want = {
        "CollectiveEASE": (CollectiveEASE(20.0, 0.5), cf.collective_dense(x, w, 20.0, 0.5)),
        "AdditiveEASE": (
            AdditiveEASE(20.0, 30.0, 0.3),
            cf.additive(cf.ease_dense(x, 20.0), cf.semantic_dense(w, 30.0), 0.3),
        ),
        "L3AEAdditive": (
            L3AEAdditive(20.0, 30.0, 0.4, features="words", words={"min_df": 1}),
            cf.additive(cf.ease_dense(x, 20.0), cf.semantic_dense(multi_hot(items), 30.0), 0.4),
        ),
    }[name]
    model = member.set_params(compute={**compute(dask_session), "semantic_route": route})
    model.fit(log, items, workspace=str(tmp_path / "w"))
    check_weights(model, want, "float64")


def test_words_are_those_of_scikit_learn_however_the_catalog_is_cut(tmp_path, small_tables, monkeypatch):
    log, items = small_tables
    ws = Workspace.create(tmp_path / "w")
    dataset = Dataset(ws, ingest(log, items, IngestConfig(split="none"), ws))
    monkeypatch.setattr(words, "_TEXTS", 7)
    for options in ({"min_df": 2}, {"min_df": 3, "ngram_range": (1, 2)}):
        identifier = words.make_words(dataset, words.WordsConfig(**options), ws)
        found = open_rows(ws, layout.features(identifier))
        np.testing.assert_array_equal(found.item_rows(0, 40).toarray(), multi_hot(items, **options).T)
        np.testing.assert_array_equal(found.item_rows(5, 9).toarray(), multi_hot(items, **options).T[5:9])
    identifier = words.make_words(dataset, words.WordsConfig(vectorizer="hashing", n_features=64), ws)
    hashed = HashingVectorizer(n_features=64, binary=True, norm=None, alternate_sign=False)
    got = open_rows(ws, layout.features(identifier)).item_rows(0, 40).toarray()
    np.testing.assert_array_equal(got, hashed.transform(items.text).toarray())
    with pytest.raises(DataError, match="no word is left"):
        words.make_words(dataset, words.WordsConfig(min_df=100), ws)


@pytest.mark.parametrize("compress", ["none", "pca", "svd"])
def test_transformed_embeddings_are_those_of_scikit_learn(tmp_path, small_tables, dask_session, compress):
    log, items = small_tables
    f = text(40, 8)
    f[:, 3] = 0.5  # a constant dimension
    options = {"standardize": True, "compress": compress, "dim": 4}
    model = EASEText(2.0, transform=options, compute=compute(dask_session))
    model.fit(log, items, workspace=str(tmp_path / "w"), embeddings=f)
    scaled = StandardScaler().fit_transform(f.astype(float))
    reduced = {
        "none": lambda: scaled,
        "pca": lambda: PCA(4, svd_solver="full").fit_transform(scaled),
        "svd": lambda: TruncatedSVD(4, algorithm="arpack").fit_transform(scaled),
    }[compress]()
    # signs of components do not matter to C, and rows are stored in float32
    want = cf.semantic_dense(reduced.T, 2.0)
    assert np.abs(model.model_.weights(range(40)) - want).max() <= 1e-5
    with pytest.raises(ConfigError, match="at most 7"):
        clone(model).set_params(transform={"compress": "pca", "dim": 8}).fit(
            log, items, workspace=str(tmp_path / "w"), embeddings=f
        )
