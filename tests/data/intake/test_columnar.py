"""Parquet and Arrow files: parts, columns, and damage."""

import datetime
import os
import pickle
import tracemalloc

import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from l3ae_dist.config.data import TextOptions
from l3ae_dist.data.intake import columnar
from l3ae_dist.data.intake.open_table import open_table
from l3ae_dist.data.intake.parts import Form, form_of
from l3ae_dist.errors import DataError

ROWS = 5000


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "user_id": rng.integers(0, 99, ROWS),
            "item_id": [f"i{k}" for k in rng.integers(0, 50, ROWS)],
            "tags": [["a", "b"][: k % 3] for k in range(ROWS)],
            "when": pa.array(rng.integers(0, 2**40, ROWS), pa.timestamp("us")),
            "maybe": [None if k % 7 == 0 else k / 2 for k in range(ROWS)],
        }
    )


def stream(table, path, **options):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema, **options) as writer:
        writer.write_table(table, max_chunksize=700)


def arrow_file(table, path, **options):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, **options) as writer:
        writer.write_table(table, max_chunksize=700)


WRITERS = {
    "one.parquet": pq.write_table,
    "groups.pq": lambda table, path: pq.write_table(table, path, row_group_size=700),
    "zstd.parquet": lambda table, path: pq.write_table(table, path, compression="zstd", version="1.0"),
    "file.arrow": arrow_file,
    "stream.ipc": stream,
    "stream.arrow": stream,
    "lz4.feather": lambda table, path: pyarrow.feather.write_feather(table, path, compression="lz4"),
    "plain.feather": lambda table, path: pyarrow.feather.write_feather(
        table, path, compression="uncompressed", chunksize=700
    ),
}


def rows_of(table, columns):
    """All rows of a table, read part by part."""
    batches = [batch for part in table.parts for batch in part.batches(columns)]
    assert all(batch.schema.names == list(columns) for batch in batches)
    assert all(form_of(field) is Form.TYPED for batch in batches for field in batch.schema)
    return pa.Table.from_batches(batches).to_pylist()


@pytest.mark.parametrize("name", WRITERS)
def test_every_row_is_read_in_order_and_wanted_columns_alone(tmp_path, table, name):
    WRITERS[name](table, tmp_path / name)
    opened = open_table(tmp_path / name, "interactions")
    assert opened.columns == tuple(table.column_names)
    assert (opened.shared, opened.files, opened.notes) == (True, 1, ())
    for columns in (table.column_names, ["when", "user_id"], ["item_id"], ["tags", "maybe"]):
        assert rows_of(opened, columns) == table.select(columns).to_pylist()
    again = pickle.loads(pickle.dumps(opened))
    assert rows_of(again, ["item_id"]) == table.select(["item_id"]).to_pylist()


@pytest.mark.parametrize("name", WRITERS)
def test_remote_files_are_read(table, name, tmp_path, s3_environment, monkeypatch):
    for key, value in s3_environment.items():
        monkeypatch.setenv(key, value)
    WRITERS[name](table, tmp_path / name)
    from l3ae_dist.data.intake.files import filesystem

    for url in (f"memory://{tmp_path.name}/{name}", f"s3://bucket/{tmp_path.name}/{name}"):
        fs, path = filesystem(url)
        fs.pipe_file(path, (tmp_path / name).read_bytes())
        assert (
            rows_of(open_table(url, "interactions"), ["tags", "user_id"])
            == table.select(["tags", "user_id"]).to_pylist()
        )
    fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize("name", ["groups.pq", "file.arrow"])
