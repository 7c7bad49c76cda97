"""From what a user hands over to a table: dispatch, columns of folders, columns that are missing."""

import contextlib
import gzip
import http.server
import io
import os
import pickle
import threading
import zipfile

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from l3ae_dist.data.intake.open_table import open_table, require_columns
from l3ae_dist.data.intake.parts import Form, form_of
from l3ae_dist.errors import DataError

TEXT = "user_id,item_id\n1,2\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, text=TEXT):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def read(table, columns):
    """Rows of a table with the forms of its columns."""
    rows, forms = [], set()
    for part in table.parts:
        for batch in part.batches(columns):
            assert batch.schema.names == list(columns)
            rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
            forms |= {(field.name, form_of(field)) for field in batch.schema}
    return rows, forms


def test_files_of_every_format_in_a_list(here):
    write("a.csv")
    write("b.tsv", "user_id\titem_id\n3\t4\n")
    write("c.jsonl", '{"user_id": 5, "item_id": "6"}\n')
    pq.write_table(pa.table({"user_id": [7], "item_id": [8]}), "d.parquet")
    with gzip.open("e.csv.gz", "wt") as file:
        file.write(TEXT)
    table = open_table(["d.parquet", "a.csv", "c.jsonl", "b.tsv", "e.csv.gz"], "interactions")
    assert (table.files, table.shared, table.columns) == (5, True, ("user_id", "item_id"))
    rows, forms = read(table, ["item_id", "user_id"])
    assert rows == [(8, 7), ("2", "1"), ('"6"', "5"), ("4", "3"), ("2", "1")]
    assert forms == {(name, form) for name in table.columns for form in Form}
    assert [os.path.basename(part.origin) for part in table.parts] == [
        "d.parquet", "a.csv", "c.jsonl", "b.tsv", "e.csv.gz",
    ]  # fmt: skip
    assert read(pickle.loads(pickle.dumps(table)), ["user_id"])[0] == read(table, ["user_id"])[0]


def test_content_decides_where_a_name_lies(here):
    pq.write_table(pa.table({"user_id": [7], "item_id": [8]}), "a.csv")
    assert read(open_table("a.csv", "x"), ["user_id"])[0] == [(7,)]
    write("b.csv.gz")
    assert read(open_table("b.csv.gz", "x"), ["user_id"])[0] == [("1",)]
    with gzip.open("c.csv", "wt") as file:
        file.write(TEXT)
    assert read(open_table("c.csv", "x"), ["user_id"])[0] == [("1",)]
    (here / "d.parquet").write_bytes(gzip.compress((here / "a.csv").read_bytes()))
    with pytest.raises(DataError, match=r"compressed Parquet file.*unpack"):
        open_table("d.parquet", "x")
    with gzip.open("e.gz", "wt") as file:
        file.write('{"user_id": 1}\n')
    assert read(open_table("e.gz", "x"), ["user_id"])[0] == [("1",)]


def test_files_without_rows_and_without_a_byte(here):
    write("log/a.csv", "")
    write("log/b.csv", "user_id,item_id\n")
    write("log/c.csv")
    table = open_table("log", "interactions")
    assert (table.files, table.columns) == (3, ("user_id", "item_id"))
    assert read(table, ["user_id", "item_id"])[0] == [("1", "2")]
    require_columns(table, ["user_id", "item_id"], "name it")
    empty = open_table("log/a.csv", "interactions")
    assert (empty.parts, empty.columns, empty.files) == ((), (), 1)
    with pytest.raises(DataError, match="the interactions are empty"):
        require_columns(empty, ["user_id"], "name it")


