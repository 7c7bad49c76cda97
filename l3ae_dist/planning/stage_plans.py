"""The projection of every stage, one function each: tasks, flops, bytes moved, bytes held by a worker."""

from dataclasses import dataclass, replace

from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.tier_traffic import TileMemories, partial_tiles, stage_traffic
from l3ae_dist.planning.worker_memory import (
    INTERPRETER_BYTES,
    WorkerMemory,
    device_cache_bytes,
    score_block_bytes,
    users_that_fit,
)
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tier_pace import share_from_peers

_SEMANTIC = "semantic "
ASKED_FIRST = share_from_peers(0.0, 1.0)
"""Share of what other workers hold that is read from them where they are quicker."""


def semantic(stage: str) -> str:
    """Return the name of a stage of the semantic phase, such as ``semantic gram``."""
    return f"{_SEMANTIC}{stage}"


def phaseless(name: str) -> str:
    """Return the name of a stage without its phase: ``gram`` for ``semantic gram``."""
    return name.removeprefix(_SEMANTIC)


@dataclass(frozen=True)
class StagePlan:
    """Projection of one stage.

    Parameters
    ----------
    name
        Of the stage; those of the semantic phase begin with ``semantic``.
    tasks, flops
        Tile tasks, and their floating-point operations in all.
    bytes_read, bytes_written
        Moved between workers and storage in all, where workers ask each other first.
    peak_bytes
        Held at most by one worker process, interpreter included.
    bytes_peers, bytes_cached, bytes_device, bytes_local
        Of tiles that tasks use: read from the memory of other workers, found in the worker's own, on its
        device, and in copies on its disk.
    """

    name: str
    tasks: int
    flops: float
    bytes_read: float
    bytes_written: float
    peak_bytes: int
    bytes_peers: float = 0.0
    bytes_cached: float = 0.0
    bytes_device: float = 0.0
    bytes_local: float = 0.0

    def asking(self, share: float) -> "StagePlan":
        """Return the stage with so large a share of what other workers hold read from them."""
        held = self.bytes_peers / ASKED_FIRST
        peers = share * held
        return replace(self, bytes_read=self.bytes_read + self.bytes_peers - peers, bytes_peers=peers)


@dataclass(frozen=True, slots=True)
class StageInputs:
    """The inputs of every stage's plan: the three of a plan, and the tiles chosen for them."""

    size: DataSize
    models: ModelNeeds
    machine: Machine
    grid: TileGrid
    memory: WorkerMemory

    @property
    def dim(self) -> int:
        """Columns of dense item features, 0 without."""
        return self.size.dim if self.models.dense_features else 0

    @property
    def device_cache(self) -> int:
        """Bytes of tiles that a worker keeps on its device."""
        return device_cache_bytes(self.memory.block, self.grid, self.machine, self.size.gram_itemsize)

    @property
    def matrices(self) -> int:
        """Matrices of n x n entries that one model's scores are computed from."""
        return (2 if self.models.semantic_tiles else 1) + self.models.scalings

    @property
    def scored_users(self) -> int:
        """Users that are evaluated."""
        users, wanted = self.size.users, self.models.scored_users
        return users if wanted is None else min(wanted, users)

    @property
    def user_block(self) -> int:
        """Users that are scored together."""
        models, itemsize = self.models, self.machine.itemsize
        per_user = score_block_bytes(1, self.grid.tile, itemsize, models.heads, models.k, self.matrices)
        return users_that_fit(self.scored_users, per_user, self.machine.memory_budget - self.memory.streaming)


def plan_stages(given: StageInputs) -> tuple[StagePlan, ...]:
    """Plan every stage of a fit and its evaluation, in the order in which they run."""
    stages = [gram_stage(given), factor_stage(given), linv_stage(given), invert_stage(given)]
    if given.models.semantic_tiles:
        stages += [replace(stage, name=semantic(stage.name)) for stage in stages]
    if given.models.product:
        stages.append(product_stage(given))
    if given.dim:
        stages.append(assemble_stage(given))
    return (*stages, score_stage(given))


