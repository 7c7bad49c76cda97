"""Parts of the GPU benchmark: the kernels of a fit, and the tile engine in memory and on the disk.

Rates count n^3 flops for factor + invert. The peer of the kernels is ``sgemm`` on the same device, and that
of the engine torch's ``cholesky`` and ``cholesky_inverse`` in device memory.
"""

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from gpu_options import Details, Options, Rows, answer_as_peer, device_seconds, run_peer, synchronize
from report import row
from tile_solve import Solved, tile_solve

from l3ae_dist.graphs.tasks import TileTask, inner_size, kernel_flops
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.trial_solve import solve_graphs
from l3ae_dist.planning.worker_benchmarks import measure_kernels

# Tiles a side of a system.
SIDE = 8
# Size whose kernels are mixed.
MIX_ITEMS = 65_536


def ceilings(device: str, rows: int) -> Details:
    """Measure ``sgemm``, ``dgemm`` (TFLOP/s) and the copies to and from the device (GB/s)."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    found = {}
    for name, dtype in (("sgemm", torch.float32), ("dgemm", torch.float64)):
        a = torch.randn(rows, rows, device=device, dtype=dtype)
        found[name] = 2 * rows**3 / device_seconds(lambda a=a: a @ a, device) / 1e12
    host = torch.empty(1 << 28, dtype=torch.uint8, pin_memory=device == "cuda")
    there = host.to(device, copy=True)
    to, back = (lambda: there.copy_(host, non_blocking=True)), (lambda: host.copy_(there, non_blocking=True))
    found["to_device"] = host.nbytes / device_seconds(to, device) / 1e9
    found["from_device"] = host.nbytes / device_seconds(back, device) / 1e9
    return found


def in_core(device: str, n: int) -> Details:
    """Time torch's ``cholesky`` and ``cholesky_inverse`` of the same system in device memory."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    y = torch.randn(n, 64, device=device)
    matrix = torch.mm(y, y.T)
    matrix /= 64
    matrix.diagonal().add_(1)
    torch.linalg.cholesky(matrix[:1024, :1024])  # the library is loaded then
    synchronize(device)
    started = time.perf_counter()
    factor = torch.linalg.cholesky(matrix)
    del matrix
    inverse = torch.cholesky_inverse(factor)
    synchronize(device)
    seconds = time.perf_counter() - started
    del factor
    z = torch.randn(n, 1, device=device)
    image = inverse @ z
    error = y @ (y.T @ image) / 64 + image - z
    return {"seconds": seconds, "residual": float(error.norm() / z.norm())}


PEERS: dict[str, Callable[..., Details]] = {"ceilings": ceilings, "in_core": in_core}


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


