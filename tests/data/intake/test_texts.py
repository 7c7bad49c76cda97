"""Texts lose nothing, and do not depend on the file format that they came in."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3ae_dist.data.intake.parts import Form
from l3ae_dist.data.intake.texts import join_texts, to_texts
from l3ae_dist.errors import DataError


def typed(values, type=None):
    return to_texts(pa.array(values, type), Form.TYPED)


def raw(values):
    return to_texts(
        pa.array([None if v is None else json.dumps(v) for v in values], pa.large_string()), Form.JSON
    )


def test_lists_of_any_length_are_joined():
    words = [f"word{i}" for i in range(1500)]
    assert typed([words, None, [], ["a", None, "", "b"]]) == [" ".join(words), "", "", "a b"]
    assert raw([words, None, [], ["a", None, "", "b"]]) == [" ".join(words), "", "", "a b"]


def test_texts_of_text_files_stay_as_they_are():
    texts = ["0451", "1984", "NA", "None", "null", "", " a ", "1984.0", "[1]", '"x"', "a\nb"]
    assert to_texts(pa.array(texts), Form.WRITTEN) == texts


@pytest.mark.parametrize(
    ("values", "type", "want"),
    [
        ([1984, None], pa.int32(), ["1984", ""]),
        ([1984.0, 0.1, np.nan, None, -2.0], pa.float64(), ["1984", "0.1", "", "", "-2"]),
        ([1984.0, 0.1, None], pa.float32(), ["1984", "0.1", ""]),
        ([1e300, np.inf], pa.float64(), ["1e+300", "inf"]),
        ([True, False, None], pa.bool_(), ["True", "False", ""]),
        ([Decimal("12.50"), Decimal("7.00"), None], pa.decimal128(5, 2), ["12.5", "7", ""]),
        ([Decimal(100)], pa.decimal128(5, 0), ["100"]),
        ([datetime(2020, 3, 1, 10), None], pa.timestamp("ns"), ["2020-03-01T10:00:00", ""]),
        ([datetime(2020, 3, 1, 10, 0, 0, 500)], pa.timestamp("us"), ["2020-03-01T10:00:00.0005"]),
        (
            [datetime(2020, 3, 1, 10, tzinfo=UTC)],
            pa.timestamp("s", "Asia/Tokyo"),
            ["2020-03-01T10:00:00+00:00"],
        ),
        ([date(2020, 3, 1), None], pa.date32(), ["2020-03-01", ""]),
        ([date(2020, 3, 1)], pa.date64(), ["2020-03-01"]),
        ([5_000_000], pa.date32(), ["15659-07-15"]),
        (["ü".encode(), None], pa.binary(), ["ü", ""]),
        (["a", None, "a"], pa.dictionary(pa.int8(), pa.string()), ["a", "", "a"]),
        (
            [{"a": "x", "b": 2.0}, None, {"a": None, "b": 3.5}],
            pa.struct({"a": pa.string(), "b": pa.float64()}),
            ["x 2", "", "3.5"],
        ),
        ([[("l", 2), ("k", 1)]], pa.map_(pa.string(), pa.int64()), ["1 2"]),
        ([["a", "b"], None], pa.list_(pa.string(), 2), ["a b", ""]),
        ([["a"], ["b", "c"]], pa.large_list(pa.string()), ["a", "b c"]),
        ([["a"], ["b", "c"]], pa.list_view(pa.string()), ["a", "b c"]),
        ([[["a", "b"], ["c"]], [[]]], pa.list_(pa.list_(pa.string())), ["a b c", ""]),
        ([None], pa.null(), [""]),
    ],
)
def test_types(values, type, want):
    assert typed(values, type) == want


def test_slices_of_lists_keep_their_rows():
    rows = [["a", "z"], ["b", "c"], None, ["d", "e"]]
    for type in (pa.list_, pa.large_list, pa.list_view, lambda of: pa.list_(of, 2)):
        lists = pa.array(rows, type(pa.string()))
        assert to_texts(lists.slice(1, 2), Form.TYPED) == ["b c", ""]
        assert to_texts(lists.slice(3), Form.TYPED) == ["d e"]
    maps = pa.array([[("k", 1)], None, [("k", 2), ("l", 3)]], pa.map_(pa.string(), pa.int8()))
    assert to_texts(maps, Form.TYPED) == ["1", "", "2 3"]
    assert to_texts(maps.slice(1), Form.TYPED) == ["", "2 3"]
    structs = pa.array([{"a": "x"}, {"a": "y"}, None])
    assert to_texts(structs.slice(1), Form.TYPED) == ["y", ""]


scalars = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.none())
numbers = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.none())


@given(
    st.one_of(
        st.lists(scalars),
        st.lists(numbers),
        st.lists(st.integers(-(2**63), 2**63 - 1)),
        st.lists(st.booleans()),
        st.lists(st.lists(scalars)),
        st.lists(st.lists(st.lists(numbers))),
        st.lists(st.fixed_dictionaries({"a": scalars, "b": st.lists(st.integers(0, 9))})),
    )
)
def test_parquet_and_json_of_the_same_data_give_the_same_texts(values):
    assert typed(values) == raw(values)


def test_bytes_that_are_no_text_and_broken_json_are_refused():
    with pytest.raises(DataError, match="no UTF-8"):
        typed([b"\xff\xfe"])
    with pytest.raises(DataError, match=r"no UTF-8"):
        typed([[b"\xff\xfe"]])
    with pytest.raises(DataError, match=r"no JSON value \(items\.jsonl\)"):
        to_texts(pa.array(["{"], pa.large_string()), Form.JSON, "items.jsonl")


def test_columns_are_joined_without_empty_ones():
    assert join_texts([["a", "", "c"], ["x", "y", ""], ["", "z", ""]], " | ") == ["a | x", "y | z", "c"]
    assert join_texts([["a", ""]], " ") == ["a", ""]
