"""Fields of JSON objects come back as values, or the line that is wrong is named."""

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_tables import COMPRESSED, assert_refused, rows_of, rows_of_part, table_of, write, zipped

from l3ae_dist.config.data import TextOptions
from l3ae_dist.data.intake import json_lines, json_text
from l3ae_dist.data.intake.files import SourceFile

TWO = ('{"user_id": "007", "item_id": 1}', '{"item_id": 2, "user_id": 7}')
TWO_ROWS = [('"007"', "1"), ("7", "2")]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    | st.text('"\\/{}[],: \n\r\tNaé', max_size=5)
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab ", max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)
keys = st.sampled_from(["user_id", "item_id", "a.b", "$", 'q"', "é", "/x", "a'b"])


def as_value(text):
    """The value of a cell; null and an absent field are the same."""
    return None if text is None else json.loads(text)


def same(got, expected):
    """Compare values; integers to the last digit, other numbers as doubles, and 1 is not true."""
    if isinstance(expected, float) and not isinstance(got, bool) and isinstance(got, int | float):
        return math.isclose(got, expected, rel_tol=0, abs_tol=0) or got == expected
    if type(got) is not type(expected):
        return False
    if isinstance(expected, dict):
        return list(got) == list(expected) and all(same(got[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(got) == len(expected) and all(map(same, got, expected))
    return got == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    objects=st.lists(st.dictionaries(keys, anything, min_size=1, max_size=4), min_size=1, max_size=6),
    layout=st.sampled_from(["lines", "array", "pretty", "stream"]),
    escaped=st.booleans(),
    codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    suffix=st.sampled_from(list(COMPRESSED)),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
)
def test_what_the_json_module_writes_comes_back(tmp_path, objects, layout, escaped, codec, suffix, end):
    if layout == "array":
        text = json.dumps(objects, ensure_ascii=escaped)
    elif layout == "pretty":
        text = json.dumps(objects, ensure_ascii=escaped, indent=2)
    else:
        indent = 1 if layout == "stream" else None
        text = end.join(json.dumps(one, ensure_ascii=escaped, indent=indent) for one in objects) + end
    compressed = {**COMPRESSED, ".zip": lambda data: zipped(data, "log.json")}
    path = write(tmp_path / f"log.json{suffix}", compressed[suffix](text.encode(codec)))
    if len(objects) == 1 and layout in ("lines", "stream") and is_columns(objects[0]):
        assert_refused(path, "one object that holds the table")
        return
    table, _ = table_of(path)
    assert table.columns == tuple(dict.fromkeys(key for one in objects for key in one))
    rows = rows_of(path)
    assert len(rows) == len(objects)
    for row, one in zip(rows, objects, strict=True):
        for name, cell in zip(table.columns, row, strict=True):
            assert same(as_value(cell), one.get(name)), (cell, one)


def is_columns(one):
    """Whether all values of an object are lists or objects, so that it looks like a table by columns."""
    return all(isinstance(value, dict | list) for value in one.values())


def test_values_are_json_text_with_all_digits(tmp_path):
    line = '{"a": 12345678901234567890123, "b": "007", "c": [1, {"x": "y"}], "d": true, "e": 1.50, "f": -0.0}'
    path = write(tmp_path / "log.jsonl", line)
    assert rows_of(path) == [("12345678901234567890123", '"007"', '[1,{"x":"y"}]', "true", "1.5", "-0.0")]


def test_fields_in_any_order_and_first_in_the_last_row(tmp_path):
    lines = [json.dumps({"user_id": i, "item_id": -i}) for i in range(20_000)]
    path = write(tmp_path / "log.jsonl", "\n".join([*lines, '{"item_id": 1, "late": "x"}']))
    table, _ = table_of(path)
    assert table.columns == ("user_id", "item_id", "late")
    rows = rows_of(path)
    assert rows[:-1] == [(str(i), str(-i), None) for i in range(20_000)]
    assert rows[-1] == (None, "1", '"x"')


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(TWO),
        "\ufeff" + "\r\n".join(TWO) + "\r\n",
        "\n\n" + "\n \n".join(TWO),
        f"[{', '.join(TWO)}]",
        "\ufeff [\n" + ",\n\n".join(TWO) + "\n]\n",
        '{\n "user_id": "007",\n "item_id": 1\n}\n' + TWO[1],
        '{"user_id":\n"007", "item_id": 1} {"user_id": 7,\n"item_id": 2}',
    ],
)
def test_lines_arrays_and_objects_over_several_lines_are_read(tmp_path, text):
    path = write(tmp_path / "log.json", text)
    assert rows_of(path) == TWO_ROWS
    assert rows_of(path, ["item_id"]) == [("1",), ("2",)]


