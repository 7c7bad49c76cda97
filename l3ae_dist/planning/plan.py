"""The plan: tiles, memory and stages of a run before anything runs, and a refusal with the numbers.

The memory contract: ``memory_budget`` is bytes per worker process, interpreter included; what a stage
is projected to hold at most must fit, and the tile size follows from it.
"""

from dataclasses import asdict, dataclass

import numpy as np

from l3ae_dist.errors import BudgetError
from l3ae_dist.graphs.blocks import BlockShape
from l3ae_dist.linalg.arithmetic import precision_text
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.stage_plans import StageInputs, StagePlan, plan_stages
from l3ae_dist.planning.tile_size import choose_tile
from l3ae_dist.planning.worker_memory import WorkerMemory, accumulators, device_bytes, tiles_held
from l3ae_dist.units import mebibytes


@dataclass(frozen=True)
class Plan:
    """The tiles, memory and stages of a run; immutable, made before any process is started.

    Parameters
    ----------
    grid
        The tiles.
    dtype, arithmetic
        Dtype that tiles are stored in, and the one that they are computed in.
    memory_budget, workers
        Bytes of a worker process, and how many there are.
    block
        The largest block of tiles that a task of the factorisation makes side by side.
    cache_bytes
        What the tile cache of a worker may hold.
    user_block
        Users that are scored together.
    stages
        In the order in which they run.
    peer_reads
        Whether workers read tiles from each other.
    in_memory
        Arrays whose tiles are not written as long as the workers have room for them: L, Linv, both or none.
    intermediates
        Why these, in words.
    device_room
        Bytes of the memory of a device in which they stay, as far as they are known.
    device_cache_bytes, device_work_bytes
        What a worker may keep on its device, and what tiles at work take of it; 0 without one.
    device_sharers
        Workers on one device at most.
    local_bytes
        Bytes of copies of tiles on a local disk of each worker.
    """

    grid: TileGrid
    dtype: str
    arithmetic: str
    memory_budget: int
    workers: int
    block: BlockShape
    cache_bytes: int
    user_block: int
    stages: tuple[StagePlan, ...]
    peer_reads: bool = False
    in_memory: tuple[str, ...] = ()
    intermediates: str = "L and Linv are written"
    device_room: int = 0
    device_cache_bytes: int = 0
    device_work_bytes: int = 0
    device_sharers: int = 1
    local_bytes: int = 0

    @property
    def tile_bytes(self) -> int:
        """Bytes of a tile."""
        return self.grid.tile**2 * int(np.dtype(self.dtype).itemsize)

    @property
    def precision(self) -> str:
        """Say what tiles are stored and computed in."""
        return precision_text(self.dtype, self.arithmetic)

    @property
    def headline(self) -> str:
        """Say the items, the tiles and their precision."""
        grid = self.grid
        return f"{grid.n:,} items in {grid.count} x {grid.count} tiles of {grid.tile}, {self.precision}"

    @property
    def at_stake(self) -> str:
        """Say what a kill would cost where tiles stay in memory, as the end of a sentence; else nothing."""
        return f"; {self.intermediates}" if self.in_memory else ""

    @property
    def peak_bytes(self) -> int:
        """The largest projection of any stage."""
        return max(stage.peak_bytes for stage in self.stages)

    @property
    def accumulators(self) -> int:
        """Tiles of a worker that are computed, or on their way to and from the store."""
        return accumulators(self.block)

    @property
    def tiles_held(self) -> int:
        """Tiles of a worker at most, operands included."""
        return tiles_held(self.block)

    def summary(self) -> dict[str, object]:
        """Return the plan as JSON-like values."""
        return {
            "items": self.grid.n,
            "tile": self.grid.tile,
            "tiles_per_side": self.grid.count,
            "block": [self.block.rows, self.block.columns],
            "dtype": self.dtype,
            "arithmetic": self.arithmetic,
            "memory_budget": self.memory_budget,
            "projected_peak_bytes": self.peak_bytes,
            "in_memory": list(self.in_memory),
            "intermediates": self.intermediates,
            "stages": [{**asdict(stage), "name": str(stage.name)} for stage in self.stages],
        }

    def validate(self) -> None:
        """Refuse a plan that does not fit its budget.

        Raises
        ------
        BudgetError
            Naming the stage, what it needs, the budget, and the smallest budget that works.
        """
        for stage in self.stages:
            if stage.peak_bytes > self.memory_budget:
                raise BudgetError(
                    f"stage {stage.name} needs {mebibytes(stage.peak_bytes)} per worker with tiles of "
                    f"{self.grid.tile}, and the memory budget is {mebibytes(self.memory_budget)}; "
                    f"raise the budget to {mebibytes(stage.peak_bytes)} or choose a smaller tile size."
                )


def make_plan(size: DataSize, models: ModelNeeds, machine: Machine) -> Plan:
    """Plan the stages of one fit and its evaluation; :meth:`Plan.validate` tells whether it fits.

    Parameters
    ----------
    size
        Items, users, interactions and feature columns of the data.
    models
        What the models need beside one factorisation and inverse.
    machine
        Budget and number of the workers, dtype, and the tile size where it is given.

    Raises
    ------
    BudgetError
        When no tile size is given and not even the smallest tile fits.
    """
    grid = TileGrid(size.items, _tile(size, machine))
    memory = WorkerMemory.of(grid, machine, size.gram_itemsize)
    given = StageInputs(size, models, machine, grid, memory)
    return Plan(
        grid=grid,
        dtype=machine.dtype,
        arithmetic=machine.arithmetic or machine.dtype,
        memory_budget=machine.memory_budget,
        workers=machine.workers,
        block=memory.block,
        cache_bytes=memory.cache,
        user_block=given.user_block,
        stages=plan_stages(given),
        peer_reads=machine.among_peers,
        device_cache_bytes=given.device_cache,
        device_work_bytes=device_bytes(memory.block, grid, machine, size.gram_itemsize) if machine.gpu else 0,
        device_sharers=machine.sharers,
        local_bytes=machine.local_bytes,
    )


def _tile(size: DataSize, machine: Machine) -> int:
    """Return the rows of a tile, chosen unless they are given."""
    if machine.tile is not None:
        return min(machine.tile, size.items)
    return choose_tile(
        size.items,
        machine.itemsize,
        machine.memory_budget,
        machine.workers,
        gpu=machine.gpu,
        widened=machine.widened,
    )
