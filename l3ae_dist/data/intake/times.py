"""Times of a column as keys that order them: integers, floating-point numbers, or dates.

Dates without a zone count as UTC, beside dates with one too. The key of a date is one int64: nanoseconds
since 1970 while they are below :data:`NEAR`, and beyond it microseconds, so that ``9999-12-31`` orders as it
should and times of our days keep their resolution.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from l3ae_dist.data.intake import iso_dates
from l3ae_dist.data.intake.numbers import NUMBER, json_texts, without_missing
from l3ae_dist.data.intake.parts import Form
from l3ae_dist.data.intake.plain_values import cast_or_none, decoded, mask_of, plain, shown, shown_origin
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array

NEAR = iso_dates.NEAR
"""Nanoseconds from 1970 on either side within which a date's key counts nanoseconds: 228 years."""
_Keys = TypeVar("_Keys")
# Ranges of the times from 1985 to 2128 in each unit of the Unix epoch.
_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_BOUNDS = np.array([10.0**power * 5 for power in (8, 9, 11, 12, 14, 15, 17, 18)])
# The same from 1973 on; counters have such numbers too, and others beside them.
_EARLY = np.array([bound for power in (8, 11, 14, 17) for bound in (10.0**power, 10.0**power * 50)])
_DATES, _SERIALS = "dates as yyyymmdd", "days as Excel counts them"
_EPOCH = 10**9  # numbers from here on are no such dates and days
_EXACT = 2.0**53
_ROUNDED = r"^[+-]?[0-9]([.,][0-9]{1,6})?[eE]\+(09|1[0-8])$"  # Excel's 1.57784E+12
_WHOLE = r"^([+-]?[0-9]+)(\.[0-9]*)?$"


class TimeKind(StrEnum):
    """Kind of times that a column holds."""

    INTEGER = "integer"
    FLOAT = "float"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class Times:
    """Times of some rows, in their order.

    Parameters
    ----------
    kind
        What they are.
    keys
        int64, or float64 for floating-point numbers.
    """

    kind: TimeKind
    keys: Array


@dataclass(frozen=True, slots=True)
class TimeSummary:
    """Facts about the times of some rows that must agree with those of others.

    Parameters
    ----------
    kind
        What they are.
    example
        The first of them.
    origin
        Name of the part.
    units
        Units of the Unix epoch in which some of the numbers fall into our days.
    early
        The same for days since 1973; empty where some numbers are in none of these ranges.
    dates
        What numbers too small for an epoch are, where all of them may be that.
    exact
        Whether a floating-point number can hold each integer.
    """

    kind: TimeKind
    example: str
    origin: str
    units: tuple[str, ...] = ()
    early: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    exact: bool = True


def read_times(values: pa.Array, form: Form, name: str, origin: str) -> Times:
    """Read times: numbers, timestamps, dates, or numbers and ISO 8601 dates written as text.

    Parameters
    ----------
    values
        Values of the column.
    form
        Form in which they stand.
    name, origin
        Name of the column and of the part, for messages.

    Raises
    ------
    DataError
        For times that are missing, not finite, neither a number nor a date, or both kinds in one column.
    """
    column = _Column(name, shown_origin(origin))
    values = json_texts(values, origin) if form is Form.JSON else decoded(values, origin)
    if pa.types.is_floating(values.type):
        _refuse_short(values, column)
    values = plain(values, origin)
    if not len(values):  # an empty part has no say
        return Times(TimeKind.INTEGER, np.empty(0, np.int64))
    kind = values.type
    if pa.types.is_large_string(kind):
        if form is Form.WRITTEN:
            _refuse_rounded(values, column)
        return _of_text(values, column)
    column.refuse_missing(mask_of(values.is_null()))
    if pa.types.is_integer(kind):
        return _of_integers(values, column)
    if pa.types.is_decimal(kind):
        integers = cast_or_none(values, pa.int64())
        return _of_integers(integers, column) if integers is not None else _of_decimals(values, column)
    if pa.types.is_floating(kind):
        return _of_floats(values, column)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return Times(TimeKind.DATE, column.in_range(iso_dates.keys_of_dates, values))
    raise DataError(
        f"the time column {shown(name)} holds {shown_origin(str(kind))} ({column.origin}), which is neither "
        "a number nor a date; name another column."
    )


@dataclass(frozen=True, slots=True)
class _Column:
    """Names of a column in messages."""

    name: str
    origin: str

    def refuse_missing(self, missing: Array) -> None:
        """Raise for rows without a time."""
        if missing.any():
            raise DataError(
                f"{int(missing.sum())} interaction(s) have no {shown(self.name)[1:-1]} ({self.origin}); "
                "fill or remove them."
            )

    def error(self, value: object, problem: str, advice: str = "convert the column") -> DataError:
        """Return the error for a value that is no time."""
        return DataError(
            f"the column {shown(self.name)} holds {shown(value)} ({self.origin}), {problem}; {advice}."
        )

    def in_range(self, read: Callable[[pa.Array], _Keys], values: pa.Array) -> _Keys:
        """Return the keys that a reader of dates makes; raise where dates are outside the years they have."""
        try:
            return read(values)
        except OverflowError:
            raise DataError(
                f"the column {shown(self.name)} holds a date outside the years 1 to 9999 ({self.origin}); "
                "mend or remove the row."
            ) from None


