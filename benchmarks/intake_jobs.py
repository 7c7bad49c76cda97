"""Jobs of the intake benchmark, each in a process of its own: ``python intake_jobs.py JOB '{...}'``.

Prints one JSON object: wall and processor seconds (of the process and its children) from the call to the
dataset, and the peak of the resident memory of the whole process. Everything is imported, and has run once on
a thousand rows, before the clocks start.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CATALOG, SMALL = "items.parquet", "small"
WORKER_BYTES = 2**30


def ours(folder: Path, log: str, form: str = "files", partitions: int = 1) -> int:
    """Ingest a table with a random split into a fresh workspace, and return the number of its users."""
    from l3ae_dist.config.data import IngestConfig
    from l3ae_dist.data.dataset import Dataset
    from l3ae_dist.data.ingest import ingest
    from l3ae_dist.storage.workspace import Workspace

    source: Any = str(folder / log)
    if form == "dask":
        import dask.dataframe as dd
        import pandas as pd

        source = dd.from_pandas(pd.read_parquet(source), npartitions=partitions)
    with tempfile.TemporaryDirectory(prefix="workspace-", dir=folder) as target:
        workspace = Workspace.create(f"{target}/w")
        options = IngestConfig(split="random")
        found = Dataset(workspace, ingest(source, str(folder / CATALOG), options, workspace))
        return found.n_users


def pandas_scipy(folder: Path, log: str) -> int:
    """Read with pandas, factorize the ids, and make CSR and CSC with SciPy: no split, nothing stored."""
    import pandas as pd
    from scipy import sparse

    path = str(folder / log)
    table = pd.read_csv(path) if path.endswith(".csv") else pd.read_parquet(path)
    catalog = pd.Index(pd.read_parquet(folder / CATALOG)["item_id"])
    user, users = pd.factorize(table["user_id"], sort=True)
    item = catalog.get_indexer(table["item_id"])
    ones = np.ones(len(table), np.float32)
    rows = sparse.coo_matrix((ones, (user, item)), shape=(len(users), len(catalog))).tocsr()
    rows.sum_duplicates()
    rows.data[:] = 1
    return int(rows.tocsc().shape[0])


def duckdb(folder: Path, log: str) -> int:
    """Join the ids, merge duplicates and sort by user and item in DuckDB, to arrays in memory."""
    import duckdb as engine

    path = str(folder / log)
    with engine.connect() as session:
        session.execute("SET threads = 1")
        session.execute("SET memory_limit = '1GB'")
        read = "read_csv" if path.endswith(".csv") else "read_parquet"
        session.execute(f"CREATE VIEW log AS SELECT * FROM {read}('{path}')")
        session.execute(
            "CREATE TABLE users AS SELECT user_id, row_number() OVER () - 1 AS u FROM "
            "(SELECT DISTINCT user_id FROM log ORDER BY user_id)"
        )
        session.execute(
            "CREATE TABLE items AS SELECT item_id, row_number() OVER () - 1 AS i "
            f"FROM read_parquet('{folder / CATALOG}')"
        )
        found = session.execute(
            "SELECT DISTINCT u, i FROM log JOIN users USING (user_id) JOIN items USING (item_id) "
            "ORDER BY u, i"
        ).fetchnumpy()
    return int(found["u"][-1]) + 1


def polars(folder: Path, log: str) -> int:
    """Join the ids, merge duplicates and sort by user and item in Polars, to a frame in memory."""
    import polars as pl

    path = str(folder / log)
    table = pl.scan_csv(path) if path.endswith(".csv") else pl.scan_parquet(path)
    users = table.select("user_id").unique().sort("user_id").with_row_index("u")
    items = pl.scan_parquet(folder / CATALOG).select("item_id").with_row_index("i")
    found = (
        table.join(users, on="user_id").join(items, on="item_id").select("u", "i").unique().sort("u", "i")
    ).collect()
    return int(found["u"][-1]) + 1


JOBS: dict[str, Callable[..., int]] = {
    "ours": ours,
    "pandas_scipy": pandas_scipy,
    "duckdb": duckdb,
    "polars": polars,
}


def cluster_run(folder: Path, log: str, target: str, compute: dict[str, Any]) -> dict[str, Any]:
    """Run ``until="ingest"`` on a back end, and time the stage, without imports and cluster start."""
    from l3ae_dist.config.load import make_config
    from l3ae_dist.pipeline.run import run

    ours(folder, f"{SMALL}.parquet")  # imports what this process needs
    config = make_config(
        {
            "workspace": target,
            "data": {
                "interactions": str(folder / log),
                "items": str(folder / CATALOG),
                "options": {"split": "random"},
            },
            "model": {"name": "ease", "reg_x": 100.0},
            "compute": {"memory_budget": WORKER_BYTES, "dashboard": False, **compute},
        }
    )
    found = run(config, until="ingest")
    return {
        "seconds": found["stage_seconds"]["ingest"],
        "dataset": found["dataset"]["id"],
        "interactions": sum(found["dataset"]["nnz"].values()),
        "peaks": found["peak_memory_bytes"],
    }


def peak_resident() -> int:
    """Return the most bytes that were resident in this process since it began."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def measured(job: Callable[..., int], folder: Path, log: str, **options: Any) -> dict[str, Any]:
    """Measure a job on a log, after it has run on a thousand rows of the same form."""
    job(folder, f"{SMALL}{Path(log).suffix or '.parquet'}", **options)
    before, started = os.times(), time.perf_counter()
    users = job(folder, log, **options)
    seconds, after = time.perf_counter() - started, os.times()
    return {
        "users": users,
        "seconds": seconds,
        "cpu": sum(after[:4]) - sum(before[:4]),
        "peak": peak_resident(),
    }


def main() -> None:
    job, options = sys.argv[1], json.loads(sys.argv[2])
    if limit := options.pop("limit", None):  # of all private memory, thread stacks included
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    folder = Path(options.pop("folder"))
    if job == "cluster_run":
        print(json.dumps(cluster_run(folder, **options)))
        return
    print(json.dumps(measured(JOBS[job], folder, **options)))


if __name__ == "__main__":
    main()
