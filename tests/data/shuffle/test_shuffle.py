"""Ingested logs against pandas: merged rows, counts, filters; the same bytes however the log is cut and run."""

import pickle
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from l3ae_dist.data import splits
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import IngestConfig, ingest
from l3ae_dist.data.shuffle.each import Execution, InThreads, in_turn
from l3ae_dist.data.shuffle.k_core import k_core
from l3ae_dist.data.shuffle.order import PairKeys, blocks_of
from l3ae_dist.data.shuffle.passes import BlockSizes, item_blocks
from l3ae_dist.data.shuffle.records import Records, Slice, keep
from l3ae_dist.data.shuffle.spills import Spills
from l3ae_dist.data.shuffle.user_blocks import BlockSource
from l3ae_dist.errors import DataError, WorkspaceError
from l3ae_dist.storage.workspace import Workspace

SMALL = {"users_per_block": 7, "records_per_block": 40}
TINY = Execution(rows_per_group=50)


def store(where, log, items=None, execution=TINY, sizes=SMALL, **options):
    workspace = Workspace.create(where)
    return Dataset(
        workspace, ingest(log, items, IngestConfig(**options), workspace, execution=execution, **sizes)
    )


def dense(dataset, split="train"):
    return dataset.user_rows(split, 0, dataset.n_users).toarray()


def stored_bytes(dataset):
    """Everything that is stored of a dataset, done-marks (which hold times) by chunk and checksum alone."""
    blobs = dataset.workspace.blobs
    keys = sorted(key for key in blobs.list("") if dataset.id in key)
    return {
        _without_id(key, dataset.id): None if "done" in key or key.endswith("json") else blobs.get(key)
        for key in keys
    }


def _without_id(key, dataset):
    """The key without the id, which hangs on where the log lies, and what a mark's name has of it."""
    name = re.sub(r"(/\d+\.\d+\.[0-9a-f]{8})[0-9a-f]{8}$", r"\1", key) if "/done/" in key else key
    return name.replace(dataset, "ID")


def make_log(rows=900, seed=0, text=False):
    rng = np.random.default_rng(seed)
    log = pd.DataFrame({"user_id": rng.integers(0, 60, rows), "item_id": rng.integers(0, 30, rows)})
    log["w"] = rng.integers(0, 5, rows) / 3
    log["t"] = rng.integers(0, 40, rows)
    log["r"] = rng.integers(1, 6, rows)
    if text:
        log["user_id"] = "u" + log.user_id.astype(str)
    return log


ITEMS = pd.DataFrame({"item_id": range(30), "title": "t", "text": "x"})
OPTIONS = {
    "random": {"split": "random"},
    "weighted": {"split": "strong", "weight_column": "w"},
    "timed": {"split": "leave_last_out", "timestamp_column": "t", "weight_column": "w"},
    "core": {"split": "random", "min_user_interactions": 9, "min_item_interactions": 12},
}


@pytest.mark.parametrize(
    ("name", "text"),
    [("random", False), ("random", True), ("weighted", True), ("timed", False), ("core", False)],
)
def test_the_same_bytes_however_the_log_is_cut_and_run(tmp_path, name, text):
    log, options = make_log(text=text), OPTIONS[name]
    stored = []
    for number, (files, threads, rows, sizes) in enumerate(
        [(1, 1, 1 << 20, {}), (3, 1, 100, SMALL), (3, 2, 1 << 20, SMALL), (40, 1, 90, {}), (40, 2, 90, SMALL)]
    ):
        folder = tmp_path / str(number) / "log"
        folder.mkdir(parents=True)
        for part, rows_of_part in enumerate(np.array_split(np.arange(len(log)), files)):
            log.iloc[rows_of_part].to_parquet(folder / f"{part:02}.parquet")
        execution = Execution(InThreads(threads), rows_per_group=rows)
        where = tmp_path / str(number) / "w"
        stored.append(stored_bytes(store(where, str(folder), ITEMS, execution, sizes, **options)))
    assert len(stored[0]) > 20
    for other in stored[1:]:
        assert other == stored[0]


