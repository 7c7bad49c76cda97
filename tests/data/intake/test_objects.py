"""Tables in memory of every library give the same rows; what is none is refused in a sentence."""

import datetime as dt
import pickle
import uuid
from collections import namedtuple
from decimal import Decimal

import dask.dataframe as dd
import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from l3ae_dist.config.data import ColumnNames, IngestConfig
from l3ae_dist.data.intake.identity import identity
from l3ae_dist.data.intake.ids import IdKind, as_kind, read_ids
from l3ae_dist.data.intake.objects import table_of_object, with_item_ids
from l3ae_dist.data.intake.open_table import open_table
from l3ae_dist.data.intake.parts import Form, form_of
from l3ae_dist.data.intake.plain_values import decoded_batch
from l3ae_dist.data.intake.texts import to_texts
from l3ae_dist.data.intake.times import read_times
from l3ae_dist.errors import DataError

WEIGHTED = ColumnNames(("user_id", "item_id", "weight"), ("weight",))
PAIRS = [("u1", 2), ("u1", 5), ("u2", 1), ("u3", 2)]


def rows(source, columns=("user_id", "item_id"), names=None):
    """Rows of a table as ids are read from it."""
    table = table_of_object(source, "interactions", names)
    found = {name: [] for name in columns}
    for part in table.parts:
        for batch in part.batches(columns):
            assert batch.schema.names == list(columns)
            for field, values in zip(batch.schema, batch.columns, strict=True):
                ids = read_ids(values, form_of(field), field.name, part.origin)
                found[field.name] += ids.values.to_pylist()
    return list(zip(*found.values(), strict=True))


def column(source, name):
    """One column of a table of one part, with its form."""
    (part,) = table_of_object(source, "items").parts
    batches = list(part.batches([name]))
    return pa.concat_arrays([batch.column(0) for batch in batches]), form_of(batches[0].schema.field(0))


def frame():
    return pd.DataFrame(PAIRS, columns=["user_id", "item_id"]).assign(other=1.5)