@pytest.mark.parametrize("text", ["", "\n \n", "\ufeff", "[]", " [ ] \n", "{}\n{}\n"])
def test_no_fields_are_no_parts(tmp_path, text):
    table, parts = table_of(write(tmp_path / "log.json", text))
    assert (table.columns, parts) == ((), [])


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("{", "no JSON"),
        ('{"user_id": 1', "no JSON"),
        ('{"user_id": 1,}', "no JSON"),
        ('{"user_id": [1, 2, ]}', "no JSON"),
        ('{"user_id": 01}', "no JSON"),
        ("{'user_id': 1}", "no JSON"),
        ('{"user_id": 1} {"user_id": 2}', "more than one value"),
        ('{"user_id": 1}{"user_id": 2}', "more than one value"),
        ('{"user_id": 1} // first', "more than one value"),
        ('{"user_id": "a\tb"}', "no JSON"),
        ('{"user_id": "\\x"}', "no JSON"),
        ("user_id,item_id", "no JSON"),
        ("\0", "no JSON"),
        ("7", "the value 7"),
        ('"text"', "the string"),
        ("null", "null"),
        ("[1, 2]", "an array"),
        ('{"user_id": 1, "user_id": 2}', "'user_id' twice"),
        ('{"other": 1, "other": 1}', "'other' twice"),
        ('{"user_id": NaN}', "NaN in 'user_id'"),
        ('{"user_id": -Infinity}', "-Infinity in 'user_id'"),
        ('{"user_id": [1, {"x": Infinity}]}', "Infinity in 'user_id'"),
        ('{"user_id": "\\ud83d"}', "half of a surrogate pair"),
        ('{"user_id": [NaN, ' + "[" * 100_000 + "]" * 100_000 + "]}", "nested too deeply"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, bad, why):
    good = '{"user_id": 1}\n' * 3000
    assert_refused(write(tmp_path / "log.jsonl", f"{good}\n{bad}\n{good}"), r"log\.jsonl: line 3002 ", why)


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ('[\n{"a": 1},\n{"a": }\n]', 3, "no JSON"),
        ('[\n{"a": 1},\n\n7\n]', 4, "the value 7"),
        ("[[1, 2],\n[3, 4]]", 1, "an array"),
        ('[\n{"a": 1}\n{"a": 2}\n]', 3, "comma"),
        ('[\n{"a": 1},\n]', 3, "no JSON"),
        ('[\n{"a": 1},\n{"a": 2}\n', 4, "comma or the end"),
        ('[\n{"a": 1}\n]\n{"a": 2}', 4, "after the end"),
        ('[{"a": 1},\n{"a": 2, "a": 3}]', 2, "'a' twice"),
        ('[{"a": 1},\n{"a": NaN}]', 2, "NaN in 'a'"),
        ('{\n"a": 1\n}\n{\n"a": \n}', 6, "no JSON"),
        ('{\n"a": 1\n}\n{\n"a": 2', 5, "no JSON"),
    ],
)
def test_a_wrong_place_in_an_array_or_stream_is_named(tmp_path, text, line, why):
    assert_refused(write(tmp_path / "log.json", text), f"line {line} ", why)


