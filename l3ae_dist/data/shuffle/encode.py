"""Codes of the ids of some rows: each distinct value is checked once, however often it occurs."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.data.intake.ids import IdKind, IdType, IdValues, as_kind, read_ids
from l3ae_dist.data.intake.parts import Form
from l3ae_dist.data.shuffle.order import run_starts
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array, Integers

if TYPE_CHECKING:
    import pyarrow as pa

_INT64 = np.iinfo(np.int64)
# A table over the range of integers is taken while it has no more entries than this for each value.
_DENSE = 3
# Bytes of strings up to which Arrow's 32-bit offsets are safe.
_SHORT = 1 << 30


@dataclass(frozen=True, slots=True)
class Piece:
    """Values of an id column in a record batch, and the part that they are from."""

    values: "pa.Array"
    form: Form
    origin: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows of an id column as positions among checked ids.

    Parameters
    ----------
    codes
        (rows,) int32.
    ids
        Checked ids, of which two may be equal.
    counts
        (ids,) rows of each.
    """

    codes: Array
    ids: IdValues
    counts: Integers


def encode(pieces: Sequence[Piece], what: str, id_type: IdType) -> Encoded:
    """Encode the values of some record batches, in their order.

    Parameters
    ----------
    pieces
        The values; at least one row.
    what
        What messages call the column, such as ``"user id"``.
    id_type
        The option.

    Raises
    ------
    DataError
        As :func:`read_ids`, naming the part.
    """
    alike: dict[tuple[str, Form], list[int]] = {}
    for number, piece in enumerate(pieces):
        if len(piece.values):
            alike.setdefault((str(piece.values.type), piece.form), []).append(number)
    encoded = [_encode_alike([pieces[i] for i in numbers], what, id_type) for numbers in alike.values()]
    if len(encoded) == 1:
        return encoded[0]
    return _joined(encoded, list(alike.values()), [len(piece.values) for piece in pieces])


def _encode_alike(pieces: Sequence[Piece], what: str, id_type: IdType) -> Encoded:
    codes, distinct, counts = _codes(_concatenated([piece.values for piece in pieces]), pieces[0], what)
    origins = list(dict.fromkeys(piece.origin for piece in pieces))
    form = pieces[0].form
    try:
        ids = read_ids(distinct, form, what, origins[0], id_type=id_type, rows=counts)
    except DataError:
        if len(origins) > 1:
            _name_the_part(pieces, origins, what, id_type)
        raise
    return Encoded(codes, _with_origin(ids, pieces, origins, id_type), counts)


def _name_the_part(pieces: Sequence[Piece], origins: Sequence[str], what: str, id_type: IdType) -> None:
    """Read the parts one by one, so that the error names the one that it comes from."""
    for origin in origins:
        values = _concatenated([piece.values for piece in pieces if piece.origin == origin])
        _, distinct, counts = _codes(values, pieces[0], what)
        read_ids(distinct, pieces[0].form, what, origin, id_type=id_type, rows=counts)


def _with_origin(ids: IdValues, pieces: Sequence[Piece], origins: Sequence[str], id_type: IdType) -> IdValues:
    """Name the first part whose ids are of the kind of all, so that messages show the one to mend."""
    if len(origins) == 1 or ids.kind in (IdKind.INTEGER, IdKind.DIGITS):
        return ids
    for piece in pieces:
        values = _concatenated([piece.values]).unique()
        with contextlib.suppress(DataError):  # what is wrong in itself is not beside the others
            found = read_ids(values, piece.form, ids.what, piece.origin, id_type=id_type)
            if found.kind is ids.kind:
                return replace(ids, example=found.example, origin=piece.origin)
    return ids


