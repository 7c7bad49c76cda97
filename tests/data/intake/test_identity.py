"""What identifies a table: content in memory, files by name, size and time."""

import hashlib
import http.server
import os
import shutil
import threading
from functools import partial
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

from l3ae_dist.config.data import ColumnNames, IngestConfig
from l3ae_dist.data.ingest import dataset_id
from l3ae_dist.data.intake.column_hash import ColumnHash
from l3ae_dist.data.intake.files import SourceFile
from l3ae_dist.data.intake.identity import authors_identity, identity
from l3ae_dist.data.intake.stamps import stamp_of, stamps

ROWS = 300


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "user_id": rng.integers(0, 40, ROWS),
            "item_id": [f"i{k}" for k in rng.integers(0, 20, ROWS)],
            "weight": np.where(rng.random(ROWS) < 0.2, np.nan, rng.random(ROWS)),
            "when": pd.to_datetime(rng.integers(0, 10**9, ROWS), unit="s"),
        }
    )


def test_the_same_content_has_one_identity_in_any_pieces(frame):
    expected = identity(frame, "log")
    assert isinstance(expected, str)
    assert identity(frame.copy(), "log") == expected
    for count in (1, 2, 7):
        assert identity(dd.from_pandas(frame, npartitions=count, sort=False), "log") == expected
    table = pa.Table.from_pandas(frame)
    assert identity(table, "log") == expected
    assert identity(pa.Table.from_batches(table.to_batches(max_chunksize=13)), "log") == expected
    categories = table.set_column(1, "item_id", table["item_id"].dictionary_encode())
    assert identity(categories, "log") == expected
    columns = ["user_id", "item_id"]
    assert identity(pl.from_pandas(frame[columns]), "log") == identity(frame[columns], "log")


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.iloc[::-1],
        lambda f: f.iloc[:-1],
        lambda f: f.rename(columns={"weight": "w"}),
        lambda f: f.assign(user_id=f.user_id.where(f.index != 7, 99)),
        lambda f: f.assign(item_id=f.item_id.where(f.index != 7, "i1 ")),
        lambda f: f.assign(item_id=f.item_id.where(f.index != 7, None)),
        lambda f: f.assign(item_id=f.item_id.where(f.index != 7, "")),
        lambda f: f.assign(weight=f.weight.fillna(0)),
        lambda f: f.assign(user_id=f.user_id.astype(float)),
        lambda f: f.assign(user_id=f.user_id.astype(str)),
        lambda f: f.drop(columns="when"),
    ],
)
def test_other_content_has_another(frame, change):
    assert identity(change(frame), "log") != identity(frame, "log")


def test_texts_are_told_apart_by_their_bounds():
    names = {
        identity(pa.table({"a": values}), "x")
        for values in (["ab", "c"], ["a", "bc"], ["abc", ""], ["", "abc"])
    }
    assert len(names) == 4


def hashed(chunks):
    column, rows = ColumnHash(), 0
    for chunk in chunks:
        column.add(chunk, rows)
        rows += len(chunk)
    return column.digest()


VALUES = {
    "lists": pa.array([[1, 2], None, [], [3], [None]] * 5),
    "large lists": pa.array([["a", "b"], None, [], ["c"]] * 5, pa.large_list(pa.string())),
    "fixed lists": pa.array([[1.0, 2.0], [3.0, 4.0]] * 5, pa.list_(pa.float32(), 2)),
    "structs": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}] * 5),
    "booleans": pa.array([True, None, False] * 7),
    "texts": pa.array(["a", None, "", "bc"] * 5),
    "views": pa.array(["a", None, "", "long enough for a buffer"] * 5, pa.string_view()),
    "bytes": pa.array([b"a", None, b"\xff"] * 5),
    "fixed bytes": pa.array([b"abc", None, b"def"] * 5, pa.binary(3)),
    "decimals": pa.array([1, None, 3] * 5, pa.decimal128(10, 2)),
    "dates": pa.array([1, None, 3] * 5, pa.date32()),
    "maps": pa.array([[("a", 1)], None, []] * 5, pa.map_(pa.string(), pa.int64())),
    "nulls": pa.nulls(20),
    "halves": pa.array(np.arange(20, dtype=np.float16)),
    "runs": pa.RunEndEncodedArray.from_arrays([3, 20], [1, 2]),
}


@pytest.mark.parametrize("name", VALUES)
def test_chunks_and_slices_of_every_type_do_not_count(name):
    values = VALUES[name]
    whole = hashed([values])
    padded = pa.concat_arrays([values.slice(0, 3), values]).slice(3)
    assert hashed([padded]) == whole
    for size in (1, 2, 7):
        assert hashed([values.slice(start, size) for start in range(0, len(values), size)]) == whole
    assert hashed([values, values.slice(0, 0)]) == whole
    if name != "nulls":
        assert hashed([values.slice(1)]) != whole
        changed = pa.concat_arrays([values.slice(1), values.slice(0, 1)])
        assert hashed([changed]) != whole


