"""Every member, alone and with text, through all that is done with a model, against its formula in memory."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from samples import dense_x, text
from sklearn.base import clone
from small_fits import N, tables

from l3ae_dist import DAN, DEQL, DLAE, EASE, EDLAE, L3AE, LAE, RDLAE, RLAE
from l3ae_dist.config.members import LINEAR, param_text
from l3ae_dist.errors import ConfigError, L3AEError
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.linalg.heads import LinearObjective as Objective
from l3ae_dist.linalg.heads import linear_dense, system_matrix
from l3ae_dist.linalg.whitening import unit_rows, whitened, whitening_matrix
from l3ae_dist.report import write_report
from l3ae_dist.serving import load_export

BOUND = {"float64": 1e-10, "float32": 1e-4}
SERIAL = {"cluster": "synchronous", "threads": 1, "tile_size": 16}
D, REG_F = 8, 2.0
HEADS = {
    "EASE": {},
    "LAE": {"diagonal": "none"},
    "RLAE": {"diagonal": "at_most", "xi": 0.05},
    "EDLAE": {"p": 0.3},
    "DLAE": {"p": 0.3, "diagonal": "none"},
    "RDLAE": {"p": 0.3, "diagonal": "at_most", "xi": 0.05},
    "DAN x EASE": {"p": 0.3, "alpha": 0.4, "beta": 0.2},
    "DAN x LAE": {"p": 0.3, "alpha": 0.4, "beta": 0.2, "diagonal": "none"},
    "DAN x RLAE": {"p": 0.3, "alpha": 0.4, "beta": 0.2, "diagonal": "at_most", "xi": 0.05},
    "DAN, weighted": {"p": 0.3, "alpha": 0.4, "beta": 0.2, "weighted_dropout": True},
    "DEQL": {"p": 0.3, "a": 1.0, "b": 0.5, "diagonal": "none"},
    "DEQL, zero": {"p": 0.3, "a": 1.0, "b": 0.5},
}
OWN = {
    "EASE": EASE(20.0),
    "LAE": LAE(20.0),
    "RLAE": RLAE(20.0, 0.05),
    "EDLAE": EDLAE(20.0, 0.3),
    "DLAE": DLAE(20.0, 0.3),
    "RDLAE": RDLAE(20.0, 0.3, 0.05),
    "DAN x EASE": DAN(20.0, 0.3, 0.4, 0.2),
    "DAN x LAE": DAN(20.0, 0.3, 0.4, 0.2, diagonal="none"),
    "DAN x RLAE": DAN(20.0, 0.3, 0.4, 0.2, diagonal="at_most", xi=0.05),
    "DAN, weighted": DAN(20.0, 0.3, 0.4, 0.2, weighted_dropout=True),
    "DEQL": DEQL(20.0, 0.3, 1.0, 0.5),
    "DEQL, zero": DEQL(20.0, 0.3, 1.0, 0.5, diagonal="zero"),
}
ALONE = {name: (OWN[name], Objective(20.0, **head)) for name, head in HEADS.items()}
WHITENED = {"transform": {"whiten": 0.5}}
WITH_TEXT = {
    f"L3AE x {name}": (L3AE(-10.0, REG_F, 35.0, **head, **WHITENED), Objective(-10.0, 35.0, **head))
    for name, head in HEADS.items()
}
MEMBERS = ALONE | WITH_TEXT


def check(got, want, dtype="float64"):
    assert np.abs(np.asarray(got) - want).max() <= BOUND[dtype] * max(np.abs(want).max(), 1e-3)


def matrix_of(f):
    rows = unit_rows(f)
    return whitening_matrix(rows.T @ rows, 0.5)


class Expected:
    """B of a member, and its part that is the text's, on some interactions."""

    def __init__(self, name, x, f):
        objective = MEMBERS[name][1]
        c = cf.semantic_dense(f.T, REG_F) if name in WITH_TEXT else None
        gram, dropout = system_matrix(x, objective)
        self.b = linear_dense(x, objective, c)
        self.of_text = np.zeros_like(self.b)
        if c is not None:
            p = np.linalg.inv(gram + np.diag(dropout + objective.ridge))
            self.of_text = objective.pull * p @ c


@pytest.fixture(scope="module")
def data():
    log, items, f = tables()
    return log, items, f, dense_x(log, N)


