"""Damaged files that fuzzing found to be misread; each is read right or refused by line."""

import pyarrow as pa
import pytest
from intake_samples import is_short, read, rows
from table_writers import compressed, write_stream

from l3ae_dist.config.data import TextOptions
from l3ae_dist.data.intake.open_table import open_table
from l3ae_dist.errors import DataError


def columns(path, **options):
    """Every column of a file as lists."""
    found = {}
    table = open_table(str(path), "interactions", TextOptions(**options))
    for part in table.parts:
        for batch in part.batches(part.columns()):
            for name, values in batch.to_pydict().items():
                found.setdefault(name, []).extend(values)
    return found


@pytest.mark.parametrize("options", [{}, {"encoding": "utf-8"}])
@pytest.mark.parametrize("row", [b"n\xf5ll,8", b"\xff\xff\xff", b"\xc3,1", b"a,\xc3"])
def test_what_is_no_utf8_after_its_mark_is_refused_by_line(tmp_path, row, options):
    path = tmp_path / "log.csv"
    path.write_bytes(b"\xef\xbb\xbfuser_id,item_id\na,2\n" + row)
    with pytest.raises(DataError) as error:
        columns(path, **options)
    assert is_short(error, r"log\.csv", "line 3", "utf-8")


OBJECTS = '{"user_id": "a", "item_id": 1}', '{"user_id": "b", "item_id": 2}'


@pytest.mark.parametrize("end", [",", ", \n", ",\n" + " " * 200])
def test_an_array_that_is_cut_off_between_two_objects_is_refused_by_line(tmp_path, end):
    path = tmp_path / "log.json"
    path.write_text("[" + ",\n".join(OBJECTS) + end)
    with pytest.raises(DataError) as error:
        columns(path)
    assert is_short(error, r"log\.json", r"line [23]")


def test_a_damaged_json_file_is_named_though_the_reader_stumbles_over_its_own_message(tmp_path):
    path = tmp_path / "log.json"
    path.write_bytes(
        b"\xef\xbb\xbf\xef\xbb\xbf[\n" + '{"user_id": "é", "item_id": 1}\n {"日本": 1}\n]'.encode() * 3
    )
    with pytest.raises(DataError) as error:
        columns(path)
    assert is_short(error, r"log\.json", "line")


@pytest.mark.parametrize(
    ("at", "value"), [(6, 99), (8, 1), (10, 99), (16, 0)], ids=["version", "encrypted", "method", "checksum"]
)
@pytest.mark.parametrize("name", ["log.csv.zip", "log.zip"])
def test_a_zip_with_a_damaged_directory_is_named(tmp_path, name, at, value):
    data = bytearray(compressed(b"user_id,item_id\na,1\n", ".zip"))
    data[data.index(b"PK\x01\x02") + at] = value
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as error:
        columns(tmp_path / name)
    assert is_short(error, r"log\.(csv\.)?zip")


def test_tens_of_thousands_of_tiny_batches_are_read_in_linear_time(tmp_path):
    """A sum over all of them after each one took minutes."""
    users = pa.array([f"u{i % 7}" for i in range(60_000)])
    items = pa.array([i % 5 + 1 for i in range(60_000)])
    table = pa.table({"user_id": users, "item_id": items})
    batches = table.to_batches(max_chunksize=3)
    write_stream(pa.Table.from_batches(batches), tmp_path / "log.arrow")
    assert rows(read(tmp_path / "w", str(tmp_path / "log.arrow"))) == {
        f"u{i}": dict.fromkeys(range(1, 6), 1.0) for i in range(7)
    }
