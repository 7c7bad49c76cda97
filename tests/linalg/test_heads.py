"""Every head of the inverse against solvers that do not use it.

A column of B is a least-squares problem with a bound on one unknown. Dropout is every mask of the history,
each with its probability; a weight is a row that counts more than once. SciPy's active-set solver gets all of
these rows, so neither an inverse of the Gram matrix nor its diagonal is used.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.linalg.heads import LinearObjective, linear_dense

N = 6


def interactions(users=30, seed=0):
    """Binary, with an item that nobody has and a user who has nothing."""
    x = (np.random.default_rng(seed).random((users, N)) < 0.4).astype(float)
    x[:, -1] = 0
    x[3] = 0
    return x


def semantic(seed=1):
    f = np.random.default_rng(seed).standard_normal((3, N))
    return cf.semantic_dense(f / np.linalg.norm(f, axis=0), 0.5)


def masks(p):
    """Every mask of N items, (2^N, N), and its probability."""
    found = np.array(list(itertools.product([0.0, 1.0], repeat=N)))
    kept = found.sum(axis=1)
    return found, (1 - p) ** kept * p ** (N - kept)


def lengths(x):
    return np.maximum(np.count_nonzero(x, axis=1), 1)


def solved(rows, targets, weights, objective, c, j):
    """Column j from weighted rows, the ridge and the pull, with the constraint on its own entry."""
    root = np.sqrt(weights)
    ridge = objective.reg_x + objective.reg_e
    a = np.vstack([root[:, None] * rows, np.sqrt(ridge) * np.eye(N)])
    wanted = np.zeros(N) if c is None else objective.reg_e / ridge * c[:, j]
    y = np.concatenate([root * targets, np.sqrt(ridge) * wanted])
    if objective.diagonal == "zero":
        free = np.delete(np.arange(N), j)
        found = np.zeros(N)
        found[free] = np.linalg.lstsq(a[:, free], y, rcond=None)[0]
        return found
    upper = np.full(N, np.inf)
    if objective.diagonal == "at_most":
        upper[j] = objective.xi
    return lsq_linear(a, y, (np.full(N, -np.inf), upper), method="bvls", tol=1e-15).x


def by_masks(x, objective, c=None):
    """B from all dropout masks of every history."""
    dropped, probabilities = masks(objective.p)
    users = lengths(x) ** -objective.beta
    rows = (x[:, None, :] * dropped).reshape(-1, N)
    weights = (users[:, None] * probabilities).ravel()
    columns = []
    for j in range(N):
        targets = np.repeat(x[:, j], len(dropped))
        if objective.is_deql:
            kept = np.where(np.tile(dropped[:, j], len(x)) > 0, objective.b**2, objective.a**2)
            columns.append(solved(rows, targets, weights * kept, objective, c, j))
        else:
            columns.append(solved(rows / (1 - objective.p), targets, weights, objective, c, j))
    return np.stack(columns, axis=1)


def check(got, want):
    assert np.abs(got - want).max() <= 1e-10 * np.abs(want).max()


BOUNDS = [("zero", 0.0), ("at_most", 0.05), ("at_most", 0.3), ("at_most", 0.0), ("none", 0.0)]
RIDGES = [(4.0, 0.0), (3.0, 20.0), (-15.0, 20.0)]


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize(("diagonal", "xi"), BOUNDS)
@pytest.mark.parametrize(("reg_x", "reg_e"), RIDGES)
def test_bounded_members_are_the_least_squares_of_all_dropout_masks(p, diagonal, xi, reg_x, reg_e):
    objective = LinearObjective(reg_x, reg_e, p, diagonal=diagonal, xi=xi)
    x, c = interactions(), semantic() if reg_e else None
    got = linear_dense(x, objective, c, keep_diagonal=True)
    check(got, by_masks(x, objective, c))
    if diagonal == "at_most":
        assert (np.diag(got) <= xi + 1e-14).all()


@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize(("diagonal", "xi"), BOUNDS)
@pytest.mark.parametrize(("reg_x", "reg_e"), RIDGES)
def test_row_weights_are_rows_that_count_more_and_dropout_penalises_the_data_as_they_are(
    p, diagonal, xi, reg_x, reg_e
):
    """DAN's Lambda takes counts without weights, so it is a penalty here and not a set of masks."""
    objective = LinearObjective(reg_x, reg_e, p, beta=0.6, diagonal=diagonal, xi=xi)
    x, c = interactions(), semantic() if reg_e else None
    penalties = p / (1 - p) * (x**2).sum(axis=0)
    rows = np.vstack([x, np.diag(np.sqrt(penalties))])
    weights = np.append(lengths(x) ** -0.6, np.ones(N))
    want = [solved(rows, np.append(x[:, j], np.zeros(N)), weights, objective, c, j) for j in range(N)]
    check(linear_dense(x, objective, c, keep_diagonal=True), np.stack(want, axis=1))


