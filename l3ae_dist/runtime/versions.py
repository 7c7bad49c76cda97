"""Versions of the packages that a result depends on, and the BLAS that a process computes with."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from l3ae_dist.errors import ClusterError

PACKAGES = (
    "l3ae_dist",
    "numpy",
    "scipy",
    "dask",
    "distributed",
    "zarr",
    "ray",
    "torch",
    "sentence-transformers",
)
# These must be the same in every process of a run, or its bits and its messages would not be.
Environment = dict[str, str | None]
SAME = ("python", "l3ae_dist", "numpy", "scipy", "distributed", "zarr")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed, by name."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, object]:
    """Describe this machine without its name: processor, cores, memory and Python."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
    }


def blas_builds() -> list[str]:
    """List every BLAS that this process has loaded for NumPy and SciPy, with version and kernel."""
    import scipy.linalg.blas  # noqa: F401  (only what is loaded can be asked)
    from threadpoolctl import threadpool_info

    pools = (pool for pool in threadpool_info() if pool["user_api"] == "blas")
    return sorted(
        {f"{p['internal_api']} {p['version']} ({p.get('architecture') or 'unknown'})" for p in pools}
    )


def blas_threads() -> int:
    """Return the number of BLAS threads of this process; the largest of several BLAS."""
    import scipy.linalg.blas  # noqa: F401  (as above)
    from threadpoolctl import threadpool_info

    pools = (pool for pool in threadpool_info() if pool["user_api"] == "blas")
    return max((int(pool["num_threads"]) for pool in pools), default=1)


def environment() -> Environment:
    """Return the versions and the BLAS that should not differ between the processes of a run."""
    known = versions()
    return {**{name: known.get(name) for name in SAME}, "BLAS": ", ".join(blas_builds())}


def check_processes(workers: Mapping[str, Environment]) -> list[str]:
    """Compare the workers of a cluster with this process and with each other.

    Parameters
    ----------
    workers
        :func:`environment` of every worker, by address.

    Returns
    -------
    Messages about what differs and does no harm: BLAS builds, which change the last bits.

    Raises
    ------
    ClusterError
        Naming a worker whose packages are not those of this process.
    """
    here = versions()
    for address, found in workers.items():
        differ = [
            f"{name} {found[name]} instead of {here.get(name)}"
            for name in SAME
            if found[name] != here.get(name)
        ]
        if differ:
            raise ClusterError(
                f"worker {address} has {', '.join(differ)}; install the same versions on every node "
                "(constraints.txt) and run the same command again."
            )
    builds = sorted({str(found["BLAS"]) for found in workers.values()})
    if len(builds) < 2:
        return []
    return [
        f"the workers compute with different BLAS builds ({'; '.join(builds)}): results agree to rounding, "
        "not to the bit"
    ]
