"""The change of an inverse by rows that leave and join, beside the inverse of the changed system."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l3ae_dist.errors import NumericalError
from l3ae_dist.linalg.rank_updates import rank_update


def changed(x, z, joins, ridge):
    """P' by the update, and by inverting the changed system."""
    n = x.shape[1]
    before = x.T @ x + ridge * np.eye(n)
    p = np.linalg.inv(before)
    y = p @ z.T
    made = rank_update(z @ y, joins)
    after = before + z[joins].T @ z[joins] - z[~joins].T @ z[~joins]
    return p - y @ made.middle @ y.T, np.linalg.inv(after), made, p


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    users=st.integers(1, 40),
    n=st.integers(1, 20),
    leave=st.integers(0, 12),
    join=st.integers(0, 12),
    ridge=st.sampled_from([0.5, 5.0, 200.0]),
)
def test_an_updated_inverse_is_that_of_the_changed_rows(seed, users, n, leave, join, ridge):
    rng = np.random.default_rng(seed)
    x = (rng.random((users, n)) < 0.3) * rng.integers(1, 4, (users, n)).astype(float)
    leave = min(leave, users)
    z = np.concatenate([x[:leave], (rng.random((join, n)) < 0.3).astype(float)])
    order = rng.permutation(len(z))
    z, joins = z[order], np.r_[np.zeros(leave, bool), np.ones(join, bool)][order]
    found, wanted, made, _ = changed(x, z, joins, ridge)
    # eps times the condition of both systems
    condition = (np.linalg.norm(x, 2) ** 2 + np.linalg.norm(z, 2) ** 2 + ridge) / ridge
    assert np.abs(found - wanted).max() <= 1e-14 * condition * np.abs(wanted).max() * made.amplification
    assert made.amplification >= 1 - 1e-12
    assert np.array_equal(made.middle, made.middle.T)


def test_the_amplification_bounds_the_growth_of_an_error_in_p():
    rng = np.random.default_rng(0)
    x = (rng.random((60, 25)) < 0.2).astype(float)
    joins = np.zeros(5, bool)
    _, wanted, made, p = changed(x, x[:5], joins, 0.5)
    error = 1e-7 * rng.standard_normal(p.shape)
    wrong = p + (error + error.T) / 2
    y = wrong @ x[:5].T
    found = wrong - y @ rank_update(x[:5] @ y, joins).middle @ y.T
    h = np.linalg.cholesky(np.linalg.inv(wanted))  # errors are measured in the norm of the changed system
    before, after = (np.linalg.norm(h.T @ e @ h, 2) for e in (wrong - p, found - wanted))
    assert after <= 1.01 * made.amplification**2 * before


def test_rows_that_were_never_in_are_refused():
    x = np.eye(3)
    p = np.linalg.inv(x.T @ x + 0.1 * np.eye(3))
    z = np.array([[2.0, 0.0, 0.0]])
    with pytest.raises(NumericalError, match="never in it"):
        rank_update(z @ p @ z.T, np.array([False]))


def test_no_rows_change_nothing():
    made = rank_update(np.zeros((0, 0)), np.zeros(0, bool))
    assert made.middle.shape == (0, 0)
    assert made.amplification == 1
