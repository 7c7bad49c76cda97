"""Text of any encoding and compression becomes plain UTF-8, or is refused with the reason."""

import codecs
import gzip
import io
import os
import shutil
import tempfile
import zipfile
from types import SimpleNamespace

import fsspec
import pytest
from text_tables import COMPRESSED, assert_refused, rows_of, table_of, write, zipped

from l3ae_dist.data.intake import prepare
from l3ae_dist.data.intake.encodings import Encoding, in_utf8

TEXT = "user_id,item_id,title\nä1,7,Amélie\nu2,8,naïve\n"
ROWS = [("ä1", "7", "Amélie"), ("u2", "8", "naïve")]


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory, monkeypatch):
    """A folder of its own for scratch files, in which none is left."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert os.listdir(folder) == []


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_compressed_text_is_read(tmp_path, suffix):
    path = write(tmp_path / f"log.csv{suffix}", COMPRESSED[suffix](TEXT.encode()))
    assert rows_of(path) == ROWS


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
def test_compression_is_told_by_content_and_not_by_name(tmp_path, suffix):
    assert rows_of(write(tmp_path / "log.csv", COMPRESSED[suffix](TEXT.encode()))) == ROWS
    assert rows_of(write(tmp_path / f"plain.csv{suffix}", TEXT)) == ROWS


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
def test_several_streams_in_one_file_are_read_to_the_end(tmp_path, suffix):
    lines = TEXT.encode().splitlines(keepends=True)
    path = write(tmp_path / f"log.csv{suffix}", b"".join(map(COMPRESSED[suffix], lines)))
    assert rows_of(path) == ROWS


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst", ".zip"])
def test_a_truncated_archive_is_refused(tmp_path, suffix):
    whole = COMPRESSED[suffix](b"user_id,item_id\n" + os.urandom(3000).hex().encode() + b",1\n" * 500)
    assert_refused(write(tmp_path / f"log.csv{suffix}", whole[: len(whole) * 2 // 3]), "log.csv")
    assert_refused(write(tmp_path / f"end.csv{suffix}", whole[:-3]), "end.csv")


def test_bytes_after_the_end_of_an_archive_are_refused(tmp_path):
    for suffix in (".gz", ".bz2", ".zst"):
        data = COMPRESSED[suffix](TEXT.encode()) + b"more"
        assert_refused(write(tmp_path / f"log.csv{suffix}", data), "no whole")


def test_a_zip_is_read_where_it_holds_one_file(tmp_path):
    hidden = {"__MACOSX/._log.csv": b"x", "folder/.DS_Store": b"x"}
    assert rows_of(write(tmp_path / "a.zip", zipped(TEXT, "folder/log.csv", **hidden))) == ROWS
    assert rows_of(write(tmp_path / "b.zip", zipped("1::7::5::9\n", "ratings.dat"))) == [("1", "7", "5", "9")]
    assert_refused(
        write(tmp_path / "c.zip", zipped(TEXT, "a.csv", **{"b.csv": TEXT})), "2 files", "a.csv", "b.csv"
    )
    assert_refused(write(tmp_path / "d.zip", zipped(b"", "__MACOSX/a.csv")), "0 files")


def test_an_encrypted_zip_is_refused(tmp_path):
    data = bytearray(zipped(TEXT))
    directory = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[directory + 8] |= 1
    assert_refused(write(tmp_path / "log.zip", bytes(data)), "encrypted")


@pytest.mark.parametrize(
    ("codec", "mark"),
    [
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("utf-32-le", codecs.BOM_UTF32_LE),
        ("utf-32-be", codecs.BOM_UTF32_BE),
        ("utf-16-le", b""),
        ("utf-16-be", b""),
        ("utf-32-le", b""),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_unicode_is_read_with_and_without_its_mark(tmp_path, codec, mark, suffix):
    path = write(tmp_path / f"log.csv{suffix}", COMPRESSED[suffix](mark + TEXT.encode(codec)))
    assert rows_of(path) == ROWS
    assert rows_of(path, encoding=codec) == ROWS
    assert table_of(path)[0].columns == ("user_id", "item_id", "title")
    assert table_of(path)[0].notes == ()


@pytest.mark.parametrize("suffix", ["", ".zst"])
def test_eight_bits_are_windows_1252_and_a_note_says_so(tmp_path, suffix):
    text = "user_id,title\nu1,Amélie – €\n"
    path = write(tmp_path / f"log.csv{suffix}", COMPRESSED[suffix](text.encode("cp1252")))
    table, _ = table_of(path)
    assert rows_of(path) == [("u1", "Amélie – €")]
    assert len(table.notes) == 1
    for word in ("log.csv", "line 2", "Windows-1252", "encoding"):
        assert word in table.notes[0]


def test_bytes_that_windows_1252_lacks_make_it_latin_1(tmp_path):
    path = write(tmp_path / "log.csv", b"user_id,title\nu1,\xe9\x81\n")
    assert rows_of(path) == [("u1", "é\x81")]
    assert "Latin-1" in table_of(path)[0].notes[0]


def test_two_encodings_in_one_file_are_refused_by_line(tmp_path):
    data = b"user_id,title\nu1,\xc3\xa9\nu2,\xe9\n"
    assert_refused(write(tmp_path / "log.csv", data), "log.csv", "line 3", "encoding")
    assert rows_of(tmp_path / "log.csv", encoding="latin-1") == [("u1", "Ã©"), ("u2", "é")]


def test_the_encoding_that_is_named_wins_and_is_checked(tmp_path):
    path = write(tmp_path / "log.csv", "user_id,title\nu1,жук\n".encode("cp1251"))
    assert rows_of(path, encoding="cp1251") == [("u1", "жук")]
    assert table_of(path, encoding="cp1251")[0].notes == ()
    assert_refused(path, "line 2", "ascii", encoding="ascii")
    assert_refused(write(tmp_path / "odd.csv", "a,b\nc,d\n".encode("utf-16-le")[:-1]), "odd.csv", "utf-16-le")
    for wrong in ("utf-99", "base64", "x" * 1000, "zip"):
        assert_refused(path, "encoding", "no encoding of text", encoding=wrong)


def test_an_encoding_that_fails_after_the_head_is_refused_by_line(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "HEAD", 64)
    data = b"user_id,title\n" + b"u1,a\n" * 2000 + b"u2,\xe9\n"
    path = write(tmp_path / "log.csv.gz", gzip.compress(data))
    assert_refused(path, "log.csv.gz", "line 2002", "encoding")
    assert rows_of(path, encoding="cp1252")[-1] == ("u2", "é")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_characters_are_decoded_across_pieces(size):
    text = "ä€😀\r\nx" * 20
    for codec in ("utf-8", "utf-16-le", "utf-32-be", "cp1252"):
        kept = text.replace("😀", "") if codec == "cp1252" else text
        data = kept.encode(codec)
        pieces = (data[i : i + size] for i in range(0, len(data), size))
        assert b"".join(in_utf8("log", pieces, Encoding(codec))) == kept.encode()


def test_a_full_disk_is_refused_before_it_is_full(tmp_path, monkeypatch):
    path = write(tmp_path / "log.csv.gz", gzip.compress(TEXT.encode() * 1000))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    assert_refused(path, "log.csv.gz", "no more space", "TMPDIR")


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_remote_text_is_read(suffix):
    url = f"memory://intake-prepare/log.csv{suffix}"
    with fsspec.open(url, "wb") as file:
        file.write(COMPRESSED[suffix](TEXT.encode()))
    try:
        assert rows_of(url) == ROWS
    finally:
        fsspec.filesystem("memory").rm("/intake-prepare", recursive=True)


def test_a_file_that_changes_between_opening_and_reading_is_refused(tmp_path):
    path = write(tmp_path / "log.csv", TEXT)
    _, (part,) = table_of(path)
    write(path, TEXT + "u3,9,x\n")
    os.utime(path, (1, 1))
    with pytest.raises(ValueError, match="changed while"):
        list(part.batches(["user_id"]))
    path.unlink()
    with pytest.raises(ValueError, match="gone"):
        list(part.batches(["user_id"]))


def test_a_zip_of_a_method_that_is_not_known_is_refused(tmp_path):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("log.csv", TEXT)
    data = bytearray(target.getvalue())
    data[8], data[data.index(b"PK\x01\x02") + 10] = 99, 99
    assert_refused(write(tmp_path / "log.zip", bytes(data)), "log.zip")


@pytest.mark.parametrize("codec", ["utf-16", "utf-32", "utf-8-sig", "UTF8", "latin1"])
def test_names_of_encodings_are_those_of_python(tmp_path, codec):
    assert rows_of(write(tmp_path / "log.csv", TEXT.encode(codec)), encoding=codec) == ROWS


@pytest.mark.parametrize("inner", [".gz", ".zst", ".zip"])
@pytest.mark.parametrize("outer", [".gz", ".zip"])
def test_what_is_compressed_twice_is_said_so(tmp_path, inner, outer):
    data = COMPRESSED[outer](COMPRESSED[inner](b"user_id,item_id\n1,2\n"))
    assert_refused(write(tmp_path / f"log.csv{outer}", data), "compressed twice", "unpack")
