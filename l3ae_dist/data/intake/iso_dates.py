"""Dates and timestamps as int64 keys that order them, from Arrow's types and from ISO 8601 text."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from l3ae_dist.data.intake.plain_values import cast_or_none, mask_of
from l3ae_dist.linalg.arrays import Array, Integers

NEAR = 7_200_000_000_000_000_000
"""Nanoseconds from 1970 up to which a key counts nanoseconds, and from which it counts microseconds."""
_SECOND = 1_000_000_000
_DAY = 86_400
_FIRST, _END = -62_135_596_800, 253_402_300_800  # seconds of year 1 and of year 10000
_UNIT = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": _SECOND}
_PIECE = 16_384
_UTC = re.compile(" ?(UTC|GMT)$")
_ZONE = r":[0-9.,]+ ?([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)$"
_PATTERN = (
    r"^(?P<year>[0-9]{4})-?(?P<month>[0-9]{2})(?:-?(?P<day>[0-9]{2})"
    r"(?:[ Tt](?P<hour>[0-9]{2})(?::?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2})"
    r"(?:[.,](?P<fraction>[0-9]{1,9})[0-9]*)?)?)?"
    r" ?(?P<zone>[Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2}(?::[0-9]{2})?)?)?)?)?$"
)


def keys_of_dates(values: pa.Array) -> Integers:
    """Return the keys of Arrow dates or timestamps.

    Raises
    ------
    OverflowError
        For a date outside the years 1 to 9999.
    """
    if pa.types.is_date32(values.type):
        days = np.asarray(values.cast(pa.int32()).to_numpy(zero_copy_only=False), np.int64)
        return _keys(days * _DAY, None)
    unit = "ms" if pa.types.is_date64(values.type) else values.type.unit
    ticks = np.asarray(values.view(pa.int64()).to_numpy(zero_copy_only=False))
    return _keys_of_ticks(ticks, unit)


def _keys_of_ticks(ticks: Integers, unit: str) -> Integers:
    per_second = _UNIT[unit]
    if not len(ticks):
        return ticks
    low, high = int(ticks.min()), int(ticks.max())
    _check_years(low // per_second, high // per_second)
    scale = _SECOND // per_second
    if low * scale >= -NEAR and high * scale < NEAR:
        return ticks * scale
    seconds, rest = np.divmod(ticks, per_second)
    return _keys(seconds, rest * scale)


def _check_years(low: int, high: int) -> None:
    """Raise for times outside the years 1 to 9999; zones may lead a day beyond."""
    if low < _FIRST - _DAY or high >= _END + _DAY:
        raise OverflowError("outside the years 1 to 9999")


def _keys(seconds: Integers, nanoseconds: Integers | None) -> Integers:
    """Return keys of times in whole seconds, and nanoseconds from 0 to a second beside them."""
    if not len(seconds):
        return seconds
    _check_years(int(seconds.min()), int(seconds.max()))
    rest = np.zeros(1, np.int64) if nanoseconds is None else nanoseconds
    bound = NEAR // _SECOND
    near = np.clip(seconds, -bound, bound)
    microseconds = (seconds - near) * 1_000_000 + rest // 1_000
    inside = (seconds >= -bound) & (seconds < bound)
    return np.asarray(near * _SECOND + np.where(inside, rest, microseconds))


def keys_of_text(texts: pa.Array) -> Integers | None:
    """Return keys of dates of any ISO 8601 spelling, with and without zones; None when one is no date.

    Raises
    ------
    OverflowError
        For a date outside the years 1 to 9999.
    """
    pieces = [np.empty(0, np.int64)]
    for start in range(0, len(texts), _PIECE):
        keys = _keys_of_piece(texts.slice(start, _PIECE))
        if keys is None:
            return None
        pieces.append(keys)
    return np.concatenate(pieces)


def _keys_of_piece(texts: pa.Array) -> Integers | None:
    if _UTC.search(texts[0].as_py() or ""):
        texts = pc.replace_substring_regex(texts, _UTC.pattern, "Z")
    keys = _keys_of_usual_text(texts)
    if keys is not None:
        return keys
    zoned = mask_of(pc.match_substring_regex(texts, _ZONE))
    aware, naive = (_keys_of_usual_text(texts.filter(pa.array(mask))) for mask in (zoned, ~zoned))
    if aware is not None and naive is not None:
        keys = np.empty(len(texts), np.int64)
        keys[zoned], keys[~zoned] = aware, naive
        return keys
    exists, seconds, nanoseconds = _parsed(texts)
    return _keys(seconds, nanoseconds) if exists.all() else None


def _keys_of_usual_text(texts: pa.Array) -> Integers | None:
    """Return keys of dates as Arrow reads them, with a zone in all or in none; None for any other text."""
    for unit in ("ns", "us"):
        for zone in (None, "UTC"):
            dates = cast_or_none(texts, pa.timestamp(unit, zone))
            if dates is not None and not dates.null_count:
                return keys_of_dates(dates)
    return None


def is_date(texts: pa.Array) -> Array:
    """Return where texts are dates that exist, in an ISO 8601 spelling."""
    return _parsed(texts)[0]


def _parsed(texts: pa.Array) -> tuple[Array, Integers, Integers]:
    """Return where texts are dates, their seconds since 1970, and the nanoseconds beside those."""
    fields = pc.extract_regex(texts, _PATTERN)
    matched = ~np.asarray(fields.is_null().to_numpy(zero_copy_only=False))

    def number(name: str, default: int) -> Integers:
        field = pc.struct_field(fields, name)
        filled = pc.if_else(pc.equal(field, ""), str(default), field).fill_null(str(default))
        return np.asarray(filled.cast(pa.int64()).to_numpy(zero_copy_only=False))

    months = (number("year", 1970) - 1970) * 12 + number("month", 1) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    month, day = number("month", 1), number("day", 1)
    hour, minute, second = number("hour", 0), number("minute", 0), number("second", 0)
    zone_exists, offset = _offsets(pc.struct_field(fields, "zone"))
    exists = (month >= 1) & (month <= 12) & (day >= 1) & (day <= after - first) & zone_exists
    exists &= (hour < 24) & (minute < 60) & (second < 60)
    seconds = (first + day - 1) * _DAY + hour * 3_600 + minute * 60 + second - offset
    return matched & exists, seconds, _nanoseconds(pc.struct_field(fields, "fraction"))


def _nanoseconds(fraction: pa.Array) -> Integers:
    digits = pc.utf8_rpad(fraction.fill_null(""), width=9, padding="0")
    return np.asarray(digits.cast(pa.int64()).to_numpy(zero_copy_only=False))


def _offsets(zones: pa.Array) -> tuple[Array, Integers]:
    """Return where zones exist, and their seconds east of UTC."""
    encoded = zones.fill_null("").dictionary_encode()
    known = [_offset(zone) for zone in encoded.dictionary.to_pylist()]
    code = np.asarray(encoded.indices.to_numpy(zero_copy_only=False))
    exists = np.array([one is not None for one in known], bool)
    return exists[code], np.array([one or 0 for one in known], np.int64)[code]


def _offset(zone: str) -> int | None:
    """Return the seconds of a zone such as ``Z`` or ``+05:30``; None where no zone is so far away."""
    if zone[:1] not in ("+", "-"):
        return 0
    digits = zone[1:].replace(":", "").ljust(6, "0")
    hours, minutes, seconds = int(digits[:2]), int(digits[2:4]), int(digits[4:])
    if hours > 23 or minutes > 59 or seconds > 59:
        return None
    return (hours * 3_600 + minutes * 60 + seconds) * (-1 if zone[0] == "-" else 1)
