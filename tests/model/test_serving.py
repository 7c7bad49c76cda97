"""Serving from an export, without the package's engines, against dense scores of the same weights."""

import json
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from samples import compute, dense_x, text
from scipy import sparse

from l3ae_dist import L3AE
from l3ae_dist.errors import ConfigError, DataError, UnknownIdError, WorkspaceError, WorkspaceVersionError
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.serving import HEADER, ITEMS, WEIGHTS, ServedModel, load_export

BLOCKED = ("dask", "distributed", "ray", "zarr", "torch", "pandas", "pydantic", "sklearn", "pyarrow", "fsspec",
           "obstore", "yaml", "typer")  # fmt: skip


def dense_top(x, weights, n, *, mask=True, allowed=None):
    """Rank the scores ``X @ W`` that are not 0 by a full stable sort."""
    x = np.asarray(x, float)
    scores = x @ weights.toarray().astype(float)
    scores[scores == 0] = -np.inf
    if mask:
        scores[x != 0] = -np.inf
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :n]
    values = np.take_along_axis(scores, order, axis=1)
    return np.where(np.isfinite(values), order, -1), values


def random_model(n=300, k=8, seed=0):
    """Weights that are small integers over 8: sums are exact in float32, and ties abound."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.choice(np.delete(np.arange(n), j), k, replace=False) for j in range(n)])
    values = (rng.integers(1, 9, n * k) * rng.choice([1, 1, 1, -1], n * k) / 8).astype(np.float32)
    columns = np.repeat(np.arange(n), k)
    weights = sparse.csr_matrix((values, (rows, columns)), shape=(n, n))
    header = {"model": "EASE", "k": k}
    return ServedModel(header, weights, None, None)


@pytest.mark.parametrize("n", [1, 7, 300])
@pytest.mark.parametrize("mask", [True, False])
def test_rankings_equal_those_of_dense_scores_ties_included(monkeypatch, n, mask):
    from l3ae_dist import serving

    model = random_model()
    rng = np.random.default_rng(1)
    x = (rng.random((120, 300)) < rng.choice([0.0, 0.003, 0.02, 0.3], (120, 1))).astype(np.float32)
    want, scores = dense_top(x, model.weights, n, mask=mask)
    for batch in (1 << 20, 500, 1):
        monkeypatch.setattr(serving, "_BATCH_SCORES", batch)
        items, values = model.recommend(sparse.csr_matrix(x), n, filter_already_liked=mask, threads=2)
        np.testing.assert_array_equal(items, want)
        np.testing.assert_array_equal(values, scores.astype(np.float32))


def test_weighted_histories_block_lists_and_allow_lists_follow_the_dense_scores():
    model = random_model()
    model.item_ids = np.arange(300)
    rng = np.random.default_rng(2)
    x = ((rng.random((50, 300)) < 0.02) * rng.integers(1, 4, (50, 300))).astype(np.float32)
    block, allow = [1, 5, 7, 100], list(range(0, 300, 3))
    for filter_items, items in ((block, None), (None, allow), (block, allow), (None, [])):
        allowed = np.isin(np.arange(300), range(300) if items is None else items)
        allowed[filter_items or []] = False
        want, scores = dense_top(x, model.weights, 9, allowed=allowed)
        found, values = model.recommend(sparse.csr_matrix(x), 9, filter_items=filter_items, items=items)
        np.testing.assert_array_equal(found, want)
        np.testing.assert_array_equal(values, scores.astype(np.float32))


@pytest.fixture(scope="module")
def exported(tmp_path_factory, dask_session):
    """A fitted L3AE, its export of 6 weights for each item, and the users' histories."""
    import pandas as pd

    rng = np.random.default_rng(3)
    pairs = [(u, int(i)) for u in range(60) for i in rng.choice(38, rng.integers(3, 12), replace=False)]
    log = pd.DataFrame(pairs, columns=["user_id", "item_id"])
    items = pd.DataFrame({"item_id": range(40), "title": [f"title {i} é" for i in range(40)]})
    items["text"] = items.title
    folder = tmp_path_factory.mktemp("export")
    model = L3AE(-5.0, 2.0, 25.0, compute=compute(dask_session))
    model.fit(log, items, workspace=str(folder / "w"), embeddings=text(40, 8))
    model.export_weights(k=6, path=folder / "out", dtype="float64")
    return model.model_, folder / "out", dense_x(log, 40)


@pytest.mark.dask
def test_an_export_ranks_like_the_model_it_came_from_restricted_to_its_weights(exported):
    model, out, x = exported
    served = load_export(out)
    b = model.weights(range(40)) * (served.weights.toarray() != 0)
    want, scores = dense_top(x, sparse.csr_matrix(b), 10)
    items, values = served.recommend(model.dataset.rows_of("input", np.arange(60)), 10)
    np.testing.assert_array_equal(items, want)
    np.testing.assert_allclose(values, scores, atol=1e-12)
    lists = [np.flatnonzero(row).tolist() for row in x]
    np.testing.assert_array_equal(served.recommend(lists, 10)[0], want)
    similar, weights = served.similar_items([4, 9], 40)
    for row, found, value in zip((4, 9), similar, weights, strict=True):
        kept = np.where(b[row] != 0, b[row], -np.inf)
        order = np.argsort(-kept, kind="stable")[: (b[row] != 0).sum()]
        np.testing.assert_array_equal(found[: len(order)], order)
        assert (found[len(order) :] == -1).all()
        np.testing.assert_allclose(value[: len(order)], kept[order], atol=1e-12)
    named = next(served.named(items, values))
    assert named[0] == {"item_id": items[0, 0], "title": f"title {items[0, 0]} é", "score": values[0, 0]}


