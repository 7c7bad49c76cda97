"""What the benchmarks on books share: their data, their configuration, and the rows of a run."""

import os
from pathlib import Path
from typing import Any

from report import row

from l3ae_dist.config.load import make_config
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.runtime.events import Event

Rows = list[dict[str, Any]]
GIB = 2**30
TILE_STAGES = ("factor", "linv", "invert")


def data_folder(name: str, title: str, given: str | None = None) -> Path:
    """Return the folder of a data set: the given one, else that of the reference data."""
    root = Path(os.environ.get("L3AE_REFERENCE") or Path(__file__).resolve().parents[2] / "shared")
    folder = Path(given) if given else root / "data" / name
    missing = [one for one in ("interactions.parquet", "items.parquet") if not (folder / one).is_file()]
    if missing:
        raise SystemExit(
            f"the {title} data is not at {folder} (no {' and no '.join(missing)}); set L3AE_REFERENCE to the "
            f"folder that holds data/{name}, or name the folder of its files with --data."
        )
    return folder


def books_config(workspace: str, data: dict[str, object], **compute: object) -> RunConfig:
    """Return the configuration of a run on books, with the regularisers of all these benchmarks."""
    return make_config(
        {
            "workspace": workspace,
            "data": data,
            "model": {"reg_x": 0.0, "reg_f": 5.0, "reg_e": 200.0},
            "compute": {"dtype": "float32", **compute},
        }
    )


def progress(event: Event) -> None:
    """Print what a run says, and the seconds of its stages."""
    if event["kind"] in ("log", "stage_end"):
        seconds = event.get("seconds")
        print(
            "  ",
            event.get("message") or event["stage"],
            "" if seconds is None else f"{seconds:.1f} s",
            flush=True,
        )


def run_rows(result: dict[str, Any], minutes: float | None) -> Rows:
    """Return the rows of a run from its data to its metrics, which is to take so many minutes at most."""
    n, stages = result["dataset"]["n_items"], result["stages"].values()
    seconds = sum(result["stages"][name]["seconds"] for name in TILE_STAGES)
    read, written = (sum(stage[name] for stage in stages) / GIB for name in ("bytes_read", "bytes_written"))
    return [
        row("wall time, embedding included", result["seconds"] / 60, "min", target=minutes, smaller=True),
        row("factor + invert", n**3 / seconds / 1e9, "GFLOP/s, counted as n^3"),
        *memory_rows(result),
        row("bytes read by the tile stages", read, "GiB"),
        row("bytes written", written, "GiB"),
        *model_rows(result),
    ]


def began_anew(result: dict[str, Any]) -> bool:
    """Tell whether a run made all tiles itself, and found none of an earlier one."""
    stages = result["stages"]
    return all(name in stages and not stages[name]["reused"] for name in TILE_STAGES)


def model_rows(result: dict[str, Any]) -> Rows:
    """Return the rows on the certificate and the metrics."""
    certificate = result["certificate"]
    l3ae, ease = (result["models"][name]["test"] for name in ("L3AE", "EASE"))
    return [
        row("relative residual", certificate["residual"], "", target=certificate["tolerance"], smaller=True),
        row("L3AE test ndcg@20", l3ae["ndcg@20"], "", peer=ease["ndcg@20"]),
        row("L3AE test recall@20", l3ae["recall@20"], "", peer=ease["recall@20"]),
    ]


def memory_rows(result: dict[str, Any]) -> Rows:
    """Return the rows on the memory of the worker, the client and Ray."""
    peaks, plan = result["peak_memory_bytes"], result["plan"]
    peak = peaks["worker_max"]
    return [
        row("peak memory of the worker over its budget", peak / plan["memory_budget"], "", target=1,
            smaller=True),
        row("peak memory of the worker", peak / GIB, "GiB"),
        row("projected peak", plan["projected_peak_bytes"] / GIB, "GiB"),
        row("peak memory of the worker over the projection", peak / plan["projected_peak_bytes"], "",
            target=1, smaller=True),
        row("peak memory of the client", peaks["client"] / GIB, "GiB"),
        row("peak memory of Ray (embedding)", peaks["ray"] / GIB, "GiB"),
    ]  # fmt: skip