@pytest.mark.parametrize(
    "stem", ["a b", "a#1", "a%20b", "what?", "a*b", "a[1]", "naïve-日本", "a'b\"", "{a}", "a;b", "$a", "-a"]
)
def test_names_with_odd_characters_are_read_in_every_format(here, stem):
    write(f"{stem}.csv")
    write(f"{stem}.jsonl", '{"user_id": 1}\n')
    pq.write_table(pa.table({"user_id": [1]}), f"{stem}.parquet")
    pa.feather.write_feather(pa.table({"user_id": [1]}), f"{stem}.feather")
    (here / f"{stem}.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    for suffix in ("csv", "jsonl", "parquet", "feather", "csv.gz"):
        rows, _ = read(open_table(f"{stem}.{suffix}", "x"), ["user_id"])
        assert [str(value) for (value,) in rows] == ["1"], suffix


# ---- columns of folders


def test_keys_of_folders_are_written_columns(here):
    for day in ("2020-01-01", "2020-01-02"):
        write(f"log/date={day}/shop=a%20b/x.csv", "user_id,item_id\n1,2\n3,4\n")
    table = open_table("log", "interactions")
    assert table.columns == ("user_id", "item_id", "date", "shop")
    rows, forms = read(table, ["shop", "user_id", "date"])
    assert rows == [
        ("a b", "1", "2020-01-01"), ("a b", "3", "2020-01-01"), ("a b", "1", "2020-01-02"), ("a b", "3", "2020-01-02"),
    ]  # fmt: skip
    assert {form for _, form in forms} == {Form.WRITTEN}
    assert read(table, ["date"])[0] == [("2020-01-01",)] * 2 + [("2020-01-02",)] * 2
    assert read(pickle.loads(pickle.dumps(table)), ["date"]) == read(table, ["date"])


def test_a_column_of_the_file_stays_beside_a_folder_of_its_name(here):
    os.makedirs("log/date=2020-01-01")
    pq.write_table(pa.table({"user_id": [1], "date": ["other"]}), "log/date=2020-01-01/a.parquet")
    table = open_table("log", "interactions")
    assert table.columns == ("user_id", "date")
    assert read(table, ["date"]) == ([("other",)], {("date", Form.TYPED)})


def test_what_pandas_writes_in_folders_is_read_back(here):
    frame = pd.DataFrame({"user_id": [1, 2, 3], "item_id": [4, 5, 6], "day": ["a", "b/c", "a"]})
    frame.to_parquet("log", partition_cols=["day"])
    rows, _ = read(open_table("log", "x"), ["user_id", "item_id", "day"])
    assert sorted(rows) == sorted(frame.itertuples(index=False, name=None))


# ---- columns that are missing


def test_a_missing_column_is_named_with_those_that_are_there(here):
    write("a.csv", "uid,item_id\n1,2\n")
    with pytest.raises(DataError) as found:
        require_columns(open_table("a.csv", "interactions"), ["item_id", "user_id"], "set user_column")
    text = str(found.value)
    assert text.startswith("the interactions have no column 'user_id'; they have uid, item_id")
    assert text.endswith("set user_column.")


def test_the_file_that_lacks_a_column_is_named(here):
    write("log/a.csv")
    write("log/b.csv", "user_id,item\n1,2\n")
    with pytest.raises(DataError, match=r"log/b\.csv has no column 'item_id', which other parts"):
        require_columns(open_table("log", "interactions"), ["user_id", "item_id"], "set item_column")


def test_messages_stay_short_whatever_the_columns(here):
    names = [f"{'c' * 500}{k}" for k in range(3000)]
    pq.write_table(pa.table([[1]] * 3000, names=names), "wide.parquet")
    table = open_table("wide.parquet", "interactions")
    with pytest.raises(DataError) as found:
        require_columns(table, ["x" * 10_000], "set user_column")
    assert len(str(found.value)) < 600


# ---- what is no source


@pytest.mark.parametrize("make", [io.BytesIO, io.StringIO])
def test_open_files_are_refused(make):
    with pytest.raises(DataError, match="hand over its path"):
        open_table(make(), "interactions")


def test_paths_of_every_kind(here):
    write("a.csv")
    fsspec.filesystem("memory").pipe_file("/d/a.csv", TEXT.encode())
    sources = [
        "a.csv",
        here / "a.csv",
        b"a.csv",
        ["a.csv"],
        ("a.csv",),
        (here / "a.csv").as_uri(),
        "memory://d/a.csv",
    ]
    for source in sources:
        table = open_table(source, "x")
        assert read(table, ["user_id"])[0] == [("1",)], source
        assert table.shared is ("memory" not in str(source))
    fsspec.filesystem("memory").store.clear()


def test_messages_of_paths_are_short(here):
    for source in ("x" * 5_000_000, "d/" * 2000 + "a.csv", "\x1b[31mred\x07.csv", "no\nfile.csv"):
        with pytest.raises(DataError) as found:
            open_table(source, "interactions")
        assert len(str(found.value)) < 400
        assert str(found.value).isprintable()


def test_files_in_an_archive_by_a_chained_url(here):
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.writestr("in/a.csv", TEXT)
        archive.writestr("in/b.csv", TEXT)
        archive.writestr("c.jsonl", '{"user_id": 5}')
    expected = {"in/a.csv": 1, "in": 2, "in/*.csv": 2, "**/*.csv": 2, "*.jsonl": 1}
    for path, count in expected.items():
        for outer in ("a.zip", f"file://{here}/a.zip"):
            assert open_table(f"zip://{path}::{outer}", "x").files == count
    assert read(open_table("zip://in/a.csv::a.zip", "x"), ["user_id"])[0] == [("1",)]


# ---- web servers


class Handler(http.server.SimpleHTTPRequestHandler):
    """Sends whole files alone, as simple servers do; breaks off in the middle of ``broken-*``."""

    def log_message(self, *_args):
        pass

    def copyfile(self, source, outputfile):
        if "broken-" in self.path:
            outputfile.write(source.read(1000))
            return
        with contextlib.suppress(ConnectionError):
            super().copyfile(source, outputfile)


@pytest.fixture
def web(here):
    """The address of a server of the current folder."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_files_of_a_web_server_that_sends_no_ranges(here, web):
    frame = pd.DataFrame({"user_id": range(40_000), "item_id": range(40_000)})
    text = frame.to_csv(index=False)
    write("a.csv", text)
    (here / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.writestr("folder/a.csv", text)
    frame.to_json("a.jsonl", orient="records", lines=True)
    frame.to_parquet("a.parquet", row_group_size=1000)
    frame.to_feather("a.feather")
    expected = [(str(k), str(k)) for k in range(40_000)]
    for name in ("a.csv", "a.csv?download=1", "a.csv.gz", "a.zip", "a.jsonl", "a.parquet", "a.feather"):
        table = open_table(f"{web}/{name}", "interactions")
        rows, _ = read(table, ["user_id", "item_id"])
        assert [tuple(map(str, row)) for row in rows] == expected, name
    write("empty.csv", "")
    assert read(open_table(f"{web}/empty.csv", "x"), [])[0] == []


def test_what_a_web_server_does_not_send_is_refused(here, web):
    with pytest.raises(DataError, match="no file at"):
        open_table(f"{web}/none.csv", "interactions")
    with pytest.raises(DataError, match="web page"):
        open_table(f"{web}/", "interactions")
    write("broken-a.csv", TEXT * 10_000)
    pq.write_table(pa.table({"user_id": range(10_000)}), "broken-a.parquet")
    for name in ("broken-a.csv", "broken-a.parquet"):
        with pytest.raises(DataError, match=name):
            read(open_table(f"{web}/{name}", "interactions"), ["user_id"])
