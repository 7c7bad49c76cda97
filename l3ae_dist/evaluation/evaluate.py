"""Scoring all models of one ridge in a single pass over P, and their metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from l3ae_dist.config.evaluate import EvaluateConfig
from l3ae_dist.config.members import ModelSpec
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.evaluation.significance import bootstrap_means, paired_bootstrap
from l3ae_dist.graphs.score import ScoreParams, score_graph
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.top_k import merge_top_k
from l3ae_dist.metrics import (
    by_item_popularity,
    by_user_activity,
    evaluate_top,
    head_items,
    per_user,
    restrict,
)
from l3ae_dist.planning.data_size import evaluated_count
from l3ae_dist.solve.heads import make_head
from l3ae_dist.solve.solver import Solver
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage

_LEVEL = 0.95


def evaluated_users(dataset: Dataset, max_users: int | None, seed: int) -> Array:
    """Ascending user rows to evaluate: all, or a seeded sample where all would cost too much."""
    count = evaluated_count(dataset.nnz("train"), dataset.n_items, dataset.n_users, max_users)
    if count == dataset.n_users:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(dataset.n_users, count, replace=False))


@dataclass(frozen=True)
class TopLists:
    """The best ``k`` items of every evaluated user under several models."""

    solver: Solver
    path: str
    specs: tuple[ModelSpec, ...]
    k: int
    users: Array

    def of(self, spec: ModelSpec) -> Array:
        """Top list of one model, (users, k) int64."""
        first = self.specs.index(spec) * self.k
        array = ChunkArray.open(self.solver.workspace, self.path)
        return np.concatenate([array.read(i, 0)[:, first : first + self.k] for i in range(array.grid[0])])


def score(solver: Solver, specs: tuple[ModelSpec, ...], k: int, users: Array) -> TopLists:
    """Top lists of all models of one group; what they need is made only when the lists are not there yet."""
    base = solver.base(specs[0].ridge)
    parts = [base, solver.embedding, solver.route, [asdict(spec) for spec in specs], k, users.tolist()]
    identifier = fingerprint(parts)
    base = f"scores/{identifier}"
    result = TopLists(solver, f"{base}/merged", specs, k, users)
    if solver.workspace.stage_done(Stage.SCORE, identifier) is not None:
        return result
    heads = [make_head(solver, spec) for spec in specs]
    block = min(solver.plan.user_block, len(users))
    user_array = _create(solver, f"{base}/users", (len(users), 1), (block, 1), "int64")
    for i in range(user_array.grid[0]):
        user_array.write(i, 0, users[user_array.row_range(i), None])
    width = len(heads) * k
    shape, chunks = (len(users), solver.plan.grid.count * width), (block, width)
    _create(solver, f"{base}/top_items", shape, chunks, "int64")
    _create(solver, f"{base}/top_values", shape, chunks, solver.plan.dtype)
    paths = {name: f"{base}/{name}" for name in _SCORE_ARRAYS}
    # arrays of the heads by name, so that a damaged one is known and made again
    paths |= {path: path for head in heads for path in head.paths()}
    context = solver.context(paths, ScoreParams(solver.dataset.id, tuple(heads), k))
    graph = score_graph(solver.plan.grid, user_array.grid[0])
    stats = solver.run(graph, context, {"top_items"}, f"score {group_label(specs[0])}")
    _merge(solver, base, len(heads), k)
    params = {"group": group_label(specs[0]), "models": len(specs)}
    solver.workspace.mark_stage(Stage.SCORE, identifier, params, vars(stats))
    return result


def group_label(spec: ModelSpec) -> str:
    """What the models of a group have in common, in words."""
    return f"ridge {spec.ridge:g}" if spec.with_interactions else spec.name


_SCORE_ARRAYS = ("users", "top_items", "top_values")


def _create(
    solver: Solver, path: str, shape: tuple[int, int], chunks: tuple[int, int], dtype: str
) -> ChunkArray:
    return ChunkArray.create(solver.workspace, path, shape=shape, chunks=chunks, dtype=dtype)


def _merge(solver: Solver, base: str, heads: int, k: int) -> None:
    """Best k of all item tiles, user block by user block; the tiles' candidates are then deleted."""
    items = ChunkArray.open(solver.workspace, f"{base}/top_items")
    values = ChunkArray.open(solver.workspace, f"{base}/top_values")
    rows = items.chunks[0]
    merged = _create(solver, f"{base}/merged", (items.shape[0], heads * k), (rows, heads * k), "int64")
    for u in range(items.grid[0]):
        all_items = np.stack([items.read(u, j) for j in range(items.grid[1])])
        all_values = np.stack([values.read(u, j) for j in range(items.grid[1])])
        users = all_items.shape[1]
        block = np.empty((users, heads * k), np.int64)
        for h in range(heads):
            part = slice(h * k, (h + 1) * k)
            flat_items = all_items[:, :, part].transpose(1, 0, 2).reshape(users, -1)
            flat_values = all_values[:, :, part].transpose(1, 0, 2).reshape(users, -1)
            block[:, part] = merge_top_k(flat_items, flat_values, k)[0]
        merged.write(u, 0, block)
    for name in _SCORE_ARRAYS:
        solver.workspace.delete(f"{base}/{name}")