@pytest.mark.parametrize(("diagonal", "xi"), BOUNDS)
@pytest.mark.parametrize(("reg_x", "reg_e"), RIDGES)
def test_weighted_dropout_is_its_expectation_over_all_masks(diagonal, xi, reg_x, reg_e):
    """Each user's masks weigh as the user does; counts as they are give another B."""
    weighed = LinearObjective(reg_x, reg_e, 0.4, beta=0.6, diagonal=diagonal, xi=xi, weighted_dropout=True)
    x, c = interactions(), semantic() if reg_e else None
    got = linear_dense(x, weighed, c, keep_diagonal=True)
    check(got, by_masks(x, weighed, c))
    counted = linear_dense(x, replace(weighed, weighted_dropout=False), c, keep_diagonal=True)
    assert np.abs(got - counted).max() > 1e-3 * np.abs(got).max()


def test_dropout_is_weighted_where_there_are_weights_and_dropout():
    x = interactions()
    for plain in (LinearObjective(4.0, p=0.3), LinearObjective(4.0, beta=0.5)):
        weighed = replace(plain, weighted_dropout=True)
        assert not weighed.weighs_penalty
        np.testing.assert_array_equal(linear_dense(x, weighed), linear_dense(x, plain))


@pytest.mark.parametrize(("diagonal", "xi"), BOUNDS)
def test_popularity_is_taken_out_of_the_columns_and_put_back_by_scoring_raw_histories(diagonal, xi):
    """DAN is the optimum on ``X n^-alpha`` with the penalties of its rows divided by ``n^(2 alpha)``."""
    objective = LinearObjective(4.0, p=0.3, alpha=0.4, beta=0.5, diagonal=diagonal, xi=xi)
    x = interactions()
    s = np.maximum(x.sum(axis=0), 1) ** -0.4
    penalties = (0.3 / 0.7 * x.sum(axis=0) + 4.0) * s**2
    rows = np.vstack([x * s, np.diag(np.sqrt(penalties))])
    weights = np.append(lengths(x) ** -0.5, np.ones(N))
    alone = LinearObjective(1e-300, diagonal=diagonal, xi=xi)
    want = [solved(rows, np.append(x[:, j] * s[j], np.zeros(N)), weights, alone, None, j) for j in range(N)]
    check(linear_dense(x, objective, keep_diagonal=True), np.stack(want, axis=1))


@pytest.mark.parametrize("diagonal", ["zero", "none"])
@pytest.mark.parametrize(("reg_x", "reg_e"), RIDGES)
@pytest.mark.parametrize(("a", "b"), [(1.0, 0.5), (0.4, 1.3), (1.0, 0.0), (1.0, 1.0)])
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_deql_is_the_least_squares_of_all_masks_with_weights_of_dropped_and_kept(
    diagonal, reg_x, reg_e, a, b, beta
):
    objective = LinearObjective(reg_x, reg_e, 0.3, beta=beta, diagonal=diagonal, a=a, b=b)
    x, c = interactions(), semantic() if reg_e else None
    check(linear_dense(x, objective, c, keep_diagonal=True), by_masks(x, objective, c))


def test_counts_are_squared_in_the_dropout_penalty():
    x = interactions()
    x[:, 0] *= 3
    objective = LinearObjective(4.0, p=0.3, diagonal="none")
    check(linear_dense(x, objective, keep_diagonal=True), by_masks(x, objective))


def test_special_cases_are_the_members_that_were_there():
    x, c = interactions(), semantic()
    check(linear_dense(x, LinearObjective(4.0)), cf.ease_dense(x, 4.0))
    check(linear_dense(x, LinearObjective(-3.0, 9.0), c), cf.l3ae_dense(x, c, -3.0, 9.0))


def test_without_text_a_bound_of_zero_is_equality_and_with_text_it_need_not_be():
    x, f = interactions(), np.zeros((3, N))
    check(
        linear_dense(x, LinearObjective(4.0, diagonal="at_most"), keep_diagonal=True),
        linear_dense(x, LinearObjective(4.0)),
    )
    rng = np.random.default_rng(4)
    f = rng.standard_normal((2, N))
    c = cf.semantic_dense(f / np.linalg.norm(f, axis=0), 0.01)
    got = linear_dense(x, LinearObjective(-95.0, 100.0, diagonal="at_most"), c, keep_diagonal=True)
    assert (np.diag(got) < -1e-3).any()


@pytest.mark.parametrize("diagonal", ["zero", "at_most", "none"])
def test_a_scored_diagonal_is_zero_and_nothing_else_changes(diagonal):
    objective = LinearObjective(4.0, 3.0, 0.2, 0.3, 0.1, diagonal, 0.1)
    x, c = interactions(), semantic()
    kept, scored = (linear_dense(x, objective, c, keep_diagonal=keep) for keep in (True, False))
    assert not np.diag(scored).any()
    np.fill_diagonal(kept, 0)
    np.testing.assert_array_equal(kept, scored)
    assert np.isfinite(scored).all()
