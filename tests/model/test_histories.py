"""Users and histories in every form that a caller may have them in; dense arrays are refused, not guessed."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.dataset import Dataset, find_ids, unknown_ids
from l3ae_dist.data.ingest import ingest
from l3ae_dist.errors import ConfigError, DataError, UnknownIdError
from l3ae_dist.model.histories import history_of, users_of
from l3ae_dist.model.rules import AllowedItems, ItemList, Rules
from l3ae_dist.model.users import Batch, GivenUsers, KnownUsers
from l3ae_dist.serving import ServedModel
from l3ae_dist.storage.workspace import Workspace

LOG = [(1, 10), (1, 20), (2, 30), (7, 20), (7, 50)]
ITEMS = [10, 20, 30, 40, 50]


@pytest.fixture(scope="module", params=["integer", "text"])
def stored(request, tmp_path_factory):
    """A dataset of five items, and its form of an id."""

    def form(value):
        return f"{value:03d}" if request.param == "text" else value

    log = pd.DataFrame(LOG, columns=["user_id", "item_id"]).map(form)
    items = pd.DataFrame({"item_id": list(map(form, ITEMS)), "text": "x"})
    workspace = Workspace.create(tmp_path_factory.mktemp(request.param) / "w")
    options = IngestConfig(split="none")
    return Dataset(workspace, ingest(log, items, options, workspace)), form


def find_in(dataset):
    def find(ids):
        found = dataset.find_items(ids)
        if (found < 0).any():
            raise unknown_ids(ids, found, "item", dataset.item_lookup)
        return found

    return find


def read(stored, source):
    """Labels and dense histories."""
    users = users_of(source, stored[0], find_in(stored[0]))
    return users.labels(0, len(users)).tolist(), users.histories(0, len(users)).toarray().tolist()


LISTS = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "array of objects": lambda ids: np.array(ids, object),
    "series": pd.Series,
    "categorical": lambda ids: pd.Series(ids, dtype="category"),
    "index": pd.Index,
    "polars": pl.Series,
    "arrow": pa.array,
    "chunked": lambda ids: pa.chunked_array([ids[:1], ids[1:]]),
    "keys": lambda ids: dict.fromkeys(ids).keys(),
    "iterator": iter,
}


@pytest.mark.parametrize("make", LISTS)
def test_known_users_come_in_any_list(stored, make):
    _, form = stored
    ids = [form(7), form(1)]
    assert read(stored, LISTS[make](ids)) == (ids, [[0, 1, 0, 0, 1], [1, 1, 0, 0, 0]])


@pytest.mark.parametrize("make", [name for name in LISTS if name != "iterator"])
def test_histories_are_lists_of_any_kind(stored, make):
    _, form = stored
    lists = [LISTS[make]([form(20), form(50)]), LISTS[make]([form(30), form(30)]), []]
    want = [[0, 1, 0, 0, 1], [0, 0, 1, 0, 0], [0] * 5]
    assert read(stored, lists) == ([0, 1, 2], want)
    assert read(stored, dict(zip("abc", lists, strict=True))) == (["a", "b", "c"], want)


TABLES = {
    "pandas": lambda columns: pd.DataFrame(columns),
    "index": lambda columns: pd.DataFrame(columns).set_index("user_id"),
    "polars": pl.DataFrame,
    "lazy": lambda columns: pl.DataFrame(columns).lazy(),
    "arrow": pa.table,
    "batch": pa.record_batch,
    "reader": lambda columns: pa.table(columns).to_reader(),
    "mapping": dict,
    "dictionaries": lambda columns: pd.DataFrame(columns).to_dict("records"),
}


@pytest.mark.parametrize("make", TABLES)
def test_histories_are_tables_of_any_library(stored, make):
    _, form = stored
    columns = {"user_id": ["ann", "bob", "ann", "bob"], "item_id": [form(i) for i in (20, 30, 50, 30)]}
    assert read(stored, TABLES[make](columns)) == (["ann", "bob"], [[0, 1, 0, 0, 1], [0, 0, 1, 0, 0]])
    columns |= {"weight": [2.0, 1.5, 0.0, 1.0]}
    assert read(stored, TABLES[make](columns)) == (["ann", "bob"], [[0, 2, 0, 0, 0], [0, 0, 2.5, 0, 0]])


def test_weights_may_stand_in_mappings_and_zero_is_no_interaction(stored):
    dataset, form = stored
    weights = {form(20): 2.5, form(30): 0}
    assert read(stored, {"ann": weights, "bob": {}}) == (["ann", "bob"], [[0, 2.5, 0, 0, 0], [0] * 5])
    assert read(stored, [weights])[1] == [[0, 2.5, 0, 0, 0]]
    assert history_of(weights, dataset, find_in(dataset)).nnz == 1
    matrix = sparse.csr_array(([0.0, 3.0], ([0, 0], [1, 2])), shape=(1, 5))
    assert users_of(matrix, dataset, find_in(dataset)).histories(0, 1).nnz == 1
    with pytest.raises(DataError, match="no number"):
        read(stored, [{form(20): "many"}])
    with pytest.raises(DataError, match="negative"):
        read(stored, [{form(20): -1}])


DENSE = {
    "floats": np.array([[0, 1, 0, 0, 1], [1, 0, 0, 0, 0.0]]),
    "integers": np.array([[0, 1, 0, 0, 1], [1, 0, 0, 0, 0]]),
    "flags": np.array([[0, 1, 0, 0, 1]]) > 0,
    "one column of ids": pd.DataFrame({"user_id": [1, 2]})[["user_id"]].to_numpy(),
    "rows as lists": [[0, 1, 0, 0, 1], [1, 0, 0, 0, 0]],
    "rows as arrays": list(np.array([[0, 3.5, 0, 0, 1], [1, 0, 0, 0, 0.0]])),
    "full rows": [[1, 1, 1, 1, 1]],
    "a vector of floats": np.array([0, 1, 0, 0, 1.0]),
    "a vector of flags": np.array([False, True, False]),
    "matrix": np.matrix([[0, 1, 0, 0, 1]]),
}


@pytest.mark.parametrize("kind", DENSE)
def test_dense_arrays_are_refused_with_both_right_calls(stored, kind):
    with pytest.raises(DataError, match=r"scipy\.sparse\.csr_array\(array\).*array\.ravel\(\)") as refused:
        read(stored, DENSE[kind])
    assert len(str(refused.value)) < 400


def test_what_is_refused_is_read_once_it_is_called_by_its_name(stored):
    dense = DENSE["floats"]
    assert read(stored, sparse.csr_array(dense))[1] == dense.tolist()
    if isinstance(stored[1](1), int):
        assert read(stored, DENSE["one column of ids"].ravel())[0] == [1, 2]


BAD = {
    "one column": (lambda form: pd.DataFrame({"user_id": [form(1)]}), DataError, "no column 'item_id'.*table.'user_id'."),
    "lists beside ids": (lambda form: [[form(10)], form(20)], DataError, r"place 1 is .*; give either"),
    "ids beside lists": (lambda form: [form(1), [form(10)]], DataError, r"place 1 is .*; give either"),
    "weights beside lists": (lambda form: {"a": {form(10): 1}, "b": [form(20)]}, DataError, "some histories have weights"),
    "a text as history": (lambda form: {"a": "10"}, ConfigError, "single id '10'"),
    "a number as history": (lambda form: {"a": 10}, ConfigError, "single id 10"),
    "no id": (lambda form: [None], UnknownIdError, "None"),
    "flag": (lambda form: [True], UnknownIdError, "True"),
    "fraction": (lambda form: [1.5], UnknownIdError, "1.5"),
    "nested": (lambda form: [[[form(10)]]], UnknownIdError, "item id"),
    "cube": (lambda form: np.zeros((2, 2, 2)), DataError, "2x2x2"),
    "scalar array": (lambda form: np.array(7), ConfigError, "single id"),
    "narrow": (lambda form: sparse.csr_array((2, 4)), DataError, "4 columns .* 5 items"),
    "date": (lambda form: [pd.Timestamp(0)], UnknownIdError, "1970"),
    "large integer": (lambda form: [2**70], UnknownIdError, str(2**70)),
    "missing user": (lambda form: pd.DataFrame({"user_id": [None], "item_id": [form(10)]}), DataError, "no user id"),
    "missing item": (lambda form: pd.DataFrame({"user_id": ["a"], "item_id": [None]}), DataError, "no item id"),
    "million ids": (lambda form: list(range(10**6, 2 * 10**6)), UnknownIdError, "1000000 user"),
    "long id": (lambda form: ["x" * 5_000_000], UnknownIdError, "1 user id"),
    "long item": (lambda form: [["x" * 5_000_000]], UnknownIdError, "1 item id"),
    "long table": (lambda form: {f"c{i}": [1] for i in range(10**5)} | {"user_id": [1], "item_id": ["x" * 10**6]}, UnknownIdError, "1 item id"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_users_get_one_sentence(stored, kind):
    make, error, message = BAD[kind]
    with pytest.raises(error, match=message) as refused:
        read(stored, make(stored[1]))
    assert len(str(refused.value)) < 600


def test_ids_of_the_other_kind_are_named_with_both_kinds(stored):
    if isinstance(stored[1](1), int):
        assert read(stored, ["7", "1"])[0] == [7, 1]
        with pytest.raises(UnknownIdError, match=r"known users: '8'; check the ids"):
            read(stored, ["8"])
        with pytest.raises(UnknownIdError, match=r"'007' is text and user ids are integers here, such as 1;"):
            read(stored, ["007"])
        table = pd.DataFrame({"user_id": ["a"], "item_id": ["010"]})
        with pytest.raises(UnknownIdError, match="'010' is text and item ids are integers here, such as 10;"):
            read(stored, table)
        return
    with pytest.raises(UnknownIdError, match=r"7 is no text and user ids are text here, such as '001';"):
        read(stored, [7])
    with pytest.raises(UnknownIdError, match="10 is no text and item ids are text here, such as '010';"):
        read(stored, [[10]])


def test_ids_are_found_whatever_type_they_have():
    integers, text = pd.Index([5, 7], dtype=np.int64), pd.Index(["5", "007"], dtype=object)
    given = [7, np.int8(5), 7.0, "7", "007", "7.0", True, None, 2**63, -(2**64), " 7", "x", b"7"]
    assert find_ids(integers, given).tolist() == [1, 0, 1, 1, *[-1] * 9]
    assert find_ids(text, given).tolist() == [-1, 0, -1, -1, 1, *[-1] * 8]
    assert find_ids(integers, np.array([5, 2**63 + 7], np.uint64)).tolist() == [0, -1]
    assert find_ids(integers, np.array(["7", "x"])).tolist() == [1, -1]
    assert find_ids(integers, []).tolist() == []


def test_lists_of_items_are_tables_and_arrays_too():
    def find(ids):
        return np.array([int(one) for one in ids])

    def common(value):
        return ItemList(value, 2, 9, find, "items").common.tolist()

    for value in ([3, 1], np.array([3, 1]), pd.Series([3, 1]), pl.Series([3, 1]), pa.array([3, 1]), {3, 1},
                  pa.table({"item_id": [3, 1]}), pl.DataFrame({"item_id": [3, 1]})):  # fmt: skip
        assert common(value) == [1, 3]
    for value in (np.zeros((2, 2)), [[1], 2]):
        with pytest.raises(DataError, match=r"items (is|holds)"):
            common(value)
    with pytest.raises(ConfigError, match="a list of items is the single id 'ab'"):
        common({"u": "ab"})


def test_lists_of_users_of_the_other_kind_are_refused():
    users = GivenUsers(sparse.csr_matrix(np.eye(2)), np.array([7, 8]))
    rules = AllowedItems(Rules(filter_items={"7": [1]}), 2, 2, 0, lambda ids: np.array(ids))
    with pytest.raises(DataError, match=r"filter_items names users such as '7' and .* such as 7"):
        rules.candidates(Batch.of(users, 0, 2))
    rules = AllowedItems(Rules(filter_items={7: [1]}), 2, 2, 0, lambda ids: np.array(ids))
    assert rules.candidates(Batch.of(users, 0, 2)) is not None


class Ids:
    """A column of an export."""

    def __init__(self, values):
        self._values = np.array(values)

    def values(self):
        return self._values


def test_a_served_model_refuses_dense_arrays_and_drops_zeros():
    served = ServedModel(
        {"model": "EASE", "k": 1}, sparse.csr_matrix(np.eye(3)), Ids([0, 1, 2]), Ids(["a"] * 3)
    )
    stored = sparse.csr_array(([0.0, 1.0], ([0, 0], [0, 1])), shape=(1, 3))
    rows, scores = served.recommend(stored, 3, filter_already_liked=False)
    assert (rows.tolist(), scores[0, 0]) == ([[1, -1, -1]], 1.0)
    assert stored.nnz == 2
    for bad in (np.eye(3), list(np.eye(3)), np.array([0, 1]), "ab", ["ab"], [1, 2], 7):
        with pytest.raises(DataError, match=re.escape("give a list of item ids for each user")):
            served.recommend(bad, 1)


def test_known_users_are_all_when_none_are_named(stored):
    assert isinstance(users_of(None, stored[0], find_in(stored[0])), KnownUsers)
    assert len(users_of(None, stored[0], find_in(stored[0]))) == 3
