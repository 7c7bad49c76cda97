"""Part of the benchmark of a model that lives: exact updates beside the fit that they save.

Amazon Books (38,519 items) within 2 GiB: 500 users change, 250 at a time, against an append of the same log
to a copy of the workspace, which solves the system again. Then fifty updates in a row of Amazon Industrial in
float32. Embeddings are random, and given: making them is not part of either.
"""

import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from books_runs import books_config, data_folder, progress
from report import row

import l3ae_dist
from l3ae_dist.model.fitted import FittedModel, load_model

Rows = list[dict[str, Any]]
USERS, ASKED, LISTED, REPEATS, IN_A_ROW, EACH = 250, 1000, 20, 3, 50, 10
DIM, BUDGET = 384, "2GiB"


def changes(log: pd.DataFrame, users: np.ndarray, seed: int) -> pd.DataFrame:
    """Give each of some users two items that somebody has and they have not."""
    rng, found = np.random.default_rng(seed), []
    have = log[log["user_id"].isin(users)].groupby("user_id")["item_id"].agg(set)
    for user in users:
        new = [item for item in rng.choice(log["item_id"].to_numpy(), 12) if item not in have[user]]
        found += [(user, item) for item in dict.fromkeys(new[:2])]
    return pd.DataFrame(found, columns=["user_id", "item_id"])


def tables(name: str, title: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read log and items of a data set."""
    folder = data_folder(name, title)
    log, items = (pd.read_parquet(folder / f"{one}.parquet") for one in ("interactions", "items"))
    return log[["user_id", "item_id"]].drop_duplicates(), items[["item_id", "title"]]


def vectors(n: int) -> np.ndarray:
    """Make random unit rows."""
    found = np.random.default_rng(0).standard_normal((n, DIM)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def fitted(place: Path, name: str, title: str, memory: str) -> pd.DataFrame:
    """Fit a data set in a workspace, and return its log."""
    log, items = tables(name, title)
    fit_tables(place, log, items, memory)
    return log


def fit_tables(place: Path, log: pd.DataFrame, items: pd.DataFrame, memory: str) -> None:
    """Fit a log in the workspace of a folder, the embeddings random and given."""
    np.save(place / "vectors.npy", vectors(len(items)))
    log.to_parquet(place / "log.parquet")
    items.to_parquet(place / "items.parquet")
    data = {
        "interactions": str(place / "log.parquet"), "items": str(place / "items.parquet"),
        "embeddings": str(place / "vectors.npy"), "options": {"split": "none"},
    }  # fmt: skip
    config = books_config(str(place / "workspace"), data, memory_budget=memory)
    l3ae_dist.run(config, until="fit", on_event=progress)


def recommending(model: FittedModel, users: list[object]) -> float:
    """Return the seconds of lists for many users, the median of some calls after the first."""
    seconds = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        model.recommend(users, LISTED)
        seconds.append(time.perf_counter() - started)
    return median(seconds[1:])


def books(details: dict[str, Any]) -> Rows:
    """Update 500 users of Amazon Books, and append the same log to a copy."""
    place = Path(tempfile.mkdtemp(prefix="l3ae-update-"))
    try:
        log = fitted(place, "amazon-books-2014-1m", "Amazon Books", BUDGET)
        where, copy = str(place / "workspace"), place / "copy"
        shutil.copytree(where, copy)
        users = np.random.default_rng(1).choice(log["user_id"].unique(), 2 * USERS, replace=False)
        parts = [changes(log, some, seed) for seed, some in enumerate(np.split(users, 2))]
        asked = np.random.default_rng(2).choice(log["user_id"].unique(), ASKED, replace=False).tolist()
        before = recommending(load_model(where), asked)
        runs = []
        for number, part in enumerate(parts):
            runs.append(l3ae_dist.update(where, part, compute={"memory_budget": BUDGET}, on_event=progress))
            if not number:
                after = recommending(load_model(where), asked)
        solved = l3ae_dist.append(
            str(copy), pd.concat(parts), compute={"memory_budget": BUDGET}, on_event=progress
        )
        some = log["item_id"].drop_duplicates().sample(50, random_state=0).tolist()
        ours, theirs = (load_model(one).weights(some) for one in (where, str(copy)))
        updated = runs[-1]
        details["books"] = {
            "update": [{key: run[key] for key in ("update", "seconds", "stage_seconds")} for run in runs],
            "append": {key: solved[key] for key in ("append", "seconds", "stage_seconds")},
        }
        certificate = updated["certificate"]
        what = f"update of {2 * USERS} users of Amazon Books (rank {updated['update']['rank']}, {BUDGET})"
        return [
            row(f"{what}, to a certified model, against an append that solves", updated["seconds"], "s",
                solved["seconds"], 1 / 20, smaller=True),
            row("  its residual, against the tolerance", certificate["residual"], "",
                certificate["tolerance"], 1, smaller=True),
            row("  largest difference of 50 columns of B, of the largest entry, against the tolerance",
                float(np.abs(ours - theirs).max() / np.abs(theirs).max()), "", certificate["tolerance"], 1,
                smaller=True),
            row("  errors of the inverse grow at most", updated["update"]["amplification"], "times"),
            row("  peak memory of the worker over its budget",
                updated["peak_memory_bytes"]["worker_max"] / updated["plan"]["memory_budget"], "", target=1,
                smaller=True),
            row(f"lists of {LISTED} for {ASKED} users from a change of rank {runs[0]['update']['rank']}, "
                "against the model before", after, "s", before, 1.3, smaller=True),
        ]  # fmt: skip
    finally:
        shutil.rmtree(place)


def in_a_row(details: dict[str, Any]) -> Rows:
    """Update Amazon Industrial fifty times in float32."""
    place = Path(tempfile.mkdtemp(prefix="l3ae-update-"))
    try:
        log = fitted(place, "amazon-industrial-2018-partial", "Amazon Industrial", "1GiB")
        rng, told, where = np.random.default_rng(3), [], str(place / "workspace")
        for number in range(IN_A_ROW):
            users = rng.choice(log["user_id"].unique(), EACH, replace=False)
            new = changes(log, users, number)
            result = l3ae_dist.update(where, new, compute={"memory_budget": "1GiB"})
            log = pd.concat([log, new])
            told.append({**result["update"], **result["certificate"], "seconds": result["seconds"]})
        shares = [one["residual"] / one["tolerance"] for one in told]
        solved = sum(not one["changed"] for one in told)
        details["in a row"] = told
        name = f"{IN_A_ROW} updates of {EACH} users each in a row, Amazon Industrial, float32"
        return [
            row(f"{name}: largest residual over its tolerance", max(shares), "", target=1, smaller=True),
            row("  of them solved anew by themselves, since too many rows had changed", solved, "updates"),
            row("  largest rank of a change", max(one.get("rank", 0) for one in told), "rows"),
            row("  median of an update", median(one["seconds"] for one in told), "s"),
        ]
    finally:
        shutil.rmtree(place)


def rows(details: dict[str, Any]) -> Rows:
    """Run both."""
    return [*books(details), *in_a_row(details)]
