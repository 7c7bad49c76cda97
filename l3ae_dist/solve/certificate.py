"""The certificate of a solved system: its residual on probes beside the largest that rounding explains."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from l3ae_dist.errors import NumericalError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.spectral import certificate_tolerance


@dataclass(frozen=True, slots=True)
class Certificate:
    """The exactness of a solved system: its residual beside what rounding explains.

    Parameters
    ----------
    residual, tolerance
        Relative residual, and how large it may be.
    condition
        Upper bound of the condition number of the system.
    dtype, ridge
        Dtype of the tiles, and what was added to the diagonal of the Gram matrix.
    diagonal, diagonal_tolerance
        Largest ``|B_jj|`` relative to its largest term, which is 0 in exact arithmetic, and how large it may
        be; None for a system without a model.
    semantic, semantic_tolerance
        Estimated error of the semantic model by woodbury, relative to its largest entry, and how large it may
        be; None without it, and on the direct route, whose system has a residual of its own.
    arithmetic
        What the tiles were computed in; None in certificates of earlier versions, and without tiles.
    """

    residual: float
    tolerance: float
    condition: float
    dtype: str
    ridge: float
    diagonal: float | None = None
    diagonal_tolerance: float | None = None
    semantic: float | None = None
    semantic_tolerance: float | None = None
    arithmetic: str | None = None

    @property
    def passed(self) -> bool:
        """True when the residual is a number within its tolerance."""
        return self.residual <= self.tolerance

    @property
    def used_tolerance(self) -> float:
        """Share of the tolerance that the residual takes up; the residual itself without a tolerance."""
        return self.residual / (self.tolerance or 1.0)

    def with_diagonal(self, value: float, tolerance: float) -> "Certificate":
        """Add the self-check of a model's diagonal."""
        return replace(self, diagonal=value, diagonal_tolerance=tolerance)

    def with_semantic(self, value: float, tolerance: float) -> "Certificate":
        """Add the error of the semantic model."""
        return replace(self, semantic=value, semantic_tolerance=tolerance)

    def document(self) -> dict[str, float | str]:
        """Return the certificate as JSON-like values; those that it does not have are left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Certificate":
        """Read a certificate back from its document."""
        return cls(**document)


def exact(dtype: str) -> Certificate:
    """Return the certificate of a model that solves no system."""
    return Certificate(residual=0.0, tolerance=0.0, condition=1.0, dtype=dtype, ridge=0.0)


def probes(n: int, count: int) -> Array:
    """Return ``count`` random vectors of length n, (n, count) float64, always the same."""
    return np.random.default_rng(0).standard_normal((n, count))


def relative_residual(image: Array, target: Array, norm: float | None = None) -> float:
    """Return how far an image is from its target, relative to the target.

    Parameters
    ----------
    image, target
        (n, k) arrays.
    norm
        Frobenius norm of the target, where the block is judged as a whole.

    Returns
    -------
    The largest ``||image_j - target_j|| / ||target_j||`` of the columns, or ``||image - target||_F / norm``
    (0 where the norm is 0).

    >>> relative_residual(np.array([[3.0, 2.0]]), np.array([[2.0, 2.0]]))
    0.5
    """
    error = image - target
    if norm is not None:
        return float(np.linalg.norm(error)) / norm if norm else 0.0
    return float((np.linalg.norm(error, axis=0) / np.linalg.norm(target, axis=0)).max())


def certify(
    system: Callable[[Array], Array],
    solution: Array,
    target: Array,
    *,
    condition: float,
    dtype: str,
    ridge: float,
    arithmetic: str | None = None,
) -> Certificate:
    """Certify a solution of ``(G + ridge I) y = z`` by its residual ``||(G + ridge I) y - z|| / ||z||``.

    Parameters
    ----------
    system
        Maps (n, k) vectors to their product with G in float64.
    solution, target
        ``y`` and ``z``, (n, k) float64; the worst column counts.
    condition
        Condition number of the system.
    dtype, ridge
        Dtype of the tiles, and what was added to the diagonal.
    arithmetic
        What the tiles were computed in; None for their own dtype. The tolerance follows from both:
        :func:`~l3ae_dist.linalg.spectral.certificate_tolerance`.
    """
    residual = relative_residual(system(solution) + ridge * solution, target)
    tolerance = certificate_tolerance(dtype, condition, arithmetic)
    return Certificate(residual, tolerance, condition, dtype, ridge, arithmetic=arithmetic or dtype)


def require(certificate: Certificate) -> Certificate:
    """Return a certificate that passed.

    Raises
    ------
    NumericalError
        When the residual is over the tolerance, or no number.
    """
    if not certificate.passed:
        raise NumericalError(
            f"the inverse at ridge {certificate.ridge:g} has relative residual {certificate.residual:.2e}, "
            f"over the tolerance {certificate.tolerance:.2e}; use dtype float64 or a larger ridge."
        )
    return certificate