@pytest.mark.parametrize("rows", [10**6, 5 * 10**7, 5 * 10**9, 10**11])
def test_the_pairs_of_blocks_of_users_and_items_are_bounded_whatever_the_rows(rows):
    sizes = BlockSizes(1 << 20, 1 << 20, 1 << 30)
    users, items = np.full(100_000, rows // 100_000), np.full(20_000, rows // 20_000)
    grown = sizes.of(rows)
    n_user_blocks = len(blocks_of(users, grown.users, grown.records)) - 1
    n_item_blocks = len(item_blocks(items, sizes)) - 1
    assert n_user_blocks * n_item_blocks <= min(540, rows // (1 << 20) + 2) ** 2
    assert grown.records == max(1 << 20, -(-rows // 512))
    assert replace(sizes, most_records=1 << 22).of(rows).records <= 1 << 22


def test_grown_blocks_store_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("l3ae_dist.data.shuffle.passes._BLOCKS", 3)
    small, log = {"users_per_block": 2, "records_per_block": 5}, make_log()
    few = replace(TINY, records_per_block=1)
    stored = [
        stored_bytes(store(tmp_path / str(n), log, ITEMS, execution, small, **OPTIONS["weighted"]))
        for n, execution in enumerate([few, TINY])
    ]
    assert stored[0] == stored[1]


class Twice:
    """Runs all tasks of a pass, then all again from the last to the first, as after the death of workers."""

    def __init__(self, root):
        self.root, self.functions = root, set()

    def __call__(self, function, tasks):
        first = self.run(function, tasks)
        assert self.run(function, tasks[::-1]) == (first[0][::-1], first[1])
        self.functions.add(function.__name__)
        return iter([pickle.loads(pickle.dumps(function(task))) for task in tasks])

    def run(self, function, tasks):
        with np.printoptions(threshold=10**6):
            results = [re.sub("object at 0x[0-9a-f]+", "", repr(function(task))) for task in tasks]
        objects = (path for path in self.root.rglob("*") if path.is_file())
        return results, {path: path.read_bytes() for path in objects}


def test_a_task_that_runs_again_gives_the_same_result_and_objects(tmp_path):
    """The functions of all passes; k-core needs several rounds."""
    each, log = Twice(tmp_path / "spills"), str(tmp_path / "log.parquet")
    make_log().to_parquet(log)
    execution, sizes = Execution(each, str(tmp_path / "spills"), 300), {"records_per_block": 300}
    for name in ("timed", "core"):
        alone = store(tmp_path / name / "alone", log, ITEMS, **OPTIONS[name])
        again = store(tmp_path / name / "again", log, ITEMS, execution, sizes, **OPTIONS[name])
        assert stored_bytes(again) == stored_bytes(alone)
    passes = {"scan", "place", "merge_block", "remove_rare", "write_rows", "write_columns", "store_chunks"}
    assert each.functions == passes
    assert not [path for path in each.root.rglob("*") if path.is_file()]


class Late:
    """Runs all tasks of the passes before again when a pass begins, as the death of a worker may have it."""

    def __init__(self):
        self.before, self.refused = [], 0

    def __call__(self, function, tasks):
        for earlier, task in self.before:
            try:
                earlier(task)
            except WorkspaceError:  # what it reads has been deleted: nobody waits for it
                self.refused += 1
        self.before += [(function, task) for task in tasks]
        return map(function, tasks)


@pytest.mark.parametrize("name", ["timed", "core"])
def test_a_task_that_runs_again_after_its_pass_changes_nothing(tmp_path, name):
    each, log = Late(), str(tmp_path / "log.parquet")
    make_log().to_parquet(log)
    execution, sizes = Execution(each, str(tmp_path / "spills"), 300), {"records_per_block": 300}
    alone = store(tmp_path / "alone", log, ITEMS, **OPTIONS[name])
    again = store(tmp_path / "again", log, ITEMS, execution, sizes, **OPTIONS[name])
    assert stored_bytes(again) == stored_bytes(alone)
    assert each.refused


def test_rounds_of_the_k_core_leave_nothing_of_the_round_before(tmp_path):
    rng = np.random.default_rng(1)
    pairs = np.unique(rng.integers(0, 60, 900) << 5 | rng.integers(0, 30, 900))
    spills, keys = Spills(str(tmp_path)), PairKeys(5)
    written = keep(Records(pairs, {}), "log/placed", spills)
    sources = [BlockSource(f"rows/{n}", (Slice(written.key, *ends),), {}, keys, 30, spills)
               for n, ends in enumerate([(0, 300), (300, len(pairs))])]  # fmt: skip
    core = k_core(sources, 11, 14, in_turn)
    left = core.blocks
    assert (core.duplicates, core.split_conflicts) == (0, 0)
    assert sum(len(one.slices[0]) for one in left) == len(pairs) - core.removed > 0
    assert sorted(spills.blobs.list("")) == sorted(
        ["log/placed/pairs", *(f"{one.slices[0].key}/pairs" for one in left)]
    )


def test_a_spill_that_is_gone_or_short_is_said_to_be(tmp_path):
    spills, wanted = Spills(str(tmp_path)), np.empty(4)
    spills.put("short", np.zeros(3))
    with pytest.raises(WorkspaceError, match=r"short below .* is shorter than what was written"):
        spills.get_into("short", wanted)
    with pytest.raises(WorkspaceError, match=r"none below .* is gone, though .* still needs it"):
        spills.get_into("none", wanted)


def twin(log, options):
    """Merged interactions and counts, by pandas."""
    counts = {"missing_ratings": 0, "low_ratings": 0, "zero_weights": 0}
    if options.get("rating_column"):
        low = ~(log.r >= options["rating_threshold"])
        counts["low_ratings"], log = int(low.sum()), log[~low]
    if options.get("weight_column"):
        counts["zero_weights"], log = int((log.w == 0).sum()), log[log.w > 0]
    known = log[log.item_id < 30]
    counts["unknown_item_interactions"] = len(log) - len(known)
    counts["unknown_items"] = log[log.item_id >= 30].item_id.nunique()
    winning = known.groupby(["user_id", "item_id"]).s.transform("min")
    counts["split_conflicts"] = int((known.s > winning).sum()) if options.get("split_column") else 0
    known = known[known.s == winning] if options.get("split_column") else known
    merged = known.groupby(["user_id", "item_id"], as_index=False).agg(
        w=("w", "sum"), t=("t", "max"), s=("s", "min")
    )
    counts["duplicates"] = len(known) - len(merged)
    before = len(merged)
    while True:
        kept = merged[merged.groupby("item_id").user_id.transform("size") >= options["min_item_interactions"]]
        kept = kept[kept.groupby("user_id").item_id.transform("size") >= options["min_user_interactions"]]
        if len(kept) == len(merged):
            break
        merged = kept
    counts["k_core"] = before - len(merged)
    counts["users"] = log.user_id.nunique() - merged.user_id.nunique()
    return merged, counts


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 32), st.integers(0, 4), st.integers(-9, 9), st.integers(1, 5),
                  st.integers(0, 2)),
        min_size=1, max_size=120,
    ),
    weighted=st.booleans(), rated=st.booleans(), core=st.sampled_from([(0, 0), (0, 3), (3, 0), (2, 3)]),
    split=st.sampled_from(["none", "column", "leave_last_out"]),
)  # fmt: skip
def test_rows_are_merged_filtered_and_counted_as_pandas_does(
    tmp_path_factory, rows, weighted, rated, core, split
):
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "w", "t", "r", "s"]).astype({"w": float})
    log["split"] = log.s.map({0: "train", 1: "valid", 2: "test"})
    options = {"min_user_interactions": core[0], "min_item_interactions": core[1], "unknown_items": "drop"}
    options |= {"weight_column": "w"} if weighted else {}
    options |= {"rating_column": "r", "rating_threshold": 3} if rated else {}
    options |= {
        "none": {"split": "none"},
        "column": {"split_column": "split"},
        "leave_last_out": {"split": "leave_last_out", "timestamp_column": "t"},
    }[split]
    merged, counts = twin(log, options)
    if split == "none":
        codes = np.zeros(len(merged), int)
    elif split == "column":
        codes = merged.s.to_numpy()
    else:
        codes = splits.leave_last_out(*(merged[name].to_numpy() for name in ("user_id", "item_id", "t")))
    where = tmp_path_factory.mktemp("w")
    if not (codes == splits.TRAIN).any():
        with pytest.raises(DataError, match=r"no interaction is left|training split is empty"):
            store(where, log, ITEMS, **options)
        return
    ds = store(where, log, ITEMS, **options)
    users = sorted(set(merged.user_id))
    assert ds.user_ids().tolist() == users
    assert ds.stats.dropped == counts
    assert ds.stats.read["interactions"] == {"files": 0, "rows": len(log)}
    for name, code in (("train", 0), ("valid", 1), ("test", 2)):
        want = np.zeros((len(users), 30), np.float32)
        part = merged[codes == code]
        want[np.searchsorted(users, part.user_id), part.item_id] = part.w if weighted else 1
        np.testing.assert_array_equal(dense(ds, name), want)
        if name == "train":
            np.testing.assert_array_equal(ds.columns(0, 30).toarray(), want)


