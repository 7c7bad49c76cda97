"""Which files paths, patterns, folders and URLs stand for."""

import os
import socket
import stat
import time
import zipfile

import fsspec
import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from l3ae_dist.data.intake.files import Format, SourceFile
from l3ae_dist.data.intake.locate import find_files, locate
from l3ae_dist.errors import ConfigError, DataError

TEXT = "user_id,item_id\n1,2\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*paths, text=TEXT):
    for path in paths:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if path.endswith((".parquet", ".pq")):
            pq.write_table(pa.table({"user_id": [1], "item_id": [2]}), path)
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)


def names(source, *, beside=None):
    """The files behind a source, relative to the current folder."""
    found = locate(source if isinstance(source, list) else [source])
    if beside is not None:
        beside.extend(found.notes)
    return [os.path.relpath(file.path) for file in found.files]


def refused(source):
    with pytest.raises(DataError) as found:
        locate(source if isinstance(source, list) else [source])
    text = str(found.value)
    assert "\n" not in text
    assert len(text) < 420
    return text


# ---- patterns and folders


def test_patterns_with_two_stars_match_at_every_depth(here):
    deep = ["t/a/b/c.parquet", "t/a/d.parquet", "t/e.parquet"]
    write(*deep, "u/f.parquet")
    for pattern in (
        "t/**/*.parquet",
        "t/**",
        "t/**/**/*.parquet",
        "t/**.parquet",
        "t/**/*",
        "t",
        "t/",
        "t/*",
    ):
        assert names(pattern) == deep, pattern
    assert names("**/*.parquet") == [*deep, "u/f.parquet"]
    assert names("t/**/b/*.parquet") == ["t/a/b/c.parquet"]
    assert names("t/*/*.parquet") == ["t/a/d.parquet"]
    assert names("t/?.par*") == ["t/e.parquet"]
    assert names("[tu]/[a-e].parquet") == ["t/e.parquet"]
    assert names("[!t]/*.parquet") == ["u/f.parquet"]


def test_a_folder_that_a_pattern_matches_is_read_whole(here):
    write("out/day=1/part-0.parquet", "out/day=2/part-0.parquet", "out/day=2/more/part-1.parquet")
    expected = ["out/day=1/part-0.parquet", "out/day=2/more/part-1.parquet", "out/day=2/part-0.parquet"]
    assert names("out/day=*") == expected
    write("spark.parquet/part-0.parquet", "plain.parquet")
    assert names("*.parquet") == ["plain.parquet", "spark.parquet/part-0.parquet"]


def test_nothing_is_said_to_be_nothing(here):
    os.makedirs("empty")
    assert "no file at" in refused("nowhere.csv")
    assert "no file at" in refused("nowhere/deep/log.csv")
    assert "no file matches" in refused("nowhere/*.csv")
    assert "holds no file that is read" in refused("empty")
    write("only/README.md")
    assert "only/README.md" in refused("only")
    write("log.csv")
    assert "no file at" in refused("log.csv/inner.csv")


@pytest.mark.parametrize("source", ["", " ", TEXT, "a" * 100_000, "a\0b", "x" * 300 + ".csv"])
def test_what_cannot_be_a_path_is_refused_in_a_sentence(here, source):
    refused(source)


def test_files_of_a_folder_are_sorted_and_many_are_found_quickly(here):
    os.makedirs("many")
    for number in range(3000):
        with open(f"many/part-{number}.csv", "w") as file:
            file.write(TEXT)
    started = time.perf_counter()
    found = names("many")
    assert time.perf_counter() - started < 5
    assert found == sorted(f"many/part-{number}.csv" for number in range(3000))


def test_sources_stay_in_the_order_of_a_list(here):
    write("b.csv", "a.csv", "c/d.csv", "c/c.csv")
    assert names(["b.csv", "c", "a.csv"]) == ["b.csv", "c/c.csv", "c/d.csv", "a.csv"]
    assert names(["b.csv", here / "a.csv"]) == ["b.csv", "a.csv"]


