"""The shape of a cluster: the nodes that a plan needs, and their size; arithmetic on the plan alone."""

from dataclasses import dataclass

from l3ae_dist.config.compute import ComputeConfig
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.errors import ConfigError
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.plan_of_config import cluster_plan, workspace_bytes
from l3ae_dist.units import GIB, MIB

# Kept free on every node for Ray's processes, its object store and the system: an allowance.
RAY_NODE_BYTES = 2 * GIB
OBJECT_STORE_BYTES = 512 * MIB
# Allowances for one embedding actor: on a core (MiniLM, torch), and on a GPU (weights pass through the host).
CPU_ACTOR_BYTES = GIB
GPU_ACTOR_BYTES = 24 * GIB
CORES_PER_GPU = 4
CORES_PER_WORKER = 8
# The driver: ingest and the Dask client. The head runs it beside Ray's own servers and dashboard.
HEAD_CORES, HEAD_BYTES = 4, 16 * GIB
# Image, logs and scratch; a CUDA image and model weights on GPU nodes. Tiles are not kept on nodes.
NODE_DISK_BYTES, GPU_NODE_DISK_BYTES = 50 * GIB, 150 * GIB


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind; ``workers`` counts the Dask workers on each, bytes are per node."""

    count: int
    cores: int
    memory_bytes: int
    disk_bytes: int
    gpus: int = 0
    workers: int = 0


@dataclass(frozen=True)
class ClusterShape:
    """The nodes to ask a platform for.

    Parameters
    ----------
    plan
        What it follows from.
    threads
        BLAS threads of a Dask worker.
    head
        The node of the driver and of Ray's servers; it runs no tasks.
    solve
        Nodes of the Dask workers.
    embed
        GPU nodes that embed and do nothing else, if any.
    workspace_bytes
        What the workspace holds at most: of each system the Gram matrix and two more triangles, and
        the item rows.
    """

    plan: Plan
    threads: int
    head: Nodes
    solve: Nodes
    embed: Nodes | None
    workspace_bytes: int


def cluster_shape(
    config: RunConfig,
    size: DataSize,
    *,
    nodes: int | None = None,
    cores: int | None = None,
    gpus: int | None = None,
    gpus_per_node: int = 1,
) -> ClusterShape:
    """Work out the nodes for a configured run on data of this size.

    Parameters
    ----------
    config, size
        What is to be run.
    nodes
        Nodes of the Dask workers; one for each worker when None, or as the GPUs ask for.
    cores
        Cores of each; the workers' threads when None, 8 for a worker whose threads are not configured.
    gpus, gpus_per_node
        GPUs in all: one for each worker that computes on one (``compute.device: cuda``), else those
        that embed, 1 when None and text is embedded by more than MiniLM.

    Raises
    ------
    ConfigError
        For more nodes than workers, or fewer cores than threads.
    BudgetError
        When the budget of a worker is too small for the plan.
    """
    compute = config.compute
    on_gpu = compute.device == "cuda"
    plan = cluster_plan(config, size)
    embeds = config.model.uses == "embeddings" and config.data.embeddings is None
    if gpus is None:
        gpus = compute.workers if on_gpu else int(embeds and config.encoder.model.lower() != "minilm")
    if on_gpu and gpus != compute.workers:
        raise ConfigError(f"--gpus is {gpus} but each of the {compute.workers} workers computes on one GPU.")
    if on_gpu and nodes is None:
        nodes = -(-compute.workers // gpus_per_node)
    nodes = compute.workers if nodes is None else nodes
    if nodes > compute.workers:
        raise ConfigError(f"--nodes is {nodes} but compute.workers is {compute.workers}; give it as many.")
    each = -(-compute.workers // nodes)
    cores, threads = _cores_and_threads(compute, each, cores)
    memory = each * compute.memory_budget
    if embeds and not gpus:  # before the solve stages, one actor embeds on each core
        memory = max(memory, cores * CPU_ACTOR_BYTES)
    solve = Nodes(
        count=nodes,
        cores=cores,
        memory_bytes=_whole(memory + RAY_NODE_BYTES),
        disk_bytes=GPU_NODE_DISK_BYTES if on_gpu else NODE_DISK_BYTES,
        gpus=each if on_gpu else 0,
        workers=each,
    )
    embed = None if on_gpu or not gpus else _embed_nodes(gpus, gpus_per_node)
    head = Nodes(1, HEAD_CORES, HEAD_BYTES, NODE_DISK_BYTES)
    return ClusterShape(plan, threads, head, solve, embed, workspace_bytes(plan, size))


def _cores_and_threads(compute: ComputeConfig, each: int, cores: int | None) -> tuple[int, int]:
    """Return the cores of a node with ``each`` workers, and the threads of one of them."""
    cores = cores or each * (compute.threads or CORES_PER_WORKER)
    threads = compute.threads or max(1, cores // each)
    if cores < each * threads:
        raise ConfigError(
            f"--cores is {cores} but {each} workers of {threads} threads need {each * threads}; "
            "raise it, or lower compute.threads or raise --nodes."
        )
    return cores, threads


def _embed_nodes(gpus: int, per_node: int) -> Nodes:
    each = min(gpus, per_node)
    memory = _whole(each * GPU_ACTOR_BYTES + RAY_NODE_BYTES)
    return Nodes(-(-gpus // each), CORES_PER_GPU * each, memory, GPU_NODE_DISK_BYTES, gpus=each)


def _whole(count: int) -> int:
    """Round bytes up to whole GiB."""
    return -(-count // GIB) * GIB
