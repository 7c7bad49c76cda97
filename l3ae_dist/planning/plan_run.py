"""The plan of a configured run: what :mod:`l3ae_dist.planning.plan` needs to know, taken from the data."""

import numpy as np

from l3ae_dist.config.candidates import candidates
from l3ae_dist.config.compute import ComputeConfig
from l3ae_dist.config.members import ModelSpec
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import SparseRows, feature_path, open_rows
from l3ae_dist.data.systems import spectrum, systems_of
from l3ae_dist.errors import BudgetError
from l3ae_dist.linalg.spectral import choose_dtype, condition_number
from l3ae_dist.linalg.torch_kernels import gpu_visible
from l3ae_dist.planning.data_size import DataSize, dataset_size, evaluated_count
from l3ae_dist.planning.plan import INTERPRETER_BYTES, STEP, Plan, choose_tile, make_plan
from l3ae_dist.storage.workspace import Workspace

# No smaller tile is chosen for a plan that does not fit.
_SMALLEST = 512


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
    route = semantic_route(config, None if features is None else features.shape)
    systems = {system for spec in specs for system in systems_of(spec, embedding, route)}
    kappas = [condition_number(spectrum(workspace, dataset, system), ridge) for ridge, system in systems]
    kappa = max(kappas, default=1.0)
    dtype = choose_dtype(kappa, compute.dtype)
    size = dataset_size(dataset, 0 if features is None else features.shape[1])
    plan = plan_sizes(
        config, specs, size, dtype, route, gpu=may_use_gpu(compute), sparse=isinstance(features, SparseRows)
    )
    return plan, kappa, route


def plan_sizes(
    config: RunConfig,
    specs: tuple[ModelSpec, ...],
    size: DataSize,
    dtype: str,
    route: str,
    *,
    gpu: bool,
    sparse: bool,
) -> Plan:
    """The plan for these models on data of this size, not yet validated; ``sparse`` features are words.

    Raises
    ------
    BudgetError
        When not even the smallest tile fits the budget.
    """
    compute = config.compute
    direct = route == "direct" and any(spec.with_semantics for spec in specs)
    evaluated = evaluated_count(size.interactions, size.items, size.users, config.evaluate.max_users)

    def with_tile(tile: int) -> Plan:
        return make_plan(
            n=size.items,
            n_users=size.users,
            nnz=size.interactions,
            widest_block_nnz=size.widest_block(tile),
            # sparse features are multiplied as they are, unless the woodbury route makes them dense
            d=0 if sparse and route == "direct" else size.dim,
            dtype=dtype,
            memory_budget=compute.memory_budget,
            workers=compute.workers,
            heads=max(sum(spec.group == other.group for other in specs) for spec in specs),
            k=max(config.evaluate.cutoffs),
            tile=tile,
            gpu=gpu,
            gram_itemsize=size.gram_itemsize,
            semantic_tiles=direct,
            product=direct and any(spec.name == "L3AE" and spec.with_semantics for spec in specs),
            low_rank=max(spec.rank for spec in specs),
            scored_users=evaluated,
        )

    if compute.tile_size is not None:
        return with_tile(compute.tile_size)
    tile = choose_tile(size.items, np.dtype(dtype).itemsize, compute.memory_budget, compute.workers, gpu=gpu)
    first = with_tile(tile)
    # popular items may take more than the tiles leave: the largest smaller tile that fits
    smaller = (with_tile(side) for side in range(tile // STEP * STEP, _SMALLEST - 1, -STEP))
    fitting = (plan for plan in smaller if plan.peak_bytes <= compute.memory_budget)
    return first if first.peak_bytes <= compute.memory_budget else next(fitting, first)


def semantic_route(config: RunConfig, features: tuple[int, ...] | None) -> str:
    """The cheaper route of the semantic phase, in flops, of those that fit the memory budget.

    Woodbury costs ``2 n d^2 + d^3`` and 24 d^2 bytes in one process, L3AE another ``2 n^2 d`` for P F';
    direct costs ``n^3``, L3AE another ``2 n^3`` for P C.
    """
    wanted = config.compute.semantic_route
    if features is None or wanted != "auto":
        return "woodbury" if wanted == "auto" else wanted
    (n, d), budget = features, config.compute.memory_budget
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
    from l3ae_dist.runtime.backends.ray_nodes import Shape, fit_to_nodes, ray_nodes
    from l3ae_dist.runtime.backends.ray_workers import worker_gpus

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


def workspace_bytes(plan: Plan, size: DataSize) -> int:
    """Three triangles of each system at once, a full product, the interactions, and the item rows F, V, Q."""
    written = {stage.name: stage.bytes_written for stage in plan.stages}
    tiles = 3 * written["gram"] + 3 * written.get("semantic gram", 0.0) + written.get("product", 0.0)
    rows = size.items * size.dim * (4 + 2 * np.dtype(plan.dtype).itemsize)
    return int(tiles + rows + 24 * size.interactions)
