"""One log in every library's form is one dataset; a model fitted on it has the weights of NumPy's formula."""

import dask.dataframe as dd
import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

from l3ae_dist import EASE
from l3ae_dist.config.load import make_config
from l3ae_dist.data.append import append_interactions
from l3ae_dist.data.appended_logs import log_id
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import IngestConfig, dataset_id, ingest
from l3ae_dist.errors import DataError
from l3ae_dist.pipeline.append import append
from l3ae_dist.pipeline.check import check
from l3ae_dist.pipeline.run import run
from l3ae_dist.storage.workspace import Workspace

USERS, ITEMS = ["ann", "bob", "cyd", "dan"], [10, 20, 30, 40, 50]
X = np.array([[1, 0, 2, 0, 0], [0, 3, 0, 0, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], float)
ROWS = [(USERS[u], ITEMS[i], X[u, i]) for u, i in zip(*np.nonzero(X), strict=True)]
CATALOG = pd.DataFrame({"item_id": ITEMS, "text": list("abcde")})


def frame():
    return pd.DataFrame(ROWS, columns=["user_id", "item_id", "weight"])


SOURCES = {
    "pandas": frame,
    "index": lambda: frame().set_index(["user_id", "item_id"]),
    "polars": lambda: pl.DataFrame(frame()),
    "lazy": lambda: pl.DataFrame(frame()).lazy(),
    "dask": lambda: dd.from_pandas(frame(), npartitions=2),
    "arrow": lambda: pa.Table.from_pandas(frame()),
    "stream": lambda: pa.Table.from_pandas(frame()).to_reader(),
    "hugging face": lambda: datasets.Dataset.from_pandas(frame()),
    "rows": lambda: ROWS,
    "dictionaries": lambda: frame().to_dict("records"),
    "array": lambda: np.array(ROWS, object),
    "matrix": lambda: (sparse.csr_array(X), USERS, None),
    "matrix with both ids": lambda: (sparse.coo_matrix(X[:, ::-1]), np.array(USERS), ITEMS[::-1]),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("catalog", [True, False])
def test_every_source_is_one_dataset(tmp_path, source, catalog):
    workspace = Workspace.create(tmp_path / "w")
    options = IngestConfig(split="none", weight_column="weight")
    items = CATALOG if catalog else None
    if source == "matrix" and not catalog:
        items = ITEMS_BY_POSITION
    dataset = Dataset(workspace, ingest(SOURCES[source](), items, options, workspace))
    assert dataset.user_ids().tolist() == USERS[:3]
    kept = dataset.item_ids().tolist()
    assert kept == ([i for i in ITEMS if i != 40] if items is None else ITEMS)
    stored = dataset.user_rows("train", 0, 3).toarray()
    assert np.array_equal(stored, X[:3, [ITEMS.index(i) for i in kept]])


ITEMS_BY_POSITION = pl.DataFrame({"item_id": ITEMS})


def test_positions_are_ids_where_nothing_else_is_given(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    dataset = Dataset(workspace, ingest(sparse.csr_array(X), None, IngestConfig(split="none"), workspace))
    assert (dataset.user_ids().tolist(), dataset.item_ids().tolist()) == ([0, 1, 2], [0, 1, 2, 4])
    assert "set weight_column" in " ".join(dataset.stats.notes)


def test_a_matrix_is_appended_in_catalog_order(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    options = IngestConfig(split="none")
    parent = Dataset(workspace, ingest(frame(), CATALOG, options, workspace))
    new = (sparse.csr_array(np.array([[0, 0, 0, 1.0, 0], [1, 0, 0, 0, 0]])), ["eve", "bob"], None)
    child = Dataset(workspace, append_interactions(parent, new, None, options))
    want = np.vstack([X[:3] > 0, [[0, 0, 0, 1, 0]]])
    want[1, 0] = 1
    assert child.user_ids().tolist() == [*USERS[:3], "eve"]
    assert np.array_equal(child.user_rows("train", 0, 4).toarray(), want)
    with pytest.raises(DataError, match="4 columns and the catalog has 5 items"):
        append_interactions(parent, (sparse.csr_array((2, 4)), ["eve", "bob"], None), None, options)
    with pytest.raises(DataError, match="no user ids, and the workspace's are not the row numbers"):
        append_interactions(parent, sparse.csr_array((2, 5)), None, options)


@pytest.mark.parametrize("source", ["polars", "stream", "matrix", "rows"])
def test_a_model_of_any_source_has_the_weights_of_the_formula(tmp_path, source):
    dense = X if source == "matrix" else X[:3]
    p = np.linalg.inv(dense.T @ dense + 2 * np.eye(5))
    want = np.eye(5) - p / np.diag(p)
    np.fill_diagonal(want, 0)
    options = {"split": "none", "weight_column": "weight"}
    compute = {"cluster": "synchronous", "dtype": "float64"}
    model = EASE(2.0, data_options=options, compute=compute)
    model.fit(SOURCES[source](), CATALOG, workspace=str(tmp_path / "w"))
    np.testing.assert_allclose(model.weights(ITEMS), want, atol=1e-12)
    got = model.recommend(["bob"], n=5, filter_already_liked=False).set_index("item_id").score
    np.testing.assert_allclose(got.reindex(ITEMS).to_numpy(), X[1] @ want, atol=1e-12)


def test_a_dense_array_is_refused_with_both_right_calls(tmp_path):
    with pytest.raises(DataError, match=r"csr_array\(array\).*\(n, 2\) array"):
        EASE(2.0, compute={"cluster": "synchronous"}).fit(X, CATALOG, workspace=str(tmp_path / "w"))


def test_weights_of_a_matrix_are_part_of_its_identity():
    matrix = sparse.csr_matrix(X)
    weighted, plain = IngestConfig(weight_column="weight"), IngestConfig()
    for name in (dataset_id, log_id):
        assert name(matrix, None, weighted) == name(matrix.copy(), None, weighted)
        assert name(matrix, None, weighted) != name(matrix * 2, None, weighted)
        assert name(matrix, None, plain) == name(matrix * 2, None, plain)


def test_a_configuration_may_list_paths(tmp_path):
    for name, rows in (("a", "1,1\n1,2\n2,2\n"), ("b", "3,1\n3,3\n2,3\n")):
        (tmp_path / f"{name}.csv").write_text("user_id,item_id\n" + rows)
    config = make_config(
        {
            "workspace": str(tmp_path / "w"),
            "data": {
                "interactions": [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")],
                "options": {"split": "none"},
            },
            "model": {"name": "ease", "reg_x": 1},
            "compute": {"cluster": "synchronous"},
        }
    )
    run(config, until="ingest")
    workspace = Workspace.open(tmp_path / "w")
    dataset = Dataset(workspace, dataset_id(config.data.interactions, None, config.data.options))
    assert dataset.nnz("train") == 6
    assert dataset.user_rows("train", 0, 3).toarray().tolist() == [[1, 1, 0], [0, 1, 1], [1, 0, 1]]


COLUMNS = {
    "polars": lambda values: pl.Series("item_id", values),
    "array": pa.array,
    "chunked": lambda values: pa.chunked_array([values]),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("what", ["items", "interactions"])
def test_a_single_column_is_refused_and_not_taken_for_nothing(tmp_path, kind, what):
    column, options = COLUMNS[kind](ITEMS), IngestConfig(split="none")
    log, items = (frame(), column) if what == "items" else (column, CATALOG)
    where, workspace = str(tmp_path / "fitted"), Workspace.create(tmp_path / "w")
    compute = {"cluster": "synchronous"}
    EASE(2.0, compute=compute).fit(frame(), CATALOG, workspace=where)
    parent = Dataset(workspace, ingest(frame(), CATALOG, options, workspace))
    config = make_config({"workspace": str(tmp_path / "c"), "model": {"name": "ease"}})
    for call in (
        lambda: EASE(2.0, compute=compute).fit(log, items, workspace=str(tmp_path / "other")),
        lambda: ingest(log, items, options, workspace),
        lambda: append_interactions(parent, log, items, options),
        lambda: append(where, log, items, compute=compute),
        lambda: check(config, interactions=log, items=items),
    ):
        with pytest.raises(DataError, match=f"the {what} are a .*, which is no table"):
            call()
    assert not (tmp_path / "other").exists()


def test_texts_by_id_are_items_wherever_items_are_taken(tmp_path):
    texts = dict(zip(ITEMS, "abcde", strict=True))
    options, workspace = IngestConfig(split="none"), Workspace.create(tmp_path / "w")
    for items in (texts, pd.Series(texts.values(), pd.Index(ITEMS))):
        name = ingest(frame(), items, options, workspace)
        assert name == dataset_id(frame(), items, options)
        dataset = Dataset(workspace, name)
        assert (dataset.item_ids().tolist(), dataset.texts()) == (ITEMS, list("abcde"))
    child = Dataset(workspace, append_interactions(dataset, [("eve", 60)], {60: "f"}, options))
    assert (child.item_ids().tolist(), child.texts()) == ([*ITEMS, 60], list("abcdef"))
