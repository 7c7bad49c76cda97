"""The plan of a configured run: what :mod:`l3ae_dist.planning.plan` is given, from configuration and data."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from l3ae_dist.config.compute import ComputeConfig
from l3ae_dist.config.evaluated_models import evaluated_models
from l3ae_dist.config.members import ModelSpec, Route
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.core import core_part
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import SparseRows, open_rows
from l3ae_dist.data.linear_systems import cancellation, spectrum, systems_of
from l3ae_dist.errors import BudgetError
from l3ae_dist.linalg.spectral import choose_dtype, condition_number
from l3ae_dist.linalg.visible_gpus import gpu_visible
from l3ae_dist.planning.data_size import dataset_size, evaluated_count
from l3ae_dist.planning.plan import Plan, make_plan
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.stage_plans import semantic
from l3ae_dist.planning.tile_size import STEP
from l3ae_dist.planning.worker_memory import INTERPRETER_BYTES
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.units import mebibytes

# No smaller tile is chosen for a plan that does not fit.
_SMALLEST = 512


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The plan of a run, not yet validated, with what was found out for it.

    Parameters
    ----------
    plan
        Tiles, memory and stages.
    kappa
        The largest condition estimate of the systems to be solved.
    route
        Of the semantic phase: ``woodbury`` or ``direct``.
    size
        Of the data.
    """

    plan: Plan
    kappa: float
    route: Route
    size: DataSize


def plan_run(
    config: RunConfig,
    workspace: Workspace,
    dataset: Dataset,
    embedding: str | None,
    specs: tuple[ModelSpec, ...],
) -> RunPlan:
    """Plan a run for these models on this data; the plan is not validated yet.

    Cost: about 20 products with the interactions, O(nnz), the first time.

    Parameters
    ----------
    config
        Precision, budget, workers and evaluation.
    workspace, dataset, embedding
        Where the data is, and the id of the item features, None without.
    specs
        The models.

    Raises
    ------
    NumericalError
        When float32 is demanded where it loses too many digits, or nothing would do.
    BudgetError
        When not even the smallest tile fits the budget.
    """
    compute, dataset = config.compute, core_part(dataset)
    features = None if embedding is None else open_rows(workspace, layout.features(embedding))
    route = semantic_route(config, None if features is None else features.shape)
    dtype, kappa = chosen_dtype(compute, dataset, embedding, specs, route)
    machine = configured_machine(compute, dtype, gpu=may_use_gpu(compute))
    size = dataset_size(dataset, 0 if features is None else features.shape[1])
    models = model_needs(config, specs, size, route, sparse=isinstance(features, SparseRows))
    return RunPlan(fitting_plan(size, models, machine), kappa, route, size)


def chosen_dtype(
    compute: ComputeConfig,
    dataset: Dataset,
    embedding: str | None,
    specs: Sequence[ModelSpec],
    route: Route,
    *,
    keep: bool = True,
) -> tuple[str, float]:
    """Choose the dtype of the tiles for these models on this data.

    Parameters
    ----------
    compute
        The configured precision.
    dataset, embedding, specs, route
        The data, the id of the item features, None without, the models, and the route of the semantic phase.
    keep
        Whether the workspace keeps what is computed for it.

    Returns
    -------
    The dtype, and the largest condition estimate of the systems.

    Raises
    ------
    NumericalError
        As of :func:`plan_run`.
    """
    workspace = dataset.workspace
    systems = {system for spec in specs for system in systems_of(spec, embedding, route)}
    kappas = [condition_number(spectrum(workspace, dataset, one, keep=keep), ridge) for ridge, one in systems]
    kappa, cancels = max(kappas, default=1.0), 1.0
    if route == "woodbury" and embedding is not None:
        ridges = sorted({float(spec.reg_f or 0.0) for spec in specs if spec.with_semantics})
        found = (cancellation(workspace, embedding, reg_f, dataset.n_items, keep=keep) for reg_f in ridges)
        cancels = max(found, default=1.0)
    return choose_dtype(kappa, compute.dtype, cancels, compute.arithmetic), kappa


