"""The intake against its peers: from files to the stored dataset, on made logs of 5 and 50 million rows.

``make bench-intake`` runs all parts; ``--only speed,memory`` some of them, keeping the figures of the others.
Every measurement has a process of its own (:mod:`intake_jobs`); figures are medians. Processor time is that
of the process and its children from the call to the dataset, imports apart on both sides; memory is the peak
of the resident set of the whole process.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from intake_jobs import CATALOG, SMALL, WORKER_BYTES
from report import publish, results_folder, row

from l3ae_dist.storage import layout

Rows = list[dict[str, Any]]
Details = dict[str, Any]
MIB, GIB = 2**20, 2**30
ITEMS, USERS, ROWS = 50_000, 500_000, 5_000_000
CHUNK = 1_000_000
LIMIT = 2 * GIB
REPEATS = 5
BACK_ENDS: dict[str, Details] = {
    "one thread": {"cluster": "synchronous", "threads": 1},
    "two workers": {"cluster": "local", "workers": 2, "threads": 1},
    "two threads": {"cluster": "synchronous", "threads": 2},
}


# ---- the data, made once, in bounded memory


def log_chunks(rows: int, users: int, seed: int) -> Iterator[pa.Table]:
    """Draw a log: users alike, items by a falling popularity, in no order."""
    for first in range(0, rows, CHUNK):
        rng = np.random.default_rng([seed, first])
        count = min(CHUNK, rows - first)
        item = (rng.random(count) ** 3 * ITEMS).astype(np.int64)
        yield pa.table({"user_id": rng.integers(0, users, count) * 3 + 1, "item_id": item * 7 + 5})


def write_parquet(path: Path, chunks: Iterator[pa.Table]) -> None:
    """Write tables as the row groups of one file."""
    first = next(chunks)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for chunk in chunks:
            writer.write_table(chunk)


def write_csv(path: Path, chunks: Iterator[pa.Table]) -> None:
    """Write tables as one file."""
    first = next(chunks)
    with pa.csv.CSVWriter(path, first.schema) as writer:
        writer.write_table(first)
        for chunk in chunks:
            writer.write_table(chunk)


def text_ids(table: pa.Table, users: int, long: int = 0) -> pa.Table:
    """Return a log whose users are texts; the first of them has ``long`` characters."""
    numbers = table["user_id"].to_numpy() // 3 % users
    names = pa.array([f"customer-{number:08}" for number in range(users)], pa.string())
    if long:
        names = pa.concat_arrays([pa.array(["x" * long]), names[1:]])
    return table.set_column(0, "user_id", names.take(pa.array(numbers)))


def make_data(folder: Path, parts: set[str]) -> None:
    """Write the tables that some parts of the benchmark read."""
    numbers = np.arange(ITEMS) * 7 + 5
    pq.write_table(pa.table({"item_id": numbers, "title": [f"item {n}" for n in numbers]}), folder / CATALOG)
    small = next(log_chunks(1000, 100, 9))
    pq.write_table(small, folder / f"{SMALL}.parquet")
    pa.csv.write_csv(small, folder / f"{SMALL}.csv")
    write_parquet(folder / "log.parquet", log_chunks(ROWS, USERS, 0))
    if "speed" in parts:
        write_csv(folder / "log.csv", log_chunks(ROWS, USERS, 0))
    if parts & {"memory", "cluster"}:
        (folder / "large").mkdir()
        for part in range(10):
            write_parquet(folder / "large" / f"{part}.parquet", log_chunks(ROWS, 10 * USERS, part))
    if "partitions" in parts:
        make_partitions(folder)
    if "long" in parts:
        table = pa.concat_tables(log_chunks(CHUNK, USERS, 7))
        for name, long in (("short", 0), ("long", 5000)):
            pq.write_table(text_ids(table, 100_000, long), folder / f"{name}.parquet")


def make_partitions(folder: Path) -> None:
    """Write two million rows of 200,000 text ids, as one file and as forty."""
    table = pa.concat_tables(text_ids(chunk, 200_000) for chunk in log_chunks(2 * CHUNK, USERS, 8))
    pq.write_table(table, folder / "whole.parquet")
    (folder / "forty").mkdir()
    step = table.num_rows // 40
    for part in range(40):
        pq.write_table(table.slice(part * step, step), folder / "forty" / f"{part:02}.parquet")


# ---- measuring


def job(name: str, folder: Path, **options: Any) -> Details:
    """Run a job of :mod:`intake_jobs` in a fresh process."""
    threads = {"POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("intake_jobs.py")), name]
    command.append(json.dumps({"folder": str(folder), **options}))
    done = subprocess.run(command, env={**os.environ, **threads}, stdout=subprocess.PIPE, check=True)
    found: Details = json.loads(done.stdout)
    shown = {key: f"{value:.2f}" for key, value in found.items() if key in ("seconds", "cpu")}
    print(f"  {name} {options.get('log', '')} {shown} {found.get('peak', 0) / MIB:.0f} MiB", flush=True)
    return found


def medians(runs: list[Details]) -> dict[str, float]:
    """Return the median of every figure of several runs."""
    return {key: median(run[key] for run in runs) for key in ("seconds", "cpu", "peak")}


def repeated(names: dict[str, Details], folder: Path, repeats: int = REPEATS) -> dict[str, dict[str, float]]:
    """Run jobs in turn, several times, and return their medians by label; ``job`` names each one's job."""
    runs: dict[str, list[Details]] = {label: [] for label in names}
    for _ in range(repeats):
        for label, options in names.items():
            given = dict(options)
            runs[label].append(job(given.pop("job"), folder, **given))
    return {label: medians(found) for label, found in runs.items()}


