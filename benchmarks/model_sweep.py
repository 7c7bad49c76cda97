"""A sweep of 5 ridges x 4 reg_f x 5 reg_e on Amazon Toys, against its own factorisations and separate fits.

Needs the reference data (``L3AE_REFERENCE``, or a folder ``shared`` beside the repository). One separate fit
and evaluation by the published dense float64 formulas is measured in the same run; that of a hundred is a
hundred times it, which is an extrapolation. Run alone, it prints the rows; ``--no-peer`` leaves the fit out.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from report import publish, row
from scipy import sparse

from l3ae_dist import sweep
from l3ae_dist.config.load import make_config
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.runtime.events import Event
from l3ae_dist.storage.workspace import Workspace

Rows = list[dict[str, Any]]
MIB = 2**20
RIDGES = [20.0, 50.0, 100.0, 200.0, 500.0]
REG_F = [0.1, 1.0, 5.0, 10.0]
REG_E = [20.0, 50.0, 100.0, 200.0, 400.0]


def reference_folder() -> Path | None:
    root = Path(os.environ.get("L3AE_REFERENCE") or Path(__file__).resolve().parents[2] / "shared")
    return root if (root / "data" / "amazon-toys-2014").exists() else None


def progress(event: Event) -> None:
    if event["kind"] == "log":
        print("  ", event["message"], flush=True)


def run_sweep(root: Path, workspace: str) -> dict[str, Any]:
    folder = root / "data" / "amazon-toys-2014"
    config = make_config(
        {
            "workspace": workspace,
            "data": {
                "interactions": str(folder / "interactions.parquet"),
                "items": str(folder / "items.parquet"),
                "embeddings": str(root / "reference" / "amazon-toys-2014-minilm.npy"),
                "options": {"split_column": "split"},
            },
            "sweep": {"ridge": RIDGES, "reg_f": REG_F, "reg_e": REG_E},
            "compute": {"dtype": "float32"},
        }
    )
    return sweep(config, on_event=progress)


def separate_fit(root: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Fit the picked model once more, alone, by the published formulas."""
    dataset = Dataset(Workspace.open(result["workspace"]), result["dataset"]["id"])
    params = result["models"]["L3AE"]["params"]
    with tempfile.TemporaryDirectory(prefix="l3ae-peer-") as folder:
        sparse.save_npz(f"{folder}/x.npz", dataset.user_rows("train", 0, dataset.n_users))
        sparse.save_npz(f"{folder}/valid.npz", dataset.user_rows("valid", 0, dataset.n_users))
        np.save(f"{folder}/f.npy", np.load(root / "reference" / "amazon-toys-2014-minilm.npy"))
        values = (str(params[name]) for name in ("reg_x", "reg_f", "reg_e"))
        command = [sys.executable, str(Path(__file__).with_name("sweep_peer.py")), folder, *values]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(os.cpu_count())}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows(details: dict[str, Any] | None = None, *, peer: bool = True) -> Rows:
    root = reference_folder()
    if root is None:
        print("  the Amazon Toys data is not here (set L3AE_REFERENCE): the sweep is left out")
        return []
    workspace = tempfile.mkdtemp(prefix="l3ae-sweep-")
    try:
        result = run_sweep(root, workspace)
        alone = separate_fit(root, result) if peer else None
    finally:
        shutil.rmtree(workspace)
    return summary(result, alone, {} if details is None else details)


def summary(result: dict[str, Any], alone: dict[str, Any] | None, details: dict[str, Any]) -> Rows:
    seconds, models = result["seconds"], result["models"]
    tried = len(RIDGES) * len(REG_F) * len(REG_E)
    solves = sum(entry["seconds"] for entry in result["sweep"]["factorised"])
    details |= {
        "sweep": {**result["sweep"], "table": None}, "stage_seconds": result["stage_seconds"],
        "models": {name: model["params"] for name, model in models.items()},
        "comparisons": result["comparisons"], "separate": alone, "plan": result["plan"],
    }  # fmt: skip
    peak = result["peak_memory_bytes"]["worker_max"]
    metric = result["sweep"]["metric"]
    found = [
        row(f"sweep, Amazon Toys (n = {result['dataset']['n_items']}), {tried} L3AE models on {len(RIDGES)} "
            "ridges, everything included, against its factorisations alone", seconds, "s", solves, 4,
            smaller=True),
        row("peak memory of the worker, over the projection", peak / MIB, "MiB",
            result["plan"]["projected_peak_bytes"] / MIB, 1, smaller=True),
        row(f"test {metric} of the picked L3AE, against the picked EASE", models["L3AE"]["test"][metric], "",
            models["EASE"]["test"][metric]),
        row(f"test {metric} of the picked L3AE, against the picked EASEText", models["L3AE"]["test"][metric],
            "", models["EASEText"]["test"][metric]),
    ]  # fmt: skip
    if alone is not None:
        separate = tried * (alone["fit"] + alone["evaluate"])
        found += [
            row(f"the same, against {tried} separate fits and evaluations as published in float64 (one "
                f"measured: {alone['fit']:.0f} + {alone['evaluate']:.1f} s, the rest extrapolated)", seconds,
                "s", separate, 1 / 40, smaller=True),
            row(f"validation {metric} of the pick by the sweep, against the separate fit",
                models["L3AE"]["valid"][metric], "", alone["ndcg@20"]),
        ]  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-peer", action="store_true", help="leave out the separate fit")
    arguments = parser.parse_args()
    details: dict[str, Any] = {}
    found = rows(details, peer=not arguments.no_peer)
    publish("model-sweep", found, **details)


if __name__ == "__main__":
    main()