def test_large_files_are_several_parts(tmp_path, table, name, monkeypatch):
    WRITERS[name](table, tmp_path / name)
    whole = open_table(tmp_path / name, "interactions")
    assert len(whole.parts) == 1
    monkeypatch.setattr(columnar, "_PART_BYTES", os.path.getsize(tmp_path / name) // 3)
    opened = open_table(tmp_path / name, "interactions")
    assert len(opened.parts) >= 3
    assert rows_of(opened, table.column_names) == table.to_pylist()
    if name == "groups.pq":
        assert [part.rows for part in whole.parts] == [ROWS]
        assert sum(part.rows for part in opened.parts) == ROWS
        monkeypatch.setattr(columnar, "_PART_ROWS", 1)
        small = open_table(tmp_path / name, "interactions")
        assert [part.rows for part in small.parts] == [700] * 6 + [800]
        assert rows_of(small, table.column_names) == table.to_pylist()


def test_batches_are_bounded(tmp_path):
    long = pa.table({"text": ["x" * 4000] * 20_000, "n": range(20_000)})
    pq.write_table(long, tmp_path / "a.parquet", use_dictionary=False)
    arrow_file(long, tmp_path / "a.arrow")
    pyarrow.feather.write_feather(long, tmp_path / "b.feather", compression="uncompressed", chunksize=10**6)
    for name in ("a.parquet", "a.arrow"):
        part = open_table(tmp_path / name, "items").parts[0]
        assert max(batch.nbytes for batch in part.batches(["text"])) <= columnar._BATCH_BYTES * 1.1
    pyarrow.feather.write_feather(
        pa.table({"n": range(400_000)}), tmp_path / "c.feather", compression="uncompressed", chunksize=10**6
    )
    part = open_table(tmp_path / "c.feather", "items").parts[0]
    assert [batch.num_rows for batch in part.batches(["n"])] == [131_072] * 3 + [400_000 - 3 * 131_072]


def test_categorical_columns_nested_names_and_views(tmp_path):
    frame = pd.DataFrame({"user_id": pd.Categorical(["b", "a", "b"]), "a.b": [1, 2, 3], "a": [4, 5, 6]})
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=1)
    pyarrow.feather.write_feather(pa.Table.from_pandas(frame), tmp_path / "a.feather")
    for name in ("a.parquet", "a.feather"):
        opened = open_table(tmp_path / name, "x")
        for columns in (["a", "user_id"], ["a.b"], ["a"], ["a", "a.b"]):
            assert rows_of(opened, columns) == frame[columns].to_dict("records")
    strings = pl.DataFrame(
        {"s": ["x", None, "y" * 100], "c": pl.Series(["p", "q", "p"], dtype=pl.Categorical)}
    )
    strings.write_ipc(tmp_path / "p.arrow", compat_level=pl.CompatLevel.newest())
    strings.write_ipc_stream(tmp_path / "s.arrow")
    strings.write_parquet(tmp_path / "p.parquet")
    for name in ("p.arrow", "s.arrow", "p.parquet"):
        assert rows_of(open_table(tmp_path / name, "x"), ["c", "s"]) == strings.select("c", "s").to_dicts()


def test_far_dates_of_spark_keep_their_year(tmp_path):
    times = [
        datetime.datetime(9999, 12, 31),
        datetime.datetime(1, 1, 1),
        datetime.datetime(2020, 1, 1, 0, 0, 0, 5),
        None,
    ]
    table = pa.table({"t": pa.array(times, pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    assert rows_of(open_table(tmp_path / "a.parquet", "x"), ["t"]) == table.to_pylist()


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "b.feather"])
def test_one_large_group_of_rows_takes_little_memory(tmp_path, name):
    rows = 4_000_000
    table = pa.table({"a": np.random.default_rng(0).integers(0, 2**60, rows), "b": np.arange(rows)})
    if name == "a.parquet":
        pq.write_table(table, tmp_path / name, row_group_size=rows, use_dictionary=False, compression="none")
    else:
        size = rows if name == "a.feather" else 65_536
        pyarrow.feather.write_feather(table, tmp_path / name, compression="uncompressed", chunksize=size)
    del table
    before = pa.total_allocated_bytes()
    most = 0
    for part in open_table(tmp_path / name, "x").parts:
        for batch in part.batches(["b", "a"]):
            assert batch.num_rows
            most = max(most, pa.total_allocated_bytes() - before)
    assert most < 24 << 20


def test_columns_may_differ_among_files(tmp_path):
    pq.write_table(pa.table({"user_id": [1, 2], "item_id": [1, 2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"item_id": ["x"], "user_id": [1.5], "extra": [None]}), tmp_path / "b.parquet")
    opened = open_table(tmp_path, "interactions")
    assert opened.columns == ("user_id", "item_id", "extra")
    assert [part.columns() for part in opened.parts] == [
        ("user_id", "item_id"),
        ("item_id", "user_id", "extra"),
    ]
    assert [next(part.batches(["user_id"])).to_pydict() for part in opened.parts] == [
        {"user_id": [1, 2]},
        {"user_id": [1.5]},
    ]


@pytest.mark.parametrize("name", WRITERS)
def test_tables_without_rows(tmp_path, table, name):
    WRITERS[name](table.slice(0, 0), tmp_path / name)
    opened = open_table(tmp_path / name, "interactions")
    assert opened.columns == tuple(table.column_names)
    assert sum(batch.num_rows for part in opened.parts for batch in part.batches(["user_id"])) == 0


def sentence(path, columns=("user_id",)):
    """The error that reading some or all columns of a file raises; None for none."""
    try:
        for part in open_table(path, "interactions").parts:
            for batch in part.batches(part.columns() if columns is None else columns):
                batch.validate(full=True)
    except DataError as error:
        return str(error)
    return None


def assert_refused(path):
    text = sentence(path)
    assert text is not None
    assert os.path.basename(path) in text
    assert "\n" not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99, -1, -4, -8])
