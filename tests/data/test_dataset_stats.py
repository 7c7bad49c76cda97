"""The counts of a dataset survive the completion record that holds them."""

import json

import pytest

from l3ae_dist.data.dataset_stats import DatasetStats

STATS = DatasetStats(nnz={"train": 5}, n_users=2, n_items=3, has_text=True, dropped={"users": 1}, catalog="c")


def test_a_record_read_back_is_the_same():
    assert DatasetStats.of_record(json.loads(json.dumps(STATS.record()))) == STATS


def test_a_record_leaves_out_what_belongs_to_appended_datasets():
    assert STATS.record().keys().isdisjoint({"parent", "log", "appended"})
    child = DatasetStats(n_users=2, n_items=3, parent="p", log="l", appended={"interactions": 4})
    assert child.record()["appended"] == {"interactions": 4}


def test_a_reader_passes_over_what_it_does_not_know_and_needs_the_sizes():
    assert DatasetStats.of_record({"n_users": 1, "n_items": 2, "later": True}).n_items == 2
    with pytest.raises(TypeError, match="n_items"):
        DatasetStats.of_record({"n_users": 1})
