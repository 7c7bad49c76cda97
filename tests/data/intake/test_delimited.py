"""Delimited files come back cell by cell, or are refused by line."""

import csv
import io
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_tables import COMPRESSED, assert_refused, rows_of, rows_of_part, table_of, write

from l3ae_dist.data.intake import csv_rows, delimited, row_scan

NAMES = ("user_id", "item_id", "title")


@pytest.fixture
def tiny(monkeypatch):
    """Pieces of a few bytes and parts of a few rows, so that everything falls between two of them."""

    def cut(size):
        monkeypatch.setattr(row_scan, "PIECE", size)
        monkeypatch.setattr(csv_rows, "PIECE", size)
        monkeypatch.setattr(row_scan, "PART", 2 * size)

    return cut


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
marks = st.text('",;\t|\r\n :é1', max_size=4)
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(cells | marks, min_size=width, max_size=width).map(tuple), min_size=0, max_size=12
    )
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=tables,
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quotes=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    suffix=st.sampled_from(list(COMPRESSED)),
    piece=st.sampled_from([5, 16, 64, 1 << 20]),
)
def test_what_the_csv_module_writes_comes_back(
    tmp_path, monkeypatch, rows, separator, end, quotes, codec, suffix, piece
):
    monkeypatch.setattr(row_scan, "PIECE", piece)
    monkeypatch.setattr(csv_rows, "PIECE", piece)
    monkeypatch.setattr(row_scan, "PART", 2 * piece)
    names = tuple(f"column_{i}" for i in range(len(rows[0]) if rows else 2))
    text = io.StringIO()
    if any("\r" in cell or "\n" in cell for row in rows for cell in row):
        quotes = csv.QUOTE_ALL  # the writer quotes only the line end of its own, the reader ends rows at all
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quotes)
    writer.writerow(names)
    writer.writerows(rows)
    path = write(tmp_path / f"log.csv{suffix}", COMPRESSED[suffix](text.getvalue().encode(codec)))
    table, parts = table_of(path, separator=separator, quoting="minimal")
    assert table.columns == names
    assert [row for part in parts for row in rows_of_part(part, names)] == rows


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(*[st.text('ab" é1;:', max_size=5)] * 3), max_size=12),
    separator=st.sampled_from(["\t", "::", "§", ","]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    piece=st.sampled_from([3, 16, 1 << 20]),
)
def test_without_quoting_lines_are_split_at_each_separator(
    tmp_path, monkeypatch, rows, separator, end, piece
):
    monkeypatch.setattr(row_scan, "PIECE", piece)
    monkeypatch.setattr(row_scan, "PART", 2 * piece)
    lines = [separator.join(row) for row in (NAMES, *rows)]
    path = write(tmp_path / "log.txt", end.join(lines) + end)
    expected = [tuple(line.split(separator)) for line in lines[1:]]
    if any(len(row) != 3 for row in expected):
        assert_refused(path, "line", separator=separator, quoting="none")
    else:
        assert rows_of(path, separator=separator, quoting="none") == expected


def test_fields_are_text_as_it_is_written(tmp_path):
    rows = [("007", "", "NA"), (" 1 ", "1.0", "null"), ("1e5", "None", "nan"), ("-0", "TRUE", "")]
    path = write(tmp_path / "log.csv", "\n".join(map(",".join, [NAMES, *rows])))
    assert rows_of(path) == rows
    assert rows_of(path, ["title", "user_id"]) == [(c, a) for a, _, c in rows]
    assert rows_of(path, ["user_id", "user_id"]) == [(a, a) for a, _, _ in rows]


@pytest.mark.parametrize("ends", [("\n", "\r\n"), ("\r", "\n"), ("\r\n", "\r", "\n")])
def test_line_ends_may_be_mixed(tmp_path, ends):
    text = "user_id,item_id\n" + "".join(f"u{i},{i}{ends[i % len(ends)]}" for i in range(20))
    assert rows_of(write(tmp_path / "log.csv", text)) == [(f"u{i}", str(i)) for i in range(20)]


def test_empty_lines_are_left_out_and_lines_of_spaces_are_not(tmp_path):
    path = write(tmp_path / "log.csv", "\n\r\nuser_id,item_id\n\n1,2\n\r\n\n3,4\n\n\n")
    assert rows_of(path) == [("1", "2"), ("3", "4")]
    assert_refused(write(tmp_path / "log.csv", "user_id,item_id\n1,2\n \n3,4\n"), "line 3", "delete")
    assert rows_of(write(tmp_path / "one.csv", 'item_id\n1\n\n \n""\n2')) == [("1",), (" ",), ("",), ("2",)]
    assert_refused(write(tmp_path / "spaced.csv", "user_id,item_id\n\n1,2\n\n3\n"), "line 5")


