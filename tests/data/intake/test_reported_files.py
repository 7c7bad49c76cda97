"""Files that people reported as misread: parts, leftovers, patterns, empty parts; each is read to its rows."""

import json
import os
import re

import numpy as np
import pandas as pd
import pytest
from intake_samples import (
    assert_fitted_on,
    catalog,
    command,
    fit,
    is_short,
    ones,
    read,
    rows,
    write_config,
)

from l3ae_dist.errors import DataError
from l3ae_dist.pipeline.append import append


def write(folder, **files):
    """Text files by name, where ``__`` stands for a folder's slash."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name + ".csv").write_text(
            "user_id,item_id\n" + "".join(f"{x}\n" for x in text.split())
        )


ZEROS = {**ones(**{"007": [1, 2, 3, 4], "008": [1, 2], "A1": [1]})}


def test_leading_zeros_are_kept_when_only_another_part_has_letters(tmp_path):
    write(tmp_path, a0="A1,1 007,1 007,2 008,1", a1="007,3 007,4 008,2")
    items = tmp_path / "items.csv"
    items.write_text("item_id\n1\n2\n3\n4\n5\n")
    model = fit(tmp_path / "w", str(tmp_path / "a*.csv"), str(items))
    assert_fitted_on(model, ZEROS)


def test_the_parts_may_come_in_either_order(tmp_path):
    write(tmp_path, a0="007,3 007,4 008,2", a1="A1,1 007,1 007,2 008,1")
    assert_fitted_on(fit(tmp_path / "w", str(tmp_path / "a*.csv")), ZEROS)


def test_zeros_alone_are_text(tmp_path):
    write(tmp_path, a="007,1 7,2", b="7,3 10,1")
    model = fit(tmp_path / "w", str(tmp_path / "a.csv"))
    assert_fitted_on(model, ones(**{"007": [1], "7": [2]}))
    assert rows(read(tmp_path / "v", str(tmp_path / "[ab].csv"))) == ones(
        **{"007": [1], "10": [1], "7": [2, 3]}
    )


@pytest.mark.parametrize("written", ["+7", "7.0", "7e0", "0x7", "1_000", "-0", "007", "٧"])
def test_what_is_not_written_as_the_integer_is_makes_the_column_text(tmp_path, written):
    write(tmp_path, a=f"{written},1 7,2")
    assert rows(read(tmp_path / "w", str(tmp_path / "a.csv"))) == ones(**{written: [1], "7": [2]})


def test_integers_in_every_part_are_integers_and_sort_as_such(tmp_path):
    write(tmp_path, a="10,1 9,2 -3,1", b="100,1 9,3 0,4")
    dataset = read(tmp_path / "w", str(tmp_path / "[ab].csv"))
    assert dataset.user_ids().dtype == np.int64
    assert dataset.user_ids().tolist() == [-3, 0, 9, 10, 100]
    assert rows(dataset)[9] == {2: 1.0, 3: 1.0}


@pytest.mark.parametrize("beyond", ["9223372036854775808", "-9223372036854775809", "12345678901234567890123"])
def test_digits_over_the_largest_integer_are_text_with_every_digit_where_that_is_asked_for(tmp_path, beyond):
    """They are refused else: digits of other ids would be no integers on their account."""
    write(tmp_path, a=f"{beyond},1 1,2", b=f"{beyond},1 A1,2")
    with pytest.raises(DataError) as error:
        read(tmp_path / "w", str(tmp_path / "a.csv"))
    assert is_short(error, "9223372036854775807", "id_type")
    items = catalog(*"12345")
    expected = {beyond: {"1": 1.0}, "1": {"2": 1.0}}
    assert rows(read(tmp_path / "w", str(tmp_path / "a.csv"), items, id_type="string")) == expected
    assert rows(read(tmp_path / "v", str(tmp_path / "b.csv"))) == ones(**{beyond: [1], "A1": [2]})


def test_the_largest_integers_keep_every_digit(tmp_path):
    write(tmp_path, a="9223372036854775807,1 -9223372036854775808,2 9007199254740993,3 9007199254740992,4")
    assert rows(read(tmp_path / "w", str(tmp_path / "a.csv"))) == {
        9223372036854775807: {1: 1.0},
        -9223372036854775808: {2: 1.0},
        9007199254740993: {3: 1.0},
        9007199254740992: {4: 1.0},
    }


@pytest.mark.parametrize("letters", ["first", "last", "middle"])
def test_the_kind_of_ids_is_one_over_a_long_file(tmp_path, letters):
    """150,000 rows of 11 columns, whose ids are text beyond doubt in one stretch of it alone."""
    n = np.arange(150_000)
    stretch = {"first": n < 60_000, "last": n >= 90_000, "middle": (n >= 60_000) & (n < 90_000)}[letters]
    users = np.char.zfill((n % 700).astype(str), 4).astype(object)
    users[stretch & (n % 7 == 0)] = "A1"
    frame = pd.DataFrame({"user_id": users, "item_id": n % 5 + 1, **{f"c{i}": n + i for i in range(9)}})
    path = tmp_path / "log.csv"
    frame.to_csv(path, index=False)
    expected = {
        user: dict.fromkeys(sorted(set(part)), 1.0) for user, part in frame.groupby("user_id")["item_id"]
    }
    dataset = read(tmp_path / "w", str(path))
    assert rows(dataset) == expected
    assert "A1" in dataset.user_ids().tolist()


def test_what_comes_later_follows_the_workspace(tmp_path):
    """The workspace's user ids are text, so digits that are appended, asked for or folded in are text."""
    write(tmp_path, a0="A1,1 007,1 007,2 008,1", later="007,3 7,4")
    model = fit(tmp_path / "w", str(tmp_path / "a0.csv"))
    assert model.recommend(["007"])["user_id"].unique().tolist() == ["007"]
    append(str(tmp_path / "w"), str(tmp_path / "later.csv"), compute={"cluster": "synchronous"})
    model = model.reopened()
    assert rows(model.dataset) == ones(**{"007": [1, 2, 3], "008": [1], "7": [4], "A1": [1]})


