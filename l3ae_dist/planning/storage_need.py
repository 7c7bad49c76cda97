"""The storage that the tile stages of a run need: bytes, objects and requests, and their price."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.config.prices import PriceConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.linear_systems import System, gram_name
from l3ae_dist.errors import WorkspaceError
from l3ae_dist.planning.intermediates import NAMES
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.stage_counts import kinds_of
from l3ae_dist.storage import layout
from l3ae_dist.storage.array_sizes import ArraySize, array_sizes, free_bytes
from l3ae_dist.storage.chunks import TRAILER
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.units import GIB


@dataclass(frozen=True)
class StorageNeed:
    """Storage of the tiles of Gram matrices, factors, inverses and products in a workspace.

    Parameters
    ----------
    already
        Bytes that are there and that the run uses.
    missing
        Bytes that it must at least write and hold at one time.
    bytes, objects
        About what there is at the fullest; objects are chunks and done-marks.
    writes, reads
        Requests.
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
    specs: Sequence[ModelSpec] = (),
    arithmetics: Sequence[str] = (),
) -> StorageNeed:
    """Estimate the storage that the tile stages of a run need beside what is there.

    Parameters
    ----------
    plan
        Tile grid and dtype; reads of the stages.
    workspace, dataset
        Where the tiles lie, and the interactions that they are made of.
    solves
        Ridge and system of every inverse.
    keep
        Factors kept after the stage that needs them; with P, all inverses.
    product
        Whether ``P C`` is made in tiles, once for each semantic inverse.
    specs
        The models: a low-pass filter needs the Gram matrix of the normalised interactions, and of each member
        with interactions a search keeps the inverse of the best model so far.
    arithmetics
        What tiles may be found to be computed in; that of the plan when empty. What is there in one of them
        counts.
    """
    sizes = array_sizes(workspace)
    pairs = sorted(set(solves), key=repr)
    names = {system: gram_name(dataset, system, plan.grid.tile, plan.dtype) for _, system in pairs}
    lower = plan.grid.lower_count
    triangle = lower * _chunk(plan, plan.dtype)
    grams = {layout.gram(name): lower * _chunk(plan, dtype) for name, dtype in names.values()}
    factors = [
        [
            layout.FactorPaths.of(names[system][0], ridge, plan.dtype, arithmetic)
            for arithmetic in arithmetics or (plan.arithmetic,)
        ]
        for ridge, system in pairs
    ]
    undone = [
        k
        for k, ones in enumerate(factors)
        if not any(workspace.stage_done(Stage.CERTIFIED, one.id) for one in ones)
    ]
    gram_bytes = _stored(sizes, lambda path: path in grams)
    held = [max(_stored(sizes, one.holds) for one in ones) for ones in factors]
    missing = max(0, sum(grams.values()) + (triangle if any(spec.rank for spec in specs) else 0) - gram_bytes)
    beside = 0
    if undone:
        # L and its inverse, then that and P; those that are lost from memory are written beside P
        at_work = (3 if plan.in_memory else 2 + ("L" in keep)) * triangle
        useful = [_useful(workspace, sizes, one, plan) for k in undone for one in factors[k]]
        missing += max(0, at_work - max(useful))
        triangles = 1 + sum(name in keep for name in ("L", "Linv"))
        beside = _others(pairs, undone, keep, kinds_of(specs)) * triangles * triangle
    if product:
        square = plan.grid.count**2 * _chunk(plan, plan.dtype)
        wanted = square * sum(not system.interactions for _, system in pairs)
        beside += max(0, wanted - _stored(sizes, layout.is_product))
    already = gram_bytes + sum(held)
    fullest = already + missing + beside
    reads = sum(stage.bytes_read for stage in plan.stages if stage.name in TILE_STAGES)
    return StorageNeed(
        already=already,
        missing=missing,
        bytes=fullest,
        objects=2 * -(-fullest // _chunk(plan, plan.dtype)),
        writes=2
        * (lower * (len(undone) * len(TILE_STAGES) + len(grams)) - len(undone) * _spared(plan, lower)),
        reads=int(len(undone) * reads / _chunk(plan, plan.dtype)),
    )


def certified(
    workspace: Workspace, dataset: Dataset, plan: Plan, solves: Iterable[tuple[float, System]]
) -> int:
    """Count the inverses that are complete and certified already.

    Parameters
    ----------
    workspace, dataset
        Where they lie, and the interactions.
    plan
        Tile grid and dtypes.
    solves
        Ridge and system of every inverse.
    """
    found = 0
    for ridge, system in solves:
        gram, _ = gram_name(dataset, system, plan.grid.tile, plan.dtype)
        paths = layout.FactorPaths.of(gram, ridge, plan.dtype, plan.arithmetic)
        found += workspace.stage_done(Stage.CERTIFIED, paths.id) is not None
    return found


def _spared(plan: Plan, lower: int) -> int:
    """Count the tiles of one solve that stay in memory; lost with a worker, they are written after all."""
    written = {stage.name: stage.bytes_written for stage in plan.stages}
    return sum(lower - int(written[NAMES[name]] / plan.tile_bytes) for name in plan.in_memory)


def _stored(sizes: Mapping[str, ArraySize], wanted: Callable[[str], bool]) -> int:
    """Add up the bytes of the stored arrays whose paths are wanted."""
    return sum(size.bytes for path, size in sizes.items() if wanted(path))


def _useful(
    workspace: Workspace, sizes: Mapping[str, ArraySize], factor: layout.FactorPaths, plan: Plan
) -> int:
    """Return the stored bytes of a factorisation that count among those that a run holds at its fullest.

    Of a run that kept L and Linv in memory there may be a part of P alone; one that writes them makes both
    again beside it.
    """
    whole = bool(plan.in_memory) or any(
        workspace.stage_done(stage, factor.id) for stage in (Stage.LINV, Stage.INVERT)
    )
    return _stored(sizes, lambda path: factor.holds(path) and (whole or path != factor.inverse))


def _others(pairs: list[tuple[float, System]], undone: list[int], keep: tuple[str, ...], kinds: int) -> int:
    """Count the inverses still to be made that lie beside the one at work."""
    rest = max(0, len(undone) - 1)
    if "P" in keep:
        return rest
    return min(rest, kinds + sum(not pairs[k][1].interactions for k in undone))


def _chunk(plan: Plan, dtype: str) -> int:
    """Return the bytes of a stored tile."""
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