def test_a_list_may_mix_formats_and_a_folder_may_not(here):
    write("d/log.parquet", "d/items.csv")
    assert names(["d/log.parquet", "d/items.csv"]) == ["d/log.parquet", "d/items.csv"]
    for source in ("d", "d/*", "**"):
        text = refused(source)
        assert "d/items.csv" in text
        assert "d/log.parquet" in text
    assert names("d/*.csv") == ["d/items.csv"]


def test_endings_count_in_any_case_and_below_a_compression(here):
    write("log.CSV")
    write("packed/a.csv", "packed/b.csv.gz", "packed/c.CSV.GZ")  # no gzip, whatever the names say
    assert names("log.CSV") == ["log.CSV"]
    assert len(names("packed")) == 3
    suffixes = {".csv", ".tsv", ".txt", ".dat", ".data", ".inter", ".item"}
    for suffix in suffixes:
        write(f"x{suffix}")
        file = locate([f"x{suffix}"]).files[0]
        assert (file.format, file.suffix) == (Format.DELIMITED, suffix)
    for suffix in (".jsonl", ".ndjson", ".json"):
        write(f"x{suffix}", text='{"user_id": 1}\n')
        assert locate([f"x{suffix}"]).files[0].format is Format.JSON


# ---- what is no data


def test_names_that_begin_with_a_dot_or_an_underscore_are_no_data(here):
    write(
        "log/log.csv",
        "log/.ipynb_checkpoints/log-checkpoint.csv",
        "log/_temporary/0/part.csv",
        "log/._log.csv",
        "log/_backup.csv",
        "log/__MACOSX/log.csv",
        "log/_SUCCESS",
        "log/.log.csv.crc",
        "log/_part=1/a.csv",
        "log/.part=2/a.csv",
    )
    notes = []
    assert names("log", beside=notes) == ["log/.part=2/a.csv", "log/_part=1/a.csv", "log/log.csv"]
    assert len(notes) == 1
    assert notes[0].startswith("left out 4 file(s): ")
    assert "log-checkpoint.csv" in notes[0]
    again = []
    assert names("log/**/*.csv", beside=again) == names("log/**/*") == names("log/**") == names("log")
    assert "left out 4 file(s)" in again[0]
    assert names("log/**/*.csv") == ["log/.part=2/a.csv", "log/_part=1/a.csv", "log/log.csv"]
    assert names("log/*.csv") == ["log/log.csv"]


def test_marks_of_other_tools_are_left_out_without_a_word(here):
    write(
        "log/part-0.parquet",
        "log/_SUCCESS",
        "log/.part-0.parquet.crc",
        "log/_metadata",
        "log/_common_metadata",
    )
    notes = []
    assert names("log", beside=notes) == ["log/part-0.parquet"]
    assert notes == []


def test_hidden_files_are_read_where_they_are_named(here):
    write(".cache/_log/a.csv", "_b.csv", ".c.csv")
    assert names("_b.csv") == ["_b.csv"]
    assert names(".c.csv") == [".c.csv"]
    assert names(".cache/_log/a.csv") == [".cache/_log/a.csv"]
    assert names(".cache/_log") == names(".cache/_log/*") == [".cache/_log/a.csv"]
    assert names("_*.csv") == ["_b.csv"]
    assert names(".*.csv") == [".c.csv"]
    assert "no file matches" in refused("*.csv")


def test_other_files_of_a_folder_are_named(here):
    write("log/log.csv", "log/README.md", "log/log.csv.bak", "log/model.pkl")
    notes = []
    assert names("log", beside=notes) == ["log/log.csv"]
    assert notes[0].startswith("left out 3 file(s): ")
    assert "README.md" in notes[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("log.xlsx", "Excel"),
        ("log.XLS", "Excel"),
        ("log.pkl", "pickle"),
        ("log.sqlite", "SQLite"),
        ("log.orc", "ORC"),
        ("log.avro", "Avro"),
        ("log.h5", "HDF5"),
        ("log.npy", "NumPy"),
        ("log.tar.gz", "unpack"),
        ("log.csv.xz", "xz"),
        ("log.duckdb", "DuckDB"),
        ("log", r".parquet"),
        ("log.unknown", r".parquet"),
        ("log.unknown.gz", r".parquet"),
    ],
)
def test_formats_that_are_not_read_are_named_with_what_to_do(here, name, said):
    write(name)
    assert said in refused(name)
    if "." in name:
        assert said in refused(f"*{os.path.splitext(name)[1]}")


