"""Every format of a file that people have gives the same fit as the rows written out by hand."""

import bz2
import gzip
import json
import zipfile

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from intake_samples import FIVE, assert_fitted_on, command, fit, is_short, read, rows, write_config
from table_writers import compressed

from l3ae_dist.errors import DataError

# Users beyond ASCII, with a quote, a zero in front and white space; no separator of any of the formats.
LOG = pd.DataFrame(
    {
        "user_id": ["007", "Jürgen", "Jürgen", "a b", "007", "é", "7"],
        "item_id": [1, 2, 3, 1, 2, 5, 5],
        "w": [1.0, 2.5, 3.0, 1.0, 4.0, 1.0, 2.0],
    }
)
ROWS = {
    "007": {1: 1.0, 2: 4.0},
    "7": {5: 2.0},
    "Jürgen": {2: 2.5, 3: 3.0},
    "a b": {1: 1.0},
    "é": {5: 1.0},
}


def table(separator=",", end="\n", header=None, last=True):
    """The log as a text file."""
    header = ["user_id", "item_id", "w"] if header is None else header
    lines = ([separator.join(header)] if header else []) + [
        separator.join(map(str, row)) for row in LOG.itertuples(index=False)
    ]
    return end.join(lines) + (end if last else "")


def json_lines(end="\n", ascii_only=False):
    return end.join(json.dumps(row, ensure_ascii=ascii_only) for row in LOG.to_dict("records")) + end


TEXT_FILES = {
    "log.csv": table(),
    "no end.csv": table(last=False),
    "crlf.csv": table(end="\r\n"),
    "mac.csv": table(end="\r"),
    "log.tsv": table("\t"),
    "semicolons.csv": table(";"),
    "bars.csv": table("|"),
    "tabs.csv": table("\t"),
    "tabs.txt": table("\t"),
    "log.txt": table(),
    "colons.dat": table("::"),
    "log.inter": table("\t", header=["user_id:token", "item_id:token", "w:float"]),
    "log.jsonl": json_lines(),
    "log.ndjson": json_lines(ascii_only=True),
    "crlf.jsonl": json_lines("\r\n"),
    "array.json": json.dumps(LOG.to_dict("records")),
    "indented.json": json.dumps(LOG.to_dict("records"), indent=2, ensure_ascii=False),
    "lines.json": json_lines(),
}


@pytest.mark.parametrize("name", list(TEXT_FILES))
def test_a_text_file_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(TEXT_FILES[name].encode())
    assert_fitted_on(fit(tmp_path / "w", str(tmp_path / name), weight_column="w"), ROWS)


@pytest.mark.parametrize(
    "name", ["log.csv", "log.tsv", "semicolons.csv", "log.jsonl", "array.json", "log.inter"]
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_text_file_in_another_unicode_is_read(tmp_path, name, encoding):
    mark = "\ufeff" if encoding.startswith("utf-16-") else ""
    (tmp_path / name).write_bytes((mark + TEXT_FILES[name]).encode(encoding))
    assert rows(read(tmp_path / "w", str(tmp_path / name), weight_column="w")) == ROWS


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "semicolons.csv", "log.inter", "crlf.csv"])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_a_text_file_in_an_old_encoding_is_read(tmp_path, name, encoding):
    (tmp_path / name).write_bytes(TEXT_FILES[name].encode(encoding))
    assert rows(read(tmp_path / "w", str(tmp_path / name), weight_column="w")) == ROWS
    found = read(tmp_path / "v", str(tmp_path / name), weight_column="w", encoding=encoding)
    assert rows(found) == ROWS


def test_an_encoding_that_cannot_be_guessed_is_given(tmp_path):
    text = "user_id,item_id\nМария,1\nŁukasz,2\n"
    for encoding in ("cp1251", "koi8-r", "utf-16-le"):
        given = text.replace("Łukasz", "Иван") if encoding != "utf-16-le" else text
        (tmp_path / "log.csv").write_bytes(given.encode(encoding))
        found = rows(read(tmp_path / encoding, str(tmp_path / "log.csv"), encoding=encoding))
        assert found == {line.split(",")[0]: {i: 1.0} for i, line in enumerate(given.split("\n")[1:3], 1)}


