"""Byte sizes and counts: what is read, what is refused, and that what is written is read back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3ae_dist.errors import ConfigError
from l3ae_dist.units import GIB, exact_bytes, human_bytes, parse_bytes, parse_count, short_bytes


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2GiB", 2 * GIB),
        ("2g", 2 * GIB),
        (" 2 gib ", 2 * GIB),
        ("2GB", 2 * 10**9),
        ("500 MB", 500 * 10**6),
        ("1.5g", 3 * 2**29),
        ("4.35kb", 4350),
        ("1e9", 10**9),
        ("1e3m", 1000 * 2**20),
        ("1PiB", 2**50),
        ("1EB", 10**18),
        (4096, 4096),
        (2e9, 2 * 10**9),
        ("64", 64),
        ("10b", 10),
    ],
)
def test_sizes_are_read_with_binary_and_decimal_units(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text", ["lots", "-2GiB", "2 parsecs", None, True, "", "1e400", float("inf"), "2gb2"]
)
def test_a_size_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="write it like 2GiB"):
        parse_bytes(text)


@given(st.integers(0, 2**63))
def test_an_exact_size_is_read_back(count):
    assert parse_bytes(exact_bytes(count)) == count


@given(st.integers(0, 2**50))
def test_a_rounded_size_is_read_back_to_its_digits(count):
    assert parse_bytes(human_bytes(count)) == pytest.approx(count, rel=0.006)
    if count:
        assert parse_bytes(short_bytes(count).replace(",", "")) == pytest.approx(count, rel=0.006)


@given(
    st.integers(1, 2**20), st.sampled_from(["", "b", "k", "KiB", "kb", "m", "MiB", "MB", "g", "GiB", "tb"])
)
def test_case_and_space_do_not_matter(count, unit):
    assert (
        len({parse_bytes(f"{count}{space}{form}") for space in ("", " ") for form in (unit, unit.upper())})
        == 1
    )


@pytest.mark.parametrize(("text", "count"), [("5e9", 5 * 10**9), ("1,000,000", 10**6), ("100_000", 10**5)])
def test_counts_are_read_as_people_write_them(text, count):
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["0", "1.5", "many", "inf", "nan", "-3"])
def test_a_count_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match=re.escape(f"{text!r} is not a positive whole number")):
        parse_count(text)
