"""Times order as the instants that they name, in any form, type and spelling; kinds that differ are refused."""

import json
import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3ae_dist.data.intake.parts import Form
from l3ae_dist.data.intake.times import NEAR, TimeKind, in_kind, merge_kinds, read_times, summarise
from l3ae_dist.errors import DataError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read(values, form=Form.TYPED, type=None, origin="log.csv"):
    return read_times(pa.array(values, type if form is Form.TYPED else pa.large_string()), form, "t", origin)


def key(moment, nanoseconds=0):
    """The key of a moment by exact arithmetic on Python's integers."""
    ns = (moment - EPOCH) // timedelta(microseconds=1) * 1000 + nanoseconds
    if abs(ns) < NEAR or ns == -NEAR:
        return ns
    return NEAR + (ns - NEAR) // 1000 if ns > 0 else -NEAR + (ns + NEAR) // 1000


moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
zones = st.one_of(
    st.none(), st.just(UTC), st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
)


@st.composite
def spellings(draw):
    """A date as text, with the key of the instant that it names."""
    moment, zone = draw(moments), draw(zones)
    digits = draw(st.integers(0, 9))
    nine = f"{moment.microsecond:06d}{draw(st.integers(0, 999)):03d}"
    rest = int(nine[:digits].ljust(9, "0"))
    text = f"{moment:%Y-%m-%d}".rjust(10, "0") + draw(st.sampled_from("T ")) + f"{moment:%H:%M:%S}"
    text += f".{nine[:digits]}" if digits else ""
    if zone is UTC:
        text += draw(st.sampled_from(["Z", "+00:00", "+00", " UTC"]))
    elif zone is not None:
        written = f"{moment.replace(tzinfo=zone):%z}"
        text += draw(st.sampled_from([written, f"{written[:3]}:{written[3:]}"]))
    whole = moment.replace(microsecond=0, tzinfo=zone or UTC)
    return text, key(whole, rest)


@given(st.lists(spellings(), min_size=1, max_size=12))
def test_iso_dates_are_the_instants_that_they_name(pairs):
    texts, keys = zip(*pairs, strict=True)
    for form, values in (
        (Form.WRITTEN, texts),
        (Form.TYPED, texts),
        (Form.JSON, list(map(json.dumps, texts))),
    ):
        times = read(values, form, pa.string())
        assert times.kind == TimeKind.DATE
        assert times.keys.tolist() == list(keys)


@given(st.lists(moments, min_size=2, max_size=12), st.sampled_from(["s", "ms", "us", "ns"]))
def test_timestamps_of_every_unit_order_and_equal_their_text(values, unit):
    low, high = (datetime(1678, 1, 1), datetime(2262, 1, 1)) if unit == "ns" else (datetime.min, datetime.max)
    step = {"s": 10**6, "ms": 1000}.get(unit, 1)
    values = [v.replace(microsecond=v.microsecond // step * step) for v in values if low < v < high]
    want = [key(v.replace(tzinfo=UTC)) for v in values]
    assert read(values, type=pa.timestamp(unit)).keys.tolist() == want
    assert read(values, type=pa.timestamp(unit, "Asia/Tokyo")).keys.tolist() == want
    assert sorted(want) == [key(v.replace(tzinfo=UTC)) for v in sorted(values)]
    assert read([v.isoformat() for v in values], Form.WRITTEN).keys.tolist() == want or not values


@given(st.lists(st.dates(), min_size=1))
def test_plain_dates_of_every_type(values):
    want = [key(datetime(v.year, v.month, v.day, tzinfo=UTC)) for v in values]
    for type in (pa.date32(), pa.date64()):
        assert read(values, type=type).keys.tolist() == want
    assert read([v.isoformat() for v in values], Form.WRITTEN).keys.tolist() == want


def test_the_resolution_of_our_days_is_kept_and_far_dates_come_last():
    texts = [
        "9999-12-31",
        "2020-01-01T00:00:00.000000002",
        "2020-01-01T00:00:00.000000001",
        "0001-01-01",
        "1816-01-01",
    ]
    assert np.argsort(read(texts, Form.WRITTEN).keys).tolist() == [3, 4, 2, 1, 0]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("20200301T101500Z", "2020-03-01T10:15:00"),
        ("20200301T101500,5", "2020-03-01T10:15:00.500000"),
        ("2020-03", "2020-03-01T00:00:00"),
        ("2020-03-01T10", "2020-03-01T10:00:00"),
        ("2020-03-01 10:15", "2020-03-01T10:15:00"),
        ("2020-03-01 10:15:00 UTC", "2020-03-01T10:15:00"),
        ("2020-03-01t10:15:00z", "2020-03-01T10:15:00"),
        ("2020-03-01T10:15:00.1234567899", "2020-03-01T10:15:00.123456"),
        (" 2020-03-01 ", "2020-03-01T00:00:00"),
        ("2024-02-29", "2024-02-29T00:00:00"),
    ],
)
def test_other_spellings(text, want):
    got = read([text, "2020-01-01"], Form.WRITTEN)
    assert got.keys[0] // 1000 == key(datetime.fromisoformat(want).replace(tzinfo=UTC)) // 1000


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers_keep_all_their_digits(values):
    for form, column, type in (
        (Form.TYPED, values, pa.int64()),
        (Form.TYPED, [Decimal(v) for v in values], pa.decimal128(19, 0)),
        (Form.TYPED, list(map(str, values)), pa.string()),
        (Form.WRITTEN, list(map(str, values)), None),
        (Form.JSON, list(map(str, values)), None),
        (Form.JSON, [json.dumps(str(v)) for v in values], None),
    ):
        times = read(column, form, type)
        assert (times.kind, times.keys.tolist()) == (TimeKind.INTEGER, values)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_fractions_keep_their_order(values):
    values = [*(one for one in values if not re.fullmatch(r"[0-9.-]+e[+]1[0-8]", repr(one))), 0.5]
    for form, column in (
        (Form.TYPED, values),
        (Form.WRITTEN, list(map(repr, values))),
        (Form.JSON, list(map(json.dumps, values))),
    ):
        times = read(column, form, pa.float64())
        assert (times.kind, times.keys.tolist()) == (TimeKind.FLOAT, values)
    assert read([Fraction(1, 2).numerator / 2, 7], Form.TYPED).kind == TimeKind.FLOAT


