"""Exported weights of every member, against the largest entries of each column of its dense B."""

import json

import numpy as np
import pandas as pd
import pytest
from samples import DENSE, compute, dense_x, text
from scipy import sparse
from sklearn.base import clone
from typer.testing import CliRunner

from l3ae_dist import EASE, GFCF, L3AE, CollectiveEASE
from l3ae_dist.cli.app import app
from l3ae_dist.errors import BudgetError, ConfigError, WorkspaceError
from l3ae_dist.graphs.export import LargestWeights
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.model.export import PARQUET
from l3ae_dist.model.fitted import load_model
from l3ae_dist.serving import HEADER, ITEMS, WEIGHTS, load_export

MEMBERS = {
    "L3AE": (
        L3AE(-5.0, 2.0, 25.0),
        lambda x, f: cf.l3ae_dense(x, cf.semantic_dense(f, 2.0), -5.0, 25.0),
    ),
    "EASE": (EASE(20.0), lambda x, f: cf.ease_dense(x, 20.0)),
    "GFCF": (GFCF(60, 0.3), lambda x, f: cf.gfcf_dense(x, 60, 0.3)),
    **DENSE,
}


def largest(b, k):
    """The k entries of largest magnitude of each column, ties to the lower row, by a full stable sort."""
    out = np.zeros_like(b)
    for j in range(b.shape[1]):
        rows = np.argsort(-np.abs(b[:, j]), kind="stable")
        rows = rows[rows != j][:k]
        out[rows, j] = b[rows, j]
    return out


def fitted(tmp_path, small_tables, dask_session, member, *, tile=16, dtype="float64", route="auto"):
    log, items = small_tables
    options = {**compute(dask_session, dtype, tile), "semantic_route": route}
    model = clone(member).set_params(compute=options)
    model.fit(log, items, workspace=str(tmp_path / "w"), embeddings=text(40, 8))
    return model, dense_x(log, 40), text(40, 8).T.astype(float)


@pytest.mark.dask
@pytest.mark.parametrize("tile", [16, 40])
@pytest.mark.parametrize("name", MEMBERS)
def test_an_export_keeps_the_largest_weights_of_each_column(tmp_path, small_tables, dask_session, name, tile):
    """Ragged last tile, one tile alone, k of one, within and beyond the catalog."""
    member, dense = MEMBERS[name]
    model, x, f = fitted(tmp_path, small_tables, dask_session, member, tile=tile)
    want = dense(x, f)
    np.fill_diagonal(want, 0.0)
    for k in (1, 5, 39, 100, "all"):
        model.export_weights(k=k, path=tmp_path / "out", dtype="float64")
        got = sparse.load_npz(tmp_path / "out" / WEIGHTS)
        assert isinstance(got, sparse.csr_matrix)
        expected = largest(want, 39 if k == "all" else k)
        assert np.abs(got.toarray() - expected).max() <= 1e-10 * np.abs(want).max()
        assert np.diff(got.tocsc().indptr).max() <= 39
        assert not got.diagonal().any()


@pytest.mark.dask
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("route", ["woodbury", "direct"])
def test_both_routes_export_the_same_weights_in_this_process_and_on_a_cluster(
    tmp_path, small_tables, dask_session, route, dtype
):
    member, dense = MEMBERS["L3AE"]
    model, x, f = fitted(tmp_path, small_tables, dask_session, member, dtype=dtype, route=route)
    want = dense(x, f)
    bound = (1e-10 if dtype == "float64" else 1e-4) * np.abs(want).max()
    events = []
    model.export_weights(k=7, path=tmp_path / "a", dtype=dtype, on_event=events.append)
    model.export_weights(k=7, path=tmp_path / "b", dtype=dtype, client=dask_session.client)
    one, other = (sparse.load_npz(tmp_path / name / WEIGHTS) for name in "ab")
    assert (one != other).nnz == 0
    kept = one.toarray()
    assert (np.diff(one.tocsc().indptr) == 7).all()
    assert np.abs(kept - want)[kept != 0].max() <= bound
    # what is left out is nowhere larger than the smallest that is kept
    smallest = np.where(kept != 0, np.abs(kept), np.inf).min(axis=0)
    assert (np.where(kept == 0, np.abs(want), 0).max(axis=0) <= smallest + 2 * bound).all()
    assert events[-2]["done"] == events[-2]["total"] == model.model_.grid.lower_count
    # nothing is left in the workspace but the empty group
    assert set(model.model_.workspace.blobs.list("weights")) == {"weights/zarr.json"}


@pytest.mark.dask
def test_workers_with_too_little_memory_are_refused_before_anything_is_written(
    tmp_path, small_tables, dask_session, monkeypatch
):
    model, _, _ = fitted(tmp_path, small_tables, dask_session, EASE(20.0))
    monkeypatch.setattr("l3ae_dist.model.export.INTERPRETER_BYTES", 2**40)
    with pytest.raises(BudgetError, match="may use 2,048 MiB, and exporting k = 5 in tiles of 16 needs"):
        model.export_weights(k=5, path=tmp_path / "out", client=dask_session.client)
    assert not (tmp_path / "out").exists()
    assert not model.model_.workspace.has("weights")


def test_equal_magnitudes_are_kept_by_lower_row_however_the_rows_are_cut():
    rng = np.random.default_rng(0)
    block = rng.integers(-3, 4, (9, 50)).astype(np.float32)
    block[2] = 0
    block[3, 10:] = 0
    for k in (1, 4, 20, 60):
        for step in (1, 7, 50):
            found = LargestWeights(9, k, np.float32)
            for start in range(0, 50, step):
                found.offer(block[:, start : start + step].copy(), start)
            for column in range(9):
                order = np.argsort(-np.abs(block[column]), kind="stable")[:k]
                order = order[block[column][order] != 0]
                assert found.rows[column][found.values[column] != 0].tolist() == order.tolist()
                assert found.values[column][: len(order)].tolist() == block[column][order].tolist()


