"""Our models: every member of the package's family, fitted by its estimators as users fit them.

A change of the ridge, or of what else is in the inverse, costs a factorisation; other parameters cost little.
So one inverse is kept for a run of trials, in a workspace of its own that the next one replaces.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import ClassVar, Protocol

import numpy as np
import pandas as pd
from scipy import sparse

import l3ae_dist
from accuracy.measure import K
from accuracy.methods import Data, Draw, Setting, Value
from l3ae_dist.config.embedding import TransformConfig
from l3ae_dist.config.members import MEMBERS, Member
from l3ae_dist.storage.fingerprint import fingerprint

# In this process, as the peers are.
COMPUTE = {"cluster": "synchronous", "dtype": "float32", "memory_budget": "4GiB"}
# Trials on one inverse: so many for each parameter that is not in it, up to a limit.
RUN_EACH, RUN = 4, 12


@dataclass(frozen=True)
class Axis:
    """Numbers that a parameter may take.

    Parameters
    ----------
    low, high
        Bounds.
    log
        Even on a logarithmic scale.
    whole
        Integers alone.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, name: str, draw: Draw) -> Value:
        """Draw a value; to four digits, so that it can be written down."""
        if self.whole:
            return draw.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return float(f"{draw.suggest_float(name, self.low, self.high, log=self.log):.4g}")

    @property
    def middle(self) -> Value:
        """The value in the middle, on its scale."""
        value = (self.low * self.high) ** 0.5 if self.log else (self.low + self.high) / 2
        return round(value) if self.whole else float(f"{value:.3g}")


@dataclass(frozen=True)
class Choice:
    """Words or numbers that a parameter may be; the first is tried first."""

    values: tuple[Value, ...]

    def draw(self, name: str, draw: Draw) -> Value:
        """Draw one of them."""
        return draw.suggest_categorical(name, self.values)

    @property
    def middle(self) -> Value:
        """The first."""
        return self.values[0]


# By parameter, or by member and parameter where the name means something else there.
AXES: dict[str, Axis | Choice] = {
    "reg_x": Axis(5, 3000, log=True),
    "reg_f": Axis(0.05, 200, log=True),
    "reg_e": Axis(5, 3000, log=True),
    "p": Axis(0, 0.8),
    "beta": Axis(0, 0.6),
    "alpha": Axis(0, 0.6),
    "diagonal": Choice(("zero", "at_most", "none")),
    "xi": Axis(0, 0.6),
    "a": Choice((1.0,)),  # only its share of b matters
    "b": Axis(0, 1),
    "additive_ease alpha": Axis(0, 1),
    "l3ae_additive alpha": Axis(0, 1),
    "collective_ease alpha": Axis(0.05, 5, log=True),
    "l3ae_collective alpha": Axis(0.5, 50, log=True),
    "gfcf alpha": Axis(0.01, 3, log=True),
    "rank": Axis(16, 512, log=True, whole=True),
    "whiten": Axis(0, 1),
}
# Parameters whose change costs a factorisation, or as much.
COSTLY = (
    "reg_x", "rank", "p", "beta", "a", "b", "collective_ease alpha", "l3ae_collective alpha",
)  # fmt: skip
# Options of L3AE are off in the first trial.
OFF: Setting = {"whiten": 0.0, "p": 0.0, "beta": 0.0, "alpha": 0.0, "diagonal": "zero"}
WHITENS = "whiten" in TransformConfig.model_fields
PUBLISHED, WHITENED, HEADS = "L3AE as published", "L3AE whitened", "L3AE with all heads"
# Options of L3AE that are tuned together, in the order in which they are drawn.
HEAD_OPTIONS = ("p", "beta", "alpha", "diagonal", "xi")


class Estimator(Protocol):
    """An estimator of the package, as far as it is used here."""

    def fit(self, interactions: pd.DataFrame, items: pd.DataFrame, **where: object) -> "Estimator": ...

    def recommend(self, users: sparse.csr_matrix, n: int) -> pd.DataFrame: ...


@dataclass(frozen=True)
class FittedLinear:
    """A fitted estimator, which is asked for the users of the training matrix by their histories.

    Parameters
    ----------
    train, estimator
        (users, items) histories, and the model.
    """

    train: sparse.csr_matrix
    estimator: Estimator
    notes: ClassVar[Setting] = {}

    def top_lists(self, users: np.ndarray) -> np.ndarray:
        """List the best 20 items of users; a user without a history gets none."""
        lists = np.full((len(users), K), -1, np.int64)
        histories = sparse.csr_matrix(self.train[users])
        known = np.flatnonzero(np.diff(histories.indptr))
        if len(known):
            table = self.estimator.recommend(histories[known], K)
            rows = known[table["user_id"].to_numpy()]
            lists[rows, table["rank"].to_numpy() - 1] = table["item_id"].to_numpy()
        return lists


