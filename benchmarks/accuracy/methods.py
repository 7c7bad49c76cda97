"""What every method is to the benchmark: settings are drawn, a model is fitted, users get top lists."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import pandas as pd
from scipy import sparse

from accuracy.measure import K
from l3ae_dist.linalg.top_k import top_k

Value = float | int | str
Setting = dict[str, Value]
# Scores that are held at one time.
_SCORES = 1 << 25


class Draw(Protocol):
    """Draws the values of a setting; a trial of optuna is one."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value: ...


@dataclass(frozen=True)
class Data:
    """What a method may know: no test interactions are among it.

    Parameters
    ----------
    train
        (users, items) histories, binary.
    valid
        Interactions for early stopping; empty where a pick is fitted again.
    items
        ``item_id``, ``title`` and ``text`` of every item.
    vectors
        File of the (items, d) text embeddings, None where there are none.
    scratch
        Folder that is removed afterwards.
    """

    train: sparse.csr_matrix
    valid: sparse.csr_matrix
    items: pd.DataFrame
    vectors: Path | None
    scratch: Path


class Fitted(Protocol):
    """A fitted model."""

    notes: Setting
    """Values of the setting that the fit found, such as the epochs after which it stopped."""

    def top_lists(self, users: np.ndarray) -> np.ndarray:
        """List the best 20 items of users of the training matrix, (users, 20) int64, best first, -1 for none.

        What a user has is left out.
        """


class Method(Protocol):
    """A recommender with its settings.

    ``needs`` names the packages that it imports, ``published`` the setting that is tried first, ``shared``
    the parameters that are kept for ``run`` trials, because a change of them is what costs. ``slow`` says
    that it is measured on the small data sets alone, unless it is asked for.
    """

    name: str
    ours: bool
    needs: tuple[str, ...]
    published: Setting
    shared: tuple[str, ...]
    run: int
    slow: bool

    def ready(self) -> None:
        """Import and compile what the first fit would, so that its time is that of the fit."""

    def suggest(self, draw: Draw) -> Setting:
        """Draw a setting; an empty one where there is nothing to tune."""

    def fit(self, data: Data, setting: Setting, seconds: float | None) -> Fitted:
        """Fit a model; one that takes long may stop after so many seconds."""


class Peer:
    """Base class of peers, with what most of them have."""

    name: str
    ours = False
    needs: tuple[str, ...] = ()
    published: ClassVar[Setting] = {}
    shared: tuple[str, ...] = ()
    run = 1
    slow = False

    def ready(self) -> None:
        """Do nothing: there is nothing to import."""


class Scores(Protocol):
    """Scores a block of users, (users, items)."""

    def __call__(self, users: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class ScoredModel:
    """A fitted model that gives dense scores of users, which are cut to top lists here.

    Parameters
    ----------
    train
        (users, items) histories, whose items are left out.
    scores
        Of some users, a new array each time.
    """

    train: sparse.csr_matrix
    scores: Scores
    notes: Setting = field(default_factory=dict)

    def top_lists(self, users: np.ndarray) -> np.ndarray:
        """List the best 20 items of users, block by block."""
        step = max(1, _SCORES // self.train.shape[1])
        blocks = [users[start : start + step] for start in range(0, len(users), step)]
        return np.concatenate([self._block(block) for block in blocks] or [np.empty((0, K), np.int64)])

    def _block(self, users: np.ndarray) -> np.ndarray:
        scores = np.array(self.scores(users), np.float32)
        return top_k(scores, K, seen=self.train[users])[0]
