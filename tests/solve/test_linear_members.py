"""LAE, RLAE, EDLAE, DLAE, RDLAE, DAN and DEQL, alone and with text, through all that a fitted model does.

Every expected value comes from ``linear_dense``, which its own tests compare with least squares.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from samples import dense_x, text
from sklearn.base import clone
from small_fits import N, tables

import l3ae_dist
from l3ae_dist import DAN, DEQL, DLAE, EASE, EDLAE, L3AE, LAE, RDLAE, RLAE
from l3ae_dist.config.evaluated_models import evaluated_models
from l3ae_dist.config.load import make_config
from l3ae_dist.config.members import LINEAR, MEMBERS, ModelSpec
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.linalg.heads import LinearObjective as Objective
from l3ae_dist.linalg.heads import linear_dense, system_matrix
from l3ae_dist.model.fitted import load_model
from l3ae_dist.pipeline.inputs import Inputs
from l3ae_dist.pipeline.run import run
from l3ae_dist.pipeline.sweep import run_sweep, sweep_models
from l3ae_dist.report import write_report
from l3ae_dist.serving import load_export
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

SERIAL = {"cluster": "synchronous", "threads": 1, "tile_size": 16}
BOUND = {"float64": 1e-10, "float32": 1e-4}
WEIGHTED = {"alpha": 0.4, "beta": 0.3}
ALONE = {
    "EASE": (EASE(20.0, **WEIGHTED), Objective(20.0, **WEIGHTED)),
    "LAE": (LAE(20.0), Objective(20.0, diagonal="none")),
    "RLAE": (RLAE(20.0, 0.1, beta=0.3), Objective(20.0, diagonal="at_most", xi=0.1, beta=0.3)),
    "EDLAE": (EDLAE(20.0, 0.3), Objective(20.0, p=0.3)),
    "DLAE": (DLAE(20.0, 0.3, alpha=0.4), Objective(20.0, p=0.3, diagonal="none", alpha=0.4)),
    "RDLAE": (RDLAE(20.0, 0.3, 0.1), Objective(20.0, p=0.3, diagonal="at_most", xi=0.1)),
    "DAN": (DAN(20.0, 0.3, 0.4, 0.2), Objective(20.0, p=0.3, alpha=0.4, beta=0.2)),
    "DEQL": (DEQL(20.0, 0.3, 1.0, 0.5), Objective(20.0, p=0.3, a=1.0, b=0.5, diagonal="none")),
    "DEQL, zero": (DEQL(20.0, 0.3, 1.0, 0.5, diagonal="zero"), Objective(20.0, p=0.3, a=1.0, b=0.5)),
}
HEADS = {
    "zero": {"p": 0.3, "beta": 0.2},
    "none": {"diagonal": "none", "p": 0.3, **WEIGHTED},
    "at_most": {"diagonal": "at_most", "xi": 0.05, **WEIGHTED},
    "deql": {"diagonal": "none", "p": 0.3, "a": 1.0, "b": 0.5, **WEIGHTED},
}
WITH_TEXT = {
    name: (L3AE(-10.0, 2.0, 35.0, **head), Objective(-10.0, 35.0, **head)) for name, head in HEADS.items()
}
MEMBERS_ALONE, MEMBERS_WITH_TEXT = list(ALONE), list(WITH_TEXT)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Folder of workspaces in which members find each other's data and inverses."""
    return tmp_path_factory.mktemp("members")


@pytest.fixture(scope="module")
def data():
    log, items, f = tables()
    return log, items, f, dense_x(log, N)


def semantic(f):
    return cf.semantic_dense(f.T.astype(float), 2.0)


def fitted(where, member, data, dtype="float64", route="auto"):
    log, items, f, _ = data
    model = clone(member).set_params(compute={**SERIAL, "dtype": dtype, "semantic_route": route})
    return model.fit(log, items, workspace=str(where), embeddings=f)


