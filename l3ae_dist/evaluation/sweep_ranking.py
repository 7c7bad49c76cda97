"""The ranks of all held-out items under one group of a sweep's models, made once and kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.evaluation.groups import ModelGroup
from l3ae_dist.graphs.held_out_ranks import RankGraph, RankParams
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.metrics import per_user_of_ranks
from l3ae_dist.planning.ranking_plan import RankPlan
from l3ae_dist.runtime.run_graph import StageStats
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.family import Family
from l3ae_dist.solve.head_batches import batched_heads
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.layout import ScorePaths
from l3ae_dist.storage.rows import read_rows
from l3ae_dist.storage.stages import Stage

# Ranks that a chunk holds, and that are in memory at a time.
_CELLS = 1 << 22


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


@dataclass(frozen=True, slots=True)
class HeldRanks:
    """Ranks of the validation items of some users under the models of a group.

    Parameters
    ----------
    users
        The users.
    array
        (items, models) int32, items by user and then by index; 0 is best.
    """

    users: HeldUsers
    array: ChunkArray

    def measured(self, names: Sequence[str]) -> Iterator[Array]:
        """Yield the metrics of some users after the other, (metrics, models, users) float64."""
        models, indptr = self.array.shape[1], self.users.indptr
        start = 0
        while start < len(indptr) - 1:
            room = indptr[start] + max(1, _CELLS // models)
            stop = max(start + 1, int(np.searchsorted(indptr, room, side="right")) - 1)
            ranks = read_rows(self.array, int(indptr[start]), int(indptr[stop]))
            owners = indptr[start : stop + 1] - indptr[start]
            yield np.array([per_user_of_ranks(ranks, owners, name).T for name in names])
            start = stop

    def means(self, names: Sequence[str]) -> Array:
        """Average some metrics over the users, (metrics, models) float64."""
        total = sum(values.sum(axis=2) for values in self.measured(names))
        return np.asarray(total / (len(self.users.indptr) - 1))


def held_ranks(
    store: ArtifactStore, family: Family, group: ModelGroup, users: HeldUsers, plan: RankPlan
) -> HeldRanks:
    """Rank every validation item of some users under every model of a group.

    Parameters
    ----------
    store, family
        Where ranks and what they need are made; nothing is, when the ranks are there already.
    group, users, plan
        What to rank, with which blocks.
    """
    base = [*family.identity(group.models[0].ridge), "valid"]
    identifier = fingerprint([*base, [spec.document() for spec in group.models], users.rows.tolist()])
    folder = ScorePaths.of(identifier)
    if not store.is_done(Stage.SCORE, identifier):
        stats = _rank(store, family, group, users, plan, folder)
        store.mark(Stage.SCORE, identifier, {"group": group.label, "models": len(group.models)}, stats)
    return HeldRanks(users, store.open(folder.ranks))


def _rank(
    store: ArtifactStore,
    family: Family,
    group: ModelGroup,
    users: HeldUsers,
    plan: RankPlan,
    folder: ScorePaths,
) -> StageStats:
    made = batched_heads(family, group.models)
    blocks = _Blocks.of(users, plan.users)
    work = folder.work(blocks.size)
    user_array = store.create(work.array("users"), (len(users.rows), 1), (blocks.size, 1), "int64")
    for u in range(blocks.count):
        user_array.write(u, 0, users.rows[user_array.row_range(u), None])
    store.write_rows(work.array("heads"), made.factors)
    width, models = int(blocks.held.max()), len(group.models)
    tiles = store.grid.count + 1
    store.create(work.array("held"), (blocks.count * width, models), (width, models), store.dtype)
    shape = (blocks.count * width, tiles * models)
    counts = store.create(work.array("counts"), shape, (width, models), "int32")
    paths = {name: work.array(name) for name in ("users", "heads", "held", "counts")}
    # arrays of the models by name, so that a damaged one is known and made again
    paths |= {name: name for name in made.paths()}
    params = RankParams(family.dataset.id, "valid", made.batches, plan.scores)
    context, graph = store.context(paths, params), RankGraph(store.grid, blocks.count)
    stats = store.run(graph, context, {"held", "counts"}, f"rank {group.label}")
    _add_up(store, counts, blocks, made.order, folder.ranks)
    store.delete(work.base)
    return stats


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Blocks of users: their size, and the number of held-out items of each."""

    size: int
    held: Array

    @classmethod
    def of(cls, users: HeldUsers, size: int) -> "_Blocks":
        size = min(size, len(users.rows))
        starts = np.arange(0, len(users.rows), size)
        return cls(size, np.diff(users.indptr[np.append(starts, len(users.rows))]))

    @property
    def count(self) -> int:
        return len(self.held)


def _add_up(store: ArtifactStore, counts: ChunkArray, blocks: _Blocks, order: Array, path: str) -> None:
    """Write the ranks, which are the sums over all tiles of the counts of each user block."""
    models, items = len(order), int(blocks.held.sum())
    rows = max(1, min(items, _CELLS // models))
    stored = store.create(path, (items, models), (rows, models), "int32")
    waiting, written = np.empty((0, models), np.int32), 0
    for u in range(blocks.count):
        total = np.zeros((blocks.held[u], models), np.int32)
        for j in range(counts.grid[1]):
            total += counts.read(u, j)[: len(total)]
        waiting = np.concatenate([waiting, total[:, order]])
        while len(waiting) >= rows or (u == blocks.count - 1 and len(waiting)):
            stored.write(written, 0, waiting[:rows], anew=True)
            waiting, written = waiting[rows:], written + 1
