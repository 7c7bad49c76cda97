"""How many nodes of which size a plan needs on a cluster; arithmetic on the plan alone."""

from dataclasses import dataclass

import numpy as np

from l3ae_dist.config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.embed.options import TransformOptions
from l3ae_dist.errors import ConfigError, StageMissingError, WorkspaceError
from l3ae_dist.evaluate import candidates
from l3ae_dist.linalg.sparse_gram import exact_dtype
from l3ae_dist.plan import Plan
from l3ae_dist.plan_run import DataSize, dataset_size, plan_sizes, semantic_route
from l3ae_dist.storage.workspace import Workspace

GIB = 2**30
# Kept free on every node for Ray's processes, its object store and the system: an allowance.
RAY_NODE_BYTES = 2 * GIB
OBJECT_STORE_BYTES = 512 * 2**20
# Allowances for one embedding actor: on a core (MiniLM, torch), and on a GPU (weights pass through the host).
CPU_ACTOR_BYTES = GIB
GPU_ACTOR_BYTES = 24 * GIB
CORES_PER_GPU = 4
CORES_PER_WORKER = 8
# The driver: ingest and the Dask client. The head runs it beside Ray's own servers and dashboard.
HEAD_CORES, HEAD_BYTES = 4, 16 * GIB
# Image, logs and scratch; a CUDA image and model weights on GPU nodes. Tiles are not kept on nodes.
NODE_DISK_BYTES, GPU_NODE_DISK_BYTES = 50 * GIB, 150 * GIB
# Without the data, the most popular tile is taken to hold so many times an average tile's interactions.
POPULAR_TILE = 8
# Likewise, the mean square of a user's interactions over the square of the mean.
UNEVEN_USERS = 4
DIMENSIONS = {"minilm": 384, "nv-embed-v2": 4096, "llama-3.2-3b": 3072, "qwen3-embedding-8b": 4096}


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
    """What to ask a platform for.

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


def given_size(
    config: RunConfig, items: int | None, users: int | None, interactions: int | None, dim: int | None
) -> DataSize | None:
    """The size of data that is not there yet; None when no number of it is given.

    Raises
    ------
    ConfigError
        When a number is missing.
    """
    if items is None and users is None and interactions is None:
        return None
    if items is None or users is None or interactions is None:
        raise ConfigError("--items, --users and --interactions go together; give all three or none.")

    if interactions > items * users:
        raise ConfigError(
            f"--interactions is {interactions:,}, but {users:,} users and {items:,} items make only "
            f"{items * users:,} pairs; correct one of the three."
        )

    def widest(tile: int) -> int:
        return min(interactions, POPULAR_TILE * interactions * tile // items)

    itemsize = np.dtype(exact_dtype(users, config.data.options.weight_column is not None)).itemsize

    def pairs() -> float:
        return UNEVEN_USERS * float(interactions) ** 2 / users

    return DataSize(items, users, interactions, feature_dim(config, dim), widest, itemsize, pairs)


def ingested_size(config: RunConfig, dim: int | None) -> DataSize:
    """The size of the dataset in the workspace: that of the configured sources, else the last run's.

    Raises
    ------
    ConfigError
        When it was not ingested yet.
    """
    from l3ae_dist.data.ingest import dataset_id
    from l3ae_dist.job import LAST_RUN_DOC

    try:
        workspace = Workspace.open(config.workspace)
        if config.data.interactions is not None:
            identifier = dataset_id(config.data.interactions, config.data.items, config.data.options)
        else:
            last = workspace.read_doc(LAST_RUN_DOC)
            if last is None:
                raise StageMissingError(f"{config.workspace} holds no dataset.")
            identifier = str(last["dataset"])
        dataset = Dataset(workspace, identifier)
    except WorkspaceError as error:
        raise ConfigError(
            f"the size of the data is not known ({str(error).rstrip('.')}); give --items, --users and "
            "--interactions, or ingest it first with `l3ae-dist embed CONFIG`."
        ) from error
    return dataset_size(dataset, feature_dim(config, dim))


def feature_dim(config: RunConfig, dim: int | None) -> int:
    """Columns of the item features after the configured transformation, 0 for a model without.

    Raises
    ------
    ConfigError
        When neither ``dim`` nor the encoder tells.
    """
    if config.model.uses is None:
        return 0
    own = config.encoder.truncate_dim or DIMENSIONS.get(config.encoder.model.lower())
    transform: TransformOptions = config.transform
    if config.model.uses == "embeddings" and transform.compress != "none":
        return transform.dim
    if dim is None and (own is None or config.model.uses == "words" or config.data.embeddings is not None):
        raise ConfigError(
            f"the columns of the item {config.model.uses} are not known before they are there; give --dim."
        )
    return dim or own or 0


def cluster_plan(config: RunConfig, size: DataSize, *, gpu: bool) -> Plan:
    """The validated plan of a run on a cluster; dtype ``auto`` counts as float64, the larger of the two.

    Raises
    ------
    BudgetError
        With the numbers, when the budget of a worker is too small.
    """
    dtype = "float64" if config.compute.dtype == "auto" else config.compute.dtype
    route = semantic_route(config, (size.items, size.dim) if size.dim else None)
    sparse = config.model.uses == "words"
    plan = plan_sizes(config, candidates(config), size, dtype, route, gpu=gpu, sparse=sparse)
    plan.validate()
    return plan


def cluster_shape(
    config: RunConfig,
    size: DataSize,
    *,
    nodes: int | None = None,
    cores: int | None = None,
    gpus: int | None = None,
    gpus_per_node: int = 1,
) -> ClusterShape:
    """The nodes for a configured run on data of this size.

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
    plan = cluster_plan(config, size, gpu=on_gpu)
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
    cores = cores or each * (compute.threads or CORES_PER_WORKER)
    threads = compute.threads or max(1, cores // each)
    if cores < each * threads:
        raise ConfigError(
            f"--cores is {cores} but {each} workers of {threads} threads need {each * threads}; "
            "raise it, or lower compute.threads or raise --nodes."
        )
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


def _embed_nodes(gpus: int, per_node: int) -> Nodes:
    each = min(gpus, per_node)
    memory = _whole(each * GPU_ACTOR_BYTES + RAY_NODE_BYTES)
    return Nodes(-(-gpus // each), CORES_PER_GPU * each, memory, GPU_NODE_DISK_BYTES, gpus=each)


def workspace_bytes(plan: Plan, size: DataSize) -> int:
    """Three triangles of each system at once, a full product, the interactions, and the item rows F, V, Q."""
    written = {stage.name: stage.bytes_written for stage in plan.stages}
    tiles = 3 * written["gram"] + 3 * written.get("semantic gram", 0.0) + written.get("product", 0.0)
    rows = size.items * size.dim * (4 + 2 * np.dtype(plan.dtype).itemsize)
    return int(tiles + rows + 24 * size.interactions)


def _whole(count: int) -> int:
    """Rounded up to whole GiB."""
    return -(-count // GIB) * GIB
