"""The catalog: ids decided over all parts, texts as they are written, and its name by content."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.catalog import catalog_of_ids, content_id, read_catalog
from l3ae_dist.data.items_table import items_table
from l3ae_dist.errors import DataError

IDS, TITLES = [3, 1, 2], ["three", "one", "two"]
TEXTS = ["a b", "c", "d e f"]


def read(items, **options):
    return read_catalog(items, IngestConfig(**options))


def contents(catalog):
    return catalog.ids.to_pylist(), catalog.titles.to_pylist(), catalog.texts.to_pylist()


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def frame():
    return pd.DataFrame({"item_id": IDS, "title": TITLES, "text": TEXTS})


FORMATS = {
    "csv": lambda path: frame().to_csv(path, index=False),
    "tsv": lambda path: frame().to_csv(path, index=False, sep="\t"),
    "parquet": lambda path: frame().to_parquet(path, index=False),
    "feather": lambda path: frame().to_feather(path),
    "jsonl": lambda path: frame().to_json(path, orient="records", lines=True),
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_catalog_and_name(tmp_path, suffix):
    FORMATS[suffix](tmp_path / f"items.{suffix}")
    catalog = read(str(tmp_path / f"items.{suffix}"))
    assert contents(catalog) == (IDS, TITLES, TEXTS)
    assert (catalog.has_text, catalog.no_text, catalog.files) == (True, None, 1)
    assert content_id(catalog) == content_id(read(frame()))


def test_an_id_column_is_of_one_kind_over_all_parts(tmp_path):
    write(tmp_path / "items-0.csv", ["item_id,text", "7,a", "8,b"])
    write(tmp_path / "items-1.csv", ["item_id,text", "007,c", "A1,d"])
    catalog = read(str(tmp_path / "items-*.csv"))
    assert catalog.ids.to_pylist() == ["7", "8", "007", "A1"]
    write(tmp_path / "items-1.csv", ["item_id,text", "9,c"])
    assert read(str(tmp_path / "items-*.csv")).ids.to_pylist() == [7, 8, 9]
    assert read(str(tmp_path / "items-*.csv"), id_type="string").ids.to_pylist() == ["7", "8", "9"]


def test_texts_of_csv_are_text(tmp_path):
    rows = ["item_id,title,text", "1,0451,1984", "2,NA,null", "3,None,1.50", '4,"a, b","two', 'lines"']
    catalog = read(write(tmp_path / "items.csv", rows))
    assert catalog.titles.to_pylist() == ["0451", "NA", "None", "a, b"]
    assert catalog.texts.to_pylist() == ["1984", "null", "1.50", "two\nlines"]


def test_json_and_parquet_of_the_same_data_give_the_same_texts(tmp_path):
    words = [f"word{i}" for i in range(1500)]
    rows = [
        {"item_id": 1, "title": "a", "text": words, "year": 1984.0, "rate": 1.5},
        {"item_id": 2, "title": "b", "text": [], "year": None, "rate": None},
        {"item_id": 3, "title": "c", "text": ["x", None, "y"], "year": 2001.0, "rate": 2.0},
    ]
    write(tmp_path / "items.jsonl", map(json.dumps, rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet")
    options = {"text_columns": ("text", "year", "rate")}
    one, other = (read(str(tmp_path / f"items.{suffix}"), **options) for suffix in ("jsonl", "parquet"))
    assert contents(one) == contents(other)
    assert one.texts.to_pylist() == [" ".join(words) + " 1984 1.5", "", "x y 2001 2"]
    assert content_id(one) == content_id(other)


def test_parts_that_are_empty_or_a_header_alone_are_fine(tmp_path):
    write(tmp_path / "items-0.csv", ["item_id,title,text"])
    write(tmp_path / "items-1.csv", ["item_id,title,text", "1,one,a"])
    (tmp_path / "items-2.csv").write_text("")
    catalog = read(str(tmp_path / "items-*.csv"))
    assert contents(catalog) == ([1], ["one"], ["a"])
    frame().head(0).to_parquet(tmp_path / "none-0.parquet")
    with pytest.raises(DataError, match="the items are empty"):
        read(str(tmp_path / "none-*.parquet"))


def test_a_missing_column_is_named_with_those_there_are_and_near_spellings(tmp_path):
    path = write(tmp_path / "items.csv", ["ItemID,name,Text", "1,one,a"])
    with pytest.raises(DataError, match=r"no column 'item_id'; they have ItemID, name, Text") as caught:
        read(path)
    assert "did you mean 'ItemID'?" in str(caught.value)
    catalog = read(path, catalog_id_column="ItemID")
    assert not catalog.has_text
    assert "no column 'text' (text_columns); they have ItemID, name, Text" in catalog.no_text
    assert "did you mean 'Text'?" in catalog.no_text
    assert read(path, catalog_id_column="ItemID", text_columns=()).no_text == "text_columns names no column"


def test_a_part_without_text_is_named(tmp_path):
    write(tmp_path / "items-0.csv", ["item_id,text", "1,a"])
    write(tmp_path / "items-1.csv", ["item_id,other", "2,b"])
    catalog = read(str(tmp_path / "items-*.csv"))
    assert "items-1.csv has no column 'text'" in catalog.no_text
    assert catalog.texts.to_pylist() == ["a", ""]


def test_items_without_a_title_are_shown_by_their_text():
    assert read(frame().drop(columns="title")).titles.to_pylist() == TEXTS


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2, 1, 2, 3], r"2 catalog id\(s\) occur more than once: 1, 2; keep one each"),
        (["a", "a"], r"1 catalog id\(s\) occur more than once: 'a'"),
        ([1.0, None], r"1 row\(s\) have no catalog id"),
        (["", "a"], r"1 row\(s\) have no catalog id"),
        ([1.5, 2.0], "fraction"),
        (["x" * 100_000] * 2, "occur more than once"),
    ],
)
def test_ids_that_are_none_are_refused_in_a_sentence(ids, message):
    with pytest.raises(DataError, match=message) as caught:
        read(pd.DataFrame({"item_id": ids, "text": "t"}))
    assert len(str(caught.value)) < 400


def test_equal_ids_in_two_spellings_are_duplicates(tmp_path):
    rows = ['{"item_id": 7, "text": "a"}', '{"item_id": 7.0, "text": "b"}']
    with pytest.raises(DataError, match="occur more than once: 7"):
        read(write(tmp_path / "items.jsonl", rows))


def test_texts_by_id_are_items():
    by_id = dict(zip(IDS, TEXTS, strict=True))
    series = frame().set_index("item_id")["text"]
    for items in (by_id, series, pd.Series(TEXTS, index=IDS)):
        assert contents(read(items)) == (IDS, TEXTS, TEXTS)
    text_ids = dict(zip(["a", "b", "c"], TEXTS, strict=True))
    assert contents(read(text_ids, catalog_id_column="key", text_columns=("words",)))[0] == ["a", "b", "c"]


def test_pairs_of_id_and_text_are_items():
    pairs = list(zip(IDS, TEXTS, strict=True))
    assert contents(read(pairs)) == (IDS, TEXTS, TEXTS)


def test_ids_may_stand_in_the_index():
    counted = pd.Series({1: "a", 2: "b"})  # whose index pandas makes a range
    assert contents(read(counted))[0] == [1, 2]
    assert contents(read(frame().set_index("item_id"))) == (IDS, TITLES, TEXTS)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (TEXTS, r"a list of 3 string\(s\), such as 'a b', and none names a file; texts need ids"),
        (
            pd.Series(TEXTS),
            r"a Series whose index has no ids; give a table with the columns item_id and text",
        ),
        ({1: "a", "b": "c"}, "of several kinds, such as 1, 'b'"),
        ({True: "a", 2: "c"}, "of several kinds, such as True, 2"),
        (["items-0.csv", "items-1.csv"], "no file at"),
    ],
)
def test_texts_without_ids_are_refused_with_what_to_give(items, message):
    with pytest.raises(DataError, match=message):
        read(items)


def test_the_name_is_that_of_ids_and_texts_in_their_order():
    base = frame()
    name = content_id(read(base))
    assert content_id(read(base.assign(title="other"))) == name
    assert content_id(read(base.astype({"item_id": float}))) == name
    others = [
        base.iloc[::-1],
        base.head(2),
        base.assign(text=["a", "b c", "d e f"]),
        base.assign(item_id=[3, 1, 4]),
        base.assign(item_id=["3", "1", "2"]),
    ]
    names = {content_id(read(one)) for one in others}
    assert len(names | {name}) == 6
    # the border between two texts counts
    one, two = (pd.DataFrame({"item_id": [1, 2], "text": texts}) for texts in (["ab", "c"], ["a", "bc"]))
    assert content_id(read(one)) != content_id(read(two))


def test_the_name_does_not_depend_on_the_parts(tmp_path):
    for i in range(3):
        frame().iloc[[i]].to_parquet(tmp_path / f"items-{i}.parquet")
    assert content_id(read(str(tmp_path / "items-*.parquet"))) == content_id(read(frame()))
    sliced = read(frame())
    assert content_id(
        type(sliced)(sliced.ids[1:], sliced.titles, sliced.texts[1:], True, None)
    ) == content_id(read(frame().tail(2)))


def test_items_of_a_log_have_their_ids_for_titles_and_no_text():
    catalog = catalog_of_ids(pa.array([5, 9]))
    assert contents(catalog) == ([5, 9], ["5", "9"], ["", ""])
    assert (catalog.has_text, catalog.no_text) == (False, "no items table was given")


def test_a_large_catalog_is_read_in_bounded_pieces(tmp_path):
    ids = np.arange(20_000)
    pd.DataFrame({"item_id": ids, "text": [f"text {i}" for i in ids]}).to_csv(tmp_path / "i.csv", index=False)
    catalog = read(str(tmp_path / "i.csv"))
    assert len(catalog) == 20_000
    assert catalog.texts[12_345].as_py() == "text 12345"


def test_other_tables_are_returned_as_they_are(tmp_path):
    for items in (frame(), str(tmp_path), tmp_path, [str(tmp_path / "a.csv")], pa.table({"a": [1]})):
        assert items_table(items, IngestConfig()) is items


def test_texts_by_id_may_be_missing_numbers_or_lists():
    from l3ae_dist.data.items_table import items_table

    found = items_table({1: ["x", "z"], 2: "y", 3: None, 4: 2.0}, IngestConfig())
    assert found.to_pydict() == {"item_id": [1, 2, 3, 4], "text": ["x z", "y", "", "2"]}
    assert items_table({1: None, 2: 7}, IngestConfig()).column("text").to_pylist() == ["", "7"]
    with pytest.raises(DataError, match="lists of several lengths without the column 'item_id'"):
        items_table({1: ["x", "z"], 2: ["y"]}, IngestConfig())


def test_a_series_of_several_index_levels_needs_the_name_of_the_ids():
    from l3ae_dist.data.items_table import items_table

    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    with pytest.raises(DataError, match="index has 2 levels, and none is named item_id"):
        items_table(pd.Series(["x", "y"], index=index), IngestConfig())
    named = items_table(pd.Series(["x", "y"], index=index.set_names(["shop", "item_id"])), IngestConfig())
    assert named[["item_id", "text"]].to_numpy().tolist() == [[1, "x"], [2, "y"]]