@pytest.mark.dask
def test_multi_hot_words_export_like_their_dense_formula(tmp_path, small_tables, dask_session):
    """Text similarity of sparse words multiplies sparse rows; collective EASE has them in its Gram."""
    from sklearn.feature_extraction.text import CountVectorizer

    from l3ae_dist import TextSimilarity

    log, items = small_tables
    w = CountVectorizer(binary=True, min_df=2).fit_transform(items.text).toarray().T.astype(float)
    for member, want in (
        (TextSimilarity(features="words"), cf.text_similarity(w)),
        (CollectiveEASE(20.0, 0.5), cf.collective_dense(dense_x(log, 40), w, 20.0, 0.5)),
    ):
        model = member.set_params(compute=compute(dask_session))
        model.fit(log, items, workspace=str(tmp_path / type(member).__name__))
        model.export_weights(k=5, path=tmp_path / "out", dtype="float64")
        got = sparse.load_npz(tmp_path / "out" / WEIGHTS).toarray()
        assert np.abs(got - want)[got != 0].max() <= 1e-10 * np.abs(want).max()
        np.testing.assert_allclose(np.abs(got).sum(axis=0), np.abs(largest(want, 5)).sum(axis=0), atol=1e-9)


@pytest.mark.dask
def test_parquet_holds_the_same_weights_by_item_id(tmp_path, small_tables, dask_session):
    log, items = small_tables
    log, items = (
        log.assign(item_id="i" + log.item_id.astype(str)),
        items.assign(item_id="i" + items.item_id.astype(str)),
    )
    model = EASE(20.0, compute=compute(dask_session)).fit(log, items, workspace=str(tmp_path / "w"))
    header = model.export_weights(k=6, path=tmp_path / "out", format="both")
    table = pd.read_parquet(tmp_path / "out" / PARQUET)
    served = load_export(tmp_path / "out")
    assert served.item_ids.tolist() == model.model_.dataset.item_ids().tolist()
    assert served.titles.tolist() == model.model_.dataset.titles()
    rows, columns = (served.item_rows(table[name]) for name in ("history_item_id", "item_id"))
    again = sparse.csr_matrix((table.weight, (rows, columns)), shape=(40, 40))
    assert np.abs(again - served.weights).max() == 0
    assert len(table) == header["entries"] == served.weights.nnz
    magnitudes = table.weight.abs().groupby(table.item_id, sort=False)
    assert all(group.is_monotonic_decreasing for _, group in magnitudes)


@pytest.mark.dask
def test_the_header_says_what_the_weights_are_and_files_need_no_pickle(tmp_path, small_tables, dask_session):
    model, _, _ = fitted(tmp_path, small_tables, dask_session, L3AE(-5.0, 2.0, 25.0))
    header = model.export_weights(k=3, path=tmp_path / "out")
    stored = json.loads((tmp_path / "out" / HEADER).read_text())
    assert len(stored.pop("digest")) == 32
    assert stored == header
    assert header["model"] == "L3AE"
    assert header["params"] == {"reg_x": -5.0, "reg_f": 2.0, "reg_e": 25.0}
    assert (header["k"], header["n_items"], header["entries"], header["dtype"]) == (3, 40, 120, "float32")
    assert header["certificate"] == model.certificate_
    for name in (WEIGHTS, ITEMS):
        with np.load(tmp_path / "out" / name, allow_pickle=False) as arrays:
            assert all(arrays[key].dtype != object for key in arrays)


@pytest.mark.dask
def test_bad_calls_say_what_to_change_and_leave_everything_as_it_was(tmp_path, small_tables, dask_session):
    model, _, _ = fitted(tmp_path, small_tables, dask_session, EASE(20.0))
    out = tmp_path / "out"
    for k in (0, -1, 2.5, "some", True):
        with pytest.raises(ConfigError, match="must be at least 1, or all"):
            model.export_weights(k=k, path=out)
    with pytest.raises(ConfigError, match="npz, parquet or both"):
        model.export_weights(path=out, format="csv")
    with pytest.raises(ConfigError, match="such as 2GiB"):
        model.export_weights(path=out, memory_budget="lots")
    with pytest.raises(ConfigError, match="local folder"):
        model.export_weights(path="s3://bucket/out")
    with pytest.raises(BudgetError, match=r"39 weights for each of 40 items needs .* k of at most \d+ or"):
        model.export_weights(k="all", path=out, memory_budget=40_000)
    assert not out.exists()
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(WorkspaceError, match="is no export"):
        model.export_weights(path=out)
    assert (out / "notes.txt").read_text() == "mine"
    model.export_weights(k=2, path=tmp_path / "again")
    model.export_weights(k=3, path=tmp_path / "again")
    assert load_export(tmp_path / "again").header["k"] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "out", "w"]


@pytest.mark.dask
def test_the_command_exports_and_reports(tmp_path, small_tables, dask_session):
    model, _, _ = fitted(tmp_path, small_tables, dask_session, EASE(20.0))
    workspace = model.model_.workspace.url
    result = CliRunner().invoke(app, ["export", workspace, str(tmp_path / "out"), "--k", "5", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["k"] == 5
    assert load_export(tmp_path / "out").weights.nnz == 190  # nothing speaks for what nobody bought
    result = CliRunner().invoke(app, ["export", workspace, str(tmp_path / "out"), "--k", "few"])
    assert result.exit_code == ConfigError.exit_code
    assert load_model(workspace).export_weights(tmp_path / "out", None)["k"] == "all"
