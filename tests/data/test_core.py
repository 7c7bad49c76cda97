"""A dataset stored once more with its core first holds the same interactions, texts and ids."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data import core as cores
from l3ae_dist.data.as_dask import training_matrix
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import ingest
from l3ae_dist.storage.vectors import Vector, VectorStream
from l3ae_dist.storage.workspace import Workspace

N, K = 50, 6


def _ingested(tmp_path, **options) -> Dataset:
    rng = np.random.default_rng(1)
    users, items = rng.integers(0, 80, 900), np.minimum(rng.geometric(0.08, 900), N - 1)
    items = rng.permutation(N)[items]
    log = pd.DataFrame({"user_id": users, "item_id": items, "w": rng.integers(1, 5, 900)})
    catalog = pd.DataFrame({"item_id": range(N), "title": [f"item {i}" for i in range(N)],
                            "text": [f"text {i}" for i in range(N)]})  # fmt: skip
    workspace = Workspace.create(tmp_path)
    identifier = ingest(log, catalog, IngestConfig(**options), workspace)
    return Dataset(workspace, identifier)


@pytest.mark.parametrize(
    "options", [{}, {"weight_column": "w", "split": "strong"}], ids=["plain", "weighted"]
)
def test_the_core_comes_first_and_the_catalog_is_found_again(tmp_path, options, monkeypatch):
    dataset = _ingested(tmp_path, **options)
    monkeypatch.setattr(cores, "_ENTRIES", 40)  # several reads of columns
    monkeypatch.setattr(cores, "_USERS", 7)
    stored = cores.core_first(dataset, K)
    popularity = dataset.popularity()
    order = np.argsort(popularity < K, kind="stable")
    np.testing.assert_array_equal(stored.order, order)
    assert stored.n_core == (popularity >= K).sum()
    np.testing.assert_array_equal(stored.popularity(), popularity[order])
    view, n, m = cores.in_catalog_order(stored), dataset.n_items, dataset.n_users
    part = cores.core_part(stored)
    for split in dataset.stats.nnz:
        rows = dataset.user_rows(split, 0, m).toarray()
        np.testing.assert_array_equal(stored.user_rows(split, 0, m).toarray(), rows[:, order])
        np.testing.assert_array_equal(view.user_rows(split, 0, m).toarray(), rows)
        np.testing.assert_array_equal(view.rows_of(split, np.arange(3, m, 2)).toarray(), rows[3::2])
        np.testing.assert_array_equal(part.user_rows(split, 3, m).toarray(), rows[3:, order[: part.n_items]])
    columns = dataset.columns(0, n).toarray()
    np.testing.assert_array_equal(stored.columns(0, n).toarray(), columns[:, order])
    np.testing.assert_array_equal(view.columns(5, 33).toarray(), columns[:, 5:33])
    matrix = training_matrix(dataset.workspace, dataset=stored.id, columns=16)
    np.testing.assert_array_equal(matrix.blocks[0, 1].compute().toarray(), columns[:, 16:32])
    np.testing.assert_array_equal(view.item_ids(), dataset.item_ids())
    np.testing.assert_array_equal(view.find_items([3, 44, 999]), [3, 44, -1])
    assert view.titles(2, 30) == dataset.titles(2, 30)
    assert view.texts() == dataset.texts()
    np.testing.assert_array_equal(view.popularity(), popularity)
    assert part.nnz("train") == popularity[popularity >= K].sum()
    assert cores.core_first(dataset, K).id == stored.id != cores.core_first(dataset, K + 1).id


def test_rows_are_moved_without_changing_them():
    weights = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    rows = sparse.csr_matrix(weights)
    moved = cores.with_columns(rows, np.array([3, 1, 0, 2])[rows.indices])
    np.testing.assert_array_equal(moved.toarray(), weights[:, [2, 1, 3, 0]])
    np.testing.assert_array_equal(rows.toarray(), weights)


def test_a_vector_is_written_in_pieces(tmp_path):
    workspace = Workspace.create(tmp_path)
    values = np.arange(600_000)
    stream = VectorStream(workspace, "items/x/ids", len(values), "int64")
    for piece in np.split(values, [0, 5, 262_144, 590_000]):
        stream.add(piece)
    stream.end()
    np.testing.assert_array_equal(Vector(workspace, "items/x/ids")[:], values)