def _of_integers(values: pa.Array, column: _Column) -> Times:
    integers = cast_or_none(values, pa.int64())
    if integers is None:
        raise column.error(pc.max(values).as_py(), f"over the largest integer {2**63 - 1}")
    return Times(TimeKind.INTEGER, np.asarray(integers.to_numpy(zero_copy_only=False)))


def _of_floats(values: pa.Array, column: _Column) -> Times:
    numbers = np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    column.refuse_missing(np.isnan(numbers))
    infinite = np.isinf(numbers)
    if infinite.any():
        raise column.error(float(numbers[infinite][0]), "which is no time", "mend or remove the rows")
    return Times(TimeKind.FLOAT, numbers)


def _refuse_short(values: pa.Array, column: _Column) -> None:
    """Raise for numbers of half or single precision that may have been rounded to one another."""
    bound = {16: 2**11, 32: 2**24}.get(values.type.bit_width)
    numbers = np.abs(np.asarray(values.to_numpy(zero_copy_only=False), np.float64))
    if bound is not None and (np.isfinite(numbers) & (numbers >= bound)).any():
        first = float(numbers[numbers >= bound][0])
        raise column.error(
            first,
            f"of type {values.type}, which keeps integers exactly below {bound} only",
            "store the times as int64 or float64",
        )


def _refuse_rounded(texts: pa.Array, column: _Column) -> None:
    """Raise for numbers that a spreadsheet has rounded."""
    rounded = mask_of(pc.match_substring_regex(texts, _ROUNDED))
    if rounded.any():
        first = texts[int(rounded.argmax())].as_py()
        raise column.error(first, "a number that a spreadsheet has rounded", "write it with all its digits")


def _of_decimals(values: pa.Array, column: _Column) -> Times:
    _exact_integers(pc.cast(values, pa.large_string()), values.cast(pa.float64()), column)
    return _of_floats(values, column)


def _exact_integers(texts: pa.Array, numbers: pa.Array, column: _Column) -> pa.Array | None:
    """Return numbers of which some are over 2^53 as integers where all are whole; None where none is rounded.

    Raises
    ------
    DataError
        For an integer that a floating-point number beside fractions would round.
    """
    large = pc.greater(pc.abs(numbers), _EXACT)
    if not pc.any(large).as_py():
        return None
    whole = cast_or_none(pc.replace_substring_regex(texts, r"\.0*$", ""), pa.int64())
    if whole is not None:
        return whole
    written = texts.filter(large)
    written = written.filter(pc.match_substring_regex(written, _WHOLE))
    integers = cast_or_none(pc.replace_substring_regex(written, _WHOLE, r"\1"), pa.int64())
    if integers is not None and not _all_exact(integers.to_numpy(zero_copy_only=False)):
        raise column.error(
            written[0].as_py(),
            "an integer over 2^53, beside fractions, which would round it",
            "write integers only",
        )
    return None


def _all_exact(integers: Array) -> bool:
    """Tell whether a floating-point number can hold each of some integers."""
    if not len(integers) or max(-int(integers.min()), int(integers.max())) <= _EXACT:
        return True
    if int(integers.max()) > 2**63 - 2**10:  # which would become 2^63, and that no int64 at all
        return False
    return bool((integers.astype(np.float64).astype(np.int64) == integers).all())


def _of_text(texts: pa.Array, column: _Column) -> Times:
    """Read integers, else numbers, else dates; each attempt ends at the first value that is none."""
    times = _attempt(texts, column)
    if times is None:
        texts = without_missing(texts)
        column.refuse_missing(mask_of(texts.is_null()))
        times = _attempt(texts, column)
    if times is None:
        raise _neither(texts, column)
    return times


def _attempt(texts: pa.Array, column: _Column) -> Times | None:
    integers = cast_or_none(texts, pa.int64())
    if integers is not None and not pc.any(pc.match_substring(texts, "0x")).as_py():
        return _of_integers(integers, column)
    numbers = cast_or_none(texts, pa.float64())
    if numbers is not None:
        integers = _exact_integers(texts, numbers, column)
        return _of_floats(numbers, column) if integers is None else _of_integers(integers, column)
    keys = column.in_range(iso_dates.keys_of_text, texts)
    return None if keys is None else Times(TimeKind.DATE, keys)


