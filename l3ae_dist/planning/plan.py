"""The plan: tiles, memory and stages of a run before anything runs, and a refusal with the numbers.

The memory contract: ``memory_budget`` is bytes per worker process, interpreter included; what a stage
is projected to hold at most must fit, and the tile size follows from it.
"""

from dataclasses import asdict, dataclass

from l3ae_dist.errors import BudgetError
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.stage_plans import StageInputs, StagePlan, plan_stages
from l3ae_dist.planning.tile_size import choose_tile
from l3ae_dist.planning.worker_memory import WorkerMemory
from l3ae_dist.units import mebibytes


@dataclass(frozen=True)
class Plan:
    """The tiles, memory and stages of a run; immutable, made before any process is started.

    Parameters
    ----------
    grid
        The tiles.
    dtype
        Of the arithmetic.
    memory_budget, workers
        Bytes of a worker process, and how many there are.
    cache_bytes
        What the tile cache of a worker may hold.
    user_block
        Users that are scored together.
    stages
        In the order in which they run.
    """

    grid: TileGrid
    dtype: str
    memory_budget: int
    workers: int
    cache_bytes: int
    user_block: int
    stages: tuple[StagePlan, ...]

    @property
    def peak_bytes(self) -> int:
        """The largest projection of any stage."""
        return max(stage.peak_bytes for stage in self.stages)

    def summary(self) -> dict[str, object]:
        """Return the plan as JSON-like values."""
        return {
            "items": self.grid.n,
            "tile": self.grid.tile,
            "tiles_per_side": self.grid.count,
            "dtype": self.dtype,
            "memory_budget": self.memory_budget,
            "projected_peak_bytes": self.peak_bytes,
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
        memory_budget=machine.memory_budget,
        workers=machine.workers,
        cache_bytes=memory.cache,
        user_block=given.user_block,
        stages=plan_stages(given),
    )


def _tile(size: DataSize, machine: Machine) -> int:
    """Return the rows of a tile, chosen unless they are given."""
    if machine.tile is not None:
        return min(machine.tile, size.items)
    return choose_tile(size.items, machine.itemsize, machine.memory_budget, machine.workers, gpu=machine.gpu)