def test_weights_are_summed_in_double_precision_in_the_order_of_the_rows(tmp_path):
    log = pd.DataFrame({"user_id": 1, "item_id": 2, "w": [1.0, *[2.0**-30] * 4096, 2.0**24]})
    ds = store(tmp_path / "w", log, weight_column="w", split="none")
    assert dense(ds).tolist() == [[np.float32(log.w.sum())]]


def test_a_pair_in_two_splits_gives_training_nothing_of_what_is_held_out(tmp_path):
    rows = [(1, 1, 2.0, "train"), (1, 1, 4.0, "test"), (1, 1, 1.0, "train"), (1, 2, 8.0, "val"), (1, 2, 16.0, "test"),
            (2, 1, 1.0, "train"), (2, 2, 1.0, "test"), (1, 3, 1.0, "train")]  # fmt: skip
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "w", "split"])
    for core in ({}, {"min_item_interactions": 1, "min_user_interactions": 2}):
        ds = store(tmp_path / str(len(core)), log, weight_column="w", split_column="split", **core)
        assert dense(ds).tolist() == [[3, 0, 1], [1, 0, 0]]
        assert dense(ds, "valid").tolist() == [[0, 8, 0], [0, 0, 0]]
        assert dense(ds, "test").tolist() == [[0, 0, 0], [0, 1, 0]]
        dropped = ds.stats.dropped
        assert (dropped["duplicates"], dropped["split_conflicts"]) == (1, 2)


