"""One GPU: the kernels of a fit, and the tile engine out of core, each beside torch in the same run.

``make bench-gpu`` on a machine with an NVIDIA GPU; without one it says so and writes nothing. ``--only
kernels,memory,disk`` runs some parts and keeps the figures of the others. Rates count n^3 flops for factor +
invert; ``memory`` has its workspace in /dev/shm, ``disk`` on the disk of the temporary folder.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np
from report import publish, results_folder, row
from tile_solve import GIB, Solved, tile_solve

from l3ae_dist.graphs.tasks import TileTask, inner_size, kernel_flops
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.linalg.torch_kernels import resolve_device
from l3ae_dist.planning.trial_solve import solve_graphs
from l3ae_dist.planning.worker_benchmarks import measure_kernels

Rows = list[dict[str, Any]]
Details = dict[str, Any]
SHARED = "/dev/shm"
# Items by rows of a tile.
SIZES = {32_768: 4096, 65_536: 8192}
MIX_TILE = 4096
# Host memory of the one worker: the largest tiles with their buffers, and a cache beside them.
BUDGET = 24 * GIB


def peer(name: str, *arguments: Any) -> dict[str, Any]:
    """Run a part of this file in a process of its own, so that no GPU memory is shared."""
    command = [sys.executable, __file__, "--peer", name, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def ceilings() -> dict[str, float]:
    """Measure ``sgemm``, ``dgemm`` (TFLOP/s) and the copies to and from the device (GB/s)."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    found = {}
    for name, dtype in (("sgemm", torch.float32), ("dgemm", torch.float64)):
        a = torch.randn(8192, 8192, device="cuda", dtype=dtype)
        found[name] = 2 * 8192**3 / _device_seconds(lambda a=a: a @ a) / 1e12
    host = torch.empty(1 << 28, dtype=torch.uint8, pin_memory=True)
    there = host.to("cuda")
    found["to_device"] = host.nbytes / _device_seconds(lambda: there.copy_(host, non_blocking=True)) / 1e9
    found["from_device"] = host.nbytes / _device_seconds(lambda: host.copy_(there, non_blocking=True)) / 1e9
    return found


def _device_seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """Return the median seconds of some work on the device."""
    import torch

    work()
    taken = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return median(taken)


