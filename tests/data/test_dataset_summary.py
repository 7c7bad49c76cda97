"""Sentences on what was read, kept and dropped."""

import pytest

from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.data.dataset_summary import data_lines

DROPPED = {
    "users": 1, "unknown_items": 2, "unknown_item_interactions": 7, "low_ratings": 1, "zero_weights": 1200,
    "duplicates": 3, "k_core": 5, "missing_ratings": 2, "split_conflicts": 1,
}  # fmt: skip


def lines(**stats):
    return data_lines(DatasetStats(n_users=2, n_items=1, **stats))


def test_every_reason_is_told_with_its_count_in_the_order_in_which_it_applies():
    assert lines(dropped=DROPPED)[2] == (
        "Dropped 2 rows without a rating, 1 row with a rating below the threshold, 1,200 rows of weight 0, "
        "7 rows of 2 items that are not in the catalog, 1 row of a user and an item that an earlier split has, "
        "5 interactions by the k-core filter and 1 user of whom no interaction was left; merged 3 duplicates."
    )


@pytest.mark.parametrize(
    ("dropped", "told"),
    [
        ({}, "Nothing was dropped."),
        (dict.fromkeys(DROPPED, 0), "Nothing was dropped."),
        ({"duplicates": 1}, "Merged 1 duplicate."),
        ({"later_reason": 4}, "Nothing was dropped."),
    ],
)
def test_no_reason_is_told_that_dropped_nothing(dropped, told):
    assert lines(dropped=dropped)[2] == told


def test_the_splits_are_told_and_add_up():
    random = {"train": 1000, "valid": 10, "test": 11}
    assert lines(nnz=random)[1] == (
        "Kept 1,021 interactions of 2 users and 1 item: 1,000 train, 10 valid, 11 test."
    )
    strong = {"train": 6, "valid": 1, "test": 1, "input": 10}
    assert lines(nnz=strong)[1] == (
        "Kept 12 interactions of 2 users and 1 item: 6 train, 1 valid, 1 test, 4 fold-in."
    )
    assert lines(nnz={"train": 1})[1] == "Kept 1 interaction of 2 users and 1 item."


def test_what_was_read_is_always_said_and_notes_cannot_move_the_cursor():
    read = {"interactions": {"files": 3, "rows": 12}, "items": {"files": 1, "rows": 1}}
    told = lines(read=read, notes=("a\x1b[2J.csv is cp1252",))
    assert told[0] == "Read 12 rows of interactions in 3 files and 1 row of items in 1 file."
    assert told[-1] == "Note: a\\x1b[2J.csv is cp1252"
    assert lines()[0] == "How many rows were read was not noted."
