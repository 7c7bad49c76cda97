"""Models whose inverse is changed by the users of a new log, beside fits of all interactions."""

import numpy as np
import pandas as pd
import pytest

import l3ae_dist
from l3ae_dist import DAN, EASE, EDLAE, L3AE, LAE, RLAE, AdditiveEASE, CollectiveEASE, L3AEAdditive
from l3ae_dist.errors import ConfigError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.runtime.events import ignore
from l3ae_dist.serving import load_export
from l3ae_dist.storage import layout

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
    given = {"embeddings": vectors} if {"reg_f", "features"} & model.get_params().keys() else {}
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
    fit(type(model)(**model.get_params()), tmp_path / "b", pd.concat([old, new]), texts)
    made, wanted = load_model(tmp_path / "a"), load_model(tmp_path / "b")
    ids = list(range(N))
    entries, expected = made.weights(ids), wanted.weights(ids)
    assert np.abs(entries - expected).max() <= 1e-11 * np.abs(expected).max()
    users = [0, 3, 7, 400, 401]
    found, right = made.recommend(users, 20), wanted.recommend(users, 20)
    assert found["item_id"].tolist() == right["item_id"].tolist()
    np.testing.assert_allclose(found["score"], right["score"], rtol=1e-9, atol=1e-12)


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


def run(where, log, texts, compute=SYNCHRONOUS, **model):
    """Fit with held-out interactions, and measure."""
    config = l3ae_dist.make_config({
        "workspace": str(where),
        "data": {"options": {"split": "random"}},
        "model": {"name": "l3ae", "reg_x": 5.0, "reg_f": 2.0, "reg_e": 30.0, **model},
        "evaluate": {"bootstrap": 0},
        "compute": compute,
    })  # fmt: skip
    items, vectors = texts
    return l3ae_dist.run(config, interactions=log, items=items, embeddings=vectors)


def test_what_reads_a_model_reads_an_updated_one(tmp_path, logs, texts):
    """Explanations, neighbours, exports, copies and metrics, beside a fit of the same interactions."""
    old, new = logs
    for place in ("a", "b"):
        run(tmp_path / place, old, texts)
    l3ae_dist.update(str(tmp_path / "a"), new, compute=HERE)
    l3ae_dist.append(str(tmp_path / "b"), new, compute=SYNCHRONOUS)
    updated, solved = (load_model(tmp_path / place) for place in ("a", "b"))
    assert updated.array("P") is None  # the tiles are those of another model
    assert solved.array("P") is not None
    assert updated.certificate["residual"] <= updated.certificate["tolerance"]
    parts = ["collaborative", "semantic", "total"]
    for item in (0, 77):
        one, other = (model.explain(7, item).sort_values("item_id") for model in (updated, solved))
        np.testing.assert_allclose(one[parts], other[parts], rtol=1e-9, atol=1e-12)
    for kind in ("weights", "collaborative", "semantic"):
        one, other = (model.similar_items([3, 90], 10, kind=kind) for model in (updated, solved))
        np.testing.assert_allclose(one["score"], other["score"], rtol=1e-9, atol=1e-12)
    updated.save(tmp_path / "copy")
    np.testing.assert_array_equal(load_model(tmp_path / "copy").weights([4, 5]), updated.weights([4, 5]))
    b = updated.weights(list(range(N)))
    header = updated.export_weights(tmp_path / "export", "all", dtype="float64")
    served = load_export(tmp_path / "export").weights.toarray()
    np.testing.assert_allclose(served, b, rtol=0, atol=1e-12 * np.abs(b).max())
    assert header["certificate"] == updated.certificate
    measured = [model.evaluate(bootstrap=0, compute=HERE) for model in (updated, solved)]
    for name in ("L3AE", "EASE"):
        one, other = (result["models"][name]["test"] for result in measured)
        for metric in ("ndcg@20", "recall@5"):
            assert one[metric] == pytest.approx(other[metric], rel=1e-6)
    assert "gram" not in measured[0]["stages"]  # no inverse was made for it


