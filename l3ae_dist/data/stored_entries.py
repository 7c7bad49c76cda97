"""Writes the compressed rows or columns of a dataset that is made from another one, a block at a time."""

from collections.abc import Iterable

from scipy import sparse

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.vectors import VectorStream, write_vector


def store_entries(
    dataset: Dataset,
    paths: layout.SparseRowPaths,
    bounds: Array,
    blocks: Iterable[sparse.csr_matrix | sparse.csc_matrix],
) -> None:
    """Write compressed rows (or columns) from blocks of them.

    Parameters
    ----------
    dataset
        The one that they are made from; it says where they lie and whether they have weights.
    paths
        Where to.
    bounds
        (rows + 1,) int64: the first entry of each row.
    blocks
        Consecutive rows.
    """
    workspace, length = dataset.workspace, int(bounds[-1])
    write_vector(workspace, paths.indptr, bounds)
    indices = VectorStream(workspace, paths.indices, length, "int32")
    data = VectorStream(workspace, paths.data, length, "float32") if dataset.weighted else None
    for block in blocks:
        indices.add(block.indices)
        if data is not None:
            data.add(block.data)
    indices.end()
    if data is not None:
        data.end()


def split_named(name: str) -> layout.Split:
    """Return the name of a split as its type has it."""
    names: tuple[layout.Split, ...] = ("train", "valid", "test", "input")
    return next(one for one in names if one == name)
