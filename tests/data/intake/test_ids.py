"""Ids are integers only where every value of every part is one and is written as one; nothing is lost else."""

import json
import re
import uuid
from datetime import date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3ae_dist.data.intake.ids import LARGEST, IdKind, as_kind, decide, decide_form, read_ids
from l3ae_dist.data.intake.odd_ids import odd_ids
from l3ae_dist.data.intake.parts import Form
from l3ae_dist.errors import DataError


def read(values, form=Form.TYPED, type=None, **options):
    if form is not Form.TYPED:
        type = pa.large_string()
    return read_ids(pa.array(values, type), form, "user id", "log.csv", **options)


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        (["0", "7", "-3", str(LARGEST), str(-LARGEST - 1)], IdKind.DIGITS),
        (["7", "007"], IdKind.TEXT),
        (["7", "-0"], IdKind.TEXT),
        (["7", "+8"], IdKind.TEXT),
        (["7", " 8"], IdKind.TEXT),
        (["7", "8 "], IdKind.TEXT),
        (["7", "0x1F"], IdKind.TEXT),
        (["7", "1_000"], IdKind.TEXT),
        (["7", "1.0"], IdKind.TEXT),
        (["7", "NA"], IdKind.TEXT),
        (["nan", "None", "null", "NULL"], IdKind.TEXT),
        (["7", "12e4"], IdKind.TEXT),
        (["7", "٣"], IdKind.TEXT),
        (["7", str(LARGEST + 1)], IdKind.LARGE),
        (["A1", str(LARGEST + 1)], IdKind.TEXT),
        (["A1", "1.15e18", "inf"], IdKind.TEXT),
    ],
)
def test_what_a_text_file_writes_is_kept_and_integers_are_seen(written, kind):
    ids = read(written, Form.WRITTEN)
    assert ids.kind == kind
    assert as_kind(ids, "text").to_pylist() == written
    if kind is IdKind.DIGITS:
        assert as_kind(ids, "integer").to_pylist() == [int(one) for one in written]


CANONICAL = re.compile(r"0|-?[1-9][0-9]*")


