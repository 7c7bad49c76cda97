"""The calibration of a cluster: its rates, measured in less than a minute."""

import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from typing import Literal, TypeVar
from uuid import uuid4

import numpy as np

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.graphs.chunk_tasks import ChunkTask
from l3ae_dist.graphs.gram import gram_tile
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.planning.embedding_rate import measure_texts
from l3ae_dist.planning.memory_benchmarks import (
    CopyRates,
    give_back_tiles,
    hold_tiles,
    measure_device_copies,
    measure_local,
    measure_peers,
)
from l3ae_dist.planning.plan_of_config import fill_in
from l3ae_dist.planning.rates import ASSUMED_PEER_BYTES_S, Rates, StorageRates
from l3ae_dist.planning.tile_size import MAX_TILE
from l3ae_dist.planning.trial_solve import SCRATCH, trial_overlap
from l3ae_dist.planning.worker_benchmarks import (
    StoreSeconds,
    measure_copies,
    measure_kernels,
    measure_sparse,
    measure_store,
    nothing,
)
from l3ae_dist.planning.worker_memory import INTERPRETER_BYTES
from l3ae_dist.runtime.backends.dask_session import DaskSession
from l3ae_dist.runtime.backends.ray_session import ray_session
from l3ae_dist.runtime.backends.session import Session, open_cluster
from l3ae_dist.runtime.event_log import told_as_events
from l3ae_dist.runtime.events import Message, OnEvent, ignore
from l3ae_dist.runtime.executors import Executor
from l3ae_dist.runtime.versions import blas_builds, blas_threads, machine, versions
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.workspace import Workspace

# Rows of the tiles whose kernels are measured; a GPU's are wanted at the largest too.
TILES = {"cpu": (512, 1024, 2048), "cuda": (1024, 2048, MAX_TILE)}
# Tiles that a worker holds while it is measured: operands, accumulators and their copies.
_HELD = 8
# Tiles that each worker serves to others, of the larger kind.
_SERVED = 2
# Small and large tiles of the storage measurement, and how many of each.
_STORED = {128: 24, 2048: 8}
_TASKS, _ROUND_TRIPS = 240, 16
# What a function that workers call returns.
Result = TypeVar("Result")


def calibrate(config: RunConfig, *, texts: bool = True, on_event: OnEvent = ignore) -> Rates:
    """Measure the configured cluster and keep the rates in the workspace.

    Parameters
    ----------
    config
        Cluster, workers, dtype and encoder; the workspace, whose storage is measured, is made where missing.
    texts
        Whether to embed some texts too, which loads the encoder.
    on_event
        Called with ``log`` events.

    Returns
    -------
    The rates, all workers busy at the same time. Cost: less than a minute.
    """
    workspace = Workspace.create(config.workspace)
    _say(on_event, f"the rates will be kept in the workspace {workspace.url}")
    ray = ray_session() if config.compute.cluster == "ray" else contextlib.nullcontext()
    with WorkspaceLock(workspace, "calibrate", told_as_events(on_event)), ray:
        # on Ray, workers and their memory come from the nodes, as for a run
        config = config.model_copy(update={"compute": fill_in(config.compute)})
        try:
            with open_cluster(config.compute, on_event) as session:
                rates = measure_cluster(config, session, workspace, on_event)
        finally:
            workspace.delete(SCRATCH)
        if texts and config.model.uses == "embeddings" and config.data.embeddings is None:
            _say(on_event, f"embedding with {config.encoder.model}")
            rate = measure_texts(config.encoder, config.compute.cluster, config.compute.gpus_per_actor)
            rates = rates.model_copy(update={"texts_per_second": rate, "encoder": config.encoder.model})
        workspace.write_doc(layout.CALIBRATION, rates.model_dump(mode="json"))
    return rates


