"""Separator, quotes, header and names of columns are found, or refused with the option to set."""

import pytest
from text_tables import assert_refused, rows_of, table_of, write

from l3ae_dist.data.intake.open_table import require_columns
from l3ae_dist.errors import DataError

TWO = ("user_id", "item_id")


def names(path, **options):
    """Names of the columns of a file."""
    return table_of(path, **options)[0].columns


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".dat", ".inter"])
def test_the_separator_is_found_whatever_the_suffix(tmp_path, separator, suffix):
    rows = [("u1", "i1", "4.5"), ("u2", "i2", "3")]
    lines = [separator.join(row) for row in [(*TWO, "rating"), *rows]]
    path = write(tmp_path / f"log{suffix}", "\n".join(lines))
    assert names(path) == (*TWO, "rating")
    assert rows_of(path) == rows


def test_a_separator_within_texts_is_not_taken_for_one(tmp_path):
    rows = [("1", "Toy Story, 1995", "a|b|c"), ("2", "x; y", "c|d")]
    text = "item_id\ttitle\tgenres\n" + "".join("\t".join(row) + "\n" for row in rows)
    assert rows_of(write(tmp_path / "items.txt", text)) == rows
    decimal = "user_id;item_id;rating\n1;2;3,5\n2;3;4,5\n"
    assert rows_of(write(tmp_path / "log.csv", decimal)) == [("1", "2", "3,5"), ("2", "3", "4,5")]


def test_one_column_needs_no_separator(tmp_path):
    path = write(tmp_path / "items.csv", "item_id\n1\n2\n")
    assert names(path) == ("item_id",)
    assert rows_of(path) == [("1",), ("2",)]


@pytest.mark.parametrize("separator", [" ", "§", "\\t", "tab", "||", "<->", "\x01"])
def test_the_separator_that_is_named_wins(tmp_path, separator):
    written = {"\\t": "\t", "tab": "\t"}.get(separator, separator)
    path = write(tmp_path / "log.csv", f"user_id{written}item_id\n1,5{written}a;b\n")
    assert names(path, separator=separator) == TWO
    assert rows_of(path, separator=separator) == [("1,5", "a;b")]


@pytest.mark.parametrize("separator", ["\n", '"', "a\r", "\0"])
def test_what_cannot_separate_is_refused(tmp_path, separator):
    assert_refused(write(tmp_path / "log.csv", "a,b\n"), "separator", separator=separator)


def test_the_line_of_excel_names_the_separator(tmp_path):
    path = write(tmp_path / "log.csv", "sep=;\r\nuser_id;item_id\r\n1;2\r\n3\r\n")
    assert names(path) == TWO
    assert_refused(path, "line 4")


def test_quotes_are_quotes_in_comma_semicolon_and_pipe_files(tmp_path):
    for separator in ",;|":
        path = write(tmp_path / "log.csv", f'user_id{separator}item_id\n"a{separator}b"{separator}"x""y"\n')
        assert rows_of(path) == [(f"a{separator}b", 'x"y')]


def test_quotes_are_text_in_tab_separated_files_unless_the_header_is_quoted(tmp_path):
    path = write(tmp_path / "a.tsv", 'user_id\titem_id\ttitle\nu1\t2\t"Heroes\nu2\t3\t"y"\n')
    assert rows_of(path) == [("u1", "2", '"Heroes'), ("u2", "3", '"y"')]
    path = write(tmp_path / "b.tsv", '"user_id"\t"title"\n"u1"\t"Her\toes"\n')
    assert names(path) == ("user_id", "title")
    assert rows_of(path) == [("u1", "Her\toes")]
    assert rows_of(path, ["user_id"], quoting="minimal") == [("u1",)]
    path = write(tmp_path / "c.csv", 'user_id,title\nu1,"Heroes\n')
    assert_refused(path, "line 2", "quoting")
    assert rows_of(path, quoting="none") == [("u1", '"Heroes')]


def test_names_lose_their_mark_spaces_and_quotes(tmp_path):
    text = '\ufeff" user_id ", item_id ,"a ""b"""\n1,2,3\n'
    assert names(write(tmp_path / "log.csv", text)) == ("user_id", "item_id", 'a "b"')
    assert names(write(tmp_path / "log.tsv", '"user_id"\titem_id\n1\t2\n')) == TWO


def test_columns_without_a_name_are_left_out_and_names_that_occur_twice_refused_when_read(tmp_path):
    path = write(tmp_path / "log.csv", ",user_id,item_id,item_id\n0,a,b,c\n")
    assert names(path) == TWO
    assert rows_of(path, ["user_id"]) == [("a",)]
    assert_refused(path, "2 columns 'item_id'")


