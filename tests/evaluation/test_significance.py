"""Intervals and p-values over users against SciPy's."""

import numpy as np
import pytest
from scipy import stats

from l3ae_dist.evaluation.significance import PairedComparison, bootstrap_means, paired_bootstrap


def figures(seed, users):
    rng = np.random.default_rng(seed)
    ours = rng.random(users)
    return ours, np.clip(ours - 0.02 + 0.2 * rng.standard_normal(users), 0.01, 1.0)


@pytest.mark.parametrize("users", [3, 57, 500])
def test_intervals_of_means_are_those_of_scipy_on_the_same_resamples(users):
    values = np.column_stack(figures(1, users))
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=300, batch=64, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    bounds = bootstrap_means(values, repeats=300, seed=5)
    np.testing.assert_allclose(bounds, np.column_stack(theirs), rtol=1e-12)


@pytest.mark.parametrize("users", [11, 400])
def test_paired_intervals_are_those_of_scipy_on_the_same_resamples(users):
    ours, other = figures(2, users)

    def difference_and_lift(a, b, axis=-1):
        return np.stack([a.mean(axis) - b.mean(axis), a.mean(axis) / b.mean(axis) - 1])

    low, high = stats.bootstrap(
        (ours, other), difference_and_lift, paired=True, vectorized=True, n_resamples=60, batch=60,
        method="percentile", rng=np.random.default_rng(7),
    ).confidence_interval  # fmt: skip
    found = paired_bootstrap(ours, other, repeats=60, seed=7)
    np.testing.assert_allclose([found["low"], found["lift_low"]], low, rtol=1e-10)
    np.testing.assert_allclose([found["high"], found["lift_high"]], high, rtol=1e-10)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.3])
def test_the_p_value_is_that_of_all_sign_flips_within_the_noise_of_the_draws(shift):
    rng = np.random.default_rng(3)
    difference, repeats = shift + 0.3 * rng.standard_normal(12), 20_000
    exact = stats.permutation_test(
        (difference,), lambda x, axis=-1: np.abs(x.mean(axis)), permutation_type="samples",
        vectorized=True, alternative="greater", n_resamples=2**12,
    ).pvalue  # fmt: skip
    found = paired_bootstrap(difference + 5, np.full(12, 5.0), repeats=repeats)["p_value"]
    assert abs(found - exact) <= 4 * np.sqrt(exact * (1 - exact) / repeats) + 2 / repeats


def test_a_comparison_is_read_back_as_it_was_written():
    found = paired_bootstrap(*figures(4, 30), repeats=20)
    one = PairedComparison("ndcg@5", ("L3AE", "EASE"), **found, pairs=3)
    assert PairedComparison.of(one.document()) == one
    assert one.document()["models"] == ["L3AE", "EASE"]
    assert one.interval == "95 % interval for all 3 pairs at once"
    earlier = {name: value for name, value in one.document().items() if name != "pairs"}
    assert PairedComparison.of(earlier).interval == "95 % interval"
