"""Ids of users and items: the checked values of a column, and whether all parts together hold integers.

The ids of a column are integers only if every value of every part is an integer, written as an integer is:
``7``, and neither ``007`` nor ``7.0``. Otherwise all of them are text, and keep every space and zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from l3ae_dist.data.intake.parts import Form
from l3ae_dist.data.intake.plain_values import (
    cast_or_none,
    decoded,
    json_of,
    json_strings,
    json_value,
    mask_of,
    plain,
    shown,
    shown_origin,
)
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array

IdType: TypeAlias = Literal["auto", "string"]
"""Option ``id_type``: what the values say, or text whatever they are."""
IdForm: TypeAlias = Literal["integer", "text"]
"""Form in which the ids of a column are kept: all int64, or all text."""

LARGEST = 2**63 - 1
_EXACT = {16: 11, 32: 24, 64: 53}  # digits of the significand of a floating-point number, by its bits
CANONICAL = r"^(0|-?[1-9][0-9]*)$"
"""Regular expression of a text that is written as an integer is."""
# Spreadsheets and data frames write large integers so: 1.15E+18, in some countries 1,15E+18
_LOST_DIGITS = r"^[+-]?[0-9]([.,][0-9]+)?[eE]\+[0-9]{2,}$"


class IdKind(StrEnum):
    """Kind of ids that one column of one part holds."""

    INTEGER = "integer"
    """Typed integers, JSON numbers, whole floating-point numbers."""
    DIGITS = "digits"
    """Integers within int64 in a text file, every one written as an integer is."""
    LARGE = "large"
    """Integers of which at least one is over the largest int64; their values are text."""
    TEXT = "text"
    """Anything else, and typed strings whatever they hold."""


@dataclass(frozen=True, slots=True)
class IdValues:
    """Checked ids of one column of one part.

    Parameters
    ----------
    values
        int64 or ``large_string``, one for each value that was read and in the same order; two of them may be
        equal where two spellings mean one id (JSON ``7`` and ``7.0``).
    kind
        Their kind.
    example
        One of them, cut to a length that messages can hold.
    origin
        Name of the part.
    what
        What messages call the column, such as ``"user id"``.
    """

    values: pa.Array
    kind: IdKind
    example: str
    origin: str
    what: str = "id"


def read_ids(
    distinct: pa.Array,
    form: Form,
    what: str,
    origin: str,
    *,
    id_type: IdType = "auto",
    rows: Array | None = None,
) -> IdValues:
    """Check the distinct raw values of an id column of one part.

    Parameters
    ----------
    distinct
        The values; a null or an empty string among them is an id that is missing.
    form
        Form in which they stand.
    what, origin
        What messages call the column and the part: ``"user id"``, ``"log.csv"``.
    id_type
        The option; ``"string"`` takes what a text file writes as it is.
    rows
        (distinct,) number of rows of each value, for the count in messages.

    Raises
    ------
    DataError
        For ids that are missing, fractions, numbers that have lost digits or are not finite, booleans,
        dates, lists.
    """
    column = _Column(what, shown_origin(origin), rows)
    if not len(distinct):  # an empty part has no say
        ids, kind = pa.array([], pa.int64()), IdKind.INTEGER
    elif form is Form.JSON:
        ids, kind = _of_json(json_of(distinct, origin), column)
    elif form is Form.WRITTEN:
        ids, kind = _of_text_file(plain(distinct, origin), column, id_type)
    else:
        ids, kind = _of_type(decoded(distinct, origin), column)
    return IdValues(ids, kind, _example(ids), origin, what)


@dataclass(frozen=True, slots=True)
class _Column:
    """Names of a column in messages, and the rows of its values."""

    what: str
    origin: str
    rows: Array | None

    def refuse_missing(self, missing: Array) -> None:
        """Raise for values that are no id at all."""
        if missing.any():
            count = "some" if self.rows is None else int(self.rows[missing].sum())
            raise DataError(f"{count} row(s) have no {self.what} ({self.origin}); fill or remove them.")

    def error(self, held: str, advice: str) -> DataError:
        """Return the error for values that are no ids."""
        return DataError(f"the {self.what} column holds {held} ({self.origin}){advice}")


def decide_form(ids: Iterable[IdValues], id_type: IdType = "auto", what: str = "id") -> IdForm:
    """Decide the form of the ids of a column from those of all its parts, as :func:`decide` does.

    Parameters
    ----------
    ids
        Ids of the parts.
    id_type
        The option.
    what
        What messages call the column.
    """
    first: dict[IdKind, str] = {}
    for one in ids:
        first.setdefault(one.kind, one.origin)
    return decide(first, id_type, what, first.get(IdKind.LARGE, ""))


def decide(kinds: Iterable[IdKind], id_type: IdType = "auto", what: str = "id", origin: str = "") -> IdForm:
    """Decide the form of the ids of a column from the kinds in all its parts.

    Parameters
    ----------
    kinds
        Kinds of the parts.
    id_type
        The option.
    what
        What messages call the column.
    origin
        Name of the part with integers over the largest int64, for the message.

    Raises
    ------
    DataError
        For integers over the largest int64, unless ``id_type`` or other ids make them text.
    """
    present = set(kinds)
    if id_type == "string" or IdKind.TEXT in present:
        return "text"
    if IdKind.LARGE in present:
        where = f" ({shown_origin(origin)})" if origin else ""
        raise DataError(
            f"the {what} column holds integers over the largest integer id {LARGEST}{where}; set "
            "data.options.id_type to string."
        )
    return "integer"


def as_kind(ids: IdValues, kind: IdForm, like: object = None) -> pa.Array:
    """Return ids in the form of those that they are matched with: int64, or ``large_string``.

    Parameters
    ----------
    ids
        Ids of one part.
    kind
        Form of the others.
    like
        One of the others, for the message.

    Raises
    ------
    DataError
        For text where integers are needed, naming both.
    """
    if kind == "text":
        return ids.values.cast(pa.large_string())
    if ids.kind in (IdKind.INTEGER, IdKind.DIGITS):
        return ids.values.cast(pa.int64())
    held = "text" if ids.kind is IdKind.TEXT else f"over the largest integer id {LARGEST}"
    others = "integers" if like is None else f"integers such as {shown(like)}"
    raise DataError(
        f"the {ids.what} column holds {_unlike(ids)} ({shown_origin(ids.origin)}), which is {held}, and the "
        f"ids that it must match are {others}; write both alike, or read both as text with "
        "data.options.id_type: string."
    )


def _unlike(ids: IdValues) -> str:
    """Return an example of ids that are no integers: the first that is not written as one."""
    others = ids.values.filter(pc.invert(pc.match_substring_regex(ids.values, CANONICAL)))
    return _example(others) or ids.example


def _example(ids: pa.Array) -> str:
    return shown(ids[0].as_py()) if len(ids) else ""


# ---- text files


def _of_text_file(values: pa.Array, column: _Column, id_type: IdType) -> tuple[pa.Array, IdKind]:
    column.refuse_missing(_absent(values))
    integers = cast_or_none(values, pa.int64())
    if integers is not None:
        return (integers, IdKind.DIGITS) if _all_canonical(values) else (values, IdKind.TEXT)
    if id_type == "auto":
        _refuse_lost_digits(values, column)
    numbers = cast_or_none(values, pa.float64())
    if numbers is None:
        return values, IdKind.TEXT
    if id_type == "auto":
        _refuse_infinite(values, numbers, column)
    large = pc.all(pc.match_substring_regex(values, CANONICAL))
    return values, IdKind.LARGE if large.as_py() else IdKind.TEXT


def _absent(values: pa.Array) -> Array:
    empty = mask_of(pc.equal(pc.binary_length(values), 0))
    return empty | mask_of(values.is_null()) if values.null_count else empty


def _all_canonical(values: pa.Array) -> bool:
    """Tell whether strings that Arrow reads as int64 are no ``007``, ``-0`` or ``0x1F``."""
    zero = pc.starts_with(values, "0")
    longer = pc.greater(pc.binary_length(values), 1)
    other = pc.or_(pc.and_(zero, longer), pc.starts_with(values, "-0"))
    return not pc.any(other).as_py()


def _refuse_lost_digits(values: pa.Array, column: _Column) -> None:
    """Raise for numbers that a spreadsheet has rounded, whatever the other ids are."""
    rounded = mask_of(pc.match_substring_regex(values, _LOST_DIGITS))
    if rounded.any():
        first = values[int(rounded.argmax())].as_py()
        raise column.error(
            f"{shown(first)}, a rounded floating-point number, which keeps integers exactly up to 2^53 only",
            "; write the ids again with all their digits, or set data.options.id_type to string.",
        )


def _refuse_infinite(values: pa.Array, numbers: pa.Array, column: _Column) -> None:
    infinite = mask_of(pc.is_inf(numbers)) & ~mask_of(pc.match_substring_regex(values, CANONICAL))
    if infinite.any():
        first = values[int(infinite.argmax())].as_py()
        raise column.error(f"{shown(first)} among numbers", "; ids are integers or text.")


# ---- typed columns


def _of_type(values: pa.Array, column: _Column) -> tuple[pa.Array, IdKind]:
    half = pa.types.is_float16(values.type)
    values = plain(values, column.origin)
    kind = values.type
    if pa.types.is_large_string(kind):
        column.refuse_missing(_absent(values))
        return values, IdKind.TEXT
    column.refuse_missing(mask_of(values.is_null()))
    if pa.types.is_integer(kind):
        return _of_integers(values)
    if pa.types.is_floating(kind):
        return pa.array(_of_floats(values, column, 16 if half else kind.bit_width)), IdKind.INTEGER
    if pa.types.is_decimal(kind):
        return _of_decimals(values, column)
    raise column.error(
        f"values of type {shown_origin(str(kind))}", "; ids are integers or text: name another column."
    )


def _of_integers(values: pa.Array) -> tuple[pa.Array, IdKind]:
    integers = cast_or_none(values, pa.int64())
    if integers is None:
        return values.cast(pa.large_string()), IdKind.LARGE
    return integers, IdKind.INTEGER


def _of_floats(values: pa.Array, column: _Column, bits: int = 64) -> Array:
    """Return whole floating-point numbers, stored in some number of bits, as int64."""
    digits = _EXACT[bits]
    numbers = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    column.refuse_missing(np.isnan(numbers))
    lost = np.abs(numbers) >= 2.0**digits  # the bound itself may be a rounded neighbour
    if lost.any():
        raise column.error(
            f"{shown(numbers[lost][0])} as a floating-point number, which keeps integers exactly "
            f"below 2^{digits} only",
            "; store the ids as integers or text.",
        )
    fractions = numbers != np.floor(numbers)
    if fractions.any():
        raise column.error(
            f"fractional numbers such as {shown(numbers[fractions][0])}", "; ids are integers or text."
        )
    return numbers.astype(np.int64)


def _of_decimals(values: pa.Array, column: _Column) -> tuple[pa.Array, IdKind]:
    whole = pc.floor(values)
    fractions = mask_of(pc.not_equal(whole, values))
    if fractions.any():
        first = values[int(fractions.argmax())].as_py()
        raise column.error(f"fractional numbers such as {first}", "; ids are integers or text.")
    integers = cast_or_none(values, pa.int64())
    if integers is not None:
        return integers, IdKind.INTEGER
    return pa.array([f"{one:.0f}" for one in values.to_pylist()], pa.large_string()), IdKind.LARGE


# ---- JSON


def _of_json(raw: pa.Array, column: _Column) -> tuple[pa.Array, IdKind]:
    column.refuse_missing(mask_of(raw.is_null()) | mask_of(pc.equal(raw, "null")))
    is_text = mask_of(pc.starts_with(raw, '"'))
    if not is_text.any():
        return _of_json_numbers(raw, column)
    texts = json_strings(raw, column.origin) if is_text.all() else _mixed(raw, is_text, column)
    column.refuse_missing(_absent(texts))
    return texts, IdKind.TEXT


def _mixed(raw: pa.Array, is_text: Array, column: _Column) -> pa.Array:
    numbers, _ = _of_json_numbers(raw.filter(pa.array(~is_text)), column)
    texts = json_strings(raw.filter(pa.array(is_text)), column.origin)
    joined = pa.concat_arrays([texts, numbers.cast(pa.large_string())])
    order = np.concatenate([np.flatnonzero(is_text), np.flatnonzero(~is_text)])
    return joined.take(pa.array(np.argsort(order)))


def _of_json_numbers(raw: pa.Array, column: _Column) -> tuple[pa.Array, IdKind]:
    integers = cast_or_none(raw, pa.int64())
    if integers is not None:
        return integers, IdKind.INTEGER
    numbers = cast_or_none(raw, pa.float64())
    if numbers is None:
        bad = next((one for one in raw.to_pylist() if not _is_json_number(one, column.origin)), raw[0])
        raise column.error(shown(bad), ", which is no id; ids are integers or text.")
    whole = mask_of(pc.match_substring_regex(raw, "^-?[0-9]+$"))
    if not whole.any():
        return pa.array(_of_floats(numbers, column)), IdKind.INTEGER
    exact, kind = _of_json_integers(raw.filter(pa.array(whole)))
    rest = pa.array(_of_floats(numbers.filter(pa.array(~whole)), column), pa.int64()).cast(exact.type)
    order = np.concatenate([np.flatnonzero(whole), np.flatnonzero(~whole)])
    return pa.concat_arrays([exact, rest]).take(pa.array(np.argsort(order))), kind


def _of_json_integers(raw: pa.Array) -> tuple[pa.Array, IdKind]:
    integers = cast_or_none(raw, pa.int64())
    return (raw, IdKind.LARGE) if integers is None else (integers, IdKind.INTEGER)


def _is_json_number(raw: str, origin: str) -> bool:
    value = json_value(raw, origin)
    return isinstance(value, (int, float)) and not isinstance(value, bool)
