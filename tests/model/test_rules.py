"""Rules of a recommendation call become item positions: lists for everyone, lists for each, what a user has."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.model.rules import AllowedItems, Rules
from l3ae_dist.model.users import Batch, GivenUsers

N, ADDED = 6, 2


def find(ids):
    return np.array([int(value) for value in ids], np.int64)


def allowed(users=2, **rules):
    return AllowedItems(Rules(**rules), users, N, ADDED, find)


@pytest.fixture
def batch():
    """User a has items 0 and 3, b nothing, c item 5."""
    matrix = sparse.csr_matrix(([1.0, 1.0, 1.0], [0, 3, 5], [0, 2, 2, 3]), shape=(3, N))
    return Batch.of(GivenUsers(matrix, np.array(["a", "b", "c"], object)), 0, 3)


def test_without_rules_every_item_is_scored(batch):
    assert len(allowed()) == N + ADDED
    assert allowed().candidates(batch).items is None


def test_added_items_take_part_unless_they_are_left_out(batch):
    assert len(allowed(cold_items=False)) == N
    assert allowed(cold_items=False).candidates(batch).items is None


def test_lists_for_everyone_are_positions_for_everyone(batch):
    found = allowed(items=[7, 1, 2, 2], filter_items=[2], cold_items=False).candidates(batch)
    assert found.items.tolist() == [1]
    assert found.only is None


def test_what_a_user_has_is_hidden_for_users_with_a_history(batch):
    hidden = allowed(users=3).candidates(batch).hidden.toarray()
    assert hidden.shape == (2, N + ADDED)
    assert [np.flatnonzero(row).tolist() for row in hidden] == [[0, 3], [5]]
    assert allowed(users=3, filter_already_liked=False).candidates(batch).hidden is None


def test_a_list_for_each_user_goes_by_label_or_by_position(batch):
    by_label = allowed(users=3, filter_items={"c": [1], "b": [2]}, filter_already_liked=False)
    assert by_label.candidates(batch).hidden.toarray().nonzero()[1].tolist() == [1]
    by_position = allowed(users=3, items=[[1], [2], [3, 4]]).candidates(batch)
    assert by_position.only.toarray().nonzero()[1].tolist() == [1, 3, 4]
    assert by_position.listed.all()
    table = pd.DataFrame({"user_id": ["c", "c"], "item_id": [1, 2]})
    of_table = allowed(users=3, items=table).candidates(batch)
    assert of_table.listed.tolist() == [False, True]


def test_lists_that_fit_nothing_are_refused():
    with pytest.raises(ConfigError, match="items has 1 lists for 2 users; give one for each"):
        allowed(items=[[1]])
    with pytest.raises(ConfigError, match="filter_items is the single id '12'; give a list"):
        allowed(filter_items="12")
    with pytest.raises(DataError, match="items has no column 'item_id'; it has item"):
        allowed(items=pd.DataFrame({"item": [1]}))