def check(got, want, dtype="float64"):
    assert np.abs(got - want).max() <= BOUND[dtype] * np.abs(want).max()


def check_model(model, data, want, of_text, dtype):
    """B, scores of histories, and the two parts of a score."""
    x = data[3]
    check(model.model_.weights(range(N)), want, dtype)
    assert model.certificate_["residual"] <= model.certificate_["tolerance"]
    assert model.certificate_["diagonal"] <= model.certificate_["diagonal_tolerance"]
    found = model.recommend([3, 7], n=N, filter_already_liked=False)
    for user in (3, 7):
        mine = found[found.user_id == user].set_index("item_id").score.reindex(range(N))
        check(mine, x[user] @ want, dtype)
    item = int(np.flatnonzero(x[3] == 0)[0])
    reasons = model.explain(3, item)
    check(reasons.semantic.sum(), x[3] @ of_text[:, item], dtype)
    check(reasons.total.sum(), x[3] @ want[:, item], dtype)


def semantic_part(x, c, objective):
    """``pull P C``, whatever the head."""
    gram, dropout = system_matrix(x, objective)
    return objective.pull * np.linalg.solve(gram + np.diag(dropout + objective.ridge), c)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", MEMBERS_ALONE)
def test_members_without_text_equal_their_formula_on_tiles(shared, data, name, dtype):
    member, objective = ALONE[name]
    model = fitted(shared / dtype, member, data, dtype)
    check_model(model, data, linear_dense(data[3], objective), np.zeros((N, N)), dtype)


@pytest.mark.parametrize(
    ("route", "dtype"), [("woodbury", "float64"), ("direct", "float64"), ("woodbury", "float32")]
)
@pytest.mark.parametrize("name", MEMBERS_WITH_TEXT)
def test_members_with_text_equal_their_formula_on_both_routes(shared, data, name, route, dtype):
    member, objective = WITH_TEXT[name]
    model = fitted(shared / f"{dtype}-{route}", member, data, dtype, route)
    assert model.result_["semantic_route"] == route
    c = semantic(data[2])
    check_model(model, data, linear_dense(data[3], objective, c), semantic_part(data[3], c, objective), dtype)


@pytest.mark.parametrize("route", ["woodbury", "direct"])
@pytest.mark.parametrize("name", MEMBERS_WITH_TEXT)
def test_an_item_that_nobody_has_gets_the_column_and_the_row_of_a_refit(tmp_path, data, name, route):
    member, objective = WITH_TEXT[name]
    model, x, new = fitted(tmp_path, member, data, route=route), data[3], text(1, 8, seed=5)
    model.add_items(["a new one"], ids=[1000], embeddings=new)
    c = semantic(np.vstack([data[2], new]))
    want = linear_dense(np.hstack([x, np.zeros((len(x), 1))]), objective, c)
    check(model.model_.weights([1000])[:, 0], want[:N, N])
    row = model.similar_items([1000], n=N).set_index("similar_item_id").score.reindex(range(N))
    check(row, want[N, :N])


@pytest.mark.parametrize("name", ["none", "at_most"])
def test_similar_items_exports_and_copies_keep_every_factor(tmp_path, data, name):
    member, objective = WITH_TEXT[name]
    model = fitted(tmp_path / "w", member, data)
    c = semantic(data[2])
    want, of_text = linear_dense(data[3], objective, c), semantic_part(data[3], c, objective)
    np.fill_diagonal(of_text, 0)
    for kind, b in (("weights", want), ("semantic", of_text), ("collaborative", want - of_text)):
        row = model.similar_items([5], n=N, kind=kind).set_index("similar_item_id").score
        check(row.reindex(range(N)).drop(5), np.delete(b[5], 5))
    model.export_weights(tmp_path / "export", k="all", dtype="float64")
    served = load_export(tmp_path / "export")
    check(served.weights.toarray(), want)
    assert served.header["params"] == model.model_.params
    model.save(str(tmp_path / "copy"))
    again = L3AE.load(str(tmp_path / "copy"))
    assert again.get_params(deep=False)["diagonal"] == name
    check(again.model_.weights(range(N)), want)


