"""A Dask cluster inside Ray: scheduler and workers are actors, so that one Ray job holds both engines.

An actor is what a nanny is to a local worker: it fixes the BLAS threads before NumPy is loaded, ends a
worker that takes more memory than it may, and is started again by Ray wherever it dies.
"""

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l3ae_dist.errors import ClusterError
from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.runtime.backends.certificate import temporary_certificate
from l3ae_dist.runtime.backends.dask_session import (
    HTTP_ROUTES,
    LOOPBACK,
    WORKER_CONFIG,
    DaskSession,
    machine_and_pid,
)
from l3ae_dist.runtime.backends.frozen import end_process, is_stopped
from l3ae_dist.runtime.backends.frozen_scheduler import FrozenScheduler
from l3ae_dist.runtime.backends.local import THREADS
from l3ae_dist.runtime.backends.ray_placement import WorkerShape, reserved, worker_gpus
from l3ae_dist.runtime.backends.ray_session import ray_session
from l3ae_dist.runtime.events import OnEvent, ignore
from l3ae_dist.runtime.streams import neutralise_streams
from l3ae_dist.storage.holder import machine as this_machine

if TYPE_CHECKING:
    from distributed.security import Security
    from ray import ObjectRef
    from ray.actor import ActorHandle
    from ray.util.placement_group import PlacementGroup

# Processes start, import Dask and connect; Ray has found room for them before.
_START_SECONDS = 300.0
_GOODBYE_SECONDS = 15.0
# A Ray that this process started never grows; only what ended a moment ago may still hold resources.
_PRIVATE_PATIENCE = 10.0
_WATCH_SECONDS = 0.1
# The report of a worker that is about to be ended reaches the scheduler within this time.
_REPORT_SECONDS = 0.2


@dataclass(frozen=True)
class SchedulerInfo:
    """Addresses of a scheduler and of its dashboard, with the machine and the id of its process."""

    address: str
    dashboard: str
    machine: str
    pid: int


class SchedulerActor:
    """The Dask scheduler, in the event loop of an asynchronous actor.

    Parameters
    ----------
    dashboard, dashboard_address
        As for :func:`ray_cluster`.
    security
        ``distributed.Security`` with the certificate that everybody in this cluster shows.
    """

    # Ray awaits it, in the loop that the scheduler then lives in
    async def __init__(  # type: ignore[misc]
        self, dashboard: bool, dashboard_address: str, security: "Security"
    ) -> None:
        import dask
        from distributed import Scheduler

        neutralise_streams()
        routes = HTTP_ROUTES if dashboard else []
        dask.config.set({**WORKER_CONFIG, "distributed.scheduler.http.routes": routes})
        self._host = dashboard_address.rpartition(":")[0]
        self._scheduler = await Scheduler(
            host=_node_ip(),
            port=0,
            protocol="tls",
            security=security,
            dashboard=dashboard,
            # the scheduler's HTTP server listens even without pages
            dashboard_address=dashboard_address if dashboard else LOOPBACK,
        )

    async def info(self) -> SchedulerInfo:
        """Return the scheduler's addresses and its process, once it runs."""
        host = _node_ip() if self._host in ("", "0.0.0.0", "::") else self._host  # noqa: S104
        dashboard = f"http://{host}:{self._scheduler.http_server.port}/status"
        return SchedulerInfo(self._scheduler.address, dashboard, *machine_and_pid())

    async def stop(self) -> None:
        """Close the scheduler."""
        await self._scheduler.close()


class WorkerActor:
    """A Dask worker, in the event loop of an asynchronous actor that Ray restarts.

    Parameters
    ----------
    scheduler
        Address of the scheduler.
    memory_limit
        Bytes that the process may hold; it ends itself when it holds 98 % of them.
    security
        As for :class:`SchedulerActor`.
    """

    async def __init__(  # type: ignore[misc]
        self, scheduler: str, memory_limit: int, security: "Security"
    ) -> None:
        import dask
        from distributed import Worker

        neutralise_streams()
        dask.config.set(WORKER_CONFIG)
        self._worker = await Worker(
            scheduler,
            nthreads=STAGED,
            memory_limit=memory_limit,
            host=_node_ip(),
            dashboard=False,
            dashboard_address=LOOPBACK,
            security=security,
            death_timeout=60,
        )
        self._stopping = False
        self._end = asyncio.create_task(self._end_with_worker())
        threading.Thread(target=self._watch, name="l3ae-memory-limit", daemon=True).start()

    async def pid(self) -> int:
        """Return the process id, once the worker has joined the scheduler."""
        return os.getpid()

    async def stop(self) -> None:
        """Close the worker, which removes its folder."""
        self._stopping = True
        await self._worker.close()

    async def _end_with_worker(self) -> None:
        """End the process of a worker that lost its scheduler and closed itself: a new one connects again."""
        await self._worker.finished()
        if not self._stopping:
            os.kill(os.getpid(), signal.SIGKILL)

    def _watch(self) -> None:
        """End the process when it is over its memory limit, and say so, as a nanny does."""
        import psutil

        process, manager = psutil.Process(), self._worker.memory_manager
        limit = WORKER_CONFIG["distributed.worker.memory.terminate"] * manager.memory_limit
        while (rss := process.memory_info().rss) <= limit:
            time.sleep(_WATCH_SECONDS)
        message = {"worker": self._worker.address, "pid": process.pid, "rss": rss}
        self._worker.log_event("worker-restart-memory", message)
        time.sleep(_REPORT_SECONDS)
        process.kill()


