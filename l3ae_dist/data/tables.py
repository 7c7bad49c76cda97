"""Types of what users hand over and get back: ids, tables and vectors."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from l3ae_dist.linalg.arrays import Array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import dask.dataframe as dd
    import pandas as pd
    from scipy import sparse

Id: TypeAlias = int | str
"""The id of a user or of an item."""
Frame: TypeAlias = "pd.DataFrame"
"""A pandas DataFrame."""
Table: TypeAlias = "pd.DataFrame | dd.DataFrame | str | Path"
"""A DataFrame of pandas or Dask; or the path, glob, directory or fsspec URL of Parquet, CSV or JSON Lines."""
Vectors: TypeAlias = "Array | str | Path"
"""An (n, d) array; or the path or URL of one as .npy, Parquet or Zarr."""
Histories: TypeAlias = (
    "Sequence[Id] | Sequence[Sequence[Id]] | Mapping[Id, Sequence[Id]] | pd.DataFrame | sparse.spmatrix"
)
"""Users by id; or what users have: a list for each, a mapping, a table, or a users x items matrix."""
History: TypeAlias = "Id | Sequence[Id] | Mapping[Id, float] | pd.DataFrame | sparse.spmatrix"
"""One user by id; or what one has: item ids, item ids with weights, a table, or one sparse row."""
ItemLists: TypeAlias = "Sequence[Id] | Sequence[Sequence[Id]] | Mapping[Id, Sequence[Id]] | pd.DataFrame"
"""Items for every user, or a list for each."""
