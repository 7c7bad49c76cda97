"""Imports point downwards, every module has its layer, and no module grows without bound."""

import re
import subprocess

import house
import pytest


@pytest.mark.parametrize("bound", house.BOUNDS, ids=lambda bound: bound.name)
def test_a_bound_of_the_house_holds(bound):
    places = list(bound.places())
    assert len(places) <= bound.most, places


def test_the_names_of_all_files_can_be_typed():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=house.ROOT.parent, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    names = listed.stdout.decode().split("\0")
    assert [name for name in names if not re.fullmatch(r"[\w./-]*", name, re.ASCII)] == []
