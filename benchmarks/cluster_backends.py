"""The cost of Ray: one job on the back ends ``local`` and ``ray``, and its scaling on Ray.

Times are those of the solve (stage fit and scoring) and leave the start of processes out, which is reported
beside them. Each figure is the median of runs that alternate between what is compared.
"""

from typing import Any

from report import row
from scaling.jobs import Job, in_turns, medians
from scaling.strong_weak import REPEATS, STRONG, WEAK, WORKERS, measure

from l3ae_dist.runtime.backends.ray_session import ray_session


def rows() -> list[dict[str, Any]]:
    """Measure the same fit on both back ends."""
    with ray_session():
        jobs = {name: Job(STRONG, workers=1, threads=2, cluster=name) for name in ("local", "ray")}
        took = medians(in_turns(jobs, REPEATS))
    return [
        row(f"the same fit on ray over local, n = {STRONG}, seconds", took["ray"]["fit"], "s",
            took["local"]["fit"], 1.15, smaller=True),
        row("start of the Dask cluster on a running Ray, over local", took["ray"]["start"], "s",
            took["local"]["start"]),
    ]  # fmt: skip


def scaling_rows() -> list[dict[str, Any]]:
    """Strong and weak scaling on Ray."""
    with ray_session():
        found, _ = measure(Job(STRONG, workers=1, cluster="ray"), WORKERS, WEAK, picture="cluster-scaling")
    return found
