"""The tile engine against its peers, each in the same run: rates, traffic, memory, scaling, the Gram.

``make bench-engine`` runs all parts; ``--only headline,gram`` some of them, keeping the figures of the
others. Peers run in processes of their own (:mod:`engine_peers`). Rates count n^3 flops for factor + invert.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
from engine_runs import BUDGET, GIB, MIB, Details, Rows, peer, rate, summary
from engine_scaling import scaling
from engine_tls import encryption
from engine_traffic import planned_traffic, traffic
from report import publish, results_folder, row
from scaling.scaling_profile import kernel_rate, shares, tile_events
from scipy import sparse
from tile_solve import Solved, dask_solve, tile_solve

from l3ae_dist.config.load import make_config
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import IngestConfig, ingest
from l3ae_dist.data.synthetic import zipf_log
from l3ae_dist.graphs.chunk_tasks import ChunkGraph, ChunkTask
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.gram import GramParams, gram_graph
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime.backends.local import local_cluster
from l3ae_dist.runtime.executors import DaskExecutor
from l3ae_dist.runtime.memory import MemorySampler
from l3ae_dist.runtime.run_graph import run_graph
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

REPEATS = 3


def headline(details: Details, n: int = 16_384) -> Rows:
    ours, theirs, sgemm, runs = [], [], [], []
    for _ in range(REPEATS):
        reference = peer("lapack", n)
        theirs.append(rate(n, reference["seconds"]))
        sgemm.append(reference["sgemm_gflops"])
        runs.append(tile_solve(n, memory_budget=BUDGET))
        ours.append(rate(n, runs[-1].seconds))
        print(
            f"  run: ours {ours[-1]:.1f}, LAPACK {theirs[-1]:.1f}, sgemm {sgemm[-1]:.1f} GFLOP/s", flush=True
        )
    details["headline"] = {
        "runs": [summary(solved) for solved in runs], "ours": ours, "lapack": theirs, "sgemm": sgemm,
    }  # fmt: skip
    worst = max(runs, key=lambda solved: solved.peak["worker_max"])
    return [
        row(f"factor + invert, n = {n}, 512 MiB of tiles, against spotrf + spotri in core",
            median(ours), "GFLOP/s", median(theirs), 0.93),
        row("the same, against sgemm at n = 4096", median(ours), "GFLOP/s", median(sgemm), 0.58),
        row("relative residual on a probe", worst.residual, ""),
        row("peak of the worker, the largest of the runs, over the projection",
            worst.peak["worker_max"] / MIB, "MiB", worst.plan.peak_bytes / MIB, 1, smaller=True),
        *planned_traffic(runs),
        *where_time_goes(sorted(runs, key=lambda solved: solved.seconds)[len(runs) // 2]),
    ]  # fmt: skip


def where_time_goes(solved: Solved) -> Rows:
    """Profile the stages of a run: the share of the worker's time in kernels, and their rate."""
    found = []
    for stage in ("factor", "linv", "invert"):
        tiles = tile_events(solved.events, stage)
        found += [
            row(f"profile of the middle run: {stage}, rate of its kernels", kernel_rate(tiles), "GFLOP/s"),
            row("  share of the worker's time that they compute", shares(tiles)["computing"], ""),
        ]
    return found


def dask_array(details: Details) -> Rows:
    """Measure both on one cluster with fresh workers, the peer at the better of its chunk sizes."""
    n, chunks = 8192, (1024, 2048)
    with local_cluster(workers=1, threads=2, memory_budget=20 * GIB, dashboard=False) as session:
        ours = tile_solve(n, memory_budget=512 * MIB, session=session)
        theirs = []
        for chunk in chunks:
            session.client.restart()
            session.refresh_pids()
            theirs.append(dask_solve(n, chunk, session))
    above = ours.peak["workers_sum"] - ours.idle["workers_sum"]
    details["dask_array"] = {"ours": summary(ours), "dask": theirs, "idle": ours.idle}
    fastest = min(theirs, key=lambda found: found["seconds"])
    smallest = min(theirs, key=lambda found: found["peak_above_idle"])
    return [
        row(f"factor + invert, n = {n}, against dask.array.linalg in chunks of {fastest['chunk']}",
            rate(n, ours.seconds), "GFLOP/s", rate(n, fastest["seconds"]), 2),
        row(f"peak memory above the idle cluster, against dask.array.linalg in chunks of {smallest['chunk']}",
            above / MIB, "MiB", smallest["peak_above_idle"] / MIB, 1 / 3, smaller=True),
    ]  # fmt: skip