def model_needs(
    config: RunConfig, specs: Sequence[ModelSpec], size: DataSize, route: Route, *, sparse: bool
) -> ModelNeeds:
    """Collect what these models need beside one factorisation and inverse.

    Parameters
    ----------
    config
        What is evaluated.
    specs
        The models.
    size
        Of the data, which decides how many users are evaluated.
    route
        Of the semantic phase.
    sparse
        Whether the item features are sparse (words).
    """
    direct = route == "direct" and any(spec.with_semantics for spec in specs)
    evaluated = evaluated_count(size.interactions, size.items, size.users, config.evaluate.max_users)
    return ModelNeeds(
        heads=max(Counter(spec.group for spec in specs).values()),
        k=max(config.evaluate.cutoffs),
        scored_users=evaluated,
        semantic_tiles=direct,
        product=direct and any(spec.name == "L3AE" and spec.with_semantics for spec in specs),
        low_rank=max(spec.rank for spec in specs),
        # sparse features are multiplied as they are, unless the woodbury route makes them dense
        dense_features=not (sparse and route == "direct"),
        scalings=_scalings(specs),
        weighted_users=any(spec.beta for spec in specs),
    )


def _scalings(specs: Sequence[ModelSpec]) -> int:
    """Count the exponents of popularity that models of one inverse have."""
    alphas: dict[object, set[float]] = {}
    for spec in specs:
        if spec.objective.alpha:
            alphas.setdefault(spec.group, set()).add(spec.alpha)
    return max(map(len, alphas.values()), default=0)


def configured_machine(compute: ComputeConfig, dtype: str, *, gpu: bool) -> Machine:
    """Return the configured workers.

    Parameters
    ----------
    compute
        Workers, memory budget and tile size.
    dtype
        Of the tiles, which is decided where ``auto`` is configured.
    gpu
        Whether workers compute on a GPU.
    """
    arithmetic = dtype if compute.arithmetic == "auto" else compute.arithmetic
    tile, block = compute.tile_size, compute.block
    return Machine(
        compute.memory_budget,
        compute.workers,
        dtype,
        gpu,
        tile,
        arithmetic,
        block,
        compute.reads_from_peers,
        compute.device_memory,
        compute.workers if gpu and compute.cluster == "local" else 1,
        compute.local_size if compute.local_directory else 0,
    )