@pytest.mark.parametrize(
    ("values", "form", "type", "message"),
    [
        ([1.0, np.nan], Form.TYPED, pa.float64(), r"1 interaction\(s\) have no t \(log\.csv\)"),
        ([1, None, None], Form.TYPED, pa.int64(), r"2 interaction\(s\) have no t"),
        (["1", "", "NA"], Form.WRITTEN, None, r"2 interaction\(s\) have no t"),
        (["1", "nan"], Form.WRITTEN, None, r"1 interaction\(s\) have no t"),
        (["1", "null", None], Form.JSON, None, r"2 interaction\(s\) have no t"),
        ([np.inf], Form.TYPED, pa.float64(), "holds inf"),
        (["1", "inf"], Form.WRITTEN, None, "holds inf"),
        (["1", "soon"], Form.WRITTEN, None, "'t' holds 'soon' .*neither a number nor an ISO 8601 date"),
        (["1", "0x1F"], Form.WRITTEN, None, "'0x1F'"),
        (["2020-01-01", "2020-02-30"], Form.WRITTEN, None, "'2020-02-30'"),
        (["2020-01-01T24:00:00"], Form.WRITTEN, None, "neither"),
        (["2020-01-01T10:00:00+25:00"], Form.WRITTEN, None, "neither"),
        (["2020-01-01", "0000-01-01"], Form.WRITTEN, None, "outside the years 1 to 9999"),
        (["10000-01-01"], Form.WRITTEN, None, "neither"),
        (["1/2/2020"], Form.WRITTEN, None, "neither"),
        (
            ["1583020800", "2020-03-01"],
            Form.WRITTEN,
            None,
            "'1583020800' .*a number, and '2020-03-01', a date",
        ),
        (["true"], Form.JSON, None, "neither"),
        ([True], Form.TYPED, pa.bool_(), "holds bool"),
        ([timedelta(1)], Form.TYPED, pa.duration("s"), "holds duration"),
        ([2**63], Form.TYPED, pa.uint64(), "over the largest integer"),
        ([2**62], Form.TYPED, pa.timestamp("s"), "outside the years"),
    ],
)
def test_what_is_no_time_is_refused_by_name_and_file(values, form, type, message):
    with pytest.raises(DataError, match=message) as refused:
        read(values, form, type)
    assert "log.csv" in str(refused.value)
    assert len(str(refused.value)) < 400


def parts(*columns):
    return [summarise(read(values, form, origin=name), name) for name, form, values in columns]


def test_numbers_beside_dates_are_refused_naming_both_files():
    seen = parts(("a.csv", Form.WRITTEN, ["2020-01-01"]), ("b.csv", Form.WRITTEN, ["1583020800"]))
    for order in (seen, seen[::-1]):
        with pytest.raises(
            DataError, match=r"'t' holds dates in a\.csv and numbers such as 1583020800 in b\.csv"
        ):
            merge_kinds(order, "t")