@pytest.mark.parametrize("size", [7, 16, 64])
def test_places_are_found_across_pieces(tmp_path, monkeypatch, size):
    monkeypatch.setattr(json_text, "PIECE", size)
    good = '{"text": "a \\"b\\" é, [c]", "n": [1, 2]},\n'
    assert_refused(write(tmp_path / "log.json", "[\n" + good * 50 + '{"text": x}\n]'), "line 52 ")
    assert_refused(write(tmp_path / "log.json", "[\n" + good * 50 + '{"text": NaN}\n]'), "line 52 ")


def test_what_looks_wrong_within_strings_is_text(tmp_path):
    values = [",}", ", ]", "[NaN", ": NaN", '{"a": Infinity,}', "\\ud83d"]
    path = write(tmp_path / "log.jsonl", "\n".join(json.dumps({"a": value}) for value in values))
    assert [as_value(cell) for (cell,) in rows_of(path)] == values


def test_constants_in_columns_that_are_not_read_do_no_harm(tmp_path):
    path = write(tmp_path / "log.jsonl", '{"user_id": 1, "rating": NaN}\n')
    assert rows_of(path, ["user_id"]) == [("1",)]


def test_keys_are_told_apart_by_capitals(tmp_path):
    path = write(tmp_path / "log.jsonl", '{"a": 1, "A": 2}\n{"A": 3}\n')
    assert rows_of(path, ["a"]) == [("1",), (None,)]
    assert rows_of(path, ["A"]) == [("2",), ("3",)]
    assert_refused(path, "capitals")


def test_a_key_with_a_control_character_that_separates_or_ends_names_is_refused(tmp_path):
    for sign in ("\\u001f", "\\u0000"):
        assert_refused(write(tmp_path / "log.jsonl", f'{{"a{sign}b": 1}}\n'), "control character")


def test_an_empty_key_is_no_column(tmp_path):
    path = write(tmp_path / "log.jsonl", '{"": 1, "a": 2}\n{"": 3}\n')
    assert table_of(path)[0].columns == ("a",)
    assert rows_of(path) == [("2",), (None,)]


def test_values_that_stand_as_keys_are_refused(tmp_path):
    lines = (json.dumps({f"user{i}": i}) for i in range(json_lines.KEY_LIMIT + 1))
    assert_refused(write(tmp_path / "log.jsonl", "\n".join(lines)), "10,000 different keys")


@pytest.mark.parametrize(
    "document", [{"user_id": {"0": 1, "1": 2}, "item_id": {"0": 3, "1": 4}}, {"data": [{"user_id": 1}]}]
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_table_by_columns_is_refused_with_the_right_call(tmp_path, document, indent):
    assert_refused(
        write(tmp_path / "log.json", json.dumps(document, indent=indent)), "orient='records', lines=True"
    )


def test_names_that_are_patterns_to_a_database_are_files(tmp_path):
    folder = tmp_path / "it's a=b, [1]*"
    folder.mkdir()
    path = write(folder / "log[2]*.gz", "\n".join(TWO))
    (part,), _ = json_lines.json_parts([SourceFile(str(path), 1, "")], "interactions", TextOptions())
    assert rows_of_part(part, part.columns()) == TWO_ROWS


def test_long_objects_are_read(tmp_path):
    texts = ["x" * 20_000_000, "y", 'é"' * 1_000_000]
    path = write(tmp_path / "items.jsonl", "\n".join(json.dumps({"text": text}) for text in texts))
    assert [as_value(cell) for (cell,) in rows_of(path)] == texts


@pytest.mark.parametrize("form", ["{}\n{}\n", "[{},{}]"])
def test_integers_of_thousands_of_digits_are_no_hindrance(tmp_path, form):
    rows = [f'{{"user_id": {i}, "item_id": 2, "other": [{"9" * 5000}]}}' for i in (1, 2)]
    path = write(tmp_path / "log.jsonl", form.format(*rows))
    assert rows_of(path, ("user_id", "item_id")) == [("1", "2"), ("2", "2")]
    write(path, f'{{"user_id": 1, "other": {"9" * 5000}, "user_id": 2}}\n')
    assert_refused(path, "line 1", "twice")
    write(path, '{"user_id": 1, "other": [1e999, "\\u00e9"]}\n')
    assert rows_of(path, ("user_id",)) == [("1",)]
