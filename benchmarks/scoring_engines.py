"""The two scoring engines at each other's work: one model for all users, and many models for the same users.

Both list the 20 best items of every user, what they have left out, from the same fitted model. Serving is one
model; a sweep is ``MODELS`` of them that differ in reg_e alone. docs/decisions/0011 quotes the figures.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from report import publish, row

from l3ae_dist.config.load import make_config
from l3ae_dist.data.synthetic import zipf_log
from l3ae_dist.graphs.batch_scoring import BatchScorer, Candidates
from l3ae_dist.graphs.score_terms import ScoreTerms, TermArrays
from l3ae_dist.graphs.shared_scoring import History, SharedScorer
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.top_k import RunningTop
from l3ae_dist.model.fitted import FittedModel, load_model
from l3ae_dist.pipeline.run import run
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import ReadCount

N, USERS, PER_USER, D, TILE = 4096, 16384, 20, 384, 1024
K, MODELS, BLOCK, BUDGET, REPEATS = 20, 8, 4096, 2 * 2**30, 3


def fitted(folder: str, n: int, users: int) -> FittedModel:
    """L3AE on synthetic interactions and embeddings."""
    import pandas as pd

    config = make_config(
        {
            "workspace": f"{folder}/w",
            "model": {"reg_x": 100, "reg_f": 5, "reg_e": 100},
            "compute": {
                "cluster": "synchronous",
                "tile_size": TILE,
                "memory_budget": BUDGET,
                "dtype": "float32",
            },
        }
    )
    features = np.random.default_rng(0).standard_normal((n, D), dtype=np.float32)
    items = pd.DataFrame({"item_id": np.arange(n)})
    run(config, interactions=zipf_log(users, PER_USER, n), items=items, embeddings=features, until="fit")
    return load_model(f"{folder}/w")


def by_batch(model: FittedModel, terms: list[ScoreTerms]) -> list[Array]:
    """Lists of all users from the engine of serving, one model after the other."""
    scorer = BatchScorer(TermArrays(model.workspace), model.grid, model.dtype, array_budget=BUDGET)
    rows = model.dataset.user_rows("input", 0, model.dataset.n_users)
    size = scorer.batch_size(terms[0], K, PER_USER)
    lists = []
    for one in terms:
        parts = [rows[start : start + size] for start in range(0, rows.shape[0], size)]
        lists.append(np.vstack([scorer.top(one, part, K, Candidates(hidden=part))[0] for part in parts]))
    return lists


def shared(model: FittedModel, terms: list[ScoreTerms]) -> list[Array]:
    """Lists of all users from the engine of evaluation, all models for each user block and item tile."""
    reader, arrays, grid = TileReader(BUDGET // 2), TermArrays(model.workspace), model.grid
    rows = model.dataset.user_rows("input", 0, model.dataset.n_users)
    lists: list[list[Array]] = [[] for _ in terms]
    for start in range(0, rows.shape[0], BLOCK):
        history = History(rows[start : start + BLOCK], grid, model.dtype)
        scorer = SharedScorer(history, arrays, reader, ReadCount())
        tops = [RunningTop(history.users, K, model.dtype) for _ in terms]
        for j in range(grid.count):
            columns, seen = np.arange(grid.rows(j).start, grid.rows(j).stop), history.part(j).tocoo()
            for one, top in zip(terms, tops, strict=True):
                scores = scorer.scores(one, j)
                scores[seen.row, seen.col] = -np.inf
                top.update(slice(0, history.users), scores, columns, int(columns[0]))
        for found, top in zip(lists, tops, strict=True):
            found.append(top.items)
    return [np.vstack(found) for found in lists]


Engine = Callable[[FittedModel, list[ScoreTerms]], list[Array]]


def seconds(engine: Engine, model: FittedModel, terms: list[ScoreTerms]) -> tuple[float, list[Array]]:
    """The best of some calls, and the lists."""
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        lists = engine(model, terms)
        taken.append(time.perf_counter() - started)
    return min(taken), lists


def main(n: int = N, users: int = USERS) -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory(prefix="l3ae-engines-") as folder:
        model = fitted(folder, n, users)
        terms = model.terms
        product = terms.products[0]
        many = [replace(terms, products=(replace(product, weight=100.0 + m),)) for m in range(MODELS)]
        rows = []
        for what, models in (("one model", [terms]), (f"{MODELS} models that share matrices", many)):
            batch, ours = seconds(by_batch, model, models)
            each, theirs = seconds(shared, model, models)
            same = float(np.mean([np.mean(a == b) for a, b in zip(ours, theirs, strict=True)]))
            count = users * len(models)
            name = f"{what}: serving's engine, against evaluation's"
            rows.append(row(name, count / batch, "users/s", count / each))
            rows.append(row(f"{what}: places of the lists that hold the same item", same, ""))
        publish("scoring-engines", rows, items=n, users=users, dimension=D, tile=TILE, k=K, models=MODELS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=Path(__file__).name)
    parser.add_argument("--items", type=int, default=N)
    parser.add_argument("--users", type=int, default=USERS)
    given = parser.parse_args()
    main(given.items, given.users)
