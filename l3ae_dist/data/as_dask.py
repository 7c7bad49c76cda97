"""The training matrix as a Dask array of sparse blocks, for users' own tools."""

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from l3ae_dist.data.core import in_catalog_order
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import StageMissingError
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.workspace import Workspace

if TYPE_CHECKING:
    import dask.array as da


def training_matrix(workspace: Workspace, *, dataset: str | None = None, columns: int = 4096) -> "da.Array":
    """Return ``X``, n_users x n_items float32, lazy; each block is a ``scipy.sparse.csc_matrix``.

    Parameters
    ----------
    workspace
        Where it was ingested.
    dataset
        Its id; that of the last run when not given.
    columns
        Items in one block; reading a block is one contiguous read.

    Raises
    ------
    StageMissingError
        When nothing was ingested.
    """
    import dask.array as da

    if dataset is None:
        last = workspace.read_doc(layout.LAST_RUN)
        if last is None:
            raise StageMissingError(f"{workspace.url} holds no interactions; run `l3ae-dist run` first.")
        dataset = str(last["dataset"])
    found = in_catalog_order(Dataset(workspace, dataset))
    starts = range(0, found.n_items, columns)
    sizes = tuple(min(columns, found.n_items - start) for start in starts)
    name = f"interactions-{fingerprint([workspace.url, dataset, columns])}"
    graph = {
        (name, 0, j): (_read_columns, workspace.url, dataset, start, start + size)
        for j, (start, size) in enumerate(zip(starts, sizes, strict=True))
    }
    meta = sparse.csc_matrix((0, 0), dtype=np.float32)
    return da.Array(graph, name, ((found.n_users,), sizes), meta=meta)


def _read_columns(url: str, dataset: str, start: int, stop: int) -> sparse.csc_matrix:
    return in_catalog_order(Dataset(Workspace.open(url), dataset)).columns(start, stop)