def measure_cluster(config: RunConfig, session: Session, workspace: Workspace, on_event: OnEvent) -> Rates:
    """Measure everything but texts on an open cluster; scratch arrays stay in the workspace.

    Parameters
    ----------
    config
        Dtype, device and memory budget.
    session
        The open cluster.
    workspace
        Whose storage is measured.
    on_event
        Called with log events.
    """
    compute = config.compute
    dtypes: tuple[str, ...] = ("float32", "float64")
    if compute.dtype != "auto":
        dtypes = tuple(sorted({compute.dtype, compute.arithmetic} - {"auto"}))
    device = _device(session, compute.device)
    # what is measured needs the memory in which workers that have served a run keep its tiles
    on_workers(session, give_back_tiles)
    workers, threads = len(_addresses(session)), _threads(session)
    _say(on_event, f"measuring {workers} worker(s): tasks, kernels, storage")
    task_seconds, latency = task_times(session.executor())
    gflops = {dtype: _kernel_rates(session, dtype, device, compute.memory_budget) for dtype in dtypes}
    sparse = on_workers(session, measure_sparse, 1024)
    copies = on_workers(session, measure_copies, 2048)
    stored = store_rates(session, workspace)
    between = _between_workers(session, workspace, compute.peer_reads == "off", on_event)
    device_copies = _device_copies(session, device)
    directory = compute.local_directory
    local = on_workers(session, measure_local, directory, max(_STORED)) if directory else []
    rates = Rates(
        source=f"measured with {workers} x {threads} threads",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine={**machine(), "blas": blas_builds(), "versions": versions()},
        workers=workers,
        threads=threads,
        device=device,
        gflops=gflops,
        copy_bytes_s=median(copies),
        task_seconds=task_seconds,
        latency_seconds=latency,
        pair_rate=median(one["pair_rate"] for one in sparse),
        score_flops=median(one["score_flops"] for one in sparse),
        rank_rate=median(one["rank_rate"] for one in sparse),
        upload_bytes_s=device_copies and device_copies.upload,
        download_bytes_s=device_copies and device_copies.download,
        peer_bytes_s=between,
        local_bytes_s=median(local) if local else None,
        **stored,
    )
    _say(on_event, "a trial factorisation and inversion")
    sizes = _fitting(TILES[device], compute.memory_budget, np.dtype(dtypes[0]).itemsize)
    overlap = {
        tile: trial_overlap(session, workspace, rates, tile, dtypes[0], compute.memory_budget)
        for tile in sizes
    }
    on_workers(session, give_back_tiles)
    return rates.model_copy(update={"overlap": overlap})


def _kernel_rates(session: Session, dtype: str, device: str, budget: int) -> dict[str, dict[int, float]]:
    """Measure the kernels on every worker, and return the median rate by kernel and tile."""
    tiles = _fitting(TILES[device], budget, np.dtype(dtype).itemsize)
    every = on_workers(session, measure_kernels, dtype, tiles, device, 2)
    return {
        kernel: {tile: median(one[kernel][tile] for one in every) for tile in tiles} for kernel in every[0]
    }


def task_times(executor: Executor) -> tuple[float, float]:
    """Measure the client's seconds for a task when many are in flight, and the rest of a lone one's way."""

    def submit(number: int) -> None:
        executor.submit(nothing, ChunkTask(TileRef("nothing", number, 0), gram_tile), None)

    submit(0)
    executor.wait()
    trips = []
    for number in range(_ROUND_TRIPS):
        began = time.perf_counter()
        submit(number)
        executor.wait()
        trips.append(time.perf_counter() - began)
    began, sent = time.perf_counter(), 0
    for finished in range(_TASKS):
        while sent < min(_TASKS, finished + executor.slots):
            submit(sent)
            sent += 1
        executor.wait()
    each = (time.perf_counter() - began) / _TASKS
    return each, max(0.0, median(trips) - each)


def store_rates(session: Session, workspace: Workspace) -> StorageRates:
    """Measure latency and bandwidth of tiles, of one worker alone and of all together."""
    count = len(_addresses(session))
    seconds: dict[tuple[int, int], list[StoreSeconds]] = {}
    for tile, columns in _STORED.items():
        path = f"{SCRATCH}/store-{tile}-{uuid4().hex}"
        shape, chunks = (count * tile, columns * tile), (tile, tile)
        ChunkArray.create(workspace, path, shape=shape, chunks=chunks, dtype="float32")
        for workers in {1, count}:
            seconds[tile, workers] = on_workers(
                session, measure_store, workspace.url, path, columns, numbered=True, only=workers
            )
    read_seconds, read_alone, read_together = _latency_and_bandwidth(seconds, count, "read")
    write_seconds, write_alone, write_together = _latency_and_bandwidth(seconds, count, "write")
    return {
        "read_seconds": read_seconds,
        "read_bytes_s": read_alone,
        "shared_read_bytes_s": read_together,
        "write_seconds": write_seconds,
        "write_bytes_s": write_alone,
        "shared_write_bytes_s": write_together,
    }


def _latency_and_bandwidth(
    seconds: dict[tuple[int, int], list[StoreSeconds]], count: int, what: Literal["read", "write"]
) -> tuple[float, float, float]:
    """Return the seconds of a small tile, and bytes a second of one worker and of all ``count`` of them."""
    small, large = sorted(_STORED)
    latency = median(getattr(one, what) for one in seconds[small, 1])
    alone, together = (
        sum(4.0 * large**2 / max(getattr(one, what) - latency, 1e-9) for one in seconds[large, workers])
        for workers in (1, count)
    )
    return latency, alone, max(together, alone)


