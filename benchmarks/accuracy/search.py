"""Random search for the settings of a method within a time, by optuna's ask and tell."""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from accuracy.measure import NDCG, checked, of_users, popular_for_strangers
from accuracy.methods import Data, Method, Setting

SEED = 0
# Trials that may be refused before any succeeds.
_REFUSED = 5
# Share of the time that is left in which a fit that can stop by itself does, to be measured in the rest.
_OF_LEFT = 0.9
# Times the whole search that the first trial may take, so that nothing is judged by a setting that was not
# trained to its end.
_FIRST = 10


@dataclass(frozen=True)
class Trial:
    """A setting that was tried.

    Parameters
    ----------
    number, setting
        Number of the trial, and its setting with what the fit found.
    valid
        Validation NDCG@20, None where the fit was refused.
    seconds, until
        Of the trial, and of the search when it was over.
    trouble
        Why the fit was refused.
    """

    number: int
    setting: Setting
    valid: float | None
    seconds: float
    until: float
    trouble: str | None = None


@dataclass
class Notebook:
    """The trials of a search, one line of a file each, so that a search goes on where it was."""

    path: Path
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path.exists():
            lines = self.path.read_text().splitlines()
            self.trials = [Trial(**json.loads(line)) for line in lines if line.endswith("}")]

    def add(self, trial: Trial) -> None:
        """Keep a trial."""
        self.trials.append(trial)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(trial)) + "\n")

    @property
    def best(self) -> Trial | None:
        """The trial with the best validation figure, the first of equals; None before one succeeded."""
        good = [trial for trial in self.trials if trial.valid is not None]
        return max(good, key=lambda trial: float(trial.valid or 0.0), default=None)

    @property
    def spent(self) -> float:
        """Seconds that the search has taken."""
        return self.trials[-1].until if self.trials else 0.0


def drawn(method: Method, number: int, trials: list[Trial]) -> Setting:
    """Draw the setting of a trial: the published one first, and then at random.

    Parameters
    ----------
    method, number
        Of which method, and which trial: the draw depends on nothing else, so that a search that was cut goes
        on as it would have.
    trials
        Earlier ones; the first of a run has the values that the run shares.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(SEED + number))
    fixed: dict[str, object] = dict(method.published) if number == 0 else _shared(method, number, trials)
    if fixed:
        study.enqueue_trial(fixed)
    return method.suggest(study.ask())


def _shared(method: Method, number: int, trials: list[Trial]) -> dict[str, object]:
    """Return the values that a trial shares with the first one of its run."""
    first = number - number % method.run
    if first == number or not method.shared:
        return {}
    return {name: trials[first].setting[name] for name in method.shared}


@dataclass(frozen=True)
class Limits:
    """How long a search may take.

    Parameters
    ----------
    seconds
        Of the whole search; one trial is always finished.
    inverses
        Runs of trials that share what is costly, None for any number.
    """

    seconds: float
    inverses: int | None = None

    def reached(self, method: Method, book: Notebook, spent: float) -> bool:
        """Tell whether no further trial is begun.

        Parameters
        ----------
        method, book
            Whose search, and its trials so far.
        spent
            Seconds of the search so far.
        """
        if book.trials and spent >= self.seconds:
            return True
        if book.best is None and len(book.trials) >= _REFUSED:
            return True
        if not method.published and book.trials:
            return True  # nothing to tune
        runs = len(book.trials) / method.run
        return self.inverses is not None and bool(method.shared) and runs >= self.inverses


def search(
    method: Method, data: Data, book: Notebook, limits: Limits, end: Callable[[], None] = lambda: os._exit(0)
) -> None:
    """Try settings until the time is over; a trial that is not finished then does not count.

    Parameters
    ----------
    method, data
        What is tuned, and on what.
    book, limits
        Where trials are kept, and how long.
    end
        Ends the process from another thread when the time is over in the middle of a trial.
    """
    began = time.perf_counter() - book.spent
    while not limits.reached(method, book, time.perf_counter() - began):
        left = max(0.0, limits.seconds - (time.perf_counter() - began))
        alarm = threading.Timer(left, end)
        alarm.daemon = True
        if book.best is not None:
            alarm.start()
        most = _OF_LEFT * left if book.best is not None else _FIRST * limits.seconds
        trial = tried(method, data, book, most, began)
        alarm.cancel()
        book.add(trial)
        print(
            f"    trial {trial.number}: {trial.valid} after {trial.until:.0f} s, {trial.setting}", flush=True
        )


def tried(method: Method, data: Data, book: Notebook, most: float, began: float) -> Trial:
    """Fit and measure one setting.

    Parameters
    ----------
    method, data, book
        As for :func:`search`.
    most, began
        Seconds after which a fit that can stops by itself, and when the search began.
    """
    number, started = len(book.trials), time.perf_counter()
    setting = drawn(method, number, book.trials)
    value, trouble = None, None
    try:
        model = method.fit(data, setting, most)
        value, setting = validated(model.top_lists, data), {**setting, **model.notes}
    except Exception as error:  # a setting that a method refuses must not end the search of the others
        trouble = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
    now = time.perf_counter()
    return Trial(number, plain(setting), value, round(now - started, 3), round(now - began, 3), trouble)


def validated(top_lists: Callable[[np.ndarray], np.ndarray], data: Data) -> float:
    """Return the mean validation NDCG@20."""
    users = np.flatnonzero(np.diff(data.valid.indptr))
    lists = popular_for_strangers_of(top_lists(users), data, users)
    popularity = np.asarray(data.train.sum(axis=0)).ravel()
    return float(np.mean(of_users(lists, data.valid[users], popularity, NDCG)))


def popular_for_strangers_of(lists: np.ndarray, data: Data, users: np.ndarray) -> np.ndarray:
    """Check the lists of some users, and fill in those of users without a history.

    Parameters
    ----------
    lists, data, users
        (users, 20) lists, what is known, and whose they are.
    """
    seen = data.train[users]
    popularity = np.asarray(data.train.sum(axis=0), np.float64).ravel()
    return popular_for_strangers(checked(lists, seen), seen, popularity)


def plain(setting: Mapping[str, object]) -> Setting:
    """Return a setting with values of Python, which can be written down."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in setting.items()}
