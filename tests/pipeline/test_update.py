"""Models whose inverse is changed by the users of a new log, beside fits of all interactions."""

import numpy as np
import pandas as pd
import pytest

import l3ae_dist
from l3ae_dist import EASE, L3AE, LAE, RLAE, AdditiveEASE, L3AEAdditive
from l3ae_dist.model.fitted import load_model

N, TILE = 150, 32
SYNCHRONOUS = {
    "cluster": "synchronous", "dtype": "float64", "tile_size": TILE, "memory_budget": "1GiB",
}  # fmt: skip


def interactions(users, seed, n=N):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        [(u, int(i)) for u in users for i in rng.choice(n, rng.integers(2, 9), replace=False)],
        columns=["user_id", "item_id"],
    )


@pytest.fixture
def logs():
    """A log, and a new one with new users, new items of known users, and pairs that are known."""
    old = interactions(range(300), 0)
    new = pd.concat([interactions([3, 7, 400, 401], 1), old[old.user_id == 7].head(1)])
    return old, new


@pytest.fixture
def texts():
    rng = np.random.default_rng(5)
    f = rng.standard_normal((N, 12)).astype(np.float32)
    return pd.DataFrame({"item_id": range(N)}), f / np.linalg.norm(f, axis=1, keepdims=True)


def fit(model, where, log, texts, compute=SYNCHRONOUS):
    items, vectors = texts
    given = {"embeddings": vectors} if "reg_f" in model.get_params() else {}
    return model.set_params(compute=compute).fit(log, items, workspace=where, **given)


MEMBERS = [
    EASE(reg_x=20.0),
    L3AE(reg_x=5.0, reg_f=2.0, reg_e=30.0),
    LAE(reg_x=20.0),
    RLAE(reg_x=20.0, xi=0.1),
    L3AE(reg_x=5.0, reg_f=2.0, reg_e=30.0, diagonal="at_most", xi=0.05),
    AdditiveEASE(reg_x=20.0, reg_f=2.0, alpha=0.3, features="embeddings"),
    L3AEAdditive(reg_x=20.0, reg_f=2.0, alpha=0.3),
]


@pytest.mark.parametrize("model", MEMBERS, ids=lambda one: type(one).__name__)
def test_an_updated_model_is_a_fit_of_all_interactions(tmp_path, logs, texts, model):
    old, new = logs
    fit(model, tmp_path / "a", old, texts)
    result = l3ae_dist.update(str(tmp_path / "a"), new, compute={"cluster": "synchronous"})
    assert result["update"]["changed"], result["update"]
    assert result["update"]["rank"] == 2 * 2 + 2
    assert result["update"]["users"] == 4
    fresh = fit(type(model)(**model.get_params()), tmp_path / "b", pd.concat([old, new]), texts)
    made, wanted = load_model(tmp_path / "a"), load_model(tmp_path / "b")
    ids = list(range(N))
    entries, expected = made.weights(ids), wanted.weights(ids)
    assert np.abs(entries - expected).max() <= 1e-11 * np.abs(expected).max()
    users = [0, 3, 7, 400, 401]
    found, right = made.recommend(users, 20), wanted.recommend(users, 20)
    assert found["item_id"].tolist() == right["item_id"].tolist()
    np.testing.assert_allclose(found["score"], right["score"], rtol=1e-9, atol=1e-12)
    assert fresh is not None


HERE = {"cluster": "synchronous"}


def test_updates_follow_each_other_without_a_chain_and_older_models_stay(tmp_path, logs, texts):
    old, new = logs
    where, model = str(tmp_path / "a"), L3AE(reg_x=5.0, reg_f=2.0, reg_e=30.0)
    fit(model, where, old, texts)
    first = load_model(where)
    before = first.weights([0, 1, 2])
    l3ae_dist.update(where, new, compute=HERE, name="monday")
    monday = load_model(where).weights([0, 1, 2])
    later = interactions([3, 9, 401, 500], 2)
    result = l3ae_dist.update(where, later, compute=HERE, name="tuesday")
    # users 3, 7, 9 changed since the fit, and 400, 401 and 500 joined: not what the first update did again
    assert (result["update"]["rank"], result["update"]["users"]) == (9, 6)
    assert result["update"]["since"] == first.stored.id
    fit(L3AE(**model.get_params()), tmp_path / "b", pd.concat([old, new, later]), texts)
    ids = list(range(N))
    made, wanted = load_model(where).weights(ids), load_model(tmp_path / "b").weights(ids)
    assert np.abs(made - wanted).max() <= 1e-11 * np.abs(wanted).max()
    for name, expected in ((first.label, before), ("monday", monday)):
        np.testing.assert_array_equal(load_model(where, name).weights([0, 1, 2]), expected)
    again = l3ae_dist.update(where, later, compute=HERE)
    assert again["append"]["already"]
    assert again["update"]["changed"]


def test_what_reads_a_model_reads_an_updated_one(tmp_path, logs, texts):
    """Explanations, neighbours, exports, copies and metrics, beside a fit of all interactions."""
    old, new = logs
    options = {"split": "random", "valid": 0.1, "test": 0.1}
    where, model = str(tmp_path / "a"), L3AE(reg_x=5.0, reg_f=2.0, reg_e=30.0, options=options)
    fit(model, where, old, texts)
    l3ae_dist.update(where, new, compute=HERE)
    updated = load_model(where)
    result = l3ae_dist.append(str(tmp_path / "a"), interactions([600], 9), compute=SYNCHRONOUS)
    assert result["append"]["gram_tiles"] > 0  # an append solves
    assert load_model(where).array("P") is not None
    assert updated.array("P") is None  # the tiles are those of another model
    assert updated.certificate["residual"] <= updated.certificate["tolerance"]
    updated.save(tmp_path / "copy")
    copy = load_model(tmp_path / "copy")
    header = updated.export_weights(tmp_path / "export", "all", dtype="float64")
    served = l3ae_dist.serving.load_export(tmp_path / "export")
    b = updated.weights(list(range(N)))
    np.testing.assert_allclose(served.weights.toarray(), b, rtol=0, atol=1e-12 * np.abs(b).max())
    assert header.certificate == updated.certificate
    np.testing.assert_array_equal(copy.weights([4, 5]), updated.weights([4, 5]))
    reasons = updated.explain(7, updated.recommend([7], 3)["item_id"].tolist())
    total = reasons["collaborative"] + reasons["semantic"]
    np.testing.assert_allclose(total, reasons["weight"], rtol=1e-9, atol=1e-12)
    measured = updated.evaluate(bootstrap=0, compute=HERE)
    assert set(measured["models"]) == {"L3AE", "EASE"}
    assert measured["tiles_written"] < 40  # no inverse was made for it
