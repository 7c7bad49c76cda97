"""Facts that a process can tell of itself and its machine; plain values, judged elsewhere.

Runs on this machine and, through Dask, on every node. Nothing of the environment is passed on.
"""

import asyncio
import importlib.util
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from l3ae_dist.operations.checks.row import Facts
from l3ae_dist.runtime.versions import blas_builds, blas_threads, environment, versions
from l3ae_dist.storage.holder import machine

GEMM_SECONDS = 0.2
_GEMM_SIDE = 768
_SMI_SECONDS = 5.0


def node_facts(requirements: list[str] | None = None, encoder: str | None = None) -> Facts:
    """Collect everything about this process and its machine, in about a second.

    Parameters
    ----------
    requirements
        What must be installed, as in package metadata; those of this package when None.
    encoder
        A resolved ``encoder.model`` to look for; None when nothing is embedded here.

    Returns
    -------
    Facts by name; ``{"error": ...}`` in place of one that could not be had.
    """
    probes: dict[str, Callable[[], object]] = {
        "host": socket.gethostname,
        "machine": machine,
        "versions": versions,
        "environment": environment,
        "packages": partial(package_facts, requirements),
        "cpus": cpu_count,
        "blas": blas_facts,
        "memory": memory_facts,
        "disk": lambda: disk_facts(tempfile.gettempdir()),
        "files": lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "shm": lambda: disk_facts("/dev/shm") if Path("/dev/shm").is_dir() else None,  # noqa: S108
        "gpus": gpu_facts,
        "pause": pause_setting,
        "encoder": lambda: None if encoder is None else encoder_facts(encoder),
    }
    return {name: _facts_of(probe) for name, probe in probes.items()}


async def node_facts_beside(requirements: list[str] | None = None, encoder: str | None = None) -> Facts:
    """Collect :func:`node_facts` in a thread, so that a Dask worker's event loop goes on meanwhile."""
    return await asyncio.to_thread(node_facts, requirements, encoder)


def _facts_of(probe: Callable[[], object]) -> object:
    try:
        return probe()
    except Exception as error:  # a broken package breaks in its own way; the row tells how
        return {"error": f"{type(error).__name__}: {error}"}


def clock() -> float:
    """Return the Unix time here."""
    return time.time()


def package_facts(requirements: list[str] | None) -> Facts:
    """Count the packages that are needed, and find those that are missing or too old."""
    from packaging.requirements import Requirement

    wanted = [
        Requirement(text) for text in (requires("l3ae-dist") or [] if requirements is None else requirements)
    ]
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    missing, unfit = [], []
    for one in needed:
        try:
            installed = version(one.name)
        except PackageNotFoundError:
            missing.append(str(one))
            continue
        if not one.specifier.contains(installed, prereleases=True):
            unfit.append(f"{one.name} {installed} ({one.specifier} is needed)")
    return {"needed": len(needed), "missing": missing, "unfit": unfit}


def cpu_count() -> int:
    """Count the processors that this process may use, by affinity and control group."""
    from dask.system import CPU_COUNT

    return int(CPU_COUNT)


def blas_facts() -> Facts:
    """Find the loaded BLAS builds and their threads, and measure the rate of a float64 product."""
    import numpy as np

    from l3ae_dist.linalg.blas import gemm

    a = np.random.default_rng(0).standard_normal((_GEMM_SIDE, _GEMM_SIDE))
    out, fastest = np.zeros_like(a), float("inf")
    begun = time.perf_counter()
    while time.perf_counter() < begun + GEMM_SECONDS:
        started = time.perf_counter()
        gemm(out, a, a, 1.0, False, False)
        fastest = min(fastest, time.perf_counter() - started)
    return {"builds": blas_builds(), "threads": blas_threads(), "gflops": 2 * _GEMM_SIDE**3 / fastest / 1e9}


def pause_setting() -> float | None:
    """Return the share of its memory limit at which a Dask worker of this process takes no more tasks."""
    import dask

    share = dask.config.get("distributed.worker.memory.pause", None)
    return float(share) if share else None


def memory_facts() -> Facts:
    """Return the bytes that this machine or control group has, and those that are free."""
    import psutil
    from distributed.system import MEMORY_LIMIT

    memory = psutil.virtual_memory()
    total = min(int(MEMORY_LIMIT), int(memory.total))
    return {"total": total, "available": min(total, int(memory.available))}


def disk_facts(path: str) -> Facts:
    """Return the size and the free bytes of the file system at ``path``."""
    usage = shutil.disk_usage(path)
    return {"path": path, "total": usage.total, "free": usage.free}


def gpu_facts() -> Facts:
    """List the NVIDIA GPUs by their driver's own tool; torch, which takes seconds to import, is not asked."""
    from l3ae_dist.linalg.visible_gpus import gpu_visible

    if not gpu_visible():
        return {"gpus": []}
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=_SMI_SECONDS, check=True)
    return {"gpus": [line.strip() for line in answer.stdout.splitlines() if line.strip()]}


def encoder_facts(model: str) -> Facts:
    """Look for an encoder's weights: in a package, a folder, or the hub's cache (``MODEL[@REVISION]``)."""
    if model.startswith("package:"):
        name = model.removeprefix("package:")
        return {"model": model, "where": "package", "there": importlib.util.find_spec(name) is not None}
    if model.startswith((".", "/", "~")):
        folder = Path(model).expanduser()
        return {"model": model, "where": "folder", "there": any(folder.rglob("*.safetensors"))}
    if importlib.util.find_spec("huggingface_hub") is None:
        return {"model": model, "where": "hub", "there": False}
    from huggingface_hub import constants, try_to_load_from_cache

    name, _, revision = model.partition("@")
    config = try_to_load_from_cache(name, "config.json", revision=revision or None)
    there = isinstance(config, str) and any(Path(config).parent.rglob("*.safetensors"))
    return {"model": model, "where": "cache", "there": there, "offline": bool(constants.HF_HUB_OFFLINE)}
