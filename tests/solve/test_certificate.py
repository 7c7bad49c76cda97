"""The residual of a solved system against its tolerance."""

import numpy as np
import pytest

from l3ae_dist.errors import NumericalError
from l3ae_dist.solve.certificate import Certificate, certify, exact, probes, relative_residual, require


def kms(n, rho=0.5):
    """Kac-Murdock-Szego: ``rho^|i-j|``, positive definite."""
    index = np.arange(n)
    return rho ** np.abs(index[:, None] - index)


def certified(inverse, gram, ridge, dtype="float64"):
    z = probes(len(gram), 4)
    values = np.linalg.eigvalsh(gram)
    return certify(
        lambda v: gram @ v,
        inverse @ z,
        z,
        condition=float((values[-1] + ridge) / ridge),
        dtype=dtype,
        ridge=ridge,
    )


def test_an_inverse_passes_and_its_certificate_is_read_back():
    gram = kms(50)
    certificate = require(certified(np.linalg.inv(gram + 2 * np.eye(50)), gram, 2.0))
    assert certificate.passed
    assert 0 < certificate.residual < certificate.tolerance < 1e-13
    assert Certificate.from_document(certificate.document()) == certificate
    assert "diagonal" not in certificate.document()
    whole = certificate.with_diagonal(1e-15, 1e-12)
    assert Certificate.from_document(whole.document()) == whole


@pytest.mark.parametrize("error", [1e-6, np.nan])
def test_a_wrong_entry_fails_with_the_ridge_and_both_figures(error):
    gram = kms(50)
    inverse = np.linalg.inv(gram + 2 * np.eye(50))
    inverse[3, 7] += error
    with pytest.raises(
        NumericalError, match=r"at ridge 2 has relative residual .* over the tolerance .*float64"
    ):
        require(certified(inverse, gram, 2.0))


def test_the_worst_column_counts_unless_the_norm_of_the_whole_is_given():
    target = np.array([[3.0, 100.0], [4.0, 0.0]])
    image = target + np.array([[0.5, 0.0], [0.0, 0.0]])
    assert relative_residual(image, target) == pytest.approx(0.1)
    assert relative_residual(image, target, norm=50.0) == pytest.approx(0.01)
    assert relative_residual(image, image, norm=0.0) == 0.0


def test_a_model_that_solves_nothing_is_exact_and_the_least_certain_system_is_the_one_closest_to_its_tolerance():
    assert exact("float32").passed
    assert exact("float32").used_tolerance == 0
    close = Certificate(9e-6, 1e-5, 10.0, "float32", 1.0)
    loose = Certificate(1e-5, 1e-3, 1e4, "float32", 1.0)
    assert max(close, loose, key=lambda one: one.used_tolerance) is close