def gram_stage(given: StageInputs) -> StagePlan:
    """Plan ``X'X``, or the Gram matrix of the features: a sparse product for each lower tile."""
    size, grid, tile_bytes = given.size, given.grid, given.memory.tile_bytes
    # each staged task: a tile, its copy, its blocks by column and by row, and what converting them takes
    held = INTERPRETER_BYTES + STAGED * (2 * tile_bytes + 32 * size.widest_block(grid.tile) + 8 * size.users)
    if given.models.weighted_users:  # their weights, and a block that has them
        held += 16 * size.users + STAGED * 16 * size.widest_block(grid.tile)
    # the products of features are summed in float64 before they join the tile
    if given.dim or given.models.semantic_tiles:
        held += STAGED * 8 * grid.tile * (grid.tile + 2 * given.dim)
    read = 16.0 * size.interactions * grid.count
    return StagePlan(Stage.GRAM, grid.lower_count, 0.0, read, grid.lower_count * tile_bytes, held)


def factor_stage(given: StageInputs) -> StagePlan:
    """Plan ``L L' = G + ridge I``: n^3 / 3 flops, with the partial sums that several workers make."""
    return _triangular_stage(Stage.FACTOR, given)


def linv_stage(given: StageInputs) -> StagePlan:
    """Plan ``L^-1``: n^3 / 3 flops, with the partial sums that many workers make."""
    return _triangular_stage(Stage.LINV, given)


def invert_stage(given: StageInputs) -> StagePlan:
    """Plan ``P = L^-T L^-1``: n^3 / 3 flops."""
    return _triangular_stage(Stage.INVERT, given)


def _triangular_stage(name: Stage, given: StageInputs) -> StagePlan:
    """Plan a stage of n^3 / 3 flops that writes a lower triangle of tiles, and partial sums."""
    grid, memory, tile_bytes = given.grid, given.memory, given.memory.tile_bytes
    partials = partial_tiles(name, grid.count, given.machine.workers, memory.block)
    device = given.device_cache // tile_bytes
    local = given.machine.local_bytes // tile_bytes
    memories = TileMemories(given.machine.workers, memory.cache // tile_bytes, device, local)
    counted = given.machine.counted
    found = stage_traffic(name, grid.count, memories, memory.block, counted=counted).times(tile_bytes)
    found = found.asking(ASKED_FIRST if given.machine.among_peers else 0.0)
    return StagePlan(
        name,
        grid.lower_count + partials,
        float(grid.n) ** 3 / 3,
        found.workspace,
        (grid.lower_count + partials) * tile_bytes,
        max(memory.streaming, memory.beside_cache + memory.cache),
        found.peers,
        found.cache,
        found.device,
        found.local,
    )


def product_stage(given: StageInputs) -> StagePlan:
    """Plan ``P C`` in tiles: 2 n^3 flops."""
    count, tile_bytes = given.grid.count, given.memory.tile_bytes
    flops, read = 2.0 * float(given.grid.n) ** 3, 2.0 * count**3 * tile_bytes
    return StagePlan(Stage.PRODUCT, count**2, flops, read, count**2 * tile_bytes, given.memory.streaming)


def assemble_stage(given: StageInputs) -> StagePlan:
    """Plan the item rows of the Woodbury route, F and M and V and Q: 2 n^2 d + 4 n d^2 flops.

    Items outside the core have rows, too, and are not in P.
    """
    grid, d, itemsize, every = given.grid, given.dim, given.machine.itemsize, given.size.catalog
    n, count = grid.n, grid.count
    return StagePlan(
        Stage.ASSEMBLE,
        2 * count + 2 * -(-every // grid.tile) + 1,
        2.0 * n * n * d + 2.0 * (n + every) * d * d,
        # P for Q = P F' and each of its tile rows all of F; F twice for M and V
        count**2 * given.memory.tile_bytes + (count * n + n + every) * d * itemsize,
        every * d * (8.0 + itemsize),
        given.memory.streaming + 24 * d * d + 4 * grid.tile * d * 8,
    )


def score_stage(given: StageInputs) -> StagePlan:
    """Plan the scores of the evaluated users: every block of users on every tile of all items.

    The dense products with the text are not counted: they are quick beside the sparse ones.
    """
    grid, models, itemsize, block = given.grid, given.models, given.machine.itemsize, given.user_block
    size, scored = given.size, given.scored_users
    blocks = -(-scored // block)
    held = given.memory.streaming
    held += score_block_bytes(block, grid.tile, itemsize, models.heads, models.k, given.matrices)
    held += block * max(given.dim, models.low_rank) * itemsize
    return StagePlan(
        Stage.SCORE,
        blocks * -(-size.catalog // grid.tile),
        2.0 * size.interactions * grid.n * scored / size.users,
        2.0 * blocks * grid.lower_count * given.memory.tile_bytes,
        0.0,
        held,
    )
