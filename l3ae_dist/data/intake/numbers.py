"""Numbers of a column, such as weights and ratings, as float64."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from l3ae_dist.data.intake.parts import Form
from l3ae_dist.data.intake.plain_values import (
    cast_or_none,
    json_of,
    json_strings,
    mask_of,
    plain,
    shown,
    shown_origin,
)
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Floats

MISSING = (
    "",
    "NA",
    "N/A",
    "n/a",
    "<NA>",
    "NaN",
    "nan",
    "-nan",
    "NULL",
    "null",
    "Null",
    "None",
    "none",
    "\\N",
)
"""Words that stand for a missing number in text files; R, pandas, MySQL and others write them."""
NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$|^[+-]?(?i:inf|infinity|nan)$"
"""Pattern of a number in a text file."""


def to_floats(values: pa.Array, form: Form, name: str, what: str, origin: str) -> Floats:
    """Return the numbers of a column, NaN where it is empty.

    Parameters
    ----------
    values
        Values of the column.
    form
        Form in which they stand.
    name, what, origin
        Name of the column, what it is, and the part that it is from, for messages.

    Raises
    ------
    DataError
        For the first value that is no number.
    """
    column = f"the {what} column {shown(name)}"
    origin = shown_origin(origin)
    values = _booleans_as_numbers(json_texts(values, origin)) if form is Form.JSON else plain(values, origin)
    if pa.types.is_large_string(values.type):
        return _parsed(values, column, origin)
    if pa.types.is_temporal(values.type):
        held = "durations" if pa.types.is_duration(values.type) else "dates"
        raise DataError(f"{column} holds {held} and not numbers ({origin}); name another column.")
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    if not _is_number(values.type):
        kind = shown_origin(str(values.type))
        raise DataError(f"{column} holds {kind} and not numbers ({origin}); name another column.")
    return _with_nan(values.cast(pa.float64(), safe=False))  # large integers are rounded


def as_held(number: float, kind: pa.DataType) -> float:
    """Return a number as a column holds it: in single precision 0.7 is less than in double precision.

    Parameters
    ----------
    number
        The number.
    kind
        Type of the column; those without a precision of their own hold double precision.
    """
    while not pa.types.is_floating(kind):
        inner = getattr(kind, "value_type", None) or getattr(kind, "storage_type", None)
        if inner is None:
            return number
        kind = inner
    with np.errstate(over="ignore"):
        return float(kind.to_pandas_dtype()(number))


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    return any(test(kind) for test in tests)


def _with_nan(numbers: pa.Array) -> Floats:
    return np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)


def json_texts(raw: pa.Array, origin: str) -> pa.Array:
    """Return JSON values as a text file would have them: numbers as written, strings without their quotes.

    Lists, objects, ``true`` and ``false`` stay raw JSON; null and absent values are empty.
    """
    raw = json_of(raw, origin).fill_null("")
    is_text = pc.starts_with(raw, '"')
    if pc.any(is_text).as_py():
        raw = pc.replace_with_mask(raw, is_text, json_strings(raw.filter(is_text), origin))
    return raw


def _booleans_as_numbers(texts: pa.Array) -> pa.Array:
    for word, number in (("true", "1"), ("false", "0")):
        texts = pc.if_else(pc.equal(texts, word), number, texts)
    return texts


def _parsed(texts: pa.Array, column: str, origin: str) -> Floats:
    numbers = cast_or_none(texts, pa.float64())
    if numbers is None:
        texts = without_missing(texts)
        numbers = cast_or_none(texts, pa.float64())
    if numbers is None:
        bad = ~mask_of(pc.match_substring_regex(texts, NUMBER)) & ~mask_of(texts.is_null())
        first = texts[int(bad.argmax())].as_py()
        advice = "write it with a decimal point" if "," in first else "mend the rows or name another column"
        raise DataError(f"{column} holds {shown(first)} ({origin}), which is no number; {advice}.")
    return _with_nan(numbers)


def without_missing(texts: pa.Array) -> pa.Array:
    """Return texts without spaces around them, and null where a word stands for a missing value."""
    texts = pc.utf8_trim_whitespace(texts)
    absent = pc.is_in(texts, pa.array(MISSING, pa.large_string()))
    return pc.if_else(absent, pa.scalar(None, pa.large_string()), texts)