def in_core(n: int) -> dict[str, float]:
    """Time torch's ``cholesky`` and ``cholesky_inverse`` of the same system in device memory."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    y = torch.randn(n, 64, device="cuda")
    matrix = torch.mm(y, y.T)
    matrix /= 64
    matrix.diagonal().add_(1)
    torch.linalg.cholesky(matrix[:1024, :1024])  # the library is loaded then
    torch.cuda.synchronize()
    started = time.perf_counter()
    factor = torch.linalg.cholesky(matrix)
    del matrix
    inverse = torch.cholesky_inverse(factor)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    del factor
    z = torch.randn(n, 1, device="cuda")
    image = inverse @ z
    error = y @ (y.T @ image) / 64 + image - z
    return {"seconds": seconds, "residual": float(error.norm() / z.norm())}


PEERS: dict[str, Callable[..., dict[str, float]]] = {"ceilings": ceilings, "in_core": in_core}


def flops_by_kernel(n: int, tile: int) -> Counter[str]:
    """Count the flops of a factorisation and inversion by kernel."""
    grid, total = TileGrid(n, tile), Counter[str]()
    for graph in solve_graphs(grid, 1):
        for task in graph.tasks():
            assert isinstance(task, TileTask)
            rows, columns = grid.shape(task.target.i, task.target.j)
            for step, operands in task.actions():
                inner = inner_size(task.update, operands[0], grid) if step.kernel == task.update else 0
                total[step.kernel] += kernel_flops(step.kernel, rows, columns, inner)
    return total


def kernels(details: Details) -> Rows:
    """Measure the kernels at tiles of 4,096 with operands in host memory, mixed as for 65,536 items."""
    rates = {
        name: by_tile[MIX_TILE] / 1e3
        for name, by_tile in measure_kernels("float32", (MIX_TILE,), "cuda", 5, 0.0).items()
    }
    flops = {name: count for name, count in flops_by_kernel(65_536, MIX_TILE).items() if count}
    mix = sum(flops.values()) / sum(count / rates[name] for name, count in flops.items())
    limits = peer("ceilings")
    details["kernels"] = {"tflops": rates, "flops": flops, **limits}
    return [
        row(f"kernels of a fit weighted by flops, tiles of {MIX_TILE}, against sgemm",
            mix, "TFLOP/s", limits["sgemm"], 0.8),
        *(row(f"{name}, tiles of {MIX_TILE}", rate, "TFLOP/s", limits["sgemm"])
          for name, rate in rates.items()),
        row("dgemm, against sgemm", limits["dgemm"], "TFLOP/s", limits["sgemm"]),
        row("to the device, page-locked", limits["to_device"], "GB/s"),
        row("from the device, page-locked", limits["from_device"], "GB/s"),
    ]  # fmt: skip


def solved(n: int, folder: str) -> Solved:
    """Factor and invert on the GPU with one worker."""
    threads = max(1, (os.cpu_count() or 2) - 1)
    return tile_solve(n, memory_budget=BUDGET, threads=threads, tile=SIZES[n], device="cuda", folder=folder)


def in_kernels(found: Solved) -> float:
    """Add up the seconds in which a kernel ran, its transfers included."""
    tiles = [event for event in found.events if event["kind"] == "tile" and not event["skipped"]]
    return float(sum(event["computed"] - event["stalled"] for event in tiles))


def summary(found: Solved) -> Details:
    """Collect what is kept of a run beside its rows."""
    return {
        "stages": {name: asdict(stats) for name, stats in found.stages.items()},
        "kernel_seconds": in_kernels(found),
        "residual": found.residual,
        "peak": found.peak,
    }


def memory(details: Details) -> Rows:
    """Out of core with the workspace in /dev/shm, against torch in device memory."""
    rows: Rows = []
    for n in SIZES:
        theirs, ours = peer("in_core", n), solved(n, SHARED)
        details[f"memory {n}"] = {**summary(ours), "torch": theirs}
        rate, reference = n**3 / ours.seconds / 1e12, n**3 / theirs["seconds"] / 1e12
        print(f"  n = {n}: {rate:.1f} TFLOP/s, torch in core {reference:.1f}", flush=True)
        target = 1.0 if n == max(SIZES) else None
        rows += [
            row(f"factor + invert, n = {n}, workspace in /dev/shm, against torch in core",
                rate, "TFLOP/s", reference, target),
            row(f"seconds in kernels of these, n = {n}", in_kernels(ours), "s", ours.seconds),
            row(f"relative residual on a probe, n = {n}", ours.residual, "", theirs["residual"]),
        ]  # fmt: skip
    return rows


def disk_rate(folder: str) -> float:
    """Measure the bytes a second that four threads write to new files with direct I/O, then fsync."""
    from concurrent.futures import ThreadPoolExecutor

    block = np.random.default_rng(0).integers(0, 256, 1 << 28, dtype=np.uint8)

    def write(number: int) -> None:
        handle = os.open(f"{folder}/rate-{number}", os.O_CREAT | os.O_WRONLY)
        try:
            os.write(handle, block.data)
            os.fsync(handle)
        finally:
            os.close(handle)

    started = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(8)))
    return 8 * block.nbytes / (time.perf_counter() - started)


def disk(details: Details) -> Rows:
    """Measure the smaller system with the workspace on the disk, against what bounds it."""
    n = min(SIZES)
    folder = tempfile.mkdtemp(prefix="l3ae-gpu-")
    try:
        rate = disk_rate(folder)
        ours = solved(n, folder)
    finally:
        shutil.rmtree(folder)
    written = sum(stats.bytes_written for stats in ours.stages.values())
    bound = max(in_kernels(ours), written / rate)
    details["disk"] = {**summary(ours), "bytes_per_second": rate}
    return [
        row("writes to the disk, four threads", rate / 1e9, "GB/s"),
        row(f"factor + invert, n = {n}, workspace on the disk, against the larger of kernels and writes",
            ours.seconds, "s", bound, 1.2, smaller=True),
    ]  # fmt: skip


PARTS: dict[str, Callable[[Details], Rows]] = {"kernels": kernels, "memory": memory, "disk": disk}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--peer", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peer:
        name, *numbers = given.peer
        print(json.dumps(PEERS[name](*map(int, numbers))))
        return
    if resolve_device("auto") != "cuda":
        raise SystemExit("torch sees no GPU here; bench-gpu needs one.")
    path = results_folder() / "gpu.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    parts: dict[str, Rows] = before.get("parts", {})
    details: Details = before.get("details", {})
    for name in given.only.split(","):
        print(name, flush=True)
        parts[name] = PARTS[name](details)
        rows = [line for part in PARTS for line in parts.get(part, [])]
        publish("gpu", rows, device=_device(), parts=parts, details=details)


def _device() -> str:
    import torch

    return torch.cuda.get_device_name()


if __name__ == "__main__":
    main()