@pytest.mark.parametrize("text", ["", "\n", "\r\n\r\n", "\ufeff", "\ufeff\n", " \n"])
def test_a_file_without_text_has_no_parts(tmp_path, text):
    table, parts = table_of(write(tmp_path / "log.csv", text))
    assert parts == []
    assert table.columns == ()


@pytest.mark.parametrize("text", ["user_id,item_id", "user_id,item_id\n", "\ufeffuser_id,item_id\r\n\n"])
def test_a_header_alone_is_a_part_without_rows(tmp_path, text):
    table, parts = table_of(write(tmp_path / "log.csv", text))
    assert table.columns == ("user_id", "item_id")
    assert [rows_of_part(part, table.columns) for part in parts] == [[]]


def test_the_last_line_needs_no_end(tmp_path):
    assert rows_of(write(tmp_path / "a.csv", "user_id,item_id\n1,2")) == [("1", "2")]
    assert rows_of(write(tmp_path / "b.csv", 'user_id,item_id\n1,"2"')) == [("1", "2")]
    assert rows_of(write(tmp_path / "c.csv", "user_id,item_id\n1,")) == [("1", "")]


@pytest.mark.parametrize("row", ["1", "1,2,3,4", "1,2,3,", '"1,2",3', "1,2\r3,4,5"])
def test_rows_of_another_width_are_refused_by_line(tmp_path, row):
    good = "a,b,c\n" * 10_000
    assert_refused(write(tmp_path / "log.csv", f"user_id,item_id,title\n{good}{row}\n{good}"), "line 10002")


def test_malformed_quotes_are_refused_by_line(tmp_path):
    head = 'user_id,title\n1,"two\nlines"\n'
    assert_refused(write(tmp_path / "a.csv", head + '2,"x"y\n'), "line 4", "followed by other", "quoting")
    assert_refused(write(tmp_path / "b.csv", head + '2,"x\n3,y\n'), "lines? 4", "not closed", "quoting")
    assert rows_of(write(tmp_path / "c.csv", head + '2,x"y\n3, "z\n'))[1:] == [("2", 'x"y'), ("3", ' "z')]
    assert_refused(write(tmp_path / "d.csv", head + '2,x"y\n3, "z"\n'), "line 5", "quoting")


def test_a_header_without_end_is_refused_in_its_line(tmp_path):
    for name, text in (
        ("log.csv", "user_id,item_id," + "x" * (1 << 21) + "\n1,2,3\n"),
        ("b.csv", "a" * (1 << 21)),
    ):
        assert_refused(write(tmp_path / name, text), "over 1.00 MiB in line 1", "header")


def test_nul_bytes_are_refused_by_line(tmp_path):
    assert_refused(
        write(tmp_path / "log.csv", b"user_id,item_id\r1,2\r\n3,\0\n"), "NUL", "line 3", "encoding"
    )
    assert_refused(write(tmp_path / "log.csv", b"user_id,item\0_id\n1,2\n3,4\n"), "NUL", "header", "encoding")


