"""The plan of a configured run: what :mod:`l3ae_dist.plan` needs to know, taken from the data."""

import numpy as np

from l3ae_dist.config import ComputeConfig, RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import Rows, SparseRows, feature_path, open_rows
from l3ae_dist.errors import BudgetError
from l3ae_dist.family import systems_of
from l3ae_dist.linalg.sparse_gram import exact_dtype
from l3ae_dist.linalg.spectral import choose_dtype, condition_number
from l3ae_dist.linalg.torch_kernels import gpu_visible
from l3ae_dist.members import ModelSpec
from l3ae_dist.plan import INTERPRETER_BYTES, Plan, choose_tile, make_plan
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.systems import spectrum


def plan_run(
    config: RunConfig,
    workspace: Workspace,
    dataset: Dataset,
    embedding: str | None,
    specs: tuple[ModelSpec, ...],
) -> tuple[Plan, float, str]:
    """The plan for these models on this data, not yet validated, the condition estimate and the route.

    Cost: a few Lanczos steps on the interactions, O(nnz), the first time.

    Raises
    ------
    NumericalError
        When float32 is demanded where it loses too many digits, or nothing would do.
    BudgetError
        When not even the smallest tile fits the budget.
    """
    compute = config.compute
    features = None if embedding is None else open_rows(workspace, feature_path(embedding))
    route = semantic_route(config, dataset, features)
    systems = {system for spec in specs for system in systems_of(spec, embedding, route)}
    kappas = [condition_number(spectrum(workspace, dataset, system), ridge) for ridge, system in systems]
    kappa = max(kappas, default=1.0)
    dtype = choose_dtype(kappa, compute.dtype)
    direct = route == "direct" and any(spec.with_semantics for spec in specs)
    # sparse features are multiplied as they are, unless the woodbury route makes them dense
    sparse = isinstance(features, SparseRows) and route == "direct"
    d = 0 if features is None or sparse else features.shape[1]
    gpu = may_use_gpu(compute)
    tile = compute.tile_size or choose_tile(
        dataset.n_items, np.dtype(dtype).itemsize, compute.memory_budget, compute.workers, gpu=gpu
    )
    blocks = np.add.reduceat(dataset.popularity(), np.arange(0, dataset.n_items, tile))
    plan = make_plan(
        n=dataset.n_items,
        n_users=dataset.n_users,
        nnz=dataset.nnz("train"),
        widest_block_nnz=int(blocks.max()),
        d=d,
        dtype=dtype,
        memory_budget=compute.memory_budget,
        workers=compute.workers,
        heads=max(sum(spec.group == other.group for other in specs) for spec in specs),
        k=max(config.evaluate.cutoffs),
        tile=tile,
        gpu=gpu,
        gram_itemsize=np.dtype(exact_dtype(dataset.max_count(), dataset.weighted)).itemsize,
        semantic_tiles=direct,
        product=direct and any(spec.name == "L3AE" and spec.with_semantics for spec in specs),
        low_rank=max(spec.rank for spec in specs),
    )
    return plan, kappa, route


def semantic_route(config: RunConfig, dataset: Dataset, features: Rows | None) -> str:
    """The cheaper route of the semantic phase, in flops, of those that fit the memory budget.

    Woodbury costs ``2 n d^2 + d^3`` and 24 d^2 bytes in one process, L3AE another ``2 n^2 d`` for P F';
    direct costs ``n^3``, L3AE another ``2 n^3`` for P C.
    """
    wanted = config.compute.semantic_route
    if features is None or wanted != "auto":
        return "woodbury" if wanted == "auto" else wanted
    (n, d), budget = features.shape, config.compute.memory_budget
    l3ae = config.model.name == "l3ae"
    woodbury = 2.0 * n * d * d + float(d) ** 3 + (2.0 * n * n * d if l3ae else 0.0)
    direct = float(n) ** 3 * (3 if l3ae else 1)
    # half of what the interpreter leaves: the other half is for the item rows beside the d x d arrays
    fits = 24 * d * d < (budget - INTERPRETER_BYTES) / 2
    return "woodbury" if fits and woodbury < direct else "direct"


def may_use_gpu(compute: ComputeConfig) -> bool:
    """Whether workers may compute on a GPU; those of an existing cluster are not known here."""
    if compute.device == "auto":
        return compute.cluster in ("address", "ray") or gpu_visible()
    return compute.device == "cuda"


def fill_in(compute: ComputeConfig) -> ComputeConfig:
    """Workers, threads and memory from the nodes of the initialised Ray, where they are not set."""
    if compute.cluster != "ray":
        return compute
    from l3ae_dist.runtime.ray_cluster import worker_gpus
    from l3ae_dist.runtime.ray_nodes import Shape, fit_to_nodes, ray_nodes

    names = ("workers", "threads", "memory_budget")
    given = {name: getattr(compute, name) for name in names if name in compute.model_fields_set}
    default = Shape(compute.workers, 1, compute.memory_budget, worker_gpus(compute.device))
    shape = fit_to_nodes(ray_nodes(), default, **given)
    return compute.model_copy(update={name: getattr(shape, name) for name in names})


def check_limit(limit: int | None, plan: Plan) -> None:
    """Refuse workers that the system would end before they reach what the plan projects."""
    if limit is not None and limit < plan.peak_bytes:
        raise BudgetError(
            f"a worker of the cluster may use {limit / 2**20:,.0f} MiB, and the plan needs "
            f"{plan.peak_bytes / 2**20:,.0f} MiB with tiles of {plan.grid.tile}; start the workers with a "
            "higher memory limit, or choose a smaller compute.memory_budget or tile size."
        )