@pytest.mark.parametrize("first", ["1,7,5", "A1,1", "u1,i1,2.5e3", "-1,x", '"7",x', "a,2024"])
def test_a_first_row_of_data_is_refused_with_the_option_that_names_columns(tmp_path, first):
    path = write(tmp_path / "log.csv", f"{first}\n{first}\n")
    assert_refused(path, "first row", "column_names")
    given = tuple(f"c{i}" for i in range(first.count(",") + 1))
    assert rows_of(path, column_names=given) == [tuple(first.replace('"', "").split(","))] * 2
    assert names(path, column_names=given) == given


def test_names_that_are_given_may_be_those_of_the_header(tmp_path):
    path = write(tmp_path / "log.csv", "0,1\na,b\n")
    assert rows_of(path, column_names=("0", "1")) == [("a", "b")]
    assert_refused(write(tmp_path / "more.csv", "1,2,3\n4,5,6\n"), "3 fields in line 1", column_names=TWO)


def test_other_names_over_a_header_are_refused(tmp_path):
    path = write(tmp_path / "log.csv", "uid,iid\n1,2\n3,4\n")
    assert_refused(path, "header already", "uid", column_names=TWO)
    leading = write(tmp_path / "codes.csv", "A1,1\n007,2\n008,3\n")
    assert rows_of(leading, column_names=TWO) == [("A1", "1"), ("007", "2"), ("008", "3")]


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("ratings.dat", ["1::122::5::838985046"], "user_id item_id rating timestamp"),
        ("movies.dat", ["1::Toy Story (1995)::Animation|Children's"], "item_id title genres"),
        ("users.dat", ["1::F::1::10::48067-1"], "user_id gender age occupation zip_code"),
        ("tags.dat", ["15::4973::excellent!::1215184630"], "user_id item_id tag timestamp"),
        ("u.data", ["196\t242\t3\t881250949"], "user_id item_id rating timestamp"),
        ("u1.base", ["1\t1\t5\t874965758"], "user_id item_id rating timestamp"),
        ("u.user", ["1|24|M|technician|85711"], "user_id age gender occupation zip_code"),
    ],
)
def test_files_of_movielens_have_known_names(tmp_path, name, rows, columns):
    path = write(tmp_path / name, "\n".join(rows * 3) + "\n")
    assert names(path) == tuple(columns.split())
    other = write(tmp_path / f"my-{name}.txt", "\n".join(rows) + "\n")
    assert_refused(other, "column_names")
    given = tuple(f"c{i}" for i in range(len(columns.split())))
    assert names(path, column_names=given) == given


def test_items_of_movielens_100k_are_latin_1(tmp_path):
    line = "543|Misérables, Les (1995)|01-Jan-1995||http://x|" + "|".join("01" * 9 + "0")
    path = write(tmp_path / "u.item", (line + "\n").encode("latin-1"))
    assert rows_of(path, ["item_id", "title", "war", "western"]) == [
        ("543", "Misérables, Les (1995)", "1", "0")
    ]


def test_a_file_of_the_name_with_another_shape_is_not_movielens(tmp_path):
    assert_refused(write(tmp_path / "ratings.dat", "1::122::5\n"), "column_names")
    headed = write(tmp_path / "movies.dat", "item_id::title\n1::x\n")
    assert names(headed) == ("item_id", "title")


def test_types_of_recbole_are_stripped(tmp_path):
    text = "user_id:token\titem_id:token\trating:float\tgenres:token_seq\n1\t2\t3.5\ta b\n"
    for suffix in (".inter", ".item", ".user"):
        assert names(write(tmp_path / f"ml{suffix}", text)) == (*TWO, "rating", "genres")
    assert names(write(tmp_path / "ml.tsv", text))[0] == "user_id:token"