def test_missing_ratings_are_counted_apart_from_low_ones(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,r\n1,1,5\n1,2,\n1,3,2\n2,1,NA\n")
    ds = store(tmp_path / "w", str(tmp_path / "log.csv"), split="none", rating_column="r", rating_threshold=3)
    dropped = ds.stats.dropped
    assert (dropped["missing_ratings"], dropped["low_ratings"], ds.nnz("train")) == (2, 1, 1)
    with pytest.raises(DataError, match=r"of 4 row\(s\) 2 have no rating, 2 are below rating_threshold"):
        store(tmp_path / "v", str(tmp_path / "log.csv"), split="none", rating_column="r", rating_threshold=6)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_ratings_are_compared_in_the_precision_of_their_column(tmp_path, dtype):
    log = pd.DataFrame({"user_id": [1, 2, 3], "item_id": 1, "r": np.array([0.7, 0.69, 0.71], dtype)})
    log.to_csv(tmp_path / "log.csv", index=False)
    coded = log.astype({"r": "category"}) if dtype != "float16" else log
    for source in (log, str(tmp_path / "log.csv"), coded):
        ds = store(tmp_path / dtype, source, split="none", rating_column="r", rating_threshold=0.7)
        assert ds.user_ids().tolist() == [1, 3]


@pytest.mark.parametrize("weight", ["", "-2", "nan", "inf", "1e39"])
def test_a_bad_weight_is_refused_with_its_column_and_file(tmp_path, weight):
    (tmp_path / "log.csv").write_text(f"user_id,item_id,stars\n1,1,5\n1,2,{weight}\n")
    with pytest.raises(
        DataError, match=r"1 interaction\(s\) have a weight .* column 'stars' \(.*log\.csv\), first: "
    ):
        store(tmp_path / "w", str(tmp_path / "log.csv"), split="none", weight_column="stars")


def test_zeros_that_a_sparse_matrix_stores_are_counted_as_weights_of_zero(tmp_path):
    matrix = sparse.csr_array((np.array([2.0, 0.0, 3.0]), ([0, 0, 1], [0, 1, 1])), shape=(2, 2))
    ds = store(tmp_path / "w", matrix, weight_column="w", split="none")
    assert (ds.stats.dropped["zero_weights"], ds.stats.read["interactions"]["rows"]) == (1, 3)
    assert dense(ds).tolist() == [[2, 0], [0, 3]]
    assert store(tmp_path / "v", matrix, split="none").nnz("train") == 2


def test_the_kind_of_ids_is_decided_over_all_parts(tmp_path):
    parts = ["A1,1\n007,1\n007,2\n008,1\n", "007,3\n007,4\n008,2\n"]
    for number, text in enumerate(parts):
        (tmp_path / f"a-{number}.csv").write_text("user_id,item_id\n" + text)
    for rows in (1, 1 << 20):
        ds = store(tmp_path / str(rows), str(tmp_path / "a-*.csv"), split="none",
                   execution=replace(TINY, rows_per_group=rows))  # fmt: skip
        assert ds.user_ids().tolist() == ["007", "008", "A1"]
        assert ds.item_ids().tolist() == [1, 2, 3, 4]
        assert dense(ds).tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]