def toys_folder() -> Path | None:
    root = os.environ.get("L3AE_REFERENCE") or Path(__file__).resolve().parents[2] / "shared"
    return Path(root) if (Path(root) / "data" / "amazon-toys-2014").exists() else None


def whole_fit(details: Details) -> Rows:
    root = toys_folder()
    if root is None:
        print("  the Amazon Toys data is not here (set L3AE_REFERENCE): the whole fit is left out")
        return []
    folder = root / "data" / "amazon-toys-2014"
    parameters = {"reg_x": 0.0, "reg_f": 5.0, "reg_e": 200.0}
    workspace = tempfile.mkdtemp(prefix="l3ae-toys-")
    config = make_config(
        {
            "workspace": workspace,
            "data": {
                "interactions": str(folder / "interactions.parquet"),
                "items": str(folder / "items.parquet"),
                "embeddings": str(root / "reference" / "amazon-toys-2014-minilm.npy"),
                "options": {"split_column": "split"},
            },
            "model": {"name": "l3ae", **parameters},
            "compute": {"memory_budget": "768MiB", "dtype": "float32"},
        }
    )
    try:
        result = run(config, until="fit")
        dataset = Dataset(Workspace.open(workspace), result["dataset"]["id"])
        sparse.save_npz(f"{workspace}/x.npz", dataset.user_rows("train", 0, dataset.n_users))
        shutil.copy(root / "reference" / "amazon-toys-2014-minilm.npy", f"{workspace}/f.npy")
        theirs = peer("published", workspace, *parameters.values())
    finally:
        shutil.rmtree(workspace)
    seconds = result["stage_seconds"]
    took = seconds["condition estimate"] + seconds["fit"]
    peak = result["peak_memory_bytes"]
    details["whole_fit"] = {
        "stage_seconds": seconds, "stages": result["stages"], "published": theirs, "peak": peak,
        "certificate": result["certificate"],
    }  # fmt: skip
    n = result["dataset"]["n_items"]
    return [
        row(f"whole L3AE fit, Amazon Toys (n = {n}, d = 384), against the formulas as published in float64",
            took, "s", theirs["seconds"], 8, faster=True),
        row("start of the cluster beside it", seconds["cluster start"], "s"),
        row("peak memory of the worker, against the published formulas", peak["workers_sum"] / GIB, "GiB",
            theirs["peak_bytes"] / GIB, 1 / 8, smaller=True),
        row("peak memory of the client beside it", peak["client"] / GIB, "GiB"),
    ]  # fmt: skip


def gram(details: Details) -> Rows:
    users, per_user, n = 1_000_000, 50, 20_000
    folder = tempfile.mkdtemp(prefix="l3ae-gram-")
    try:
        dataset = ingested(f"{folder}/w", users, per_user, n)
        x = dataset.user_rows("train", 0, dataset.n_users)
        sparse.save_npz(f"{folder}/x.npz", x, compressed=False)
        theirs = peer("sparse_gram", f"{folder}/x.npz")
        ours = gram_stage(dataset, tile=2048)
        exact = sampled_difference(dataset.workspace, x, n)
        del x
        large = panels(f"{folder}/large", users, per_user, 100_000)
    finally:
        shutil.rmtree(folder)
    details["gram"] = {"ours": ours, "scipy": theirs, "panels": large, "sampled_difference": exact}
    return [
        row(f"Gram, {users:,} users x {per_user}, n = {n}, against SciPy X.T @ X in core",
            ours["seconds"], "s", theirs["seconds"], 1, faster=True),
        row("its peak memory", ours["peak"] / GIB, "GiB", target=1, smaller=True),
        row("largest difference from SciPy on samples", max(exact, large["difference"]), "", target=0,
            smaller=True),
        row("n = 100,000: three panels computed, all extrapolated", large["extrapolated"], "s"),
    ]  # fmt: skip


def ingested(url: str, users: int, per_user: int, n: int) -> Dataset:
    import pandas as pd

    workspace = Workspace.create(url)
    items = pd.DataFrame({"item_id": np.arange(n)})
    started = time.perf_counter()
    options = IngestConfig(split="none")
    dataset = Dataset(workspace, ingest(zipf_log(users, per_user, n), items, options, workspace))
    print(
        f"  ingested {dataset.nnz('train'):,} interactions in {time.perf_counter() - started:.1f} s",
        flush=True,
    )
    return dataset