def fitting_plan(size: DataSize, models: ModelNeeds, machine: Machine) -> Plan:
    """Plan with the given tile size, or with the largest chosen one of which every stage fits.

    Parameters
    ----------
    size, models, machine
        As for :func:`~l3ae_dist.planning.plan.make_plan`.

    Returns
    -------
    A plan that is not validated: that of the first choice where no tile size fits.

    Raises
    ------
    BudgetError
        When not even the smallest tile fits the budget.
    """
    quick = replace(machine, counted=False)
    found = first = make_plan(size, models, quick)
    if machine.tile is None and first.peak_bytes > machine.memory_budget:
        # popular items may take more than the tiles leave: the largest smaller tile that fits
        sides = range(first.grid.tile // STEP * STEP, _SMALLEST - 1, -STEP)
        smaller = (make_plan(size, models, replace(quick, tile=side)) for side in sides)
        found = next((plan for plan in smaller if plan.peak_bytes <= machine.memory_budget), first)
    return make_plan(size, models, replace(machine, tile=found.grid.tile)) if machine.counted else found


def semantic_route(config: RunConfig, features: tuple[int, ...] | None) -> Route:
    """Choose the cheaper route of the semantic phase, in flops, of those that fit the memory budget.

    Woodbury costs ``2 n d^2 + d^3`` and 24 d^2 bytes in one process, L3AE another ``2 n^2 d`` for P F';
    direct costs ``n^3``, L3AE another ``2 n^3`` for P C, and knows no core.
    """
    wanted = "woodbury" if config.data.core is not None else config.compute.semantic_route
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
    """Tell whether workers may compute on a GPU; those of an existing cluster are not known here."""
    if compute.device == "auto":
        return compute.cluster in ("address", "ray") or gpu_visible()
    return compute.device == "cuda"


def fill_in(compute: ComputeConfig) -> ComputeConfig:
    """Take workers, threads and memory from the nodes of the initialised Ray where they are not set."""
    if compute.cluster != "ray":
        return compute
    from l3ae_dist.runtime.backends.ray_placement import WorkerShape, fit_to_nodes, ray_nodes, worker_gpus

    names = ("workers", "threads", "memory_budget")
    given = {name: getattr(compute, name) for name in names if name in compute.model_fields_set}
    default = WorkerShape(compute.workers, 1, compute.memory_budget, worker_gpus(compute.device))
    shape = fit_to_nodes(ray_nodes(), default, **given)
    return compute.model_copy(update={name: getattr(shape, name) for name in names})


def check_limit(limit: int | None, plan: Plan) -> None:
    """Refuse workers that the system would end before they reach what the plan projects."""
    if limit is not None and limit < plan.peak_bytes:
        raise BudgetError(
            f"a worker of the cluster may use {mebibytes(limit)}, and the plan needs "
            f"{mebibytes(plan.peak_bytes)} with tiles of {plan.grid.tile}; start the workers with a "
            "higher memory limit, or choose a smaller compute.memory_budget or tile size."
        )


def uses_gpu(config: RunConfig) -> bool:
    """Tell whether a run is planned for workers that compute on a GPU."""
    return config.compute.device == "cuda"


def planned_device(config: RunConfig) -> str:
    """Return the device that a run is planned for; ``auto`` counts as ``cpu``."""
    return "cuda" if uses_gpu(config) else "cpu"


def cluster_plan(config: RunConfig, size: DataSize, *, counted: bool = True) -> Plan:
    """Plan a run on data that need not be there, and validate it.

    The dtype ``auto`` counts as float64, the larger of the two, unless the arithmetic is float32 or the data
    are known to allow float32; the device ``auto`` counts as ``cpu``.

    Parameters
    ----------
    config, size
        The run and its data.
    counted
        Whether the tiles that small stages read are counted, and not estimated.

    Raises
    ------
    BudgetError
        With the numbers, when the budget of a worker is too small.
    """
    dtype = _assumed_dtype(config.compute, size)
    route = semantic_route(config, (size.items, size.dim) if size.dim else None)
    models = model_needs(config, evaluated_models(config), size, route, sparse=config.model.uses == "words")
    machine = configured_machine(config.compute, dtype, gpu=uses_gpu(config))
    plan = fitting_plan(size, models, replace(machine, counted=counted))
    plan.validate()
    return plan


def _assumed_dtype(compute: ComputeConfig, size: DataSize) -> str:
    """Return the dtype of tiles to plan with: as configured, as the data allow, or the larger."""
    if compute.dtype != "auto":
        return compute.dtype
    if size.dtype is not None:
        return size.dtype
    return "float32" if compute.arithmetic == "float32" else "float64"


def workspace_bytes(plan: Plan, size: DataSize) -> int:
    """Return the bytes of a workspace at its fullest.

    There are three triangles of each system at once, a full product, the interactions, and the item rows F,
    V and Q, those of F also before their transformation.
    """
    written = {stage.name: stage.bytes_written for stage in plan.stages}
    tiles = (
        3 * written[Stage.GRAM] + 3 * written.get(semantic(Stage.GRAM), 0.0) + written.get(Stage.PRODUCT, 0.0)
    )
    rows = size.catalog * size.dim * (4 + 2 * np.dtype(plan.dtype).itemsize)
    if size.raw_dim is not None:  # transformed rows are float64
        rows += 4 * size.catalog * (size.raw_dim + size.dim)
    return int(tiles + rows + 24 * size.interactions)