def kernels(options: Options, details: Details) -> Rows:
    """Measure the kernels with operands on the device, and mix them as 65,536 items in tiles of 4,096 do."""
    tile = options.tile
    rates = {
        name: by_tile[tile] / 1e3
        for name, by_tile in measure_kernels("float32", (tile,), options.device, 5, 0.0).items()
    }
    flops = {name: count for name, count in flops_by_kernel(MIX_ITEMS // 4096 * tile, tile).items() if count}
    mix = sum(flops.values()) / sum(count / rates[name] for name, count in flops.items())
    limits = run_peer("gpu_engine.py", "ceilings", device=options.torch_device, rows=options.gemm)
    details.update({"tflops": rates, "flops": flops, **limits})
    return [
        row(f"kernels of a fit weighted by flops, tiles of {tile}, against sgemm",
            mix, "TFLOP/s", limits["sgemm"], 0.8),
        *(row(f"{name}, tiles of {tile}", rate, "TFLOP/s", limits["sgemm"])
          for name, rate in rates.items()),
        row("dgemm, against sgemm", limits["dgemm"], "TFLOP/s", limits["sgemm"]),
        row("to the device, page-locked", limits["to_device"], "GB/s"),
        row("from the device, page-locked", limits["from_device"], "GB/s"),
    ]  # fmt: skip


def kernels_seconds(options: Options) -> float:
    """Estimate the seconds of the part, most of which is the start of CUDA in two processes."""
    return 45 * (options.tile / 4096) ** 2


def solved(options: Options, n: int, folder: str | None, arithmetic: str = "float32") -> Solved:
    """Factor and invert tiles of float32 on the device with one worker."""
    return tile_solve(
        n, memory_budget=options.memory_budget, threads=max(1, (os.cpu_count() or 2) - 1), tile=-(-n // SIDE),
        device=options.device, folder=folder, arithmetic=arithmetic,
    )  # fmt: skip


def in_kernels(found: Solved) -> float:
    """Add up the seconds in which a kernel ran, its transfers included."""
    tiles = [event for event in found.events if event["kind"] == "tile" and not event["skipped"]]
    return float(sum(event["computed"] - event["stalled"] for event in tiles))


def summary(found: Solved) -> Details:
    """Collect what is kept of a run beside its rows."""
    return {
        "stages": {name: asdict(stats) for name, stats in found.stages.items()},
        "block": found.plan.block.rows,
        "kernel_seconds": in_kernels(found),
        "device_peak": found.device_peak,
        "residual": found.residual,
        "peak": found.peak,
    }


def memory(options: Options, details: Details) -> Rows:
    """Measure the engine with the workspace in memory, against torch in device memory."""
    rows: Rows = []
    for n in options.sizes:
        theirs = run_peer("gpu_engine.py", "in_core", device=options.torch_device, n=n)
        ours = solved(options, n, options.shared)
        details[str(n)] = {**summary(ours), "torch": theirs}
        rate, reference = n**3 / ours.seconds / 1e12, n**3 / theirs["seconds"] / 1e12
        print(f"  n = {n}: {rate:.3g} TFLOP/s, torch in core {reference:.3g}", flush=True)
        print(f"  {details[str(n)]}", flush=True)
        rows += [
            row(f"factor + invert, n = {n}, workspace in /dev/shm, against torch in core",
                rate, "TFLOP/s", reference, 1.0 if n >= MIX_ITEMS else None),
            row(f"seconds in kernels of these, n = {n}", in_kernels(ours), "s", ours.seconds),
            row(f"relative residual on a probe, n = {n}", float(ours.residual or 0), "", theirs["residual"]),
        ]  # fmt: skip
        if options.wide:
            rows += in_float64(options, n, ours, details)
    return rows


def in_float64(options: Options, n: int, ours: Solved, details: Details) -> Rows:
    """Compute the same tiles of float32 in float64, against a run in float32."""
    wide = solved(options, n, options.shared, "float64")
    details[f"{n}, float64 arithmetic"] = summary(wide)
    return [
        row(f"factor + invert of float32 tiles in float64, n = {n}, against float32",
            n**3 / wide.seconds / 1e12, "TFLOP/s", n**3 / ours.seconds / 1e12),
        row(f"relative residual of these, n = {n}, against float32",
            float(wide.residual or 0), "", float(ours.residual or 0)),
    ]  # fmt: skip


def memory_seconds(options: Options) -> float:
    """Estimate the seconds of the part, from 8 TFLOP/s, and 1 GB/s before and after."""
    runs = 2 if options.wide else 1
    return sum(15 + n**3 / 20e12 + runs * (20 + n**3 / 8e12 + 4e-9 * n**2) for n in options.sizes)


def disk_rates(folder: str) -> tuple[float, float]:
    """Measure the bytes a second that four threads write to new files, flushed then, and read from them.

    What is read is taken out of the page cache before.
    """
    from concurrent.futures import ThreadPoolExecutor

    block = np.random.default_rng(0).integers(0, 256, 1 << 28, dtype=np.uint8)
    buffers = [np.ones_like(block) for _ in range(4)]

    def write(number: int) -> None:
        handle = os.open(f"{folder}/rate-{number}", os.O_CREAT | os.O_WRONLY)
        try:
            os.write(handle, block.data)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)

    def read(number: int) -> None:
        with open(f"{folder}/rate-{number}", "rb", buffering=0) as file:
            if file.readinto(buffers[number % 4].data) != block.nbytes:
                raise OSError(f"a file of {folder} was read in part")

    rates = []
    for work in (write, read):
        started = time.perf_counter()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(8)))
        rates.append(8 * block.nbytes / (time.perf_counter() - started))
    return rates[0], rates[1]


def disk(options: Options, details: Details) -> Rows:
    """Measure the largest system with the workspace on the disk, against what bounds it."""
    n = max(options.sizes)
    folder = tempfile.mkdtemp(prefix="l3ae-gpu-", dir=options.disk)
    try:
        writes, reads = disk_rates(folder)
        ours = solved(options, n, folder)
    finally:
        shutil.rmtree(folder)
    written = sum(stats.bytes_written for stats in ours.stages.values()) / writes
    moved = written + sum(stats.bytes_read for stats in ours.stages.values()) / reads
    details.update({**summary(ours), "bytes_per_second": {"written": writes, "read": reads}})
    what = f"factor + invert, n = {n}, workspace on the disk, against the larger of kernels and"
    return [
        row("writes to the disk, four threads", writes / 1e9, "GB/s"),
        row("reads from the disk, four threads", reads / 1e9, "GB/s"),
        row(f"{what} bytes over the disk's rates", ours.seconds, "s", max(in_kernels(ours), moved), 1.2,
            smaller=True),
        row(f"{what} writes alone", ours.seconds, "s", max(in_kernels(ours), written)),
    ]  # fmt: skip


def disk_seconds(options: Options) -> float:
    """Estimate the seconds of the part, from 4 TFLOP/s and 1 GB/s."""
    n = max(options.sizes)
    return 25 + n**3 / 4e12 + 8e-9 * n**2


if __name__ == "__main__":
    answer_as_peer(PEERS)
