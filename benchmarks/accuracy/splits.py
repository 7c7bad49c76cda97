"""Data sets of the accuracy benchmark, split the same way for every method.

The tables come from the folder that ``L3AE_REFERENCE`` names (or a folder ``shared`` beside the repository),
those of MovieLens from a package. A split is known by its fingerprint: a digest of who has which item where.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from scipy import sparse

from l3ae_dist.data.demo import load_movielens
from l3ae_dist.data.splits import TEST, TRAIN, VALID, random_split

Matrix = sparse.csr_matrix
How = Literal["column", "random", "time"]
PARTS = {"train": TRAIN, "val": VALID, "valid": VALID, "test": TEST}
# Shares of the log, in the order of time, after which validation and test begin.
VALID_FROM, TEST_FROM = 0.8, 0.9
SEED = 0


@dataclass(frozen=True)
class Source:
    """A data set: its folder in the reference data (None for MovieLens), and how it is split.

    Parameters
    ----------
    folder, how
        ``column`` takes the split of the table, ``random`` 8:1:1 of each user, ``time`` two dates for all.
    minutes
        For the tuning of each method.
    inverses
        Inverses that the tuning of one of our models may make, None for any number.
    """

    folder: str | None
    how: How
    minutes: float
    inverses: int | None = None


SOURCES = {
    "industrial": Source("amazon-industrial-2018-partial", "column", 2),
    "toys": Source("amazon-toys-2014", "column", 6),
    "games": Source("amazon-games-2018", "column", 10),
    "games-time": Source("amazon-games-2018", "time", 10),
    "books": Source("amazon-books-2014-1m", "random", 40, inverses=12),
    "movielens": Source(None, "random", 4),
}


@dataclass(frozen=True)
class Split:
    """Interactions of a data set in three parts, binary, users x items in the order of the catalog.

    Parameters
    ----------
    name
        Of the data set.
    train, valid, test
        (users, items) matrices that share no entry.
    items
        ``item_id``, ``title`` and ``text`` of every item.
    vectors
        Folder or file of the text embeddings, where they were made before.
    dates
        First days of validation and test of a split by time.
    """

    name: str
    train: Matrix
    valid: Matrix
    test: Matrix
    items: pd.DataFrame
    vectors: Path | None = None
    dates: tuple[str, str] | None = None

    @property
    def fingerprint(self) -> str:
        """Digest of the three parts."""
        digest = hashlib.sha256(str(self.train.shape).encode())
        for part in (self.train, self.valid, self.test):
            digest.update(part.indptr.astype("<i8").tobytes() + part.indices.astype("<i8").tobytes())
        return digest.hexdigest()[:16]

    def known(self) -> Matrix:
        """Return what a model may know before the test: in a split by time the validation part too."""
        return self.train if self.dates is None else binary(self.train + self.valid)

    def summary(self) -> dict[str, object]:
        """Describe the split for the results."""
        users, items = self.train.shape
        counts = {name: int(getattr(self, name).nnz) for name in ("train", "valid", "test")}
        return {
            "users": users,
            "items": items,
            **counts,
            "fingerprint": self.fingerprint,
            "dates": self.dates,
        }


def reference_root() -> Path:
    """Return the folder of the reference data."""
    return Path(os.environ.get("L3AE_REFERENCE") or Path(__file__).resolve().parents[3] / "shared")


def missing(name: str) -> str | None:
    """Tell what a data set lacks on this machine, None where it is complete."""
    folder = SOURCES[name].folder
    if folder is None:
        return None
    place = reference_root() / "data" / folder
    lacking = [one for one in ("interactions.parquet", "items.parquet") if not (place / one).is_file()]
    if not lacking:
        return None
    return (
        f"no {' and no '.join(lacking)} in {place}; set L3AE_REFERENCE to the folder that holds data/{folder}"
    )


def load(name: str) -> Split:
    """Read a data set and split it.

    Raises
    ------
    SystemExit
        When its tables are not on this machine.
    """
    source = SOURCES[name]
    if lack := missing(name):
        raise SystemExit(f"{name} cannot be measured: {lack}.")
    if source.folder is None:
        log, items = load_movielens()
    else:
        place = reference_root() / "data" / source.folder
        log, items = (pd.read_parquet(place / f"{one}.parquet") for one in ("interactions", "items"))
    vectors = reference_root() / "reference" / f"{source.folder}-minilm.npy"
    split = split_log(name, log, items, source.how)
    return replace(split, vectors=vectors) if vectors.is_file() else split


def split_log(name: str, log: pd.DataFrame, items: pd.DataFrame, how: How) -> Split:
    """Number users and items, and divide a log into three parts.

    Parameters
    ----------
    name
        Of the data set.
    log, items
        Tables with ``user_id``, ``item_id`` and what the split needs; with ``item_id``, ``title``, ``text``.
    how
        As in :class:`Source`.
    """
    columns = pd.Index(items["item_id"]).get_indexer(log["item_id"])
    if (columns < 0).any():
        unknown = log["item_id"][columns < 0].iloc[0]
        raise SystemExit(f"{name} has interactions with item {str(unknown)!r}, which is not in its catalog.")
    rows, names = pd.factorize(log["user_id"], sort=True)
    codes, dates = DIVISIONS[how](log, rows, columns)
    shape = (len(names), len(items))
    train, valid, test = without_repeats(rows, columns, codes, shape)
    catalog = items[["item_id", "title", "text"]].reset_index(drop=True)
    return Split(name, train, valid, test, catalog, dates=dates)


def without_repeats(
    rows: np.ndarray, columns: np.ndarray, codes: np.ndarray, shape: tuple[int, int]
) -> list[Matrix]:
    """Return the parts train, valid and test; an item that a user has in several stays in the first alone.

    Parameters
    ----------
    rows, columns, codes
        User, item and part of each interaction.
    shape
        Users and items.
    """
    place = rows.astype(np.int64) * shape[1] + columns
    parts: list[Matrix] = []
    seen = np.empty(0, np.int64)
    for code in (TRAIN, VALID, TEST):
        mine = np.setdiff1d(place[codes == code], seen)
        seen = np.union1d(seen, mine)
        ones = np.ones(len(mine), np.float32)
        parts.append(sparse.csr_matrix((ones, np.divmod(mine, shape[1])), shape=shape))
    return parts


Dates = tuple[str, str] | None
Division = Callable[[pd.DataFrame, np.ndarray, np.ndarray], tuple[np.ndarray, Dates]]


def by_column(log: pd.DataFrame, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, Dates]:
    """Take the parts that the table names."""
    unknown = sorted(set(log["split"]) - set(PARTS))
    if unknown:
        raise SystemExit(f"the column split has the value {unknown[0]!r}; known are {', '.join(PARTS)}.")
    return log["split"].map(PARTS).to_numpy(), None


def at_random(log: pd.DataFrame, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, Dates]:
    """Hold out a tenth of each user's interactions for validation, and as many for the test."""
    return random_split(rows, columns, valid=0.1, test=0.1, seed=SEED), None


def by_time(log: pd.DataFrame, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, Dates]:
    """Train before a date, validate from it to another, test after that; the same dates for all users."""
    times = log["timestamp"].to_numpy()
    bounds = np.quantile(times, [VALID_FROM, TEST_FROM], method="higher")
    first, second = (str(pd.Timestamp(int(bound), unit="s").date()) for bound in bounds)
    return np.array([TRAIN, VALID, TEST])[np.searchsorted(bounds, times, side="right")], (first, second)


DIVISIONS: dict[How, Division] = {"column": by_column, "random": at_random, "time": by_time}


def binary(matrix: Matrix) -> Matrix:
    """Return a matrix with ones at its stored positions, columns ascending."""
    found = sparse.csr_matrix(matrix)
    found.sort_indices()
    found.data = np.ones_like(found.data)
    return found