@pytest.mark.parametrize("name", ["DAN", "DEQL", "RDLAE"])
def test_an_append_equals_a_fit_of_all_data(tmp_path, data, name):
    log, items, _, x = data
    member = clone(ALONE[name][0]).set_params(compute={**SERIAL, "dtype": "float64"})
    if name == "DEQL":
        member.set_params(beta=0.4)
    new = pd.DataFrame(
        {"user_id": [3, 3, 59], "item_id": [int(i) for i in np.flatnonzero(x[3] == 0)[:2]] + [0]}
    )
    model = member.fit(log, items, workspace=str(tmp_path / "a"))
    model.append(new)
    whole = clone(member).fit(pd.concat([log, new]), items, workspace=str(tmp_path / "b"))
    np.testing.assert_array_equal(model.model_.weights(range(N)), whole.model_.weights(range(N)))
    assert model.model_.params == whole.model_.params


def test_heads_share_an_inverse_and_whatever_changes_it_makes_another(tmp_path, data):
    where = tmp_path / "w"
    one = dict.fromkeys(("L3AE", "RLAE", "LAE", "EASE"))
    for member in (L3AE(-10.0, 2.0, 30.0), RLAE(20.0, 0.1), LAE(20.0), EASE(20.0, alpha=0.4)):
        one[type(member).__name__] = fitted(where, member, data).model_.document.arrays["P"]
    assert len(set(one.values())) == 1
    others = (EDLAE(20.0, 0.3), EASE(20.0, beta=0.3), DEQL(20.0, 0.3, beta=0.3), EASE(21.0))
    paths = [fitted(where, member, data).model_.document.arrays["P"] for member in others]
    assert len({*paths, *one.values()}) == 5
    same = fitted(where, RDLAE(20.0, 0.3, 0.2), data).model_.document.arrays["P"]
    assert same == paths[0]
    records = Workspace.open(str(where)).stage_records()
    assert sum(record.stage == Stage.CERTIFIED for record in records) == 5


def config(tmp_path, model, **sections):
    values = {"workspace": str(tmp_path / "w"), "model": model, "compute": SERIAL, **sections}
    return make_config({"evaluate": {"ks": [5], "metric": "ndcg@5", "bootstrap": 0}, **values})


def test_a_grid_tries_every_head_at_the_price_of_its_inverses(tmp_path, data):
    log, items, f, _ = data
    grid = {
        "ridges": [20.0, 40.0],
        "reg_e": [30.0],
        "ps": [0.0, 0.3],
        "alphas": [0.0, 0.4],
        "xis": [0.05, 0.2],
    }
    made = config(
        tmp_path,
        {"name": "l3ae", "diagonal": "at_most", "xi": 0.1},
        grid=grid,
        compute={**SERIAL, "keep": ["P"]},
    )
    assert len(evaluated_models(made)) == 2 * 2 * 2 * 2 + 2  # EASE where p is 0
    result = run(made, interactions=log, items=items, embeddings=f)
    records = list(Workspace.open(str(tmp_path / "w")).stage_records())
    assert sum(record.stage == Stage.CERTIFIED for record in records) == 4
    assert sum(record.stage == Stage.GRAM for record in records) == 2
    assert len(result["grid"]) == 18
    assert {row.get("p") for row in result["grid"] if row["model"] == "L3AE"} == {None, 0.3}
    picked = result["models"]["L3AE"]["params"]
    train = Dataset(Workspace.open(str(tmp_path / "w")), result["dataset"]["id"])
    objective = Objective(
        picked["reg_x"], picked["reg_e"], picked.get("p", 0.0), picked.get("alpha", 0.0), 0.0, "at_most",
        picked["xi"],
    )  # fmt: skip
    rows = train.user_rows("train", 0, train.n_users).toarray().astype(float)
    want = linear_dense(rows, objective, cf.semantic_dense(f.T.astype(float), 5.0))
    check(load_model(tmp_path / "w").weights(range(N)), want, "float32")


