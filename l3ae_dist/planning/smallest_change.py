"""The smallest change of a configuration with which a refused run would fit its memory budget."""

from collections.abc import Mapping

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.errors import BudgetError
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.plan_of_config import cluster_plan
from l3ae_dist.units import MIB

# No larger budget is tried: none is a machine's.
_LARGEST_BUDGET = 2**46
_TILES = range(4096, 127, -128)


def plan_or_smallest_change(config: RunConfig, size: DataSize) -> Plan:
    """Plan a run, or refuse it with the smallest change with which it would fit.

    Raises
    ------
    BudgetError
        When it does not fit: with the numbers and the change.
    """
    try:
        return cluster_plan(config, size)
    except BudgetError as error:
        # the plan's own advice looks at one stage, the smallest change at all of them
        refusal = str(error).partition("; raise the budget")[0].rstrip(".")
        raise BudgetError(f"{refusal}. {smallest_change(config, size)}") from error


def smallest_change(config: RunConfig, size: DataSize) -> str:
    """Name the smallest memory budget, and the largest smaller tile, with which a run would fit."""
    budget, tile = _smallest_budget(config, size), _largest_tile(config, size)
    changes = [] if budget is None else [f"compute.memory_budget = {-(-budget // MIB)}MiB"]
    changes += [] if tile is None else [f"compute.tile_size = {tile}"]
    if not changes:
        return "No memory budget of one worker would do; use fewer items or a smaller embedding."
    return "The smallest change that fits: " + ", or ".join(changes) + "."


def plan_with_tile(config: RunConfig, size: DataSize, tile: int) -> Plan | None:
    """Plan a run with another tile size; None when that does not fit.

    Parameters
    ----------
    config, size
        The run and its data.
    tile
        Rows of a tile.
    """
    return plan_with(config, size, {"tile_size": tile}, counted=False)


def plan_with(
    config: RunConfig, size: DataSize, changes: Mapping[str, object], *, counted: bool = True
) -> Plan | None:
    """Plan a run with values of ``compute`` changed; None when that does not fit.

    Parameters
    ----------
    config, size
        The run and its data.
    changes
        New values by the names of their settings.
    counted
        As for :func:`~l3ae_dist.planning.plan_of_config.cluster_plan`.
    """
    compute = config.compute.model_copy(update=changes)
    try:
        return cluster_plan(config.model_copy(update={"compute": compute}), size, counted=counted)
    except BudgetError:
        return None


def _fits(config: RunConfig, size: DataSize, budget: int) -> bool:
    return plan_with(config, size, {"memory_budget": budget}, counted=False) is not None


def _smallest_budget(config: RunConfig, size: DataSize) -> int | None:
    """Return the smallest budget that fits, in bytes and to a MiB; None when none is enough."""
    low, high = config.compute.memory_budget, 2 * config.compute.memory_budget
    while not _fits(config, size, high):
        low, high = high, 2 * high
        if high > _LARGEST_BUDGET:
            return None
    while high - low > MIB:
        middle = (low + high) // 2
        low, high = (low, middle) if _fits(config, size, middle) else (middle, high)
    return high


def _largest_tile(config: RunConfig, size: DataSize) -> int | None:
    """Return the largest tile that fits the budget as it is; None when none does."""
    return next(
        (tile for tile in _TILES if tile < size.items and plan_with_tile(config, size, tile) is not None),
        None,
    )
