"""Standardisation and compression of rows that are streamed: an affine map from their mean and covariance."""

from collections.abc import Callable, Iterable

import numpy as np
from scipy.linalg import eigh

from l3ae_dist.linalg.arrays import Array

Blocks = Callable[[], Iterable[Array]]
"""Begins a pass over the rows, in blocks of float64."""


def affine_map(blocks: Blocks, rows: int, *, standardize: bool, compress: tuple[int, bool] | None) -> Array:
    """Fit the affine map that standardises dimensions, compresses them, or both.

    Parameters
    ----------
    blocks
        Begins a pass over the rows, d columns.
    rows
        How many there are.
    standardize
        Scale every dimension to mean 0 and variance 1 first; a constant one becomes 0.
    compress
        How many principal directions are kept, and whether rows are centred for them (PCA) or not (SVD); None
        keeps all dimensions.

    Returns
    -------
    (1 + d, d') the image of zero, and below it the matrix.

    Notes
    -----
    Two passes; ``2 n d^2 + 10 d^3`` flops where dimensions are compressed.
    """
    mean = _total(block.sum(axis=0) for block in blocks()) / rows
    centred = (block - mean for block in blocks())
    if compress is None:
        scatter = _total(np.einsum("nd,nd->d", block, block) for block in centred)
    else:
        scatter = _total(block.T @ block for block in centred)
    variance = (scatter if scatter.ndim == 1 else scatter.diagonal()) / rows
    # what the rounding of the mean leaves of a constant dimension
    constant = variance <= (rows * np.finfo(np.float64).eps * np.abs(mean)) ** 2
    scale = np.where(constant, 1.0, np.sqrt(variance)) if standardize else np.ones_like(mean)
    if compress is None:
        return np.vstack([-mean / scale, np.diag(1 / scale)])
    count, centres = compress
    if centres or standardize:
        matrix = _directions(scatter / np.outer(scale, scale), count) / scale[:, None]
        return np.vstack([-mean @ matrix, matrix])
    matrix = _directions(scatter + rows * np.outer(mean, mean), count)
    return np.vstack([np.zeros(count), matrix])


def _total(parts: Iterable[Array]) -> Array:
    """Add up arrays of one shape in place."""
    rest = iter(parts)
    total = next(rest)
    for part in rest:
        total += part
    return total


def _directions(scatter: Array, count: int) -> Array:
    """Return the leading eigenvectors, (d, count); the largest entry of each is positive."""
    d = len(scatter)
    _, vectors = eigh(scatter, overwrite_a=True, subset_by_index=(d - count, d - 1))
    vectors = vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    return np.asarray(vectors * np.sign(vectors[largest, np.arange(count)]))