# ---- the parts


def speed(folder: Path, details: Details) -> Rows:
    """Compare the processor time of 5 M rows with pandas and SciPy, DuckDB and Polars."""
    parquet, csv = "log.parquet", "log.csv"
    found = repeated(
        {
            "ours": {"job": "ours", "log": parquet},
            "pandas": {"job": "pandas_scipy", "log": parquet},
        },
        folder,
    )
    found |= repeated(
        {
            "duckdb": {"job": "duckdb", "log": parquet},
            "polars": {"job": "polars", "log": parquet},
            "ours csv": {"job": "ours", "log": csv},
            "pandas csv": {"job": "pandas_scipy", "log": csv},
        },
        folder,
        repeats=3,
    )
    details["speed"] = found
    mine = found["ours"]
    rows = f"{ROWS:,} rows"
    return [
        row(f"{rows} of Parquet to the stored dataset with a random split, against pandas + SciPy to CSR and "
            "CSC, no split: processor time", mine["cpu"], "s", found["pandas"]["cpu"], 3, smaller=True),
        row("the same, wall time", mine["seconds"], "s", found["pandas"]["seconds"]),
        row("the same, peak memory of the process", mine["peak"] / MIB, "MiB", found["pandas"]["peak"] / MIB),
        row("the same, against ids joined, duplicates merged, sorted in DuckDB (one thread): processor time",
            mine["cpu"], "s", found["duckdb"]["cpu"]),
        row("the same, against Polars (one thread)", mine["cpu"], "s", found["polars"]["cpu"]),
        row(f"{rows} of CSV to the stored dataset with a random split, against pandas + SciPy",
            found["ours csv"]["cpu"], "s", found["pandas csv"]["cpu"]),
    ]  # fmt: skip


def memory(folder: Path, details: Details) -> Rows:
    """Ingest 50 M rows under a limit of 2 GiB on the private memory of the process."""
    small = repeated({"ours": {"job": "ours", "log": "log.parquet"}}, folder, repeats=3)["ours"]
    large = job("ours", folder, log="large", limit=LIMIT)
    details["memory"] = {"small": small, "large": large, "limit": LIMIT}
    rates = [ROWS / small["seconds"], 10 * ROWS / large["seconds"]]
    return [
        row(f"{10 * ROWS:,} rows, {10 * USERS:,} users, private memory limited to {LIMIT / GIB:g} GiB: peak "
            "of the process", large["peak"] / GIB, "GiB", target=LIMIT / GIB, smaller=True),
        row(f"its rows/s, against those of {ROWS:,} rows", rates[1], "rows/s", rates[0], 1 / 1.5),
        row("its processor time", large["cpu"], "s"),
    ]  # fmt: skip


