"""Weights and ratings of any form are the same float64 numbers; what is no number is named."""

import json
import math
from datetime import date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3ae_dist.data.intake.numbers import to_floats
from l3ae_dist.data.intake.parts import Form
from l3ae_dist.errors import DataError

NAN = math.nan


def read(values, form=Form.TYPED, type=None):
    return to_floats(
        pa.array(values, type if form is Form.TYPED else pa.large_string()), form, "w", "weight", "log.csv"
    )


@given(st.lists(st.one_of(st.floats(), st.integers(-(2**60), 2**60)), min_size=1))
def test_every_form_gives_the_number_that_python_reads(values):
    want = [float(one) for one in values]
    assert np.array_equal(read(want), want, equal_nan=True)
    integers = [one for one in values if isinstance(one, int)]
    assert read(integers, type=pa.int64()).tolist() == list(map(float, integers))
    written = [repr(one) for one in values]
    assert np.array_equal(read(written, Form.WRITTEN), want, equal_nan=True)
    assert np.array_equal(read(written, type=pa.string()), want, equal_nan=True)
    finite = [one for one in values if math.isfinite(one)]
    assert np.array_equal(read([json.dumps(one) for one in finite], Form.JSON), list(map(float, finite)))


@pytest.mark.parametrize(
    ("values", "form", "type", "want"),
    [
        ([1, None], Form.TYPED, pa.int32(), [1, NAN]),
        ([True, False, None], Form.TYPED, pa.bool_(), [1, 0, NAN]),
        ([Decimal("1.25"), None], Form.TYPED, pa.decimal128(5, 2), [1.25, NAN]),
        ([Decimal("1.25"), None], Form.TYPED, pa.decimal32(5, 2), [1.25, NAN]),
        ([2**64 - 1], Form.TYPED, pa.uint64(), [2.0**64]),
        ([" 7 ", ' "2.5"'], Form.JSON, None, [7, 2.5]),
        (["Infinity"], Form.JSON, None, [math.inf]),
        ([np.float16(0.5), None], Form.TYPED, pa.float16(), [0.5, NAN]),
        ([None, None], Form.TYPED, pa.null(), [NAN, NAN]),
        (["2", None], Form.TYPED, pa.dictionary(pa.int8(), pa.string()), [2, NAN]),
        (["1", "", "NA", "null", "None", "NaN", "\\N", " 2.5 "], Form.WRITTEN, None, [1, *[NAN] * 6, 2.5]),
        (["1", '"2.5"', "null", None, "true", "false", '""'], Form.JSON, None, [1, 2.5, NAN, NAN, 1, 0, NAN]),
        (["+7", "1.", ".5", "1E3", "007"], Form.WRITTEN, None, [7, 1, 0.5, 1000, 7]),
    ],
)
def test_usual_spellings(values, form, type, want):
    assert np.array_equal(read(values, form, type), want, equal_nan=True)


@pytest.mark.parametrize(
    ("values", "form", "type", "message"),
    [
        (["1", "many"], Form.WRITTEN, None, r"weight column 'w' holds 'many' \(log\.csv\)"),
        (["1", "", "many"], Form.TYPED, pa.string(), "holds 'many'"),
        (["1", "3,5"], Form.WRITTEN, None, "'3,5'.*decimal point"),
        (["1", "0x1F"], Form.WRITTEN, None, "'0x1F'"),
        (["1", "2020-01-01"], Form.WRITTEN, None, "holds '2020-01-01'"),
        (["1", "[2]"], Form.JSON, None, r"holds '\[2\]'"),
        ([datetime(2020, 1, 1)], Form.TYPED, pa.timestamp("ns"), "holds dates and not numbers"),
        ([date(2020, 1, 1)], Form.TYPED, pa.date32(), "holds dates and not numbers"),
        ([[1]], Form.TYPED, pa.list_(pa.int64()), "holds list<"),
    ],
)
def test_what_is_no_number_is_named(values, form, type, message):
    with pytest.raises(DataError, match=message) as refused:
        read(values, form, type)
    assert "log.csv" in str(refused.value)


def test_a_long_value_is_shortened():
    with pytest.raises(DataError) as refused:
        read(["x" * 5_000_000], Form.WRITTEN)
    assert len(str(refused.value)) < 400


def test_durations_are_called_so():
    with pytest.raises(DataError, match="holds durations and not numbers"):
        to_floats(pa.array([1], pa.duration("s")), Form.TYPED, "w", "weight", "log")
