"""A million items on clusters that are not here: simulated, never measured.

The kernels of a CPU worker have the rates measured by ``simulator.py`` on this machine, in proportion to its
threads; storage, network and GPUs are assumed and printed. Everything is far beyond what was validated.
"""

import argparse
import gc
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from report import publish, results_folder, row

from l3ae_dist.planning.model_cluster import Trouble
from l3ae_dist.planning.plan import make_plan
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.rates import ASSUMED_CPU, ASSUMED_GPU, REMOTE_STORAGE, Rates
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.simulated_solve import SimulatedSolve, simulate_plan
from l3ae_dist.units import GIB

N, TILE, THREADS = 1_000_000, 4096, 32
BUDGET = 64 * GIB
WORKERS = (16, 64, 256)
# Bytes of copies on a worker's disk.
LOCAL = 1000 * GIB
# Bytes a second of a worker's network, both ends of a tile that peers send charged.
NETWORK, SLOW_NETWORK = {"cpu": 3e9, "cuda": 12e9}, 1e9
# What must be reached: share of the workers' time in kernels, and hours.
SHARES, HOURS = {"cpu, 64 workers": 0.8, "cpu, 256 workers": 0.6}, {"cuda, 64 workers": 1.0}
# A worker fails every six hours, as spot machines may; one in twenty takes twice as long.
MTBF, SLOW = 6 * 3600.0, 0.05
FAILING = ", a failure every 6 h each"
HOUR = 3600.0


def cpu_rates() -> Rates:
    """Return measured rates of kernels and tasks with assumed ones of storage, else assumed ones."""
    path = results_folder() / "simulator.json"
    if not path.exists():
        return ASSUMED_CPU.scaled(THREADS)
    measured = Rates.model_validate(json.loads(path.read_text())["clusters"][0]["rates"])
    source = (
        f"kernels {measured.source}, {measured.date}; storage assumed at 2 GB/s a worker, 100 GB/s in all"
    )
    return measured.model_copy(update={**REMOTE_STORAGE, "source": source, "derived": True}).scaled(THREADS)


def solve(case: dict[str, Any]) -> dict[str, Any]:
    """Run one simulation in a process of its own."""
    workers, gpu = case["workers"], case["device"] == "cuda"
    local = case.get("local", 0)
    machine = Machine(BUDGET, workers, gpu=gpu, tile=case.get("tile", TILE), local_bytes=local)
    plan = make_plan(DataSize(case.get("items", N), users=1, interactions=1), ModelNeeds(), machine)
    trouble = Trouble(**case.get("trouble", {}))
    rates = ASSUMED_GPU if gpu else cpu_rates()
    network = case.get("network", NETWORK[case["device"]])
    gc.disable()  # millions of small objects that are in no cycle
    found: SimulatedSolve = simulate_plan(
        plan, Resources(rates, network_bytes_s=network, peers=case.get("peers", True)), trouble
    )
    print(f"  simulated {case}: {found.seconds / HOUR:.2f} h", flush=True)
    return {"case": case, **found.summary()}


def cases() -> dict[str, dict[str, Any]]:
    """List the cases by name: strong scaling of both devices, then single changes on 64 CPU workers."""
    found = {
        f"{device}, {workers} workers": {"device": device, "workers": workers}
        for device in ("cpu", "cuda")
        for workers in WORKERS
    }
    failing = {"mtbf_seconds": MTBF, "restart_seconds": 120.0}
    for device, workers in (("cpu", 64), ("cpu", 256), ("cuda", 64)):
        found[f"{device}, {workers} workers{FAILING}"] = {
            "device": device, "workers": workers, "trouble": failing,
        }  # fmt: skip
    base = {"device": "cpu", "workers": 64}
    for workers in (64, 256):
        found[f"cpu, {workers} workers, network 1 GB/s a worker"] = {
            "device": "cpu", "workers": workers, "network": SLOW_NETWORK,
        }  # fmt: skip
        found[f"cpu, {workers} workers, network 1 GB/s a worker, copies on local disks"] = {
            "device": "cpu", "workers": workers, "network": SLOW_NETWORK, "local": LOCAL,
        }  # fmt: skip
    found["cpu, 64 workers, no tiles from peers"] = base | {"peers": False}
    found["5 % of the workers at half speed"] = base | {"trouble": {"straggler_share": SLOW, "seed": 1}}
    found |= {f"tiles of {tile}": base | {"tile": tile} for tile in (3072, 6144)}
    return found


