"""The ranks of all held-out items under one group of a sweep's models, made once and kept."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.data.systems import semantic_system, systems_of
from l3ae_dist.graphs.head import Head
from l3ae_dist.graphs.rank import Line, RankGraph, RankParams
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.planning.plan_ranks import RankPlan
from l3ae_dist.solve.heads import make_head, product_path, slope_head
from l3ae_dist.solve.solver import Solver
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage

_ROWS = 1 << 16


@dataclass(frozen=True)
class Group:
    """Models that are ranked in one pass: those of one ridge, or EASEText, which has none."""

    label: str
    models: tuple[ModelSpec, ...]


def groups_of(specs: Iterable[ModelSpec], route: str) -> list[Group]:
    """Models by ridge, with equal reg_f beside each other; on the direct route by reg_f too.

    There every reg_f has n x n matrices of its own, of which only those of one group are held.
    """
    found: dict[tuple[Any, ...], list[ModelSpec]] = {}
    for spec in sorted(specs, key=lambda spec: (spec.ridge, spec.reg_f or 0.0, spec.reg_e)):
        reg_f = spec.reg_f if route == "direct" else None
        found.setdefault((spec.ridge, reg_f), []).append(spec)
    return [Group(_label(*key), tuple(models)) for key, models in found.items()]


def _label(ridge: float, reg_f: float | None) -> str:
    parts = [f"ridge {ridge:g}" if ridge else "EASEText", "" if reg_f is None else f"reg_f {reg_f:g}"]
    return ", ".join(part for part in parts if part)


def held_ranks(solver: Solver, group: Group, users: Array, indptr: Array, plan: RankPlan) -> Array:
    """Rank of every validation item of some users under every model of a group.

    Parameters
    ----------
    solver, group, plan
        What to rank, with which blocks.
    users, indptr
        Ascending user rows, and where each one's items begin; (users,) and (users + 1,).

    Returns
    -------
    (items, models) int32, items by user and then by index; 0 is best. Everything that the models need is
    made first, unless the ranks are there already.
    """
    base = [solver.base(group.models[0].ridge), solver.embedding, solver.route, "valid"]
    identifier = fingerprint([*base, [asdict(spec) for spec in group.models], users.tolist()])
    path = f"scores/{identifier}/ranks"
    if solver.workspace.stage_done(Stage.SCORE, identifier) is None:
        stats = _rank(solver, group, users, indptr, plan, f"scores/{identifier}")
        params = {"group": group.label, "models": len(group.models)}
        solver.workspace.mark_stage(Stage.SCORE, identifier, params, stats)
    array = ChunkArray.open(solver.workspace, path)
    return np.concatenate([array.read(i, 0) for i in range(array.grid[0])])


def _rank(
    solver: Solver, group: Group, users: Array, indptr: Array, plan: RankPlan, path: str
) -> dict[str, Any]:
    base, lines = _heads(solver, group)
    size = min(plan.users, len(users))
    starts = np.arange(0, len(users), size)
    ends = np.append(starts[1:], len(users))
    held = indptr[ends] - indptr[starts]
    width, blocks, models = int(held.max()), len(starts), len(group.models)
    work = f"{path}/work-{size}"
    columns = {"held": 1 + len(lines), "counts": models}
    paths = {name: f"{work}/{name}" for name in ("users", *columns)}
    user_array = _create(solver, paths["users"], (len(users), 1), (size, 1), "int64")
    for u in range(blocks):
        user_array.write(u, 0, users[user_array.row_range(u), None])
    tiles = solver.plan.grid.count + 1
    _create(
        solver, paths["held"], (blocks * width, columns["held"]), (width, columns["held"]), solver.plan.dtype
    )
    counts = _create(solver, paths["counts"], (blocks * width, tiles * models), (width, models), "int32")
    # arrays of the heads by name, so that a damaged one is known and made again
    heads = [base, *(line.slope for line in lines if line.slope is not None)]
    paths |= {name: name for head in heads for name in head.paths()}
    params = RankParams(solver.dataset.id, "valid", base, lines, plan.scores)
    context = solver.context(paths, params)
    graph = RankGraph(solver.plan.grid, blocks)
    stats = solver.run(graph, context, {"held", "counts"}, f"rank {group.label}")
    ranks = np.concatenate(
        [np.sum([counts.read(u, j)[: held[u]] for j in range(tiles)], axis=0) for u in range(blocks)]
    )
    rows = min(len(ranks), _ROWS)
    found = _create(solver, f"{path}/ranks", ranks.shape, (rows, models), "int32")
    for i in range(found.grid[0]):
        found.write(i, 0, ranks[found.row_range(i)])
    solver.workspace.delete(work)
    return vars(stats)


def _heads(solver: Solver, group: Group) -> tuple[Head, tuple[Line, ...]]:
    """The base of a group and its lines, in the order of its models; makes what they are made of."""
    first = group.models[0]
    if first.name == "EASEText":
        return Head("none", (), (), 0.0), tuple(
            Line(make_head(solver, spec), (1.0,)) for spec in group.models
        )
    base = make_head(solver, ModelSpec("EASE", first.ridge))
    lines: dict[float | None, list[float]] = {}
    for spec in group.models:
        lines.setdefault(spec.reg_f, []).append(spec.reg_e)
    return base, tuple(
        Line(None if reg_f is None else slope_head(solver, first.ridge, reg_f), tuple(weights))
        for reg_f, weights in lines.items()
    )


def _create(
    solver: Solver, path: str, shape: tuple[int, int], chunks: tuple[int, int], dtype: str
) -> ChunkArray:
    return ChunkArray.create(solver.workspace, path, shape=shape, chunks=chunks, dtype=dtype)


def release(solver: Solver, tried: Iterable[ModelSpec], needed: Iterable[ModelSpec]) -> None:
    """Delete the n x n matrices that only models in ``tried`` have; Gram, Q and diag(P) stay."""
    if "P" in solver.keep:
        return
    tried, needed = tuple(tried), tuple(needed)
    systems = {system for spec in tried for system in systems_of(spec, solver.embedding, solver.route)}
    kept = {system for spec in needed for system in systems_of(spec, solver.embedding, solver.route)}
    for factor in (solver.factor(*system) for system in systems - kept):
        if solver.workspace.has(factor.path):
            solver.discard_inverse(factor, keep_products=True)
    if solver.route == "direct":
        for path in _products(solver, tried) - _products(solver, needed):
            if solver.workspace.has(path):
                solver.workspace.delete(path)


def _products(solver: Solver, specs: Iterable[ModelSpec]) -> set[str]:
    semantic = semantic_system(solver.embedding)
    return {
        product_path(solver.factor(spec.ridge), solver.factor(float(spec.reg_f or 0.0), semantic))
        for spec in specs
        if spec.name == "L3AE"
    }
