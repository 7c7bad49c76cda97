"""Exact change of an inverse by a few rows: ``P' = P - Y K Y'`` with ``Y = P Z'``.

``P = H^-1`` is that of ``H = X'X + ridge I``, Z has the rows that join X and those that leave it. The change
is solved by two Cholesky factorisations, joining rows first, which need no pivoting (Woodbury; Golub, Van
Loan, Matrix Computations, 2.1.4).
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from l3ae_dist.errors import NumericalError
from l3ae_dist.linalg.arrays import Array


@dataclass(frozen=True, slots=True)
class RankUpdate:
    """The change of an inverse by r rows.

    Parameters
    ----------
    middle
        (r, r) float64 K of ``P' = P - Y K Y'``, symmetric.
    amplification
        Bound of the factor by which leaving rows enlarge the relative error of P; 1 without any.
    """

    middle: Array
    amplification: float


def rank_update(products: Array, joins: Array) -> RankUpdate:
    """Solve the change of an inverse; r^3 flops.

    Parameters
    ----------
    products
        (r, r) float64 ``Z P Z'``.
    joins
        (r,) bool: which rows join; the others leave.

    Raises
    ------
    NumericalError
        When the rows that leave were not all in X, or nothing of an item would be left without a ridge.

    Examples
    --------
    One user with both of two items leaves a system of ridge 1:

    >>> z = np.array([[1.0, 1.0]])
    >>> p = np.linalg.inv(z.T @ z + np.eye(2))
    >>> made = rank_update(z @ p @ z.T, np.array([False]))
    >>> y = p @ z.T
    >>> (p - y @ made.middle @ y.T).round(12) + 0.0
    array([[1., 0.],
           [0., 1.]])
    """
    middle, amplification = np.zeros_like(products), 1.0
    leaves = ~joins
    inner, across = products[np.ix_(joins, joins)], products[np.ix_(joins, leaves)]
    reduced = products[np.ix_(leaves, leaves)]
    if joins.any():
        lower = linalg.cho_factor(inner + np.eye(len(inner)), lower=True, check_finite=True)
        middle[np.ix_(joins, joins)] = linalg.cho_solve(lower, np.eye(len(inner)))
        across = linalg.cho_solve(lower, across)
        reduced = reduced - products[np.ix_(leaves, joins)] @ across
    if leaves.any():
        system = np.eye(len(reduced)) - (reduced + reduced.T) / 2
        least = float(linalg.eigvalsh(system, subset_by_index=(0, 0))[0])
        if not least > 0:
            raise NumericalError(
                f"rows leave the system that were never in it: 1 - z P z' is {least:.2e} where it must be "
                "more than 0; fit again."
            )
        amplification = 1 / least
        factor = linalg.cho_factor(system, lower=True)
        outer = np.zeros((len(joins), len(reduced)))
        outer[joins], outer[leaves] = -across, np.eye(len(reduced))
        middle -= outer @ linalg.cho_solve(factor, outer.T)
    return RankUpdate((middle + middle.T) / 2, amplification)
