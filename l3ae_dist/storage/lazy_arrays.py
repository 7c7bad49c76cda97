"""Chunked arrays as lazy Dask arrays: one task reads one chunk."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.storage import layout

if TYPE_CHECKING:
    import dask.array as da


def lazy_array(
    name: str,
    shape: tuple[int, int],
    chunks: tuple[int, int],
    dtype: np.dtype[np.generic],
    task: Callable[[int, int], tuple[object, ...]],
) -> "da.Array":
    """Return a Dask array whose chunk (i, j) is what a task gives.

    Parameters
    ----------
    name
        Of the array among the keys of Dask.
    shape, chunks
        Of the array and of a chunk; those at its end may be smaller.
    dtype
        Of its entries.
    task
        Returns the task of a chunk, a function with its arguments.
    """
    import dask.array as da

    sizes = tuple(
        tuple(min(size, total - start) for start in range(0, total, size))
        for size, total in zip(chunks, shape, strict=True)
    )
    grid = [range(len(one)) for one in sizes]
    graph = {(name, i, j): task(i, j) for i in grid[0] for j in grid[1]}
    return da.Array(graph, name, sizes, dtype=dtype)


def upper_half(path: str, symmetric: bool | None) -> str:
    """Decide what stands above the diagonal; ``symmetric`` overrides what the path says."""
    known = layout.above_diagonal(path)
    if symmetric is None or symmetric == (known == "mirror"):
        return known
    return "mirror" if symmetric else "stored"