def test_a_sweep_tries_the_models_own_parameters_where_it_does_not_vary_them(tmp_path, data):
    log, items, f, _ = data
    made = config(tmp_path, {"name": "l3ae", "p": 0.3, "beta": 0.1}, sweep={"ridge": [20], "reg_e": [5]})
    found = run_sweep(made, Inputs(log, items, f))
    assert found["models"]["L3AE"]["params"] == {
        "reg_x": 15.0,
        "reg_f": 5.0,
        "reg_e": 5.0,
        "p": 0.3,
        "beta": 0.1,
    }
    assert list(found["models"]) == ["L3AE", "EASEText"]  # EASE would need an inverse of its own


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            {"name": "ease", "xi": 0.1},
            r"model: xi is no parameter of ease but of l3ae, rlae, rdlae, dan; leave",
        ),
        (
            {"name": "rlae", "diagonal": "none"},
            r"diagonal is no parameter of rlae but of l3ae, dan, deql; leave",
        ),
        (
            {"name": "l3ae", "diagonal": "at_most"},
            r"at_most but xi is not set; set model\.xi, or in a sweep sweep\.xi, to the b",
        ),
        ({"name": "dan", "xi": 0.1}, r"xi is 0\.1, but diagonal is zero; set model\.diagonal to at_most, or"),
        ({"name": "l3ae", "a": 1}, r"a is set without b; set both"),
        ({"name": "deql", "diagonal": "at_most"}, r"with the weights a and b deql has zero or none; choose"),
        ({"name": "deql", "a": 0, "b": 0}, r"a is 0, b is 0 and p is 0\.33, so no interaction has a weight"),
        ({"name": "edlae", "p": 1}, r"model\.p is 1 but must be less than 1"),
        ({"name": "dan", "beta": 1.5}, r"model\.beta is 1\.5 but must be less than or equal to 1"),
        (
            {"name": "lae", "alpha": 2},
            r"alpha is 2, but for lae it is an exponent of popularity; choose 0 to 1",
        ),
        ({"name": "rlae", "xi": -0.1}, r"model\.xi is -0\.1 but must be greater than or equal to 0"),
        ({"name": "dlae", "reg_x": 0}, r"the ridge reg_x \(dlae has no reg_e\) is 0 but must be greater"),
        (
            {"name": "l3ae", "diagonal": "big"},
            r"model\.diagonal is 'big' but must be 'zero', 'at_most' or 'none'",
        ),
    ],
)
def test_parameters_that_cannot_be_are_refused_with_a_sentence(tmp_path, model, sentence):
    with pytest.raises(ConfigError, match=sentence):
        config(tmp_path, model)


@pytest.mark.parametrize(
    ("model", "grid", "sentence"),
    [
        ({"name": "ease"}, {"ps": [0.2]}, "the grid has ps, but ease has no p; leave out grid.ps"),
        ({"name": "l3ae"}, {"xis": [0.2]}, "the grid has xis, but no bound; set model.diagonal to at_most"),
        ({"name": "dan"}, {"alphas": [0.5, 5.0]}, "alpha 5, but for dan alpha is an exponent"),
    ],
)
def test_a_grid_over_what_the_model_has_not_is_refused(tmp_path, model, grid, sentence):
    with pytest.raises(ConfigError, match=sentence):
        config(tmp_path, model, grid={"ridges": [20.0], **grid})


def test_every_linear_member_has_an_estimator_with_its_defaults_and_says_what_differs():
    for name, member in MEMBERS.items():
        if member.title not in LINEAR:
            continue
        estimator = getattr(l3ae_dist, member.title)()
        made = make_config({"workspace": "w", "model": {"name": name}}).model.spec()
        values = {key: getattr(made, key) for key in member.all_params if not key.startswith("reg_")}
        assert {key: estimator.get_params()[key] for key in values} == values
        assert set(made.params()) == set(member.params)
        assert ModelSpec.of(made.name, made.params()) == made


