"""The whole job on a real Dask cluster, against the dense equations and across runs."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from samples import compute, dense_x, text
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from l3ae_dist import EASE, L3AE
from l3ae_dist.config.load import make_config
from l3ae_dist.errors import (
    BudgetError,
    ConfigError,
    DataError,
    NumericalError,
    StageMissingError,
    UnknownIdError,
    WorkspaceError,
)
from l3ae_dist.graphs.score_terms import TermArrays
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.linalg.torch_kernels import resolve_device
from l3ae_dist.metrics import evaluate_top
from l3ae_dist.model.fitted import load_model
from l3ae_dist.operations.status import workspace_status
from l3ae_dist.pipeline.evaluate import evaluate_workspace
from l3ae_dist.pipeline.run import run
from l3ae_dist.planning.plan import make_plan
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.worker_memory import host_tiles, process_bytes
from l3ae_dist.solve.diagonal_check import diagonal_error
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("reg_x", "reg_e"), [(10.0, 10.0), (-100.0, 200.0), (500.0, 500.0)])
@pytest.mark.parametrize(("tile", "d"), [(16, 8), (64, 60), (40, 8)])
def test_fitted_weights_equal_the_dense_formulas(
    tmp_path, small_tables, dask_session, dtype, reg_x, reg_e, tile, d
):
    """Ragged last tile, n below one tile, d > n, an item nobody bought, a user with one item."""
    log, items = small_tables
    f = text(40, d)
    model = L3AE(reg_x, 5.0, reg_e, compute=compute(dask_session, dtype, tile))
    model.fit(log, items, workspace=str(tmp_path / "w"), embeddings=f)
    want = cf.l3ae_dense(dense_x(log, 40), cf.semantic_dense(f.T.astype(float), 5.0), reg_x, reg_e)
    got = model.model_.weights(range(40))
    bound = 1e-10 if dtype == "float64" else 1e-4
    assert np.abs(got - want).max() <= bound * np.abs(want).max()
    assert np.abs(got - want.T).max() > 100 * bound * np.abs(want).max()  # the orientation matters
    assert model.certificate_["residual"] <= model.certificate_["tolerance"]


def test_one_item_is_a_valid_catalog(tmp_path, dask_session):
    log = pd.DataFrame({"user_id": [1, 2], "item_id": [9, 9]})
    model = EASE(10.0, compute=compute(dask_session)).fit(
        log, pd.DataFrame({"item_id": [9]}), workspace=str(tmp_path / "w")
    )
    assert model.model_.weights([9]).tolist() == [[0.0]]
    assert len(model.recommend([1], 5)) == 0


def test_recommendations_equal_ranking_the_dense_scores(tmp_path, small_tables, dask_session):
    log, items = small_tables
    f = text(40, 8)
    model = L3AE(-5.0, 5.0, 20.0, compute=compute(dask_session))
    model.fit(log, items, workspace=str(tmp_path / "w"), embeddings=f)
    x = dense_x(log, 40)
    b = cf.l3ae_dense(x, cf.semantic_dense(f.T.astype(float), 5.0), -5.0, 20.0)
    scores = x @ b
    got = model.recommend([3, 7, 59], n=5)
    for user in (3, 7, 59):
        unseen = np.where(x[user] > 0, -np.inf, scores[user])
        mine = got[got.user_id == user]
        assert mine.item_id.tolist() == np.argsort(-unseen, kind="stable")[:5].tolist()
        np.testing.assert_allclose(mine.score, np.sort(unseen)[::-1][:5], atol=1e-12)
        assert not set(mine.item_id) & set(np.flatnonzero(x[user]))
    with_seen = model.recommend([3], n=40, filter_already_liked=False)
    assert len(with_seen) == 40
    similar = model.similar_items([4], n=3)
    row = b[4].copy()
    row[4] = -np.inf
    assert similar.similar_item_id.tolist() == np.argsort(-row, kind="stable")[:3].tolist()
    reasons = model.explain(3, int(got.item_id[0]))
    assert reasons.total.sum() == pytest.approx(scores[3, got.item_id[0]], abs=1e-12)
    assert set(reasons.item_id) == set(np.flatnonzero(x[3]))
    with pytest.raises(UnknownIdError, match="user id"):
        model.recommend([3, 1234])
    with pytest.raises(UnknownIdError, match="item id"):
        model.similar_items(["x"])
    with pytest.raises(ConfigError, match="n is 0"):
        model.recommend([3], 0)


def test_a_loaded_model_opens_from_another_process(tmp_path, small_tables, dask_session):
    log, items = small_tables
    where = str(tmp_path / "w")
    fitted = EASE(10.0, compute=compute(dask_session)).fit(log, items, workspace=where)
    code = (
        "import sys\nfrom l3ae_dist.model.fitted import load_model\n"
        f"print(load_model({where!r}).recommend([3], 3).to_json())\n"
        "assert not {'ray', 'torch', 'distributed'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(fitted.recommend([3], 3).to_json())
    with pytest.raises(StageMissingError, match="no fitted model"):
        load_model(Workspace.create(tmp_path / "empty").url)


def test_estimators_follow_scikit_learn():
    model = L3AE(-100.0, 5.0, 200.0, encoder={"model": "minilm"})
    assert clone(model).get_params() == model.get_params()
    assert clone(EASE(3.0)).reg_x == 3.0
    with pytest.raises(NotFittedError):
        model.recommend([1])


def config(where, session, **sections):
    return make_config({"workspace": str(where), "compute": compute(session), **sections})


GRID = {
    "grid": {"ridges": [5, 20], "reg_f": [1, 5], "reg_e": [10]},
    "evaluate": {"metric": "ndcg@5", "ks": [5]},
}


def test_the_grid_picks_on_validation_and_a_second_run_does_nothing(tmp_path, small_tables, dask_session):
    log, items = small_tables
    f = text(40, 8)
    settings = config(tmp_path / "w", dask_session, **GRID)
    first = run(settings, interactions=log, items=items, embeddings=f)
    assert not first["reused"]
    assert first["tiles_written"] > 0
    assert len(first["grid"]) == 6
    for name in ("L3AE", "EASE"):
        rows = [row for row in first["grid"] if row["model"] == name]
        best = max(rows, key=lambda row: row["ndcg@5"])
        assert first["models"][name]["params"]["reg_x"] == best["reg_x"]
        assert first["models"][name]["valid"]["ndcg@5"] == pytest.approx(best["ndcg@5"], abs=1e-12)
    assert first["comparison"]["low"] <= first["comparison"]["difference"] <= first["comparison"]["high"]
    events = []
    second = run(settings, interactions=log, items=items, embeddings=f, on_event=events.append)
    assert second["reused"]
    assert second["tiles_written"] == 0
    assert events == []
    assert second["models"] == first["models"]
    # one ridge keeps its P; the factors on the way are gone
    factors = {path for path in workspace_status(str(tmp_path / "w")).arrays if path.startswith("factors/")}
    assert sum(path.endswith("/P") for path in factors) == 1
    assert not any(path.endswith(("/L", "/Linv")) for path in factors)


def test_metrics_equal_those_of_dense_scores(tmp_path, small_tables, dask_session):
    log, items = small_tables
    f = text(40, 8)
    sections = {"model": {"reg_x": 10, "reg_f": 5, "reg_e": 10}, "evaluate": {"ks": [3, 20]}}
    settings = config(tmp_path / "w", dask_session, **sections)
    result = run(settings, interactions=log, items=items, embeddings=f)
    from l3ae_dist.data.dataset import Dataset

    ds = Dataset(Workspace.open(tmp_path / "w"), result["dataset"]["id"])
    x = ds.user_rows("train", 0, 60)
    b = cf.l3ae_dense(x.toarray().astype(float), cf.semantic_dense(f.T.astype(float), 5.0), 10, 10)
    top, _ = top_k(x.toarray() @ b, 20, seen=x)
    want = evaluate_top(top, ds.user_rows("test", 0, 60), ds.popularity(), (3, 20))
    got = result["models"]["L3AE"]["test"]
    for key, value in want.items():
        assert got[key] == pytest.approx(value, abs=1e-12, nan_ok=True), key
    again = evaluate_workspace(settings.model_copy(update={"evaluate": settings.evaluate.model_copy(
        update={"ks": (7,)})}))  # fmt: skip
    assert "recall@7" in again["models"]["L3AE"]["test"]


def test_a_sample_of_users_is_evaluated_on_request(tmp_path, small_tables, dask_session):
    log, items = small_tables
    settings = config(tmp_path / "w", dask_session, model={"name": "ease", "reg_x": 10},
                      evaluate={"max_users": 17, "ks": [5], "metric": "ndcg@5"})  # fmt: skip
    result = run(settings, interactions=log, items=items)
    assert result["users"] == 17
    assert result["models"]["EASE"]["test"]["users"] <= 17


def test_every_matrix_opens_as_a_dask_array(tmp_path, small_tables, dask_session):
    log, items = small_tables
    EASE(10.0, compute=compute(dask_session)).fit(log, items, workspace=str(tmp_path / "w"))
    ws = Workspace.open(tmp_path / "w")
    x = dense_x(log, 40)
    gram = ws.gram.as_dask()
    assert gram.chunks == ((16, 16, 8), (16, 16, 8))
    np.testing.assert_array_equal(gram.compute(scheduler="synchronous"), x.T @ x)
    p = ws.inverse.as_dask().compute(scheduler="synchronous")
    np.testing.assert_allclose(p, np.linalg.inv(x.T @ x + 10 * np.eye(40)), atol=1e-13)


def flip(path):
    data = bytearray(path.read_bytes())
    data[9] ^= 1
    path.write_bytes(data)


def test_a_damaged_gram_tile_is_made_again_and_nothing_else(tmp_path, small_tables, dask_session):
    log, items = small_tables
    settings = config(tmp_path / "w", dask_session, model={"name": "ease", "reg_x": 10})
    run(settings, interactions=log, items=items, until="fit")
    ws = Workspace.open(tmp_path / "w")
    before = ws.gram.as_dask().compute(scheduler="synchronous")
    flip(tmp_path / "w" / ws.gram.path / "c" / "1" / "0")
    events = []
    other = config(tmp_path / "w", dask_session, model={"name": "ease", "reg_x": 30})
    result = run(other, interactions=log, items=items, until="fit", on_event=events.append)
    gram_tiles = [e for e in events if e["kind"] == "tile" and e["stage"] == "gram" and not e["skipped"]]
    assert [(e["i"], e["j"]) for e in gram_tiles] == [(1, 0)]
    assert result["certificate"]["residual"] <= result["certificate"]["tolerance"]
    np.testing.assert_array_equal(ws.gram.as_dask().compute(scheduler="synchronous"), before)


def test_a_damaged_inverse_that_a_run_meets_is_named_and_made_again_by_the_same_run(
    tmp_path, small_tables, dask_session
):
    log, items = small_tables
    settings = config(tmp_path / "w", dask_session, model={"name": "ease", "reg_x": 10})
    run(settings, interactions=log, items=items, until="fit")
    ws = Workspace.open(tmp_path / "w")
    before = ws.inverse.as_dask().compute(scheduler="synchronous")
    flip(tmp_path / "w" / ws.inverse.path / "c" / "2" / "1")
    events = []
    run(settings, interactions=log, items=items, on_event=events.append)
    assert [(e["i"], e["j"]) for e in events if e["kind"] == "bad_tile" and e["array"] == ws.inverse.path]
    np.testing.assert_array_equal(ws.inverse.as_dask().compute(scheduler="synchronous"), before)


BAD = {
    "budget": ({"compute": {"memory_budget": "100MiB"}}, {}, BudgetError, "at least"),
    "tile over budget": (
        {"compute": {"memory_budget": "400MiB", "tile_size": 40_000}}, {"n": 3000}, BudgetError, "raise the budget"),
    "float32 unsafe": ({"compute": {"dtype": "float32"}, "model": {"reg_x": 1e-6, "reg_e": 0, "reg_f": 1}}, {},
                       NumericalError, "float32 was demanded"),
    "nan": ({}, {"spoil": lambda f: f.__setitem__((3, 0), np.nan)}, DataError, "rows 3"),
    "length": ({}, {"rows": 39}, DataError, "39 rows and the catalog has 40"),
    "no interactions": ({}, {"log": None}, ConfigError, "no interactions"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_run_is_refused_with_one_sentence(tmp_path, small_tables, dask_session, name):
    sections, change, error, message = BAD[name]
    log, items = small_tables
    if "n" in change:
        items = pd.DataFrame({"item_id": range(change["n"])})
    f = text(len(items), 8)[: change.get("rows")]
    change.get("spoil", lambda f: None)(f)
    base = compute(dask_session)
    base.pop("tile_size")
    values = {
        "workspace": str(tmp_path / "w"),
        **sections,
        "compute": {**base, **sections.get("compute", {})},
    }
    with pytest.raises(error, match=message):
        run(make_config(values), interactions=change.get("log", log), items=items, embeddings=f)


def test_workers_decide_for_themselves_whether_they_have_a_gpu(tmp_path, small_tables, dask_session):
    log, items = small_tables
    if resolve_device("auto") == "cuda":
        pytest.skip("this machine has a GPU")
    options = {**compute(dask_session), "memory_budget": "3GiB"}
    fitted = EASE(10.0, compute={**options, "device": "auto"})
    fitted.fit(log, items, workspace=str(tmp_path / "auto"))
    want = cf.ease_dense(dense_x(log, 40), 10.0)
    assert np.abs(fitted.model_.weights(range(40)) - want).max() <= 1e-10 * np.abs(want).max()
    with pytest.raises(ConfigError, match=r"device is cuda .* compute.device=cpu"):
        EASE(10.0, compute={**options, "device": "cuda"}).fit(log, items, workspace=str(tmp_path / "cuda"))


def test_a_plan_for_gpus_allows_for_what_they_take_on_the_host():
    size = DataSize(10_000, 100, 1000, block_interactions=lambda tile: 100)
    cpu, gpu = (make_plan(size, ModelNeeds(), Machine(2**31, gpu=flag, tile=1000)) for flag in (False, True))
    cpu_solve, gpu_solve = (plan.stages[1].peak_bytes - plan.cache_bytes for plan in (cpu, gpu))
    on_the_way, at_work = (host_tiles(plan.block, gpu=flag) for flag, plan in ((True, gpu), (False, cpu)))
    beside = process_bytes(gpu=True) - process_bytes(gpu=False)
    assert gpu_solve - cpu_solve == beside + (on_the_way - at_work) * 4_000_000 > 2**30
    make_plan(size, ModelNeeds(), Machine(2**31, gpu=True)).validate()
    with pytest.raises(BudgetError, match="at least"):
        make_plan(size, ModelNeeds(), Machine(2**30, gpu=True))


def test_locations_that_cannot_hold_a_workspace_are_refused(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    with pytest.raises(WorkspaceError, match="not empty"):
        Workspace.create(tmp_path / "full")
    with pytest.raises(WorkspaceError, match="no workspace"):
        Workspace.open(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkspaceError):
        Workspace.create(tmp_path / "file" / "w")
    for url in ("s3://key:secret@bucket/x", "s3://bucket/x?X-Amz-Signature=1", "ftp://x/y"):
        with pytest.raises(ConfigError) as error:
            Workspace.create(url)
        assert "secret" not in str(error.value)


def test_zarr_reads_the_tiles_by_itself(tmp_path):
    import zarr

    ws = Workspace.create(tmp_path / "w")
    x = np.arange(70, dtype=np.float32).reshape(10, 7)
    array = ChunkArray.create(ws, "a/b", shape=(10, 7), chunks=(4, 4), dtype="float32")
    for i in range(3):
        for j in range(2):
            array.write(i, j, x[4 * i : 4 * i + 4, 4 * j : 4 * j + 4])
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "w" / "a" / "b", mode="r")[:], x)
    members = [name for name, _ in zarr.open_group(tmp_path / "w", mode="r").members(max_depth=None)]
    assert "a/b" in members


def test_a_complete_run_serves_its_own_model_again(tmp_path, small_tables, dask_session):
    """A, B, then A: the third fit is reused, and answers with the weights of A."""
    log, items = small_tables
    f, where = text(40, 8), str(tmp_path / "w")
    models = {}
    for reg_e in (20.0, 50.0, 20.0):
        model = L3AE(5.0, 2.0, reg_e, compute=compute(dask_session))
        model.fit(log, items, workspace=where, embeddings=f)
        want = cf.l3ae_dense(dense_x(log, 40), cf.semantic_dense(f.T.astype(float), 2.0), 5.0, reg_e)
        np.testing.assert_allclose(model.model_.weights(range(40)), want, atol=1e-10)
        assert load_model(where).params["reg_e"] == reg_e
        models.setdefault(reg_e, []).append(model.result_["reused"])
    assert models == {20.0: [False, True], 50.0: [False]}


def test_a_complete_run_whose_inverse_was_dropped_is_run_again(tmp_path, small_tables, dask_session):
    log, items = small_tables
    one = config(tmp_path / "w", dask_session, model={"name": "ease", "reg_x": 10}, evaluate={"ks": [5]})
    first = run(one, interactions=log, items=items)
    grid = config(tmp_path / "w", dask_session, model={"name": "ease"}, grid={"ridges": [10, 5000]},
                  evaluate={"ks": [5]})  # fmt: skip
    picked = run(grid, interactions=log, items=items)["models"]["EASE"]["params"]["reg_x"]
    other = config(tmp_path / "w", dask_session, model={"name": "ease", "reg_x": 5010 - picked},
                   evaluate={"ks": [5]})  # fmt: skip
    run(other, interactions=log, items=items)
    again = run(one, interactions=log, items=items)
    assert again["models"] == first["models"]
    assert load_model(str(tmp_path / "w")).params == {"reg_x": 10.0}
    assert len(load_model(str(tmp_path / "w")).recommend([3], n=5)) == 5


def test_evaluate_measures_the_model_that_was_fitted(tmp_path, small_tables, dask_session):
    log, items = small_tables
    f, where = text(40, 8), tmp_path / "w"
    settings = config(where, dask_session, model={"reg_x": 10, "reg_f": 5, "reg_e": 10})
    fitted = run(settings, interactions=log, items=items, embeddings=f, until="fit")
    own = compute(dask_session)
    bare = make_config({"workspace": str(where), "compute": {k: own[k] for k in ("cluster", "address")}})
    found = evaluate_workspace(bare)
    assert found["models"]["L3AE"]["params"] == fitted["models"]["L3AE"]["params"]
    assert found["stages"].keys() == {"score ridge 20"}
    assert load_model(str(where)).params == fitted["models"]["L3AE"]["params"]
    with pytest.raises(ConfigError, match="evaluate measures the fitted model"):
        evaluate_workspace(
            bare.model_copy(update={"model": settings.model.model_copy(update={"reg_e": 1.0})})
        )
    with pytest.raises(StageMissingError, match="holds no fitted model"):
        evaluate_workspace(make_config({"workspace": Workspace.create(tmp_path / "empty").url}))


def test_an_estimator_evaluates_itself_as_the_pipeline_does_and_tells_what_happens(
    tmp_path, small_tables, dask_session
):
    seen = []
    model = L3AE(10.0, 5.0, 10.0, data_options={"split": "random"}, compute=compute(dask_session))
    model.fit(*small_tables, workspace=tmp_path / "w", embeddings=text(40, 8), on_event=seen.append)
    assert {"gram", "factor"} <= {event["stage"] for event in seen if event["kind"] == "stage_end"}
    found = model.evaluate(metric="recall@3", ks=(5,), by=("popularity",), on_event=seen.append)
    assert found["comparison"]["metric"] == "recall@3"
    assert found["models"].keys() == {"L3AE", "EASE"}
    assert found["models"]["EASE"]["params"] == {"reg_x": 20.0}
    assert found["models"]["L3AE"]["test"].keys() >= {"recall@3", "recall@5", "by_item_popularity"}
    own = compute(dask_session)
    values = {"workspace": str(tmp_path / "w"), "compute": {k: own[k] for k in ("cluster", "address")}}
    again = evaluate_workspace(make_config({**values, "evaluate": {"ks": [5], "metric": "recall@3"}}))
    assert again["models"]["L3AE"]["test"]["recall@5"] == found["models"]["L3AE"]["test"]["recall@5"]


def test_sources_beside_a_workspace_are_used_or_refused(tmp_path, small_tables, dask_session):
    log, items = small_tables
    settings = config(tmp_path / "w", dask_session, model={"reg_x": 10, "reg_f": 5, "reg_e": 10})
    first = run(settings, interactions=log, items=items, embeddings=text(40, 8), until="fit")
    other = run(settings, embeddings=text(40, 8, seed=5), until="fit")
    assert other["embedding"] != first["embedding"]
    with pytest.raises(ConfigError, match=r"data\.items would change the data"):
        run(settings, items=items, until="fit")
    other_split = config(tmp_path / "w", dask_session, data={"options": {"seed": 3}})
    with pytest.raises(ConfigError, match=r"data\.options\.seed would change"):
        run(other_split, until="fit")
    with pytest.raises(ConfigError, match="there is no workspace at"):
        run(config(tmp_path / "typo", dask_session))
    with pytest.raises(DataError, match="no file at"):
        run(config(tmp_path / "typo", dask_session), interactions=str(tmp_path / "none.csv"), items=items)
    assert not (tmp_path / "typo").exists()


def test_every_certificate_says_how_far_the_diagonal_is_from_zero(tmp_path, small_tables, dask_session):
    log, items = small_tables
    model = L3AE(5.0, 2.0, 20.0, compute=compute(dask_session))
    model.fit(log, items, workspace=str(tmp_path / "w"), embeddings=text(40, 8))
    found = model.certificate_
    assert 0 <= found["diagonal"] <= found["diagonal_tolerance"] <= 1e-12
    terms, arrays = model.model_.terms, TermArrays(model.model_.workspace)
    # a Q that is wrong by a thousandth passes the residual of P, but not this
    wrong = replace(terms, products=tuple(replace(p, weight=p.weight * 1.001) for p in terms.products))
    assert diagonal_error(wrong, arrays, model.model_.grid) > 1e-6


def test_another_split_or_log_of_the_same_catalog_keeps_the_embeddings(tmp_path, small_tables, dask_session):
    log, items = small_tables
    found = []
    for seed, part in ((0, log), (1, log), (1, log[:-5])):
        settings = config(tmp_path / "w", dask_session, data={"options": {"seed": seed}})
        events = []
        result = run(settings, interactions=part, items=items, embeddings=text(40, 8), until="embed",
                     on_event=events.append)  # fmt: skip
        found.append((result["dataset"]["id"], result["embedding"]))
    assert len({dataset for dataset, _ in found}) == 3
    assert len({embedding for _, embedding in found}) == 1
    changed = items.assign(text=items.text + " new")
    other = run(settings, interactions=log, items=changed, embeddings=text(40, 8), until="embed")
    assert other["embedding"] != found[0][1]
