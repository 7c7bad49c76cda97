"""Partial whitening of text embeddings: directions that all texts share are damped, dead ones are cut.

Rows are items: ``rows[j]`` is column j of F. The equations are in docs/mathematics.
"""

import numpy as np
from scipy.linalg import eigh

from l3ae_dist.linalg.arrays import Array

# Directions with less of the largest eigenvalue have no text in them, and images with less of a row's length
# lie in such directions alone.
_CUT = 1e-6


def unit_rows(rows: Array) -> Array:
    """Scale rows to unit length, in float64; rows of zeros stay as they are.

    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    rows = np.asarray(rows, np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0))


def whitening_matrix(scatter: Array, strength: float) -> Array:
    """Compute ``T = U diag((s_k / s_1)^(-w/2)) U'`` of ``S = U diag(s) U'``.

    Directions with ``s_k <= 1e-6 s_1`` have the weight 0: their inverse would be noise, or infinite.

    Parameters
    ----------
    scatter
        (d, d) float64 sum ``S`` of ``f f'`` over texts; it is overwritten.
    strength
        ``w``, between 0 (no whitening) and 1 (all directions alike).

    Returns
    -------
    (d, d) symmetric T; zero where ``S`` is.

    Notes
    -----
    About ``10 d^3`` flops, and four d x d arrays of float64 at most.
    """
    values, vectors = eigh(scatter, overwrite_a=True)
    kept = values > _CUT * max(values[-1], 0.0)
    # the square root, so that T is a product with its own transpose: symmetric to the last bit
    vectors = vectors[:, kept] * (values[kept] / values[-1]) ** (-strength / 4)
    return np.asarray(vectors @ vectors.T)


def whitened(rows: Array, matrix: Array) -> Array:
    """Return rows times T, of unit length; zeros where nothing is left of a row.

    Parameters
    ----------
    rows
        (m, d) float64.
    matrix
        (d, d) T, by :func:`whitening_matrix`.
    """
    image = rows @ matrix
    lengths = np.linalg.norm(image, axis=1, keepdims=True)
    there = lengths > _CUT * np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(image, lengths, out=np.zeros_like(image), where=there))