def rows(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    first = {device: found[f"{device}, {WORKERS[0]} workers"]["seconds"] for device in ("cpu", "cuda")}
    table = []
    for name, one in found.items():
        peer = None
        if name in (f"{d}, {w} workers" for d in first for w in WORKERS[1:]):
            peer = first[one["case"]["device"]] / HOUR
        elif one["case"]["workers"] == 64 and "failure" not in name and "," not in name:
            peer = found["cpu, 64 workers"]["seconds"] / HOUR
        elif "local" in name:
            peer = found[name.removesuffix(", copies on local disks")]["seconds"] / HOUR
        elif "failure" in name:
            peer = found[name.removesuffix(FAILING)]["seconds"] / HOUR
        table.append(row(name, one["seconds"] / HOUR, "h", peer))
        if name in HOURS:
            what = f"{name}: factor and inverse"
            table.append(row(what, one["seconds"] / HOUR, "h", None, HOURS[name], smaller=True))
        what = f"{name}: share of the workers' time in kernels"
        table.append(row(what, one["computing"], "", None, SHARES.get(name)))
    return table


def plot(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw hours over workers, with and without failures, and the influence of tile and look-ahead."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), width_ratios=(3, 2))
    for device, colour, label in (("cpu", "#0072b2", "CPU, 32 threads"), ("cuda", "#d55e00", "GPU")):
        hours = [found[f"{device}, {w} workers"]["seconds"] / HOUR for w in WORKERS]
        spots = [w for w in WORKERS if f"{device}, {w} workers{FAILING}" in found]
        failing = [found[f"{device}, {w} workers{FAILING}"]["seconds"] / HOUR for w in spots]
        left.plot(WORKERS, hours, "o-", color=colour, label=label)
        left.plot(spots, failing, "x", color=colour, markersize=9, label=f"{label}{FAILING}")
        left.plot(WORKERS, [hours[0] * WORKERS[0] / w for w in WORKERS], ":", color=colour, alpha=0.6)
    left.set_xscale("log", base=2)
    left.set_yscale("log")
    left.set_xticks(WORKERS, [str(w) for w in WORKERS])
    left.set_xlabel("workers (dotted: ideal)")
    left.set_ylabel("hours of factor and inverse")
    left.legend(fontsize=8)
    names = ["cpu, 64 workers", *(name for name in found if name.startswith(("tiles", "5 %")))]
    labels = [f"tiles of {TILE}" if "cpu" in name else name for name in names]
    right.barh(labels, [found[name]["seconds"] / HOUR for name in names], color="#0072b2")
    right.invert_yaxis()
    right.set_xlabel("hours on 64 CPU workers")
    figure.suptitle(f"{N:,} items, float32: simulated, beyond the validated range")
    figure.tight_layout()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--items", type=int, default=N, help="fewer, to try the script")
    options = parser.parse_args()
    wanted = {name: case | {"items": options.items} for name, case in cases().items()}
    with ProcessPoolExecutor(options.processes) as pool:
        results = dict(zip(wanted, pool.map(solve, wanted.values()), strict=True))
    name = "million" if options.items == N else "million-try"
    assumed = {"cpu": cpu_rates().model_dump(mode="json"), "cuda": ASSUMED_GPU.model_dump(mode="json")}
    publish(name, rows(results), simulated=results, rates=assumed)
    plot(results, results_folder() / f"{name}.png")