def cluster(folder: Path, details: Details, repeats: int = 2) -> Rows:
    """Ingest 50 M rows in one process and on two Dask workers, and compare the stored datasets."""
    runs: dict[str, list[Details]] = {name: [] for name in BACK_ENDS}
    digests: dict[str, str] = {}
    for _ in range(repeats):
        for name, compute in BACK_ENDS.items():
            with tempfile.TemporaryDirectory(prefix="workspace-", dir=folder) as target:
                print(f"  {name}", end="")
                runs[name].append(job("cluster_run", folder, log="large", target=target, compute=compute))
                if name not in digests:
                    digests[name] = dataset_digest(Path(target))
    details["cluster"] = {"runs": runs, "digests": digests}
    seconds = {name: median(run["seconds"] for run in found) for name, found in runs.items()}
    peak = max(run["peaks"]["worker_max"] for run in runs["two workers"])
    rows = f"{10 * ROWS:,} rows"
    return [
        row(f"{rows} on two Dask workers of one thread, against one process of one thread",
            seconds["two workers"], "s", seconds["one thread"], 1.5, faster=True),
        row("the same, against one process of two threads",
            seconds["two workers"], "s", seconds["two threads"], 1.3, smaller=True),
        row("different datasets of the three, all chunks compared", float(len(set(digests.values()))), "",
            target=1, smaller=True),
        row("peak memory of a worker, over its budget",
            peak / GIB, "GiB", WORKER_BYTES / GIB, 1, smaller=True),
    ]  # fmt: skip


def dataset_digest(workspace: Path) -> str:
    """Digest the names and bytes of every file of the dataset in a workspace."""
    total = hashlib.sha256()
    folders = [workspace / kind for kind in layout.DATASET_KINDS]
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.is_file():
            total.update(str(path.relative_to(workspace)).encode())
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def partitions(folder: Path, details: Details) -> Rows:
    """Compare forty files, or partitions, of text ids with one."""
    jobs = {
        "one file": {"job": "ours", "log": "whole.parquet"},
        "forty files": {"job": "ours", "log": "forty"},
        "one partition": {"job": "ours", "log": "whole.parquet", "form": "dask", "partitions": 1},
        "forty partitions": {"job": "ours", "log": "whole.parquet", "form": "dask", "partitions": 40},
    }
    found = details["partitions"] = repeated(jobs, folder, repeats=3)
    return [
        row(f"200,000 text ids, {2 * CHUNK:,} rows, in forty {unit}s against one: processor time",
            found[f"forty {unit}s"]["cpu"], "s", found[f"one {unit}"]["cpu"], 1.3, smaller=True)
        for unit in ("file", "partition")
    ]  # fmt: skip


def long(folder: Path, details: Details) -> Rows:
    """Compare the peak memory with and without one user id of 5,000 characters."""
    jobs = {name: {"job": "ours", "log": f"{name}.parquet"} for name in ("short", "long")}
    found = details["long"] = repeated(jobs, folder, repeats=3)
    return [
        row("one user id of 5,000 characters among 100,000: peak memory of the process, against none",
            found["long"]["peak"] / MIB, "MiB", found["short"]["peak"] / MIB, 1.1, smaller=True)
    ]  # fmt: skip


PARTS: dict[str, Callable[[Path, Details], Rows]] = {
    "speed": speed,
    "memory": memory,
    "cluster": cluster,
    "partitions": partitions,
    "long": long,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help=f"comma-separated parts of {', '.join(PARTS)}")
    parser.add_argument("--scratch", help="existing folder for the data and the workspaces, about 6 GB")
    given = parser.parse_args()
    chosen = given.only.split(",") if given.only else list(PARTS)
    path = results_folder() / "intake.json"
    kept: Details = json.loads(path.read_text())["parts"] if given.only and path.exists() else {}
    folder = Path(tempfile.mkdtemp(prefix="l3ae-intake-", dir=given.scratch))
    began = time.perf_counter()
    try:
        make_data(folder, set(chosen))
        print(f"data made in {time.perf_counter() - began:.0f} s", flush=True)
        for name in chosen:
            kept[name] = measure_part(name, folder)
    finally:
        shutil.rmtree(folder)
    rows = [line for name in PARTS if name in kept for line in kept[name]["rows"]]
    if not given.only:
        rows.append(
            row("the whole benchmark", (time.perf_counter() - began) / 60, "min", target=12, smaller=True)
        )
    publish("intake", rows, parts=kept)


def measure_part(name: str, folder: Path) -> Details:
    """Run a part, and return its rows and details with the date and how long it took."""
    print(f"{name} ...", flush=True)
    started, details = time.perf_counter(), {}
    rows = PARTS[name](folder, details)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"date": date, "seconds": round(time.perf_counter() - started, 1), "rows": rows, **details}


if __name__ == "__main__":
    main()