@pytest.mark.parametrize("quoting", ["minimal", "none"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_separator_at_the_end_of_rows_or_header_is_no_column(tmp_path, end, quoting):
    rows = [("1", "2", "5"), ("2", "3", "4")]
    for header, row in (("user_id,item_id,rating", "{},{},{},"), ("user_id,item_id,rating,", "{},{},{}")):
        text = end.join([header, *(row.format(*one) for one in rows)]) + end
        path = write(tmp_path / "log.csv", text)
        assert names(path) == (*TWO, "rating")
        assert rows_of(path, quoting=quoting) == rows
    both = end.join(["user_id,item_id,rating,", "1,2,5,", "2,3,4,"])
    assert rows_of(write(tmp_path / "log.csv", both)) == rows


def test_the_field_after_the_last_separator_must_be_empty_in_every_row(tmp_path):
    lines = ["1,2,5,"] * 5000
    path = write(tmp_path / "log.csv", "\n".join(["user_id,item_id,rating", *lines, "1,2,5,6", *lines]))
    assert_refused(path, "4 fields in line 5002")
    path = write(tmp_path / "log.csv", "\n".join(["user_id,item_id,rating", *lines, "1,2,5", *lines]))
    assert_refused(path, "3 fields in line 5002")
    assert_refused(
        write(tmp_path / "r.csv", '"user_id","item_id"\n"1","u","i"\n'), "3 fields in line 2", "R writes"
    )


def test_a_header_that_does_not_end_is_refused(tmp_path):
    assert_refused(write(tmp_path / "log.csv", 'user_id,"item_id\n1,2\n'), "line 1", "quoting")
    assert_refused(write(tmp_path / "log.csv", 'user_id,"item_id"x\n1,2\n'), "line 1", "quoting")
    assert names(write(tmp_path / "log.csv", 'user_id,"item\nid"\n1,2\n')) == ("user_id", "item\nid")


def test_a_missing_column_names_the_option_that_may_mend_the_file(tmp_path):
    for text, option in (("user_id item_id\n1 2\n", "separator"), ("u1,i1\nu2,i2\n", "column_names")):
        table, _ = table_of(write(tmp_path / "log.txt", text))
        with pytest.raises(DataError, match=f"no column 'user_id'.*option {option}"):
            require_columns(table, TWO, "set user_column")


@pytest.mark.parametrize(
    "text",
    [
        "item_id,1995,1996\na,1,0\nb,0,1\n",
        "movie,0,1\n7,1,0\n",
        '"movie","0","1"\n7,1,0\n',
        "user_id,2\na,b\n",
    ],
)
def test_a_header_may_hold_numbers_beside_names(tmp_path, text):
    assert names(write(tmp_path / "log.csv", text)) == tuple(text.split("\n")[0].replace('"', "").split(","))


def test_the_first_of_many_rows_is_enough_to_tell(tmp_path):
    rows = [(f"u{i}", "x,y|z" * 40) for i in range(8000)]
    path = write(tmp_path / "log.txt", "\n".join(map("\t".join, [TWO, *rows])))
    assert rows_of(path) == rows


def test_a_header_of_one_name_over_rows_of_two_fields_is_refused(tmp_path):
    assert_refused(write(tmp_path / "items.csv", "item_id\n1,Toy Story\n2,Heat\n"), "2 fields in line 2")


@pytest.mark.parametrize(
    "text", ["item_id,user_id\ni1,u1\n", "uid,item_id\nu1,i1\n", '"item_id", note\n1,2\n']
)
def test_a_header_is_no_row_where_names_are_given(tmp_path, text):
    path = write(tmp_path / "log.csv", text)
    assert_refused(path, "header already", "column_names", column_names=("user_id", "item_id"))


@pytest.mark.parametrize(
    "text",
    [
        '"user_id","item_id","note"\n"1","u1","i1",\n"2","u2","i2",\n',
        '"user_id","item_id","note"\n"1","u1","i1",\n',
        "user_id,item_id,note\n0,u1,i1,\n1,u2,i2,\n2,u3,i3,\n",
    ],
)
def test_row_numbers_and_an_empty_last_column_are_refused(tmp_path, text):
    assert_refused(write(tmp_path / "log.csv", text), "counts the rows", "separator at the end")


def test_a_separator_at_the_end_of_most_rows_is_taken_for_what_it_is(tmp_path):
    path = write(tmp_path / "log.csv", "user_id,item_id,rating\n1,2,5,\n3,4,5,\n")
    assert rows_of(path) == [("1", "2", "5"), ("3", "4", "5")]
    assert_refused(write(tmp_path / "stray.csv", "user_id,item_id\n1,2,\n3,4\n"), "line 2", "separator")
    assert_refused(write(tmp_path / "cut.csv", "user_id,item_id\n9,2,\n3,4,\n5,6\n"), "line 4", "separator")


@pytest.mark.parametrize(
    ("text", "line"),
    [('user_id, item_id\n"u1", "i1"\n', 2), ('item_id,title\ni0,x\ni1,  "Heroes"\n', 3)],
)
def test_quotes_after_a_space_are_refused_by_line(tmp_path, text, line):
    assert_refused(write(tmp_path / "log.csv", text), f"line {line}", "quoting")
