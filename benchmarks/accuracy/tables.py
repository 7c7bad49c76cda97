"""The result of the benchmark: figures of all methods, their differences, and the rows with targets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from report import row

from accuracy.jobs import Outcome, Task, lists_of
from accuracy.linear import PUBLISHED, Linear, adds_to_published
from accuracy.measure import NDCG, TAIL, Pair, compare, figures, of_users
from accuracy.methods import Method
from accuracy.registry import SMALL
from accuracy.splits import Split

Row = dict[str, Any]
# Data sets that the targets count, the others stand beside them.
COUNTED = ("industrial", "toys", "games", "books")
OF_COUNTED = 3
# Gains of the family over L3AE as published, and the share of a neural method's time that a fit may take.
GAINS = {NDCG: 1.02, TAIL: 1.05}
FIT_SHARE = 0.1
PEERS = ("implicit", "optuna", "sansa", "scikit-sparse")


@dataclass
class Measured:
    """The methods that were measured on a data set, and why others were not.

    Parameters
    ----------
    split
        The data set.
    methods, outcomes, values
        By name of the method: itself, its outcome, and each user's figures on the test split by metric.
    test
        Means by name of the method and metric.
    not_run
        Reasons by name of the method.
    """

    split: Split
    methods: dict[str, Method] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    values: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    test: dict[str, dict[str, float]] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)

    def add(self, method: Method, outcome: Outcome, task: Task) -> None:
        """Measure the top lists of a method on the test split.

        Parameters
        ----------
        method, outcome, task
            The method, its outcome, and where its lists are.
        """
        users, lists = lists_of(task)
        truth = self.split.test[users]
        popularity = np.asarray(self.split.known().sum(axis=0)).ravel()
        self.methods[method.name], self.outcomes[method.name] = method, outcome
        self.test[method.name] = figures(lists, truth, popularity)
        self.values[method.name] = {
            metric: of_users(lists, truth, popularity, metric) for metric in (NDCG, TAIL)
        }

    def of(self, *, ours: bool) -> list[str]:
        """List the methods that are ours, or those that are not."""
        return [name for name, method in self.methods.items() if method.ours == ours]

    def best_of_ours(self) -> str | None:
        """Name our method with the best validation figure."""
        return max(self.of(ours=True), key=lambda name: self.outcomes[name]["valid"], default=None)

    def best_of_family(self) -> str | None:
        """Name the best, on validation, of those that mix interactions and text, L3AE as published apart."""
        found = [
            name
            for name, method in self.methods.items()
            if isinstance(method, Linear) and adds_to_published(method.member) and name != PUBLISHED
        ]
        return max(found, key=lambda name: self.outcomes[name]["valid"], default=None)

    def best_peer(self) -> str | None:
        """Name the peer with the best test figure, which is the hardest to beat."""
        return max(self.of(ours=False), key=lambda name: self.test[name][NDCG], default=None)

    def pair(self, ours: str, peer: str, metric: str) -> Pair:
        """Return two methods that are compared by a metric.

        Parameters
        ----------
        ours, peer, metric
            Names of both, and the metric.
        """
        return Pair(ours, peer, metric, self.values[ours][metric], self.values[peer][metric])

    def pairs(self) -> list[Pair]:
        """List what is compared, all of it corrected together.

        These are our pick against every peer, every other method of ours against the best peer, and the
        family against L3AE as published.
        """
        found: list[Pair] = []
        best, peer, family = self.best_of_ours(), self.best_peer(), self.best_of_family()
        if best is not None:
            found += [self.pair(best, other, NDCG) for other in self.of(ours=False)]
        if peer is not None:
            found += [self.pair(one, peer, NDCG) for one in self.of(ours=True) if one != best]
        if family is not None and PUBLISHED in self.methods:
            found += [self.pair(family, PUBLISHED, metric) for metric in GAINS]
        return found

    def document(self, comparisons: Sequence[Row]) -> Row:
        """Return what the result keeps of a data set."""
        return {
            "split": self.split.summary(),
            "best_of_ours": self.best_of_ours(),
            "best_peer": self.best_peer(),
            "best_of_family": self.best_of_family(),
            "methods": {
                name: {
                    "ours": self.methods[name].ours,
                    "test": self.test[name],
                    **{key: value for key, value in self.outcomes[name].items() if key != "key"},
                    "minutes": self.outcomes[name]["key"]["seconds"] / 60,
                }
                for name in self.methods
            },
            "not_run": self.not_run,
            "comparisons": list(comparisons),
        }


def rows_of(name: str, found: Measured, comparisons: Sequence[Row]) -> list[Row]:
    """Return the rows of one data set.

    Parameters
    ----------
    name, found, comparisons
        The data set, what was measured, and the differences of :func:`accuracy.measure.compare`.
    """
    rows: list[Row] = []
    best, peer, family = found.best_of_ours(), found.best_peer(), found.best_of_family()
    for metric, target in GAINS.items():
        if family is not None and (gain := difference(comparisons, family, PUBLISHED, metric)):
            rows.append(gain_row(name, gain, found, target))
    if best is not None and peer is not None:
        lead = difference(comparisons, best, peer, NDCG)
        assert lead is not None
        title = f"{name}: test {NDCG} of {best}, picked on validation, against the best peer, {peer}"
        rows.append(row(f"{title}, {interval(lead)}", found.test[best][NDCG], "", found.test[peer][NDCG], 1))
    if best is not None:
        rows += [
            row(f"{name}: fit of {best}, against {one}", found.outcomes[best]["fit_seconds"], "s",
                found.outcomes[one]["fit_seconds"], FIT_SHARE, smaller=True)
            for one in found.of(ours=False) if found.methods[one].slow
        ]  # fmt: skip
    return rows


def gain_row(name: str, gain: Row, found: Measured, target: float) -> Row:
    """Return the row of the family's gain, which is met when it is large enough and its interval is above 0.

    Parameters
    ----------
    name, gain, found, target
        The data set, the difference, what was measured, and the ratio wanted.
    """
    ours, metric = gain["ours"], gain["metric"]
    title = f"{name}: test {metric} of {ours}, picked on validation, against {PUBLISHED}, {interval(gain)}"
    line: Row = row(title, found.test[ours][metric], "", found.test[PUBLISHED][metric], target)
    return {**line, "met": bool(line["met"]) and gain["low"] > 0}


def difference(comparisons: Sequence[Row], ours: str, peer: str, metric: str) -> Row | None:
    """Find a difference, None where it was not measured.

    Parameters
    ----------
    comparisons, ours, peer, metric
        All differences, and which one.
    """
    wanted = (ours, peer, metric)
    return next((one for one in comparisons if (one["ours"], one["peer"], one["metric"]) == wanted), None)


def interval(found: Row) -> str:
    """Write the interval of a lift in percent."""
    low, high = (f"{100 * found[key]:+.1f}" for key in ("lift_low", "lift_high"))
    return f"{low} to {high} %"


def total_rows(documents: dict[str, Row], rows: Sequence[Row]) -> list[Row]:
    """Return the rows that count data sets, of those that the targets name.

    Parameters
    ----------
    documents
        By data set, what the result keeps of it.
    rows
        All rows of the data sets.
    """
    counted = [name for name in documents if name in COUNTED]
    if not counted:
        return []
    gains = sum(_all_met(rows, name, f"against {PUBLISHED}") for name in counted)
    ahead = [_peers_behind(documents[name]) for name in counted]
    quick = [line for line in rows if ": fit of " in line["name"]]
    of = f"of {len(counted)} data sets that were measured"
    found: list[Row] = [
        row(f"the family gains at least 2 % NDCG@20 and 5 % tail Recall@20 over {PUBLISHED}, {of}", gains,
            "data sets", target=OF_COUNTED),
        row(f"the best linear member is ahead of every peer in test NDCG@20, {of}",
            sum(one.behind == one.all for one in ahead if one.all), "data sets", target=OF_COUNTED),
        row(f"  with an interval without 0 against every peer, {of}",
            sum(one.surely == one.all for one in ahead if one.all), "data sets"),
    ]  # fmt: skip
    if quick:
        slowest = max(line["ratio"] for line in quick)
        names = " and ".join(SMALL)
        found.append(
            row(f"largest share of a neural method's fit that ours took, {names}", slowest, "",
                target=FIT_SHARE, smaller=True)
        )  # fmt: skip
    return found


def _all_met(rows: Sequence[Row], data: str, what: str) -> bool:
    mine = [line for line in rows if line["name"].startswith(f"{data}: ") and what in line["name"]]
    return len(mine) == len(GAINS) and all(line["met"] for line in mine)


@dataclass(frozen=True)
class Behind:
    """Peers of a data set: all, those behind our pick, and those of them whose interval is without 0."""

    all: int
    behind: int
    surely: int


def _peers_behind(document: Row) -> Behind:
    best, methods = document["best_of_ours"], document["methods"]
    peers = {name for name, one in methods.items() if not one["ours"]}
    mine = [one for one in document["comparisons"] if one["ours"] == best and one["peer"] in peers]
    surely = sum(one["low"] > 0 for one in mine)
    return Behind(len(mine), sum(one["difference"] > 0 for one in mine), surely)


def peer_versions() -> dict[str, str]:
    """Return the versions of the peers' packages that are installed."""
    found = {}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def extrapolated(method: Method, split: Split, timed: dict[str, Measured]) -> str:
    """Say how long a fit would take that is not run, from the largest data set that it was run on.

    Each epoch propagates over all interactions for every batch of them, so that it grows with their square.

    Parameters
    ----------
    method, split, timed
        The method, the data set, and what was measured so far.
    """
    known = [one for one in timed.values() if method.name in one.outcomes]
    if not known:
        return "not run: it is measured on the small data sets alone"
    largest = max(known, key=lambda one: one.split.train.nnz)
    ratio = split.train.nnz / largest.split.train.nnz
    hours = largest.outcomes[method.name]["fit_seconds"] * ratio**2 / 3600
    return f"not run: one fit would take about {hours:.1f} h, extrapolated from {largest.split.name}"


def all_compared(found: Measured) -> list[Row]:
    """Compare everything that was measured on a data set."""
    return compare(found.pairs())
