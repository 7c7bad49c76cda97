"""The collaborative and the semantic part of a score: those of the model, whatever its route."""

from dataclasses import replace

import numpy as np
import pytest
from samples import dense_x, text
from sklearn.base import clone

from l3ae_dist import (
    EASE,
    GFCF,
    L3AE,
    AdditiveEASE,
    CollectiveEASE,
    EASEText,
    L3AEAdditive,
    L3AECollective,
    TextSimilarity,
)
from l3ae_dist.errors import ConfigError, StageMissingError
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.model.fitted import load_model
from l3ae_dist.serving import load_export

N = 40
NOTHING = np.zeros((N, N))


def l3ae(x, f, reg_x, reg_f, reg_e):
    """``reg_e P C`` is semantic, the rest of B collaborative."""
    c = cf.semantic_dense(f, reg_f)
    semantic = reg_e * cf.gram_inverse(x, reg_x + reg_e) @ c
    return cf.l3ae_dense(x, c, reg_x, reg_e) - semantic, semantic


def additive(x, f, ridge, reg_f, alpha):
    return (1 - alpha) * cf.ease_dense(x, ridge), alpha * cf.semantic_dense(f, reg_f)


MEMBERS = {
    "EASE": (EASE(20.0), lambda x, _: (cf.ease_dense(x, 20.0), NOTHING)),
    "L3AE": (L3AE(-5.0, 2.0, 25.0), lambda x, f: l3ae(x, f, -5.0, 2.0, 25.0)),
    "L3AE, strong text": (L3AE(10.0, 0.3, 500.0), lambda x, f: l3ae(x, f, 10.0, 0.3, 500.0)),
    "L3AE, no text": (L3AE(20.0, 1.0, 0.0), lambda x, _: (cf.ease_dense(x, 20.0), NOTHING)),
    "EASEText": (EASEText(0.5), lambda _, f: (NOTHING, cf.semantic_dense(f, 0.5))),
    "TextSimilarity": (TextSimilarity(), lambda _, f: (NOTHING, cf.text_similarity(f))),
    "CollectiveEASE": (
        CollectiveEASE(20.0, 0.7, features="embeddings"),
        lambda x, f: (cf.collective_dense(x, f, 20.0, 0.7), NOTHING),
    ),
    "L3AECollective": (
        L3AECollective(100.0, 5.0),
        lambda x, f: (cf.collective_dense(x, f, 100.0, 5.0), NOTHING),
    ),
    "AdditiveEASE": (
        AdditiveEASE(20.0, 3.0, 0.3, features="embeddings"),
        lambda x, f: additive(x, f, 20.0, 3.0, 0.3),
    ),
    "L3AEAdditive": (L3AEAdditive(50.0, 0.4, 0.6), lambda x, f: additive(x, f, 50.0, 0.4, 0.6)),
    "GFCF": (GFCF(60, 0.3), lambda x, _: (cf.gfcf_dense(x, 60, 0.3), NOTHING)),
}
ROUTES = ("woodbury", "direct")


def fitted(where, name, route, small_tables, tile=16):
    """Fit a member in this process; return it with the two parts of its dense formula."""
    log, items = small_tables
    member, dense = MEMBERS[name]
    options = {"cluster": "synchronous", "threads": 1, "dtype": "float64", "tile_size": tile,
               "semantic_route": route}  # fmt: skip
    f = text(N, 8)
    model = clone(member).set_params(compute=options)
    model.fit(log, items, workspace=str(where), embeddings=f)
    return model, dense(dense_x(log, N), f.T.astype(float))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", MEMBERS)
def test_reasons_and_neighbours_by_part_are_those_of_the_dense_formula(tmp_path, small_tables, name, route):
    model, parts = fitted(tmp_path / "w", name, route, small_tables)
    log, _ = small_tables
    check_reasons(model, parts, np.flatnonzero(dense_x(log, N)[3]))
    for kind, want in zip(("collaborative", "semantic"), parts, strict=True):
        check_neighbours(model, kind, want)


def check_reasons(model, parts, liked):
    collaborative, semantic = parts
    largest = max(np.abs(collaborative).max(), np.abs(semantic).max())
    for item in (5, 17, 30):
        reasons = model.explain(list(range(N)), item).set_index("item_id").loc[range(N)]
        for part, want in (("collaborative", collaborative), ("semantic", semantic)):
            np.testing.assert_allclose(reasons[part], want[:, item], atol=1e-10 * largest)
        np.testing.assert_allclose(reasons.total, model.weights([item])[:, 0], atol=1e-10 * largest)
    lists = model.recommend([3], n=3, return_reasons=len(liked))
    for row in lists.itertuples():
        for reason in row.reasons:
            entry = reason["item_id"], row.item_id
            assert reason["collaborative"] == pytest.approx(collaborative[entry], abs=1e-10 * largest)
            assert reason["semantic"] == pytest.approx(semantic[entry], abs=1e-10 * largest)


def check_neighbours(model, kind, want):
    if not want.any():
        with pytest.raises(ConfigError, match=f"has no {kind} part"):
            model.similar_items([4], kind=kind)
        return
    found = model.similar_items([4, 21], n=N - 1, kind=kind)
    bound = 1e-10 * np.abs(want).max()
    for item in (4, 21):
        mine = found[found.item_id == item].set_index("similar_item_id").score
        others = [other for other in range(N) if other != item]
        np.testing.assert_allclose(mine.loc[others], want[item, others], atol=bound)
        assert (np.diff(want[item, mine.index]) <= bound).all()


@pytest.mark.parametrize("name", ["L3AE", "L3AEAdditive"])
def test_a_saved_and_an_exported_model_keep_the_split_and_the_sum(tmp_path, small_tables, name):
    """What is exported is the sum alone; both routes export the same."""
    exported = {}
    for route in ROUTES:
        model, (_, semantic) = fitted(tmp_path / route, name, route, small_tables)
        model.save(str(tmp_path / f"{route}-copy"))
        loaded = load_model(str(tmp_path / f"{route}-copy"))
        reasons = loaded.explain(list(range(N)), 9).set_index("item_id").semantic.loc[range(N)]
        np.testing.assert_allclose(reasons, semantic[:, 9], atol=1e-10 * np.abs(semantic).max())
        model.export_weights(tmp_path / f"{route}-export", k="all", dtype="float64")
        exported[route] = load_export(tmp_path / f"{route}-export").recommend([[3, 7]], n=10)
    for mine, other in zip(*exported.values(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9)


def test_a_model_whose_terms_were_never_divided_is_not_explained(tmp_path, small_tables):
    model, _ = fitted(tmp_path / "w", "L3AE", "woodbury", small_tables)
    terms = model.model_.terms
    model.model_.terms = replace(terms, matrices=tuple(replace(m, shares=None) for m in terms.matrices))
    with pytest.raises(StageMissingError, match="fit it again"):
        model.explain(3, 5)
    with pytest.raises(StageMissingError, match="fit it again"):
        model.similar_items([3], kind="semantic")
    assert len(model.similar_items([3])) == 10
