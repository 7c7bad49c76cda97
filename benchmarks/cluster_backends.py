"""What Ray costs: one job on the back ends ``local`` and ``ray``, and how the job scales with its workers.

Times are those of the solve (stage fit and scoring) and leave the start of processes out, which is reported
beside them. Each figure is the median of runs that alternate between what is compared.
"""

import shutil
import tempfile
from statistics import median
from typing import Any

import numpy as np
from report import RESULTS, row
from scaling_plot import plot_scaling

from l3ae_dist.config import make_config
from l3ae_dist.data.synthetic import zipf_log
from l3ae_dist.pipeline import run
from l3ae_dist.runtime.ray_session import ray_session

REPEATS = 3
USERS, PER_USER, D = 20_000, 20, 64
# One and two workers of one BLAS thread each: the same n, and n^3 in proportion to the workers.
STRONG, WEAK = 12_288, {1: 9728, 2: 12_288}
TILE = 1024


def job(n: int, cluster: str, workers: int, threads: int) -> dict[str, float]:
    """Seconds of a whole job after its processes are up, and of their start."""
    import pandas as pd

    rows = np.random.default_rng(0).standard_normal((n, D), dtype=np.float32)
    folder = tempfile.mkdtemp(prefix="l3ae-backends-")
    config = make_config(
        {
            "workspace": f"{folder}/w",
            "data": {"options": {"split": "none"}},
            "model": {"reg_x": 100, "reg_f": 5, "reg_e": 100},
            "compute": {
                "cluster": cluster, "workers": workers, "threads": threads, "tile_size": TILE,
                "memory_budget": "1GiB", "dtype": "float32",
            },
        }
    )  # fmt: skip
    try:
        items = pd.DataFrame({"item_id": np.arange(n)})
        log = zipf_log(USERS, PER_USER, n)
        seconds = run(config, interactions=log, items=items, embeddings=rows, until="fit")["stage_seconds"]
    finally:
        shutil.rmtree(folder)
    print(f"  {cluster}, n = {n}, {workers} x {threads}: {seconds}", flush=True)
    return {"fit": seconds["fit"], "start": seconds["cluster start"]}


def medians(jobs: dict[str, tuple[Any, ...]]) -> dict[str, dict[str, float]]:
    """Medians of each job, run in turns."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for _ in range(REPEATS):
        for name, arguments in jobs.items():
            found[name].append(job(*arguments))
    return {
        name: {key: median(one[key] for one in runs) for key in ("fit", "start")}
        for name, runs in found.items()
    }


def rows() -> list[dict[str, Any]]:
    """The figures."""
    with ray_session():
        took = medians(
            {
                "local": (STRONG, "local", 1, 2),
                "ray": (STRONG, "ray", 1, 2),
                "one": (STRONG, "ray", 1, 1),
                "two": (STRONG, "ray", 2, 1),
                "small": (WEAK[1], "ray", 1, 1),
            }
        )
    one, two, small = (took[name]["fit"] for name in ("one", "two", "small"))
    work = (WEAK[2] / WEAK[1]) ** 3 / 2
    plot_scaling(
        RESULTS / "cluster-scaling.png",
        {1: one, 2: two},
        {1: small * work, 2: two},
        (f"strong scaling, n = {STRONG}", f"weak scaling, n = {WEAK[1]} and {WEAK[2]}"),
    )
    return [
        row(f"the same fit on ray over local, n = {STRONG}, seconds", took["ray"]["fit"], "s",
            took["local"]["fit"], 1.15, smaller=True),
        row("start of the Dask cluster on a running Ray, over local", took["ray"]["start"], "s",
            took["local"]["start"]),
        row(f"strong scaling on ray, n = {STRONG}: 2 workers x 1 thread against 1 x 1", one / two,
            "times faster"),
        row(f"weak scaling on ray, n = {WEAK[2]} with 2 workers against n = {WEAK[1]} with 1: efficiency",
            small * work / two, ""),
    ]  # fmt: skip