@pytest.mark.parametrize("piece", [7, 64, 1 << 20])
def test_marks_within_a_file_are_refused_by_line_where_they_begin_one(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(row_scan, "PIECE", piece)
    head = "user_id,item_id\n"
    path = write(tmp_path / "log.csv", f"\ufeff{head}" + "1,2\r\n" * 20 + f"\ufeff{head}3,4\n")
    assert_refused(path, "byte order mark before line 22", "joined")
    assert_refused(write(tmp_path / "log.csv", f"\ufeff{head}\ufeff{head}1,2\n"), "before line 2")
    path = write(tmp_path / "log.csv", f"{head}a\ufeff,2\n3,\ufeff\n")
    assert rows_of(path) == [("a\ufeff", "2"), ("3", "\ufeff")]


def test_long_rows_are_read_and_endless_ones_refused(tmp_path, monkeypatch):
    long = "x" * 9_000_000
    rows = [("1", long), ("2", "y"), ("3", long + '"\n,')]
    text = io.StringIO()
    csv.writer(text).writerows([("user_id", "title"), *rows])
    assert rows_of(write(tmp_path / "log.csv", text.getvalue())) == rows
    monkeypatch.setattr(row_scan, "ROW_LIMIT", 1 << 20)
    monkeypatch.setattr(row_scan, "PIECE", 1 << 18)
    assert_refused(tmp_path / "log.csv", "row of over 1 MiB", "after line 2")


@pytest.mark.parametrize("size", [40_000, 1_500_000])
def test_texts_with_line_ends_in_quotes_are_read(tmp_path, size):
    rows = [(str(i), f'line "{i}",\r\nanother\n\nand {"more " * (i % 50)}') for i in range(size // 160)]
    text = io.StringIO()
    csv.writer(text).writerows([("item_id", "text"), *rows])
    assert rows_of(write(tmp_path / "items.csv", text.getvalue())) == rows


def test_a_large_file_is_cut_into_parts_at_line_ends(tmp_path, tiny):
    tiny(1 << 10)
    rows = [(f"u{i}", str(i), f"text\n{i}" if i % 7 == 0 else "x") for i in range(2000)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([NAMES, *rows])
    path = write(tmp_path / "log.csv", text.getvalue())
    table, parts = table_of(path)
    assert len(parts) > 5
    assert sum(part.size for part in parts) == path.stat().st_size - len(",".join(NAMES)) - 1
    assert rows_of(path) == rows
    shuffled = random.Random(0).sample(range(len(parts)), len(parts))
    read = {number: rows_of_part(parts[number], table.columns) for number in shuffled}
    assert [row for number in sorted(read) for row in read[number]] == rows


def test_lines_are_those_of_the_file_in_each_of_its_parts(tmp_path, tiny):
    tiny(1 << 10)
    good = [f'u{i},{i},"a\nb"' if i % 3 else f"u{i},{i},c\r" for i in range(2000)]
    path = write(tmp_path / "log.csv", "\n".join([",".join(NAMES), *good, "too,short", *good]))
    line = 1 + sum(row.count("\n") + 1 for row in good) + 1
    assert len(table_of(path)[1]) > 5
    assert_refused(path, f"2 fields in line {line},")


def test_a_file_with_irregular_quotes_is_one_part(tmp_path, tiny):
    tiny(64)
    rows = [(f"u{i}", 'a"b') for i in range(200)]
    path = write(tmp_path / "log.csv", "\n".join(map(",".join, [("user_id", "title"), *rows])))
    assert len(table_of(path)[1]) == 1
    assert rows_of(path) == rows


def test_a_separator_of_several_bytes_may_stand_within_quotes(tmp_path):
    path = write(tmp_path / "log.dat", '"user_id"::"title"\n"a::b"::"c\n::"\n')
    assert rows_of(path, separator="::", quoting="minimal") == [("a::b", "c\n::")]


def test_a_file_that_is_written_again_is_read_again(tmp_path):
    for text in ("user_id,item_id\n1,2\n", "user_id;item_id\n3;4\n"):
        assert rows_of(write(tmp_path / "log.csv", text)) == [
            tuple(text.split()[1].replace(";", ",").split(","))
        ]
    assert delimited.delimited_parts([], "interactions", None) == ((), ())


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zst"])
@pytest.mark.parametrize("rows", [1, 70_000])
def test_a_repeated_header_is_refused_by_line(tmp_path, suffix, rows):
    text = "user_id,item_id,note\n" + "1,1,x\n" * rows + "user_id,item_id,note\n3,3,x\n"
    path = write(tmp_path / f"log{suffix}", COMPRESSED[suffix.removeprefix(".csv")](text.encode()))
    for columns in (("user_id", "item_id"), ("note",), ("item_id", "note")):
        said = assert_refused(path, f"line {rows + 2}", "header", columns=columns)
        assert "delete the line" in said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("user_id\titem_id\n1\t1\nuser_id\titem_id\n3\t3\n", 3),
        ("user_id::item_id\n1::1\n\nuser_id::item_id\n", 4),
        ('"user_id","item_id"\n"1","1"\n"user_id","item_id"\n', 3),
        ("user_id:token\titem_id:token\n1\t1\nuser_id:token\titem_id:token\n", 3),
        ('user_id,item_id\n1,a"b\nuser_id,item_id\n', 3),
    ],
)
def test_a_repeated_header_is_found_in_every_dialect(tmp_path, text, line):
    path = write(tmp_path / "log.csv", text)
    assert_refused(path, f"line {line}", "header")


def test_names_of_columns_are_texts_elsewhere(tmp_path):
    path = write(tmp_path / "log.csv", "user_id,item_id\n1,item_id\nuser_id,2\n")
    assert rows_of(path) == [("1", "item_id"), ("user_id", "2")]
    assert rows_of(path, ["item_id"]) == [("item_id",), ("2",)]
