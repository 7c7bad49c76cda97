"""Models that may stand on an inverse which is changed from another, and that other one."""

from collections.abc import Sequence
from math import isqrt

from l3ae_dist.config.members import COLLECTIVE, ModelSpec
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.linear_systems import INTERACTIONS, System, gram_name
from l3ae_dist.pipeline.model_document import ModelDocument
from l3ae_dist.planning.plan import Plan
from l3ae_dist.solve.artifact_store import UpdateBase
from l3ae_dist.solve.inverse_updates import stored_correction
from l3ae_dist.storage import layout
from l3ae_dist.storage.layout import FactorPaths, UpdatePaths
from l3ae_dist.storage.records import StageRecord
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

# Beyond this share of the items a solve costs less than reading the change with every tile.
_SHARE = 10
# Shares of a worker's memory for r x r matrices, of which there are four, and for r rows of a tile.
_MATRICES, _ROWS = 16, 8
# Rows whose r x r matrices this process holds, too: 130 MB each.
_MOST = 4096


def why_solved(config: RunConfig, specs: Sequence[ModelSpec]) -> str | None:
    """Say why models need an inverse of their own; None where a changed one serves them."""
    for spec in specs:
        if spec.rank or spec.name in COLLECTIVE:
            return f"{spec.name} inverts no matrix of the interactions alone"
        if spec.p or spec.beta:
            return f"dropout and weights of users (p, beta) change the system of {spec.name} with every count"
        if spec.objective.alpha:
            return f"the popularity of items (alpha) scales the rows of {spec.name}"
    if config.compute.semantic_route == "direct":
        return "the direct route multiplies the whole inverse with the semantic model"
    if config.data.core:
        return "new interactions may move items into the core (data.core)"
    return None


def has_correction(workspace: Workspace, dataset: Dataset, plan: Plan, ridge: float, system: System) -> bool:
    """Tell whether an inverse is there as the change of another one.

    Parameters
    ----------
    workspace, dataset
        Where, and of which interactions.
    plan
        Tile grid and dtype.
    ridge, system
        Of the inverse.
    """
    if system != INTERACTIONS:
        return False
    gram = gram_name(dataset, system, plan.grid.tile, plan.dtype)[0]
    factor = FactorPaths.of(gram, ridge, plan.dtype, plan.arithmetic)
    return stored_correction(workspace, factor.id) is not None


def update_base(workspace: Workspace, model: ModelDocument, plan: Plan) -> UpdateBase | None:
    """Return the inverse that a model stands on, from which another may be made; None without one.

    Parameters
    ----------
    workspace, model
        The model.
    plan
        Bounds the rows that may change by memory and by their cost.
    """
    found = inverse_of(workspace, model)
    return found and UpdateBase(*found, most_rows(plan.grid.n, plan.grid.tile, plan.memory_budget))


def inverse_of(workspace: Workspace, model: ModelDocument) -> tuple[str, str] | None:
    """Return the dataset and the path of the inverse that a model stands on; None without one."""
    paths = [term.path for term in model.terms.matrices]
    change = change_of(workspace, model)
    dataset = model.dataset if change is None else str(change.params["dataset"])
    recorded = workspace.stage_done(Stage.INGEST, dataset) is not None
    is_inverse = len(paths) == 1 and layout.kind_of(paths[0]) is layout.Kind.FACTORS
    if not recorded or not is_inverse or (change is None and changed_by(model) is not None):
        return None
    return dataset, paths[0]


def changed_by(model: ModelDocument) -> str | None:
    """Return the place of ``Y K`` of a model whose inverse is changed from another; None for others."""
    found = (one.left for one in model.terms.products if layout.kind_of(one.left) is layout.Kind.UPDATES)
    return next(found, None)


def change_of(workspace: Workspace, model: ModelDocument) -> StageRecord | None:
    """Return the record of the change that a model's inverse has; None without one, or where it is gone."""
    left = changed_by(model)
    return None if left is None else workspace.stage_done(Stage.UPDATE, UpdatePaths.holding(left).id)


def most_rows(n: int, tile: int, memory_budget: int) -> int:
    """Count the rows by which an inverse is changed at most.

    Parameters
    ----------
    n, tile
        Items, and items of a tile.
    memory_budget
        Bytes of a worker.

    Examples
    --------
    >>> most_rows(38_519, 1920, 2 * 2**30)
    3851
    """
    held = isqrt(memory_budget // (_MATRICES * 8)), memory_budget // (_ROWS * 8 * tile)
    return min(n // _SHARE, _MOST, *held)