@pytest.mark.parametrize("name", ["log.xlsx", "log.orc", "log.avro", "log.csv.xz"])
def test_a_folder_with_a_table_that_is_not_read_is_refused(here, name):
    write("d/log.csv", f"d/{name}")
    assert name in refused("d")


# ---- content against names


def test_a_file_is_what_its_content_is(here):
    table = pa.table({"user_id": [1], "item_id": [2]})
    pq.write_table(table, "log.csv")
    assert locate(["log.csv"]).files[0].format is Format.PARQUET
    with pa.OSFile("part-00000", "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert locate(["part-00000"]).files[0].format is Format.ARROW
    write("log.parquet.txt")
    os.rename("log.parquet.txt", "text.parquet")
    assert "begins with 'user_id,item_id" in refused("text.parquet")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"SQLite format 3\0" + b"\0" * 100, "SQLite"),
        (b"\x80\x04\x95\x10\0\0\0", "pickle"),
        (b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
        (b"Obj\x01\x04\x14avro.codec", "Avro"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel"),
        (b"\x93NUMPY\x01\0v\0", "NumPy"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "git lfs pull"),
        (b"\n <!DOCTYPE html><html>", "web page"),
        (b"<?xml version='1.0'?><log/>", "XML"),
        (b"%PDF-1.7\n", "PDF"),
        (b"PARE\x15\0\0\x80", "encrypted"),
    ],
)
def test_content_that_is_no_table_is_named(here, content, said):
    (here / "log.csv").write_bytes(content)
    assert said in refused("log.csv")


def test_a_workbook_is_told_from_a_zip(here):
    with zipfile.ZipFile("log.csv", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    assert "Excel" in refused("log.csv")
    with zipfile.ZipFile("log.zip", "w") as archive:
        archive.writestr("in/log.jsonl", '{"user_id": 1}')
        archive.writestr("__MACOSX/in/._log.csv", "x")
    assert locate(["log.zip"]).files[0].format is Format.JSON


def test_orc_is_told_from_a_header_that_begins_so(here):
    orc.write_table(pa.table({"a": [1]}), "log.csv")
    assert "ORC" in refused("log.csv")
    for header in ("ORCID,item_id\n", "PARENT_ASIN,item_id\n", "PAR1,b\n", "BZh,b\n", "ARROW1,b\n"):
        (here / "head.csv").write_text(header + "1,2\n")
        assert locate(["head.csv"]).files[0].format is Format.DELIMITED


def test_files_without_a_byte_are_noted(here):
    write("log/a.csv", "log/b.csv")
    open("log/c.csv", "w").close()
    open("log/d.csv.gz", "w").close()
    notes = []
    assert len(names("log", beside=notes)) == 4
    assert notes == [
        f"without a byte, and so without rows: 2 file(s): {here}/log/c.csv, {here}/log/d.csv.gz."
    ]


# ---- tables of other systems


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("_delta_log/00000000000000000000.json", "Delta"),
        ("metadata/v1.metadata.json", "Iceberg"),
        (".hoodie/hoodie.properties", "Hudi"),
        ("_versions/1.manifest", "Lance"),
    ],
)
@pytest.mark.parametrize("place", ["", "warehouse/sales/"])
def test_tables_of_other_systems_are_named(here, mark, said, place):
    write(f"t/{place}{mark}", f"t/{place}data/day=1/part.parquet", f"t/{place}part.parquet")
    write("t/other.parquet")
    for source in ("t", "t/**/*.parquet", "t/**", f"t/{place}", f"t/{place}*.parquet"):
        text = refused(source)
        assert said in text
        assert "Parquet" in text
    if said != "Lance":
        assert said in refused(f"t/{place}data/day=1")
        assert said in refused(f"t/{place}data/day=1/*.parquet")
    assert names(f"t/{place}part.parquet") == [f"t/{place}part.parquet"]