def test_appended_text_ids_do_not_fit_a_workspace_of_integers(tmp_path):
    write(tmp_path, a="7,1 8,2", b="007,3 7,4")
    fit(tmp_path / "w", str(tmp_path / "a.csv"))
    with pytest.raises(DataError) as error:
        append(str(tmp_path / "w"), str(tmp_path / "b.csv"), compute={"cluster": "synchronous"})
    assert is_short(error, "integer", "text", "id_type", "007")


def test_appended_digits_are_integers_where_the_workspace_has_integers(tmp_path):
    write(tmp_path, a="7,1 8,2", b="7,3 9,4")
    model = fit(tmp_path / "w", str(tmp_path / "a.csv"))
    append(str(tmp_path / "w"), str(tmp_path / "b.csv"), compute={"cluster": "synchronous"})
    assert rows(model.reopened().dataset) == {7: {1: 1.0, 3: 1.0}, 8: {2: 1.0}, 9: {4: 1.0}}


def test_history_files_follow_the_workspace(tmp_path):
    write(tmp_path, a="u,1 u,2 v,2 v,3 w,1")
    items = tmp_path / "items.csv"
    items.write_text("item_id\n1\n2\n3\n04\nx5\n")
    (tmp_path / "histories.csv").write_text("user_id,item_id\n007,1\n007,2\n7,3\n7,04\n")
    write_config(tmp_path, tmp_path / "a.csv", items)
    done = command("fit", tmp_path / "config.yaml")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out.parquet"
    done = command("recommend", tmp_path / "w", "--histories", tmp_path / "histories.csv", "--output", out)
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(out)
    assert sorted(set(frame["user_id"].astype(str))) == ["007", "7"]
    assert set(frame.loc[frame["user_id"].astype(str) == "7", "item_id"]) == {"1", "2", "x5"}


