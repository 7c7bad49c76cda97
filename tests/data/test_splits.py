"""Splits against the plain definition: rank every interaction of a user by its hash, with a full sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.config.load import make_config
from l3ae_dist.data import splits
from l3ae_dist.errors import ConfigError


def uniform(seed, *keys):
    """SplitMix64 of the keys, as numbers in [0, 1)."""
    state = np.full(keys[0].shape, np.uint64(seed & (2**64 - 1)))
    with np.errstate(over="ignore"):
        for key in keys:
            state = state + key.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)).astype(np.float64) / 2.0**53


def ranks_of(users, order_by):
    """Rank of each record among its user's, and the user's number of records."""
    ranks, totals = np.zeros(len(users), int), np.zeros(len(users), int)
    for user in np.unique(users):
        mine = np.flatnonzero(users == user)
        ranks[mine[np.lexsort(tuple(values[mine] for values in reversed(order_by)))]] = np.arange(len(mine))
        totals[mine] = len(mine)
    return ranks, totals


def codes_of(ranks, n_test, n_valid):
    return np.where(
        ranks < n_test, splits.TEST, np.where(ranks < n_test + n_valid, splits.VALID, splits.TRAIN)
    )


def random_twin(users, items, valid, test, seed):
    ranks, totals = ranks_of(users, [uniform(seed, users, items)])
    shares = [
        np.where((totals >= 3) & (share > 0), np.maximum((totals * share).astype(int), 1), 0)
        for share in (test, valid)
    ]
    return codes_of(ranks, *shares)


def strong_twin(users, items, heldout, foldin, seed):
    draw = uniform(seed, users)
    ranks, totals = ranks_of(users, [uniform(seed + 1, users, items)])
    hidden = ranks >= np.clip((totals * foldin).astype(int), 1, np.maximum(totals - 1, 1))
    codes = np.full(len(users), splits.TRAIN)
    held = (draw < 2 * heldout) & (totals >= 2)
    codes[held] = splits.FOLDIN
    codes[held & hidden & (draw < heldout)] = splits.TEST
    codes[held & hidden & (draw >= heldout)] = splits.VALID
    return codes


def last_twin(users, items, times):
    ranks, totals = ranks_of(users, [times, items])
    held = totals >= 3
    last = totals - 1 - ranks
    return codes_of(last, held.astype(int), held.astype(int))


pairs = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 40)), min_size=1, max_size=150, unique=True
).map(np.array)


@settings(max_examples=60, deadline=None)
@given(pairs, st.integers(-5, 2**63), st.sampled_from([(0.1, 0.1), (0, 0.3), (0.5, 0), (0.9, 0.9)]))
def test_hashed_splits_are_those_of_a_full_sort(log, seed, shares):
    users, items = log.T
    valid, test = shares
    got = splits.random_split(users, items, valid=valid, test=test, seed=seed)
    np.testing.assert_array_equal(got, random_twin(users, items, valid, test, seed))
    got = splits.strong_split(users, items, heldout=0.3, foldin=0.6, seed=seed)
    np.testing.assert_array_equal(got, strong_twin(users, items, 0.3, 0.6, seed))


@settings(max_examples=60, deadline=None)
@given(pairs, st.sampled_from([3, 100, 2**62]), st.integers(0, 99), st.booleans())
def test_the_last_interactions_are_held_out_and_equal_times_are_ordered_by_item(log, span, seed, floats):
    users, items = log.T
    times = np.random.default_rng(seed).integers(-span, span, len(users))
    times = times.astype(float) if floats else times
    np.testing.assert_array_equal(splits.leave_last_out(users, items, times), last_twin(users, items, times))


def test_times_of_adjacent_nanoseconds_are_told_apart():
    times = np.array([1, 3, 2]) + 2**62
    codes = splits.leave_last_out(np.zeros(3, int), np.arange(3), times)
    assert codes.tolist() == [splits.TRAIN, splits.TEST, splits.VALID]


@pytest.mark.parametrize("bits", [0, 1, 3])
def test_equal_leading_bits_are_ranked_exactly(monkeypatch, bits):
    """With so few bits that nearly every user has ties, the split is the same."""
    rng = np.random.default_rng(0)
    users, items = np.divmod(np.unique(rng.integers(0, 50 * 500, 4000)), 500)
    want = splits.random_split(users, items, valid=0.2, test=0.1, seed=4)
    monkeypatch.setattr(splits, "_leading_bits", lambda runs, count: bits)
    np.testing.assert_array_equal(splits.random_split(users, items, valid=0.2, test=0.1, seed=4), want)


def test_splits_of_no_records_are_empty():
    empty = np.empty(0, np.int64)
    assert len(splits.random_split(empty, empty, valid=0.1, test=0.1, seed=0)) == 0
    assert len(splits.strong_split(empty, empty, heldout=0.1, foldin=0.5, seed=0)) == 0
    assert len(splits.leave_last_out(empty, empty, empty)) == 0


def test_ratios_that_leave_nothing_to_train_on_are_refused():
    halves = {"valid_ratio": 0.5, "test_ratio": 0.5}
    with pytest.raises(
        ConfigError, match=r"valid_ratio \(0\.5\) and test_ratio \(0\.5\) hold out everything"
    ):
        make_config({"workspace": "w", "data": {"options": halves}})
    assert IngestConfig(**halves, split="none").test_ratio == 0.5


@pytest.mark.parametrize(("valid", "test"), [(1 / 3, 1 / 3), (0.6, 0.06), (0.01, 0.65)])
def test_shares_of_two_thirds_together_leave_every_user_something_to_train_on(valid, test):
    users = np.repeat(np.arange(30), np.arange(1, 31))
    codes = splits.random_split(users, np.arange(len(users)), valid=valid, test=test, seed=3)
    assert set(users[codes == splits.TRAIN]) == set(range(30))
