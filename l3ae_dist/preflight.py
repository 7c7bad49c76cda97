"""Before the tile stages: what they will take of the disk, in how many objects, and at what price."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import WorkspaceError
from l3ae_dist.housekeeping import array_bytes, free_bytes
from l3ae_dist.plan import Plan
from l3ae_dist.prices import PriceConfig
from l3ae_dist.storage.chunks import TRAILER
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.systems import System, gram_name

GIB = 2**30


@dataclass(frozen=True)
class StorageNeed:
    """What lies in the workspace at the fullest moment of the tile stages.

    ``bytes`` and ``objects`` (chunks and done-marks) at that moment, ``writes`` and ``reads`` of objects in
    all, and of the bytes, those that are there ``already``.
    """

    bytes: int
    objects: int
    writes: int
    reads: int
    already: int

    def cost(self, prices: PriceConfig) -> float:
        """Price of a month of storage at the fullest and of all requests."""
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
    keep: tuple[str, ...],
    product: bool,
) -> StorageNeed:
    """What the tile stages need: Gram matrices, inverses, and L with L^-1 while an inverse is made.

    Parameters
    ----------
    plan
        Tile grid and dtype; reads and writes of the stages.
    workspace, dataset
        Where, and of what.
    solves
        Ridge and system of every inverse.
    keep
        Factors kept after the stage that needs them; without P, the best and the current inverse.
    product
        Whether ``P C`` is made in tiles too.
    """
    pairs = sorted(set(solves), key=repr)
    grams = {gram_name(dataset, system, plan.grid.tile, plan.dtype)[0] for _, system in pairs}
    inverses = len(pairs) if "P" in keep else min(len(pairs), 2)
    kept = len(pairs) * sum(name in keep for name in ("L", "Linv"))
    triangles = len(grams) + inverses + max(1, kept) if pairs else 0
    tiles = triangles * plan.grid.lower_count + (plan.grid.count**2 if product else 0)
    folders = [f"grams/{name}/" for name in grams] + [f"factors/{name}/" for name in grams]
    already = sum(
        found["bytes"]
        for path, found in array_bytes(workspace).items()
        if any(f"{path}/".startswith(folder) for folder in folders)
    )
    stages = [stage for stage in plan.stages if stage.bytes_written]
    tile_bytes = plan.grid.tile**2 * (8 if plan.dtype == "float64" else 4)
    return StorageNeed(
        bytes=tiles * (tile_bytes + TRAILER),
        objects=2 * tiles,
        writes=2 * sum(stage.tasks for stage in stages) * max(len(pairs), 1),
        reads=int(sum(stage.bytes_read for stage in stages) / tile_bytes) * max(len(pairs), 1),
        already=already,
    )


def check_disk(need: StorageNeed, workspace: Workspace) -> None:
    """Refuse a run whose tiles the workspace's disk has no room for; object storage has.

    Raises
    ------
    WorkspaceError
        With what is needed, what is free, and what to do.
    """
    free = free_bytes(workspace)
    missing = max(0, need.bytes - need.already)
    if free is not None and missing > free:
        raise WorkspaceError(
            f"the tiles need another {missing / GIB:,.2f} GiB of disk at {workspace.url} and "
            f"{free / GIB:,.2f} GiB are free; free space (`l3ae-dist gc` deletes what no model needs), or "
            "choose a workspace on a larger disk or on object storage."
        )


def need_message(need: StorageNeed, prices: PriceConfig | None) -> str:
    """The need as a line of the log."""
    text = (
        f"the tiles take {need.bytes / GIB:,.2f} GiB in {need.objects:,} objects at the fullest, "
        f"{need.already / GIB:,.2f} GiB of it are there"
    )
    if prices is None:
        return text
    return f"{text}; storage for a month and requests cost about {need.cost(prices):,.2f}"


def need_summary(need: StorageNeed, prices: PriceConfig | None) -> dict[str, Any]:
    """The need as JSON-like values."""
    cost = None if prices is None else round(need.cost(prices), 4)
    return {**vars(need), "cost": cost}
