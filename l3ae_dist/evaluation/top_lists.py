"""Top lists of the evaluated users: all models of one group are scored in a single pass over P."""

from dataclasses import dataclass

import numpy as np

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.evaluation.groups import ModelGroup
from l3ae_dist.graphs.score import ScoreParams, score_graph
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.top_k import merge_top_k
from l3ae_dist.planning.data_size import evaluated_count
from l3ae_dist.runtime.run_graph import StageStats
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.family import Family
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.layout import ScorePaths
from l3ae_dist.storage.stages import Stage

_SCORE_ARRAYS = ("users", "top_items", "top_values")


def evaluated_users(dataset: Dataset, max_users: int | None, seed: int) -> Array:
    """Choose the users to evaluate: all, or a seeded sample where all would cost too much.

    Parameters
    ----------
    dataset
        Its training matrix decides the cost.
    max_users, seed
        Size of the sample (chosen by the cost when None) and its seed.

    Returns
    -------
    Ascending user rows, (users,) int64.
    """
    count = evaluated_count(dataset.nnz("train"), dataset.n_items, dataset.n_users, max_users)
    if count == dataset.n_users:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(dataset.n_users, count, replace=False))


@dataclass(frozen=True, slots=True)
class TopLists:
    """The best ``k`` items of every evaluated user under several models.

    Parameters
    ----------
    dataset, users
        Whose users, and which of them, ascending.
    specs, k
        The models, and the length of each list.
    array
        (users, models k) int64, the lists of the models beside each other, cut by users.
    """

    dataset: Dataset
    users: Array
    specs: tuple[ModelSpec, ...]
    k: int
    array: ChunkArray

    def of(self, spec: ModelSpec) -> Array:
        """Read the top lists of one model, (users, k) int64."""
        first = self.specs.index(spec) * self.k
        blocks = (self.array.read(i, 0) for i in range(self.array.grid[0]))
        return np.concatenate([block[:, first : first + self.k] for block in blocks])


def score(store: ArtifactStore, family: Family, group: ModelGroup, k: int, users: Array) -> TopLists:
    """Make sure that the top lists of all models of one group exist.

    Parameters
    ----------
    store, family
        Where the lists and what they need are made; nothing is, when the lists are there already.
    group
        The models.
    k, users
        Length of the lists, and ascending user rows (users,).

    Notes
    -----
    Cost: one read of P, ``2 nnz n`` flops for the users' ``nnz`` interactions, and ``2 users n d`` for each
    product of rank d.
    """
    specs = group.models
    parts = [*family.identity(specs[0].ridge), [spec.document() for spec in specs], k, users.tolist()]
    identifier = fingerprint(parts)
    folder = ScorePaths.of(identifier)
    if not store.is_done(Stage.SCORE, identifier):
        stats = _score(store, family, group, k, users, folder)
        made_from = {"group": group.label, "models": len(specs)}
        store.mark(Stage.SCORE, identifier, made_from, stats)
    return TopLists(family.dataset, users, specs, k, store.open(folder.top_lists))


def _score(
    store: ArtifactStore, family: Family, group: ModelGroup, k: int, users: Array, folder: ScorePaths
) -> StageStats:
    models = tuple(family.of(spec).terms(spec) for spec in group.models)
    block, width = min(store.plan.user_block, len(users)), len(models) * k
    user_array = store.create(folder.array("users"), (len(users), 1), (block, 1), "int64")
    for i in range(user_array.grid[0]):
        user_array.write(i, 0, users[user_array.row_range(i), None])
    shape, chunks = (len(users), store.grid.count * width), (block, width)
    store.create(folder.array("top_items"), shape, chunks, "int64")
    store.create(folder.array("top_values"), shape, chunks, store.dtype)
    paths = {name: folder.array(name) for name in _SCORE_ARRAYS}
    # arrays of the models by name, so that a damaged one is known and made again
    paths |= {path: path for model in models for path in model.paths()}
    context = store.context(paths, ScoreParams(family.dataset.id, models, k))
    graph = score_graph(store.grid, user_array.grid[0])
    stats = store.run(graph, context, {"top_items"}, f"score {group.label}")
    _merge(store, folder, len(models), k)
    return stats


def _merge(store: ArtifactStore, folder: ScorePaths, models: int, k: int) -> None:
    """Keep the best k of all item tiles, user block by user block; the tiles' own lists are then deleted."""
    items, values = store.open(folder.array("top_items")), store.open(folder.array("top_values"))
    shape, chunks = (items.shape[0], models * k), (items.chunks[0], models * k)
    merged = store.create(folder.top_lists, shape, chunks, "int64")
    for u in range(items.grid[0]):
        all_items = np.stack([items.read(u, j) for j in range(items.grid[1])])
        all_values = np.stack([values.read(u, j) for j in range(items.grid[1])])
        users = all_items.shape[1]
        block = np.empty((users, models * k), np.int64)
        for h in range(models):
            part = slice(h * k, (h + 1) * k)
            flat_items = all_items[:, :, part].transpose(1, 0, 2).reshape(users, -1)
            flat_values = all_values[:, :, part].transpose(1, 0, 2).reshape(users, -1)
            block[:, part] = merge_top_k(flat_items, flat_values, k)[0]
        merged.write(u, 0, block, anew=True)
    store.delete(*(folder.array(name) for name in _SCORE_ARRAYS))
