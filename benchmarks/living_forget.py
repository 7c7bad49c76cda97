"""Part of the benchmark of a model that lives: users who are forgotten and erased, beside a fit without them.

A hundred users of Amazon Industrial, under ids that nothing else contains. Embeddings are random, and given.
"""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from living_update import fit_tables, tables
from report import row

import l3ae_dist
from l3ae_dist.model.fitted import load_model

Rows = list[dict[str, Any]]
USERS, COLUMNS, MEMORY = 100, 200, "1GiB"
PLANTED = "planted-QXJZWK-"


def fitted(place: Path, log: pd.DataFrame, items: pd.DataFrame) -> float:
    """Fit a log in the folder's workspace, and return the seconds."""
    place.mkdir()
    started = time.perf_counter()
    fit_tables(place, log, items, MEMORY)
    return time.perf_counter() - started


def files_with(folder: Path, mark: bytes) -> int:
    """Count the files of a folder that have some bytes, or a name with them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(mark in path.read_bytes() or mark.decode() in path.name for path in files)


def rows(details: dict[str, Any]) -> Rows:
    """Forget, erase, and fit without them."""
    place = Path(tempfile.mkdtemp(prefix="l3ae-forget-"))
    try:
        log, items = tables("amazon-industrial-2018-partial", "Amazon Industrial")
        chosen = np.random.default_rng(4).choice(log["user_id"].unique(), USERS, replace=False)
        names = {user: f"{PLANTED}{number}" for number, user in enumerate(chosen)}
        log["user_id"] = [names.get(user, str(user)) for user in log["user_id"]]
        gone = log["user_id"].str.startswith(PLANTED)
        fitted(place / "all", log, items)
        where, mark = place / "all" / "workspace", PLANTED.encode()
        before = files_with(where, mark)
        at_once = l3ae_dist.forget(str(where), list(names.values()), compute={"memory_budget": MEMORY})
        started = time.perf_counter()
        erased = l3ae_dist.forget(str(where), erase=True, compute={"memory_budget": MEMORY})
        seconds = time.perf_counter() - started
        after = files_with(where, mark)
        peer = fitted(place / "without", log[~gone], items)
        some = items["item_id"].sample(COLUMNS, random_state=0).tolist()
        ours, theirs = (load_model(one).weights(some) for one in (where, place / "without" / "workspace"))
        difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        certificate = erased["certificate"]
        details["forget"] = {
            "at once": at_once["update"],
            "erased": erased["forget"],
            "certificate": certificate,
        }
        state = erased["forget"]["state"]
        name = f"{USERS} users of Amazon Industrial"
        return [
            row(f"{name}: forgotten at once, to a certified model", at_once["seconds"], "s", peer),
            row(f"  erased (the workspace says {state}), beside a fit without them", seconds, "s", peer),
            row(f"  largest difference of {COLUMNS} columns of B, of the largest, against the tolerance",
                difference, "", certificate["tolerance"], 1, smaller=True),
            row("  files with their ids before", before, "files"),
            row("  files with their ids after", after, "files", target=0, smaller=True),
        ]  # fmt: skip
    finally:
        shutil.rmtree(place)
