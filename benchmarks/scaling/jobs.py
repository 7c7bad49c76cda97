"""One synthetic fit on any back end, timed after its processes are up; medians of runs in turns."""

import contextlib
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np

from l3ae_dist.config.load import make_config
from l3ae_dist.data.synthetic import zipf_log
from l3ae_dist.errors import ClusterError
from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime.backends.dask_session import DaskSession
from l3ae_dist.runtime.executors import DaskExecutor
from l3ae_dist.storage.open_blobs import open_blobs


@dataclass(frozen=True)
class Job:
    """A fit of ``n`` items; on ``address``, on so many of the workers that are there."""

    n: int
    workers: int
    threads: int = 1
    cluster: str = "local"
    address: str | None = None
    insecure: bool = False
    tile: int = 1024
    memory_budget: str = "1GiB"
    users: int = 20_000
    per_user: int = 20
    d: int = 64
    base: str | None = None
    """Path or URL below which the workspace lies, seen by every node; a temporary folder when None."""

    def sized(self, n: int, workers: int) -> "Job":
        """Return the job with another size on another number of workers."""
        return replace(self, n=n, workers=workers)


def seconds(job: Job) -> dict[str, float]:
    """Measure ``fit`` and ``start`` of the cluster; the workspace is removed."""
    import pandas as pd

    rows = np.random.default_rng(0).standard_normal((job.n, job.d), dtype=np.float32)
    items = pd.DataFrame({"item_id": np.arange(job.n)})
    log = zipf_log(job.users, job.per_user, job.n)
    with _place(job.base) as workspace, _on_some_workers(job):
        config = make_config(
            {
                "workspace": workspace,
                "data": {"options": {"split": "none"}},
                "model": {"reg_x": 100, "reg_f": 5, "reg_e": 100},
                "compute": {
                    "cluster": job.cluster, "address": job.address, "insecure": job.insecure,
                    "workers": job.workers, "threads": job.threads, "tile_size": job.tile,
                    "memory_budget": job.memory_budget, "dtype": "float32",
                },
            }
        )  # fmt: skip
        took = run(config, interactions=log, items=items, embeddings=rows, until="fit")["stage_seconds"]
    print(f"  {job.cluster}, n = {job.n}, {job.workers} x {job.threads}: {took}", flush=True)
    return {"fit": took["fit"], "start": took["cluster start"]}


def in_turns(jobs: Mapping[str, Job], repeats: int) -> dict[str, list[dict[str, float]]]:
    """Measure each run of each job: all jobs once, then all again."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            found[name].append(seconds(job))
    return found


def medians(runs: Mapping[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the median of each figure of each job."""
    return {
        name: {key: median(one[key] for one in found) for key in found[0]} for name, found in runs.items()
    }


@contextlib.contextmanager
def _place(base: str | None) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        folder = base or stack.enter_context(tempfile.TemporaryDirectory(prefix="l3ae-scaling-"))
        name = f"scaling-{uuid.uuid4().hex[:8]}"
        stack.callback(open_blobs(folder).delete_prefix, name)
        yield f"{folder.rstrip('/')}/{name}"


class _SomeWorkers:
    """A client whose tasks run on the given workers and no others."""

    def __init__(self, client: Any, addresses: list[str]) -> None:
        self._client, self._addresses = client, addresses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def submit(self, *arguments: Any, **options: Any) -> Any:
        return self._client.submit(*arguments, workers=self._addresses, allow_other_workers=False, **options)


@contextlib.contextmanager
def _on_some_workers(job: Job) -> Iterator[None]:
    """Give tasks to so many workers of a running cluster alone, one machine after the other."""
    if job.cluster != "address":
        yield
        return

    whole = DaskSession.executor

    def executor(session: DaskSession, *, peer_reads: bool = False) -> DaskExecutor:
        addresses = sorted(session.client.scheduler_info(n_workers=-1)["workers"])
        if len(addresses) < job.workers:
            raise ClusterError(
                f"{job.workers} workers are to be measured, the cluster has {len(addresses)}; start more, or "
                "give fewer with --workers."
            )
        chosen = whole(session, peer_reads=peer_reads)
        chosen.slots = chosen.slots // len(addresses) * job.workers
        chosen.client = _SomeWorkers(session.client, addresses[: job.workers])
        return chosen

    with patch.object(DaskSession, "executor", executor):
        yield