def peer_rate(session: Session, workspace: Workspace) -> float | None:
    """Measure the bytes a second of tiles that a worker receives from another while it sends as many.

    Parameters
    ----------
    session
        With two workers at least, which all ask each other at the same time.
    workspace
        Holds the tiles too, as that of a run does.

    Returns
    -------
    The median of the workers; None where no tile arrived.
    """
    addresses, tile = _addresses(session), max(_STORED)
    path = f"{SCRATCH}/peers-{uuid4().hex}"
    shape, chunks = (len(addresses) * tile, _SERVED * tile), (tile, tile)
    ChunkArray.create(workspace, path, shape=shape, chunks=chunks, dtype="float32")
    try:
        on_workers(session, hold_tiles, workspace.url, path, numbered=True)
        found = on_workers(session, measure_peers, workspace.url, path, addresses, numbered=True)
    finally:
        on_workers(session, give_back_tiles)
    rates = [rate for rate in found if rate is not None]
    return median(rates) if rates else None


def _between_workers(session: Session, workspace: Workspace, off: bool, on_event: OnEvent) -> float | None:
    """Measure tiles between workers, or say why not and which rate is assumed instead."""
    workers, rate = len(_addresses(session)), None
    if off:
        why = "compute.peer_reads is off"
    elif workers == 1:
        why = "there is one worker, which has nobody to read from"
    else:
        _say(on_event, f"tiles between the {workers} workers")
        rate, why = peer_rate(session, workspace), "no tile arrived from another worker"
    if rate is None:
        assumed = f"{ASSUMED_PEER_BYTES_S / 1e9:g} GB/s a worker is assumed"
        _say(on_event, f"the rate of tiles between workers was not measured, because {why}; {assumed}")
    return rate


def _device_copies(session: Session, device: str) -> CopyRates | None:
    """Measure copies to and from the devices of all workers; None where they compute on a processor."""
    if device != "cuda":
        return None
    found = on_workers(session, measure_device_copies, device, 2048)
    return CopyRates(*(median(rates) for rates in zip(*found, strict=True)))


def on_workers(
    session: Session,
    function: Callable[..., Result],
    *arguments: object,
    numbered: bool = False,
    only: int | None = None,
) -> list[Result]:
    """Call ``function(*arguments, start)`` on all workers at the same time.

    Parameters
    ----------
    session
        The open cluster.
    function
        Begins at the Unix time ``start``.
    arguments
        Given to it before ``start``.
    numbered
        Whether it takes the number of its worker too, before ``start``.
    only
        Only the first so many workers.
    """
    start = time.time() + 0.25
    addresses = _addresses(session)[:only]
    client = getattr(session, "client", None)
    calls = [
        (*arguments, number, start) if numbered else (*arguments, start) for number in range(len(addresses))
    ]
    if client is None:
        return [function(*call) for call in calls]
    futures = [
        client.submit(function, *call, workers=[address], pure=False, allow_other_workers=False)
        for address, call in zip(addresses, calls, strict=True)
    ]
    return list(client.gather(futures))


def _addresses(session: Session) -> list[str]:
    """Return the addresses of the workers; without a cluster, one name for this process."""
    if not isinstance(session, DaskSession):
        return ["here"]
    return sorted(session.client.scheduler_info(n_workers=-1)["workers"])


def _threads(session: Session) -> int:
    return int(on_workers(session, threads_here, only=1)[0])


def threads_here(start: float) -> int:
    """Return the BLAS threads of this worker."""
    return blas_threads()


def _device(session: Session, wanted: str) -> str:
    """Return where the workers compute: ``auto`` is decided by each, and they are taken to be alike."""
    if wanted != "auto":
        return wanted
    return "cuda" if on_workers(session, sees_gpu, only=1)[0] else "cpu"


def sees_gpu(start: float) -> bool:
    """Tell whether this process would compute on a GPU."""
    from l3ae_dist.linalg.visible_gpus import gpu_visible

    return gpu_visible()


def _fitting(tiles: tuple[int, ...], budget: int, itemsize: int) -> tuple[int, ...]:
    """Return the tiles of which a worker can hold what is measured; the smallest in any case."""
    free = budget - INTERPRETER_BYTES
    return tuple(tile for tile in tiles if _HELD * tile**2 * itemsize <= free) or tiles[:1]


def _say(on_event: OnEvent, message: str) -> None:
    on_event(Message(message=message))
