"""LAPACK's triangular routines by halves, in place: nearly all their flops are products of matrices."""

import numpy as np

from l3ae_dist.linalg import blas
from l3ae_dist.linalg.arrays import Array

# Below this order LAPACK's own blocking is as good as ours.
_LEAF = 512


def _half(n: int) -> int:
    return (n // 2 + 127) // 128 * 128


def recursive_potrf(a: Array) -> int:
    """Factor by halves (Cholesky): factor A11, solve A21, update A22, factor A22; returns LAPACK's info."""
    n = a.shape[0]
    if n <= _LEAF:
        return blas.potrf(a)
    h = _half(n)
    info = recursive_potrf(a[:h, :h])
    if info:
        return info
    blas.trsm(a[h:, :h], a[:h, :h], side="right", trans=True)
    blas.syrk(a[h:, h:], a[h:, :h], -1.0, False)
    info = recursive_potrf(a[h:, h:])
    return info + h if info else 0


def recursive_trtri(a: Array) -> None:
    """Invert by halves: W21 = -A22^-1 A21 A11^-1."""
    n = a.shape[0]
    if n <= _LEAF:
        blas.trtri(a)
        return
    h = _half(n)
    blas.trsm(a[h:, :h], a[h:, h:], side="left", trans=False)
    np.negative(a[h:, :h], out=a[h:, :h])
    blas.trsm(a[h:, :h], a[:h, :h], side="right", trans=False)
    recursive_trtri(a[:h, :h])
    recursive_trtri(a[h:, h:])


def recursive_lauum(a: Array) -> None:
    """Compute ``A' A`` by halves: P11 = A11'A11 + A21'A21, P21 = A22'A21, P22 = A22'A22."""
    n = a.shape[0]
    if n <= _LEAF:
        blas.lauum(a)
        return
    h = _half(n)
    recursive_lauum(a[:h, :h])
    blas.syrk(a[:h, :h], a[h:, :h], 1.0, True)
    blas.trmm(a[h:, :h], a[h:, h:], side="left", trans=True)
    recursive_lauum(a[h:, h:])


def zero_upper(a: Array) -> None:
    """Set the strict upper triangle to zero."""
    step = 256
    for start in range(0, a.shape[0], step):
        stop = min(start + step, a.shape[0])
        a[start:stop, stop:] = 0
        a[start:stop, start:stop] = np.tril(a[start:stop, start:stop])


def mirror_lower(a: Array) -> None:
    """Copy the lower triangle onto the upper."""
    step = 256
    for start in range(0, a.shape[0], step):
        stop = min(start + step, a.shape[0])
        block = np.tril(a[start:stop, start:stop])
        a[start:stop, start:stop] = block + np.tril(block, -1).T
        a[start:stop, stop:] = a[stop:, start:stop].T
