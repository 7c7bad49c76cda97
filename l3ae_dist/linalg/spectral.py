"""Condition of the system before cluster time is spent, and the precision that follows from it."""

from collections.abc import Callable

import numpy as np
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

from l3ae_dist.errors import NumericalError
from l3ae_dist.linalg.arrays import Array

_EPS = {"float32": 1e-7, "float64": 1e-16}
# By so much larger condition numbers are served by float32 tiles that are computed in float64 (measured:
# docs/decisions, "Arithmetic apart from storage").
_WIDER = 10.0
_LIMIT = 1e-3
# Condition numbers up to which float32 tiles serve: its eps times this is the limit of the residual.
_FLOAT32_LIMIT = 1e4
# Errors of the semantic model that are accepted, relative to its largest entry; float32 is chosen at a tenth.
_SEMANTIC_LIMIT = {"float32": 1e-3, "float64": 1e-6}
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


def semantic_tolerance(dtype: str) -> float:
    """Return how far off the semantic model may be, relative to its largest entry."""
    return _SEMANTIC_LIMIT[dtype]


def choose_dtype(
    kappa: float, requested: str = "auto", cancellation: float = 1.0, arithmetic: str = "auto"
) -> str:
    """Choose the dtype of tiles: ``float32`` where the system and the sums over the text allow it.

    That is where ``1e-7 kappa <= 1e-3`` (1e-2 when tiles are computed in float64) and sums cancel by 1e3 at
    most; ``float64`` elsewhere.

    Parameters
    ----------
    kappa
        Condition estimate of the systems.
    requested
        ``auto``, ``float32`` or ``float64``.
    cancellation
        Factor by which the sums of the woodbury route cancel; 1 without it.
    arithmetic
        What tiles are computed in: ``auto``, ``float32`` or ``float64``. ``auto`` counts as float32, since
        the devices are not known yet.

    Raises
    ------
    NumericalError
        When float32 was demanded and is unsafe, or when float64 is not enough either.
    """
    if not _EPS["float64"] * cancellation <= _SEMANTIC_LIMIT["float64"]:
        raise NumericalError(
            f"by woodbury the sums of the semantic model cancel by a factor of {cancellation:.1e}, beyond "
            "float64 (limit 1e10); use compute.semantic_route direct, or a larger reg_f."
        )
    if _EPS["float64"] * kappa > _LIMIT:
        raise NumericalError(
            f"the condition estimate {kappa:.1e} is beyond float64 (limit 1e13); use a larger ridge."
        )
    if requested == "float64":
        return "float64"
    limit = _FLOAT32_LIMIT * (_WIDER if arithmetic == "float64" else 1.0)
    kept = _EPS["float32"] * cancellation <= 0.1 * _SEMANTIC_LIMIT["float32"]
    if kappa <= limit and kept:
        return "float32"
    if "float32" in (requested, arithmetic):
        what, advice = _demanded(requested, arithmetic)
        if kappa <= limit:
            raise NumericalError(
                f"{what}, but by woodbury the sums of the semantic model cancel by a factor of "
                f"{cancellation:.1e}, over its limit 1e3; {advice}, compute.semantic_route direct, or a "
                "larger reg_f."
            )
        raise NumericalError(
            f"{what}, but the condition estimate {kappa:.1e} is over its limit {_power(limit)}; {advice}, or "
            "a larger ridge."
        )
    return "float64"


def _power(limit: float) -> str:
    """Write a power of ten as ``1e4``."""
    return f"{limit:.0e}".replace("+0", "")


def _demanded(requested: str, arithmetic: str) -> tuple[str, str]:
    """Say which setting demands float32, and what to set instead."""
    if arithmetic != "float32":
        return "float32 was demanded", "use dtype auto or float64"
    instead = "compute.arithmetic auto" + (" and compute.dtype auto" if requested == "float32" else "")
    return "float32 was demanded for the arithmetic", f"use {instead}"


def certificate_tolerance(dtype: str, kappa: float, arithmetic: str | None = None) -> float:
    """Return the bound on the relative residual, ``(4 eps_tiles + 6 eps_arithmetic) kappa``, at most 1e-3.

    The three stages round each tile once when it is stored, and every sum in the arithmetic; it is
    ``10 eps kappa`` where the two are one.

    Parameters
    ----------
    dtype
        Of the tiles.
    kappa
        Condition number of the system.
    arithmetic
        What tiles are computed in; their own dtype when None.
    """
    stored, computed = float(np.finfo(dtype).eps), float(np.finfo(arithmetic or dtype).eps)
    return min(1e-3, (4 * stored + 6 * computed) * kappa)
