"""Types of what users hand over and get back: ids, tables and vectors."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from l3ae_dist.linalg.arrays import Array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import dask.dataframe as dd
    import datasets
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import pyarrow.dataset as ds
    from scipy import sparse

Id: TypeAlias = int | str
"""The id of a user or of an item."""
Frame: TypeAlias = "pd.DataFrame"
"""A pandas DataFrame."""
FrameLike: TypeAlias = (
    "pd.DataFrame | pl.DataFrame | pl.LazyFrame | pa.Table | pa.RecordBatch | HasArrowStream"
)
"""A table in memory: DataFrame of pandas or Polars, Arrow table, or an Arrow stream."""
Matrix: TypeAlias = "sparse.spmatrix | sparse.sparray"
"""A SciPy sparse matrix or array."""
Table: TypeAlias = (
    "str | Path | Sequence[str | Path] | FrameLike | dd.DataFrame | pa.RecordBatchReader | ds.Dataset | "
    "datasets.Dataset | Matrix | tuple[Matrix, Ids | None, Ids | None] | Array | "
    "Sequence[Sequence[object]] | Sequence[Mapping[str, object]] | Mapping[str, Sequence[object]]"
)
"""Paths, patterns, folders or URLs; a table in memory; a sparse matrix users x items, alone or with the ids
of both; a list of pairs, an (n, 2) array, dictionaries, or columns by name."""
Items: TypeAlias = "Table | Mapping[Id, str] | pd.Series"
"""A table with a row for each item; or texts by id: a mapping, or a Series with the ids as its index."""
Vectors: TypeAlias = "Array | Sequence[Sequence[float]] | Table"
"""An (n, d) array; the path or URL of one as .npy or Zarr; or a table of vectors with ids of items."""
Ids: TypeAlias = "Sequence[Id] | Array | pd.Series | pd.Index | pl.Series | pa.Array | pa.ChunkedArray"
"""Ids in a list, array, Series, Index or Arrow array."""
Weights: TypeAlias = "Mapping[Id, float]"
"""Item ids with weights."""
Histories: TypeAlias = (
    "Ids | Sequence[Ids | Weights] | Mapping[Id, Ids] | Mapping[Id, Weights] | FrameLike | Matrix"
)
"""Users by id; or what users have: a list for each, a mapping, a table, or a users x items matrix."""
History: TypeAlias = "Id | Ids | Weights | FrameLike | Matrix"
"""One user by id; or what one has: item ids, item ids with weights, a table, or one sparse row."""
ItemLists: TypeAlias = "Ids | Sequence[Ids] | Mapping[Id, Ids] | FrameLike"
"""Items for every user, or a list for each."""


class HasArrowStream(Protocol):
    """Anything with Arrow's PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Hand over the rows."""