def test_an_encoding_that_does_not_exist_or_does_not_fit_is_named(tmp_path):
    (tmp_path / "log.csv").write_bytes(table().encode("latin-1"))
    for encoding, word in (("utf-8", "utf-8"), ("klingon", "klingon")):
        with pytest.raises(ValueError, match=word) as error:
            read(tmp_path / "w", str(tmp_path / "log.csv"), weight_column="w", encoding=encoding)
        assert is_short(error)


COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zip": "zip", ".zst": "zstd"}


def compress(data, path, suffix):
    """Write compressed data; what a zip holds has the name without the ending."""
    path.write_bytes(compressed(data, suffix, path.name.removesuffix(suffix)))


@pytest.mark.parametrize("suffix", list(COMPRESSIONS))
@pytest.mark.parametrize(
    "name", ["log.csv", "log.tsv", "log.inter", "colons.dat", "log.jsonl", "array.json", "log.txt"]
)
def test_a_compressed_text_file_is_read(tmp_path, name, suffix):
    path = tmp_path / f"{name}{suffix}"
    compress(TEXT_FILES[name].encode(), path, suffix)
    assert rows(read(tmp_path / "w", str(path), weight_column="w")) == ROWS


@pytest.mark.parametrize("suffix", list(COMPRESSIONS))
def test_a_compressed_file_in_another_encoding_is_read(tmp_path, suffix):
    for encoding in ("latin-1", "utf-16"):
        path = tmp_path / f"{encoding}.csv{suffix}"
        compress(table(";", "\r\n").encode(encoding), path, suffix)
        assert rows(read(tmp_path / f"w{encoding}", str(path), weight_column="w")) == ROWS


def test_gzip_and_zstd_of_several_members_are_read_to_the_end(tmp_path):
    lines = table().encode().splitlines(keepends=True)
    (tmp_path / "log.csv.gz").write_bytes(b"".join(map(gzip.compress, lines)))
    assert rows(read(tmp_path / "w", str(tmp_path / "log.csv.gz"), weight_column="w")) == ROWS
    (tmp_path / "log.csv.zst").write_bytes(b"".join(compressed(line, ".zst") for line in lines))
    assert rows(read(tmp_path / "v", str(tmp_path / "log.csv.zst"), weight_column="w")) == ROWS
    (tmp_path / "log.csv.bz2").write_bytes(b"".join(map(bz2.compress, lines)))
    assert rows(read(tmp_path / "u", str(tmp_path / "log.csv.bz2"), weight_column="w")) == ROWS


def test_a_zip_of_several_tables_is_read_whole_or_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        archive.writestr("a.csv", "user_id,item_id\na,1\n")
        archive.writestr("b.csv", "user_id,item_id\nb,2\n")
        archive.writestr("__MACOSX/._a.csv", b"\x00\x05\x16\x07")
    try:
        found = rows(read(tmp_path / "w", str(tmp_path / "log.zip")))
    except DataError as error:
        found = str(error)
    if isinstance(found, str):
        assert is_short(found, r"log\.zip", "2 files|two files|several|more than one|2 members")
    else:
        assert found == {"a": {1: 1.0}, "b": {2: 1.0}}


def test_compression_is_given_where_the_name_tells_nothing(tmp_path):
    for suffix, name in COMPRESSIONS.items():
        path = tmp_path / f"{name}.csv"
        compress(table().encode(), path, suffix)
        found = read(tmp_path / f"w{name}", str(path), weight_column="w", compression=name)
        assert rows(found) == ROWS
    (tmp_path / "plain.csv.gz").write_text(table())
    found = read(tmp_path / "wplain", str(tmp_path / "plain.csv.gz"), weight_column="w", compression="none")
    assert rows(found) == ROWS