def test_leftovers_in_a_directory_are_no_data(tmp_path):
    """Weights would add up if a leftover counted."""
    log = "user_id,item_id,w\na,1,2\na,2,3\nb,2,1\n"
    folder = tmp_path / "log"
    for name in (
        "log.csv",
        ".ipynb_checkpoints/log-checkpoint.csv",
        "_temporary/0/part-0.csv",
        "_log.csv",
        ".log.csv",
        "sub/.hidden/log.csv",
        "sub/_spark_metadata/log.csv",
        ".log.csv.crc",
        "_SUCCESS",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(log)
    expected = {"a": {1: 2.0, 2: 3.0}, "b": {2: 1.0}}
    assert_fitted_on(fit(tmp_path / "w", str(folder), weight_column="w"), expected)
    assert rows(read(tmp_path / "v", str(folder / "*"), weight_column="w")) == expected
    assert rows(read(tmp_path / "u", str(folder / "**" / "*.csv"), weight_column="w")) == expected


def test_folders_whose_names_hold_a_value_are_data_though_they_begin_with_a_line(tmp_path):
    folder = tmp_path / "log"
    for day, text in (("1", "a,1\n"), ("2", "a,2\nb,3\n")):
        path = folder / f"_day={day}" / "part.csv"
        path.parent.mkdir(parents=True)
        path.write_text("user_id,item_id\n" + text)
    assert rows(read(tmp_path / "w", str(folder))) == ones(a=[1, 2], b=[3])


@pytest.mark.parametrize("kind", ["Delta", "Iceberg"])
def test_a_table_of_another_engine_is_named_as_such(tmp_path, kind):
    """Its old files stand beside the new ones, so the files alone are not the table."""
    folder = tmp_path / "log"
    data = folder / ("data" if kind == "Iceberg" else "")
    data.mkdir(parents=True)
    frame = pd.DataFrame({"user_id": ["a"], "item_id": [1]})
    frame.to_parquet(data / "part-0.parquet")
    frame.to_parquet(data / "part-1.parquet")
    note = "_delta_log/00000000000000000000.json" if kind == "Delta" else "metadata/v1.metadata.json"
    (folder / note).parent.mkdir()
    (folder / note).write_text("{}")
    with pytest.raises(DataError) as error:
        read(tmp_path / "w", str(folder))
    assert is_short(error, kind)


def test_symbolic_links_to_data_are_followed(tmp_path):
    write(tmp_path, elsewhere__x="a,1 b,2", far__y="a,3", log__z="c,4")
    os.symlink(tmp_path / "elsewhere" / "x.csv", tmp_path / "log" / "x.csv")
    os.symlink(tmp_path / "far", tmp_path / "log" / "more")
    expected = ones(a=[1, 3], b=[2], c=[4])
    assert_fitted_on(fit(tmp_path / "w", str(tmp_path / "log")), expected)
    os.symlink(tmp_path / "log", tmp_path / "all")
    assert rows(read(tmp_path / "v", str(tmp_path / "all"))) == expected


def test_a_loop_of_symbolic_links_is_refused(tmp_path):
    write(tmp_path, log__a__z="c,4")
    os.symlink(tmp_path / "log", tmp_path / "log" / "a" / "again")
    with pytest.raises(DataError) as error:
        read(tmp_path / "w", str(tmp_path / "log"))
    assert is_short(error, "again")


def test_a_link_to_nothing_is_named(tmp_path):
    write(tmp_path, log__z="c,4")
    os.symlink(tmp_path / "gone.csv", tmp_path / "log" / "x.csv")
    with pytest.raises(DataError) as error:
        read(tmp_path / "w", str(tmp_path / "log"))
    assert is_short(error, r"x\.csv")


def test_a_recursive_pattern_reads_every_depth_and_says_how_much(tmp_path):
    folder = tmp_path / "t"
    (folder / "x" / "y").mkdir(parents=True)
    for name, items in (("a", [1, 2]), ("x/b", [3]), ("x/y/c", [4])):
        frame = pd.DataFrame({"user_id": "u", "item_id": items})
        frame.to_parquet(folder / f"{name}.parquet")
    pattern = f"{folder}/**/*.parquet"
    assert_fitted_on(fit(tmp_path / "v", pattern), ones(u=[1, 2, 3, 4]))
    done = command("run", write_config(tmp_path, pattern))
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert re.search(r"\b3 files\b", said), said
    assert re.search(r"\b4 rows\b", said), said


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_pattern_is_sorted_and_its_parts_are_one_table(tmp_path, suffix):
    for i in range(12):
        frame = pd.DataFrame({"user_id": [f"u{i % 3}"], "item_id": [i % 5 + 1]})
        path = tmp_path / f"part-{i}.{suffix}"
        if suffix == "csv":
            frame.to_csv(path, index=False)
        elif suffix == "jsonl":
            frame.to_json(path, orient="records", lines=True)
        else:
            frame.to_parquet(path)
    expected = {}
    for i in range(12):
        expected.setdefault(f"u{i % 3}", {})[i % 5 + 1] = 1.0
    assert rows(read(tmp_path / "w", str(tmp_path / f"part-*.{suffix}"))) == expected


EMPTY = {
    "nothing": b"",
    "a header": b"user_id,item_id\n",
    "a header without an end": b"user_id,item_id",
    "a mark": b"\xef\xbb\xbf",
    "a line end": b"\n",
}


@pytest.mark.parametrize("content", list(EMPTY))
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_part_without_rows_changes_nothing(tmp_path, content, place):
    names = {"first": "abc", "middle": "bac", "last": "bca"}[place]
    (tmp_path / f"{names[0]}.csv").write_bytes(b"user_id,item_id\n7,1\n7,2\n")
    (tmp_path / f"{names[1]}.csv").write_bytes(b"user_id,item_id\n8,2\n")
    (tmp_path / f"{names[2]}.csv").write_bytes(b"user_id,item_id\n8,3\n")
    (tmp_path / {"first": "0.csv", "middle": "ab.csv", "last": "z.csv"}[place]).write_bytes(EMPTY[content])
    dataset = read(tmp_path / "w", str(tmp_path / "*.csv"))
    assert rows(dataset) == {7: {1: 1.0, 2: 1.0}, 8: {2: 1.0, 3: 1.0}}
    assert dataset.user_ids().dtype == np.int64


def test_a_part_without_rows_of_each_kind_changes_nothing(tmp_path):
    frame = pd.DataFrame({"user_id": [7, 8], "item_id": [1, 2]})
    frame.to_parquet(tmp_path / "b.parquet")
    pd.DataFrame({"user_id": [], "item_id": []}, dtype=object).to_parquet(tmp_path / "a.parquet")
    assert rows(read(tmp_path / "w", str(tmp_path / "*.parquet"))) == {7: {1: 1.0}, 8: {2: 1.0}}
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "b.jsonl").write_text('\n{"user_id": 7, "item_id": 1}\n\n')
    (tmp_path / "c.jsonl").write_text("\n\n")
    assert rows(read(tmp_path / "v", str(tmp_path / "*.jsonl"))) == {7: {1: 1.0}}


