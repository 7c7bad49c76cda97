"""Imports point downwards, every module has its layer, and no module grows without bound."""

import house
import pytest


@pytest.mark.parametrize("bound", house.BOUNDS, ids=lambda bound: bound.name)
def test_a_bound_of_the_house_holds(bound):
    places = list(bound.places())
    assert len(places) <= bound.most, places
