"""One tile of ``X' X`` from two column blocks of a sparse matrix."""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.linalg.arrays import Array

# Columns of the left block multiplied at once: bounds the sparse product's memory.
_SLAB = 256


def exact_dtype(max_count: int, weighted: bool) -> str:
    """Return the narrowest float that holds every entry of a Gram matrix exactly.

    A binary Gram entry is a count, at most the popularity of the more popular item, so float32 is
    exact below 2^24. Weighted interactions are accumulated in float64.
    """
    return "float64" if weighted or max_count >= 2**24 else "float32"


def gram_block(
    left: sparse.csc_matrix,
    right: sparse.csr_matrix,
    dtype: npt.DTypeLike,
    *,
    sums: npt.DTypeLike | None = None,
) -> Array:
    """Multiply two sparse blocks to a dense tile: ``left' right``.

    Parameters
    ----------
    left
        users x m, by columns; its transpose is a CSR matrix without a copy.
    right
        users x n, by rows.
    dtype
        Of the result.
    sums
        Of the accumulation; that of the result when None.

    Returns
    -------
    m x n dense array. Cost: sum over users of the products of their two degrees.
    """
    m, sums = left.shape[1], dtype if sums is None else sums
    out: Array = np.empty((m, right.shape[1]), dtype)
    right = right.astype(sums, copy=False)
    for start in range(0, m, _SLAB):
        slab = left[:, start : start + _SLAB].T.tocsr().astype(sums, copy=False)
        rows = out[start : start + slab.shape[0]]
        if sums == dtype:
            (slab @ right).toarray(out=rows)
        else:
            rows[...] = (slab @ right).toarray()
    return out