def test_a_folder_called_metadata_is_no_iceberg(here):
    write("t/metadata/a.csv", "t/b.csv")
    assert names("t") == ["t/b.csv", "t/metadata/a.csv"]


def test_files_of_the_library_datasets_are_no_data(here):
    for split in ("train", "test"):
        write(f"t/{split}/dataset_info.json", f"t/{split}/state.json")
        write(f"t/{split}/x.parquet")
    assert names("t/train") == ["t/train/x.parquet"]
    write("t/dataset_dict.json")
    assert "test, train" in refused("t")


# ---- links


def test_links_to_files_and_folders_are_followed(here):
    write("real/a.csv", "real/b.csv")
    os.makedirs("log/sub")
    os.symlink("../real/a.csv", "log/x.csv")
    os.symlink("../../real", "log/sub/all")
    notes = []
    assert names("log", beside=notes) == ["log/sub/all/a.csv", "log/sub/all/b.csv"]
    assert notes == [f"read once although more than one path leads there: 1 file(s): {here}/log/x.csv."]
    os.symlink("real", "folder")
    assert names("folder") == ["folder/a.csv", "folder/b.csv"]
    assert names("fold*/**/a.csv") == ["folder/a.csv"]
    assert names("log/x.csv") == ["log/x.csv"]


def test_loops_are_refused(here):
    write("log/a.csv")
    os.makedirs("log/deep/er")
    os.symlink("../..", "log/deep/er/up")
    assert "log/deep/er/up" in refused("log")
    assert "without end" in refused("log/**/*.csv")
    os.symlink("self", "self")
    assert "leads to itself" in refused("self")
    os.unlink("log/deep/er/up")
    os.symlink(".", "log/again")
    assert "log/again" in refused("log")


def test_links_to_nothing_are_named(here):
    write("log/a.csv")
    os.symlink("gone.csv", "log/b.csv")
    assert "gone.csv" in refused("log")
    assert "gone.csv" in refused("log/b.csv")
    assert names("log/a.csv") == ["log/a.csv"]
    os.rename("log/b.csv", "log/.b.csv")
    assert names("log") == ["log/a.csv"]


def test_a_file_counts_once_whatever_the_paths_to_it(here):
    write("a.csv", "d/b.csv")
    os.link("d/b.csv", "d/c.csv")
    for sources in (
        ["a.csv", "a.csv"],
        ["a.csv", here / "a.csv"],
        ["a.csv", "*.csv"],
        ["a.csv", "./d/../a.csv"],
    ):
        notes = []
        assert names(sources, beside=notes) == ["a.csv"]
        assert "read once" in notes[0]
    notes = []
    assert names("d", beside=notes) == ["d/b.csv"]
    assert "d/c.csv" in notes[0]
    assert len(find_files(["d", "d/b.csv"])) == 1


# ---- what would hang or may not be read


