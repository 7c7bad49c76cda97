"""Every object that people hand over gives the same fit as the rows written out by hand."""

import dask.dataframe as dd
import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from intake_samples import FIVE, assert_fitted_on, catalog, ease, fit, is_short, ones, read, rows, section
from scipy import sparse

from l3ae_dist import EASE, make_config, run
from l3ae_dist.errors import ConfigError, DataError

LOG = pd.DataFrame(
    {
        "user_id": ["007", "b", "b", "c", "007", "d"],
        "item_id": [1, 2, 3, 1, 2, 5],
        "w": [1.0, 2.5, 3.0, 1.0, 4.0, 1.0],
    }
)
ROWS = {"007": {1: 1.0, 2: 4.0}, "b": {2: 2.5, 3: 3.0}, "c": {1: 1.0}, "d": {5: 1.0}}


class Capsule:
    """A table that has nothing but the Arrow PyCapsule interface."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


def dask_frame(frame):
    return dd.from_pandas(frame, npartitions=3)


OBJECTS = {
    "pandas": lambda frame: frame,
    "pandas of Arrow": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    "pandas nullable": lambda frame: frame.convert_dtypes(),
    "categories": lambda frame: frame.assign(user_id=frame["user_id"].astype("category")),
    "dask": dask_frame,
    "arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "chunks": lambda frame: pa.concat_tables(
        [pa.Table.from_pandas(frame[i : i + 2], preserve_index=False) for i in range(0, len(frame), 2)]
    ),
    "batch": lambda frame: pa.RecordBatch.from_pandas(frame, preserve_index=False),
    "polars": pl.from_pandas,
    "capsule": lambda frame: Capsule(pa.Table.from_pandas(frame, preserve_index=False)),
    "hugging face": lambda frame: datasets.Dataset.from_pandas(frame, preserve_index=False),
    "index": lambda frame: frame.set_index("user_id"),
    "indices": lambda frame: frame.set_index(["user_id", "item_id"]),
}


@pytest.mark.parametrize("kind", list(OBJECTS))
def test_an_object_is_read(tmp_path, kind):
    assert_fitted_on(fit(tmp_path / "w", OBJECTS[kind](LOG), weight_column="w"), ROWS)


@pytest.mark.parametrize("kind", ["pandas", "dask", "arrow", "polars", "capsule", "hugging face"])
def test_an_object_is_a_catalog_too(tmp_path, kind):
    items = catalog(text=["one", "zwei", "", "NA", "0451"], title=list("abcde"))
    dataset = read(tmp_path / "w", OBJECTS[kind](LOG), OBJECTS[kind](items), weight_column="w")
    assert dataset.item_ids().tolist() == list(FIVE)
    assert dataset.texts() == ["one", "zwei", "", "NA", "0451"]
    assert dataset.titles() == list("abcde")


def test_the_index_of_a_catalog_holds_its_ids(tmp_path):
    items = catalog(text=list("abcde"))
    dataset = read(tmp_path / "w", LOG, items.set_index("item_id"))
    assert dataset.item_ids().tolist() == list(FIVE)
    assert dataset.texts() == list("abcde")


def test_a_selection_of_a_hugging_face_dataset_is_that_selection(tmp_path):
    whole = datasets.Dataset.from_pandas(LOG, preserve_index=False)
    found = read(tmp_path / "w", whole.select([1, 2]), weight_column="w")
    assert rows(found) == {"b": {2: 2.5, 3: 3.0}}


def test_a_lazy_polars_frame_is_read_or_refused_with_the_right_call(tmp_path):
    lazy = pl.from_pandas(LOG).lazy()
    try:
        found = rows(read(tmp_path / "w", lazy, weight_column="w"))
    except (ConfigError, DataError) as error:
        found = str(error)
    assert is_short(found, "collect") if isinstance(found, str) else found == ROWS


PAIRS = [("007", 1), ("b", 2), ("b", 3), ("c", 1), ("007", 2), ("d", 5)]
BINARY = {user: dict.fromkeys(items, 1.0) for user, items in ROWS.items()}


@pytest.mark.parametrize(
    "pairs",
    [PAIRS, [list(pair) for pair in PAIRS], tuple(PAIRS)],
    ids=["tuples", "lists", "a tuple"],
)
def test_pairs_are_a_log(tmp_path, pairs):
    assert_fitted_on(fit(tmp_path / "w", pairs), BINARY)


def test_an_array_of_pairs_is_a_log(tmp_path):
    for dtype in (np.int64, np.int32, float):
        pairs = np.array([[7, 1], [8, 2], [8, 3], [9, 1], [7, 2]], dtype)
        expected = {7: {1: 1.0, 2: 1.0}, 8: {2: 1.0, 3: 1.0}, 9: {1: 1.0}}
        assert_fitted_on(fit(tmp_path / np.dtype(dtype).name, pairs), expected)


def test_an_array_of_text_pairs_is_a_log_of_text(tmp_path):
    pairs = np.array([[user, str(item)] for user, item in PAIRS])
    items = [str(item) for item in FIVE]
    model = fit(tmp_path / "w", pairs, catalog(*items))
    assert_fitted_on(model, {u: {str(i): 1.0 for i in row} for u, row in BINARY.items()}, items)


@pytest.mark.parametrize("given", [np.zeros((3, 5)), np.arange(6), [], [1, 2, 3], [[1, 2], [3]], "x" * 9000])
def test_what_is_no_log_is_refused_with_a_short_sentence(tmp_path, given):
    with pytest.raises((ConfigError, DataError)) as error:
        read(tmp_path / "w", given)
    assert is_short(error)


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_a_sparse_matrix_is_users_by_items(tmp_path, make):
    dense = np.array([[1, 0, 2, 0], [0, 0, 0, 0], [0, 3, 1, 0]], float)
    model = fit(tmp_path / "w", make(dense), catalog(0, 1, 2, 3))
    found = rows(model.dataset)
    weighted = {0: {0: 1.0, 2: 2.0}, 2: {1: 3.0, 2: 1.0}}
    assert found in (weighted, {user: dict.fromkeys(row, 1.0) for user, row in weighted.items()})
    assert_fitted_on(model, found, [0, 1, 2, 3])


def test_a_fit_without_items_takes_those_of_the_log(tmp_path):
    for name, log, items in (
        ("integers", pd.DataFrame({"user_id": [1, 1, 2], "item_id": [30, 10, 20]}), [10, 20, 30]),
        ("text", pd.DataFrame({"user_id": [1, 1, 2], "item_id": ["b", "010", "10"]}), ["010", "10", "b"]),
    ):
        estimator = EASE(reg_x=1, compute={"cluster": "synchronous", "dtype": "float64"})
        estimator.fit(log, workspace=tmp_path / name)
        assert estimator.n_items_ == 3
        histories = {1: dict.fromkeys(log["item_id"][:2], 1.0), 2: {log["item_id"][2]: 1.0}}
        _, b = ease(histories, items)
        np.testing.assert_allclose(estimator.weights(items), b, atol=1e-9)


def test_a_run_without_items_takes_those_of_the_log(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id\na,010\na,x\nb,9\n")
    config = make_config(section(tmp_path / "w"))
    result = run(config, interactions=str(tmp_path / "log.csv"), until="fit")
    assert result["dataset"]["n_items"] == 3
    from l3ae_dist import load_model

    model = load_model(str(tmp_path / "w"))
    assert_fitted_on(model, ones(a=["010", "x"], b=["9"]), ["010", "9", "x"])


def test_a_fit_without_items_reads_each_kind_of_source(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"user_id": "a", "item_id": 3}\n{"user_id": "a", "item_id": 20}\n')
    sources = [str(tmp_path / "log.jsonl"), pl.DataFrame({"user_id": ["a", "a"], "item_id": [3, 20]})]
    for i, source in enumerate([*sources, [("a", 3), ("a", 20)]]):
        config = make_config(section(tmp_path / f"w{i}"))
        assert run(config, interactions=source, until="ingest")["dataset"]["n_items"] == 2


def test_a_message_stays_short_whatever_is_passed_in(tmp_path):
    long = "x" * 100_000
    wide = pd.DataFrame([range(2000)], columns=[f"column{i}" for i in range(2000)])
    cases = [
        (LOG.rename(columns={"user_id": long}), None),
        (LOG.assign(user_id=[long, *LOG["user_id"][1:]], item_id=long), None),
        (LOG.assign(item_id=[long + str(i) for i in range(6)]), None),
        (wide, None),
        ([[long]], None),
        (f"/tmp/{long}.csv", None),
        (f"/nowhere/{'y/' * 2000}*.csv", None),
        (LOG, catalog(long, long)),
        (LOG, wide),
        (object(), None),
        ({long: [1]}, None),
    ]
    for i, (log, items) in enumerate(cases):
        with pytest.raises((ConfigError, DataError)) as error:
            read(tmp_path / f"w{i}", log, items)
        assert is_short(error)


def test_text_ids_against_integer_ids_of_frames_name_both_kinds(tmp_path):
    with pytest.raises(DataError) as error:
        read(tmp_path / "w", LOG.assign(item_id=LOG["item_id"].astype(str)), catalog())
    assert is_short(error, "text", "integer", "id_type")
    found = read(tmp_path / "w", LOG, catalog("1", "2", "3", "5"), id_type="string", weight_column="w")
    assert rows(found) == {user: {str(i): w for i, w in row.items()} for user, row in ROWS.items()}