def _neither(texts: pa.Array, column: _Column) -> DataError:
    """Return the error for a column of text that is not all numbers nor all dates."""
    date = iso_dates.is_date(texts)
    number = mask_of(pc.match_substring_regex(texts, NUMBER))
    neither = ~(number | date)
    if neither.any():
        first = texts[int(neither.argmax())].as_py()
        return column.error(first, "which is neither a number nor an ISO 8601 date")
    numbers, dates = (texts[int(mask.argmax())].as_py() for mask in (number, date))
    return column.error(numbers, f"a number, and {shown(dates)}, a date", "write all of them alike")


# ---- over parts


def summarise(times: Times, origin: str) -> TimeSummary:
    """Return what must agree with the times of other rows and parts."""
    keys = times.keys
    if not len(keys):
        return TimeSummary(times.kind, "", origin)
    if times.kind is TimeKind.DATE:
        return TimeSummary(times.kind, "a date", origin)
    units, _ = _units(keys, _BOUNDS)
    early, others = _units(keys, _EARLY)
    exact = times.kind is TimeKind.FLOAT or _all_exact(keys)
    return TimeSummary(
        times.kind, shown(keys[0]), origin, units, () if others else early, _dates(keys), exact
    )


def _units(keys: Array, bounds: Array) -> tuple[tuple[str, ...], bool]:
    """Return the units of the epoch that numbers have, and whether some have none."""
    present = np.unique(np.searchsorted(bounds, np.array([keys.min(), keys.max()]), side="right"))
    if len(present) > 1:
        present = np.flatnonzero(np.bincount(np.searchsorted(bounds, keys, side="right"), minlength=9))
    places = present.tolist()
    return tuple(_UNITS[place // 2] for place in places if place % 2), any(place % 2 == 0 for place in places)


def _dates(keys: Array) -> tuple[str, ...]:
    """Tell what the numbers below an epoch of our days are where all of them may be that."""
    if keys.min() >= _EPOCH:
        return ()
    small = keys[keys < _EPOCH]
    if ((small >= 25_569) & (small < 73_051)).all():  # 1970 to 2099
        return (_SERIALS,)
    if not ((small >= 19_000_101) & (small <= 21_001_231)).all():
        return ()
    days = pa.array(np.unique(small.astype(np.int64))).cast(pa.large_string())
    return (_DATES,) if iso_dates.is_date(days).all() else ()


def merge_kinds(summaries: Iterable[TimeSummary], name: str) -> TimeKind | None:
    """Return the kind of times that all rows have together: integers beside fractions are fractions.

    Parameters
    ----------
    summaries
        Of all rows, in any order; None when no row has a time.
    name
        Name of the column.

    Raises
    ------
    DataError
        For numbers in one part and dates in another, or epochs in two units, naming both parts.
    """
    seen = [one for one in summaries if one.example]
    dates = [one for one in seen if one.kind is TimeKind.DATE]
    numbers = [one for one in seen if one.kind is not TimeKind.DATE]
    if dates and numbers:
        raise DataError(
            f"the column {shown(name)} holds dates in {shown_origin(dates[0].origin)} and numbers such as "
            f"{numbers[0].example} in {shown_origin(numbers[0].origin)}; write all times alike."
        )
    _refuse_two_units(numbers, name)
    if not seen:
        return None
    kinds = {one.kind for one in seen}
    rounded = [one for one in numbers if not one.exact]
    if TimeKind.FLOAT in kinds and rounded:
        other = next(one for one in numbers if one.kind is TimeKind.FLOAT)
        raise DataError(
            f"the column {shown(name)} holds integers over 2^53 ({shown_origin(rounded[0].origin)}) and "
            f"floating-point numbers such as {other.example} ({shown_origin(other.origin)}), which would "
            "round them; write integers only."
        )
    return TimeKind.FLOAT if TimeKind.FLOAT in kinds else seen[0].kind


def _refuse_two_units(numbers: list[TimeSummary], name: str) -> None:
    early = all(one.early for one in numbers)
    units: dict[str, str] = {}
    dates: dict[str, str] = {}
    for one in numbers:
        for unit in one.early if early else one.units:
            units.setdefault(unit, one.origin)
        for date in one.dates:
            dates.setdefault(date, one.origin)
    if len(units) > 1:
        (unit, origin), (other, second) = list(units.items())[:2]
        raise DataError(
            f"the column {shown(name)} holds times in {unit} ({shown_origin(origin)}) and in {other} "
            f"({shown_origin(second)}) since 1970; write all times in one unit."
        )
    if units and dates:
        (unit, origin), (date, second) = next(iter(units.items())), next(iter(dates.items()))
        raise DataError(
            f"the column {shown(name)} holds times in {unit} since 1970 ({shown_origin(origin)}) and {date} "
            f"({shown_origin(second)}); write all times in one unit."
        )


def in_kind(keys: Array, kind: TimeKind) -> Array:
    """Return keys of times as the kind of all rows has them: float64 for floating-point numbers."""
    return keys.astype(np.float64) if kind is TimeKind.FLOAT else keys
