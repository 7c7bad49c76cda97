"""A run whose solve fits nowhere is refused before a text is embedded."""

import pytest

from l3ae_dist import make_config, run
from l3ae_dist.errors import BudgetError, WorkspaceError
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


def refused(tmp_path, small_tables, error, **more):
    log, items = small_tables
    events = []
    config = make_config({"workspace": str(tmp_path / "w"), "compute": {"cluster": "synchronous"} | more})
    with pytest.raises(error) as caught:
        run(config, interactions=log, items=items, on_event=events.append)
    assert not [event for event in events if getattr(event, "stage", None) == Stage.EMBED]
    workspace = Workspace.open(tmp_path / "w")
    assert [record.stage for record in workspace.stage_records()] == [Stage.INGEST]
    return str(caught.value)


def test_a_budget_that_is_too_small_is_refused_before_texts_are_embedded(tmp_path, small_tables):
    told = refused(tmp_path, small_tables, BudgetError, memory_budget="128MiB")
    assert "128 MiB" in told


def test_a_disk_that_is_too_small_is_refused_before_texts_are_embedded(tmp_path, small_tables, monkeypatch):
    monkeypatch.setattr("l3ae_dist.planning.storage_need.free_bytes", lambda _: 100)
    told = refused(tmp_path, small_tables, WorkspaceError)
    assert "GiB of disk" in told


def test_what_stops_before_the_solve_is_not_refused(tmp_path, small_tables):
    log, items = small_tables
    tight = {"cluster": "synchronous", "memory_budget": "128MiB"}
    config = make_config({"workspace": str(tmp_path / "w"), "compute": tight})
    assert run(config, interactions=log, items=items, until="ingest")["dataset"]["n_items"] == len(items)