@pytest.mark.dask
def test_an_export_of_all_weights_ranks_like_the_factored_model(exported, tmp_path):
    model, _, x = exported
    model.export_weights(tmp_path / "all", "all", dtype="float64")
    items, values = load_export(tmp_path / "all").recommend(sparse.csr_matrix(x), 40)
    scores = x @ model.weights(range(40))
    want, best = top_k(scores, 40, seen=sparse.csr_matrix(x))
    np.testing.assert_array_equal(items, want)
    np.testing.assert_allclose(values, best, atol=1e-12)
    frame = model.recommend(list(range(60)), 5)
    assert frame.item_id.tolist() == items[:, :5].ravel().tolist()


@pytest.mark.dask
def test_an_export_loads_and_recommends_where_no_engine_is_installed(exported):
    _, out, x = exported
    lists = [np.flatnonzero(row).tolist() for row in x[:4]]
    script = textwrap.dedent(f"""
        import json, sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {BLOCKED!r}:
                    raise ImportError(name + " is not installed here")

        sys.meta_path.insert(0, Blocker())
        from l3ae_dist.serving import load_export

        served = load_export({str(out)!r})
        items, _ = served.recommend({lists!r}, 5)
        similar, _ = served.similar_items([3], 2)
        names = [[line["title"] for line in lines] for lines in served.named(items, items)]
        print(json.dumps([items.tolist(), similar.tolist(), names]))
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    items, similar, names = json.loads(done.stdout)
    served = load_export(out)
    assert items == served.recommend(lists, 5)[0].tolist()
    assert similar == served.similar_items([3], 2)[0].tolist()
    assert names[0][0] == f"title {items[0][0]} é"


@pytest.mark.dask
def test_edge_cases_give_the_documented_result_or_a_clear_error(exported, tmp_path):
    _, out, _ = exported
    served = load_export(out)
    items, scores = served.recommend([[], [3], [3, 3]], 60)
    assert items.shape == scores.shape == (3, 60)
    assert (items[0] == -1).all()
    assert (scores[0] == -np.inf).all()
    assert items[1].tolist() == items[2].tolist()
    assert next(served.named(items, scores)) == []
    assert served.recommend([], 5)[0].shape == (0, 5)
    assert (served.recommend([[3]], 5, items=[])[0] == -1).all()
    with pytest.raises(ConfigError, match="at least 1"):
        served.recommend([[3]], 0)
    with pytest.raises(UnknownIdError, match=r"2 item id.*40 known items: 99, 'a'"):
        served.recommend([[3, 99, "a"]])
    with pytest.raises(DataError, match="39 columns and the model 40"):
        served.recommend(sparse.csr_matrix((2, 39)))
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(DataError, match="negative or not finite"):
            served.recommend(sparse.csr_matrix(([bad], ([0], [3])), shape=(1, 40)))
    with pytest.raises(WorkspaceError, match="not an exported model"):
        load_export(tmp_path)


@pytest.mark.dask
@pytest.mark.parametrize("name", [WEIGHTS, ITEMS])
def test_a_damaged_or_foreign_export_is_refused(exported, tmp_path, name):
    _, out, _ = exported
    shutil.copytree(out, tmp_path / "out")
    header = json.loads((out / HEADER).read_text())
    (tmp_path / "out" / name).write_bytes((out / name).read_bytes()[:50])
    with pytest.raises(
        WorkspaceError, match=rf"{name} is damaged or of another export .* export the model again"
    ):
        load_export(tmp_path / "out")
    (tmp_path / "out" / HEADER).write_text(json.dumps({**header, "format_version": 99}))
    with pytest.raises(WorkspaceVersionError, match="format 99"):
        load_export(tmp_path / "out")
    (tmp_path / "out" / HEADER).write_text(json.dumps({"format": "other"}))
    with pytest.raises(WorkspaceError, match="not that of an exported model"):
        load_export(tmp_path / "out")


@pytest.mark.dask
def test_an_edited_header_or_a_file_of_another_export_is_named(exported, tmp_path):
    model, out, _ = exported
    shutil.copytree(out, tmp_path / "out")
    header = tmp_path / "out" / HEADER
    whole = header.read_bytes()
    for damaged in (whole.replace(b'"n_items": 40', b'"n_items": 41'), whole[:100], b"", b"[]", b"{}"):
        assert damaged != whole
        header.write_bytes(damaged)
        with pytest.raises(WorkspaceError, match=r"header\.json .*(export the model again|check the path)"):
            load_export(tmp_path / "out")
    header.write_bytes(whole)
    model.export_weights(tmp_path / "other", 2)
    shutil.copy(tmp_path / "other" / WEIGHTS, tmp_path / "out" / WEIGHTS)
    with pytest.raises(WorkspaceError, match=rf"{WEIGHTS} is damaged or of another export"):
        load_export(tmp_path / "out")