def test_names_of_models_that_were_there_before_stay():
    """What is in a workspace is found again: fingerprints count new parameters only where they are used."""
    assert ModelSpec("L3AE", 1.0, 2.0, 3.0).document() == {
        "name": "L3AE", "reg_x": 1.0, "reg_f": 2.0, "reg_e": 3.0, "alpha": 0.0, "rank": 0,
    }  # fmt: skip
    assert ModelSpec("RLAE", 1.0, diagonal="at_most", xi=0.1).document()["xi"] == 0.1


def test_weights_of_interactions_are_squared_in_the_penalty_and_not_counted_in_lengths(tmp_path, data):
    log, items, f, x = data
    weights = np.random.default_rng(1).integers(1, 4, x.shape).astype(float)
    pairs = log.drop_duplicates()
    pairs = pairs.assign(weight=weights[pairs.user_id, pairs.item_id])
    head = {"p": 0.3, "alpha": 0.3, "beta": 0.4, "diagonal": "none"}
    member = L3AE(-10.0, 2.0, 60.0, **head, data_options={"weight_column": "weight"})
    member.set_params(compute={**SERIAL, "dtype": "float64"})
    member.fit(pairs, items, workspace=str(tmp_path / "w"), embeddings=f)
    want = linear_dense(x * weights, Objective(-10.0, 60.0, **head), semantic(f))
    check(member.model_.weights(range(N)), want)


def test_an_append_keeps_the_head_of_a_model_with_text(tmp_path, data):
    log, items, f, x = data
    member = clone(WITH_TEXT["at_most"][0]).set_params(compute={**SERIAL, "dtype": "float64"})
    free = int(np.flatnonzero(x[3] == 0)[0])
    model = member.fit(log, items, workspace=str(tmp_path / "w"), embeddings=f)
    model.append(pd.DataFrame({"user_id": [3], "item_id": [free]}))
    longer = x.copy()
    longer[3, free] = 1
    want = linear_dense(longer, WITH_TEXT["at_most"][1], semantic(f))
    check(model.model_.weights(range(N)), want)
    assert model.model_.params["diagonal"] == "at_most"


# ---- a diagonal that is kept, and a penalty of dropout that is weighted

KEPT_ALONE = {
    "LAE": (LAE(20.0, keep_diagonal=True), Objective(20.0, diagonal="none")),
    "RLAE": (
        RLAE(20.0, 0.1, alpha=0.4, keep_diagonal=True),
        Objective(20.0, diagonal="at_most", xi=0.1, alpha=0.4),
    ),
    "DLAE": (DLAE(20.0, 0.3, keep_diagonal=True), Objective(20.0, p=0.3, diagonal="none")),
    "RDLAE": (
        RDLAE(20.0, 0.3, 0.1, beta=0.3, keep_diagonal=True),
        Objective(20.0, p=0.3, diagonal="at_most", xi=0.1, beta=0.3),
    ),
    "DAN": (
        DAN(20.0, 0.3, 0.4, 0.2, diagonal="none", keep_diagonal=True),
        Objective(20.0, p=0.3, alpha=0.4, beta=0.2, diagonal="none"),
    ),
    "DEQL": (
        DEQL(20.0, 0.3, 1.0, 0.5, keep_diagonal=True),
        Objective(20.0, p=0.3, a=1.0, b=0.5, diagonal="none"),
    ),
}
KEPT_WITH_TEXT = {
    name: (L3AE(-10.0, 2.0, 35.0, keep_diagonal=True, **head), Objective(-10.0, 35.0, **head))
    for name, head in HEADS.items()
    if name != "zero"
}