class Stream:
    """Anything with Arrow's PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.Table.from_pandas(frame()).__arrow_c_stream__(requested_schema)


class Batch:
    def __arrow_c_array__(self, requested_schema=None):
        return pa.RecordBatch.from_pandas(frame()).__arrow_c_array__(requested_schema)


ORIGINS = {
    "pandas": frame,
    "index": lambda: frame().set_index("user_id"),
    "index of both": lambda: frame().set_index(["user_id", "item_id"]),
    "series": lambda: frame().set_index(["user_id", "item_id"]).other,
    "categorical": lambda: frame().astype({"user_id": "category", "item_id": "category"}),
    "nullable": lambda: frame().convert_dtypes(),
    "Arrow types": lambda: frame().convert_dtypes(dtype_backend="pyarrow"),
    "objects": lambda: frame().astype(object),
    "sparse column": lambda: frame().astype({"item_id": pd.SparseDtype("int64", 0)}),
    "dask": lambda: dd.from_pandas(frame(), npartitions=3),
    "dask index": lambda: dd.from_pandas(frame().set_index("user_id"), npartitions=2),
    "polars": lambda: pl.DataFrame(frame()),
    "polars categorical": lambda: pl.DataFrame(frame()).with_columns(pl.col("user_id").cast(pl.Categorical)),
    "polars objects": lambda: pl.DataFrame({"user_id": pl.Series([a for a, _ in PAIRS], dtype=pl.Object), "item_id": [b for _, b in PAIRS]}),
    "lazy": lambda: pl.DataFrame(frame()).lazy(),
    "arrow": lambda: pa.Table.from_pandas(frame()),
    "batch": lambda: pa.RecordBatch.from_pandas(frame()),
    "reader": lambda: pa.Table.from_pandas(frame()).to_reader(),
    "structs": lambda: pa.Table.from_pandas(frame()).to_struct_array(),
    "struct": lambda: pa.Table.from_pandas(frame()).to_struct_array().combine_chunks(),
    "dataset": lambda: ds.dataset(pa.Table.from_pandas(frame())),
    "filtered dataset": lambda: ds.dataset(pa.Table.from_pandas(frame())).filter(ds.field("item_id") > 0),
    "stream": Stream,
    "array": Batch,
    "duckdb": lambda: duckdb.from_arrow(pa.Table.from_pandas(frame())),
    "hugging face": lambda: datasets.Dataset.from_pandas(frame()),
    "hugging face, chosen": lambda: datasets.Dataset.from_pandas(pd.concat([frame(), frame()])).select(range(4)),
    "pairs": lambda: PAIRS,
    "lists": lambda: [list(pair) for pair in PAIRS],
    "dictionaries": lambda: [{"item_id": b, "user_id": a} for a, b in PAIRS],
    "named tuples": lambda: [namedtuple("Row", "item_id user_id")(b, a) for a, b in PAIRS],
    "columns": lambda: {"item_id": np.array([b for _, b in PAIRS]), "user_id": tuple(a for a, _ in PAIRS)},
    "array of objects": lambda: np.array(PAIRS, object),
    "structured": lambda: np.array(PAIRS, [("user_id", "U2"), ("item_id", ">i4")]),
    "matrix": lambda: (sparse.coo_matrix(([1, 1, 1, 1], ([0, 0, 1, 2], [2, 5, 1, 2]))), ["u1", "u2", "u3"], None),
}  # fmt: skip


@pytest.mark.parametrize("origin", ORIGINS)
def test_every_origin_gives_the_same_rows(origin):
    assert rows(ORIGINS[origin]()) == PAIRS
    assert [(b, a) for a, b in PAIRS] == rows(ORIGINS[origin](), ("item_id", "user_id"))


def test_files_and_objects_are_opened_by_the_same_call(tmp_path):
    frame().to_parquet(tmp_path / "log.parquet")
    assert (
        open_table(tmp_path / "log.parquet", "interactions").columns
        == open_table(frame(), "interactions").columns
    )
    names = IngestConfig(user_column="u", item_column="i").names()
    assert open_table(PAIRS, "interactions", names=names).columns == ("u", "i")


def test_a_dask_frame_of_files_can_be_read_elsewhere_and_one_in_memory_not(tmp_path):
    frame().to_parquet(tmp_path / "log.parquet")
    table = table_of_object(dd.read_parquet(tmp_path / "log.parquet"), "interactions")
    assert table.shared
    (part,) = pickle.loads(pickle.dumps(table.parts))
    assert sum(batch.num_rows for batch in part.batches(["user_id"])) == 4
    assert not table_of_object(dd.from_pandas(frame(), npartitions=2), "interactions").shared


def test_partitions_of_many_small_files_are_each_read_once(tmp_path):
    for number in range(12):
        wide = {f"c{k}": [0.5] * 3 for k in range(40)}
        pd.DataFrame({"user_id": [f"u{number}"] * 3, "item_id": range(3), **wide}).to_parquet(
            tmp_path / f"{number:02d}.parquet"
        )
    want = [(f"u{number}", item) for number in range(12) for item in range(3)]
    assert rows(dd.read_parquet(tmp_path)) == want
    assert rows(dd.read_parquet(tmp_path).repartition(npartitions=5)) == want
    assert rows(dd.from_map(pd.read_parquet, sorted(tmp_path.glob("*.parquet")))) == want


def test_rows_in_the_memory_of_a_cluster_are_read_there():
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
    with cluster, Client(cluster):
        held = dd.from_pandas(frame(), npartitions=2).persist()
        assert not table_of_object(held, "interactions").shared
        assert rows(held) == PAIRS
        assert rows(held.repartition(npartitions=3)) == PAIRS


def test_a_dask_frame_that_fails_says_which_partition():
    broken = dd.from_pandas(frame(), npartitions=1).map_partitions(lambda part: part.nothing, meta=frame())
    with pytest.raises(DataError, match=r"partition 0 .*nothing"):
        rows(broken)


@pytest.mark.parametrize(
    "make", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array, sparse.lil_matrix, sparse.dok_array]
)
def test_a_matrix_is_its_values_that_are_not_zero(make):
    dense = np.array([[0, 2.5, 0], [0, 0, 0], [1, 0, 4]])
    assert rows(make(dense)) == [(0, 1), (2, 0), (2, 2)]
    table = table_of_object((make(dense), ["a", "b", "c"], pa.array([7, 8, 9])), "interactions", WEIGHTED)
    (batch,) = table.parts[0].batches(["weight", "user_id", "item_id"])
    assert batch.to_pydict() == {"weight": [2.5, 1, 4], "user_id": ["a", "c", "c"], "item_id": [8, 7, 9]}
    assert table.parts[0].rows == 3


def test_stored_zeros_are_weights_of_zero_and_values_given_twice_add_up():
    stored = sparse.coo_matrix(([1.0, 0.0, 2.0, 3.0], ([0, 0, 1, 1], [0, 1, 1, 1])))
    table = table_of_object(stored, "interactions", WEIGHTED)
    (batch,) = table.parts[0].batches(["user_id", "item_id", "weight"])
    assert list(zip(*batch.to_pydict().values(), strict=True)) == [(0, 0, 1.0), (0, 1, 0.0), (1, 1, 5.0)]
    assert stored.nnz == 4


def test_small_integers_given_twice_do_not_wrap():
    stored = sparse.coo_matrix((np.array([128, 128, 44, 1], np.uint8), ([0, 0, 0, 1], [0, 0, 0, 1])))
    assert rows(stored) == [(0, 0), (0, 0), (0, 0), (1, 1)]
    repeated = sparse.csr_array((np.array([1, -1], np.int8), [3, 3], [0, 2]), shape=(1, 4))
    assert rows(repeated) == [(0, 3), (0, 3)]
    weights, form = column(table_of_weights(stored), "weight")
    assert (weights.to_pylist(), form) == ([300.0, 1.0], Form.TYPED)


def table_of_weights(matrix):
    (part,) = table_of_object(matrix, "interactions", WEIGHTED).parts
    return pa.Table.from_batches(part.batches(["user_id", "item_id", "weight"]))


@pytest.mark.parametrize("ids", [["u", "u"], [7, "7"], pa.array([3, 3])])
def test_ids_given_twice_with_a_matrix_are_refused(ids):
    with pytest.raises(DataError, match="ids of users given with the matrix occur more than once, such as"):
        table_of_object((sparse.csr_array(np.eye(2)), ids, None), "interactions")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([uuid.UUID(int=1).bytes, uuid.UUID(int=2).bytes], pa.uuid()),
        pa.array([uuid.UUID(int=1), uuid.UUID(int=2)]),
        pa.RunEndEncodedArray.from_arrays([1, 2], [str(uuid.UUID(int=1)), str(uuid.UUID(int=2))]),
    ],
)
def test_ids_of_runs_and_extensions_are_decoded_before_rows_are_filtered(column):
    batch = pa.record_batch({"user_id": column, "item_id": [1, 2]})
    decoded = decoded_batch(batch, "log")
    assert decoded.filter(pa.array([False, True])).column(0).to_pylist() == [str(uuid.UUID(int=2))]
    assert decoded.column(0).dictionary_encode().dictionary.to_pylist() == [
        str(uuid.UUID(int=i)) for i in (1, 2)
    ]


def test_only_wanted_columns_of_polars_are_exported():
    frame = pl.DataFrame({"user_id": ["a"], "item_id": [1], "big": pl.Series([1], dtype=pl.Int128)})
    for source in (frame, frame.lazy()):
        assert rows(source) == [("a", 1)]
        assert identity(source, "log") == identity(frame, "log")
        with pytest.raises(
            DataError, match=r"^the column 'big' holds values of type Int128.* cast it to Int64"
        ):
            rows(source, ["big"])


def test_the_error_of_a_lazy_frame_is_on_one_line():
    frame = pl.LazyFrame({"user_id": ["a"], "item_id": [1]}).with_columns(pl.col("user_id").cast(pl.Int64))
    with pytest.raises(DataError) as refused:
        rows(frame)
    assert not {"\n", "\\"} & set(str(refused.value))


def test_categories_of_several_types_are_read_as_objects_are():
    values, form = column(pd.DataFrame({"t": pd.Series([7, "7"], dtype="category")}), "t")
    assert (values.to_pylist(), form) == (["7", '"7"'], Form.JSON)


def test_values_of_a_matrix_that_are_not_used_are_said():
    matrix = sparse.csr_array(np.array([[1, 5], [0, 1]]))
    assert "set weight_column, or rating_column" in table_of_object(matrix, "interactions").notes[0]
    assert not table_of_object(matrix, "interactions", WEIGHTED).notes
    assert not table_of_object(matrix != 0, "interactions").notes


def test_columns_of_a_matrix_are_the_items_of_the_catalog():
    matrix = sparse.csr_array(np.eye(3))
    ids = pa.array(["x", "y", "z"])
    assert rows(with_item_ids(matrix, ids)) == [(0, "x"), (1, "y"), (2, "z")]
    assert rows(with_item_ids((matrix, ["a", "b", "c"], None), ids)) == [("a", "x"), ("b", "y"), ("c", "z")]
    given = (matrix, None, [5, 6, 7])
    assert with_item_ids(given, ids) is given
    assert with_item_ids(PAIRS, ids) is PAIRS
    with pytest.raises(DataError, match="3 columns and the catalog has 2 items"):
        with_item_ids(matrix, ids[:2])
    with pytest.raises(DataError, match="3 users and 2 ids of users"):
        rows((matrix, ["a", "b"], None))


def test_further_columns_of_rows_are_those_of_the_options():
    options = IngestConfig(weight_column="w", timestamp_column="t")
    (part,) = table_of_object([("a", 1, 2.5, 9), ("b", 2, 1, 8)], "interactions", options.names()).parts
    (batch,) = part.batches(["user_id", "t", "w"])
    assert batch.to_pydict() == {"user_id": ["a", "b"], "t": [9, 8], "w": [2.5, 1.0]}
    with pytest.raises(
        DataError, match=r"3 value\(s\) in a row and the options name 2 columns .*weight_column"
    ):
        table_of_object([("a", 1, 2.5)], "interactions")


MIXED = [
    ([1, "a"], IdKind.TEXT, ["1", "a"]),
    (["007", 7], IdKind.TEXT, ["007", "7"]),
    ([2**63, 1], IdKind.LARGE, [str(2**63), "1"]),
    ([2**70], IdKind.LARGE, [str(2**70)]),
    ([b"a", "b"], IdKind.TEXT, ["a", "b"]),
    ([uuid.UUID(int=1)], IdKind.TEXT, [str(uuid.UUID(int=1))]),
    ([uuid.UUID(int=1), "a"], IdKind.TEXT, [str(uuid.UUID(int=1)), "a"]),
    ([Decimal(7), "a"], IdKind.TEXT, ["7", "a"]),
    ([2**60, 1.0], IdKind.INTEGER, [2**60, 1]),
    ([np.int8(3), 4], IdKind.INTEGER, [3, 4]),
]


@pytest.mark.parametrize(("values", "kind", "want"), MIXED)
def test_objects_of_several_types_are_ids_one_by_one(values, kind, want):
    array, form = column(pd.DataFrame({"id": pd.Series(values, dtype=object)}), "id")
    ids = read_ids(array, form, "item id", "items")
    assert (ids.kind, ids.values.to_pylist()) == (kind, want)


@given(
    st.lists(
        st.one_of(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers()), min_size=1
    )
)
def test_ids_of_any_objects_are_their_text(values):
    array, form = column([{"id": one} for one in values], "id")
    assert as_kind(read_ids(array, form, "id", "x"), "text").to_pylist() == list(map(str, values))


def test_dates_as_objects_keep_their_times_and_nanoseconds():
    tokyo = dt.timezone(dt.timedelta(hours=9))
    values = [
        dt.date(2020, 1, 1), dt.datetime(2020, 1, 1, 5), dt.datetime(2020, 1, 1, 14, tzinfo=tokyo),
        pd.Timestamp("2020-01-01 05:00:00.000000001"), dt.datetime(9999, 12, 31), np.datetime64("2020-01-01T05:00:00.000000002"),
    ]  # fmt: skip
    array, form = column(pd.DataFrame({"t": pd.Series(values, dtype=object)}), "t")
    keys = read_times(array, form, "t", "x").keys
    five = 1577854800 * 10**9
    assert keys.tolist()[:4] == [1577836800 * 10**9, five, five, five + 1]
    assert keys[5] == five + 2
    assert keys.argmax() == 4
    array, form = column({"t": [pd.Timestamp(7), pd.Timestamp(8)]}, "t")
    assert read_times(array, form, "t", "x").keys.tolist() == [7, 8]


def test_texts_of_objects_are_those_of_arrow():
    values = [
        ["a", None, "b"],
        np.array(["c", "d"]),
        "e",
        None,
        {"k": ["f", 2.0]},
        ("g",),
        {"z", "y"},
        7.0,
        True,
        pd.NA,
    ]
    array, form = column(pd.DataFrame({"text": pd.Series(values, dtype=object)}), "text")
    assert to_texts(array, form) == ["a b", "c d", "e", "", "f 2", "g", "y z", "7", "True", ""]
    words = [[f"w{i}" for i in range(1500)], ["x"]]
    for make in (pd.DataFrame, pl.DataFrame, pa.table):
        assert to_texts(*column(make({"text": words}), "text")) == [" ".join(words[0]), "x"]
    assert to_texts(*column({"text": [{"b", "a"}]}, "text")) == ["a b"]


def test_periods_are_text_and_missing_values_stay_missing():
    frame = pd.DataFrame({"p": pd.period_range("2020-01", periods=2, freq="M"), "s": ["a", None]})
    assert to_texts(*column(frame, "p")) == ["2020-01", "2020-02"]
    assert column(frame, "s")[0].null_count == 1


def test_two_columns_of_one_name_are_refused_when_they_are_read():
    twice = pd.concat([frame(), frame()[["user_id"]]], axis=1)
    assert rows(twice, ("item_id",)) == [(b,) for _, b in PAIRS]
    for source in (twice, pa.table([[1], [2]], names=["user_id", "user_id"])):
        with pytest.raises(DataError, match="2 columns 'user_id'"):
            rows(source, ("user_id",))


REFUSED = {
    "dense": (np.zeros((60, 40)), r"60x40.*csr_array\(array\).*\(n, 2\) array"),
    "dense of three": (np.eye(3), "csr_array"),
    "dense of ones": (np.ones((9, 2), int), "csr_array"),
    "flags": (np.ones((9, 2), bool), "csr_array"),
    "vector": (np.arange(5), "csr_array"),
    "cube": (np.zeros((2, 2, 2)), "csr_array"),
    "dense list": ([[0, 1, 0, 0, 1], [1, 1, 0, 0, 0]], "csr_array"),
    "masked": (np.ma.masked_array([[1, 2]], [[0, 1]]), "masked"),
    "splits": (
        datasets.DatasetDict(train=datasets.Dataset.from_dict({"a": [1]})),
        r"splits train.*data\[split\]",
    ),
    "streamed": (datasets.Dataset.from_dict({"a": [1]}).to_iterable_dataset(), "streamed"),
    "lists of several lengths": ([[1, 2, 3], [1, 2]], r"row 1 .* 2 value\(s\)"),
    "ids": ([1, 2, 3], "a list, which is no table; give a path, a DataFrame"),
    "set": ({1, 2}, "a set, which is no table"),
    "none": (None, "NoneType"),
    "number": (7, "are 7, which is no table"),
    "iterator": (iter(PAIRS), "read once only"),
    "histories": ({"u1": [1, 2], "u2": [3]}, "no columns of one length"),
    "Arrow values": (pa.array([1, 2]), "Int64Array, which is no table"),
    "series": (pd.Series([1, 2]), "a Series, which is no table"),
    "class": (pd.DataFrame, "no table"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_table_is_refused_in_one_sentence(kind):
    source, message = REFUSED[kind]
    with pytest.raises(DataError, match=message) as refused:
        table_of_object(source, "interactions")
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "values", [[object()], [1j], [b"\xff", "a"], ["\ud800"], [[object()]], [dt.timedelta(1), "a"]]
)
def test_objects_that_are_no_values_are_refused(values):
    with pytest.raises(DataError, match="the column 'x' holds"):
        rows(pd.DataFrame({"x": pd.Series(values, dtype=object)}), ("x",))


def test_an_empty_list_is_a_table_without_columns():
    assert table_of_object([], "interactions").columns == ()
    assert table_of_object(pd.DataFrame(), "interactions").columns == ()
    (part,) = table_of_object(frame()[:0], "interactions").parts
    assert part.rows == sum(batch.num_rows for batch in part.batches(["user_id"])) == 0


def test_large_tables_come_in_bounded_batches():
    many = pd.DataFrame({"user_id": np.arange(400_000)})
    for source in (
        many,
        pa.Table.from_pandas(many),
        pl.DataFrame(many),
        sparse.csr_array(np.ones((1000, 400))),
    ):
        sizes = [batch.num_rows for batch in table_of_object(source, "log").parts[0].batches(["user_id"])]
        assert sum(sizes) == 400_000
        assert max(sizes) <= 2**18
    assert Form.TYPED
