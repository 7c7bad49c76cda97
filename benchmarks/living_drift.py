"""Part of the benchmark of a model that lives: weeks of Amazon Games, updated, refitted, and left as it was.

EASE is fitted on all that happened before a day. Then each week is recommended for before it is known: by the
model that is updated weekly, by a fit of everything so far, and by the weights of the first day with the
histories of today. The users are those of the week who have a history.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from books_runs import data_folder, progress
from report import row

import l3ae_dist
from l3ae_dist.config.load import make_config
from l3ae_dist.model.fitted import FittedModel, load_model

Rows = list[dict[str, Any]]
FIRST_DAY, WEEKS, LISTED, MEMORY = "2017-09-04", 12, 20, "2GiB"
RIDGE, SECONDS_OF_A_WEEK = 200.0, 7 * 86_400


def log_by_week() -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Return what happened before the first day, and in each of the weeks after it."""
    folder = data_folder("amazon-games-2018", "Amazon Games")
    log = pd.read_parquet(folder / "interactions.parquet")[["user_id", "item_id", "timestamp"]]
    log = log.sort_values("timestamp", kind="stable").drop_duplicates(["user_id", "item_id"])
    week = (log["timestamp"] - pd.Timestamp(FIRST_DAY, tz="UTC").timestamp()) // SECONDS_OF_A_WEEK
    pairs = log[["user_id", "item_id"]]
    return pairs[week < 0], [pairs[week == number] for number in range(WEEKS)]


def fitted(where: Path, log: pd.DataFrame, items: pd.DataFrame) -> dict[str, Any]:
    """Fit a log in a workspace of its own."""
    config = make_config({
        "workspace": str(where),
        "data": {"options": {"split": "none"}},
        "model": {"name": "ease", "reg_x": RIDGE},
        "compute": {"dtype": "float32", "memory_budget": MEMORY},
    })  # fmt: skip
    return l3ae_dist.run(config, interactions=log, items=items, until="fit", on_event=progress)


def ndcg(model: FittedModel, known: pd.DataFrame, week: pd.DataFrame) -> float:
    """Recommend from the histories of the users of a week, and compare with what they did."""
    histories = known[known["user_id"].isin(week["user_id"])]
    relevant = week[week["user_id"].isin(histories["user_id"])]
    lists = model.recommend(histories, LISTED)
    return float(l3ae_dist.evaluate_lists(lists, relevant, ks=(LISTED,))[f"ndcg@{LISTED}"])


def rows(details: dict[str, Any]) -> Rows:
    """Live through the weeks."""
    place = Path(tempfile.mkdtemp(prefix="l3ae-drift-"))
    try:
        known, weeks = log_by_week()
        catalog = np.unique(pd.concat([known, *weeks])["item_id"])
        items = pd.DataFrame({"item_id": catalog})
        fitted(place / "updated", known, items)
        stale, told = load_model(place / "updated"), []
        for number, week in enumerate(weeks):
            again = fitted(place / f"refit-{number}", known, items)
            updated, refit = (load_model(place / one) for one in ("updated", f"refit-{number}"))
            figures = {
                name: ndcg(model, known, week)
                for name, model in {"stale": stale, "updated": updated, "refitted": refit}.items()
            }
            shutil.rmtree(place / f"refit-{number}")
            compute = {"memory_budget": MEMORY}
            result = l3ae_dist.update(str(place / "updated"), week, compute=compute, on_event=progress)
            known = pd.concat([known, week])
            told.append({
                **figures, "update": result["update"], "update seconds": result["seconds"],
                "refit seconds": again["seconds"], **result["certificate"],
                "interactions": len(week),
            })  # fmt: skip
        details["weeks"] = told
        return summary(told)
    finally:
        shutil.rmtree(place)


def summary(told: list[dict[str, Any]]) -> Rows:
    """Return the rows of the weeks together."""
    stale, updated, refitted = (
        float(np.mean([one[name] for one in told])) for name in ("stale", "updated", "refitted")
    )
    apart = max(abs(one["updated"] - one["refitted"]) for one in told)
    changed = [one for one in told if one["update"]["changed"]]
    name = f"{len(told)} weeks of Amazon Games: mean NDCG@{LISTED} of the next week"
    spent = sum(one["update seconds"] for one in told)
    return [
        row(f"{name}, updated weekly, against weights of the first day", updated, "", stale),
        row("  updated weekly, against refitted weekly", updated, "", refitted),
        row("  largest difference of the two in a week", apart, ""),
        row("  seconds of all updates, against those of all fits", spent, "s",
            sum(one["refit seconds"] for one in told), 1, smaller=True),
        row("  updates that changed the inverse; the others solved by themselves", len(changed), "updates"),
        row("  largest residual over its tolerance",
            max(one["residual"] / one["tolerance"] for one in told), "", target=1, smaller=True),
    ]  # fmt: skip
