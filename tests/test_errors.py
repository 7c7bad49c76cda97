"""No message is longer than a paragraph, whatever was passed in."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3ae_dist import errors
from l3ae_dist.errors import DataError, L3AEError
from l3ae_dist.messages import listed, named, paragraph, redacted, shown

KINDS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, L3AEError)]
ABSURD = {
    "ten megabytes": "x" * 10_000_000,
    "ten megabytes of words": "x y " * 2_500_000,
    "bytes": b"\x00" * 10_000_000,
    "an integer of a million digits": 10**1_000_000,
    "a table": pd.DataFrame({"a": range(100_000)}),
    "an array": np.zeros((1000, 1000)),
    "a nested list": [[["x" * 1000] * 1000] * 1000],
    "a mapping": {"k" * 1000: "v" * 100_000},
    "nothing": None,
    "an escape": "\x1b[31mred\x1b[0m\r\n\u202eback",
}


@pytest.mark.parametrize("value", ABSURD.values(), ids=ABSURD)
def test_any_value_is_shown_short_on_one_line_and_visible(value):
    text = shown(value)
    assert 0 < len(text) <= 80
    assert text.isprintable()


def test_values_of_usual_size_are_written_as_they_are():
    assert [shown(value) for value in ("007", 7, np.int64(7), 0.5, None, ["a", 1])] == [
        "'007'", "7", "7", "0.5", "None", "['a', 1]",
    ]  # fmt: skip
    assert shown(pd.DataFrame({"a": [1, 2]})) == "a DataFrame of shape 2x1"
    assert listed(["a", 7, "b"], 2) == "'a', 7 and 1 more"
    assert named(["user_id", 3, "x\n"]) == "user_id, 3, x\\n"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_says_a_paragraph_at_most_and_keeps_its_end(kind):
    for value in ("x" * 10_000_000, "x y " * 1_000_000):
        error = kind(f"no file {value}; check the path.")
        for told in (error, kind(str(error))):
            assert len(str(told)) <= 500
            assert str(told).startswith("no file x")
            assert str(told).endswith("; check the path.")


def test_a_message_of_usual_length_is_not_touched():
    message = "the items have no column 'item_id'; they have id, title;\nset catalog_id_column."
    assert str(DataError(message)) == message


@given(st.text(alphabet=st.characters(codec=None), max_size=3000))
def test_a_paragraph_is_short_visible_and_stays_as_it_is(text):
    once = paragraph(text)
    assert len(once) <= 500
    assert once.replace("\n", "").isprintable()
    assert paragraph(once) == once


def test_the_folder_of_a_shell_is_no_secret(monkeypatch):
    monkeypatch.setenv("PWD", "/data/shop/models")
    monkeypatch.setenv("OLDPWD", "/data/shop/before")
    monkeypatch.setenv("STORE_PWD", "correct-horse-battery")
    told = redacted("/data/shop/models/workspace and /data/shop/before, by correct-horse-battery")
    assert told == "/data/shop/models/workspace and /data/shop/before, by ..."
