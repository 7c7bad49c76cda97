"""Condition of the system before cluster time is spent, and the precision that follows from it."""

from collections.abc import Callable

import numpy as np
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

from l3ae_dist.errors import NumericalError
from l3ae_dist.linalg.arrays import Array

_EPS = {"float32": 1e-7, "float64": 1e-16}
_LIMIT = 1e-3
# Orders up to which every column of the operator is made.
_DENSE = 20
# Restarts of ARPACK, each of about as many products, before less accuracy is asked for.
_RESTARTS = 10


def largest_eigenvalue(times: Callable[[Array], Array], n: int, *, tolerance: float = 1e-2) -> float:
    """Estimate the largest eigenvalue of a symmetric positive semi-definite operator.

    Parameters
    ----------
    times
        Maps an (n, m) float64 array to the operator's product with it.
    n
        Order of the operator.
    tolerance
        Relative accuracy asked for; the eigenvalue is closer, by about its square.

    Returns
    -------
    float
        A lower bound, by about 20 products with single vectors (ARPACK's ``dsaupd``, started from a vector
        that is always the same); exact by n products where n is at most 20.
    """
    if n <= _DENSE:
        return max(0.0, float(np.linalg.eigvalsh(times(np.eye(n)))[-1]))
    start = np.random.default_rng(0).standard_normal(n)
    operator = LinearOperator((n, n), matvec=lambda v: times(v.reshape(n, 1))[:, 0], dtype=np.float64)
    settings = {"k": 1, "which": "LA", "v0": start, "maxiter": _RESTARTS, "return_eigenvectors": False}
    try:
        found = eigsh(operator, tol=tolerance, **settings)
    except ArpackNoConvergence:  # many eigenvalues lie close below the largest: less accuracy serves
        return largest_eigenvalue(times, n, tolerance=10 * tolerance)
    except ArpackError as error:
        if np.any(times(start[:, None])):
            raise NumericalError(
                f"the largest eigenvalue of the system could not be estimated ({error}); check the data."
            ) from error
        return 0.0  # the operator is zero, from which ARPACK cannot start
    return max(0.0, float(found[0]))


def condition_number(lambda_max: float, ridge: float) -> float:
    """Return ``(lambda_max + ridge) / ridge``: an upper bound, since the Gram may be singular.

    >>> condition_number(9900.0, 100.0)
    100.0
    """
    return (lambda_max + ridge) / ridge


def choose_dtype(kappa: float, requested: str = "auto") -> str:
    """Choose ``float32`` only where ``1e-7 kappa <= 1e-3``, else ``float64``.

    Raises
    ------
    NumericalError
        When float32 was demanded and is unsafe, or when float64 is not enough either.
    """
    if _EPS["float64"] * kappa > _LIMIT:
        raise NumericalError(
            f"the condition estimate {kappa:.1e} is beyond float64 (limit 1e13); use a larger ridge."
        )
    if requested == "float64":
        return "float64"
    safe = _EPS["float32"] * kappa <= _LIMIT
    if requested == "float32" and not safe:
        raise NumericalError(
            f"float32 was demanded, but the condition estimate {kappa:.1e} is over its limit 1e4; "
            "use dtype auto or float64, or a larger ridge."
        )
    return "float32" if safe else "float64"


def certificate_tolerance(dtype: str, kappa: float) -> float:
    """Return ``min(1e-3, 10 eps kappa)``, the bound on the relative residual."""
    eps = float(np.finfo(dtype).eps)
    return min(1e-3, 10 * eps * kappa)
