"""The certificate of the semantic phase by woodbury: how far ``C = diag(a) + F' V`` is off.

Where an item's text is nearly a sum of the others' and ``reg_f`` is small, ``a`` is a large negative number
that ``F' V`` takes back. The residual of the d x d system and the diagonal of B do not show what is lost
then; one step of refinement does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from l3ae_dist.data.features import FirstRows, HeldRows, Rows, dense
from l3ae_dist.errors import NumericalError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.spectral import semantic_tolerance

_STEP = 1024
# Items whose columns are refined: those that cancel most, and as many spread over the catalog.
_WORST = _SPREAD = 4


@dataclass(frozen=True, slots=True)
class SemanticCertificate:
    """The exactness of a computed semantic model.

    Parameters
    ----------
    error
        Estimated error of the entries of C, relative to the largest (at least to 1 where sums cancel).
    tolerance
        How large it may be.
    cancellation
        Largest factor ``1 / (reg_f diag(P1))`` by which sums are larger than what is left of them.
    """

    error: float
    tolerance: float
    cancellation: float

    def document(self) -> dict[str, float]:
        """Return the certificate as JSON-like values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, float]) -> "SemanticCertificate":
        """Read a certificate back from its document."""
        return cls(**document)


def certify_semantic(
    features: Rows | HeldRows | FirstRows,
    a: Array,
    v: Rows | HeldRows,
    m: Array,
    reg_f: float,
    dtype: npt.DTypeLike,
) -> SemanticCertificate:
    """Estimate the error of C from one step of refinement of some columns of ``W = M F``.

    The residual ``F - (F F' + reg_f I) W`` is made from F itself; what M makes of it is what W lacks. 16 n d
    flops for each of 8 columns.

    Parameters
    ----------
    features
        F by item rows, (n, d).
    a, v, m
        (n,), (n, d) by item rows, and (d, d), as they were computed.
    reg_f
        Ridge of the semantic system.
    dtype
        That of the tiles, in which P and Q are rounded before ``P diag(a)`` and ``Q V`` meet.

    Raises
    ------
    NumericalError
        When the error is over the tolerance, or no number.
    """
    scale = 1.0 - a  # 1 / (reg_f p1)
    spread = np.linspace(0, len(a) - 1, _SPREAD).astype(np.int64)
    items = np.unique(np.append(np.argsort(scale, kind="stable")[-_WORST:], spread))
    f = np.vstack([dense(features.item_rows(j, j + 1)) for j in items]).T
    columns = np.vstack([dense(v.item_rows(j, j + 1)) for j in items]).T
    w = columns / scale[items]
    system = reg_f * w
    for block, _ in _blocks(features):
        system += block.T @ (block @ w)
    lacking, largest = m @ (f - system), 0.0
    error = np.zeros(len(items))
    for block, rows in _blocks(features):
        error = np.maximum(error, np.abs(block @ lacking).max(axis=0))
        c = np.abs(block @ columns)
        c[np.isin(np.arange(rows.start, rows.stop), items)] = 0  # the diagonal, which a takes back
        largest = max(largest, float(c.max()))
    cancelled = float(np.abs(a).max())
    rounding = float(np.finfo(dtype).eps) * cancelled
    size = max(largest, min(1.0, cancelled))
    found = (float((np.abs(scale[items]) * error).max()) + rounding) / size if size else 0.0
    certificate = SemanticCertificate(found, semantic_tolerance(str(np.dtype(dtype))), float(scale.max()))
    return _require(certificate, reg_f, int(np.argmax(scale)))


def _blocks(features: Rows | HeldRows | FirstRows) -> Iterator[tuple[Array, slice]]:
    """Rows of F in float64, with which they are."""
    n = features.shape[0]
    for start in range(0, n, _STEP):
        stop = min(start + _STEP, n)
        yield dense(features.item_rows(start, stop)), slice(start, stop)


def _require(certificate: SemanticCertificate, reg_f: float, item: int) -> SemanticCertificate:
    if not certificate.error <= certificate.tolerance:
        raise NumericalError(
            f"the semantic model at reg_f = {reg_f:g} is off by {certificate.error:.1e}, over the tolerance "
            f"{certificate.tolerance:.0e}: by woodbury its sums cancel by a factor of "
            f"{certificate.cancellation:.1e} (item {item}); use compute.semantic_route direct, or a larger "
            "reg_f."
        )
    return certificate