def _node_ip() -> str:
    import ray

    return str(ray.util.get_node_ip_address())


@contextlib.contextmanager
def ray_cluster(
    *,
    workers: int,
    threads: int,
    memory_budget: int,
    device: str = "cpu",
    dashboard: bool = True,
    dashboard_address: str = LOOPBACK,
    patience: float = 600.0,
    report: OnEvent = ignore,
) -> Iterator[DaskSession]:
    """Start Dask's scheduler and workers as actors of the surrounding Ray, or of a private one.

    The scheduler runs beside the driver; workers get a placement group, and come back when they are
    killed. All of them speak TLS with a certificate made for this cluster alone.

    Parameters
    ----------
    workers, threads, memory_budget
        As for :func:`~l3ae_dist.runtime.backends.local.local_cluster`; each worker asks Ray for
        ``threads`` CPUs and ``memory_budget`` bytes of memory.
    device
        With ``cuda``, or ``auto`` where the cluster has GPUs, each worker asks for one GPU.
    dashboard, dashboard_address
        True to serve the Dask dashboard on the scheduler's node, and its address there.
    patience
        Seconds to wait for the resources, while other work ends or a cluster grows.
    report
        Takes ``log`` events about that wait.

    Raises
    ------
    ClusterError
        When there is no room, or an actor does not start.
    """
    from distributed import Client
    from distributed.utils import silence_logging_cmgr

    with ray_session() as surrounding, contextlib.ExitStack() as stack:
        shape = WorkerShape(workers, threads, memory_budget, worker_gpus(device))
        if surrounding.private:
            patience = min(patience, _PRIVATE_PATIENCE)
        group = stack.enter_context(reserved(shape, patience=patience, report=report))
        security = temporary_certificate()
        scheduler = _start_scheduler(dashboard, dashboard_address, security)
        stack.callback(_stop, [scheduler])
        info = _get([scheduler.info.remote()], "scheduler")[0]
        actors = _start_workers(group, shape, info.address, security)
        stack.callback(_stop, actors)
        _get([actor.pid.remote() for actor in actors], "workers")
        pids = [info.pid] if info.machine == this_machine() else []
        stack.callback(_end_stopped, pids)
        # a failing task and a lost worker are told by this package
        stack.enter_context(silence_logging_cmgr(logging.CRITICAL))
        client = stack.enter_context(Client(info.address, security=security, timeout="30s"))
        watch = FrozenScheduler(client, *pids)
        stack.enter_context(watch.watched())
        session = DaskSession(client, info.dashboard if dashboard else None, scheduler=watch)
        session.scheduler_pids = pids
        session.refresh_pids()
        yield session


def _start_scheduler(dashboard: bool, dashboard_address: str, security: "Security") -> "ActorHandle":
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    actor = ray.remote(SchedulerActor).options(
        num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=True)
    )
    return actor.remote(dashboard, dashboard_address, security)


def _start_workers(
    group: "PlacementGroup", shape: WorkerShape, scheduler: str, security: "Security"
) -> list["ActorHandle"]:
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    asked = shape.bundle()
    actor = ray.remote(WorkerActor)
    return [
        actor.options(
            num_cpus=asked["CPU"],
            memory=asked["memory"],
            num_gpus=asked.get("GPU", 0),
            max_restarts=-1,
            runtime_env={"env_vars": dict.fromkeys(THREADS, str(shape.threads))},
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index),
        ).remote(scheduler, shape.memory_budget, security)
        for index in range(shape.workers)
    ]


def _get(references: list["ObjectRef"], what: str) -> list[Any]:
    import ray

    try:
        return list(ray.get(references, timeout=_START_SECONDS))
    except ray.exceptions.RayError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise ClusterError(
            f"the Dask {what} did not start on Ray ({reason}); look into the logs of Ray's workers."
        ) from error


def _end_stopped(pids: list[int]) -> None:
    """End processes of this cluster that stand still: they would not close, and outlive it."""
    for pid in filter(is_stopped, pids):
        end_process(pid)


def _stop(actors: list["ActorHandle"]) -> None:
    """Let the actors close, then end them for good."""
    import ray

    goodbyes = [actor.stop.remote() for actor in actors]
    ray.wait(goodbyes, num_returns=len(goodbyes), timeout=_GOODBYE_SECONDS)
    for actor in actors:
        ray.kill(actor, no_restart=True)
