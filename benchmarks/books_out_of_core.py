"""Out of core: 38,519 books (a dense float32 matrix of 5.9 GB) fitted and evaluated within 2 GiB per worker.

Needs the reference data (``L3AE_REFERENCE``, or a folder ``shared`` beside the repository). Run it with
``make bench-books``. The embeddings are MiniLM's, made by the embed stage, unless ``--embeddings`` names
an .npy file.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from report import publish, row

from l3ae_dist.config.load import make_config
from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime.events import Event

GIB = 2**30


def data_folder() -> Path:
    root = os.environ.get("L3AE_REFERENCE") or Path(__file__).resolve().parents[2] / "shared"
    folder = Path(root) / "data" / "amazon-books-2014-1m"
    if not folder.exists():
        raise SystemExit("the Amazon Books data is not here; set L3AE_REFERENCE to the reference folder.")
    return folder


def progress(event: Event) -> None:
    if event["kind"] in ("log", "stage_end"):
        seconds = event.get("seconds")
        print(
            "  ",
            event.get("message") or event["stage"],
            "" if seconds is None else f"{seconds:.1f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embeddings", help="an .npy file instead of embedding the titles")
    parser.add_argument("--workspace", help="keep the workspace here")
    parser.add_argument("--budget", default="2GiB")
    arguments = parser.parse_args()
    folder = data_folder()
    workspace = arguments.workspace or tempfile.mkdtemp(prefix="l3ae-books-")
    config = make_config(
        {
            "workspace": workspace,
            "data": {
                "interactions": str(folder / "interactions.parquet"),
                "items": str(folder / "items.parquet"),
                "embeddings": arguments.embeddings,
                "options": {"timestamp_column": "timestamp"},
            },
            "model": {"reg_x": 0.0, "reg_f": 5.0, "reg_e": 200.0},
            "compute": {"memory_budget": arguments.budget, "dtype": "float32"},
        }
    )
    result = run(config, on_event=progress)
    if arguments.workspace is None:
        shutil.rmtree(workspace)
    n = result["dataset"]["n_items"]
    solve = [result["stages"][name] for name in ("factor", "linv", "invert")]
    seconds = sum(stage["seconds"] for stage in solve)
    peak, budget = result["peak_memory_bytes"], config.compute.memory_budget
    share = peak["worker_max"] / budget
    stages = result["stages"].values()
    read, written = (sum(stage[name] for stage in stages) / GIB for name in ("bytes_read", "bytes_written"))
    rows = [
        row("wall time, embedding included", result["seconds"] / 60, "min", target=40, smaller=True),
        row("factor + invert", n**3 / seconds / 1e9, "GFLOP/s, counted as n^3"),
        row("peak memory of the worker over its budget", share, "", target=1, smaller=True),
        row("peak memory of the worker", peak["worker_max"] / GIB, "GiB"),
        row("projected peak", result["plan"]["projected_peak_bytes"] / GIB, "GiB"),
        row("peak memory of the client", peak["client"] / GIB, "GiB"),
        row("peak memory of Ray (embedding)", peak["ray"] / GIB, "GiB"),
        row("bytes read by the tile stages", read, "GiB"),
        row("bytes written", written, "GiB"),
        row("relative residual", result["certificate"]["residual"], "",
            target=result["certificate"]["tolerance"], smaller=True),
        row("L3AE test ndcg@20", result["models"]["L3AE"]["test"]["ndcg@20"], "",
            peer=result["models"]["EASE"]["test"]["ndcg@20"]),
        row("L3AE test recall@20", result["models"]["L3AE"]["test"]["recall@20"], "",
            peer=result["models"]["EASE"]["test"]["recall@20"]),
    ]  # fmt: skip
    publish(
        "books", rows, plan=result["plan"], stages=result["stages"], stage_seconds=result["stage_seconds"]
    )


if __name__ == "__main__":
    main()