@pytest.mark.parametrize("suffix", list(COMPRESSIONS))
@pytest.mark.parametrize("damage", ["cut", "plain"])
def test_a_damaged_compressed_file_is_named(tmp_path, suffix, damage):
    path = tmp_path / f"log.csv{suffix}"
    long = table() + "".join(f"u{i * 7919 % 1000},{i % 5 + 1},1\n" for i in range(20_000))
    compress(long.encode(), path, suffix)
    path.write_bytes(table().encode() if damage == "plain" else path.read_bytes()[: path.stat().st_size // 2])
    try:
        found = rows(read(tmp_path / "w", str(path), weight_column="w"))
    except DataError as error:
        found = str(error)
    if isinstance(found, str):
        assert is_short(found, r"log\.csv")
    else:
        assert damage == "plain"
        assert found == ROWS


def test_separator_and_quoting_are_given_where_guessing_is_wrong(tmp_path):
    lines = [f"{user}~{item}~{w}" for user, item, w in LOG.itertuples(index=False)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id~item_id~w", *lines]))
    found = read(tmp_path / "a", str(tmp_path / "log.csv"), weight_column="w", separator="~")
    assert rows(found) == ROWS
    (tmp_path / "log.csv").write_text('user_id,item_id\n"a,1\nb",2\n"c",3\n')
    found = read(tmp_path / "b", str(tmp_path / "log.csv"), quoting="none")
    assert rows(found) == {'"a': {1: 1.0}, '"c"': {3: 1.0}, 'b"': {2: 1.0}}
    (tmp_path / "log.tsv").write_text('user_id\titem_id\n"a\tb"\t1\n"c"\t3\n')
    found = read(tmp_path / "c", str(tmp_path / "log.tsv"), quoting="minimal")
    assert rows(found) == {"a\tb": {1: 1.0}, "c": {3: 1.0}}


def test_files_without_a_header_have_their_columns_named(tmp_path):
    """As MovieLens' ``ratings.dat`` and LastFM's lists are."""
    names = ("user_id", "item_id", "w")
    for name, separator in (("ratings.dat", "::"), ("u.tsv", "\t"), ("u.csv", ",")):
        (tmp_path / name).write_text(table(separator, header=[]))
        model = fit(
            tmp_path / f"w{name}", str(tmp_path / name), weight_column="w", separator=separator,
            column_names=names,
        )  # fmt: skip
        assert_fitted_on(model, ROWS)


def test_a_catalog_of_movielens_is_read(tmp_path):
    (tmp_path / "movies.dat").write_bytes(
        "1::Toy Story (1995)::Animation|Children's\n2::Misérables, Les (1995)::Drama|Musical\n"
        '3::"Heroes" of a sort::Comedy\n'.encode("latin-1")
    )
    log = pd.DataFrame({"user_id": ["u", "u"], "item_id": [1, 2]})
    dataset = read(
        tmp_path / "w", log, str(tmp_path / "movies.dat"), text_columns=("title", "genres"),
        catalog_separator="::", catalog_encoding="latin-1", catalog_quoting="none",
        catalog_column_names=("item_id", "title", "genres"),
    )  # fmt: skip
    assert dataset.item_ids().tolist() == [1, 2, 3]
    assert dataset.titles() == ["Toy Story (1995)", "Misérables, Les (1995)", '"Heroes" of a sort']
    assert dataset.texts()[1] == "Misérables, Les (1995) Drama|Musical"


def test_a_catalog_of_recbole_is_read(tmp_path):
    lines = [
        "item_id:token\ttitle:token_seq\tclass:token_seq",
        "1\tToy Story\tAnimation Comedy",
        "2\tHeat\tCrime",
    ]
    (tmp_path / "ml.item").write_text("\n".join(lines) + "\n")
    log = "user_id:token\titem_id:token\ttimestamp:float\nu\t1\t881250949\nu\t2\t881250950\n"
    (tmp_path / "ml.inter").write_text(log)
    dataset = read(
        tmp_path / "w", str(tmp_path / "ml.inter"), str(tmp_path / "ml.item"), text_columns=("title", "class")
    )
    assert rows(dataset) == {"u": {1: 1.0, 2: 1.0}}
    assert dataset.texts() == ["Toy Story Animation Comedy", "Heat Crime"]


def feather(frame, path):
    pyarrow.feather.write_feather(pa.Table.from_pandas(frame, preserve_index=False), str(path))


def stream(frame, path):
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    with pyarrow.ipc.new_stream(str(path), arrow.schema) as writer:
        writer.write_table(arrow)


def parquet(**options):
    return lambda frame, path: pq.write_table(
        pa.Table.from_pandas(frame, preserve_index=False), path, **options
    )


BINARY = {
    "log.parquet": parquet(),
    "snappy.pq": parquet(compression="snappy"),
    "zstd.parquet": parquet(compression="zstd", row_group_size=2),
    "gzip.parquet": parquet(compression="gzip", use_dictionary=False, version="1.0"),
    "v2.parquet": parquet(data_page_version="2.0", row_group_size=3),
    "log.feather": feather,
    "log.arrow": feather,
    "stream.arrows": stream,
    "log.ipc": feather,
}


@pytest.mark.parametrize("name", list(BINARY))
def test_a_binary_file_is_read(tmp_path, name):
    BINARY[name](LOG, tmp_path / name)
    assert_fitted_on(fit(tmp_path / "w", str(tmp_path / name), weight_column="w"), ROWS)


def test_parquet_with_other_types_of_the_same_ids_in_each_file_is_one_table(tmp_path):
    for i, kind in enumerate((pa.int32(), pa.int64(), pa.uint16(), pa.float64())):
        arrow = pa.table(
            {"user_id": pa.array([7, 8]).cast(kind), "item_id": pa.array([i + 1, i + 2]).cast(kind)}
        )
        pq.write_table(arrow, tmp_path / f"{i}.parquet")
    expected = {user: {item + delta: 1.0 for item in range(1, 5)} for user, delta in ((7, 0), (8, 1))}
    assert rows(read(tmp_path / "w", str(tmp_path / "*.parquet"))) == expected


def test_texts_of_every_arrow_type_are_ids(tmp_path):
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        users = pa.array(["007", "é"], pa.string()).cast(kind)
        pq.write_table(pa.table({"user_id": users, "item_id": [1, 2]}), tmp_path / "log.parquet")
        found = rows(read(tmp_path / str(kind)[:9], str(tmp_path / "log.parquet")))
        assert found == {"007": {1: 1.0}, "é": {2: 1.0}}


def test_folders_named_by_value_give_columns(tmp_path):
    for user, part in LOG.groupby("user_id"):
        folder = tmp_path / "log" / f"user_id={user}"
        folder.mkdir(parents=True)
        part.drop(columns="user_id").to_parquet(folder / "part-0.parquet")
    assert_fitted_on(fit(tmp_path / "w", str(tmp_path / "log"), weight_column="w"), ROWS)


def test_a_file_is_read_over_a_url_of_fsspec(tmp_path):
    import fsspec

    for name in ("log.csv", "array.json"):
        with fsspec.open(f"memory://intake/{name}", "wb") as file:
            file.write(TEXT_FILES[name].encode())
        assert rows(read(tmp_path / name, f"memory://intake/{name}", weight_column="w")) == ROWS
    (tmp_path / "u.csv").write_text(TEXT_FILES["log.csv"])
    assert rows(read(tmp_path / "u", f"file://{tmp_path}/u.csv", weight_column="w")) == ROWS


def test_a_name_that_tells_no_format_is_refused_or_read_right(tmp_path):
    (tmp_path / "log.xlsx").write_bytes(b"PK\x03\x04 not a sheet")
    with pytest.raises(DataError) as error:
        read(tmp_path / "w", str(tmp_path / "log.xlsx"))
    assert is_short(error, r"log\.xlsx")


def test_the_profile_of_a_configuration_stores_nothing(tmp_path):
    frame = LOG.assign(t=pd.Timestamp("2020-05-01") + pd.to_timedelta(LOG.index, "D"))
    pd.concat([frame, frame[:2]]).to_csv(tmp_path / "log.csv", index=False)
    items = tmp_path / "items.csv"
    items.write_text("item_id,text\n" + "".join(f"{i},some words {i}\n" for i in FIVE))
    config = write_config(tmp_path, tmp_path / "log.csv", items, weight_column="w", timestamp_column="t")
    done = command("check", config)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "w").exists()
    for word in ("9 ", "file", "text", "integer", "duplicate", "2020-05-01", "2020-05-07", "Jürgen"):
        assert word in done.stdout, (word, done.stdout)


def test_the_profile_of_bad_data_fails_with_the_reason(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id\na,1\nb,2,3\n")
    done = command("check", write_config(tmp_path, tmp_path / "log.csv"))
    assert done.returncode == 3
    assert is_short(done.stderr, r"log\.csv", "line 3")
