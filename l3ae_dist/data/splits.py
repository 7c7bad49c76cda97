"""Hold-out splits of one block of users: arrays in, split codes out, the same for any partitioning.

Randomness is a hash of (seed, user, item), so a user's split does not depend on which block or
process handles it.
"""

from dataclasses import dataclass

import numpy as np

from l3ae_dist.linalg.arrays import Array, Integers

TRAIN, VALID, TEST, FOLDIN = 0, 1, 2, 3
NAMES = {"train": TRAIN, "val": VALID, "valid": VALID, "validation": VALID, "test": TEST}

# Bits of a draw, as many as a double has.
_BITS = 53
# Numbers that are hashed at a time, so that they stay in the processor's cache.
_CACHED = 1 << 14


def hash_uniform(seed: int, *keys: Array) -> Array:
    """Draw uniform numbers in [0, 1) from integer keys (SplitMix64 finaliser, Steele et al. 2014)."""
    return np.asarray(_draws(_start(seed), *keys).astype(np.float64) / 2.0**_BITS)


def _start(seed: int) -> Array:
    return np.full(1, np.uint64(seed & (2**64 - 1)))


def _draws(state: Array, *keys: Array) -> Array:
    """Draw integers of 53 bits; ``state`` is one number, or one for each key."""
    return _mixed(state, *keys) >> np.uint64(64 - _BITS)


def _mixed(state: Array, *keys: Array) -> Array:
    mixed = np.empty(len(keys[0]), np.uint64)
    for start in range(0, len(mixed), _CACHED):
        rows = slice(start, start + _CACHED)
        part = mixed[rows]
        part[:] = state if len(state) == 1 else state[rows]
        for key in keys:
            _mix(part, key[rows])
    return mixed


def _mix(state: Array, key: Array) -> None:
    """One step of SplitMix64, in place."""
    with np.errstate(over="ignore"):
        state += key.astype(np.uint64)
        state += np.uint64(0x9E3779B97F4A7C15)
        state ^= state >> np.uint64(30)
        state *= np.uint64(0xBF58476D1CE4E5B9)
        state ^= state >> np.uint64(27)
        state *= np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)


@dataclass(frozen=True, slots=True)
class _Runs:
    """Records of the same user one after the other.

    Parameters
    ----------
    users
        (runs,) user of each run.
    starts, counts
        (runs,) first record and number of records of each.
    """

    users: Integers
    starts: Integers
    counts: Integers

    def spread(self, values: Array) -> Array:
        """Give each record the value of its run."""
        return np.repeat(values, self.counts)

    def ranked(self, draws: Array) -> Integers:
        """Return the records of each run in the order of their draws, (n,), equal draws as they stand.

        They are sorted as integers: number of the run, leading bits of the draw, position. Where the leading
        bits are equal, all bits decide.
        """
        count = len(draws)
        bits, places = _leading_bits(len(self.starts), count), _width(count)
        if bits < 1:
            return np.lexsort((draws, self.spread(np.arange(len(self.starts)))))
        ordered = self.spread(np.arange(len(self.starts), dtype=np.uint64) << np.uint64(bits + places))
        ordered |= draws >> np.uint64(_BITS - bits) << np.uint64(places)
        ordered |= np.arange(count, dtype=np.uint64)
        ordered.sort()
        tied = np.flatnonzero((ordered[1:] ^ ordered[:-1]) < np.uint64(1 << places))
        ordered &= np.uint64((1 << places) - 1)
        order = ordered.view(np.int64)
        runs = np.searchsorted(self.starts, tied, side="right") - 1
        for run in np.unique(runs).tolist():
            rows = slice(int(self.starts[run]), int(self.starts[run] + self.counts[run]))
            order[rows] = rows.start + np.argsort(draws[rows], kind="stable")
        return np.asarray(order)

    def first(self, order: Integers, start: Integers, counts: Integers) -> Integers:
        """Return the records of ranks ``start`` to ``start + counts - 1`` of each run.

        Parameters
        ----------
        order
            Result of :meth:`ranked`.
        start, counts
            (runs,) the first rank and the number of records; none beyond the run's last is taken.
        """
        counts = np.minimum(counts, self.counts - start).clip(0)
        before = np.cumsum(counts) - counts
        places = np.repeat(self.starts + start - before, counts)
        places += np.arange(len(places))
        return np.asarray(order[places])


def _leading_bits(runs: int, count: int) -> int:
    """Return how many bits of a draw fit beside the number of a run and a position into 64."""
    return min(_BITS, 64 - _width(runs) - _width(count))


