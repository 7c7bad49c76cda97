"""Hold-out splits of one block of users: arrays in, split codes out, the same for any partitioning.

Randomness is a hash of (seed, user, item), so a user's split does not depend on which block or
process handles it.
"""

import numpy as np

from l3ae_dist.linalg.arrays import Array

TRAIN, VALID, TEST, FOLDIN = 0, 1, 2, 3
NAMES = {"train": TRAIN, "val": VALID, "valid": VALID, "validation": VALID, "test": TEST}


def hash_uniform(seed: int, *keys: Array) -> Array:
    """Draw uniform numbers in [0, 1) from integer keys (SplitMix64 finaliser, Steele et al. 2014)."""
    state = np.full(keys[0].shape, np.uint64(seed & (2**64 - 1)))
    with np.errstate(over="ignore"):
        for key in keys:
            state = state + key.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray((state >> np.uint64(11)).astype(np.float64) / 2.0**53)


def rank_within(users: Array, order_by: Array) -> tuple[Array, Array]:
    """Rank each interaction among its user's (0 = smallest ``order_by``), and count the user's."""
    order = np.lexsort((order_by, users))
    ordered = users[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(users) else np.empty(0, int)
    counts = np.diff(np.r_[starts, len(users)])
    ranks = np.empty(len(users), np.int64)
    ranks[order] = np.arange(len(users)) - np.repeat(starts, counts)
    totals = np.empty(len(users), np.int64)
    totals[order] = np.repeat(counts, counts)
    return ranks, totals


def _codes(ranks: Array, n_test: Array, n_valid: Array) -> Array:
    codes = np.full(len(ranks), TRAIN, np.int8)
    codes[ranks < n_test + n_valid] = VALID
    codes[ranks < n_test] = TEST
    return codes


def random_split(users: Array, items: Array, *, valid: float, test: float, seed: int) -> Array:
    """Hold out interactions of each user at random: one of each at least for users with three or more.

    Parameters
    ----------
    users, items
        (n,) rows and columns of the interactions; those of one user need not stand together.
    valid, test
        Shares of a user's interactions; 0 for none.
    seed
        Of the draw.

    Returns
    -------
    (n,) int8 split codes; no user's training items are empty.
    """
    ranks, totals = rank_within(users, hash_uniform(seed, users, items))
    enough = totals >= 3
    n_test = np.where(enough & (test > 0), np.maximum((totals * test).astype(np.int64), 1), 0)
    n_valid = np.where(enough & (valid > 0), np.maximum((totals * valid).astype(np.int64), 1), 0)
    return _codes(ranks, n_test, n_valid)


def leave_last_out(users: Array, items: Array, times: Array) -> Array:
    """Hold out the latest interaction of each user for the test, and the one before for validation.

    Parameters
    ----------
    users, items
        (n,) rows and columns of the interactions.
    times
        (n,) float64; equal times are ordered by item.

    Returns
    -------
    (n,) int8 split codes; users with fewer than three interactions are trained on.
    """
    order = np.lexsort((items, times))
    position = np.empty(len(users), np.int64)
    position[order] = np.arange(len(users))
    ranks, totals = rank_within(users, -position)
    held = (totals >= 3).astype(np.int64)
    return _codes(ranks, held, held)


def strong_split(users: Array, items: Array, *, heldout: float, foldin: float, seed: int) -> Array:
    """Hold out whole users, of whose items a share is known at prediction time (strong generalisation).

    Parameters
    ----------
    users, items
        (n,) rows and columns of the interactions.
    heldout
        Share of the users for the test, and again for validation.
    foldin
        Share of a held-out user's items that are known (code ``FOLDIN``).
    seed
        Of the draws.

    Returns
    -------
    (n,) int8 split codes.
    """
    draw = hash_uniform(seed, users)
    ranks, totals = rank_within(users, hash_uniform(seed + 1, users, items))
    known = np.clip((totals * foldin).astype(np.int64), 1, np.maximum(totals - 1, 1))
    hidden = ranks >= known
    codes = np.full(len(users), TRAIN, np.int8)
    held = (draw < 2 * heldout) & (totals >= 2)
    codes[held] = FOLDIN
    codes[held & hidden & (draw < heldout)] = TEST
    codes[held & hidden & (draw >= heldout)] = VALID
    return codes
