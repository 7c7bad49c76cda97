"""The plan of a sweep's ranking stage: how many models, users and scores are held at once."""

from dataclasses import dataclass

import numpy as np

from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.stage_plans import StagePlan
from l3ae_dist.planning.worker_memory import TILES_HELD, process_bytes, users_that_fit
from l3ae_dist.storage.stages import Stage
from l3ae_dist.units import GIB

# Scores that all threads of a worker make together: enough for fast products, and some stay in cache.
_SCORES = 1 << 22
# Arrays of so many scores: base, slope, a product on its way into each, and one that is being added.
_COPIES = 5
# Bytes of a factor of a product's column in the client, which stacks them; a model has mostly two of each.
_FACTOR_BYTES = 2 * 8
# Disk that the counts of a pass may take where the tiles of a solve take less.
_COUNTS_BYTES = GIB


@dataclass(frozen=True)
class RankPlan:
    """Models of a pass, users of a block, scores made at a time, and the projection of the stage."""

    models: int
    users: int
    scores: int
    stage: StagePlan


@dataclass(frozen=True, slots=True)
class RankNeeds:
    """Sizes that the ranking of a group of models depends on.

    Parameters
    ----------
    users, held
        Users with held-out items at most, and their items.
    nnz, d
        Training interactions, and columns of the features.
    models, matrices
        Models of the largest group, and its products ``x A`` with n x n matrices.
    """

    users: int
    held: int
    nnz: int
    d: int
    models: int = 1
    matrices: int = 1


def plan_ranks(plan: Plan, needs: RankNeeds, *, gpu: bool = False) -> RankPlan:
    """Fit the ranking of held-out items into what the plan's tiles leave of the budget.

    Parameters
    ----------
    plan
        Of the run.
    needs
        What is ranked.
    gpu
        Whether workers hold torch too.
    """
    grid, itemsize, models = plan.grid, int(np.dtype(plan.dtype).itemsize), models_of_pass(plan, needs)
    tile_bytes = grid.tile**2 * itemsize
    held = process_bytes(gpu=gpu) + TILES_HELD * tile_bytes
    # rows of V, and the factors of the products' columns of each model: as they are stored, and at work
    held += grid.tile * (needs.d + 2 * models) * (8 + itemsize)
    free = max(plan.memory_budget - held, 0)
    # each x A, one that is being added, x L likewise; of each held-out item ranks, scores and limits
    items = -(-needs.held // max(needs.users, 1))
    per_user = itemsize * ((needs.matrices + 1) * grid.tile + 2 * needs.d)
    per_user += items * models * (4 + 3 * itemsize)
    users = users_that_fit(needs.users, per_user, free)
    scores = int(max(grid.tile, min(_SCORES, users * grid.tile, 0.2 * free / (_COPIES * itemsize))))
    blocks, passes = -(-needs.users // users), -(-needs.models // models)
    products = 2.0 * needs.nnz * grid.n * needs.matrices + 2.0 * needs.users * grid.n * needs.d
    stage = StagePlan(
        Stage.RANK,
        passes * blocks * (1 + grid.count),
        passes * products + 4.0 * needs.users * grid.n * needs.models,
        2.0 * passes * blocks * grid.count**2 * tile_bytes * needs.matrices,
        0.0,
        held + users * per_user + _COPIES * itemsize * scores,
    )
    return RankPlan(models, users, scores, stage)


def models_of_pass(plan: Plan, needs: RankNeeds) -> int:
    """Return how many models of a group are ranked together: all, or what memory and disk have room for.

    Their vectors take no more of the client's memory than half of what a worker may take, and their counts no
    more of the disk than the tiles of one triangle, which lay there while the inverse was made.

    Parameters
    ----------
    plan
        Of the run.
    needs
        What is ranked.
    """
    grid, itemsize = plan.grid, int(np.dtype(plan.dtype).itemsize)
    in_memory = plan.memory_budget // 2 // (2 * _FACTOR_BYTES * grid.n)
    # counts of every tile and of the own one, their sums, and the scores
    counts = needs.held * ((grid.count + 2) * 4 + itemsize)
    on_disk = max(grid.lower_count * grid.tile**2 * itemsize, _COUNTS_BYTES) // max(counts, 1)
    return max(1, min(needs.models, in_memory, on_disk))
