"""New items in every form that the fit's items may have, and what is refused of them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import ingest
from l3ae_dist.errors import DataError
from l3ae_dist.model.added_items import AddedItems
from l3ae_dist.model.items_to_add import NewItems
from l3ae_dist.storage.workspace import Workspace

TABLE = pd.DataFrame({"item_id": [101, 102], "title": ["one", "two"], "text": ["a lamp", "a chair"]})


@pytest.fixture
def dataset(tmp_path, small_tables):
    return stored(tmp_path, small_tables)


def stored(tmp_path, tables):
    ws = Workspace.create(tmp_path / "w")
    return Dataset(ws, ingest(*tables, IngestConfig(split="none"), ws))


def named(dataset, items, ids=None, vectors=None):
    found, titles, texts = NewItems(items, ids, vectors).named(dataset, AddedItems())
    return found.tolist(), titles.tolist(), texts


def csv(path):
    TABLE.to_csv(path / "new.csv", index=False)
    return str(path / "new.csv")


FORMS = {
    "pandas": lambda path: TABLE,
    "an index": lambda path: TABLE.set_index("item_id"),
    "arrow": lambda path: pa.Table.from_pandas(TABLE),
    "a path": csv,
    "a Path": lambda path: __import__("pathlib").Path(csv(path)),
}


@pytest.mark.parametrize("form", FORMS)
def test_new_items_are_read_as_the_fit_reads_items(tmp_path, dataset, form):
    want = ([101, 102], ["one", "two"], ["a lamp", "a chair"])
    assert named(dataset, FORMS[form](tmp_path)) == want


def test_texts_come_with_ids_or_are_numbered(dataset):
    assert named(dataset, {101: "a lamp"}) == ([101], ["a lamp"], ["a lamp"])
    assert named(dataset, ["a lamp", "a chair"])[0] == [40, 41]
    assert named(dataset, [1.5, 2.0], [101, 102])[2] == ["1.5", "2"]
    assert named(dataset, ("a lamp",), ids=[7000])[0] == [7000]
    assert named(dataset, np.array(["a lamp"]), ids=np.array([7000]))[0] == [7000]
    assert named(dataset, [101, 102], vectors=np.ones((2, 3))) == ([101, 102], ["101", "102"], None)


def test_ids_follow_the_kind_of_the_catalog(tmp_path, small_tables):
    log, items = small_tables
    tables = (one.assign(item_id=one.item_id.map("i{:02}".format)) for one in (log, items))
    texts = stored(tmp_path, tuple(tables))
    assert named(texts, TABLE)[0] == ["101", "102"]
    assert named(texts, ["a lamp"])[0] == ["added-0"]


BAD = {
    "text ids": (TABLE.assign(item_id=["101", "007"]), None, r"text, such as '007', .* integers, such as 0"),
    "ids of two kinds": (["a", "b"], [1, "b"], "several kinds, such as 1, 'b'"),
    "known ids": (TABLE.assign(item_id=[3, 101]), None, r"in the catalog already: \[3\]"),
    "a single text": ("a red lamp", None, r"the single text 'a red lamp'; give a list"),
    "no file": ("new.csv", None, "no file at"),
    "ids beside a table": (TABLE, [1, 2], "ids are given beside a DataFrame"),
    "other columns": (
        pd.DataFrame({"id": [101], "text": ["x"]}),
        None,
        "no column 'item_id'; they have id, text",
    ),
    "no text": (TABLE.assign(text=["", " "]), None, r"2 item\(s\) have no text in text, first \[101, 102\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_items_that_cannot_be_added_are_refused_in_a_sentence(dataset, name):
    items, ids, message = BAD[name]
    with pytest.raises(DataError, match=message) as caught:
        named(dataset, items, ids)
    assert len(str(caught.value)) < 400
