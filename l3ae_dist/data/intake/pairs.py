"""Tables without names of columns: sparse matrices users x items, arrays, and lists of rows."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from l3ae_dist.config.data import ColumnNames
from l3ae_dist.data.intake.memory_parts import MemoryPart, table_of_part
from l3ae_dist.data.intake.numbers import json_texts
from l3ae_dist.data.intake.parts import Form, Table
from l3ae_dist.data.intake.plain_values import decoded
from l3ae_dist.data.intake.python_values import Column, batches_of, column_of_objects, table_of_columns
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import named, shown

if TYPE_CHECKING:
    from scipy import sparse

DENSE = (
    "give scipy.sparse.csr_array(array) where it is users x items, or pairs of a user id and an item id as "
    "an (n, 2) array"
)
"""Advice for a dense array that may be either."""
_MOST = 4
_ENTRIES = 2**17


# ---- sparse matrices


def table_of_matrix(
    matrix: "sparse.spmatrix", ids: "tuple[object, object]", what: str, names: ColumnNames
) -> Table:
    """Make a table of a sparse matrix users x items: a row for each value that is not 0.

    Parameters
    ----------
    matrix
        (users, items).
    ids
        Ids of the users and of the items; None for their positions.
    what
        What messages call the table.
    names
        Names of its columns.

    Raises
    ------
    DataError
        For ids that are not as many as the rows or columns.
    """
    if len(matrix.shape) != 2:
        raise DataError(f"the {what} are {shown(matrix)}; give a matrix users x items.")
    entries = _summed(matrix) if names.values else _repeated(matrix)
    users, items = (
        _ids(some, size, name)
        for some, size, name in zip(ids, entries.shape, ("users", "items"), strict=True)
    )
    count = entries.nnz if names.values else int(np.count_nonzero(entries.data))
    values = matrix.tocoo(copy=False).data
    columns = (*names.by_position[:2], *names.values)
    part = MemoryPart(
        f"the matrix of {what}",
        columns,
        entries.data.nbytes + entries.indices.nbytes,
        count,
        partial(_read_matrix, entries, users, items, columns),
    )
    plain = names.values or not count or (values[values != 0] == 1).all()
    return table_of_part(what, part, () if plain else (_unused(what),))


def _unused(what: str) -> str:
    return (
        f"the values of the matrix of {what} are not used: every one but 0 is an interaction; set "
        "weight_column, or rating_column and rating_threshold, to use them."
    )


def _summed(matrix: "sparse.spmatrix") -> "sparse.csr_matrix":
    """Return a matrix whose entries at one place are summed, in float64: small integers would wrap."""
    if matrix.format == "csr" and matrix.has_canonical_format:
        return matrix
    rows = matrix.astype(np.float64).tocsr()
    rows.sum_duplicates()
    return rows


def _repeated(matrix: "sparse.spmatrix") -> "sparse.csr_matrix":
    """Return a matrix of ones: an entry for each that is not 0, those at one place side by side."""
    from scipy import sparse

    if matrix.format == "csr" and matrix.has_canonical_format:
        return matrix
    entries = matrix.tocoo(copy=False)
    present = entries.data != 0
    where = entries.row[present], entries.col[present]
    counted = sparse.coo_matrix((np.ones(len(where[0]), np.int64), where), shape=entries.shape).tocsr()
    counted.sum_duplicates()
    bounds = np.concatenate([[0], np.cumsum(counted.data)])
    indices = np.repeat(counted.indices, counted.data)
    return sparse.csr_matrix((np.ones(len(indices)), indices, bounds[counted.indptr]), shape=entries.shape)


def _ids(ids: object, size: int, name: str) -> Column | None:
    """Return ids of rows or columns as an array; None for their positions."""
    if ids is None:
        return None
    column = column_of_ids(ids, name)
    if len(column.values) != size:
        raise DataError(
            f"the matrix has {size:,} {name} and {len(column.values):,} ids of {name} are given; give one "
            "for each."
        )
    _refuse_twice(column, name)
    return column


def _refuse_twice(column: Column, name: str) -> None:
    """Raise for an id of two rows or columns of a matrix, which would become one."""
    origin = f"ids of {name}"
    ids = json_texts(column.values, origin) if column.form is Form.JSON else decoded(column.values, origin)
    try:
        counts = ids.drop_null().value_counts()
    except pa.ArrowNotImplementedError:  # of a type that no id has
        return
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise DataError(
            f"{len(twice)} of the ids of {name} given with the matrix occur more than once, such as "
            f"{shown(twice[0].as_py())}; give every row and column an id of its own."
        )


def column_of_ids(ids: object, name: str) -> Column:
    """Make a column of a list, array, Series or Arrow array of ids.

    Raises
    ------
    DataError
        For anything else.
    """
    if isinstance(ids, pa.Array | pa.ChunkedArray):
        return Column(ids)
    if hasattr(ids, "to_arrow"):
        return Column(ids.to_arrow())
    if hasattr(ids, "to_numpy") or isinstance(ids, np.ndarray):
        array = ids if isinstance(ids, np.ndarray) else ids.to_numpy()
        if array.ndim == 1:
            return column_of_objects(_native(array), name)
    if isinstance(ids, Sequence) and not isinstance(ids, str | bytes):
        return column_of_objects(ids, name)
    raise DataError(f"the ids of {name} are {shown(ids)}; give a list or a one-dimensional array.")


def _read_matrix(
    entries: "sparse.csr_matrix",
    users: Column | None,
    items: Column | None,
    names: Sequence[str],
    columns: Sequence[str],
) -> Iterator[pa.RecordBatch]:
    for start in range(0, entries.nnz, _ENTRIES):
        stop = min(start + _ENTRIES, entries.nnz)
        # with a column of values, zeros are left to whoever counts them
        kept = np.arange(start, stop) if names[2:] else start + np.flatnonzero(entries.data[start:stop])
        rows = np.searchsorted(entries.indptr, kept, side="right") - 1
        found = {names[0]: _taken(users, rows), names[1]: _taken(items, entries.indices[kept])}
        found |= dict.fromkeys(names[2:], Column(pa.array(entries.data[kept].astype(np.float64))))
        yield from batches_of(table_of_columns({name: found[name] for name in columns}))


def _taken(ids: Column | None, positions: Array) -> Column:
    if ids is None:
        return Column(pa.array(positions.astype(np.int64)))
    return Column(ids.values.take(pa.array(positions)), ids.form)


# ---- arrays


def table_of_array(array: Array, what: str, names: ColumnNames) -> Table:
    """Make a table of a structured array, or of an array with a row for each interaction.

    Parameters
    ----------
    array
        Structured, or (n, 2) to (n, 4).
    what
        What messages call the table.
    names
        Names of its columns.

    Raises
    ------
    DataError
        For an array that is no such table, or may be users x items.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise DataError(f"the {what} are a masked array; give the rows that are not masked.")
    if array.dtype.names is not None and array.ndim == 1:
        return _of_columns({name: array[name] for name in array.dtype.names}, what)
    if array.ndim != 2 or not 2 <= array.shape[1] <= _MOST or _looks_dense(array):
        raise DataError(f"the {what} are {shown(array)}, which may be users x items; {DENSE}.")
    return _of_columns(_by_position(array.T, array.shape[1], what, names), what)


