"""Whitening, unit rows and the affine map against their formulas, written once more."""

import numpy as np
import pytest
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.preprocessing import StandardScaler

from l3ae_dist.linalg.affine import affine_map
from l3ae_dist.linalg.whitening import unit_rows, whitened, whitening_matrix


def formula(f, w):
    """The definition by a singular value decomposition: ``f`` is d x n, of unit columns."""
    u, root, _ = np.linalg.svd(f, full_matrices=True)
    s = np.zeros(len(f))
    s[: len(root)] = root**2
    weights = np.array([(one / s[0]) ** (-w / 2) if one > 1e-6 * s[0] else 0.0 for one in s])
    return u @ np.diag(weights) @ u.T


@pytest.mark.parametrize("w", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(("n", "d", "rank"), [(50, 8, 8), (50, 8, 5), (4, 9, 4), (1, 6, 1), (7, 1, 1)])
def test_the_matrix_is_that_of_the_formula(w, n, d, rank):
    rng = np.random.default_rng(n)
    f = unit_rows(rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d)))
    got = whitening_matrix(f.T @ f, w)
    np.testing.assert_allclose(got, formula(f.T, w), atol=1e-11 * np.abs(got).max())
    np.testing.assert_array_equal(got, got.T)


def test_dead_dimensions_are_cut_and_not_blown_up():
    f = unit_rows(np.random.default_rng(0).standard_normal((60, 8)))
    f[:, [2, 5]] = 1e-9
    got = whitening_matrix(f.T @ f, 1.0)
    assert np.abs(got[[2, 5]]).max() < 1e-6
    assert np.isfinite(got).all()


def test_whitened_rows_are_alike_in_all_directions():
    f = unit_rows(np.random.default_rng(1).standard_normal((500, 6)) * [9, 4, 2, 1, 1, 1])
    rows = f @ whitening_matrix(f.T @ f, 1.0)
    s = np.linalg.eigvalsh(rows.T @ rows)
    assert s[0] == pytest.approx(s[-1], rel=1e-10)


def test_nothing_of_a_row_is_left_as_zeros():
    f = np.eye(3)[:2]
    matrix = whitening_matrix(f.T @ f, 1.0)
    got = whitened(np.array([[1.0, 1e-9, 0], [0, 0, 1.0], [0, 0, 0], [1e-8, 0, 1]]), matrix)
    np.testing.assert_allclose(got[0], [1, 1e-9, 0], atol=1e-15)
    np.testing.assert_array_equal(got[1:], 0)


def test_a_sum_of_zeros_gives_a_zero_matrix():
    np.testing.assert_array_equal(whitening_matrix(np.zeros((3, 3)), 0.5), 0)


SETTINGS = [(True, None), (True, (4, True)), (True, (4, False)), (False, (4, True)), (False, (4, False))]


@pytest.mark.parametrize(("standardize", "compress"), SETTINGS)
def test_the_affine_map_is_that_of_scikit_learn(standardize, compress):
    rows = np.random.default_rng(2).standard_normal((90, 7)) + 3
    rows[:, 3] = 0.1  # of which the rounding of the mean leaves something
    want = StandardScaler().fit_transform(rows) if standardize else rows
    if compress is not None:
        count, centres = compress
        step = PCA(count, svd_solver="full") if centres else TruncatedSVD(count, algorithm="arpack")
        want = step.fit_transform(want)
    found = affine_map(lambda: np.array_split(rows, 4), 90, standardize=standardize, compress=compress)
    got = rows @ found[1:] + found[0]
    for a, b in zip(got.T, want.T, strict=True):  # up to the sign
        assert min(np.abs(a - b).max(), np.abs(a + b).max()) <= 1e-9
