"""The plan of a sweep's ranking stage: how many users and scores are held at once."""

from dataclasses import dataclass

import numpy as np

from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.stage_plans import StagePlan
from l3ae_dist.planning.worker_memory import TILES_HELD, process_bytes, users_that_fit
from l3ae_dist.storage.stages import Stage

# Scores that all threads of a worker make together: enough for fast products, and some stay in cache.
_SCORES = 1 << 22
# Arrays of so many scores: base, slope, a product on its way into each, and one that is being added.
_COPIES = 5


@dataclass(frozen=True)
class RankPlan:
    """Users of a block, scores made at a time, and the projection of the stage."""

    users: int
    scores: int
    stage: StagePlan


def plan_ranks(plan: Plan, n_users: int, nnz: int, d: int, matrices: int, *, gpu: bool = False) -> RankPlan:
    """Fit the ranking of held-out items into what the plan's tiles leave of the budget.

    Parameters
    ----------
    plan
        Of the run.
    n_users, nnz, d
        Users with held-out items at most, training interactions, and columns of the features.
    matrices
        Products ``x A`` with n x n matrices that one model needs.
    gpu
        Whether workers hold torch too.
    """
    grid, itemsize = plan.grid, int(np.dtype(plan.dtype).itemsize)
    tile_bytes = grid.tile**2 * itemsize
    held = process_bytes(gpu=gpu) + TILES_HELD * tile_bytes + grid.tile * d * (8 + itemsize)
    free = max(plan.memory_budget - held, 0)
    # each x A, one that is being added, x L likewise
    per_user = itemsize * ((matrices + 1) * grid.tile + 2 * d)
    users = users_that_fit(n_users, per_user, free)
    scores = int(max(grid.tile, min(_SCORES, users * grid.tile, 0.2 * free / (_COPIES * itemsize))))
    blocks = -(-n_users // users)
    stage = StagePlan(
        Stage.RANK,
        blocks * (1 + grid.count),
        2.0 * nnz * grid.n + 2.0 * n_users * grid.n * d,
        2.0 * blocks * grid.count**2 * tile_bytes,
        0.0,
        held + users * per_user + _COPIES * itemsize * scores,
    )
    return RankPlan(users, scores, stage)
