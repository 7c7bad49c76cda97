"""Ingest against pandas and SciPy: formats, ids, splits, filters, and what is refused."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from l3ae_dist.data import splits
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import IngestConfig, ingest
from l3ae_dist.data.pickles import RestrictedUnpickler, load_restricted
from l3ae_dist.errors import DataError, UnknownIdError
from l3ae_dist.storage.workspace import Workspace


def dense(dataset, split):
    return dataset.user_rows(split, 0, dataset.n_users).toarray()


def store(tmp_path, log, items, **options):
    blocks = {k: options.pop(k) for k in ("users_per_block", "records_per_block") if k in options}
    ws = Workspace.create(tmp_path / "w")
    return Dataset(ws, ingest(log, items, IngestConfig(**options), ws, **blocks))


def test_the_training_matrix_equals_scipy_by_rows_and_by_columns(tmp_path, small_tables):
    log, items = small_tables
    doubled = pd.concat([log, log.head(50)])
    ds = store(tmp_path, doubled, items, split="none", users_per_block=7, records_per_block=20)
    want = sparse.csr_matrix((np.ones(len(log)), (log.user_id, log.item_id)), shape=(60, 40)).toarray()
    np.testing.assert_array_equal(dense(ds, "train"), want)
    np.testing.assert_array_equal(ds.columns(0, 40).toarray(), want)
    np.testing.assert_array_equal(ds.columns(5, 17).toarray(), want[:, 5:17])
    np.testing.assert_array_equal(ds.popularity(), want.sum(axis=0))
    assert ds.stats.items_without_interactions == 2
    assert ds.titles(38) == ["title 38", "title 39"]


@pytest.mark.parametrize("split", ["random", "strong", "leave_last_out"])
def test_small_blocks_give_the_same_dataset_as_one_block(tmp_path, small_tables, split):
    log, items = small_tables
    log["t"] = np.arange(len(log))[::-1]
    small = store(tmp_path / "a", log, items, split=split, timestamp_column="t", users_per_block=3,
                  records_per_block=11)  # fmt: skip
    large = store(tmp_path / "b", log, items, split=split, timestamp_column="t")
    for name in ("train", "input", "valid", "test"):
        np.testing.assert_array_equal(dense(small, name), dense(large, name))
    total = dense(large, "input") + dense(large, "valid") + dense(large, "test")
    assert total.max() == 1
    assert total.sum() == len(log)
    if split == "strong":
        held = dense(large, "test").any(axis=1)
        assert held.any()
        assert not dense(large, "train")[held].any()
        assert dense(large, "input")[held].any(axis=1).all()


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "glob", "directory"])
def test_every_file_format_gives_the_same_matrix(tmp_path, small_tables, kind):
    log, items = small_tables
    log["user_id"] = "u" + log.user_id.astype(str)  # string ids are kept and given back
    folder = tmp_path / "data"
    folder.mkdir()
    source = folder / f"log.{kind}"
    if kind == "csv":
        log.to_csv(source, index=False)
    elif kind == "jsonl":
        log.to_json(source, orient="records", lines=True)
    elif kind == "parquet":
        log.to_parquet(source)
    else:
        log.head(100).to_parquet(folder / "part-0.parquet")
        log.tail(len(log) - 100).to_parquet(folder / "part-1.parquet")
        source = folder / "part-*.parquet" if kind == "glob" else folder
    ds = store(tmp_path, str(source), items, split="none")
    assert ds.nnz("train") == len(log)
    users = sorted(log.user_id.unique())
    assert ds.user_ids().tolist() == users
    assert ds.user_index(["u7"]).tolist() == [users.index("u7")]
    with pytest.raises(UnknownIdError, match="'nobody'"):
        ds.user_index(["u7", "nobody"])


def test_weights_ratings_and_ready_made_splits(tmp_path, small_tables):
    log, items = small_tables
    log["w"] = 2.0
    log["r"] = np.where(log.item_id < 20, 5, 1)
    log["split"] = np.where(log.item_id % 5 == 0, "test", "train")
    ds = store(tmp_path, log, items, weight_column="w", rating_column="r", rating_threshold=3,
               split_column="split")  # fmt: skip
    kept = log[log.item_id < 20]
    assert ds.nnz("test") == (kept.item_id % 5 == 0).sum()
    assert dense(ds, "train").max() == 2.0
    assert ds.columns(0, 40).sum() == 2.0 * (kept.item_id % 5 != 0).sum()


def test_the_k_core_is_stable(tmp_path, small_tables):
    log, items = small_tables
    ds = store(tmp_path, log, items, split="none", min_user_interactions=5, min_item_interactions=8,
               users_per_block=9)  # fmt: skip
    matrix = dense(ds, "train")
    assert ds.n_items == 40
    assert matrix.sum(axis=1).min() >= 5
    degrees = matrix.sum(axis=0)
    assert degrees[degrees > 0].min() >= 8


BAD = {
    "missing column": (
        lambda log, items: (log.rename(columns={"user_id": "u"}), items),
        {},
        "no column 'user_id'",
    ),
    "empty log": (lambda log, items: (log.head(0), items), {}, "empty"),
    "unknown items": (lambda log, items: (log, items.head(10)), {}, "not in the catalog"),
    "duplicate ids": (lambda log, items: (log, pd.concat([items, items.head(2)])), {}, "more than once"),
    "null user": (
        lambda log, items: (log.assign(user_id=log.user_id.where(log.index > 0)), items),
        {},
        "no user id",
    ),
    "bad weight": (lambda log, items: (log.assign(w=-1.0), items), {"weight_column": "w"}, "negative"),
    "bad split": (lambda log, items: (log.assign(s="hold"), items), {"split_column": "s"}, "'hold'"),
    "no time": (lambda log, items: (log, items), {"split": "leave_last_out"}, "timestamp_column"),
    "no file": (lambda log, items: ("/nowhere/x.parquet", items), {}, "no file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_sentence_and_leaves_nothing(tmp_path, small_tables, name):
    spoil, options, message = BAD[name]
    log, items = spoil(*small_tables)
    with pytest.raises(DataError, match=message):
        store(tmp_path, log, items, **options)
    assert Workspace.open(tmp_path / "w").list_docs("stages") == []


def test_unknown_items_are_dropped_on_request(tmp_path, small_tables):
    log, items = small_tables
    ds = store(tmp_path, log, items.head(20), split="none", unknown_items="drop")
    assert ds.nnz("train") == (log.item_id < 20).sum()
    assert ds.stats.dropped["unknown_item_interactions"] == (log.item_id >= 20).sum()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), min_size=1, max_size=80, unique=True),
       st.integers(0, 99))  # fmt: skip
def test_a_random_split_does_not_depend_on_the_order_of_the_log(pairs, seed):
    users, items = (np.array(column) for column in zip(*pairs, strict=True))
    codes = splits.random_split(users, items, valid=0.1, test=0.1, seed=seed)
    shuffled = np.random.default_rng(1).permutation(len(users))
    again = splits.random_split(users[shuffled], items[shuffled], valid=0.1, test=0.1, seed=seed)
    np.testing.assert_array_equal(codes[shuffled], again)
    for user in np.unique(users):
        mine = codes[users == user]
        assert (mine == splits.TRAIN).any()
        assert ((mine == splits.TEST).sum() >= 1) == (len(mine) >= 3)


class Gadget:
    def __init__(self, module, name, *arguments):
        self.call = (module, name, arguments)

    def pickled(self):
        module, name, arguments = self.call
        body = b"".join(b"V" + str(a).encode() + b"\n" for a in arguments)
        return b"\x80\x02c" + module.encode() + b"\n" + name.encode() + b"\n(" + body + b"tR."


@pytest.mark.parametrize("payload", [
    Gadget("os", "system", "true").pickled(),
    Gadget("posix", "system", "true").pickled(),
    Gadget("builtins", "eval", "1").pickled(),
    Gadget("numpy.testing._private.utils", "runstring", "1", "{}").pickled(),
    Gadget("numpy.f2py.crackfortran", "myeval", "1").pickled(),
    Gadget("numpy", "load", "x").pickled(),
    Gadget("scipy.sparse", "load_npz", "x").pickled(),
    pickle.dumps(np.array([{"a": 1}], dtype=object)),
    pickle.dumps(sparse.csr_matrix(np.eye(2)))[:40],
    b"",
])  # fmt: skip
def test_hostile_and_broken_pickles_are_refused(tmp_path, payload):
    path = tmp_path / "x.pkl"
    path.write_bytes(payload)
    with pytest.raises(DataError):
        load_restricted(path)


def test_a_gadget_nested_in_an_allowed_call_is_refused(tmp_path):
    inner = b"cos\nsystem\n(Vtrue\ntR"
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02cnumpy._core.multiarray\n_reconstruct\n(" + inner + b"tR.")
    with pytest.raises(DataError, match=r"os\.system"):
        load_restricted(path)
    path.write_bytes(b"\x80\x02cnumpy._core.multiarray\n_reconstruct\n(cnumpy\ndtype\ntR.")
    with pytest.raises(DataError, match="plain array"):
        load_restricted(path)


def test_a_pickle_over_the_size_limit_is_refused(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(np.zeros(100)))
    with pytest.raises(DataError, match="over the limit"):
        load_restricted(path, limit=50)
    assert issubclass(RestrictedUnpickler, pickle._Unpickler)  # the one whose opcodes can be bounded


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_the_published_layout_is_read(tmp_path, form):
    rng = np.random.default_rng(0)
    matrices = {}
    folder = tmp_path / "authors"
    folder.mkdir()
    for name in ("trn", "val", "tst"):
        matrices[name] = (rng.random((9, 6)) < (0.5 if name == "trn" else 0.1)).astype(np.float32)
    matrices["val"] *= 1 - matrices["trn"]
    matrices["tst"] *= (1 - matrices["trn"]) * (1 - matrices["val"])
    matrices["trn"][:, 0] = 1
    matrices["val"][:, 0] = matrices["tst"][:, 0] = 0
    for name, matrix in matrices.items():
        with (folder / f"{name}_mat.pkl").open("wb") as file:
            pickle.dump(getattr(sparse, f"{form}_matrix")(matrix), file)
    with (folder / "toy_items.pkl").open("wb") as file:
        pickle.dump([f"item {i}" for i in range(6)], file)
    ds = store(tmp_path, str(folder), None)
    np.testing.assert_array_equal(dense(ds, "train"), matrices["trn"])
    np.testing.assert_array_equal(dense(ds, "test"), matrices["tst"])
    assert ds.texts(2, 3) == ["item 2"]
