"""The ranks of all held-out items under one group of a sweep's models, made once and kept."""

from dataclasses import asdict, dataclass

import numpy as np

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.evaluation.groups import ModelGroup
from l3ae_dist.graphs.held_out_ranks import Line, RankGraph, RankParams
from l3ae_dist.graphs.score_terms import ScoreTerms
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.planning.ranking_plan import RankPlan
from l3ae_dist.runtime.run_graph import StageStats
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.family import Family
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.layout import ScorePaths
from l3ae_dist.storage.stages import Stage

_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class HeldUsers:
    """Users with validation items.

    Parameters
    ----------
    rows
        Ascending user rows, (users,).
    indptr
        Where each one's held-out items begin among all of theirs, (users + 1,).
    """

    rows: Array
    indptr: Array


def held_users(dataset: Dataset, users: Array) -> HeldUsers:
    """Choose those of some users, (users,) ascending, who have validation items."""
    counts = np.diff(dataset.rows_of("valid", users).indptr)
    return HeldUsers(users[counts > 0], np.append(0, np.cumsum(counts[counts > 0])))


def held_ranks(
    store: ArtifactStore, family: Family, group: ModelGroup, users: HeldUsers, plan: RankPlan
) -> Array:
    """Rank every validation item of some users under every model of a group.

    Parameters
    ----------
    store, family
        Where ranks and what they need are made; nothing is, when the ranks are there already.
    group, users, plan
        What to rank, with which blocks.

    Returns
    -------
    (items, models) int32, items by user and then by index; 0 is best.
    """
    base = [*family.identity(group.models[0].ridge), "valid"]
    identifier = fingerprint([*base, [asdict(spec) for spec in group.models], users.rows.tolist()])
    folder = ScorePaths.of(identifier)
    if not store.is_done(Stage.SCORE, identifier):
        stats = _rank(store, family, group, users, plan, folder)
        store.mark(Stage.SCORE, identifier, {"group": group.label, "models": len(group.models)}, stats)
    return store.read_rows(folder.ranks)


def _rank(
    store: ArtifactStore,
    family: Family,
    group: ModelGroup,
    users: HeldUsers,
    plan: RankPlan,
    folder: ScorePaths,
) -> StageStats:
    base, lines = _lines(family, group)
    size = min(plan.users, len(users.rows))
    starts = np.arange(0, len(users.rows), size)
    ends = np.append(starts[1:], len(users.rows))
    held = users.indptr[ends] - users.indptr[starts]
    width, blocks, models = int(held.max()), len(starts), len(group.models)
    work = folder.work(size)
    user_array = store.create(work.array("users"), (len(users.rows), 1), (size, 1), "int64")
    for u in range(blocks):
        user_array.write(u, 0, users.rows[user_array.row_range(u), None])
    tiles, columns = store.grid.count + 1, 1 + len(lines)
    store.create(work.array("held"), (blocks * width, columns), (width, columns), store.dtype)
    counts = store.create(work.array("counts"), (blocks * width, tiles * models), (width, models), "int32")
    paths = {name: work.array(name) for name in ("users", "held", "counts")}
    # arrays of the models by name, so that a damaged one is known and made again
    terms = [base, *(line.slope for line in lines if line.slope is not None)]
    paths |= {name: name for one in terms for name in one.paths()}
    params = RankParams(family.dataset.id, "valid", base, lines, plan.scores)
    context, graph = store.context(paths, params), RankGraph(store.grid, blocks)
    stats = store.run(graph, context, {"held", "counts"}, f"rank {group.label}")
    ranks = np.concatenate(
        [np.sum([counts.read(u, j)[: held[u]] for j in range(tiles)], axis=0) for u in range(blocks)]
    )
    stored = store.create(folder.ranks, ranks.shape, (min(len(ranks), _ROWS), models), "int32")
    for i in range(stored.grid[0]):
        stored.write(i, 0, ranks[stored.row_range(i)])
    store.delete(work.base)
    return stats


def _lines(family: Family, group: ModelGroup) -> tuple[ScoreTerms, tuple[Line, ...]]:
    """Make the base of a group and its lines, in the order of its models."""
    first = group.models[0]
    if first.name == "EASEText":
        lines = tuple(Line(family.terms(spec), (1.0,)) for spec in group.models)
        return ScoreTerms("none", (), (), 0.0), lines
    base = family.terms(ModelSpec("EASE", first.ridge))
    weights: dict[float | None, list[float]] = {}
    for spec in group.models:
        weights.setdefault(spec.reg_f, []).append(spec.reg_e)
    return base, tuple(
        Line(None if reg_f is None else family.slope_terms(first.ridge, reg_f), tuple(reg_es))
        for reg_f, reg_es in weights.items()
    )
