"""The first eigenvectors of a positive semi-definite operator, to rounding, and what shows that they are.

Lanczos with full reorthogonalisation and implicit restarts (ARPACK's ``dsaupd``; Lehoucq, Sorensen,
Yang, 1998) sees the operator through products with single vectors alone. Small operators are made dense.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import signature

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from l3ae_dist.errors import NumericalError
from l3ae_dist.linalg.arrays import Array, Matrix

Times = Callable[[Array], Array]
# Orders up to which every column of the operator is made.
_DENSE = 1024
# Vectors of the iteration at least, and how many missed ones are looked for at a time.
_SPACE, _MORE = 64, 16
# Eigenvalues below this share of the largest have lost their digits in the squares of the singular values.
_LOW = 1e-10


@dataclass(frozen=True, slots=True)
class Leading:
    """The first eigenvectors of an operator.

    Parameters
    ----------
    values, vectors
        (k,) descending eigenvalues, and (n, k) orthonormal vectors.
    next_value
        The largest eigenvalue of the others, estimated from below; 0 where there is none.
    """

    values: Array
    vectors: Array
    next_value: float

    def defect(self, image: Array) -> float:
        """Measure how far the vectors are from eigenvectors, from orthonormal, and from the first ones.

        Parameters
        ----------
        image
            The operator's product with the vectors, made anew.

        Returns
        -------
        float
            The largest of ``||G v - value v|| / value_1`` over the vectors, of the entries of
            ``V'V - I``, and of what the next eigenvalue exceeds the last by, relative to the first.
        """
        v, first = self.vectors, float(self.values[0]) or 1.0
        residual = np.linalg.norm(image - v * self.values, axis=0).max() / first
        tilted = np.abs(v.T @ v - np.eye(v.shape[1])).max()
        missed = max(0.0, self.next_value - float(self.values[-1])) / first
        return float(max(residual, tilted, missed))


def lanczos_bytes(n: int, rank: int) -> int:
    """Count the bytes of arrays that :func:`leading_eigenvectors` holds at most.

    >>> lanczos_bytes(100_000, 256)
    619200000
    """
    return 8 * n * (4 * n if _is_dense(n, rank) else max(3 * rank + 6, rank + 2 * _SPACE))


def leading_eigenvectors(times: Times, n: int, rank: int) -> Leading:
    """Compute the eigenvectors of the ``rank`` largest eigenvalues.

    Parameters
    ----------
    times
        Maps an (n, m) float64 array to the operator's product with it.
    n
        Order of the operator.
    rank
        Number of vectors, from 1 to n.

    Returns
    -------
    Leading
        Accurate to rounding, and the same in every run: the first vector of the iteration is fixed. About 6
        products with single vectors for each eigenvector, 4 n rank^2 flops a restart, and
        :func:`lanczos_bytes`.

    Raises
    ------
    NumericalError
        When the iteration does not converge, or larger eigenvalues stay missing.
    """
    if _is_dense(n, rank):
        values, vectors = linalg.eigh(times(np.eye(n)), overwrite_a=True, check_finite=False, driver="evd")
        rest = float(values[-rank - 1]) if rank < n else 0.0
        return Leading(values[: -rank - 1 : -1].copy(), vectors[:, : -rank - 1 : -1].copy(), max(0.0, rest))
    values, vectors = _first(times, n, rank + 1)  # the one after the last tells how far apart they are
    for _ in range(rank + 1):
        # of equal eigenvalues the iteration finds one, and some by rounding: the others are left
        deflated, most = _without(times, vectors, values), min(_MORE, n - rank - 2)
        left = float(_first(deflated, n, most, tolerance=1e-8)[0][0])
        if left <= values[rank - 1] + n * np.finfo(float).eps * values[0]:
            return Leading(values[:rank], vectors[:, :rank], max(left, float(values[rank]), 0.0))
        more = _first(deflated, n, most)[1]
        values, vectors = _largest_within(times, np.hstack([vectors, more]), rank + 1)
    raise NumericalError(
        f"of the {rank} largest eigenvalues some stay missing: {left:.6g} is left beside "
        f"{values[rank - 1]:.6g}; choose another rank."
    )


def _is_dense(n: int, rank: int) -> bool:
    """Tell when the space of the iteration, twice the vectors, would be all of it anyway."""
    return n <= _DENSE or 2 * rank + 3 >= n


def _first(times: Times, n: int, rank: int, tolerance: float = 0.0) -> tuple[Array, Array]:
    """ARPACK's largest eigenvalues, descending, and their vectors; to rounding with a tolerance of 0."""
    operator = LinearOperator((n, n), matvec=lambda v: times(v.reshape(n, 1))[:, 0], dtype=np.float64)
    space = min(n, max(2 * rank + 1, _SPACE))
    start = np.random.default_rng(0).standard_normal(n)
    settings = {"k": rank, "which": "LA", "tol": tolerance, "ncv": space, "v0": start}
    if "rng" in signature(eigsh).parameters:  # what it goes on from where the operator's range is exhausted
        settings["rng"] = np.random.default_rng(0)
    try:
        values, vectors = eigsh(operator, **settings)
    except ArpackError as error:
        raise NumericalError(
            f"the first {rank} eigenvectors did not converge ({error}); choose another rank."
        ) from error
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[:, order]


def _without(times: Times, vectors: Array, values: Array) -> Times:
    """The operator with some of its eigenvalues set to zero."""
    return lambda v: times(v) - vectors @ (values[:, None] * (vectors.T @ v))


def _largest_within(times: Times, basis: Array, rank: int) -> tuple[Array, Array]:
    """The largest eigenvalues and vectors within the span of a basis (Rayleigh-Ritz)."""
    q = linalg.qr(basis, mode="economic")[0]
    values, inner = linalg.eigh(q.T @ times(q))
    return values[: -rank - 1 : -1], q @ inner[:, : -rank - 1 : -1]


def singular_vectors(found: Leading, rows: Callable[[], Iterable[Matrix]], least: float) -> Leading:
    """Turn eigenvectors of ``N'N`` into right singular vectors of N, without those of singular value zero.

    The eigenvalue of a small singular value, its square, drowns in rounding beside the largest, so that zero
    and small look alike. Their vectors are told apart by N itself: by the singular values of ``N S``, S the
    (n, m) vectors in question, through its R factor.

    Parameters
    ----------
    found
        Of ``N'N``.
    rows
        Yields N by blocks of rows.
    least
        Singular values up to this share of the largest count as zero.

    Returns
    -------
    Leading
        With squares of the singular values.
    """
    low = found.values <= _LOW * found.values[0]
    if not low.any():
        return found
    first, span = found.vectors[:, ~low], found.vectors[:, low]
    factor = np.zeros((0, span.shape[1]))
    for block in rows():
        factor = linalg.qr(np.vstack([factor, block @ span]), mode="r")[0][: span.shape[1]]
    _, values, turn = linalg.svd(factor)
    kept = values > least * np.sqrt(float(found.values[0]))
    values, vectors = values[kept], span @ turn[: len(values)][kept].T
    if len(values):
        # N'N takes what they have of its null space away
        vectors = sum(block.T @ (block @ vectors) for block in rows()) / values**2
        vectors = linalg.qr(vectors - first @ (first.T @ vectors), mode="economic")[0]
    squares = np.concatenate([found.values[~low], values**2])
    return Leading(squares, np.hstack([first, vectors]), 0.0)
