"""Condition of the system before cluster time is spent, and the precision that follows from it."""

from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh_tridiagonal

from l3ae_dist.errors import NumericalError
from l3ae_dist.linalg.arrays import Array

_EPS = {"float32": 1e-7, "float64": 1e-16}
_LIMIT = 1e-3


def largest_eigenvalue(times: Callable[[Array], Array], n: int, *, steps: int = 20, seed: int = 0) -> float:
    """Largest eigenvalue of a symmetric positive semi-definite operator, by Lanczos.

    Parameters
    ----------
    times
        Maps an (n, 1) array to the operator's product with it.
    n, steps, seed
        Order, iterations, and seed of the start vector.

    Returns
    -------
    A lower bound that is tight to a few digits after 20 steps (Golub, Van Loan, section 10.1).
    """
    vector = np.random.default_rng(seed).standard_normal(n)
    vector /= np.linalg.norm(vector)
    basis = [vector]
    diagonal: list[float] = []
    off: list[float] = []
    for _ in range(min(steps, n)):
        image = np.asarray(times(basis[-1][:, None]), dtype=np.float64)[:, 0]
        diagonal.append(float(basis[-1] @ image))
        for old in basis:  # full reorthogonalisation: twenty vectors cost nothing
            image = image - (old @ image) * old
        norm = float(np.linalg.norm(image))
        if norm <= 1e-12 * max(abs(diagonal[0]), 1e-300):
            break
        off.append(norm)
        basis.append(image / norm)
    values: Array = eigh_tridiagonal(
        np.array(diagonal), np.array(off[: len(diagonal) - 1]), eigvals_only=True
    )
    return float(max(values.max(), 0.0))


def condition_number(lambda_max: float, ridge: float) -> float:
    """``(lambda_max + ridge) / ridge``: an upper bound, since the Gram may be singular.

    >>> condition_number(9900.0, 100.0)
    100.0
    """
    return (lambda_max + ridge) / ridge


def choose_dtype(kappa: float, requested: str = "auto") -> str:
    """``float32`` only where ``1e-7 kappa <= 1e-3``, else ``float64``.

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
    """``min(1e-3, 10 eps kappa)``, the bound on the relative residual."""
    eps = float(np.finfo(dtype).eps)
    return min(1e-3, 10 * eps * kappa)