def fitted(where, name, data, dtype="float64", route="auto"):
    log, items, f, _ = data
    compute = {**SERIAL, "dtype": dtype, "semantic_route": route}
    return (
        clone(MEMBERS[name][0])
        .set_params(compute=compute)
        .fit(log, items, workspace=str(where), embeddings=f)
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Folder of workspaces in which members find each other's data and inverses."""
    return tmp_path_factory.mktemp("members")


ROUTES = [(name, "auto") for name in ALONE] + [(n, r) for n in WITH_TEXT for r in ("woodbury", "direct")]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "route"), ROUTES)
def test_b_its_parts_and_its_scores_are_those_of_the_formula(shared, data, name, route, dtype):
    model, x = fitted(shared / f"{dtype}-{route}", name, data, dtype, route), data[3]
    want = Expected(name, x, whitened(unit_rows(data[2]), matrix_of(data[2])))
    check(model.model_.weights(range(N)), want.b, dtype)
    found = model.recommend([3, 7], n=N, filter_already_liked=False)
    for user in (3, 7):
        scores = found[found.user_id == user].set_index("item_id").score.reindex(range(N))
        check(scores, x[user] @ want.b, dtype)
    item = int(np.flatnonzero(x[3] == 0)[0])
    reasons = model.explain(3, item).set_index("item_id").sort_index()
    mine = np.flatnonzero(x[3])
    assert reasons.index.tolist() == mine.tolist()
    check(reasons.total, want.b[mine, item], dtype)
    check(reasons.semantic, want.of_text[mine, item], dtype)
    score = found[(found.user_id == 3) & (found.item_id == item)].score.iloc[0]
    assert reasons.total.sum() == pytest.approx(score, rel=BOUND[dtype], abs=BOUND[dtype])


@pytest.mark.parametrize("name", MEMBERS)
def test_what_is_done_with_a_model_keeps_the_formula(tmp_path, data, name):
    x, f, where = data[3], data[2], tmp_path / "w"
    model, matrix = fitted(where, name, data), matrix_of(data[2])
    rows = whitened(unit_rows(f), matrix)
    want = Expected(name, x, rows)
    off = ~np.eye(N, dtype=bool)
    kinds = {"weights": want.b, "semantic": want.of_text, "collaborative": want.b - want.of_text}
    if name in ALONE:
        with pytest.raises(ConfigError, match="has no semantic part"):
            model.similar_items([5], kind="semantic")
        del kinds["semantic"]
    for kind, b in kinds.items():
        near = model.similar_items([5], n=N, kind=kind).set_index("similar_item_id").score
        check(near.reindex(range(N))[off[5]], b[5, off[5]])
    model.export_weights(tmp_path / "export", k="all", dtype="float64")
    served = load_export(tmp_path / "export")
    check(served.weights.toarray(), want.b)
    items, scores = served.recommend([[5, 9]], n=5)
    check(scores[0], (want.b[5] + want.b[9])[items[0]])
    model.save(str(tmp_path / "copy"))
    copy = type(model).load(str(tmp_path / "copy"))
    check(copy.model_.weights(range(N)), want.b)
    assert copy.get_params() | model.get_params() == model.get_params() | {"compute": model.compute}
    new = text(1, D, seed=5)
    if name in ALONE:
        with pytest.raises(L3AEError, match="does not use item text"):
            model.add_items(["a new one"], ids=[1000], embeddings=new)
    else:
        wider = Expected(
            name,
            np.hstack([x, np.zeros((len(x), 1))]),
            np.vstack([rows, whitened(unit_rows(new), matrix)]),
        ).b
        for one in (model, copy):
            one.add_items(["a new one"], ids=[1000], embeddings=new)
            check(one.model_.weights([1000])[:, 0], wider[:N, N])
            row = one.similar_items([1000], n=N).set_index("similar_item_id").score
            check(row.reindex(range(N)), wider[N, :N])
    free = int(np.flatnonzero(x[3] == 0)[0])
    model.append(pd.DataFrame({"user_id": [3], "item_id": [free]}))
    longer = x.copy()
    longer[3, free] = 1
    check(model.model_.weights(range(N)), Expected(name, longer, rows).b)
    page = Path(write_report(str(where))["report"]).read_text()
    assert model.model_.name in page
    for parameter, value in model.model_.params.items():
        assert f"{parameter} = {param_text(value)}" in page


def test_no_member_is_left_out():
    assert {type(member).__name__ for member, _ in MEMBERS.values()} == set(LINEAR)
