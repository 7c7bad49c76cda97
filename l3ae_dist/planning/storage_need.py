"""The storage that the tile stages of a run need: bytes, objects and requests, and their price."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from l3ae_dist.config.prices import PriceConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.systems import System, gram_name
from l3ae_dist.errors import WorkspaceError
from l3ae_dist.planning.plan import Plan
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import TRAILER
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.storage.usage import array_sizes, free_bytes
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.units import GIB

# Inverses that a search keeps beside the one it is at: of the best L3AE and of the best EASE so far.
_BEST = 2


@dataclass(frozen=True)
class StorageNeed:
    """Tiles of Gram matrices, factors, inverses and products in the workspace.

    ``already`` bytes that the run uses are there; ``missing`` bytes it must at least write and hold at one
    time; at the fullest there are about ``bytes`` in ``objects`` (chunks and done-marks). ``writes`` and
    ``reads`` count requests.
    """

    already: int
    missing: int
    bytes: int
    objects: int
    writes: int
    reads: int

    def cost(self, prices: PriceConfig) -> float:
        """Return the price of a month of storage at the fullest and of all requests."""
        storage = self.bytes / GIB * prices.storage_gib_month
        return (
            storage + self.writes / 1000 * prices.per_1000_writes + self.reads / 1000 * prices.per_1000_reads
        )


def storage_need(
    plan: Plan,
    workspace: Workspace,
    dataset: Dataset,
    solves: Iterable[tuple[float, System]],
    *,
    keep: tuple[str, ...] = (),
    product: bool = False,
    low_pass: bool = False,
) -> StorageNeed:
    """Estimate the storage that the tile stages of a run need beside what is there.

    Parameters
    ----------
    plan
        Tile grid and dtype; reads of the stages.
    workspace, dataset
        Where, and of what.
    solves
        Ridge and system of every inverse.
    keep
        Factors kept after the stage that needs them; with P, all inverses.
    product
        Whether ``P C`` is made in tiles, once for each semantic inverse.
    low_pass
        Whether the Gram matrix of the normalised interactions is made.
    """
    there = array_sizes(workspace)
    pairs = sorted(set(solves), key=repr)
    names = {system: gram_name(dataset, system, plan.grid.tile, plan.dtype) for _, system in pairs}
    triangle = plan.grid.lower_count * _chunk(plan, plan.dtype)
    grams = {layout.gram(name): plan.grid.lower_count * _chunk(plan, dtype) for name, dtype in names.values()}
    already = sum(size.bytes for path, size in there.items() if path in grams)
    wanted = sum(grams.values()) + (triangle if low_pass else 0)
    factors = [layout.FactorPaths.of(names[system][0], ridge, plan.dtype) for ridge, system in pairs]
    held = [sum(size.bytes for p, size in there.items() if one.holds(p)) for one in factors]
    undone = [k for k, one in enumerate(factors) if not workspace.stage_done(Stage.CERTIFIED, one.id)]
    at_work = (2 + ("L" in keep)) * triangle  # L and its inverse, then that and P
    others = _others(pairs, undone, keep) * (1 + sum(name in keep for name in ("L", "Linv"))) * triangle
    square = plan.grid.count**2 * _chunk(plan, plan.dtype)
    products = square * sum(not system.interactions for _, system in pairs) if product else 0
    products = max(0, products - sum(size.bytes for p, size in there.items() if layout.is_product(p)))
    begun = max((held[k] for k in undone), default=0)
    missing = max(0, wanted - already) + (max(0, at_work - begun) if undone else 0)
    reads = sum(stage.bytes_read for stage in plan.stages if stage.name in TILE_STAGES)
    tiles = len(undone) * len(TILE_STAGES) * plan.grid.lower_count + len(grams) * plan.grid.lower_count
    already += sum(held)
    fullest = already + missing + (others if undone else 0) + products
    return StorageNeed(
        already=already,
        missing=missing,
        bytes=fullest,
        objects=2 * -(-fullest // _chunk(plan, plan.dtype)),
        writes=2 * tiles,
        reads=int(len(undone) * reads / _chunk(plan, plan.dtype)),
    )


def _others(pairs: list[tuple[float, System]], undone: list[int], keep: tuple[str, ...]) -> int:
    """Count the inverses still to be made that lie beside the one at work."""
    rest = max(0, len(undone) - 1)
    if "P" in keep:
        return rest
    return min(rest, _BEST + sum(not pairs[k][1].interactions for k in undone))


def _chunk(plan: Plan, dtype: str) -> int:
    return plan.grid.tile**2 * np.dtype(dtype).itemsize + TRAILER


def check_disk(need: StorageNeed, workspace: Workspace) -> None:
    """Refuse a run whose tiles the workspace's disk surely has no room for; object storage has.

    Raises
    ------
    WorkspaceError
        With what is needed, what is free, and what to do.
    """
    free = free_bytes(workspace)
    if free is not None and need.missing > free:
        raise WorkspaceError(
            f"the tiles need at least another {need.missing / GIB:,.2f} GiB of disk at {workspace.url}, "
            f"where {free / GIB:,.2f} GiB are free; free space (`l3ae-dist gc` deletes what no model needs), "
            "or choose a workspace on a larger disk or on object storage."
        )


def need_message(need: StorageNeed, workspace: Workspace, prices: PriceConfig | None) -> str:
    """Write the need as a line of the log.

    Parameters
    ----------
    need
        Of the run.
    workspace
        Whose free disk space is told too.
    prices
        Of storage and requests, None to leave the cost out.
    """
    text = (
        f"tiles take about {need.bytes / GIB:,.2f} GiB in {need.objects:,} objects at the fullest, "
        f"{need.already / GIB:,.2f} GiB are there"
    )
    free = free_bytes(workspace)
    if free is not None:
        text += f"; {free / GIB:,.2f} GiB are free"
        if need.bytes - need.already > free:
            text += ", which may not be enough"
    if prices is not None:
        text += f"; storage for a month and requests cost about {need.cost(prices):,.2f}"
    return text


def need_summary(need: StorageNeed, prices: PriceConfig | None) -> dict[str, object]:
    """Return the need as JSON-like values."""
    cost = None if prices is None else round(need.cost(prices), 4)
    return {**vars(need), "cost": cost}
