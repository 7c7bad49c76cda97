"""Arrow arrays of Python objects, such as those in columns of a DataFrame, without a silent change.

Values of one type become an array of it. Values of several types become JSON, one value each, so that the
readers of ids, numbers, times and texts see every value as what it is.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from uuid import UUID

import numpy as np
import pyarrow as pa

from l3ae_dist.data.intake.parts import Form, in_form
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import shown


@dataclass(frozen=True, slots=True)
class Column:
    """Values of a column in memory.

    Parameters
    ----------
    values
        The array.
    form
        Form in which its values stand.
    """

    values: pa.Array | pa.ChunkedArray
    form: Form = Form.TYPED


def table_of_columns(columns: Mapping[str, Column]) -> pa.Table:
    """Put columns into a table whose fields note their forms."""
    fields = [in_form(pa.field(name, one.values.type), one.form) for name, one in columns.items()]
    return pa.Table.from_arrays([one.values for one in columns.values()], schema=pa.schema(fields))


def column_of_objects(values: Sequence[object] | Array, name: str) -> Column:
    """Make a column of Python objects.

    Parameters
    ----------
    values
        Anything; None, NaN and pandas' missing values are missing.
    name
        Name of the column, for messages.

    Raises
    ------
    DataError
        For an object that is no value of a table.
    """
    objects = _as_objects(values)
    try:
        array = pa.array(objects, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return _as_json(objects, name)
    return _as_json(objects, name) if _changes(array.type, objects) else Column(array)


def _as_objects(values: Sequence[object] | Array) -> Array:
    if isinstance(values, np.ndarray):
        return values
    objects = np.empty(len(values), object)
    objects[:] = values
    return objects


def _changes(kind: pa.DataType, objects: Array) -> bool:
    """Tell whether Arrow's type drops what some of the objects say."""
    if objects.dtype != object:
        return False
    if pa.types.is_date(kind):  # the time of day
        return any(isinstance(one, datetime) for one in objects)
    if pa.types.is_timestamp(kind):  # the nanoseconds of pandas
        return any(getattr(one, "nanosecond", 0) for one in objects)
    if pa.types.is_binary(kind):  # text beside bytes
        return any(isinstance(one, str) for one in objects)
    return pa.types.is_list(kind) and any(isinstance(one, set | frozenset) for one in objects)


def _as_json(objects: Array, name: str) -> Column:
    try:
        raw = pa.array([_json(one) for one in objects], pa.large_string())
    except UnicodeEncodeError:
        raise DataError(
            f"the column {shown(name)} holds half of a surrogate pair, which is no text; decode the text "
            "again."
        ) from None
    except (TypeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError(
            f"the column {shown(name)} holds {shown(str(error))}; ids are integers or text, and texts are "
            "text, numbers or lists of these."
        ) from None
    return Column(raw, Form.JSON)


def _json(value: object) -> str | None:
    return None if _is_missing(value) else json.dumps(_plain(value), ensure_ascii=False)


def _is_missing(value: object) -> bool:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return True
    return type(value).__name__ in ("NAType", "NaTType") and type(value).__module__.startswith("pandas")


def _plain(value: object) -> object:
    """Return a value as JSON has it."""
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, date | time):  # datetimes and those of pandas too, with their nanoseconds
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, UUID | PurePath):
        return str(value)
    return _plain_container(value)


def _plain_container(value: object) -> object:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, Mapping):
        return {str(key): _or_null(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_or_null(one) for one in value]
    if isinstance(value, timedelta) or not hasattr(value, "to_pylist"):
        raise TypeError(f"a value of type {type(value).__name__}")
    return _plain(value.to_pylist())


def _or_null(value: object) -> object:
    return None if _is_missing(value) else _plain(value)


def batches_of(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """Yield a table in bounded record batches."""
    yield from table.to_batches(max_chunksize=2**17)
