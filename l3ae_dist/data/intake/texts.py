"""Texts of columns of any type, as they are embedded and shown to people."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from l3ae_dist.data.intake.parts import Form
from l3ae_dist.data.intake.plain_values import json_of, json_strings, json_value, mask_of, plain
from l3ae_dist.linalg.arrays import Array

_WHOLE = 2.0**53
_LISTS = (pa.ListType, pa.LargeListType, pa.FixedSizeListType, pa.ListViewType, pa.LargeListViewType)


def to_texts(values: pa.Array, form: Form, origin: str = "") -> list[str]:
    """Return a column as texts; what is missing is the empty string.

    Lists are the texts of their values joined with spaces, structs and objects too, in the order of their
    keys. Whole floating-point numbers are written as integers, dates as ISO 8601. Parquet and JSON Lines of
    the same data give the same texts, and what a text file writes stays as it is.

    Parameters
    ----------
    values
        Values of the column.
    form
        Form in which they stand.
    origin
        Name of the part, for messages.

    Raises
    ------
    DataError
        For bytes that are no UTF-8, and JSON that is broken.
    """
    if form is Form.JSON:
        return _of_json(json_of(values, origin), origin)
    return _of_type(plain(values, origin), origin)


def join_texts(columns: Sequence[Sequence[str]], separator: str) -> list[str]:
    """Join the texts of several columns row by row; empty ones leave no separator behind.

    Parameters
    ----------
    columns
        Texts of each column, all of one length.
    separator
        Put between two of them.
    """
    if len(columns) == 1:
        return list(columns[0])
    return [_joined(row, separator) for row in zip(*columns, strict=True)]


def _joined(texts: Iterable[str], separator: str = " ") -> str:
    return separator.join(text for text in texts if text)


def _of_type(values: pa.Array, origin: str) -> list[str]:
    """Return the texts of an array of a plain type."""
    types, kind = pa.types, values.type
    if types.is_large_string(kind):
        return ["" if one is None else one for one in values.to_pylist()]
    if types.is_integer(kind):
        return _of_type(values.cast(pa.large_string()), origin)
    if types.is_floating(kind):
        return _of_floats(values)
    if types.is_map(kind):
        return _of_maps(values, origin)
    if isinstance(kind, _LISTS):
        return _of_lists(values, origin)
    if types.is_struct(kind):
        return _of_structs(values, origin)
    if types.is_date(kind):
        return _of_dates(values)
    if types.is_timestamp(kind):
        return _of_timestamps(values)
    return ["" if one is None else _of_value(one) for one in values.to_pylist()]


def _of_value(value: object) -> str:
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value)


def _of_floats(values: pa.Array) -> list[str]:
    numbers = np.asarray(values.to_numpy(zero_copy_only=False))
    return (
        [float_text(one) for one in numbers.tolist()] if numbers.dtype == np.float64 else _of_short(numbers)
    )


def _of_short(numbers: Array) -> list[str]:
    """Return the texts of numbers of single precision: as many digits as they have."""
    return [float_text(float(str(one))) for one in numbers]


def float_text(value: float) -> str:
    """Return a floating-point number as text: whole ones as integers, NaN as nothing."""
    if value != value:
        return ""
    return str(int(value)) if abs(value) <= _WHOLE and value == int(value) else repr(value)


def _of_lists(values: pa.Array, origin: str) -> list[str]:
    """Return the texts of lists: of their items, joined with spaces."""
    texts = _of_type(plain(pc.list_flatten(values), origin), origin)
    lengths = np.asarray(pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False))
    bounds = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    return [_joined(texts[a:b]) for a, b in pairwise(bounds)]


def _of_structs(values: pa.Array, origin: str) -> list[str]:
    fields = sorted(zip((field.name for field in values.type), values.flatten(), strict=True), key=_name)
    columns = [_of_type(plain(field, origin), origin) for _, field in fields]
    return join_texts(columns, " ") if columns else [""] * len(values)


def _of_maps(values: pa.Array, origin: str) -> list[str]:
    keys, items = _of_type(plain(values.keys, origin), origin), _of_type(plain(values.items, origin), origin)
    bounds = pairwise(np.asarray(values.offsets.to_numpy(zero_copy_only=False)).tolist())
    return [_joined(text for _, text in sorted(zip(keys[a:b], items[a:b], strict=True))) for a, b in bounds]


def _name(pair: tuple[str, object]) -> str:
    return pair[0]


def _of_dates(values: pa.Array) -> list[str]:
    days = values.cast(pa.date32()).view(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False)
    texts = np.datetime_as_string(np.asarray(days, np.int64).astype("datetime64[D]")).tolist()
    absent = mask_of(values.is_null()).tolist()
    return ["" if null else text for text, null in zip(texts, absent, strict=True)]


def _of_timestamps(values: pa.Array) -> list[str]:
    """Return timestamps as ISO 8601, those with a zone in UTC."""
    zone = "" if values.type.tz is None else "+00:00"
    ticks = np.asarray(values.view(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False))
    texts = np.datetime_as_string(ticks.astype(f"datetime64[{values.type.unit}]")).tolist()
    shortened = [text.rstrip("0").rstrip(".") if "." in text else text for text in texts]
    absent = mask_of(values.is_null()).tolist()
    return ["" if null else text + zone for text, null in zip(shortened, absent, strict=True)]


# ---- JSON


def _of_json(raw: pa.Array, origin: str) -> list[str]:
    raw = raw.fill_null("null")
    is_text = pc.starts_with(raw, '"')
    decoded = raw
    if pc.any(is_text).as_py():
        decoded = pc.replace_with_mask(raw, is_text, json_strings(raw.filter(is_text), origin))
    kept = mask_of(is_text).tolist()
    return [
        one if text else _of_json_value(json_value(one, origin))
        for one, text in zip(decoded.to_pylist(), kept, strict=True)
    ]


def _of_json_value(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, list):
        return _joined(map(_of_json_value, value))
    if isinstance(value, dict):
        return _joined(_of_json_value(one) for _, one in sorted(value.items(), key=_name))
    return str(value)
