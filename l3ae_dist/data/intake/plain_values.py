"""Columns of any Arrow type brought to a few plain types, JSON strings decoded, and values for messages."""

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from l3ae_dist import messages
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array

_VALUE, _ORIGIN = 60, 120
_PIECE = 16_384


def shown(value: object) -> str:
    """Return a value for a message, short and on one line."""
    return messages.shown(value, _VALUE)


def shown_origin(origin: str) -> str:
    """Return the name of a file, or of a type, for a message, short and on one line."""
    return messages.shown(origin, _ORIGIN)[1:-1]


def plain(values: pa.Array | pa.ChunkedArray, origin: str) -> pa.Array:
    """Bring a column to one array of a plain type.

    Dictionaries, runs and extensions become what they stand for (UUIDs their text), bytes and views of text
    ``large_string``, numbers of half precision single.

    Raises
    ------
    DataError
        For bytes that are no UTF-8.
    """
    values = decoded(values, origin)
    if pa.types.is_float16(values.type):
        return pa.array(values.to_numpy(zero_copy_only=False).astype(np.float32), mask=_nulls(values))
    return values


def decoded(values: pa.Array | pa.ChunkedArray, origin: str) -> pa.Array:
    """Bring a column to one array as :func:`plain` does, except that half precision stays what it is."""
    if isinstance(values, pa.ChunkedArray):
        if pa.types.is_run_end_encoded(values.type):  # which Arrow cannot join
            values = pa.chunked_array(
                [pc.run_end_decode(one) for one in values.chunks], values.type.value_type
            )
        values = values.combine_chunks()
        if isinstance(values, pa.ChunkedArray):  # too large for one array of its type
            values = pa.concat_arrays([decoded(chunk, origin) for chunk in values.chunks])
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return _of_extension(values, origin)
    if pa.types.is_dictionary(kind):
        return decoded(values.dictionary_decode(), origin)
    if pa.types.is_run_end_encoded(kind):
        return decoded(pc.run_end_decode(values), origin)
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return values.cast(pa.large_string())
    if _is_bytes(kind):
        return _of_bytes(values, origin)
    if pa.types.is_decimal(kind) and kind.bit_width < 128:  # few functions of Arrow know these
        return values.cast(pa.decimal128(38, kind.scale))
    return values


def decoded_batch(batch: pa.RecordBatch, origin: str) -> pa.RecordBatch:
    """Decode the columns of a record batch that Arrow can neither filter nor encode: runs and extensions."""
    fields, columns = list(batch.schema), list(batch.columns)
    for place, field in enumerate(fields):
        if isinstance(field.type, pa.BaseExtensionType) or pa.types.is_run_end_encoded(field.type):
            columns[place] = decoded(columns[place], origin)
            fields[place] = field.with_type(columns[place].type)
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _is_bytes(kind: pa.DataType) -> bool:
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in (*binary, pa.types.is_binary_view))


def _of_extension(values: pa.ExtensionArray, origin: str) -> pa.Array:
    if isinstance(values.type, pa.UuidType):
        return pa.array([None if one is None else str(one) for one in values.to_pylist()], pa.large_string())
    return decoded(values.storage, origin)


def _of_bytes(values: pa.Array, origin: str) -> pa.Array:
    try:
        return values.cast(pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        bad = next(one for one in values.to_pylist() if one is not None and not _is_utf8(one))
        raise DataError(
            f"a column holds the bytes {shown(bad)} ({shown_origin(origin)}), which are no UTF-8 text; "
            "store text instead."
        ) from None


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _nulls(values: pa.Array) -> Array:
    return np.asarray(values.is_null().to_numpy(zero_copy_only=False))


def mask_of(values: pa.Array) -> Array:
    """Return an array of booleans as NumPy's; nulls are False."""
    return np.asarray(values.fill_null(False).to_numpy(zero_copy_only=False), bool)


def cast_or_none(values: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Cast an array, or return None where one value does not allow it.

    Arrow casts all values before it complains, and each complaint costs more than a cast: pieces end early.
    """
    pieces = []
    for start in range(0, max(1, len(values)), _PIECE):
        try:
            pieces.append(values.slice(start, _PIECE).cast(kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
    return pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)


def json_of(values: pa.Array, origin: str) -> pa.Array:
    """Return raw JSON values as ``large_string``, without spaces around them."""
    return pc.ascii_trim_whitespace(plain(values, origin).cast(pa.large_string()))


def json_strings(raw: pa.Array, origin: str) -> pa.Array:
    """Decode JSON strings, such as ``"a\\n"`` with its quotes, to the texts that they stand for."""
    escaped = mask_of(pc.match_substring(raw, "\\"))
    texts = pc.binary_slice(raw.cast(pa.large_binary()), 1, -1).cast(pa.large_string())
    if not escaped.any():
        return texts
    decoded = [json_value(one, origin) for one in raw.filter(pa.array(escaped)).to_pylist()]
    try:
        return pc.replace_with_mask(texts, pa.array(escaped), pa.array(decoded, pa.large_string()))
    except UnicodeEncodeError:
        raise DataError(
            f"a JSON string holds half of a surrogate pair ({shown_origin(origin)}), which is no text; "
            "write the file again as UTF-8."
        ) from None


def json_value(raw: str, origin: str, number: Callable[[str], object] = float) -> object:
    """Parse one JSON value.

    Parameters
    ----------
    raw
        The value as the file has it.
    origin
        Name of the file, for the message.
    number
        Makes the value of a number that is no integer.

    Raises
    ------
    DataError
        For what is no JSON.
    """
    try:
        return json.loads(raw, parse_float=number)
    except (ValueError, RecursionError):
        raise DataError(
            f"{shown(raw)} is no JSON value ({shown_origin(origin)}); write the file again."
        ) from None