def _width(count: int) -> int:
    return max(1, (count - 1).bit_length())


def _runs(users: Array) -> _Runs:
    starts = np.flatnonzero(np.r_[True, users[1:] != users[:-1]]) if len(users) else np.empty(0, np.int64)
    return _Runs(users[starts], starts, np.diff(np.r_[starts, len(users)]))


def _in_runs(users: Array) -> Integers | None:
    """Return an order in which the records of a user stand together; None when they do so already."""
    return None if (users[1:] >= users[:-1]).all() else np.argsort(users, kind="stable")


def _back(codes: Array, order: Integers) -> Array:
    found = np.empty_like(codes)
    found[order] = codes
    return found


def random_split(users: Array, items: Array, *, valid: float, test: float, seed: int) -> Array:
    """Hold out interactions of each user at random: one of each at least for users with three or more.

    Parameters
    ----------
    users, items
        (n,) rows and columns of the interactions; those of one user need not stand together.
    valid, test
        Shares of a user's interactions; 0 for none. While both together are at most two thirds, every user
        has something to train on.
    seed
        Of the draw.

    Returns
    -------
    (n,) int8 split codes.
    """
    unsorted = _in_runs(users)
    if unsorted is not None:
        split = random_split(users[unsorted], items[unsorted], valid=valid, test=test, seed=seed)
        return _back(split, unsorted)
    runs = _runs(users)
    enough = runs.counts >= 3
    n_test, n_valid = (
        np.where(enough & (share > 0), np.maximum((runs.counts * share).astype(np.int64), 1), 0)
        for share in (test, valid)
    )
    order = runs.ranked(_draws(runs.spread(_mixed(_start(seed), runs.users)), items))
    codes = np.full(len(users), TRAIN, np.int8)
    codes[runs.first(order, n_test, n_valid)] = VALID
    codes[runs.first(order, np.zeros_like(n_test), n_test)] = TEST
    return codes


def leave_last_out(users: Array, items: Array, times: Array) -> Array:
    """Hold out the latest interaction of each user for the test, and the one before for validation.

    Parameters
    ----------
    users, items
        (n,) rows and columns of the interactions.
    times
        (n,) int64 or float64; equal times are ordered by item.

    Returns
    -------
    (n,) int8 split codes; users with fewer than three interactions are trained on.
    """
    same = users[1:] == users[:-1]
    if not ((users[1:] > users[:-1]) | (same & (items[1:] >= items[:-1]))).all():
        order = np.lexsort((items, users))
        return _back(leave_last_out(users[order], items[order], times[order]), order)
    codes = np.full(len(users), TRAIN, np.int8)
    runs = _runs(users)
    if len(users):
        enough = runs.counts >= 3
        latest = _latest(runs, times, codes == TRAIN)
        codes[latest[enough]] = TEST
        left = np.ones(len(users), bool)
        left[latest] = False
        codes[_latest(runs, times, left)[enough]] = VALID
    return codes


def _latest(runs: _Runs, times: Array, left: Array) -> Integers:
    """Find the record of each run that is latest, and last among equals, of those that are ``left``."""
    lowest = times.dtype.type(-np.inf if times.dtype.kind == "f" else np.iinfo(np.int64).min)
    highest = np.maximum.reduceat(np.where(left, times, lowest), runs.starts)
    is_latest = left & (times == runs.spread(highest))
    return np.asarray(np.maximum.reduceat(np.where(is_latest, np.arange(len(times)), -1), runs.starts))


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
    unsorted = _in_runs(users)
    if unsorted is not None:
        rows = users[unsorted], items[unsorted]
        return _back(strong_split(*rows, heldout=heldout, foldin=foldin, seed=seed), unsorted)
    runs = _runs(users)
    draw = hash_uniform(seed, runs.users)
    held = (draw < 2 * heldout) & (runs.counts >= 2)
    order = runs.ranked(_draws(runs.spread(_mixed(_start(seed + 1), runs.users)), items))
    known = np.clip((runs.counts * foldin).astype(np.int64), 1, np.maximum(runs.counts - 1, 1))
    codes = np.full(len(users), TRAIN, np.int8)
    codes[runs.first(order, np.zeros_like(known), np.where(held, known, 0))] = FOLDIN
    for code, among in ((TEST, draw < heldout), (VALID, draw >= heldout)):
        codes[runs.first(order, known, np.where(held & among, runs.counts, 0))] = code
    return codes