@pytest.mark.parametrize(
    ("first", "second", "units"),
    [
        (1_583_020_800, 1_583_020_800_000, "in seconds .* in milliseconds"),
        (1_583_020_800.5, 1_583_020_800_000_000, "in seconds .* in microseconds"),
        (1_583_020_800_000, 1_583_020_800_000_000_000, "in milliseconds .* in nanoseconds"),
    ],
)
def test_epochs_of_two_units_are_refused_naming_both_files(first, second, units):
    seen = parts(("a.csv", Form.TYPED, [first, first + 9]), ("b.csv", Form.TYPED, [second, second + 9]))
    with pytest.raises(DataError, match=units) as refused:
        merge_kinds(seen, "t")
    assert all(name in str(refused.value) for name in ("a.csv", "b.csv"))
    with pytest.raises(DataError, match=units):
        merge_kinds(parts(("a.csv", Form.TYPED, [first, second])), "t")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1_583_020_800, 20_000_000_000, 1_583_020_800_000], "in seconds .* in milliseconds"),
        ([473_385_600, 473_385_700_000], "in seconds .* in milliseconds"),
        ([20_240_105, 1_583_020_800], "in seconds .* dates as yyyymmdd"),
        ([45_000, 45_001.5, 1_583_020_800], "in seconds .* days as Excel counts them"),
    ],
)
def test_epochs_beside_other_times_are_refused_whatever_stands_between(values, message):
    with pytest.raises(DataError, match=message):
        merge_kinds(parts(("a.csv", Form.TYPED, values)), "t")
    with pytest.raises(DataError, match=message):
        merge_kinds(parts(*((f"{one}.csv", Form.TYPED, [one]) for one in values)), "t")


@pytest.mark.parametrize("values", [[20_240_105, 20_240_106], [45_000, 45_001], [7, 45_000, 1_583_020_800]])
def test_numbers_of_one_meaning_are_taken(values):
    assert merge_kinds(parts(("a.csv", Form.TYPED, values)), "t") == TimeKind.INTEGER


def test_large_integers_are_never_rounded():
    large = 1_577_836_800_000_000_003
    for form, values, type in (
        (Form.WRITTEN, [f"{large}.0", str(large - 1)], None),
        (Form.JSON, [f"{large}.0", str(large - 1)], None),
        (Form.TYPED, [Decimal(f"{large}.0"), Decimal(large - 1)], pa.decimal128(30, 1)),
    ):
        times = read(values, form, type)
        assert (times.kind, times.keys.tolist()) == (TimeKind.INTEGER, [large, large - 1])
    with pytest.raises(DataError, match=f"'t' holds '{large}' .*beside fractions"):
        read([str(large), "0.5"], Form.WRITTEN)
    with pytest.raises(DataError, match=r"'t' holds '1577836800000000003\.0' .*beside fractions"):
        read([Decimal(f"{large}.0"), Decimal("0.5")], type=pa.decimal128(30, 1))
    with pytest.raises(DataError, match=r"integers over 2\^53 \(a\).*floating-point numbers .*\(b\)"):
        merge_kinds(parts(("a", Form.TYPED, [large]), ("b", Form.TYPED, [1.5e18])), "t")


@pytest.mark.parametrize(
    ("values", "type", "message"),
    [
        (np.array([1577836803, 1577836802], np.float32), pa.float32(), "of type float.*int64 or float64"),
        (np.array([2049, 2048], np.float16), pa.float16(), "of type halffloat.*below 2048"),
        (["1.57784E+12"], pa.string(), "'1.57784E[+]12' .*a spreadsheet has rounded"),
    ],
)
def test_times_that_have_lost_digits_are_refused(values, type, message):
    with pytest.raises(DataError, match=message):
        read(values, Form.WRITTEN if type == pa.string() else Form.TYPED, type)


def test_numbers_that_are_no_epochs_of_two_units_are_taken():
    counted = np.linspace(0, 5e12, 100).astype(np.int64).tolist()
    assert (
        merge_kinds(parts(("a", Form.TYPED, counted[:3]), ("b", Form.TYPED, counted)), "t")
        == TimeKind.INTEGER
    )
    early = parts(("a", Form.TYPED, [0, 5, 1_583_020_800]), ("b", Form.TYPED, [-3]))
    assert merge_kinds(early, "t") == TimeKind.INTEGER


def test_integers_beside_fractions_are_fractions_and_empty_parts_say_nothing():
    seen = parts(("a", Form.TYPED, [1, 2]), ("b", Form.TYPED, [2.5]), ("c", Form.WRITTEN, []))
    assert merge_kinds(seen, "t") == TimeKind.FLOAT
    assert in_kind(np.array([1, 2]), TimeKind.FLOAT).dtype == np.float64
    assert merge_kinds(parts(("c", Form.WRITTEN, [])), "t") is None
    assert merge_kinds(parts(("a", Form.TYPED, [date(2020, 1, 1)])), "t") == TimeKind.DATE


@pytest.mark.parametrize("type", [pa.string(), pa.int64(), pa.null(), pa.timestamp("s"), pa.bool_()])
def test_an_empty_part_has_no_say(type):
    times = read_times(pa.array([], type), Form.TYPED, "t", "log.csv")
    seen = parts(("a", Form.TYPED, [date(2020, 1, 1)]))
    assert merge_kinds([summarise(times, "log.csv"), *seen], "t") == TimeKind.DATE


def test_pandas_timestamps_are_read_through_arrow():
    stamps = pd.to_datetime(["2020-03-01 10:00:00.123456789", "2020-03-01"], format="ISO8601").tz_localize(
        "Asia/Tokyo"
    )
    keys = read_times(pa.array(stamps), Form.TYPED, "t", "frame").keys
    assert keys.tolist() == stamps.as_unit("ns").asi8.tolist()
