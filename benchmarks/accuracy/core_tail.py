"""Core and tail against the exact whole: what each core loses in accuracy, and what it costs.

The whole catalog is fitted once and then with each core, in one workspace that embeds the texts once, with
the regularisers of the other benchmarks on books. Lists are compared by Recall@20 and NDCG@20 of the test
part, over all held-out items, over the tail of the metrics (all but the 20 % most popular items) and over the
items outside the core, with paired intervals that hold for all comparisons at once. Writes ``core.json``.

    python benchmarks/accuracy/core_tail.py
    python benchmarks/accuracy/core_tail.py --data toys --ks 2,5 --users 5000
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from report import publish, row

from accuracy import splits
from accuracy.linear import FittedLinear
from accuracy.measure import NDCG, RECALL, K, Pair, checked, compare
from accuracy.splits import SOURCES, Split
from l3ae_dist import load_model
from l3ae_dist.config.load import make_config
from l3ae_dist.metrics import head_items, per_user, restrict
from l3ae_dist.pipeline.run import run

WORK = Path(__file__).resolve().parents[2] / "core-work"
MODEL = {"name": "l3ae", "reg_x": 0.0, "reg_f": 5.0, "reg_e": 200.0}
WHOLE = 0
SEED = 0
Row = dict[str, Any]


@dataclass(frozen=True)
class Fit:
    """A model with one core, :data:`WHOLE` for none.

    Parameters
    ----------
    fewest
        Interactions that an item of the core has at least.
    items
        Items of the core.
    seconds, bytes
        Of the stages of the inverse, and that they moved.
    lists
        (users, 20) top lists.
    """

    fewest: int
    items: int
    seconds: float
    bytes: float
    lists: np.ndarray

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"k = {self.fewest}" if self.fewest else "whole"


def fit(split: Split, fewest: int, users: np.ndarray, where: Path, compute: dict[str, object]) -> Fit:
    """Fit the whole catalog, or with a core, and list the best items of users.

    Parameters
    ----------
    split, users
        The data, and rows of the users that are measured.
    fewest
        Interactions that an item of the core has at least, :data:`WHOLE` for no core.
    where, compute
        The workspace, and how it is computed.
    """
    links = split.train.tocoo()
    log = pd.DataFrame({"user_id": links.row, "item_id": links.col})
    items = split.items.assign(item_id=np.arange(len(split.items)))
    data: dict[str, object] = {"options": {"split": "none"}}
    if fewest:
        data["core"] = {"min_interactions": fewest}
    config = make_config({"workspace": str(where), "data": data, "model": MODEL, "compute": compute})
    vectors = None if split.vectors is None else str(split.vectors)
    result = run(config, interactions=log, items=items, embeddings=vectors, until="fit")
    stages = [result["stages"][name] for name in ("factor", "linv", "invert") if name in result["stages"]]
    model = load_model(where, str(result["model"]["name"]))
    lists = FittedLinear(split.train, model).top_lists(users)
    return Fit(
        fewest,
        model.stored.n_core,
        sum(stage["seconds"] for stage in stages),
        sum(stage["bytes_read"] + stage["bytes_written"] for stage in stages),
        checked(lists, sparse.csr_matrix(split.train[users])),
    )


def groups(popularity: np.ndarray, fewest: int) -> dict[str, np.ndarray]:
    """Return the items of each group that is measured by its name."""
    every = np.arange(len(popularity))
    return {
        "all": every,
        "tail": np.setdiff1d(every, head_items(popularity)),
        "outside the core": np.flatnonzero(popularity < fewest),
    }


def pairs(split: Split, users: np.ndarray, fits: list[Fit]) -> list[tuple[str, Pair]]:
    """Pair every core with the whole, by each metric and group that has held-out items.

    Parameters
    ----------
    split, users
        The data, and the rows of the users.
    fits
        The whole first.
    """
    popularity = np.asarray(split.train.sum(axis=0)).ravel().astype(np.int64)
    whole, *cores = fits
    found = []
    for core in cores:
        for group, items in groups(popularity, core.fewest).items():
            truth = restrict(sparse.csr_matrix(split.test[users]), items)
            if not truth.nnz:
                continue
            for metric in (RECALL, NDCG):
                ours, theirs = (per_user(one.lists, truth, metric) for one in (core, whole))
                found.append((group, Pair(core.name, whole.name, metric, ours, theirs)))
    return found


def rows_of(split: Split, users: np.ndarray, fits: list[Fit]) -> tuple[list[Row], list[Row]]:
    """Return the rows of the result, and the comparisons with their intervals.

    Parameters
    ----------
    split, users, fits
        As :func:`pairs` takes them.
    """
    paired = pairs(split, users, fits)
    compared = compare([pair for _, pair in paired])
    rows = [
        row(
            f"{split.name}, {pair.ours}: {pair.metric} of {group}",
            float(np.nanmean(pair.first)),
            "",
            float(np.nanmean(pair.second)),
        )
        for group, pair in paired
    ]
    whole = fits[0]
    for core in fits[1:]:
        share = f"{core.items:,} of {whole.items:,} items"
        rows.append(row(f"{split.name}, {core.name}: inverse of {share}", core.seconds, "s", whole.seconds))
        rows.append(row(f"{split.name}, {core.name}: bytes moved for it", core.bytes, "B", whole.bytes))
    groups_of = [{"group": group, **one} for (group, _), one in zip(paired, compared, strict=True)]
    return rows, groups_of


def arguments(given: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="books", choices=list(SOURCES), help="data set")
    parser.add_argument("--ks", default="2,5,10", help="cores: interactions that an item has at least")
    parser.add_argument("--users", type=int, help="measure a sample of so many users")
    parser.add_argument("--folder", default=str(WORK), help=f"of the workspace ({WORK.name})")
    parser.add_argument("--memory", default="4GiB", help="memory budget of a worker")
    parser.add_argument("--dtype", default="float32", help="of the tiles")
    found = parser.parse_args(given)
    try:
        found.ks = sorted({int(word) for word in found.ks.split(",")})
    except ValueError:
        parser.error(f"--ks is {found.ks!r} but must be whole numbers, such as 2,5,10")
    if found.ks[0] < 1:
        parser.error("--ks must be at least 1")
    return found


def measured_users(split: Split, sample: int | None) -> np.ndarray:
    """Return the rows of users with held-out items and a history, all or a seeded sample; ascending."""
    counts = [np.diff(sparse.csr_matrix(part).indptr) for part in (split.test, split.train)]
    users = np.flatnonzero((counts[0] > 0) & (counts[1] > 0))
    if sample is None or sample >= len(users):
        return users
    return np.sort(np.random.default_rng(SEED).choice(users, sample, replace=False))


def main(given: list[str] | None = None) -> None:
    options = arguments(given)
    split = splits.load(options.data)
    users = measured_users(split, options.users)
    print(f"{options.data}: {split.summary()}, {len(users):,} users are measured at {K}", flush=True)
    compute = {"cluster": "synchronous", "dtype": options.dtype, "memory_budget": options.memory}
    fits = []
    for fewest in (WHOLE, *options.ks):
        fits.append(fit(split, fewest, users, Path(options.folder) / options.data, compute))
        print(f"  {fits[-1].name}: {fits[-1].items:,} items, {fits[-1].seconds:.1f} s", flush=True)
    rows, comparisons = rows_of(split, users, fits)
    publish("core", rows, split=split.summary(), users=len(users), model=MODEL, comparisons=comparisons)


if __name__ == "__main__":
    main()
