"""The benchmark of the largest data on a small size and real workers (make bench-once)."""

import json

import books_large
import numpy as np
import pandas as pd
import pytest

ITEMS, USERS, DIM = 700, 900, 8
SMALL = ["--assumed-rates", "--budget", "1GiB"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Files like those of Book-Crossing, with books of one reader and readers of one book among them."""
    folder = tmp_path_factory.mktemp("books")
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, USERS, 9000), "item_id": rng.integers(0, ITEMS, 9000)})
    alone = pd.DataFrame({"user_id": [0, 1, USERS], "item_id": [ITEMS, ITEMS + 1, 0]})
    log = pd.concat([log, alone]).drop_duplicates(ignore_index=True)
    log["split"] = rng.choice(["train", "val", "test"], len(log), p=[0.8, 0.1, 0.1])
    log.to_parquet(folder / "interactions.parquet")
    titles = [f"book {i}" for i in range(ITEMS + 2)]
    pd.DataFrame({"item_id": range(ITEMS + 2), "title": titles, "text": titles}).to_parquet(
        folder / "items.parquet"
    )
    np.save(folder / "vectors.npy", rng.standard_normal((ITEMS + 2, DIM)).astype(np.float32))
    return folder


def measured(source, tmp_path, monkeypatch, *options):
    """The result of the benchmark as it is called."""
    monkeypatch.setenv("L3AE_BENCHMARK_RESULTS", str(tmp_path))
    given = ["--data", str(source), "--embeddings", str(source / "vectors.npy"), *SMALL, *options]
    books_large.main(given)
    found = list(tmp_path.glob("*.json"))
    document = json.loads(found[0].read_text())
    return found[0].stem, document, {line["name"]: line for line in document["rows"]}


def one(rows, words):
    return next(line for name, line in rows.items() if words in name)


def test_the_core_leaves_no_rare_book_and_no_reader_of_one_book():
    # book 3 falls with its reader 9, and reader 8 with book 3
    pairs = [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (3, 2), (1, 3), (8, 3), (9, 3), (8, 4)]
    left = books_large.core(pd.DataFrame(pairs, columns=["user_id", "item_id"]))
    assert sorted(map(tuple, left.to_numpy())) == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]


def test_the_most_popular_books_keep_the_order_of_the_catalog(source, tmp_path):
    log = pd.read_parquet(source / "interactions.parquet")
    books = books_large.select(
        source, tmp_path, whole=False, count=50, embeddings=str(source / "vectors.npy")
    )
    kept = pd.read_parquet(books.data["items"])["item_id"]
    assert (books.items, books.dim) == (50, DIM)
    assert kept.is_monotonic_increasing
    counts = books_large.core(log)["item_id"].value_counts()
    assert counts[kept].min() >= counts.drop(kept).max()
    vectors = np.load(source / "vectors.npy")
    assert np.array_equal(np.load(books.data["embeddings"]), vectors[kept.to_numpy()])
    rows = pd.read_parquet(books.data["interactions"])
    assert set(rows["item_id"]) == set(kept)
    assert books.training == (rows["split"] == "train").sum()


def test_a_run_is_measured_beside_its_plan_and_what_others_hold(source, tmp_path, monkeypatch):
    name, document, rows = measured(source, tmp_path, monkeypatch, "--tile", "128")
    assert name == "books-large"
    n = document["plan"]["items"]
    assert 600 < n <= ITEMS
    assert one(rows, "wall time, embedding included")["target"] == 50
    assert one(rows, "relative residual")["met"]
    assert one(rows, "peak memory of the worker over its budget")["met"]
    assert one(rows, "peak memory of the worker over the projection")["met"]
    assert one(rows, "the dense float32 matrix")["peer"] == pytest.approx(4 * n * n / 1e9)
    assert one(rows, "8 float64 matrices of the published route")["peer"] == pytest.approx(64 * n * n / 1e9)
    assert one(rows, "against the plan's estimate")["peer"] > 0
    assert one(rows, "against those planned")["met"]
    low, lift, high = (one(rows, words)["ours"] for words in ("from", "lift of the test ndcg@20", ", to"))
    assert low <= lift <= high


def test_a_disk_without_room_for_the_inverse_ends_a_run_with_the_factor_after_a_kill(
    source, tmp_path, monkeypatch
):
    folder = tmp_path / "kept"
    results = tmp_path / "results"
    results.mkdir()
    kept = ("--all", "--tile", "64", "--folder", str(folder))
    name, document, rows = measured(source, results, monkeypatch, *kept, "--disk", "2.5MB")
    assert name == "books-all"
    kill = document["kill"]
    assert kill["tiles"] == 11 * 12 // 2  # all 702 books
    assert 0.5 <= kill["finished"] / kill["tiles"] < 1
    assert kill["again"] == 0
    assert one(rows, "finished tiles that the resumed run made again")["met"]
    stats = document["stages"]["factor"]
    assert (stats["reused"], stats["written"]) == (kill["finished"], kill["tiles"] - kill["finished"])
    assert one(rows, "estimate of the rest")["ours"] > 0
    assert "linv" not in document["stages"]
    # where there is room, the same command goes on with the factor
    (results / "books-all.json").unlink()
    name, whole, rows = measured(source, results, monkeypatch, *kept)
    assert name == "books-all-resumed"
    assert "wall time of the rest" in rows
    assert "factor" not in whole["stages"]
    assert whole["stages"]["linv"]["written"] == kill["tiles"]
    assert one(rows, "relative residual")["met"]


@pytest.mark.parametrize(
    ("options", "least"), [([], "MiB of disk, and 976.56 KiB are free"), (["--all"], "as far as the factor")]
)
def test_a_disk_without_room_is_refused_before_anything_runs(source, tmp_path, monkeypatch, options, least):
    with pytest.raises(SystemExit, match="--folder") as caught:
        measured(source, tmp_path, monkeypatch, "--tile", "64", "--disk", "1MB", *options)
    assert least in str(caught.value)


def test_missing_data_are_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("L3AE_REFERENCE", str(tmp_path))
    with pytest.raises(
        SystemExit, match=r"no interactions.parquet and no items.parquet\); set L3AE_REFERENCE"
    ):
        books_large.main([])