def test_integers_are_integers_whatever_their_type_and_part(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    for number, dtype in enumerate(["int8", "int64", "uint32", "float64"]):
        frame = pd.DataFrame({"user_id": [number, 3, 1], "item_id": [5, 3, number]})
        frame.astype(dtype).to_parquet(folder / f"{number}.parquet")
    (folder / "9.csv").write_text("user_id,item_id\n-3,12\n")
    ds = store(tmp_path / "w", [str(folder / "*.parquet"), str(folder / "*.csv")], split="none")
    assert ds.user_ids().tolist() == [-3, 0, 1, 2, 3]
    assert ds.item_ids().tolist() == [0, 1, 2, 3, 5, 12]
    assert (ds.nnz("train"), ds.stats.dropped["duplicates"]) == (10, 3)


def test_a_log_names_its_items_where_there_is_no_catalog(tmp_path):
    log = make_log()
    ds = store(tmp_path / "w", log, split="none")
    assert ds.item_ids().tolist() == sorted(set(log.item_id))
    assert not ds.has_text
    with pytest.raises(DataError, match="no items table was given"):
        ds.require_text()


def test_unknown_items_are_named_and_counted(tmp_path):
    log = make_log()
    with pytest.raises(
        DataError, match=r"name 3 item\(s\) that are not in the catalog: 27, 28, 29; add them"
    ):
        store(tmp_path / "w", log, ITEMS.head(27), split="none")


def test_text_ids_against_integers_name_both(tmp_path):
    log = make_log().astype({"item_id": str})
    with pytest.raises(DataError, match=r"item id .* text.* integers.*id_type"):
        store(tmp_path / "w", log, ITEMS, split="none")
    ds = store(tmp_path / "w", log, ITEMS, split="none", id_type="string")
    assert ds.n_items == 30
    assert ds.nnz("train") == len(log.drop_duplicates(["user_id", "item_id"]))


def test_ratings_without_a_threshold_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(
        DataError, match=r"rating_column is 'r' .*rating_threshold.*weight_column.*leave it out"
    ):
        store(tmp_path / "w", make_log(), ITEMS, rating_column="r")


@pytest.mark.parametrize("first", ["", "user_id,item_id\n"])
def test_the_first_part_may_be_empty_or_a_header_alone(tmp_path, first):
    (tmp_path / "0.csv").write_text(first)
    (tmp_path / "1.csv").write_text("user_id,item_id\n1,2\n1,3\n")
    assert store(tmp_path / "w", str(tmp_path / "*.csv"), split="none").nnz("train") == 2


@pytest.mark.parametrize("weight", [1e39, 1e-42])
def test_weights_that_single_precision_cannot_hold_are_refused(tmp_path, weight):
    log = make_log().assign(w=weight)
    with pytest.raises(DataError, match="single precision"):
        store(tmp_path / "w", log, ITEMS, weight_column="w")


def test_a_long_id_takes_no_memory_but_its_own(tmp_path):
    """In a child process, whose peak is compared with that of the same log without the long id."""
    import subprocess
    import sys

    users = np.array([f"user-{number:06}" for number in range(100_000)], object)
    log = pd.DataFrame({"user_id": users, "item_id": np.arange(100_000) % 50})
    log.to_parquet(tmp_path / "short.parquet")
    users[500] = "x" * 5000
    log.assign(user_id=users).to_parquet(tmp_path / "long.parquet")
    program = (
        "import sys, resource; from l3ae_dist.data.ingest import IngestConfig, ingest;"
        "from l3ae_dist.storage.workspace import Workspace;"
        "w = Workspace.create(sys.argv[1] + '.w');"
        "ingest(sys.argv[1], None, IngestConfig(split='none'), w);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    peaks = [
        int(subprocess.run([sys.executable, "-c", program, str(tmp_path / f"{name}.parquet")],
                           capture_output=True, text=True, check=True).stdout)
        for name in ("short", "long")
    ]  # fmt: skip
    assert abs(peaks[1] - peaks[0]) < 30, peaks