def check_kept(model, data, want, of_text, dtype):
    """B with its diagonal, scores and reasons of items of the history, and the ranks of the others."""
    check_model(model, data, want, of_text, dtype)
    assert np.abs(np.diag(want)).max() > 1e-3
    x, mine = data[3], int(np.flatnonzero(data[3][3])[0])
    reasons = model.explain(3, mine)
    check(reasons.total.sum(), x[3] @ want[:, mine], dtype)
    check(reasons.semantic.sum(), x[3] @ of_text[:, mine], dtype)
    own = reasons[reasons.item_id == mine].total.iloc[0]
    assert own == pytest.approx(want[mine, mine], rel=BOUND[dtype], abs=BOUND[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", KEPT_ALONE)
def test_a_kept_diagonal_without_text_is_that_of_the_optimum(shared, data, name, dtype):
    member, objective = KEPT_ALONE[name]
    model = fitted(shared / dtype, member, data, dtype)
    want = linear_dense(data[3], objective, keep_diagonal=True)
    check_kept(model, data, want, np.zeros((N, N)), dtype)
    assert model.model_.params["keep_diagonal"] is True
    plain = fitted(shared / dtype, clone(member).set_params(keep_diagonal=False), data, dtype)
    assert plain.model_.document.arrays["P"] == model.model_.document.arrays["P"]
    for unseen in (plain, model):  # the ranking of items that are not in the history
        found = unseen.recommend([3, 7, 9], n=10)
        assert found.item_id.tolist() == plain.recommend([3, 7, 9], n=10).item_id.tolist()


@pytest.mark.parametrize(
    ("route", "dtype"), [("woodbury", "float64"), ("direct", "float64"), ("woodbury", "float32")]
)
@pytest.mark.parametrize("name", KEPT_WITH_TEXT)
def test_a_kept_diagonal_with_text_is_that_of_the_optimum(shared, data, name, route, dtype):
    member, objective = KEPT_WITH_TEXT[name]
    model = fitted(shared / f"{dtype}-{route}", member, data, dtype, route)
    c = semantic(data[2])
    want = linear_dense(data[3], objective, c, keep_diagonal=True)
    check_kept(model, data, want, semantic_part(data[3], c, objective), dtype)


@pytest.mark.parametrize("name", KEPT_WITH_TEXT)
def test_a_kept_diagonal_stays_in_exports_copies_and_appends(tmp_path, data, name):
    member, objective = KEPT_WITH_TEXT[name]
    model, x, c = fitted(tmp_path / "w", member, data), data[3], semantic(data[2])
    want = linear_dense(x, objective, c, keep_diagonal=True)
    model.export_weights(tmp_path / "all", k="all", dtype="float64")
    check(load_export(tmp_path / "all").weights.toarray(), want)
    model.export_weights(tmp_path / "few", k=3, dtype="float64")
    few = load_export(tmp_path / "few").weights.toarray()
    for j in range(N):
        largest = np.sort(np.abs(want[:, j]))[-3:]
        check(np.sort(np.abs(few[:, j]))[-3:], largest)
    items, scores = load_export(tmp_path / "all").recommend([[5, 9]], n=N, filter_already_liked=False)
    check(scores[0], (want[5] + want[9])[items[0]])
    model.save(str(tmp_path / "copy"))
    again = L3AE.load(str(tmp_path / "copy"))
    assert again.get_params(deep=False)["keep_diagonal"] is True
    check(again.model_.weights(range(N)), want)
    model.add_items(["a new one"], ids=[1000], embeddings=text(1, 8, seed=5))
    assert len(model.similar_items([5], n=N)) == N
    free = int(np.flatnonzero(x[3] == 0)[0])
    model.append(pd.DataFrame({"user_id": [3], "item_id": [free]}))
    longer = x.copy()
    longer[3, free] = 1
    check(model.model_.weights(range(N)), linear_dense(longer, objective, c, keep_diagonal=True))


WEIGHED = {
    "EDLAE": EDLAE(20.0, 0.3, beta=0.4),
    "DLAE": DLAE(20.0, 0.3, beta=0.4),
    "RDLAE": RDLAE(20.0, 0.3, 0.1, beta=0.4),
    "DAN": DAN(20.0, 0.3, 0.4, 0.4),
    "L3AE": L3AE(-10.0, 2.0, 35.0, p=0.3, beta=0.4),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", WEIGHED)
def test_weighted_dropout_is_that_of_the_formula_and_an_inverse_of_its_own(shared, data, name, dtype):
    found = {}
    for weighted in (False, True):
        model = fitted(
            shared / dtype, clone(WEIGHED[name]).set_params(weighted_dropout=weighted), data, dtype
        )
        made = ModelSpec.of(model.model_.name, model.model_.params)
        assert made.weighted_dropout is weighted
        c = semantic(data[2]) if name == "L3AE" else None
        check(model.model_.weights(range(N)), linear_dense(data[3], made.objective, c), dtype)
        found[weighted] = model.model_.document.arrays["P"]
    assert found[False] != found[True]


def test_a_kept_diagonal_is_told_by_the_command_and_the_report(tmp_path, data):
    log, items, f, _ = data
    model = {
        "name": "l3ae",
        "diagonal": "none",
        "keep_diagonal": True,
        "p": 0.2,
        "beta": 0.2,
        "weighted_dropout": True,
    }
    made = config(tmp_path, model, data={"options": {"split": "random"}})
    result = run(made, interactions=log, items=items, embeddings=f)
    params = result["models"]["L3AE"]["params"]
    assert params["keep_diagonal"] is True
    assert params["weighted_dropout"] is True
    page = write_report(str(tmp_path / "w"))["report"]
    assert "keep_diagonal = true" in Path(page).read_text()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"name": "l3ae", "keep_diagonal": True}, "diagonal is zero, so there is nothing to keep; set model"),
        ({"name": "ease", "keep_diagonal": True}, r"keep_diagonal is no parameter of ease but of l3ae, lae,"),
        (
            {"name": "lae", "weighted_dropout": True},
            r"weighted_dropout is no parameter of lae but of l3ae, ed",
        ),
        (
            {"name": "lae", "keep_diagonal": "big"},
            r"model\.keep_diagonal is 'big' but must be a valid boolean",
        ),
    ],
)
def test_what_cannot_be_kept_or_weighted_is_refused(tmp_path, model, sentence):
    with pytest.raises(ConfigError, match=sentence):
        config(tmp_path, model)


