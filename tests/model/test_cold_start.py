"""Items added after the fit, against a dense refit with them in the catalog and nobody having them."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from samples import compute, dense_x, text
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer

from l3ae_dist import (
    EASE,
    GFCF,
    L3AE,
    AdditiveEASE,
    CollectiveEASE,
    EASEText,
    L3AEAdditive,
    TextSimilarity,
)
from l3ae_dist.config.embedding import EncoderConfig
from l3ae_dist.embed.encoders import load_encoder
from l3ae_dist.errors import ConfigError, DataError, UnknownIdError, WorkspaceLockedError
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.model.fitted import load_model
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask
N, NEW = 40, 3
MEMBERS = {
    "L3AE": (
        L3AE(-5.0, 2.0, 25.0),
        lambda x, f: cf.l3ae_dense(x, cf.semantic_dense(f, 2.0), -5.0, 25.0),
    ),
    "EASEText": (EASEText(2.0), lambda x, f: cf.semantic_dense(f, 2.0)),
    "TextSimilarity": (TextSimilarity(), lambda x, f: cf.text_similarity(f)),
    "CollectiveEASE": (
        CollectiveEASE(20.0, 0.7, features="embeddings"),
        lambda x, f: cf.collective_dense(x, f, 20.0, 0.7),
    ),
    "L3AEAdditive": (
        L3AEAdditive(20.0, 10.0, 0.6),
        lambda x, f: cf.additive(cf.ease_dense(x, 20.0), cf.semantic_dense(f, 10.0), 0.6),
    ),
}


def new_text(d):
    return text(NEW, d, seed=5)


def refit(member, x, f, new):
    """Dense B with each new item alone in the catalog too: its column and its row."""
    columns, rows = [], []
    for one in new:
        wider = np.hstack([x, np.zeros((len(x), 1))])
        b = MEMBERS[member][1](wider, np.vstack([f, one]).T.astype(float))
        columns.append(b[:N, N])
        rows.append(b[N, :N])
    return np.array(columns).T, np.array(rows)


@pytest.mark.parametrize(
    ("name", "route", "d"),
    [(name, "woodbury", 8) for name in MEMBERS]
    + [(name, "direct", 60) for name in ("L3AE", "EASEText", "L3AEAdditive")],
)
def test_a_new_item_has_the_column_and_the_row_of_a_dense_refit(
    tmp_path, small_tables, dask_session, name, route, d
):
    log, items = small_tables
    f, new, x = text(N, d), new_text(d), dense_x(log, N)
    options = {**compute(dask_session), "semantic_route": route}
    model = clone(MEMBERS[name][0]).set_params(compute=options)
    model.fit(log, items, workspace=str(tmp_path / "w"), embeddings=f)
    ids = model.add_items([101, 102, 103], embeddings=new)
    assert ids.tolist() == [101, 102, 103]
    columns, rows = refit(name, x, f, new)
    scale = np.abs(columns).max()
    np.testing.assert_allclose(model.model_.weights(ids), columns, rtol=0, atol=1e-10 * scale)
    # recommended with the catalog, on one scale
    warm = MEMBERS[name][1](x, f.T.astype(float))
    everything = np.hstack([x @ warm, x @ columns])
    position = {**{i: i for i in range(N)}, 101: N, 102: N + 1, 103: N + 2}
    for users in ([3, 7], list(range(60))):
        got = model.recommend(users, n=N + NEW, filter_already_liked=False)
        assert len(got) == len(users) * (N + NEW)
        found = everything[got.user_id, got.item_id.map(position)]
        np.testing.assert_allclose(got.score, found, rtol=0, atol=1e-10 * np.abs(everything).max())
        assert (got.groupby("user_id").score.diff().dropna() <= 1e-12).all()
    # explained
    reasons = model.explain(3, 102)
    assert reasons.total.sum() == pytest.approx((x @ columns)[3, 1], abs=1e-10 * scale * x[3].sum())
    np.testing.assert_allclose(reasons.collaborative, 0)
    # neighbours: an old item finds it by its column, it finds old items by the row of the refit
    similar = model.similar_items([4], n=N + NEW).set_index("similar_item_id").score
    np.testing.assert_allclose(similar[[101, 102, 103]], columns[4], rtol=0, atol=1e-10 * scale)
    back = model.similar_items([102], n=N).set_index("similar_item_id").score
    np.testing.assert_allclose(back.sort_index(), rows[1], rtol=0, atol=1e-10 * np.abs(rows).max())


@pytest.fixture
def with_vectors(tmp_path, small_tables, dask_session):
    log, items = small_tables
    model = L3AE(-5.0, 2.0, 25.0, compute=compute(dask_session))
    return model.fit(log, items, workspace=str(tmp_path / "w"), embeddings=text(N, 8))


def test_added_items_can_be_left_out_listed_alone_and_blocked(with_vectors):
    model = with_vectors.model_
    before = model.recommend([3], n=N)
    model.add_items([101, 102, 103], embeddings=new_text(8))
    pd.testing.assert_frame_equal(model.recommend([3], n=N, cold_items=False), before)
    alone = model.recommend([3], n=5, items=[103, 101])
    assert sorted(alone.item_id) == [101, 103]
    assert 102 not in model.recommend([3], n=N + NEW, filter_items=[102]).item_id.tolist()
    assert len(model.recommend([3], n=5, items=[103], cold_items=False)) == 0
    reasons = model.recommend([3], n=1, items=[103], return_reasons=2).reasons[0]
    assert [r["item_id"] for r in reasons] == model.explain(3, 103).item_id.head(2).tolist()
    collaborative = model.similar_items([4], n=N + NEW, kind="collaborative")
    assert not set(collaborative.similar_item_id) & {101, 102, 103}
    assert len(model.similar_items([101], kind="collaborative")) == 0
    semantic = model.similar_items([101], n=4, kind="semantic")
    assert semantic.item_id.tolist() == [101] * 4


def test_another_process_sees_added_items_and_adding_again_replaces(with_vectors):
    model, new = with_vectors.model_, new_text(8)
    opened_before = load_model(model.workspace.url)
    model.add_items([101, 102], embeddings=new[:2])
    first = model.weights([101, 102])
    np.testing.assert_array_equal(opened_before.weights([101, 102]), first)
    model.add_items([102, 103], embeddings=new[[2, 0]])
    again = opened_before.weights([101, 102, 103])
    np.testing.assert_allclose(again[:, 0], again[:, 2], atol=1e-15)
    assert np.abs(again[:, 1] - first[:, 1]).max() > 1e-6
    code = (
        "from l3ae_dist.model.fitted import load_model\n"
        f"print(load_model({model.workspace.url!r}).recommend([3], 9, items=[103]).item_id.tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[103]"


@pytest.mark.ray
def test_texts_are_embedded_as_the_catalog_was(tmp_path, small_tables, dask_session, ray_cluster):
    """With the recorded encoder, its prompt and truncation, then the fitted transformation."""
    log, items = small_tables
    encoder = {"prompt": "product: ", "truncate_dim": 16}
    model = EASEText(
        2.0, encoder=encoder, transform={"standardize": True, "compress": "pca", "dim": 6},
        compute=compute(dask_session),
    )  # fmt: skip
    model.fit(log, items, workspace=str(tmp_path / "w"))
    fresh = load_model(str(tmp_path / "w"))
    ids = fresh.add_items([items.text[4], "a lamp for reading"])
    assert ids.tolist() == [40, 41]
    rows = fresh.added().features
    kept = fresh.array("F").read(0, 0)
    np.testing.assert_allclose(rows[0], kept[4], atol=1e-4 * np.abs(kept).max())
    raw = load_encoder(EncoderConfig(**encoder)).encode(["a lamp for reading"])
    by_vector = fresh.add_items([500], embeddings=raw)
    np.testing.assert_allclose(fresh.added().features[2], rows[1], atol=1e-4 * np.abs(kept).max())
    table = pd.DataFrame({"item_id": [600], "title": ["A lamp"], "text": ["a lamp for reading"]})
    fresh.add_items(table)
    np.testing.assert_allclose(fresh.weights([600]), fresh.weights([41]), atol=1e-6)
    assert fresh.recommend([3], n=1, items=[600]).title.tolist() == ["A lamp"]
    assert by_vector.tolist() == [500]


@pytest.mark.parametrize("vectorizer", ["count", "hashing"])
def test_words_of_new_items_are_those_of_the_catalog(tmp_path, small_tables, dask_session, vectorizer):
    log, items = small_tables
    words = {"vectorizer": vectorizer, "n_features": 64, "min_df": 2}
    model = AdditiveEASE(20.0, 30.0, 0.3, words=words, compute=compute(dask_session))
    model.fit(log, items, workspace=str(tmp_path / "w"))
    texts = ["red thing nobody knows", "blue number"]
    ids = model.add_items(texts)
    if vectorizer == "count":
        found = CountVectorizer(binary=True, min_df=2).fit(items.text)
    else:
        found = HashingVectorizer(n_features=64, binary=True, norm=None, alternate_sign=False)
    f, new = found.transform(items.text).toarray(), found.transform(texts).toarray()
    x = dense_x(log, N)
    for position, one in enumerate(new):
        wide = np.vstack([f, one]).T.astype(float)
        want = cf.additive(
            cf.ease_dense(np.hstack([x, np.zeros((60, 1))]), 20.0), cf.semantic_dense(wide, 30.0), 0.3
        )
        got = model.model_.weights(ids)[:, position]
        np.testing.assert_allclose(got, want[:N, N], rtol=0, atol=1e-10 * np.abs(want).max())
        back = model.similar_items([ids[position]], n=N).set_index("similar_item_id").score
        np.testing.assert_allclose(back.sort_index(), want[N, :N], rtol=0, atol=1e-10 * np.abs(want).max())
    with pytest.raises(ConfigError, match="fitted on words"):
        model.add_items([900], embeddings=np.ones((1, 64)))


def test_members_without_text_have_no_cold_start(tmp_path, small_tables, dask_session):
    log, items = small_tables
    for member in (EASE(10.0), GFCF(5, 0.3)):
        member.set_params(compute=compute(dask_session))
        member.fit(log, items, workspace=str(tmp_path / member._name))
        with pytest.raises(ConfigError, match="does not use item text"):
            member.add_items(["a lamp"])


def test_bad_items_are_refused_and_change_nothing(with_vectors):
    model = with_vectors.model_
    good = new_text(8)
    spoilt = good.copy()
    spoilt[1, 2] = np.nan
    cases = [
        (lambda: model.add_items(["a lamp"]), ConfigError, "imported"),
        (lambda: model.add_items([101], embeddings=good[:1, :5]), DataError, "8 dimensions"),
        (lambda: model.add_items([101, 102, 103], embeddings=spoilt), DataError, r"rows \[1\]"),
        (lambda: model.add_items([101], embeddings=good), DataError, "3 embeddings come with 1 items"),
        (lambda: model.add_items([7], embeddings=good[:1]), DataError, r"in the catalog already: \[7\]"),
        (lambda: model.add_items([101, 101], embeddings=good[:2]), DataError, "more than once"),
        (lambda: model.add_items(["x"], embeddings=good[:1]), DataError, "integers"),
        (lambda: model.add_items(["a", "b"], ids=[101]), DataError, "2 texts come with 1 ids"),
        (lambda: model.add_items([" ", "b"], ids=[101, 102]), DataError, r"no text .* \[101\]"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
    assert len(model.added()) == 0
    model.add_items([101], embeddings=good[:1])
    with pytest.raises(DataError, match="101 is an added one"):
        model.recommend([[4, 101]])
    with pytest.raises(UnknownIdError, match="102"):
        model.explain(3, 102)
    assert len(model.add_items([])) == 0
    with WorkspaceLock(Workspace.open(model.workspace.url), "another"), pytest.raises(WorkspaceLockedError):
        model.add_items([102], embeddings=good[:1])
