"""Factor and invert a synthetic system through the tile engine, on a cluster of its own.

The system is that of a calibration's trial, ``Y Y' / r + I`` with ``Y`` n x r random.
"""

import contextlib
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from l3ae_dist.graphs.tasks import Graph
from l3ae_dist.planning.plan import Plan, make_plan
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.trial_solve import RANK, system_rows, write_system
from l3ae_dist.planning.worker_benchmarks import measure_kernels
from l3ae_dist.runtime.backends.dask_session import DaskSession
from l3ae_dist.runtime.backends.local import local_cluster
from l3ae_dist.runtime.events import Event
from l3ae_dist.runtime.memory import MemorySampler
from l3ae_dist.runtime.run_graph import StageStats, run_graph
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

MIB, GIB = 2**20, 2**30


def dense_system(n: int) -> np.ndarray:
    y = system_rows(n, "float32")
    matrix = np.asarray(y @ y.T, order="C")
    matrix /= RANK
    matrix[np.diag_indices(n)] += 1
    return matrix


@dataclass
class Solved:
    """Plan, times, memory and residual of one run."""

    plan: Plan
    stages: dict[str, StageStats]
    peak: dict[str, int]
    idle: dict[str, int]
    residual: float | None
    start_seconds: float
    graphs: dict[str, Graph]
    device_peak: int = 0
    events: list[Event] = field(repr=False, default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages.values())


def tile_solve(
    n: int,
    *,
    memory_budget: int,
    workers: int = 1,
    threads: int = 2,
    tile: int | None = None,
    stop: str | None = None,
    sample_seconds: float = 0.2,
    session: DaskSession | None = None,
    device: str = "cpu",
    folder: str | None = None,
    arithmetic: str = "float32",
    block: int | None = None,
    url: str | None = None,
    peer_reads: bool = True,
) -> Solved:
    """Write the Gram tiles, then factor and invert (or ``stop`` after a stage); the workspace is removed.

    It runs on the cluster of ``session``, which has these workers and threads, or on one of its own; the
    workspace is made in ``folder`` (or at ``url``, where it is left), and the workers compute on ``device``,
    in ``arithmetic``. Blocks have at most ``block`` tiles a side; several workers read tiles from each other
    unless ``peer_reads`` is False.
    Sampling the memory of a worker walks its page tables, which takes a core some milliseconds.
    """
    machine = Machine(
        memory_budget,
        workers,
        gpu=device == "cuda",
        tile=tile,
        arithmetic=arithmetic,
        block=block,
        peer_reads=peer_reads and workers > 1,
    )
    plan = make_plan(DataSize(items=n, users=1, interactions=1), ModelNeeds(), machine)
    made = tempfile.mkdtemp(prefix="l3ae-engine-", dir=folder) if url is None else None
    url = made or str(url)
    try:
        context, planned = write_system(Workspace.create(url), "system", plan)
        context = replace(context, device=device)
        events: list[Event] = []
        stages: dict[str, StageStats] = {}
        graphs: dict[str, Graph] = {}
        started = time.perf_counter()
        opened = local_cluster(workers=workers, threads=threads, memory_budget=memory_budget, dashboard=False)
        with opened if session is None else contextlib.nullcontext(session) as session:
            start_seconds = time.perf_counter() - started
            executor = session.executor(peer_reads=peer_reads)
            if device != "cpu":  # its libraries are loaded then, as those of its peer are
                for dtype in {"float32", arithmetic}:
                    session.client.run(measure_kernels, dtype, (64,), device, 1, 0.0)
            groups = {"workers": session.pids}
            with MemorySampler(groups, interval=0.2) as idle:
                idle.sample()
            with MemorySampler(groups, interval=sample_seconds) as memory:
                for graph, targets in planned:
                    graphs[graph.stage] = graph
                    stages[graph.stage] = run_graph(
                        graph, context, executor, targets=targets, on_event=events.append
                    )
                    if graph.stage == stop:
                        break
                memory.sample()
            device_peak = _device_peak(session) if device == "cuda" else 0
        residual = None if stop else probe_residual(context.array("P"), system_rows(n, "float32"))
        return Solved(
            plan, stages, asdict(memory.peak), asdict(idle.peak), residual, start_seconds, graphs,
            device_peak, events,
        )  # fmt: skip
    finally:
        if made is not None:
            shutil.rmtree(made)


def _device_peak(session: DaskSession) -> int:
    """Return the most bytes of a GPU that a worker's tensors took."""
    import torch

    return int(max(session.client.run(torch.cuda.max_memory_allocated).values()))


def probe_residual(p: ChunkArray, y: np.ndarray) -> float:
    """Return ``||(Y Y' / r + I) P z - z|| / ||z||`` for one random z, from the lower tiles."""
    n = p.shape[0]
    z = np.random.default_rng(1).standard_normal(n)
    image = np.zeros(n)
    for i in range(p.grid[0]):
        for j in range(i + 1):
            block = p.read(i, j)
            rows, columns = p.row_range(i), p.row_range(j)
            image[rows] += block @ z[columns]
            if i != j:
                image[columns] += block.T @ z[rows]
    y = y.astype(np.float64)
    error = y @ (y.T @ image) / RANK + image - z
    return float(np.linalg.norm(error) / np.linalg.norm(z))


def dask_solve(n: int, chunk: int, session: DaskSession) -> dict[str, Any]:
    """Solve with ``dask.array.linalg``: Cholesky, two triangular solves with the identity."""
    import dask.array as da
    from distributed import wait

    y = system_rows(n, "float32")
    with MemorySampler({"workers": session.pids}, interval=0.1) as memory:
        memory.sample()
        idle = memory.peak.workers_sum
        rows = da.from_array(y, chunks=(chunk, RANK))
        system = rows @ rows.T / np.float32(RANK) + da.eye(n, chunks=chunk, dtype="float32")
        system = system.persist()
        wait(system)
        started = time.perf_counter()
        lower = da.linalg.cholesky(system, lower=True)
        half = da.linalg.solve_triangular(lower, da.eye(n, chunks=chunk, dtype="float32"), lower=True)
        inverse = da.linalg.solve_triangular(lower.T, half, lower=False).persist()
        wait(inverse)
        seconds = time.perf_counter() - started
        memory.sample()
        z = np.random.default_rng(1).standard_normal(n)
        image = (inverse.astype("float64") @ z).compute()
    y64 = y.astype(np.float64)
    error = y64 @ (y64.T @ image) / RANK + image - z
    return {
        "seconds": seconds,
        "peak_above_idle": memory.peak.workers_sum - idle,
        "residual": float(np.linalg.norm(error) / np.linalg.norm(z)),
        "chunk": chunk,
    }