def test_pipes_sockets_and_devices_are_refused(here):
    os.mkfifo("pipe.csv")
    assert "is a pipe" in refused("pipe.csv")
    assert "is a pipe" in refused("*.csv")
    assert "is a pipe" in refused(".")
    os.rename("pipe.csv", "pipe")
    write("log.csv")
    assert names(".") == ["log.csv"]
    assert "is a device" in refused("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.csv")
        assert "is a socket" in refused("s.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(here):
    write("log/a.csv", "log/in/b.csv")
    os.chmod("log/a.csv", 0)
    assert "may not be read" in refused("log/a.csv")
    os.chmod("log/a.csv", stat.S_IRUSR)
    os.chmod("log/in", 0)
    try:
        assert "log/in may not be read" in refused("log")
        refused("log/in/b.csv")
    finally:
        os.chmod("log/in", 0o700)


def test_permissions_are_named_where_the_system_refuses(here, monkeypatch):
    write("log/a.csv")

    def refuse(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    assert "may not be read; check its permissions" in refused("log")


# ---- odd names


ODD = [
    "a b.csv",
    "a#1.csv",
    "a%20b.csv",
    "what?.csv",
    "a*b.csv",
    "a[1].csv",
    "[ab].csv",
    "naïve-日本.csv",
    "a'b\".csv",
    "a{1,2}.csv",
    "~a.csv",
    "a::b.csv",
    "a=b.csv",
    "s3:x.csv",
]


@pytest.mark.parametrize("name", ODD)
def test_names_with_odd_characters_are_read(here, name):
    write(f"d/{name}")
    path = here / "d" / name
    for source in (f"d/{name}", path, str(path), f"file://{path}", "d", "d/*.csv"):
        assert names(source) == [f"d/{name}"], source
    if not any(mark in name for mark in "*?["):
        assert names(path.as_uri()) == [f"d/{name}"]


def test_a_name_of_two_lines_is_read_where_it_is_there(here):
    write("two\nlines.csv")
    assert names("two\nlines.csv") == ["two\nlines.csv"]


@pytest.mark.parametrize("folder", ["x[1]", "y*", "z?"])
def test_folders_with_odd_characters_are_read(here, folder):
    write(f"{folder}/a.csv", f"{folder}/b.csv")
    both = [f"{folder}/a.csv", f"{folder}/b.csv"]
    assert names(folder) == names(f"{folder}/*.csv") == both
    assert names(f"{folder}/a.csv") == both[:1]


def test_a_name_that_is_a_pattern_too(here):
    write("a[1].csv", "a1.csv")
    notes = []
    assert names("a[1].csv", beside=notes) == ["a[1].csv"]
    assert "not as a pattern" in notes[0]
    assert names("a[[]1].csv") == ["a[1].csv"]
    write("b*.csv", "b2.csv")
    assert "[*]" in refused("b*.csv")
    assert names("b[*].csv") == ["b*.csv"]


def test_the_home_folder(here, monkeypatch):
    write("home/log/a.csv")
    monkeypatch.setenv("HOME", str(here / "home"))
    assert names("~/log/a.csv") == names("~/log") == names("~/log/*.csv") == ["home/log/a.csv"]


def test_file_urls(here):
    write("log/a b.csv")
    assert names(f"file://{here}/log") == names((here / "log").as_uri()) == ["log/a b.csv"]
    assert names((here / "log" / "a b.csv").as_uri()) == ["log/a b.csv"]
    assert names(f"file://localhost{here}/log/*.csv") == ["log/a b.csv"]


# ---- keys of folders


def test_folders_with_keys_are_columns(here):
    write("log/date=2020-01-01/shop=a%2Fb/x.csv", "log/date=__HIVE_DEFAULT_PARTITION__/y.csv")
    first, second = locate(["log"]).files
    assert dict(first.keys) == {"date": "2020-01-01", "shop": "a/b"}
    assert dict(second.keys) == {"date": ""}
    assert locate(["log/date=2020-01-01"]).files[0].keys == first.keys


# ---- URLs


@pytest.fixture
def memory():
    """The file system in memory, empty before and after."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


def urls(source):
    return [file.path for file in locate(source if isinstance(source, list) else [source]).files]


def fill(fs, root):
    fs.pipe_file(f"{root}/log/a b#1.csv", TEXT.encode())
    fs.pipe_file(f"{root}/log/deep/date=1/c%20.csv", TEXT.encode())
    fs.pipe_file(f"{root}/log/_tmp/d.csv", TEXT.encode())
    fs.pipe_file(f"{root}/log/.e.csv", TEXT.encode())
    fs.pipe_file(f"{root}/log/empty.csv", b"")
    fs.pipe_file(f"{root}/delta/_delta_log/0.json", b"{}")
    fs.pipe_file(f"{root}/delta/a.csv", TEXT.encode())


def check_urls(url):
    every = [f"{url}/log/a b#1.csv", f"{url}/log/deep/date=1/c%20.csv", f"{url}/log/empty.csv"]
    assert urls(f"{url}/log") == urls(f"{url}/log/") == urls(f"{url}/log/**/*.csv") == every
    assert urls(f"{url}/log/*.csv") == [every[0], every[2]]
    assert urls(f"{url}/l*/a*.csv") == urls(every[0]) == every[:1]
    assert urls([every[0], f"{url}/log/*.csv"]) == [every[0], every[2]]
    assert urls(f"{url}/log/_tmp/d.csv") == [f"{url}/log/_tmp/d.csv"]
    found = locate([f"{url}/log"])
    assert found.files[1].keys == (("date", "1"),)
    assert found.files[0].size == len(TEXT)
    assert found.files[0].stamp
    assert any("left out 2 file(s)" in note for note in found.notes)
    assert "Delta" in refused(f"{url}/delta")
    assert "Delta" in refused(f"{url}/delta/*.csv")
    for nothing in (f"{url}/nope.csv", f"{url}/nope/*.csv", f"{url}/log/*.tsv"):
        assert "no file" in refused(nothing)


def test_files_in_memory(memory):
    fill(memory, "/x")
    check_urls("memory://x")


def test_files_on_s3(s3_environment, monkeypatch, tmp_path):
    from l3ae_dist.data.intake.files import filesystem

    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    url = f"s3://bucket/{tmp_path.name}"
    fs, root = filesystem(url)
    fill(fs, root)
    check_urls(url)
    fs.pipe_file(f"{root}/marked/", b"")
    fs.pipe_file(f"{root}/marked/a.csv", TEXT.encode())
    for source in ("marked", "marked/", "marked/*.csv", "mark*", "marked/**"):
        assert urls(f"{url}/{source}") == [f"{url}/marked/a.csv"]
    assert f"{url}/marked/a.csv" in urls("s3://bucket/*/marked/*.csv")
    refused("s3://no-such-bucket/log.csv")
    refused("s3://no-such-bucket/log/*.csv")


@pytest.mark.parametrize(
    "url", ["s3://bucket/x.csv?X-Amz-Signature=topsecret", "https://me:topsecret@host/log.csv"]
)
def test_urls_with_secrets_are_refused_without_repeating_them(url):
    with pytest.raises(ConfigError, match="credentials") as found:
        find_files([url])
    assert "topsecret" not in str(found.value)


def test_unknown_schemes_are_refused():
    refused("nosuch://bucket/log.csv")
    refused("zip://log.csv::no-such-file.zip")
    refused("ftp://127.0.0.1:9/log.csv")
    refused("http://127.0.0.1:9/log.csv")


@pytest.mark.parametrize(
    "url",
    [
        "zip://a.csv::https://me:topsecret@host/x.zip",
        "simplecache::s3://me:topsecret@host/x.csv",
        "zip://a.csv::https://host/x.zip?token=topsecret",
    ],
)
def test_secrets_in_chained_urls_are_refused_and_never_shown(url):
    with pytest.raises(ConfigError) as found:
        locate([url])
    assert "topsecret" not in str(found.value)
    assert "topsecret" not in SourceFile(url, 1, "").name


def test_folders_above_what_is_named_are_no_columns(here):
    os.makedirs("rating=5/d/shop=a")
    for path in ("rating=5/d/l.csv", "rating=5/d/shop=a/l.csv"):
        with open(path, "w") as file:
            file.write("user_id,item_id\n1,2\n")
    assert [file.keys for file in locate(["rating=5/d"]).files] == [(), (("shop", "a"),)]
    assert [file.keys for file in locate(["rating=5/d/**/l.csv"]).files] == [(), (("shop", "a"),)]
    assert locate(["rating=5/d/l.csv"]).files[0].keys == ()
