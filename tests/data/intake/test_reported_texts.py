"""Text files and texts that people reported as misread, refused or lost."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from intake_samples import assert_fitted_on, fit, is_short, ones, read, rows

from l3ae_dist.errors import DataError

LOG = pd.DataFrame({"user_id": ["u", "u"], "item_id": [1, 2]})


def rows_or_refusal(call):
    """What is read, or the message that refuses it."""
    try:
        return call()
    except DataError as error:
        return str(error)


SHIFTED = {
    "a delimiter at the end of each row": ("user_id,item_id,rating\n1,2,5,\n2,3,4,\n", 2),
    "a header one column short": ("user_id,item_id\n1,2,5\n2,3,4\n", 2),
    "a longer row in the middle": ("user_id,item_id,rating\n1,2,5\n2,3,4,9\n", 3),
    "a shorter row at the end": ("user_id,item_id,rating\n1,2,5\n2,3\n", 3),
    "delimiters at the end of a later row": ("user_id,item_id,rating\n1,2,5\n2,3,4,,\n", 3),
    "a delimiter at the start of each row": ("user_id,item_id,rating\n,1,2,5\n,2,3,4\n", 2),
}


@pytest.mark.parametrize("case", list(SHIFTED))
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_never_shift(tmp_path, case, separator):
    text, line = SHIFTED[case]
    path = tmp_path / ("log.tsv" if separator == "\t" else "log.csv")
    path.write_text(text.replace(",", separator))
    found = rows_or_refusal(lambda: rows(read(tmp_path / "w", str(path))))
    if isinstance(found, str):
        assert is_short(found, r"log\.", rf"line \D*{line}\b")
    else:
        assert found == {1: {2: 1.0}, 2: {3: 1.0}}


def test_a_delimiter_at_the_end_of_every_line_is_an_empty_column(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,rating,\n1,2,5,\n2,3,4,\n")
    assert_fitted_on(fit(tmp_path / "w", str(tmp_path / "log.csv")), {1: {2: 1.0}, 2: {3: 1.0}})


def test_quotes_in_a_tab_separated_file_are_characters(tmp_path):
    titles = ["", '"Heroes', "x", "plain", '"y"', 'a "b" c', '"', '""', "it's"]
    lines = [f"u{i}\t{i % 5 + 1}\t{title}" for i, title in enumerate(titles)]
    (tmp_path / "log.tsv").write_text("\n".join(["user_id\titem_id\ttitle", *lines]) + "\n")
    model = fit(tmp_path / "w", str(tmp_path / "log.tsv"))
    assert_fitted_on(model, {f"u{i}": {i % 5 + 1: 1.0} for i in range(9)})


def test_a_quote_that_opens_a_user_of_a_tab_separated_file_is_one_of_its_characters(tmp_path):
    (tmp_path / "log.tsv").write_text('user_id\titem_id\n"a\t1\nb"\t2\n"a\t3\n')
    assert rows(read(tmp_path / "w", str(tmp_path / "log.tsv"))) == ones(**{'"a': [1, 3], 'b"': [2]})


WORDS = [f"word{i}" for i in range(1500)]


def written(path, columns):
    """A catalog as Parquet and as JSON Lines."""
    pq.write_table(pa.table({"item_id": [1, 2], **columns}), path / "items.parquet")
    table = pq.read_table(path / "items.parquet").to_pylist()
    (path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    return str(path / "items.parquet"), str(path / "items.jsonl")


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        ([WORDS, ["a", "b"]], [" ".join(WORDS), "a b"]),
        ([[], None], ["", ""]),
        ([["one"], ["two", None, "three"]], ["one", None]),
        ([[1.0, 2.0], [3.5]], ["1 2", "3.5"]),
        ([1995.0, 2001.5], ["1995", "2001.5"]),
        ([1995.0, None], ["1995", ""]),
        ([1995, None], ["1995", ""]),
        ([["a b", "c"], ["d"]], ["a b c", "d"]),
    ],
    ids=["words", "none", "null in a list", "floats", "years", "missing", "integers", "phrases"],
)
def test_texts_of_parquet_and_json_are_the_same(tmp_path, column, texts):
    sources = written(tmp_path, {"text": column})
    found = [read(tmp_path / f"w{i}", LOG, source).texts() for i, source in enumerate(sources)]
    assert found[0] == found[1]
    for text, wanted in zip(found[0], texts, strict=True):
        assert wanted is None or text == wanted


def test_lists_of_a_frame_are_joined_too(tmp_path):
    for i, make in enumerate((list, tuple, np.array)):
        items = pd.DataFrame({"item_id": [1, 2], "text": [make(WORDS), make(["a", "b"])]})
        assert read(tmp_path / f"w{i}", LOG, items).texts() == [" ".join(WORDS), "a b"]


def test_texts_of_a_csv_file_stand_as_they_are_written(tmp_path):
    texts = ["0451", "1984", "NA", "1e5", "1.50", " padded ", "true", "007", "None", "2020-01-01", "+1", ""]
    lines = "".join(f"{i},{text}\n" for i, text in enumerate(texts))
    (tmp_path / "items.csv").write_text("item_id,text\n" + lines)
    assert read(tmp_path / "w", LOG, str(tmp_path / "items.csv")).texts() == texts


def test_several_columns_are_joined(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title,year\n1,Heroes,1984\n2,NA,0451\n")
    dataset = read(tmp_path / "w", LOG, str(tmp_path / "items.csv"), text_columns=["title", "year"])
    assert dataset.texts() == ["Heroes 1984", "NA 0451"]


@pytest.mark.parametrize("place", [0, 10_000, 19_999])
def test_an_optional_field_may_stand_in_any_row(tmp_path, place):
    lines = []
    for i in range(20_000):
        extra = {"coupon": {"code": "x", "list": [1, 2]}} if i == place else {}
        lines.append(json.dumps({"user_id": f"u{i % 300}", "item_id": i % 5 + 1, **extra}))
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    expected = {}
    for i in range(20_000):
        expected.setdefault(f"u{i % 300}", {})[i % 5 + 1] = 1.0
    assert rows(read(tmp_path / "w", str(tmp_path / "log.jsonl"))) == expected


def test_an_optional_column_that_is_needed_may_come_late(tmp_path):
    lines = [json.dumps({"item_id": i} | ({"text": "late"} if i == 4999 else {})) for i in range(5000)]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    assert read(tmp_path / "w", LOG, str(tmp_path / "items.jsonl")).texts() == [""] * 4999 + ["late"]


@pytest.mark.parametrize(
    "lines",
    [
        ['{"user_id": "a", "item_id": 1}', '{"item_id": 2, "user_id": "a"}'],
        ['\ufeff{"user_id": "a", "item_id": 1}', '{"user_id": "a", "item_id": 2}'],
        ['{"user_id": "a", "item_id": 1, "x": 1}', '{"user_id": "a", "item_id": 2, "x": "one"}'],
        ['{"user_id": "a", "item_id": 1, "x": null}', '{"user_id": "a", "item_id": 2, "x": [1, {"y": 2}]}'],
        ['{ "user_id":"\\u0061" ,\t"item_id":1 }', "", '{"user_id": "a", "item_id": 2}'],
        ['[{"user_id": "a", "item_id": 1},', '{"user_id": "a", "item_id": 2}]'],
    ],
    ids=["order", "mark", "kinds beside", "nested beside", "white space", "an array"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_json_lines_in_any_form_are_read(tmp_path, lines, end):
    (tmp_path / "log.jsonl").write_bytes(end.join(lines).encode())
    assert rows(read(tmp_path / "w", str(tmp_path / "log.jsonl"))) == ones(a=[1, 2])


def test_fields_in_another_order_in_each_part_are_one_table(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"user_id": "a", "item_id": 1, "w": 2}\n')
    (tmp_path / "b.jsonl").write_text('{"w": 3.5, "item_id": 2, "user_id": "a"}\n')
    (tmp_path / "a.csv").write_text("user_id,item_id,w\na,1,2\n")
    (tmp_path / "b.csv").write_text("w,extra,item_id,user_id\n3.5,x,2,a\n")
    for i, pattern in enumerate(("[ab].jsonl", "[ab].csv")):
        found = rows(read(tmp_path / f"w{i}", str(tmp_path / pattern), weight_column="w"))
        assert found == {"a": {1: 2.0, 2: 3.5}}


def test_json_keeps_text_and_numbers_apart(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"user_id": "007", "item_id": 1}\n{"user_id": "7", "item_id": 2}\n')
    assert rows(read(tmp_path / "w", str(tmp_path / "a.jsonl"))) == ones(**{"007": [1], "7": [2]})
    (tmp_path / "b.jsonl").write_text('{"user_id": 7, "item_id": 1}\n{"user_id": 8, "item_id": 2}\n')
    assert rows(read(tmp_path / "v", str(tmp_path / "b.jsonl"))) == {7: {1: 1.0}, 8: {2: 1.0}}


def broken(rng, size):
    """A text of many lines with quotes and separators in it."""
    words = rng.integers(97, 123, size).astype(np.uint8)
    words[rng.integers(0, size, size // 40)] = ord("\n")
    words[rng.integers(0, size, size // 90)] = ord('"')
    words[rng.integers(0, size, size // 70)] = ord(",")
    return words.tobytes().decode()


def check_texts(tmp_path, texts):
    frame = pd.DataFrame({"item_id": range(len(texts)), "text": texts})
    frame.to_csv(tmp_path / "items.csv", index=False)
    dataset = read(tmp_path / "w", LOG, str(tmp_path / "items.csv"))
    assert dataset.n_items == len(texts)
    assert dataset.texts() == texts
    return (tmp_path / "items.csv").stat().st_size


def test_line_breaks_in_quotes_are_text(tmp_path):
    rng = np.random.default_rng(0)
    assert check_texts(tmp_path, [broken(rng, 2000) for _ in range(1000)]) > 2e6


def test_one_text_of_megabytes_is_read(tmp_path):
    rng = np.random.default_rng(1)
    check_texts(tmp_path, ["before", broken(rng, 3_000_000), "after"])


@pytest.mark.slow
def test_line_breaks_in_quotes_are_text_in_a_large_file(tmp_path):
    """Twice the blocks of 64 MiB that readers cut files into."""
    rng = np.random.default_rng(2)
    assert check_texts(tmp_path, [broken(rng, 20_000) for _ in range(6700)]) > 133e6


def test_a_log_may_have_line_breaks_in_a_column_beside(tmp_path):
    text = 'user_id,comment,item_id\na,"one\ntwo, ""three""\n\n",1\na,,2\nb,"\r\n",1\n'
    (tmp_path / "log.csv").write_text(text, newline="")
    assert rows(read(tmp_path / "w", str(tmp_path / "log.csv"))) == ones(a=[1, 2], b=[1])