def test_an_empty_table_is_called_empty(tmp_path):
    for content in EMPTY.values():
        (tmp_path / "log.csv").write_bytes(content)
        with pytest.raises(DataError) as error:
            read(tmp_path / "w", str(tmp_path / "log.csv"))
        assert is_short(error, "empty|no rows|no row")


def test_an_empty_first_part_of_the_catalog_changes_nothing(tmp_path):
    (tmp_path / "a.csv").write_text("item_id,text\n")
    (tmp_path / "b.csv").write_text("item_id,text\n1,one\n2,two\n")
    log = pd.DataFrame({"user_id": ["u", "u"], "item_id": [1, 2]})
    dataset = read(tmp_path / "w", log, str(tmp_path / "[ab].csv"))
    assert dataset.item_ids().tolist() == [1, 2]
    assert dataset.texts() == ["one", "two"]


def test_a_catalog_of_text_takes_digits_of_the_log_as_text(tmp_path):
    write(tmp_path, a="u,1 u,2")
    (tmp_path / "items.csv").write_text("item_id\n1\n2\nA3\n")
    model = fit(tmp_path / "w", str(tmp_path / "a.csv"), str(tmp_path / "items.csv"))
    assert_fitted_on(model, {"u": {"1": 1.0, "2": 1.0}}, ["1", "2", "A3"])


