"""Cold start: 10 % of the items are held out of the fit entirely, then added from their text alone.

Recall@20 over those items, for users who have one: ranked among the cold items, and within the full catalog
with what the user has left out. Peers: the sum of cosines between the text of the
item and of the history, and chance.
Needs the reference data (``L3AE_REFERENCE``, or a folder ``shared`` beside the repository).
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from report import publish, row

from l3ae_dist import L3AE

DATASET = "amazon-toys-2014"
SHARE, SEED, K = 0.1, 0, 20


def reference() -> Path:
    root = Path(os.environ.get("L3AE_REFERENCE") or Path(__file__).resolve().parents[2] / "shared")
    if not (root / "data" / DATASET).exists():
        raise SystemExit(f"{DATASET} is not here; set L3AE_REFERENCE to the reference folder.")
    return root


def rows() -> list[dict[str, Any]]:
    """Fit without the cold items, add them, and compare."""
    root = reference()
    log = pd.read_parquet(root / "data" / DATASET / "interactions.parquet")
    items = pd.read_parquet(root / "data" / DATASET / "items.parquet")
    vectors = np.load(root / "reference" / f"{DATASET}-minilm.npy")
    cold = np.zeros(len(items), bool)
    cold[np.random.default_rng(SEED).choice(len(items), int(SHARE * len(items)), replace=False)] = True
    is_cold = log["item_id"].isin(items["item_id"][cold])
    workspace = tempfile.mkdtemp(prefix="l3ae-cold-")
    try:
        model = L3AE(0.0, 5.0, 200.0, compute={"dtype": "float32"})
        model.fit(
            log[~is_cold & (log["split"] == "train")],
            items[~cold],
            workspace=workspace,
            embeddings=vectors[~cold],
        )
        model.add_items(items[cold], embeddings=vectors[cold])
        return compare(model.model_, log[is_cold], items, vectors, cold)
    finally:
        shutil.rmtree(workspace)


def compare(
    model: Any, truth: pd.DataFrame, items: pd.DataFrame, vectors: np.ndarray, cold: np.ndarray
) -> list[dict[str, Any]]:
    """Recall of every user with a cold item and a history, under the model, text similarity and chance."""
    users = np.intersect1d(truth["user_id"].unique(), model.dataset.user_ids())
    wanted = truth[truth["user_id"].isin(users)].groupby("user_id")["item_id"].agg(set)
    cold_ids = items["item_id"][cold].tolist()
    full = model.recommend(users.tolist(), n=K)
    alone = model.recommend(users.tolist(), n=K, items=cold_ids)
    histories = model.dataset.user_rows("input", 0, model.dataset.n_users)[model.dataset.user_index(users)]
    profile = histories @ vectors[~cold]
    among = np.argsort(-(profile @ vectors[cold].T), axis=1, kind="stable")[:, :K]
    everywhere = profile @ np.vstack([vectors[~cold], vectors[cold]]).T
    everywhere[histories.nonzero()] = -np.inf
    order = np.concatenate([items["item_id"][~cold], items["item_id"][cold]])
    within = order[np.argsort(-everywhere, axis=1, kind="stable")[:, :K]]
    peers = {
        "among": dict(zip(users, np.array(cold_ids)[among].tolist(), strict=True)),
        "within": dict(zip(users, within.tolist(), strict=True)),
    }
    n_cold, n = int(cold.sum()), len(items)
    lists = {name: t.groupby("user_id")["item_id"].agg(list).to_dict() for name, t in
             (("among", alone), ("within", full))}  # fmt: skip
    left = n - np.diff(histories.indptr)
    found = []
    for name, place, chance in (
        ("among", f"ranked among the {n_cold:,} cold items", K / n_cold),
        ("within", f"ranked within all {n:,} items", float(np.mean(K / left))),
    ):
        ours = recall(lists[name], wanted)
        peer = recall(peers[name], wanted)
        found.append(row(f"cold start recall@{K}, {place}, beside text similarity", ours, "", peer=peer))
        found.append(row(f"cold start recall@{K}, {place}, beside chance", ours, "", peer=chance, target=1))
    found.append(row("users with a cold item", len(wanted), "users"))
    return found


def recall(lists: dict[Any, list[Any]], wanted: pd.Series) -> float:
    """Divide hits by wanted items, averaged over users."""
    shares = [len(items & set(lists.get(user, ()))) / len(items) for user, items in wanted.items()]
    return float(np.mean(shares))


if __name__ == "__main__":
    publish("model_cold", rows())