class Linear:
    """A member of the family.

    Parameters
    ----------
    key
        Name of the member in the configuration.
    name
        Of the method; the title of the member when not given.
    options
        Parameters that are tuned beside those that every model of the member has.
    """

    ours = True
    needs: tuple[str, ...] = ()
    slow = False

    def __init__(self, key: str, name: str | None = None, options: tuple[str, ...] = ()) -> None:
        self.key, self.member = key, MEMBERS[key]
        self.name = name or self.member.title
        self.tuned = (*self.member.params, *options)
        self.shared = tuple(one for one in self.tuned if one in COSTLY or f"{key} {one}" in COSTLY)
        cheap = len(self.tuned) - len(self.shared)
        self.run = max(1, min(RUN_EACH * cheap, RUN)) if self.shared else 1
        self.published: Setting = {
            one: OFF[one] if one in options else self.axis(one).middle
            for one in self.tuned
            if one not in options or one in OFF
        }

    def axis(self, name: str) -> Axis | Choice:
        """Return the values of a parameter.

        Raises
        ------
        KeyError
            For one without any.
        """
        return AXES.get(f"{self.key} {name}") or AXES[name]

    def ready(self) -> None:
        """Fit a model of three items: what is imported at the first fit is not part of later ones."""
        import l3ae_dist.embed.run

        log = pd.DataFrame({"user_id": [0, 0, 1, 1], "item_id": [0, 1, 1, 2]})
        items = pd.DataFrame({"item_id": [0, 1, 2]})
        with TemporaryDirectory() as place:
            model = l3ae_dist.EASE(reg_x=1.0, compute=COMPUTE).fit(log, items, workspace=place)
            model.recommend(sparse.csr_matrix(np.eye(3, dtype=np.float32)[:2]), 1)

    def suggest(self, draw: Draw) -> Setting:
        """Draw a value of each parameter; ``reg_x`` of L3AE is its ridge ``reg_x + reg_e`` here.

        The bound xi of the diagonal is drawn where the diagonal has one.
        """
        found: Setting = {}
        for name in self.tuned:
            if name != "xi" or found.get("diagonal", "at_most") == "at_most":
                found[name] = self.axis(name).draw(name, draw)
        return found

    def fit(self, data: Data, setting: Setting, seconds: float | None) -> FittedLinear:
        """Fit the estimator in a workspace that models with the same inverse share."""
        shared = {name: setting[name] for name in self.shared}
        place = data.scratch / f"inverse-{fingerprint([self.name, shared])}"
        for other in data.scratch.glob("inverse-*"):
            if other != place:
                shutil.rmtree(other)
        links = data.train.tocoo()
        log = pd.DataFrame({"user_id": links.row, "item_id": links.col})
        items = data.items.assign(item_id=np.arange(len(data.items)))
        where: dict[str, object] = {"workspace": place}
        if self.member.features == "embeddings":
            if data.vectors is None:
                raise ValueError(f"{self.name} needs text embeddings of the items")
            where["embeddings"] = str(data.vectors)
        model = self.estimator(setting).fit(log, items, **where)
        return FittedLinear(data.train, model)

    def estimator(self, setting: Setting) -> Estimator:
        """Make the estimator of a setting."""
        values: dict[str, object] = {name: setting[name] for name in self.tuned if name in setting}
        if "reg_e" in values:
            values["reg_x"] = float(f"{float(setting['reg_x']) - float(setting['reg_e']):.6g}")
        if "whiten" in values:
            values["transform"] = {"whiten": values.pop("whiten")}
        kind: Callable[..., Estimator] = getattr(l3ae_dist, self.member.title)
        return kind(**values, compute=COMPUTE)


def linear_methods() -> list[Linear]:
    """List every member of the package; L3AE as published, with whitened text, and with all heads beside."""
    found = [Linear("l3ae", PUBLISHED)]
    if WHITENS:
        found.append(Linear("l3ae", WHITENED, ("whiten",)))
    if heads := tuple(name for name in HEAD_OPTIONS if name in getattr(MEMBERS["l3ae"], "options", ())):
        found.append(Linear("l3ae", HEADS, (*(("whiten",) if WHITENS else ()), *heads)))
    return [
        *found,
        *(Linear(key, options=text_options(one)) for key, one in MEMBERS.items() if key != "l3ae"),
    ]


def text_options(member: Member) -> tuple[str, ...]:
    """Return the options on the text that a member has beside its parameters."""
    return ("whiten",) if WHITENS and member.features == "embeddings" else ()


def adds_to_published(member: Member) -> bool:
    """Tell whether a member is one of L3AE's family: it mixes interactions and text embeddings."""
    return member.features == "embeddings" and "reg_x" in member.params