def _looks_dense(array: Array) -> bool:
    """Tell whether an array of few columns holds nothing but 0 and 1, as one of users x items does."""
    if array.dtype.kind == "b":
        return True
    if array.dtype.kind not in "iuf" or (len(array) <= 4 and array.dtype.kind != "f"):
        return False
    return bool(((array == 0) | (array == 1)).all())


def _native(array: Array) -> Array:
    """Return an array in the byte order of this machine, which is the one that Arrow knows."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _by_position(
    columns: Sequence[Sequence[object]] | Array, width: int, what: str, names: ColumnNames
) -> Mapping[str, Sequence[object] | Array]:
    known = names.by_position
    if not 2 <= width <= len(known):
        advice = "name weight_column, rating_column or timestamp_column" if 2 < width <= _MOST else DENSE
        raise DataError(
            f"the {what} have {width} value(s) in a row and the options name {len(known)} columns "
            f"({named(known)}); {advice}."
        )
    return dict(zip(known, columns, strict=False))


def _of_columns(columns: Mapping[str, Sequence[object] | Array], what: str) -> Table:
    table = table_of_columns(
        {
            name: column_of_objects(_native(one) if isinstance(one, np.ndarray) else one, name)
            for name, one in columns.items()
        }
    )
    part = MemoryPart(
        f"the rows of {what}",
        tuple(table.column_names),
        table.nbytes,
        table.num_rows,
        lambda wanted: batches_of(table.select(list(wanted))),
    )
    return table_of_part(what, part)


# ---- lists and mappings


def table_of_rows(rows: Sequence[object], what: str, names: ColumnNames) -> Table | None:
    """Make a table of a list of pairs, of longer rows, or of dictionaries; None for a list of anything else.

    Parameters
    ----------
    rows
        Rows of one length, in the order of ``names``; named tuples and dictionaries have their own names.
    what
        What messages call the table.
    names
        Names of its columns.

    Raises
    ------
    DataError
        For rows of several lengths.
    """
    if not rows:
        return Table(what, (), (), shared=False)
    mappings = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows[0], Mapping) else []
    if len(mappings) == len(rows):
        keys = dict.fromkeys(key for row in mappings for key in row)
        return _of_columns({str(key): [row.get(key) for row in mappings] for key in keys}, what)
    lists = [row for row in rows if isinstance(row, list | tuple) or _is_vector(row)]
    return _of_lists(lists, what, names) if len(lists) == len(rows) else None


def _is_vector(row: object) -> TypeGuard[Array]:
    return isinstance(row, np.ndarray) and row.ndim == 1


def _of_lists(rows: Sequence[Sequence[object] | Array], what: str, names: ColumnNames) -> Table:
    width = len(rows[0])
    other = next((number for number, row in enumerate(rows) if len(row) != width), None)
    if other is not None:
        raise DataError(
            f"row {other} of the {what} has {len(rows[other])} value(s) and row 0 has {width}; give pairs of "
            "a user id and an item id."
        )
    fields = getattr(rows[0], "_fields", None)
    columns = [[row[place] for row in rows] for place in range(width)]
    if fields and all(getattr(row, "_fields", None) == fields for row in rows):
        return _of_columns(dict(zip(fields, columns, strict=True)), what)
    return _of_columns(_by_position(columns, width, what, names), what)


def table_of_mapping(columns: Mapping[object, object], what: str) -> Table:
    """Make a table of a mapping from names to columns.

    Raises
    ------
    DataError
        For values that are no columns of one length.
    """
    lists = {str(name): _list(one) for name, one in columns.items()}
    sizes = {-1 if one is None else len(one) for one in lists.values()}
    if len(sizes) > 1 or sizes == {-1}:
        raise DataError(
            f"the {what} are a mapping whose values are no columns of one length; give a column under each "
            "name, or pairs of a user id and an item id."
        )
    return _of_columns({name: one for name, one in lists.items() if one is not None}, what)


def _list(values: object) -> Sequence[object] | Array | None:
    if isinstance(values, np.ndarray):
        return values if values.ndim == 1 else None
    if isinstance(values, Mapping | str | bytes):
        return None
    for method in ("to_pylist", "to_list"):
        if hasattr(values, method):
            return list(getattr(values, method)())
    return values if isinstance(values, list | tuple) else None
