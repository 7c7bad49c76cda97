"""Serving: users per second of the factored model and of its top-k export, beside dense products.

All 50,597 users of amazon-games-2018 (n = 16,874), 20 items each, what they have left out. Each way runs in
a process of its own, whose peak is its own: the factored form and the export through the package, ``X @ B``
+ ``argpartition`` with B dense (float32, 1.1 GB) and X dense (a sample of users) or sparse (all users), and
``implicit``'s item-item recommender on the exported weights where it is installed. And what k costs in
NDCG@20, on amazon-toys-2014.

Needs the reference data (``L3AE_REFERENCE``, or a folder ``shared`` beside the repository). Embeddings are
those of the reference where there are some, else made by the embed stage. Run it by itself, or with
``make bench-model``; ``--folder`` keeps the workspaces and finds them again.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from report import publish, row
from scipy import sparse

GIB = 2**30
N = 20
K = 100
KS = (10, 20, 50, 100, 200, 500)
BATCH = 1024
DENSE_USERS = 8192
BUDGET = 2 * GIB


def reference() -> Path:
    root = Path(os.environ.get("L3AE_REFERENCE") or Path(__file__).resolve().parents[2] / "shared")
    if not (root / "data" / "amazon-games-2018").exists():
        raise SystemExit("the Amazon Games data is not here; set L3AE_REFERENCE to the reference folder.")
    return root


def fit(name: str, folder: Path, params: dict[str, float]) -> str:
    """Fit L3AE in a workspace of ``folder``, or find it there."""
    from l3ae_dist.config.load import make_config
    from l3ae_dist.pipeline.run import run

    source = reference() / "data" / name
    embeddings = reference() / "reference" / f"{name}-minilm.npy"
    values = {
        "workspace": str(folder / name),
        "data": {
            "interactions": str(source / "interactions.parquet"),
            "items": str(source / "items.parquet"),
            "embeddings": str(embeddings) if embeddings.exists() else None,
            "options": {"split_column": "split"},
        },
        "model": params,
        "compute": {"memory_budget": BUDGET, "dtype": "float32"},
    }
    return str(run(make_config(values), until="fit")["workspace"])


def factored(workspace: str, export: str) -> tuple[int, float]:
    from l3ae_dist.model.fitted import load_model

    model = load_model(workspace)
    users = model.dataset.user_ids()
    started = time.perf_counter()
    if hasattr(model, "recommend_batches"):
        lines = sum(len(frame) for frame in model.recommend_batches(n=N))
    else:
        lines = len(model.recommend(users, n=N))
    seconds = time.perf_counter() - started
    assert 0.99 * N * len(users) <= lines <= N * len(users)
    return len(users), seconds


def histories(workspace: str) -> Any:
    from l3ae_dist.model.fitted import load_model

    dataset = load_model(workspace).dataset
    return dataset.user_rows("input", 0, dataset.n_users)


def top_k_export(workspace: str, export: str) -> tuple[int, float]:
    from l3ae_dist.serving import load_export

    rows = sparse.load_npz(f"{export}-histories.npz")
    served = load_export(export)
    started = time.perf_counter()
    items, _ = served.recommend(rows, N)
    seconds = time.perf_counter() - started
    assert items.shape == (rows.shape[0], N)
    return rows.shape[0], seconds


def dense_weights(workspace: str) -> np.ndarray:
    """B as one float32 array: ``P diag(c) + reg_e Q V``, its diagonal zero."""
    from l3ae_dist.model.fitted import load_model

    model = load_model(workspace)
    b = np.array(model.workspace.inverse.as_dask())
    c, q, v = (np.array(model.array(name).as_dask(), np.float32) for name in ("c", "Q", "V"))
    for start in range(0, len(b), BATCH):
        part = slice(start, start + BATCH)
        b[part] *= c[:, 0]
        b[part] += np.float32(model.params["reg_e"]) * (q[part] @ v.T)
    np.fill_diagonal(b, 0)
    return b


def best(scores: np.ndarray, seen: Any) -> np.ndarray:
    at = seen.tocoo()
    scores[at.row, at.col] = -np.inf
    some = np.argpartition(scores, -N, axis=1)[:, -N:]
    order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1)
    return np.take_along_axis(some, order, axis=1)


def dense_product(workspace: str, export: str) -> tuple[int, float]:
    """Score with both operands dense, users in batches; a sample, since all users take minutes."""
    b, rows = dense_weights(workspace), histories(workspace)
    rows = rows[np.sort(np.random.default_rng(0).choice(rows.shape[0], DENSE_USERS, replace=False))]
    started = time.perf_counter()
    for start in range(0, rows.shape[0], BATCH):
        part = rows[start : start + BATCH]
        best(part.toarray() @ b, part)
    return rows.shape[0], time.perf_counter() - started


def sparse_product(workspace: str, export: str) -> tuple[int, float]:
    """X sparse, B dense, users in batches."""
    b, rows = dense_weights(workspace), histories(workspace)
    started = time.perf_counter()
    for start in range(0, rows.shape[0], BATCH):
        part = rows[start : start + BATCH]
        best(part @ b, part)
    return rows.shape[0], time.perf_counter() - started


def implicit_item_item(workspace: str, export: str) -> tuple[int, float]:
    from implicit.nearest_neighbours import ItemItemRecommender
    from implicit._nearest_neighbours import NearestNeighboursScorer  # isort: skip

    from l3ae_dist.serving import load_export

    weights = load_export(export).weights.astype(np.float64)
    recommender = ItemItemRecommender(K=K)
    recommender.similarity, recommender.scorer = weights, NearestNeighboursScorer(weights)
    rows = histories(workspace).astype(np.float64)
    started = time.perf_counter()
    recommender.recommend(np.arange(rows.shape[0]), rows, N=N)
    return rows.shape[0], time.perf_counter() - started


WAYS: dict[str, Callable[[str, str], tuple[int, float]]] = {
    way.__name__: way for way in (factored, top_k_export, dense_product, sparse_product, implicit_item_item)
}


def measure(way: str, workspace: str, export: str, repeats: int = 1) -> tuple[float, float]:
    """Measure users per second (the best of ``repeats`` processes) and the peak of the process in GiB."""
    found = []
    for _ in range(repeats):
        command = [sys.executable, __file__, "--way", way, "--folder", workspace, "--export", export]
        found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    return max(one["users"] / one["seconds"] for one in found), max(one["peak"] for one in found) / GIB


def run_way(way: str, workspace: str, export: str) -> None:
    users, seconds = WAYS[way](workspace, export)
    # not ru_maxrss, which a process inherits from the one that started it
    peak = 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    print(json.dumps({"users": users, "seconds": seconds, "peak": peak}))


def speed_rows(folder: Path) -> list[dict[str, Any]]:
    """Measure users per second on amazon-games-2018."""
    from l3ae_dist.model.fitted import load_model

    workspace = fit("amazon-games-2018", folder, {"reg_x": 0.0, "reg_f": 5.0, "reg_e": 200.0})
    export = str(folder / "games-export")
    model = load_model(workspace)
    started = time.perf_counter()
    model.export_weights(export, K)
    seconds = time.perf_counter() - started
    rows = model.dataset.user_rows("input", 0, model.dataset.n_users)
    sparse.save_npz(f"{export}-histories.npz", rows)
    dense, dense_peak = measure("dense_product", workspace, export)
    peer, peer_peak = measure("sparse_product", workspace, export)
    form, form_peak = measure("factored", workspace, export, 2)
    ours, ours_peak = measure("top_k_export", workspace, export, 2)
    found = [
        row(f"games: exporting {K} weights for each item", seconds, "s"),
        row("games: factored form, peer dense X @ B + argpartition", form, "users/s", dense, 1.0),
        row(f"games: export of k = {K}, peer dense X @ B + argpartition", ours, "users/s", dense, 1.0),
        row("games: factored form, peer sparse X @ dense B + argpartition", form, "users/s", peer),
        row(f"games: export of k = {K}, peer sparse X @ dense B + argpartition", ours, "users/s", peer),
        row("games: peak of serving the factored form, peer dense X @ B", form_peak, "GiB", dense_peak),
        row("games: peak of serving the export, peer sparse X @ dense B", ours_peak, "GiB", peer_peak),
        row("games: peak of serving the factored form over the memory budget", form_peak * GIB / BUDGET, "",
            target=1.0, smaller=True),
        row("games: peak of serving the export over the memory budget", ours_peak * GIB / BUDGET, "",
            target=1.0, smaller=True),
    ]  # fmt: skip
    if importlib.util.find_spec("implicit"):
        other, _ = measure("implicit_item_item", workspace, export)
        name = f"games: export of k = {K}, peer implicit's item-item recommender on the same weights"
        found.append(row(name, ours, "users/s", other))
    else:
        print("implicit is not installed: its item-item recommender is not measured (pip install implicit)")
    return found


def loss_rows(folder: Path) -> list[dict[str, Any]]:
    """Test NDCG@20 against k on amazon-toys-2014, beside that of all weights."""
    from l3ae_dist.metrics import per_user
    from l3ae_dist.model.fitted import load_model
    from l3ae_dist.serving import load_export

    workspace = fit("amazon-toys-2014", folder, {"reg_x": -100.0, "reg_f": 5.0, "reg_e": 200.0})
    model = load_model(workspace)
    dataset = model.dataset
    rows, truth = (dataset.user_rows(split, 0, dataset.n_users) for split in ("input", "test"))
    frame = model.recommend(dataset.user_ids(), N)
    whole = np.full((dataset.n_users, N), -1)
    users = dataset.user_index(frame.user_id.to_numpy())
    whole[users, frame["rank"] - 1] = dataset.find_items(frame.item_id.to_numpy())
    everything = float(np.nanmean(per_user(whole, truth, "ndcg@20")))
    found = []
    for k in KS:
        model.export_weights(folder / "toys-export", k)
        items, _ = load_export(folder / "toys-export").recommend(rows, N)
        value = float(np.nanmean(per_user(items, truth, "ndcg@20")))
        found.append(row(f"toys: test NDCG@20 of k = {k}, peer all weights", value, "", everything))
    return found


def rows(folder: str | None = None) -> list[dict[str, Any]]:
    """Measure all figures; what a given ``folder`` already holds is not fitted again."""
    with tempfile.TemporaryDirectory(prefix="l3ae-serving-") as scratch:
        where = Path(folder or scratch)
        where.mkdir(parents=True, exist_ok=True)
        return [*speed_rows(where), *loss_rows(where)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where workspaces and exports are kept")
    parser.add_argument("--way", choices=WAYS, help="measure one way in this process")
    parser.add_argument("--export", help="the export that it serves")
    arguments = parser.parse_args()
    if arguments.way:
        run_way(arguments.way, arguments.folder, arguments.export)
    else:
        publish("model_serving", rows(arguments.folder))


if __name__ == "__main__":
    main()