def test_single_precision_is_certified_within_its_tolerance(tmp_path, logs, texts):
    old, new = logs
    compute = SYNCHRONOUS | {"dtype": "float32"}
    fit(L3AE(reg_x=5.0, reg_f=2.0, reg_e=30.0), tmp_path / "a", old, texts, compute)
    fit(L3AE(reg_x=5.0, reg_f=2.0, reg_e=30.0), tmp_path / "b", pd.concat([old, new]), texts, compute)
    assert l3ae_dist.update(str(tmp_path / "a"), new, compute=HERE)["update"]["changed"]
    made, wanted = (load_model(tmp_path / place) for place in ("a", "b"))
    certificate = made.certificate
    assert certificate["residual"] <= certificate["tolerance"]
    ids = list(range(N))
    difference = np.abs(made.weights(ids) - wanted.weights(ids)).max()
    assert difference <= certificate["tolerance"] * np.abs(wanted.weights(ids)).max()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (EDLAE(reg_x=20.0, p=0.3), "change the system"),
        (DAN(reg_x=20.0, p=0.0, alpha=0.3, beta=0.0), "popularity"),
        (CollectiveEASE(reg_x=20.0, alpha=0.5, features="embeddings"), "no matrix of the interactions alone"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_members_that_need_an_inverse_of_their_own_are_solved_and_say_why(
    tmp_path, logs, texts, model, reason
):
    old, new = logs
    fit(model, tmp_path / "a", old, texts)
    told = []
    result = l3ae_dist.update(str(tmp_path / "a"), new, compute=HERE, on_event=told.append)
    assert not result["update"]["changed"]
    assert any(reason in getattr(event, "message", "") for event in told)
    fit(type(model)(**model.get_params()), tmp_path / "b", pd.concat([old, new]), texts)
    made, wanted = (load_model(tmp_path / place).weights([0, 7]) for place in ("a", "b"))
    np.testing.assert_allclose(made, wanted, rtol=1e-9, atol=1e-12)


def test_too_many_changed_rows_and_new_items_are_solved(tmp_path, logs, texts):
    old, _ = logs
    where = str(tmp_path / "a")
    fit(EASE(reg_x=20.0), where, old, texts)
    told = []
    many = interactions(range(9), 3)
    result = l3ae_dist.update(where, many, compute=HERE, on_event=told.append)
    assert not result["update"]["changed"]
    assert any("more than 15 rows changed" in getattr(one, "message", "") for one in told)
    log = pd.DataFrame({"user_id": [1], "item_id": [N]})
    result = l3ae_dist.update(where, log, pd.DataFrame({"item_id": [N]}), compute=HERE)
    assert not result["update"]["changed"]
    assert load_model(where).n_items == N + 1
    # a model of its own inverse again, from which an update goes on
    result = l3ae_dist.update(where, interactions([2], 4), compute=HERE)
    assert (result["update"]["changed"], result["update"]["rank"]) == (True, 2)


def test_settings_of_the_solve_cannot_be_changed(tmp_path, logs, texts):
    old, new = logs
    fit(EASE(reg_x=20.0), tmp_path / "a", old, texts)
    with pytest.raises(ConfigError, match=r"compute\.dtype is float32, but the model .* with float64"):
        l3ae_dist.update(str(tmp_path / "a"), new, compute={"dtype": "float32"})


def test_weights_add_up_and_what_is_held_out_stays_held_out(tmp_path, texts):
    """A weighted log with a strong split: users that are held out whole stay so, and are no rows."""
    rng = np.random.default_rng(8)
    old = interactions(range(300), 0).assign(w=lambda log: rng.integers(1, 5, len(log)) / 2)
    known = old[old.user_id.isin([1, 2])].groupby("user_id").head(1)
    new = pd.concat([known, interactions([4, 9, 500], 3).assign(w=1.5)])
    options = {"split": "strong", "weight_column": "w", "heldout_users": 0.2}
    results = []
    for place, grow in (("a", l3ae_dist.update), ("b", l3ae_dist.append)):
        config = l3ae_dist.make_config({
            "workspace": str(tmp_path / place),
            "data": {"options": options},
            "model": {"name": "ease", "reg_x": 20.0},
            "evaluate": {"bootstrap": 0},
            "compute": SYNCHRONOUS,
        })  # fmt: skip
        l3ae_dist.run(config, interactions=old, items=texts[0], until="fit")
        results.append(grow(str(tmp_path / place), new, compute=SYNCHRONOUS))
    assert results[0]["update"]["changed"]
    assert 1 <= results[0]["update"]["users"] <= 5
    assert results[0]["append"]["known"] == results[1]["append"]["known"] >= 1
    updated, solved = (load_model(tmp_path / place) for place in ("a", "b"))
    ids = list(range(N))
    made, wanted = updated.weights(ids), solved.weights(ids)
    assert np.abs(made - wanted).max() <= 1e-11 * np.abs(wanted).max()


def test_a_log_of_known_pairs_changes_nothing(tmp_path, logs, texts):
    old, _ = logs
    where = str(tmp_path / "a")
    fit(L3AE(reg_x=5.0, reg_f=2.0, reg_e=30.0), where, old, texts)
    before = load_model(where).weights([0, 7])
    result = l3ae_dist.update(where, old.head(5), compute=HERE)
    assert result["update"]["changed"]
    assert (result["update"]["rank"], result["update"]["users"]) == (0, 0)
    np.testing.assert_allclose(load_model(where).weights([0, 7]), before, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["YK", "Y", "diagonal"])
@pytest.mark.parametrize("way", ["update", "evaluate"])
def test_a_damaged_change_is_made_again_from_the_inverse(tmp_path, logs, texts, name, way):
    old, new = logs
    run(where := tmp_path / "a", old, texts)
    l3ae_dist.update(str(where), new, compute=HERE)
    model = load_model(where)
    expected = model.weights([0, 7])
    folder = layout.UpdatePaths.holding(
        next(one.left for one in model.terms.products if "updates/" in one.left)
    )
    chunk = where / layout.chunk(folder.array(name), 1, 0)
    data = bytearray(chunk.read_bytes())
    data[9] ^= 4
    chunk.write_bytes(data)
    del model
    verify_workspace(str(where), ignore)  # notes it
    if way == "update":
        result = l3ae_dist.update(str(where), new, compute=HERE)
        assert result["update"]["changed"]
    else:
        result = load_model(where).evaluate(bootstrap=0, compute=HERE)
    assert "factor" not in result["stages"]
    assert not verify_workspace(str(where), ignore).damage
    np.testing.assert_array_equal(load_model(where).weights([0, 7]), expected)


def test_a_lost_tile_of_the_inverse_ends_in_a_solve(tmp_path, logs, texts):
    old, new = logs
    fit(EASE(reg_x=20.0), tmp_path / "a", old, texts)
    inverse = load_model(tmp_path / "a").terms.matrices[0].path
    l3ae_dist.update(str(tmp_path / "a"), new, compute=HERE)
    expected = load_model(tmp_path / "a").weights([0, 7])
    (tmp_path / "a" / layout.chunk(inverse, 2, 1)).unlink()
    assert verify_workspace(str(tmp_path / "a"), ignore).damage
    result = l3ae_dist.update(str(tmp_path / "a"), new, compute=SYNCHRONOUS)
    assert not result["update"]["changed"]
    np.testing.assert_allclose(load_model(tmp_path / "a").weights([0, 7]), expected, rtol=1e-9, atol=1e-12)


def test_a_saved_copy_of_an_updated_model_answers_and_is_solved_when_it_grows(tmp_path, logs, texts):
    old, new = logs
    fit(EASE(reg_x=20.0), tmp_path / "a", old, texts)
    l3ae_dist.update(str(tmp_path / "a"), new, compute=HERE)
    load_model(tmp_path / "a").save(tmp_path / "copy")
    told = []
    again = l3ae_dist.update(str(tmp_path / "copy"), new, compute=HERE)
    assert again["append"]["already"]
    result = l3ae_dist.update(
        str(tmp_path / "copy"), interactions([8], 5), compute=SYNCHRONOUS, on_event=told.append
    )
    assert not result["update"]["changed"]
    assert any("the system is solved anew" in getattr(one, "message", "") for one in told)


def test_an_append_of_the_same_log_to_the_same_model_solves(tmp_path, logs, texts):
    old, new = logs
    where = str(tmp_path / "a")
    fit(EASE(reg_x=20.0), where, old, texts)
    base = load_model(where)
    own = SYNCHRONOUS | {"arithmetic": "float64", "semantic_route": "woodbury"}
    l3ae_dist.update(where, new, compute=own)
    l3ae_dist.append(where, new, model=base.label, compute=own)
    assert load_model(where).array("P") is not None


def test_added_items_and_a_kept_diagonal_of_an_updated_model(tmp_path, logs, texts):
    old, new = logs
    model = L3AE(reg_x=5.0, reg_f=2.0, reg_e=30.0, diagonal="none", keep_diagonal=True)
    fit(model, tmp_path / "a", old, texts)
    l3ae_dist.update(str(tmp_path / "a"), new, compute=HERE)
    fit(type(model)(**model.get_params()), tmp_path / "b", pd.concat([old, new]), texts)
    made, wanted = (load_model(tmp_path / place) for place in ("a", "b"))
    for one in (made, wanted):
        one.add_items(["x"], ids=[N + 5], embeddings=texts[1][:1] * 0.5 + texts[1][1:2] * 0.5)
    ids = [*range(N), N + 5]
    np.testing.assert_allclose(made.weights(ids), wanted.weights(ids), rtol=1e-8, atol=1e-12)


def test_a_dry_run_tells_what_an_update_would_do_and_keeps_nothing(tmp_path, logs, texts):
    old, new = logs
    where = tmp_path / "a"
    fit(EASE(reg_x=20.0), where, old, texts)
    names = [one["name"] for one in l3ae_dist.models(where)]

    def files():
        return {path.relative_to(where) for path in where.rglob("*") if path.is_file()}

    before = files()
    told = l3ae_dist.update(str(where), new, compute=HERE, dry_run=True)
    assert (told["changes"], told["reason"], told["rank"], told["users"]) == (True, None, 6, 4)
    assert told["bytes"] == N * N // 2 * 8
    many = l3ae_dist.update(str(where), interactions(range(9), 3), compute=HERE, dry_run=True)
    assert (many["changes"], many["reason"]) == (False, "more than 15 rows changed")
    log = pd.DataFrame({"user_id": [1], "item_id": [N]})
    items = pd.DataFrame({"item_id": [N]})
    grown = l3ae_dist.update(str(where), log, items, compute=HERE, dry_run=True)
    assert grown["reason"] == "the catalog has new items"
    assert files() == before
    assert [one["name"] for one in l3ae_dist.models(where)] == names
    done = l3ae_dist.update(str(where), new, compute=HERE)
    assert done["update"]["rank"] == told["rank"]
    assert l3ae_dist.update(str(where), new, compute=HERE, dry_run=True)["already"]
    again = l3ae_dist.update(str(where), interactions([1], 8), compute=HERE, dry_run=True)
    assert again["rank"] == 8  # beside those of the update, since it starts from the solved inverse
