"""Room for Dask's workers on the nodes of a Ray cluster: how many fit, and the wait for it."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l3ae_dist.errors import ClusterError
from l3ae_dist.runtime.events import Message, OnEvent
from l3ae_dist.units import MIB

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup

# What a worker takes of a node's schedulable memory when nothing is said: the rest is for the driver,
# the scheduler and the page cache.
_SHARE = 0.8
_FIRST_WORD_SECONDS = 5.0
_NEXT_WORD_SECONDS = 60.0


@dataclass(frozen=True)
class Node:
    """Whole CPUs and GPUs, and bytes that Ray may give out on a node."""

    cpus: int
    memory: int
    gpus: int = 0


@dataclass(frozen=True)
class WorkerShape:
    """Dask workers, all alike: how many, and the threads, bytes and GPUs of each."""

    workers: int
    threads: int
    memory_budget: int
    gpus: int = 0

    def bundle(self) -> dict[str, float]:
        """Return the resources that one worker asks Ray for."""
        asked = {"CPU": self.threads, "memory": self.memory_budget, "GPU": self.gpus}
        return {name: float(amount) for name, amount in asked.items() if amount}


def fit_to_nodes(
    nodes: Sequence[Node],
    default: WorkerShape,
    *,
    workers: int | None = None,
    threads: int | None = None,
    memory_budget: int | None = None,
) -> WorkerShape:
    """Fill in what is not given from the nodes: a worker is as large as the smallest node allows.

    Parameters
    ----------
    nodes
        Those that are up; nodes without a CPU (or without a GPU, when workers need one) are passed over.
    default
        Taken where no node is up yet (a cluster that grows when it is asked); says the GPUs of a worker.
    workers, threads, memory_budget
        What is given.

    >>> fit_to_nodes([Node(4, 8000), Node(8, 16000)], WorkerShape(1, 1, 1000))
    WorkerShape(workers=3, threads=4, memory_budget=6400, gpus=0)
    """
    gpus = default.gpus
    usable = [node for node in nodes if node.cpus >= (threads or 1) and node.gpus >= gpus]
    if not usable:
        return WorkerShape(
            workers or default.workers,
            threads or default.threads,
            memory_budget or default.memory_budget,
            gpus,
        )
    per_node = 1
    if workers is not None:
        per_node = -(-workers // len(usable))
    elif gpus:
        per_node = min(node.gpus // gpus for node in usable)
    elif threads is not None:
        per_node = min(node.cpus // threads for node in usable)
    threads = threads or max(1, min(node.cpus for node in usable) // per_node)
    memory_budget = memory_budget or int(_SHARE * min(node.memory for node in usable) / per_node)
    fitting = sum(
        min(
            node.cpus // threads,
            node.memory // memory_budget,
            *([node.gpus // gpus] if gpus else []),
        )
        for node in usable
    )
    return WorkerShape(workers or max(1, fitting), threads, memory_budget, gpus)


def ray_nodes() -> list[Node]:
    """List the nodes of the initialised Ray that are up."""
    import ray

    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(int(r.get("CPU", 0)), int(r.get("memory", 0)), int(r.get("GPU", 0))) for r in found]


def worker_gpus(device: str) -> int:
    """Return the number of GPUs that each worker asks the initialised Ray for: one, or none."""
    import ray

    return int(device == "cuda" or (device == "auto" and ray.cluster_resources().get("GPU", 0) >= 1))


@contextlib.contextmanager
def reserved(shape: WorkerShape, *, patience: float, report: OnEvent) -> Iterator["PlacementGroup"]:
    """Reserve room for workers on the initialised Ray, for the ``with`` block.

    Parameters
    ----------
    shape
        The workers; each gets a bundle of a placement group. An autoscaling cluster adds nodes for it.
    patience
        Seconds to wait for the room.
    report
        Takes messages about the wait.

    Raises
    ------
    ClusterError
        When Ray has found no room within ``patience`` seconds.
    """
    import ray
    from ray.util import placement_group, remove_placement_group

    group = placement_group([shape.bundle()] * shape.workers, strategy="PACK")
    try:
        started, word, waited = time.monotonic(), _FIRST_WORD_SECONDS, 0.0
        ready = group.ready()
        while not ray.wait([ready], timeout=min(word, patience - waited))[0]:
            waited = time.monotonic() - started
            if waited >= patience:
                raise ClusterError(
                    f"Ray found no room for {_wish(shape)} within {waited:,.0f} s: {_lack(shape)}; add "
                    "nodes, or lower compute.workers, compute.threads or compute.memory_budget, or wait "
                    "longer with compute.start_timeout."
                )
            report(Message(message=f"waiting for room for {_wish(shape)} on Ray: {_lack(shape)}"))
            word = _NEXT_WORD_SECONDS
        yield group
    finally:
        remove_placement_group(group)


def _wish(shape: WorkerShape) -> str:
    each = ", ".join(_amount(name, amount) for name, amount in shape.bundle().items())
    return f"{shape.workers} Dask worker{'s' if shape.workers > 1 else ''} of {each}"


def _lack(shape: WorkerShape) -> str:
    """Describe which resources are missing, or say that no node has enough of them at once."""
    import ray

    free, have = ray.available_resources(), ray.cluster_resources()
    missing = []
    for name, amount in shape.bundle().items():
        wanted = amount * shape.workers
        if free.get(name, 0.0) < wanted:
            missing.append(
                f"{_amount(name, wanted)} needed, {_amount(name, free.get(name, 0.0))} free of "
                f"{_amount(name, have.get(name, 0.0))}"
            )
    return "; ".join(missing) or "what is free lies on different nodes"


def _amount(name: str, amount: float) -> str:
    return f"{amount / MIB:,.0f} MiB" if name == "memory" else f"{amount:g} {name}"
