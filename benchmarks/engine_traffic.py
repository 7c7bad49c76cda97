"""Tiles that the stages of a factorisation move: against the lower bound, the plan, and single tiles."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from engine_runs import BUDGET, GIB, MIB, Details, Rows, summary
from report import row
from tile_solve import Solved, tile_solve

from l3ae_dist.planning.plan import Plan, make_plan
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.storage.stages import Stage

GB = 1e9
# Reads of the factor stage over the bound, and bytes that were moved over those planned, at most.
OVER_BOUND, OVER_PLAN = 1.5, 1.1


def over_bound(plan: Plan, bytes_read: float) -> float:
    """Divide the words of float32 that a factor stage reads by compulsory reads plus the I/O lower bound."""
    n, words = plan.grid.n, plan.memory_budget / 4
    return bytes_read / 4 / (n**2 / 2 + n**3 / (3 * 2**0.5 * words**0.5))


def planned_reads(plan: Plan, name: str) -> float:
    """Return the bytes that a stage reads by its plan, from the workspace and from peers."""
    return next(stage.bytes_read + stage.bytes_peers for stage in plan.stages if stage.name == name)


def solve_plan(n: int, memory_budget: int) -> Plan:
    """Return the plan of one worker for a factorisation of float32."""
    machine = Machine(memory_budget, arithmetic="float32")
    return make_plan(DataSize(items=n, users=1, interactions=1), ModelNeeds(), machine)


def described(plan: Plan) -> str:
    """Say size and budget of a run."""
    return f"n = {plan.grid.n}, budget {plan.memory_budget // MIB} MiB"


def as_planned(name: str, moved: float, planned: float) -> dict[str, Any]:
    """Make a row of bytes that were moved, which must be within 10 % of those planned, or none."""
    if not planned:
        return row(name, moved / GB, "GB", target=0.0, smaller=True)
    line = row(name, moved / GB, "GB", planned / GB, OVER_PLAN, smaller=True)
    return line | {"met": bool(1 / OVER_PLAN <= line["ratio"] <= OVER_PLAN)}


def planned_traffic(runs: Sequence[Solved]) -> Rows:
    """Compare the bytes that equal runs moved with those of their plan: each stage's reads, all writes."""
    plan, stages = runs[0].plan, runs[0].stages
    where = described(plan) + (f", {plan.workers} workers" if plan.workers > 1 else "")
    rows = [
        as_planned(
            f"bytes read by {name}, against those planned, {where}",
            # which of the two is quicker, each worker finds out
            median(run.stages[name].bytes_read + run.stages[name].bytes_from_peers for run in runs),
            planned_reads(plan, name),
        )
        for name in stages
    ]
    written = sum(stage.bytes_written for stage in stages.values())
    wanted = sum(stage.bytes_written for stage in plan.stages if stage.name in stages)
    return [
        *rows,
        as_planned(f"bytes written by all of these, against those planned, {where}", written, wanted),
    ]


def traffic(details: Details, n: int = 16_384) -> Rows:
    """Run the factor stage of n and 2 n items in two budgets, the largest of them once more tile by tile.

    Four times as many items are counted by the plan, which replays the cache of one worker task by task.
    """
    sizes = [(n, BUDGET), (2 * n, BUDGET), (n, 2 * GIB), (2 * n, 2 * GIB)]
    runs = [tile_solve(size, memory_budget=given, stop="factor") for size, given in sizes]
    single = tile_solve(2 * n, memory_budget=BUDGET, tile=runs[1].plan.grid.tile, block=1, stop="factor")
    largest = solve_plan(4 * n, 2 * GIB)
    details["traffic"] = {"runs": [summary(run) for run in runs], "single": summary(single)}
    rows: Rows = []
    for run in runs:
        rows += [
            row(f"words read by the factor stage over the bound, {described(run.plan)}",
                over_bound(run.plan, run.stages["factor"].bytes_read), "", target=OVER_BOUND, smaller=True),
            row("its peak of the worker, over the projection", run.peak["worker_max"] / MIB, "MiB",
                run.plan.peak_bytes / MIB, 1, smaller=True),
            *planned_traffic([run]),
        ]  # fmt: skip
    rows += [
        row(f"words read by the factor stage over the bound, {described(largest)}: counted, not run",
            over_bound(largest, planned_reads(largest, Stage.FACTOR)), "", target=OVER_BOUND, smaller=True),
        *single_tiles(runs[1], single),
    ]  # fmt: skip
    if runs[0].plan.grid.tile == runs[1].plan.grid.tile:
        rows.append(row(f"peak at n = {2 * n} over that at n = {n}, tiles of {runs[0].plan.grid.tile}",
                        runs[1].peak["worker_max"] / MIB, "MiB", runs[0].peak["worker_max"] / MIB, 1.05,
                        smaller=True))  # fmt: skip
    return rows


def single_tiles(blocks: Solved, single: Solved) -> Rows:
    """Compare a factor stage in blocks with the same one made tile by tile."""
    plan = blocks.plan
    what = f"factor, {described(plan)}, tiles of {plan.grid.tile}"
    against = f"blocks of {plan.block.rows} x {plan.block.columns}, against single tiles"
    ours, theirs = (run.stages["factor"] for run in (blocks, single))
    return [
        row(f"{what}: {against}, time", ours.seconds, "s", theirs.seconds, faster=True),
        row(f"{what}: {against}, bytes read", ours.bytes_read / GB, "GB", theirs.bytes_read / GB),
    ]