def test_a_sweep_keeps_the_diagonal_of_the_models_that_have_one(tmp_path, data):
    log, items, f, _ = data
    made = config(
        tmp_path,
        {"name": "l3ae", "diagonal": "none", "keep_diagonal": True, "weighted_dropout": True, "beta": 0.2},
        sweep={"ridge": [20], "reg_e": [30], "diagonal": ["zero", "none"], "p": [0, 0.3]},
        data={"options": {"split": "random"}},
    )
    specs = [spec for spec in sweep_models(made) if spec.name == "L3AE"]
    assert {(spec.diagonal, spec.keep_diagonal) for spec in specs} == {("zero", False), ("none", True)}
    result = run_sweep(made, Inputs(log, items, f))
    model = load_model(tmp_path / "w")
    picked = ModelSpec.of("L3AE", result["models"]["L3AE"]["params"])
    rows = model.dataset.user_rows("train", 0, model.dataset.n_users).toarray().astype(float)
    c = cf.semantic_dense(f.T.astype(float), 5.0)
    want = linear_dense(rows, picked.objective, c, keep_diagonal=picked.keep_diagonal)
    check(model.weights(range(N)), want, "float32")
    l3ae_dist.append(str(tmp_path / "w"), pd.DataFrame({"user_id": [1], "item_id": [3]}), compute=SERIAL)
    assert load_model(tmp_path / "w").params == model.params