def test_columns_that_cannot_be_used_do_not_stop_it(frame):
    odd = frame.assign(z=np.ones(ROWS) * 1j)
    assert identity(odd, "log") == identity(frame, "log")
    twice = pd.concat([frame, frame[["when"]]], axis=1)
    assert identity(twice, "log") == identity(frame.drop(columns="when"), "log")


def test_matrices_and_lists():
    matrix = sparse.random(20, 10, 0.3, random_state=0, format="csr")
    assert identity(matrix, "log") == identity(matrix.copy(), "log")
    weighted = ColumnNames(values=("weight",))
    assert identity(matrix, "log", weighted) != identity(matrix * 2, "log", weighted)
    assert identity([(1, 2), (3, 4)], "log") == identity([(1, 2), (3, 4)], "log")
    assert identity([(1, 2), (3, 4)], "log") != identity([(1, 2), (3, 5)], "log")
    assert identity(None, "items") is None


def test_files_are_identified_by_name_size_and_time(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id,item_id\n1,2\n")
    status = os.stat(path)
    assert identity(str(path), "log") == [[str(path), status.st_size, str(status.st_mtime)]]
    assert identity(tmp_path, "log") == identity(str(tmp_path / "*.csv"), "log") == identity([path], "log")
    os.utime(path, (1, 1))
    assert identity(path, "log") != [[str(path), status.st_size, str(status.st_mtime)]]
    (tmp_path / "b.csv").write_text("")
    assert len(identity(tmp_path, "log")) == 2


def test_a_link_is_identified_by_the_file_it_leads_to(tmp_path):
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "a.csv", tmp_path / "link.csv"
    real.write_text("user_id\n1\n")
    os.symlink(real, link)
    before = identity(link, "log")
    os.utime(real, (5, 5))
    assert identity(link, "log") != before


def test_the_folder_of_pickles(tmp_path):
    (tmp_path / "trn_mat.pkl").write_bytes(b"abc")
    (tmp_path / "more.txt").write_text("x")
    digest = hashlib.blake2b(b"abc", digest_size=16).hexdigest()
    assert authors_identity(tmp_path) == [["trn_mat.pkl", 3, digest]]


def test_folders_of_pickles_are_told_apart_by_their_content(tmp_path):
    for name, content in (("a", b"abc"), ("b", b"abd"), ("c", b"abc")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trn_mat.pkl").write_bytes(content)
        os.utime(tmp_path / name / "trn_mat.pkl", (7, 7))
    a, b, c = (dataset_id(str(tmp_path / name), None, IngestConfig()) for name in "abc")
    assert a == c != b


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_rewritten_archive_holds_other_data(tmp_path, kind):
    def rewrite(text, time):
        (tmp_path / "a.csv").write_text(text)
        os.utime(tmp_path / "a.csv", (10**9, 10**9))
        path = Path(shutil.make_archive(str(tmp_path / "x"), kind, tmp_path, "a.csv"))
        os.utime(path, (time, time))
        urls = (f"{kind}://a.csv::{path}", f"{kind}://*.csv::{path.as_uri()}", f"{kind}://::{path}")
        return [identity(url, "log") for url in urls]

    first = rewrite("user_id,item_id\n1,2\n", 5)
    assert first == rewrite("user_id,item_id\n1,2\n", 5)
    for one, other in zip(first, rewrite("user_id,item_id\n1,3\n", 9), strict=True):
        assert one != other
    if kind == "zip":  # the checksum alone tells
        for one, other in zip(first, rewrite("user_id,item_id\n1,3\n", 5), strict=True):
            assert one != other


class Handler(http.server.SimpleHTTPRequestHandler):
    """Tells the time of the last change, or not so much."""

    tells = True

    def log_message(self, *_args):
        pass

    def send_header(self, keyword, value):
        if self.tells or keyword != "Last-Modified":
            super().send_header(keyword, value)


@pytest.mark.parametrize("tells", [True, False])
def test_a_file_of_a_web_server_is_identified_by_its_time_or_else_its_content(tmp_path, tells):
    handler = type("Telling", (Handler,), {"tells": tells})
    path = tmp_path / "a.csv"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path)))
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            names = []
            for item, time in ((2, 10**9), (2, 10**9), (3, 10**9 + 60)):
                path.write_text(f"user_id,item_id\n1,{item}\n")
                os.utime(path, (time, time))
                names.append(identity(f"http://127.0.0.1:{server.server_port}/a.csv", "log"))
        finally:
            server.shutdown()
            thread.join()
    assert names[0] == names[1] != names[2]


def test_a_file_of_which_nothing_is_told_is_identified_by_its_content(tmp_path):
    path = tmp_path / "a.csv"
    found = []
    for text in ("1,2", "1,2", "1,3"):
        path.write_text(text)
        found.append(stamps([SourceFile(str(path), 3, "")]))
    assert found[0] == found[1] != found[2]
    for tag in ("Last-Modified", "CRC", "date_time", "blob_id", "modify"):
        assert stamp_of({"name": "x", "size": 3, "type": "file", tag: 7}) == "7"
    assert stamp_of({"name": "x", "size": 3, "mimetype": "text/csv"}) == ""
