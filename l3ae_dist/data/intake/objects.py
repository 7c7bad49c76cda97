"""Tables in memory: DataFrames, Arrow, datasets, matrices, arrays and lists, told apart."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeGuard, TypeVar

import numpy as np

from l3ae_dist.config.data import ColumnNames
from l3ae_dist.data.intake.parts import Table
from l3ae_dist.errors import DataError
from l3ae_dist.messages import shown

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from scipy import sparse

Source = TypeVar("Source")
_ACCEPTED = (
    "give a path, a DataFrame (pandas, Polars, Dask), an Arrow table, a Hugging Face dataset, a SciPy sparse "
    "matrix users x items, or a list of pairs of a user id and an item id"
)


def table_of_object(source: object, what: str, names: ColumnNames | None = None) -> Table:
    """Make a table of an object in memory.

    Parameters
    ----------
    source
        DataFrame of pandas, Dask or Polars (ids may be its named index); table, batches or dataset of
        pyarrow; anything with ``__arrow_c_stream__`` or ``__arrow_c_array__``; Hugging Face dataset; SciPy
        sparse matrix users x items, alone or as ``(matrix, user_ids, item_ids)`` with None for positions;
        structured array; (n, 2) array or list of pairs, with further columns in the order of ``names``; list
        of dictionaries; mapping from names to columns.
    what
        What messages call it, such as ``"interactions"``.
    names
        Names of the columns of tables that have none.

    Raises
    ------
    DataError
        For anything else.
    """
    names = names or ColumnNames()
    table = _of_library(source, what) or _of_matrix(source, what, names) or _of_rows(source, what, names)
    if table is None:
        table = _of_arrow(source, what)
    if table is None:
        once = " and can be read once only" if isinstance(source, Iterator) else ""
        raise DataError(f"the {what} are {_named(source)}, which is no table{once}; {_ACCEPTED}.")
    return table


def _named(source: object) -> str:
    return shown(source) if isinstance(source, int | float | np.ndarray) else f"a {type(source).__name__}"


def _is_of(source: object, library: str, *kinds: str) -> bool:
    """Tell whether an object is of one of a library's classes, without importing the library."""
    module = sys.modules.get(library)
    classes = tuple(getattr(module, kind) for kind in kinds if hasattr(module, kind))
    return bool(classes) and isinstance(source, classes)


def _of_library(source: object, what: str) -> Table | None:
    from l3ae_dist.data.intake import arrow_objects, frames

    if _is_of(source, "pandas", "DataFrame"):
        return frames.table_of_pandas(source, what)
    if _is_of(source, "pandas", "Series") and any(name is not None for name in _index_names(source)):
        return frames.table_of_pandas(source, what)
    if _is_of(source, "dask.dataframe", "DataFrame"):
        return frames.table_of_dask(source, what)
    if _is_of(source, "polars", "DataFrame", "LazyFrame"):
        return frames.table_of_polars(source, what)
    if _is_of(source, "datasets", "Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict"):
        return arrow_objects.table_of_hugging_face(source, what)
    if _is_of(source, "pyarrow.dataset", "Dataset"):
        return arrow_objects.table_of_dataset(source, what)
    return None


def _index_names(series: "pd.Series") -> "Sequence[object]":
    return list(series.index.names)


def _of_arrow(source: object, what: str) -> Table | None:
    from l3ae_dist.data.intake import arrow_objects

    table = arrow_objects.arrow_table_of(source, what)
    return None if table is None else arrow_objects.table_of_arrow(table, what)


def _of_matrix(source: object, what: str, names: ColumnNames) -> Table | None:
    from l3ae_dist.data.intake import pairs

    if is_sparse(source):
        return pairs.table_of_matrix(source, (None, None), what, names)
    if _has_ids(source):
        return pairs.table_of_matrix(source[0], (source[1], source[2]), what, names)
    return None


def is_sparse(source: object) -> TypeGuard["sparse.spmatrix"]:
    """Tell whether an object is a sparse matrix or array of SciPy."""
    return "scipy.sparse" in sys.modules and bool(sys.modules["scipy.sparse"].issparse(source))


def _has_ids(source: object) -> TypeGuard[tuple["sparse.spmatrix", object, object]]:
    return isinstance(source, tuple) and len(source) == 3 and is_sparse(source[0])


def has_positions_as_users(source: object) -> bool:
    """Tell whether a source is a matrix whose users have no ids but the numbers of their rows."""
    return is_sparse(source) or (_has_ids(source) and source[1] is None)


def with_item_ids(source: object, ids: "pa.Array") -> object:
    """Return a source of interactions; the columns of a matrix without ids of items get those of a catalog.

    Parameters
    ----------
    source
        As :func:`table_of_object` takes it.
    ids
        (items,) ids of the catalog, in its order.

    Raises
    ------
    DataError
        For a matrix of another width.
    """
    if is_sparse(source):
        matrix, users = source, None
    elif _has_ids(source) and source[2] is None:
        matrix, users = source[0], source[1]
    else:
        return source
    if matrix.shape[1] != len(ids):
        raise DataError(
            f"the matrix of interactions has {matrix.shape[1]:,} columns and the catalog has {len(ids):,} "
            "items; give one column for each, in catalog order, or (matrix, user_ids, item_ids)."
        )
    return matrix, users, ids


def kept(source: Source) -> "Source | pa.Table":
    """Return a source that can be read twice: streams of Arrow, which may be read once only, as tables.

    Raises
    ------
    DataError
        For a stream that breaks.
    """
    once = hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__")
    if (
        not once
        or _is_of(source, "pandas", "DataFrame", "Series")
        or _is_of(source, "polars", "DataFrame", "LazyFrame")
    ):
        return source
    from l3ae_dist.data.intake.arrow_objects import arrow_table_of

    table = arrow_table_of(source, "data")
    return source if table is None else table  # a single column goes on, and is refused as what it is


def _of_rows(source: object, what: str, names: ColumnNames) -> Table | None:
    from l3ae_dist.data.intake import pairs

    if isinstance(source, np.ndarray):
        return pairs.table_of_array(source, what, names)
    if isinstance(source, Mapping):
        return pairs.table_of_mapping(source, what)
    if isinstance(source, list | tuple):
        return pairs.table_of_rows(source, what, names)
    return None