def test_a_file_that_is_cut_off_is_refused(tmp_path, table, name, keep):
    WRITERS[name](table, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * keep) if keep > 0 else keep])
    assert_refused(str(tmp_path / name))


@pytest.mark.parametrize("name", ["stream.arrow", "file.arrow"])
def test_a_stream_cut_between_two_batches_is_refused(tmp_path, table, name):
    stream(table, tmp_path / "s.arrow")
    data = (tmp_path / "s.arrow").read_bytes()
    starts = [at for at in range(0, len(data), 8) if data[at : at + 4] == b"\xff\xff\xff\xff"]
    for at in starts[2:6]:
        (tmp_path / "cut.arrow").write_bytes(data[:at])
        assert "cut off" in assert_refused(str(tmp_path / "cut.arrow"))


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_files_are_refused_or_read_and_never_crash(tmp_path, table, name):
    """What an independent reader cannot tell from data is data; no damage ends in another error."""
    WRITERS[name](table, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(60):
        spoiled = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 9)):
            spoiled[at] ^= 1 << int(rng.integers(8))
        (tmp_path / f"bad-{name}").write_bytes(spoiled)
        text = sentence(str(tmp_path / f"bad-{name}"), None)
        assert text is None or (f"bad-{name}" in text and len(text) < 400), text


def test_a_page_that_loses_rows_is_refused(tmp_path):
    """A flipped bit in a page's header may end a column early, which the reader takes for the end of all."""
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user_id": [1, 2], "item_id": [3, 4]}), path)
    data, read = path.read_bytes(), 0
    for at in range(4, 80):
        for bit in range(8):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            if sentence(str(path), None) is None:
                rows = [
                    batch.num_rows
                    for part in open_table(path, "log").parts
                    for batch in part.batches(["user_id"])
                ]
                assert sum(rows) == 2, (at, bit)
                read += 1
    assert read > 0


def test_texts_that_are_no_utf8_are_refused(tmp_path):
    bad = pa.array([b"ok", b"\xff\xfe"]).view(pa.string())
    pq.write_table(pa.table({"user_id": bad}), tmp_path / "a.parquet")
    pyarrow.feather.write_feather(pa.table({"user_id": bad}), tmp_path / "a.feather")
    for name in ("a.parquet", "a.feather"):
        assert "UTF8" in assert_refused(str(tmp_path / name))


def test_two_columns_of_one_name_are_refused_where_they_are_wanted(tmp_path):
    twice = pa.table([[1], [2], [3]], names=["user_id", "user_id", "item_id"])
    pyarrow.feather.write_feather(twice, tmp_path / "a.feather", version=2)
    pq.write_table(twice, tmp_path / "a.parquet")
    for name in ("a.feather", "a.parquet"):
        assert "2 columns 'user_id'" in assert_refused(str(tmp_path / name))
        assert rows_of(open_table(tmp_path / name, "x"), ["item_id"]) == [{"item_id": 3}]


def test_the_first_feather_format_is_named(tmp_path):
    path = tmp_path / "old.feather"
    path.write_bytes(b"FEA1" + bytes(40) + b"FEA1")
    assert "write_feather" in assert_refused(str(path))


def test_opening_reads_no_rows(tmp_path):
    size = 2_000_000
    pq.write_table(
        pa.table({"user_id": np.random.default_rng(0).integers(0, 2**60, size)}), tmp_path / "a.parquet"
    )
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    opened = columnar.columnar_parts(open_files(tmp_path), "x", TextOptions())[0]
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert pa.total_allocated_bytes() - before < 1 << 20
    assert opened[0].rows == size


def open_files(path):
    from l3ae_dist.data.intake.locate import locate

    return locate([path]).files