def _concatenated(arrays: Sequence["pa.Array"]) -> "pa.Array":
    import pyarrow as pa

    if pa.types.is_dictionary(arrays[0].type):
        arrays = [array.dictionary_decode() for array in arrays]
    if pa.types.is_string(arrays[0].type) and sum(array.nbytes for array in arrays) > _SHORT:
        arrays = [array.cast(pa.large_string()) for array in arrays]
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def _codes(values: "pa.Array", piece: Piece, what: str) -> tuple[Array, "pa.Array", Integers]:
    """Return the codes of values, the distinct ones, and the rows of each."""
    import pyarrow as pa

    if pa.types.is_integer(values.type) and not values.null_count:
        found = _integer_codes(values.to_numpy())
        if found is not None:
            codes, distinct, counts = found
            return codes, pa.array(distinct, values.type), counts
    try:
        encoded = values.dictionary_encode(null_encoding="encode")
    except pa.ArrowNotImplementedError:
        kind = str(values.type)[:60]
        raise DataError(
            f"the {what} column holds values of type {kind} ({piece.origin}); ids are integers or text: name "
            "another column."
        ) from None
    codes = encoded.indices.to_numpy()
    return codes, encoded.dictionary, np.bincount(codes, minlength=len(encoded.dictionary))


def _integer_codes(values: Array) -> tuple[Array, Array, Integers] | None:
    """Return codes, sorted distinct values and their rows; None for integers of so wide a range that a hash
    table is faster.
    """
    low, high = int(values.min()), int(values.max())
    span, places = high - low + 1, max(1, (len(values) - 1).bit_length())
    if high > _INT64.max or span.bit_length() + places > _INT64.bits - 1:
        return None
    offsets = np.subtract(values, low, dtype=np.int64, casting="unsafe")
    found = (
        _codes_by_table(offsets, span) if span <= _DENSE * len(values) else _codes_by_sort(offsets, places)
    )
    return found[0], found[1] + low, found[2]


def _codes_by_table(offsets: Integers, span: int) -> tuple[Array, Array, Integers]:
    counts = np.bincount(offsets, minlength=span)
    distinct = np.flatnonzero(counts)
    table = np.empty(span, np.int32)
    table[distinct] = np.arange(len(distinct), dtype=np.int32)
    return np.take(table, offsets), distinct, counts[distinct]


def _codes_by_sort(offsets: Integers, places: int) -> tuple[Array, Array, Integers]:
    """Sort values and positions as one integer each, and give each run of equal values a code."""
    offsets <<= places
    offsets |= np.arange(len(offsets))
    offsets.sort()
    rows = offsets & ((1 << places) - 1)
    offsets >>= places
    starts = run_starts(offsets)
    counts = np.diff(np.append(starts, len(offsets)))
    codes = np.empty(len(offsets), np.int32)
    codes[rows] = np.repeat(np.arange(len(starts), dtype=np.int32), counts)
    return codes, offsets[starts], counts


def _joined(encoded: Sequence[Encoded], numbers: Sequence[Sequence[int]], lengths: Sequence[int]) -> Encoded:
    """Put codes of several types side by side, in the order of the pieces."""
    import pyarrow as pa

    kinds = {one.ids.kind for one in encoded}
    text = not kinds <= {IdKind.INTEGER, IdKind.DIGITS}
    values = pa.concat_arrays([as_kind(one.ids, "text" if text else "integer") for one in encoded])
    first = np.cumsum([0, *lengths])
    codes = np.empty(first[-1], np.int32)
    shift = 0
    for one, places in zip(encoded, numbers, strict=True):
        start = 0
        for place in places:
            stop = start + lengths[place]
            codes[first[place] : first[place + 1]] = one.codes[start:stop] + np.int32(shift)
            start = stop
        shift += len(one.ids.values)
    order = (IdKind.TEXT, IdKind.LARGE, IdKind.DIGITS, IdKind.INTEGER)
    chosen = min((one.ids for one in encoded), key=lambda ids: order.index(ids.kind))
    return Encoded(codes, replace(chosen, values=values), np.concatenate([one.counts for one in encoded]))