class SomeRows:
    """The Gram stage of some rows of tiles alone."""

    def __init__(self, graph: ChunkGraph, rows: tuple[int, ...]) -> None:
        self.stage, self.grid, self.task_for = graph.stage, graph.grid, graph.task_for
        self._graph, self._rows = graph, rows

    def __len__(self) -> int:
        return sum(i + 1 for i in self._rows)

    def tasks(self) -> Iterator[ChunkTask]:
        return (task for task in self._graph.tasks() if task.target.i in self._rows)


def gram_stage(dataset: Dataset, tile: int, rows: tuple[int, ...] | None = None) -> Details:
    grid = TileGrid(dataset.n_items, tile)
    ChunkArray.create(dataset.workspace, "gram", shape=(grid.n, grid.n), chunks=(tile, tile), dtype="float32")
    context = StageContext(
        url=dataset.workspace.url, paths={"gram": "gram"}, grid=grid, dtype="float32",
        params=GramParams(dataset.id),
    )  # fmt: skip
    graph = gram_graph(grid) if rows is None else SomeRows(gram_graph(grid), rows)
    with (
        local_cluster(workers=1, threads=2, memory_budget=GIB, dashboard=False) as session,
        MemorySampler({"workers": session.pids}) as memory,
    ):
        stats = run_graph(graph, context, DaskExecutor(session.client), targets={"gram"})
        memory.sample()
    return {"seconds": stats.seconds, "tiles": len(graph), "peak": memory.peak.worker_max, "tile": tile}


def sampled_difference(workspace: Workspace, x: sparse.csr_matrix, n: int, tiles: int = 3) -> float:
    """Largest difference between tiles and SciPy's products of the same columns, on random tiles."""
    array = ChunkArray.open(workspace, "gram")
    done = sorted(array.done())
    chosen = np.random.default_rng(0).choice(len(done), tiles, replace=False)
    columns = x.tocsc()
    worst = 0.0
    for i, j in (done[k] for k in chosen):
        left, right = columns[:, array.row_range(i)], columns[:, array.row_range(j)]
        worst = max(worst, float(np.abs((left.T @ right).toarray() - array.read(i, j)).max()))
    return worst


def panels(url: str, users: int, per_user: int, n: int) -> Details:
    """Three rows of tiles of a larger Gram, really computed; the time of all is extrapolated by tiles."""
    dataset = ingested(url, users, per_user, n)
    grid = TileGrid(n, 2048)
    rows = (grid.count // 4, grid.count // 2, grid.count - 1)
    found = gram_stage(dataset, 2048, rows)
    x = dataset.user_rows("train", 0, dataset.n_users)
    difference = sampled_difference(dataset.workspace, x, n)
    whole = found["seconds"] * grid.lower_count / found["tiles"]
    return {
        **found,
        "rows": rows,
        "difference": difference,
        "extrapolated": whole,
        "all_tiles": grid.lower_count,
    }


PARTS: dict[str, Callable[[Details], Rows]] = {
    "headline": headline,
    "traffic": traffic,
    "dask_array": dask_array,
    "scaling": scaling,
    "whole_fit": whole_fit,
    "gram": gram,
    "encryption": encryption,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help=f"comma-separated parts of {', '.join(PARTS)}")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",") if arguments.only else list(PARTS)
    kept = previous_parts() if arguments.only else {}
    for name in chosen:
        started = time.perf_counter()
        print(f"{name} ...", flush=True)
        details: Details = {}
        rows = PARTS[name](details)
        date = datetime.now(UTC).isoformat(timespec="seconds")
        seconds = round(time.perf_counter() - started, 1)
        kept[name] = {"date": date, "seconds": seconds, "rows": rows, **details}
        print(f"  {seconds:.0f} s", flush=True)
    total = sum(part.get("seconds", 0.0) for part in kept.values())
    rows = [line for name in PARTS if name in kept for line in kept[name]["rows"]]
    one_run = set(chosen) == set(PARTS)
    if one_run:
        rows.append(row("the whole benchmark", total / 60, "min", target=32, smaller=True))
    publish("engine", rows, one_run=one_run, seconds=total, parts=kept)


def previous_parts() -> Details:
    """Read what earlier runs measured, by part, each with its date; with ``--only`` the other parts are kept.

    The document's ``one_run`` tells whether all parts were measured by one command.
    """
    path = results_folder() / "engine.json"
    found: Details = json.loads(path.read_text())["parts"] if path.exists() else {}
    return found


if __name__ == "__main__":
    main()
