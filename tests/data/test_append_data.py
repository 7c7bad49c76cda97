"""Appended datasets against an ingest of the whole log, and which Gram tiles they touch."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l3ae_dist.data.append import append_interactions
from l3ae_dist.data.appended_logs import appended_before, log_id
from l3ae_dist.data.changes import changed_rows, touched_tiles
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import IngestConfig, ingest
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

SPLITS = ("train", "input", "valid", "test")
SMALL = {"users_per_block": 7, "records_per_block": 20}


def store(where, log, items, **options):
    ws = Workspace.create(where)
    return Dataset(ws, ingest(log, items, IngestConfig(**options), ws))


def append(parent, log, items=None, blocks=SMALL, **changes):
    recorded = parent.workspace.require_stage("ingest", parent.id).params
    options = IngestConfig(**{**recorded, **changes})
    return Dataset(parent.workspace, append_interactions(parent, log, items, options, **blocks))


def dense(dataset, split):
    return dataset.user_rows(split, 0, dataset.n_users).toarray()


def same(one, other):
    """Ids, statistics, rows of every split and training columns are equal."""
    np.testing.assert_array_equal(one.user_ids(), other.user_ids())
    np.testing.assert_array_equal(one.item_ids(), other.item_ids())
    assert (one.titles(), one.texts()) == (other.titles(), other.texts())
    for key in ("nnz", "max_popularity", "items_without_interactions", "has_text", "weighted", "foldin"):
        assert getattr(one.stats, key) == getattr(other.stats, key), key
    for split in SPLITS:
        np.testing.assert_array_equal(dense(one, split), dense(other, split))
    np.testing.assert_array_equal(
        one.columns(0, one.n_items).toarray(), other.columns(0, other.n_items).toarray()
    )


def halves(log, seed=0):
    """A log cut in two, with some pairs in both."""
    rng = np.random.default_rng(seed)
    first = rng.random(len(log)) < 0.6
    return log[first | (log.user_id < 10)], log[~first | (log.user_id % 9 == 0)].sample(
        frac=1, random_state=1
    )


@pytest.mark.parametrize("ids", ["integers", "strings"])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_appended_dataset_equals_an_ingest_of_both_logs(tmp_path, small_tables, ids, weighted):
    """New users between old ones, known pairs whose weights add up, new items at the end."""
    log, items = small_tables
    log["w"] = np.random.default_rng(1).integers(1, 9, len(log)) / 4
    if ids == "strings":
        log["user_id"] = "u" + log.user_id.astype(str)
        items["item_id"] = "i" + items.item_id.astype(str)
        log["item_id"] = "i" + log.item_id.astype(str)
        old, new = log.iloc[::2], log.iloc[1::3]
        new = pd.concat([new, old.head(9)])
    else:
        old, new = halves(log)
    options = {"split": "none", "weight_column": "w" if weighted else None}
    some = items.head(30)
    old = old[old.item_id.isin(some.item_id)]
    child = append(store(tmp_path / "a", old, some, **options), new, items.iloc[25:])
    union = pd.concat([old, new])
    same(child, store(tmp_path / "b", union, items, **options))
    pairs, known = (set(zip(part.user_id, part.item_id, strict=True)) for part in (new, old))
    added = child.stats.appended
    assert (added["interactions"], added["known"]) == (len(pairs - known), len(pairs & known))
    assert (added["held_out"], added["items"]) == (0, 10)
    assert added["users"] == union.user_id.nunique() - old.user_id.nunique()


def test_held_out_interactions_stay_held_out_and_nothing_leaks(tmp_path, small_tables):
    log, items = small_tables
    parent = store(tmp_path / "w", log, items, split="random", seed=3)
    held = {
        (u, i) for split in ("valid", "test") for u, i in zip(*dense(parent, split).nonzero(), strict=True)
    }
    rng = np.random.default_rng(5)
    fresh = {
        (int(u), int(i)) for u, i in zip(rng.integers(0, 80, 200), rng.integers(0, 40, 200), strict=True)
    }
    new = pd.DataFrame(sorted(fresh | set(sorted(held)[::3])), columns=["user_id", "item_id"])
    child = append(parent, new)
    rows = np.searchsorted(child.user_ids(), parent.user_ids())
    for split in ("valid", "test"):
        np.testing.assert_array_equal(dense(child, split)[rows], dense(parent, split))
        assert not np.delete(dense(child, split), rows, axis=0).any()
        assert not (dense(child, "train") * dense(child, split)).any()
    want = {(u, i) for u, i in zip(*dense(parent, "train").nonzero(), strict=True)} | (fresh - held)
    users = child.user_ids()
    assert {(users[u], i) for u, i in zip(*dense(child, "train").nonzero(), strict=True)} == want
    assert child.stats.appended["held_out"] == len(set(map(tuple, new.to_numpy())) & held)


def test_users_held_out_whole_stay_out_of_training(tmp_path, small_tables):
    log, items = small_tables
    parent = store(tmp_path / "w", log, items, split="strong", heldout_users=0.3)
    whole = np.flatnonzero((dense(parent, "valid") + dense(parent, "test")).any(axis=1))
    assert len(whole)
    new = pd.DataFrame({"user_id": np.repeat(np.arange(60), 3), "item_id": np.tile([37, 38, 39], 60)})
    child = append(parent, new)
    assert not dense(child, "train")[whole].any()
    held = dense(child, "valid") + dense(child, "test")
    np.testing.assert_array_equal(held, dense(parent, "valid") + dense(parent, "test"))
    known = dense(child, "input")
    assert ((known + held)[:, 37:] == 1).all()
    np.testing.assert_array_equal(known[:, :37], dense(parent, "input")[:, :37])
    others = np.setdiff1d(np.arange(60), whole)
    assert (dense(child, "train")[others, 38] == 1).all()
    again = append(child, new.assign(item_id=0))
    assert not dense(again, "train")[whole].any()
    assert (dense(again, "train")[others, 0] == 1).all()


def test_a_split_column_is_followed_for_new_pairs_alone(tmp_path, small_tables):
    log, items = small_tables
    log["split"] = np.where(np.arange(len(log)) % 5 == 0, "test", "train")
    parent = store(tmp_path / "w", log.iloc[:200], items, split_column="split")
    new = log.iloc[150:].assign(split=lambda part: np.where(part.index < 200, "val", part.split))
    child = append(parent, new)
    same(child, store(tmp_path / "b", log, items, split_column="split"))
    trained = append(parent, new.drop(columns="split"))
    assert trained.nnz("test") == parent.nnz("test")
    assert trained.nnz("train") == parent.nnz("train") + len(log) - 200


def test_the_parent_stays_and_a_repeated_append_writes_nothing(tmp_path, small_tables):
    log, items = small_tables
    old, new = halves(log)
    parent = store(tmp_path / "w", old, items, split="none")
    before = dense(parent, "train")
    child = append(parent, new)
    np.testing.assert_array_equal(dense(parent, "train"), before)
    keys = sorted(parent.workspace.blobs.list(""))
    assert append(parent, new).id == child.id
    assert sorted(parent.workspace.blobs.list("")) == keys
    assert appended_before(parent.workspace, child.id, log_id(new, None, IngestConfig()))
    assert not appended_before(parent.workspace, parent.id, log_id(new, None, IngestConfig()))
    third = append(child, new.head(3))
    assert appended_before(parent.workspace, third.id, log_id(new, None, IngestConfig()))


@pytest.mark.parametrize(("split", "weighted"), [("none", False), ("random", False), ("none", True)])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), tiles=st.lists(st.integers(1, 45), min_size=6), count=st.integers(1, 12))
def test_tiles_that_are_not_touched_are_equal_and_the_touched_ones_share_a_user(
    tmp_path_factory, split, weighted, seed, tiles, count
):
    rng = np.random.default_rng(seed)
    users, catalog = rng.integers(0, 30, 120), rng.integers(0, 36, 120)
    log = pd.DataFrame({"user_id": users, "item_id": catalog, "w": rng.integers(1, 5, 120)})
    items = pd.DataFrame({"item_id": range(40)})
    new = pd.DataFrame({"user_id": rng.integers(0, 33, count), "item_id": rng.integers(0, 40, count), "w": 1})
    options = {"split": split, "weight_column": "w" if weighted else None}
    parent = store(tmp_path_factory.mktemp("w"), log, items.head(36), **options)
    child = append(parent, new, items)
    x = np.zeros((child.n_users, 40))
    x[np.searchsorted(child.user_ids(), parent.user_ids()), :36] = dense(parent, "train")
    y = dense(child, "train").astype(float)
    for grid in [TileGrid(40, tile) for tile in tiles]:
        touched = touched_tiles(parent, child, grid)
        for i, j in product(range(grid.count), repeat=2):
            a, b = grid.rows(i), grid.rows(j)
            changed = (x != y)[:, a].any(axis=1) & (y[:, b] > 0).any(axis=1)
            changed |= (x != y)[:, b].any(axis=1) & (y[:, a] > 0).any(axis=1)
            assert touched[i, j] == changed.any()
            assert touched[i, j] == ((x.T @ x)[a, b] != (y.T @ y)[a, b]).any()


BAD = {
    "unknown item": ({"item_id": [3, 99]}, {}, "99"),
    "missing column": ({"thing": [3, 4]}, {}, "no column 'item_id'"),
    "empty": ({"item_id": []}, {}, "empty"),
    "nan weight": ({"w": [1.0, np.nan]}, {"weighted": True}, "negative, NaN or infinite"),
    "negative weight": ({"w": [1.0, -2.0]}, {"weighted": True}, "negative, NaN or infinite"),
    "no weight": ({}, {"weighted": True}, "no column 'w'"),
    "weights on binary": ({"w": [1.0, 2.0]}, {"options": {"weight_column": "w"}}, "binary"),
    "null item": ({"item_id": [3, None]}, {}, "no item id"),
    "other user ids": ({"user_id": ["a", "b"]}, {}, "user ids are integers"),
    "other item ids": ({}, {"items": {"item_id": ["x"]}}, "item ids are integers"),
    "items twice": ({}, {"items": {"item_id": [50, 50]}}, "more than once"),
    "nothing left": ({"item_id": [98, 99]}, {"options": {"unknown_items": "drop"}}, "nothing|no interaction"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_data_that_cannot_be_appended_leave_the_workspace_as_it_was(tmp_path, small_tables, name):
    columns, change, message = BAD[name]
    log, items = small_tables
    log["w"] = 1.0
    parent = store(tmp_path / "w", log, items, weight_column="w" if change.get("weighted") else None)
    length = len(next(iter(columns.values()), [0, 0]))
    values = {"user_id": [1, 2][:length], "item_id": [3, 4][:length], **columns}
    if "thing" in columns:
        del values["item_id"]
    more = pd.DataFrame(change["items"]) if "items" in change else None
    before = {key: parent.workspace.blobs.get(key) for key in parent.workspace.blobs.list("")}
    with pytest.raises(DataError, match=message):
        append(parent, pd.DataFrame(values), more, **change.get("options", {}))
    assert {key: parent.workspace.blobs.get(key) for key in parent.workspace.blobs.list("")} == before


def test_unknown_items_are_dropped_on_request_and_files_are_read_in_parts(tmp_path, small_tables):
    log, items = small_tables
    parent = store(tmp_path / "w", log.iloc[:150], items, split="none")
    folder = tmp_path / "new"
    folder.mkdir()
    log.iloc[150:250].to_parquet(folder / "1.parquet")
    pd.concat([log.iloc[250:], pd.DataFrame({"user_id": [700], "item_id": [99]})]).to_parquet(
        folder / "2.parquet"
    )
    child = append(parent, str(folder), unknown_items="drop")
    same(child, store(tmp_path / "b", log, items, split="none"))
    assert child.stats.dropped["unknown_item_interactions"] == 1


def test_a_chunk_is_taken_over_with_its_checksum_unless_it_is_damaged(tmp_path):
    check_taking_over(Workspace.create(tmp_path / "w"))


def test_a_chunk_is_taken_over_on_an_object_store_too(s3_environment, monkeypatch):
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    check_taking_over(Workspace.create("s3://bucket/taken-over"))


def check_taking_over(ws):
    rng = np.random.default_rng(0)
    source, target = (
        ChunkArray.create(ws, path, shape=(n, n), chunks=(4, 4), dtype="float32")
        for path, n in (("grams/a", 6), ("grams/b", 10))
    )
    for i, j in ((0, 0), (1, 0), (1, 1)):
        source.write(i, j, rng.random(source.valid_shape(i, j)))
    assert target.adopt(source, 0, 0, target.buffer())
    assert target.adopt(source, 1, 1, target.buffer())
    assert not target.adopt(source, 0, 1, target.buffer())  # never written
    np.testing.assert_array_equal(target.read(0, 0), source.read(0, 0))
    # the edge chunk, now of full size, is zero beyond what it was
    np.testing.assert_array_equal(target.read(1, 1)[:2, :2], source.read(1, 1))
    assert not target.read(1, 1)[2:].any()
    assert target.done() == {(0, 0), (1, 1)}
    spoilt = bytearray(ws.blobs.get("grams/a/c/1/0"))
    spoilt[5] ^= 1
    ws.blobs.put("grams/a/c/1/0", [bytes(spoilt)])
    assert not target.adopt(source, 1, 0, target.buffer())
    assert target.done() == {(0, 0), (1, 1)}
    target.write(0, 0, np.ones((4, 4)), anew=True)  # a new object: what it was linked to stays
    assert source.read(0, 0).max() < 1


def test_a_matrix_without_user_ids_is_appended_to_row_numbers_alone(tmp_path):
    from scipy import sparse

    matrix, more = sparse.csr_array(np.eye(3)), sparse.csr_array(np.ones((1, 3)))
    items = pd.DataFrame({"item_id": ["a", "b", "c"], "text": ["x", "y", "z"]})
    parent = store(tmp_path / "rows", matrix, items)
    assert dense(append(parent, more), "train").sum(axis=1).tolist() == [3, 1, 1]
    for name, ids in (("text", ["u", "v", "w"]), ("from 1", [1, 2, 3])):
        parent = store(tmp_path / name, (matrix, ids, None), items)
        with pytest.raises(DataError, match=r"has no user ids.*give \(matrix, user_ids, None\)"):
            append(parent, more)
        assert append(parent, (more, ids[:1], None)).n_users == 3


def by_id(dataset):
    """Training histories by user id."""
    return dict(zip(dataset.user_ids().tolist(), dense(dataset, "train"), strict=True))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_rows_that_changed_turn_one_gram_matrix_into_the_other(tmp_path, small_tables, weighted):
    """Users who changed, joined and are gone; those who did not change are in no row."""
    log, items = small_tables
    log["w"] = np.random.default_rng(2).integers(1, 9, len(log)) / 4
    options = {"split": "none", "weight_column": "w" if weighted else None}
    users = np.sort(log.user_id.unique())
    gone, joined, changed = users[3], users[-2], users[5:8]
    before = store(tmp_path / "a", log[log.user_id != joined], items, **options)
    extra = pd.DataFrame({"user_id": changed, "item_id": items.item_id.iloc[-1], "w": 3.0})
    after = store(tmp_path / "b", pd.concat([log[log.user_id != gone], extra]), items, **options)
    found = changed_rows(before, after)
    old, new = by_id(before), by_id(after)
    differ = [u for u in {*old, *new} if u not in old or u not in new or not np.array_equal(old[u], new[u])]
    assert found.users == len(differ)
    assert {gone, joined} <= set(differ)
    assert found.rows.shape[0] == sum((u in old) + (u in new) for u in differ)
    signs = np.where(found.joins, 1.0, -1.0)
    z = found.rows.toarray()
    grams = [dense(one, "train").astype(np.float64) for one in (before, after)]
    change = grams[1].T @ grams[1] - grams[0].T @ grams[0]
    np.testing.assert_allclose(z.T @ (signs[:, None] * z), change, atol=1e-9)
    assert changed_rows(before, after, most=found.rows.shape[0]).users == found.users
    assert changed_rows(before, after, most=found.rows.shape[0] - 1) is None
    same_again = changed_rows(after, after)
    assert (same_again.users, same_again.rows.shape[0]) == (0, 0)
