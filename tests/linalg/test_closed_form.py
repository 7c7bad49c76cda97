"""The factored form against the dense equations, which it equals exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l3ae_dist.errors import NumericalError
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.linalg.spectral import certificate_tolerance, choose_dtype, largest_eigenvalue


def problem(users=50, n=30, d=8, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.random((users, n)) < 0.15).astype(float)
    x[:, -1] = 0  # an item nobody bought
    x[0] = 0
    x[0, 0] = 1  # a user with one item
    f = rng.standard_normal((d, n))
    return x, f / np.linalg.norm(f, axis=0)


def factored(x, f, reg_x, reg_f, reg_e):
    p = cf.gram_inverse(x, reg_x + reg_e)
    s = cf.semantic_factor(f, reg_f)
    q = cf.cross(p, f)
    c = cf.column_scale(np.diag(p), cf.product_diagonal(np.diag(p), s.a, q, s.v), s.a, reg_e)
    return p, q, s, c


@pytest.mark.parametrize(("reg_x", "reg_e"), [(10.0, 10.0), (-100.0, 200.0), (500.0, 500.0), (20.0, 80.0)])
@pytest.mark.parametrize(("n", "d"), [(30, 8), (12, 40), (1, 3)])
def test_factored_weights_equal_the_dense_formula(reg_x, reg_e, n, d):
    x, f = problem(n=n, d=d)
    c_dense = cf.semantic_dense(f, 5.0)
    want = cf.l3ae_dense(x, c_dense, reg_x, reg_e)
    p, q, s, c = factored(x, f, reg_x, 5.0, reg_e)
    np.testing.assert_allclose(np.diag(s.a) + f.T @ s.v, c_dense, atol=1e-12)
    got = cf.weights(p, q, s.v, c, reg_e)
    scale = max(np.abs(want).max(), 1.0)
    assert np.abs(got - want).max() <= 1e-12 * scale
    assert np.abs(np.diag(got)).max() <= 1e-12
    np.testing.assert_allclose(cf.scores(x, p, q, s.v, c, reg_e), x @ want, atol=1e-12 * scale * n)


def test_no_distillation_is_ease():
    x, f = problem()
    got = cf.l3ae_dense(x, cf.semantic_dense(f, 5.0), 100.0, 0.0)
    np.testing.assert_allclose(got, cf.ease_dense(x, 100.0), atol=1e-14)


def test_column_j_predicts_item_j():
    """Dividing a column by its diagonal makes B unsymmetric: its transpose solves another problem."""
    x, _ = problem()
    b = cf.ease_dense(x, 2.0)

    def loss(weights):
        return np.sum((x - x @ weights) ** 2) + 2.0 * np.sum(weights**2)

    assert loss(b) < loss(b.T)
    step = np.zeros_like(b)
    step[3, 4] = 1e-3
    assert loss(b) < min(loss(b + step), loss(b - step))


def test_a_cold_item_gets_the_column_of_a_dense_refit():
    x, f = problem()
    reg_f, reg_e, ridge = 5.0, 80.0, 100.0
    p, q, s, _ = factored(x, f, ridge - reg_e, reg_f, reg_e)
    f_new = np.random.default_rng(9).standard_normal(f.shape[0])
    c_new = np.linalg.solve(f.T @ f + reg_f * np.eye(f.shape[1]), f.T @ f_new)
    np.testing.assert_allclose(cf.cold_start_column(q, s.m, f_new, reg_e), reg_e * p @ c_new, atol=1e-13)


def test_collective_ease_solves_the_stacked_system():
    x, f = problem()
    gram = x.T @ x + 2.5**2 * f.T @ f + 10 * np.eye(30)
    p = np.linalg.inv(gram)
    want = np.eye(30) - p / np.diag(p)
    np.testing.assert_allclose(cf.collective_dense(x, f, 10.0, 2.5), want, atol=1e-13)
    np.testing.assert_allclose(cf.collective_dense(x, f, 10.0, 0.0), cf.ease_dense(x, 10.0), atol=1e-14)


def test_the_direct_route_gives_the_same_weights():
    x, f = problem()
    c = cf.semantic_dense(f, 5.0)
    p = cf.gram_inverse(x, 100.0)
    pc = p @ c
    scale = cf.product_column_scale(np.diag(p), np.diag(pc), 80.0)
    np.testing.assert_allclose(
        p * scale + 80.0 * pc + np.eye(30), cf.l3ae_dense(x, c, 20.0, 80.0), atol=1e-13
    )


def test_gfcf_leaves_items_that_nobody_has_at_zero():
    x, _ = problem()
    b = cf.gfcf_dense(x, 5, 0.3)
    assert np.isfinite(b).all()
    assert not b[-1].any()
    assert not b[:, -1].any()
    # of full rank the low-pass filter lets everything pass that the matrix spans
    rank = np.linalg.matrix_rank(x)
    np.testing.assert_allclose(x @ (cf.gfcf_dense(x, rank, 1.0) - cf.gfcf_dense(x, rank, 0.0)), x, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(0, 5))
def test_the_largest_eigenvalue_is_found(n, seed):
    a = np.random.default_rng(seed).standard_normal((n + 5, n))
    want = np.linalg.eigvalsh(a.T @ a)[-1]
    got = largest_eigenvalue(lambda v: a.T @ (a @ v), n, tolerance=1e-9)
    assert got == pytest.approx(want, rel=1e-6)
    rough = largest_eigenvalue(lambda v: a.T @ (a @ v), n)
    assert rough <= want * (1 + 1e-12)
    assert rough == pytest.approx(want, rel=1e-3)


@pytest.mark.parametrize("n", [1, 2, 3, 20, 21, 300])
def test_the_largest_eigenvalue_of_a_known_spectrum(n):
    spectrum = np.arange(n) + 1.0
    mirror = np.eye(n) - 2.0 / n  # a reflection, which leaves the spectrum as it is
    operators = {
        0.0: np.zeros((n, n)),
        1.0: np.eye(n),
        float(n): mirror * spectrum @ mirror.T,
        2.0 * n: np.full((n, n), 2.0),
    }
    for want, matrix in operators.items():
        found = [largest_eigenvalue(lambda v, a=matrix: a @ v, n) for _ in range(2)]
        assert found[0] == pytest.approx(want, rel=2e-3)
        assert found[0] == pytest.approx(found[1], rel=1e-14)


def test_precision_follows_the_condition():
    assert choose_dtype(1e2) == "float32"
    assert choose_dtype(1e6) == "float64"
    assert choose_dtype(1e2, "float64") == "float64"
    with pytest.raises(NumericalError, match="float32 was demanded"):
        choose_dtype(1e6, "float32")
    with pytest.raises(NumericalError, match="beyond float64"):
        choose_dtype(1e15)
    assert certificate_tolerance("float32", 1e9) == 1e-3


def test_float64_arithmetic_lets_float32_tiles_serve_ten_times_the_condition():
    assert choose_dtype(5e4) == choose_dtype(5e4, arithmetic="auto") == "float64"
    assert choose_dtype(5e4, arithmetic="float64") == "float32"
    assert choose_dtype(5e4, "float32", arithmetic="float64") == "float32"
    assert choose_dtype(2e5, arithmetic="float64") == "float64"
    assert choose_dtype(5e3, arithmetic="float32") == "float32"
    with pytest.raises(
        NumericalError, match=r"float32 was demanded, .* limit 1e5; use dtype auto or float64"
    ):
        choose_dtype(2e5, "float32", arithmetic="float64")
    with pytest.raises(NumericalError, match=r"for the arithmetic, .*1e4; use compute.arithmetic auto, or a"):
        choose_dtype(2e5, arithmetic="float32")
    with pytest.raises(
        NumericalError, match=r"use compute.arithmetic auto and compute.dtype auto, or a larger"
    ):
        choose_dtype(2e5, "float32", arithmetic="float32")
    with pytest.raises(
        NumericalError, match=r"for the arithmetic, but by woodbury .*arithmetic auto, compute"
    ):
        choose_dtype(10.0, cancellation=1e5, arithmetic="float32")


def test_the_tolerance_counts_both_dtypes():
    eps = {dtype: float(np.finfo(dtype).eps) for dtype in ("float32", "float64")}
    for dtype, value in eps.items():
        assert certificate_tolerance(dtype, 7.0) == certificate_tolerance(dtype, 7.0, dtype) == 70 * value
    mixed = certificate_tolerance("float32", 7.0, "float64")
    assert mixed == pytest.approx(7 * (4 * eps["float32"] + 6 * eps["float64"]))