def measure(
    lists: TopLists, spec: ModelSpec, split: str, ks: tuple[int, ...], by: tuple[str, ...] = ()
) -> dict[str, Any]:
    """All metrics of one model on ``valid`` or ``test``, also ``by`` item popularity or user activity."""
    dataset, top = lists.solver.dataset, lists.of(spec)
    truth = dataset.rows_of(split, lists.users)
    popularity = dataset.popularity()
    result = evaluate_top(top, truth, popularity, ks)
    if "popularity" in by:
        result["by_item_popularity"] = by_item_popularity(top, truth, popularity, ks)
    if "activity" in by:
        result["by_user_activity"] = by_user_activity(top, truth, dataset.activity()[lists.users], ks)
    return result


def measure_users(lists: TopLists, spec: ModelSpec, split: str, metric: str) -> Array:
    """One metric of every evaluated user, NaN where a user has nothing held out."""
    return per_user(lists.of(spec), lists.solver.dataset.rows_of(split, lists.users), metric)


def measure_models(
    lists: Mapping[ModelSpec, TopLists], specs: Sequence[ModelSpec], options: EvaluateConfig
) -> dict[str, dict[str, Any]]:
    """Parameters, all figures on both splits and the intervals on the test split of each model, by name."""
    found: dict[str, dict[str, Any]] = {}
    for spec in specs:
        figures = {split: measure(lists[spec], spec, split, options.cutoffs, options.by)
                   for split in ("valid", "test")}  # fmt: skip
        found[spec.name] = {"params": spec.params(), **figures}
        if options.bootstrap:
            found[spec.name]["intervals"] = measure_intervals(lists[spec], spec, options)
    return found


def measure_intervals(lists: TopLists, spec: ModelSpec, options: EvaluateConfig) -> dict[str, Any]:
    """Bootstrap intervals over users of a model's main figures on the test split.

    The same users are drawn for every model.

    Returns
    -------
    ``{"level", "repeats", "all": {metric: [low, high]}, "head": {...}, "tail": {...}}`` of the metric that
    models are compared by (``all`` alone, unless it is one of these) and of recall and NDCG at its cut-off;
    null where no user has such an item.
    """
    dataset, top = lists.solver.dataset, lists.of(spec)
    truth = dataset.rows_of("test", lists.users)
    head = head_items(dataset.popularity())
    tail = np.setdiff1d(np.arange(truth.shape[1]), head)
    cut = options.metric.partition("@")[2]
    usual = tuple(sorted((f"recall@{cut}", f"ndcg@{cut}"), key=lambda name: name != options.metric))
    found: dict[str, Any] = {"level": _LEVEL, "repeats": options.bootstrap}
    parts = (("all", truth), ("head", restrict(truth, head)), ("tail", restrict(truth, tail)))
    for part, wanted in parts:
        names = tuple(dict.fromkeys((options.metric, *usual))) if part == "all" else usual
        values = np.column_stack([per_user(top, wanted, name) for name in names])
        bounds = bootstrap_means(
            values[np.isfinite(values[:, 0])], repeats=options.bootstrap, seed=options.seed, level=_LEVEL
        )
        known = np.isfinite(bounds).all()
        found[part] = {name: bounds[i].tolist() if known else None for i, name in enumerate(names)}
    return found


def compare_models(
    lists: Mapping[ModelSpec, TopLists], chosen: Sequence[ModelSpec], options: EvaluateConfig
) -> list[dict[str, Any]]:
    """The first model against each other on the test split, paired over users; none without resamples."""
    if not options.bootstrap:
        return []
    values = [measure_users(lists[spec], spec, "test", options.metric) for spec in chosen]
    return [
        {
            "metric": options.metric,
            "models": [chosen[0].name, spec.name],
            **paired_bootstrap(values[0], theirs, repeats=options.bootstrap, seed=options.seed),
        }
        for spec, theirs in zip(chosen[1:], values[1:], strict=True)
    ]