def test_text_ids_against_integer_ids_name_both_kinds(tmp_path):
    write(tmp_path, a="u,001 u,002")
    for items in (catalog(), catalog(*range(1, 4))):
        with pytest.raises(DataError) as error:
            read(tmp_path / "w", str(tmp_path / "a.csv"), items)
        assert is_short(error, "text", "integer", "id_type", "001")


@pytest.mark.parametrize("arrange", ["\n".join, lambda lines: f" [\n{','.join(lines)}]"])
def test_json_is_read_whatever_its_name_says(tmp_path, arrange):
    lines = [json.dumps({"user_id": f"u{i % 2}", "item_id": i % 3 + 1}) for i in range(6)]
    (tmp_path / "log.csv").write_text(arrange(lines))
    found = rows(read(tmp_path / "w", str(tmp_path / "log.csv")))
    assert found == {"u0": {1: 1, 2: 1, 3: 1}, "u1": {1: 1, 2: 1, 3: 1}}


@pytest.mark.parametrize("name", ["log.jsonl", "log.json"])
def test_delimited_text_named_as_json_is_told_its_name(tmp_path, name):
    (tmp_path / name).write_text("user_id,item_id\na,1\n")
    with pytest.raises(DataError, match=rf"{name}: line 1 is no JSON .*name the file \.csv"):
        read(tmp_path / "w", str(tmp_path / name))


@pytest.mark.parametrize(
    ("columns", "options", "row"),
    [
        ("2,-1,3", {"weight_column": "x"}, 2),
        ("2,1,many", {"weight_column": "x"}, 3),
        ("1,,2,", {"weight_column": "x"}, 2),
        ("2020-01-01,2020-13-01,2020-01-01", {"timestamp_column": "x"}, 2),
        ("4,5,six", {"rating_column": "x", "rating_threshold": 4}, 3),
        ("train,train,tran", {"split_column": "x"}, 3),
    ],
)
def test_a_value_that_is_refused_is_named_with_its_row(tmp_path, columns, options, row):
    lines = [f"u,{i % 5 + 1},{value}" for i, value in enumerate(columns.split(","))]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,x", *lines]))
    with pytest.raises(DataError, match=rf"log\.csv.*\(row {row}, the header not counted\)\.$"):
        read(tmp_path / "w", str(tmp_path / "log.csv"), **options)


def test_catalog_ids_that_occur_twice_are_named_with_their_files_and_rows(tmp_path):
    for name, ids in (("items-a.csv", (1, 2, 3)), ("items-b.csv", (4, 2, 5))):
        (tmp_path / name).write_text("item_id\n" + "\n".join(map(str, ids)))
    (tmp_path / "log.csv").write_text("user_id,item_id\na,1\n")
    with pytest.raises(
        DataError, match=r"2 stands in row 2 of .*items-a\.csv and in row 2 of .*items-b\.csv"
    ):
        read(tmp_path / "w", str(tmp_path / "log.csv"), str(tmp_path / "items-*.csv"))


def test_an_item_without_id_is_named_with_its_row(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\n1,a\n2,b\n,c\n")
    (tmp_path / "log.csv").write_text("user_id,item_id\na,1\n")
    with pytest.raises(DataError, match=r"items\.csv.*\(row 3, the header not counted\)"):
        read(tmp_path / "w", str(tmp_path / "log.csv"), str(tmp_path / "items.csv"))