@given(
    st.lists(
        st.one_of(
            st.integers(-(2**65), 2**65).map(str),
            st.integers(0, 99).map("{:03d}".format),
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_integers_are_what_a_slow_rule_calls_integers(written):
    ids = read(written, Form.WRITTEN)
    canonical = [bool(CANONICAL.fullmatch(one)) for one in written]
    within = [
        bool(one and -LARGEST - 1 <= int(text) <= LARGEST)
        for one, text in zip(canonical, written, strict=True)
    ]
    want = IdKind.DIGITS if all(within) else IdKind.LARGE if all(canonical) else IdKind.TEXT
    assert ids.kind == want
    assert as_kind(ids, "text").to_pylist() == written


@given(
    st.lists(
        st.one_of(st.integers(-(2**70), 2**70), st.text(min_size=1, max_size=5)), min_size=1, max_size=20
    )
)
def test_json_ids_are_what_json_says(values):
    raw = [json.dumps(one) for one in values]
    if any("\\ud" in one and not _is_utf8(json.loads(one)) for one in raw):
        with pytest.raises(DataError, match="surrogate"):
            read(raw, Form.JSON)
        return
    ids = read(raw, Form.JSON)
    numbers = [one for one in values if isinstance(one, int)]
    large = any(not -LARGEST - 1 <= one <= LARGEST for one in numbers)
    want = IdKind.TEXT if len(numbers) < len(values) else IdKind.LARGE if large else IdKind.INTEGER
    assert ids.kind == want
    assert as_kind(ids, "text").to_pylist() == list(map(str, values))


def _is_utf8(text):
    return not any(0xD800 <= ord(mark) < 0xE000 for mark in str(text))


def test_json_numbers_with_a_point_are_the_integers_that_they_equal():
    ids = read(["7.0", "8", "1e3", "-0"], Form.JSON)
    assert (ids.kind, ids.values.to_pylist()) == (IdKind.INTEGER, [7, 8, 1000, 0])
    assert read(['"007"', "7.0", "8"], Form.JSON).values.to_pylist() == ["007", "7", "8"]


@pytest.mark.parametrize(
    ("values", "type", "want", "kind"),
    [
        ([1, 2], pa.int8(), [1, 2], IdKind.INTEGER),
        ([1, LARGEST], pa.uint64(), [1, LARGEST], IdKind.INTEGER),
        ([1, LARGEST + 1], pa.uint64(), ["1", str(LARGEST + 1)], IdKind.LARGE),
        ([1.0, 2.0**53 - 1], pa.float64(), [1, 2**53 - 1], IdKind.INTEGER),
        ([1.0, 2.0**24 - 1], pa.float32(), [1, 2**24 - 1], IdKind.INTEGER),
        ([np.float16(3), np.float16(2047)], pa.float16(), [3, 2047], IdKind.INTEGER),
        ([Decimal(7), Decimal(2**60)], pa.decimal128(38, 0), [7, 2**60], IdKind.INTEGER),
        ([Decimal(7)], pa.decimal32(5, 0), [7], IdKind.INTEGER),
        ([Decimal(7)], pa.decimal64(5, 2), [7], IdKind.INTEGER),
        ([Decimal(7)], pa.decimal256(60, 2), [7], IdKind.INTEGER),
        ([Decimal("7.00")], pa.decimal128(10, 2), [7], IdKind.INTEGER),
        ([Decimal(10**30)], pa.decimal128(38, 0), [str(10**30)], IdKind.LARGE),
        (["7", "8"], pa.string(), ["7", "8"], IdKind.TEXT),
        (["7", "8"], pa.string_view(), ["7", "8"], IdKind.TEXT),
        ([b"7", "ü".encode()], pa.binary(), ["7", "ü"], IdKind.TEXT),
        ([b"ab"], pa.binary(2), ["ab"], IdKind.TEXT),
        (["b", "a"], pa.dictionary(pa.int8(), pa.string()), ["b", "a"], IdKind.TEXT),
        ([9, 7], pa.dictionary(pa.int32(), pa.int64()), [9, 7], IdKind.INTEGER),
    ],
)
def test_typed_columns_keep_their_type(values, type, want, kind):
    ids = read(values, type=type)
    assert (ids.kind, ids.values.to_pylist()) == (kind, want)


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("type", [pa.string(), pa.int64(), pa.null(), pa.timestamp("s")])
def test_an_empty_part_has_no_say(form, type):
    ids = read_ids(pa.array([], type), form, "user id", "log.csv")
    assert decide([ids.kind]) == "integer"
    assert decide([ids.kind, IdKind.TEXT]) == "text"
    assert as_kind(ids, "text").type == pa.large_string()


def test_spaces_around_json_values_are_none_of_theirs():
    assert read([" 7", ' "a "\n'], Form.JSON).values.to_pylist() == ["7", "a "]


def test_uuids_are_their_usual_text():
    one = uuid.UUID(int=7)
    ids = read([one.bytes], type=pa.uuid())
    assert ids.values.to_pylist() == [str(one)]


@pytest.mark.parametrize(
    ("values", "form", "type", "message"),
    [
        ([1, None], Form.TYPED, pa.int64(), r"some row\(s\) have no user id \(log\.csv\)"),
        ([1.0, np.nan], Form.TYPED, pa.float64(), "have no user id"),
        ([None], Form.TYPED, pa.null(), "have no user id"),
        (["a", ""], Form.TYPED, pa.string(), "have no user id"),
        (["a", ""], Form.WRITTEN, None, "have no user id"),
        (["7", "null"], Form.JSON, None, "have no user id"),
        (["7", None], Form.JSON, None, "have no user id"),
        (['"a"', '""'], Form.JSON, None, "have no user id"),
        ([1.0, 2.5], Form.TYPED, pa.float64(), r"fractional numbers such as 2\.5 \(log\.csv\)"),
        (["1", "2.5"], Form.JSON, None, "fractional numbers"),
        ([Decimal("2.5")], Form.TYPED, pa.decimal128(5, 1), "fractional numbers"),
        ([2.0**54], Form.TYPED, pa.float64(), r"2\^53"),
        ([2.0**25], Form.TYPED, pa.float32(), r"2\^24"),
        # the neighbours of the bound are rounded to it
        ([2.0**53 + 1, 2.0**53], Form.TYPED, pa.float64(), r"below 2\^53"),
        (np.array([16777217, 16777216], np.float32), Form.TYPED, pa.float32(), r"below 2\^24"),
        ([np.float16(2049), np.float16(2048)], Form.TYPED, pa.float16(), r"below 2\^11"),
        (["9007199254740993.0", "9007199254740992"], Form.JSON, None, r"below 2\^53"),
        (["1.15292E+18", "A1"], Form.WRITTEN, None, r"'1\.15292E\+18'.*id_type to string"),
        (["A1", "1,15E+18"], Form.WRITTEN, None, r"'1,15E\+18'.*2\^53"),
        (["1.5e300"], Form.JSON, None, r"2\^53"),
        ([np.inf], Form.TYPED, pa.float64(), "inf"),
        (["1.15e+18", "7"], Form.WRITTEN, None, r"'1\.15e\+18'.*2\^53"),
        (["1.15E+18"], Form.WRITTEN, None, r"2\^53"),
        (["1.0", "inf"], Form.WRITTEN, None, "'inf' among numbers"),
        ([True], Form.TYPED, pa.bool_(), "type bool"),
        (["true"], Form.JSON, None, "'true'"),
        (["[1]"], Form.JSON, None, "no id"),
        (['{"a":1}', '"a"'], Form.JSON, None, "no id"),
        ([date(2020, 1, 1)], Form.TYPED, pa.date32(), "type date32"),
        ([datetime(2020, 1, 1)], Form.TYPED, pa.timestamp("us"), "type timestamp"),
        ([[1]], Form.TYPED, pa.list_(pa.int64()), "type list"),
        ([b"\xff"], Form.TYPED, pa.binary(), "UTF-8"),
    ],
)
def test_what_is_no_id_is_refused_by_name_and_file(values, form, type, message):
    with pytest.raises(DataError, match=message) as refused:
        read(values, form, type)
    assert "log.csv" in str(refused.value)


def test_the_rows_without_an_id_are_counted():
    with pytest.raises(DataError, match=r"^5 row\(s\) have no user id"):
        read(["a", "", None], rows=np.array([7, 2, 3]))


def test_text_is_taken_as_it_is_when_asked_for():
    assert read(["1.0", "inf"], Form.WRITTEN, id_type="string").kind is IdKind.TEXT
    assert read(["1E+10", "7"], Form.WRITTEN, id_type="string").values.to_pylist() == ["1E+10", "7"]


K = IdKind


@pytest.mark.parametrize(
    ("kinds", "want"),
    [
        ([], "integer"),
        ([K.INTEGER, K.DIGITS], "integer"),
        ([K.DIGITS, K.TEXT], "text"),
        ([K.INTEGER, K.TEXT], "text"),
        ([K.LARGE, K.TEXT], "text"),
    ],
)
def test_integers_only_if_all_parts_are(kinds, want):
    assert decide(kinds) == want
    assert decide(kinds, "string") == "text"


def test_integers_over_the_largest_are_text_only_when_asked_for():
    with pytest.raises(DataError, match=r"set data\.options\.id_type to string"):
        decide([K.INTEGER, K.LARGE], what="user id")
    assert decide([K.INTEGER, K.LARGE], "string") == "text"


def test_integers_over_the_largest_name_the_option_and_their_file():
    ids = [read(["7"], Form.WRITTEN), read(["1" * 5_000, "1"], Form.WRITTEN)]
    with pytest.raises(
        DataError, match=r"over the largest .*\(log\.csv\); set data\.options\.id_type to string"
    ):
        decide_form(ids)


def test_text_where_integers_are_needed_names_both_and_the_option():
    with pytest.raises(DataError, match=r"'007' \(log\.csv\), which is text.*are integers.*id_type"):
        as_kind(read(["007"], Form.WRITTEN), "integer")


def test_no_message_is_longer_than_a_paragraph():
    for values, form in ((["x" * 5_000_000], Form.WRITTEN), (["[" + "1," * 1_000_000 + "1]"], Form.JSON)):
        with pytest.raises(DataError) as refused:
            as_kind(
                read_ids(pa.array(values, pa.large_string()), form, "user id", "d/" * 5_000 + "log.csv"),
                "integer",
            )
        assert len(str(refused.value)) < 400
        assert "log.csv" in str(refused.value)


def test_a_few_words_among_integers_are_said():
    integers = [str(i) for i in range(70_000)]
    (note,) = odd_ids(pa.array(["Total", *integers], pa.large_string()), "user id")
    assert "'Total'" in note
    assert "70,000 other ids are integers" in note
    assert odd_ids(pa.array(integers[:20] + list("abcd"), pa.large_string()), "user id") == ()
    assert odd_ids(pa.array([*integers[:5], "a"], pa.large_string()), "user id") == ()
    assert odd_ids(pa.array(range(30), pa.int64()), "user id") == ()
