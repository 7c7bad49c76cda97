"""Part of the GPU benchmark: from a synthetic training matrix to a certified model, through the estimator."""

import os
import shutil
import tempfile
import time
from typing import Any

import numpy as np
from gpu_options import GIB, Details, DeviceUse, Options, Rows, watched_device
from report import row
from scipy import sparse

from l3ae_dist import EASE
from l3ae_dist.data.synthetic import zipf_items
from l3ae_dist.runtime.events import Event

# The published time of EASE at so many items, on 28 virtual CPUs.
PUBLISHED_ITEMS, PUBLISHED_SECONDS = 91_599, 222 * 60
TARGET_SECONDS = 120
PER_USER = 20
RIDGE = 1000.0


def training_matrix(options: Options) -> sparse.csr_matrix:
    """Draw twenty items for each user, a few items often and most seldom."""
    items = zipf_items(options.users, PER_USER, options.items, exponent=0.8)
    ends = np.arange(0, items.size + 1, PER_USER)
    ones = np.ones(items.size, np.float32)
    return sparse.csr_matrix((ones, items.ravel(), ends), (options.users, options.items))


def progress(event: Event) -> None:
    """Print the ends of stages, and messages."""
    if event["kind"] in ("log", "stage_end"):
        seconds = event.get("seconds")
        took = "" if seconds is None else f" {seconds:.1f} s"
        print(f"  {event.get('message') or event['stage']}{took}", flush=True)


def fit(options: Options, details: Details) -> Rows:
    """Fit EASE with the workspace in memory, from the training matrix to the certified model."""
    matrix = training_matrix(options)
    compute = {
        "device": options.torch_device, "device_memory": options.device_memory, "dtype": "float32",
        "memory_budget": options.memory_budget, "threads": max(1, (os.cpu_count() or 2) - 1),
        "dashboard": False,
    }  # fmt: skip
    folder = tempfile.mkdtemp(prefix="l3ae-gpu-fit-", dir=options.shared)
    try:
        with watched_device(options) as use:
            started = time.perf_counter()
            model = EASE(RIDGE, compute=compute).fit(matrix, workspace=folder, on_event=progress)
            seconds = time.perf_counter() - started
        result: dict[str, Any] = dict(model.result_)
    finally:
        shutil.rmtree(folder)
    details.update({
        "options": options.document(), "interactions": matrix.nnz, "ridge": RIDGE, "seconds": seconds,
        "plan": result["plan"], "stages": result["stages"], "stage_seconds": result["stage_seconds"],
        "certificate": result["certificate"], "peak": result["peak_memory_bytes"],
        "device": {"total": use.total, "free": use.free, "peak": use.peak},
    })  # fmt: skip
    return fit_rows(options, seconds, result) + device_rows(options, use)


def fit_rows(options: Options, seconds: float, result: dict[str, Any]) -> Rows:
    """Set the fit beside the published time, its tolerance and its projection."""
    solve = sum(result["stages"][name]["seconds"] for name in ("factor", "linv", "invert"))
    what = f"training matrix to certified model, {options.items} items, {options.users} users"
    certificate, peak = result["certificate"], result["peak_memory_bytes"]["worker_max"]
    rows = [row(what, seconds, "s", target=_target(options), smaller=True)]
    if options.items == PUBLISHED_ITEMS:
        rows.append(row(f"{what}, against the published EASE on 28 vCPU", seconds, "s", PUBLISHED_SECONDS,
                        faster=True))  # fmt: skip
    return [
        *rows,
        row("seconds of factor + invert of these", solve, "s", seconds),
        row("factor + invert of the fit", options.items**3 / solve / 1e12, "TFLOP/s"),
        row("relative residual of the fit, against its tolerance",
            certificate["residual"], "", certificate["tolerance"], 1, smaller=True),
        row("peak memory of the fit's worker, against the projected",
            peak / GIB, "GiB", result["plan"]["projected_peak_bytes"] / GIB, 1, smaller=True),
    ]  # fmt: skip


def _target(options: Options) -> float | None:
    return TARGET_SECONDS if options.items >= PUBLISHED_ITEMS else None


def device_rows(options: Options, use: DeviceUse) -> Rows:
    """Set the device memory that the fit took beside what it may take; no rows without a GPU."""
    if not options.on_gpu:
        return []
    limit = options.device_memory or int(0.9 * use.free)
    what = "compute.device_memory" if options.device_memory else "nine tenths of what was free"
    return [
        row(f"device memory that the fit took, libraries included, against {what}",
            use.peak / GIB, "GiB", limit / GIB),
        row("device memory that the fit took, against all of the device",
            use.peak / GIB, "GiB", use.total / GIB, 1, smaller=True),
    ]  # fmt: skip


def fit_seconds(options: Options) -> float:
    """Estimate the seconds of the part, from 8 TFLOP/s and what the other stages read and write."""
    return 45 + options.items**3 / 8e12 + 8e-9 * options.items**2 + options.users * PER_USER / 1e6
