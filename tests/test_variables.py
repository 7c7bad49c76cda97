"""A test that leaves variables of the environment changed is told, and the next test does not see them."""

import os

import pytest
from variables import left_as_found


def test_variables_that_are_left_changed_are_named_and_undone(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "before")
    monkeypatch.delenv("L3AE_STORE_PATIENCE", raising=False)
    guard = left_as_found()
    guard.__enter__()
    os.environ["RAY_ADDRESS"] = "after"
    os.environ["L3AE_STORE_PATIENCE"] = "3"
    with pytest.raises(AssertionError, match="left changed: L3AE_STORE_PATIENCE, RAY_ADDRESS"):
        guard.__exit__(None, None, None)
    assert os.environ["RAY_ADDRESS"] == "before"
    assert "L3AE_STORE_PATIENCE" not in os.environ


def test_variables_that_are_put_back_and_those_of_libraries_pass():
    before = os.environ.get("RAY_ADDRESS")
    with left_as_found(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "meanwhile")
    assert os.environ.get("RAY_ADDRESS") == before
    with left_as_found():
        os.environ["KMP_INIT_AT_FORK"] = os.environ.get("KMP_INIT_AT_FORK", "FALSE")
