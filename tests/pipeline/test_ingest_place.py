"""Large files are ingested by the workers, all else by this process; the dataset is the same to the byte."""

import numpy as np
import pandas as pd
import pytest

from l3ae_dist.config.load import make_config
from l3ae_dist.errors import DataError
from l3ae_dist.pipeline.run import run
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask
KINDS = ("items", "users", "interactions")


def log_of(rows, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"user_id": rng.integers(0, 900, rows), "item_id": rng.integers(0, 40, rows)})


@pytest.fixture
def files(tmp_path):
    """A folder with a catalog and a log in five files."""
    pd.DataFrame({"item_id": range(40)}).to_parquet(tmp_path / "items.parquet")
    (tmp_path / "log").mkdir()
    for part in range(5):
        log_of(2000, part).to_parquet(tmp_path / "log" / f"{part}.parquet", row_group_size=700)
    return tmp_path


def configured(files, workspace, source="log", options=(), **compute):
    return make_config(
        {
            "workspace": str(files / workspace),
            "data": {
                "interactions": str(files / source),
                "items": str(files / "items.parquet"),
                "options": {"split": "random", **dict(options)},
            },
            "model": {"name": "ease", "reg_x": 10},
            "compute": {"threads": 1, "memory_budget": "1GiB", "dashboard": False, **compute},
        }
    )


def stored(workspace):
    """Return the bytes of every file of the datasets of a workspace."""
    paths = (path for kind in KINDS for path in (workspace / kind).rglob("*") if path.is_file())
    found = {str(path.relative_to(workspace)): path.read_bytes() for path in paths}
    assert found
    return found


def ingest_events(config):
    events = []
    run(config, until="ingest", on_event=events.append)
    return events


def on_workers(dask_session, **more):
    address = dask_session.client.scheduler.address
    return {"cluster": "address", "address": address, "distributed_ingest_rows": 1000, **more}


def processes(events):
    return {event.pid for event in events if event["kind"] == "chunk"}


def messages(events):
    return " ".join(event.message for event in events if event["kind"] == "log")


@pytest.mark.parametrize("options", [{}, {"split": "strong"}, {"min_user_interactions": 9}])
def test_workers_store_what_one_process_stores(files, dask_session, options):
    ingest_events(configured(files, "here", options=options, cluster="synchronous"))
    events = ingest_events(configured(files, "there", options=options, **on_workers(dask_session)))
    assert stored(files / "there") == stored(files / "here")
    assert "the workers ingest" in messages(events)
    assert processes(events) <= set(dask_session.pids())
    assert not (files / "there" / "scratch").exists()


@pytest.mark.parametrize(
    "compute", [{"distributed_ingest_rows": 10_001}, {"distributed_ingest_rows": None}], ids=["few", "never"]
)
def test_few_rows_stay_in_this_process(files, dask_session, compute):
    events = ingest_events(configured(files, "w", **on_workers(dask_session, **compute)))
    assert "the workers ingest" not in messages(events)
    assert not processes(events) & set(dask_session.pids())


def test_objects_in_memory_stay_in_this_process(files, dask_session):
    config = configured(files, "w", **on_workers(dask_session))
    events = []
    run(config, interactions=log_of(5000), until="ingest", on_event=events.append)
    assert "the workers ingest" not in messages(events)


def test_files_that_workers_do_not_see_are_read_here(files, dask_session, monkeypatch):
    trouble = "no file at log/0.parquet; check the path."
    monkeypatch.setattr(type(dask_session), "trouble", lambda self, function: trouble)
    ingest_events(configured(files, "here", cluster="synchronous"))
    events = ingest_events(configured(files, "there", **on_workers(dask_session)))
    assert trouble[:-1] in messages(events)
    assert not processes(events) & set(dask_session.pids())
    assert stored(files / "there") == stored(files / "here")


def test_a_refused_row_is_the_sentence_of_one_process_and_leaves_no_scratch(files, dask_session):
    bad = log_of(2000).astype({"item_id": "Int64"})
    bad.loc[1234, "item_id"] = 99
    bad.to_parquet(files / "log" / "9.parquet")
    said = []
    for workspace, compute in (("a", {"cluster": "synchronous"}), ("b", on_workers(dask_session))):
        with pytest.raises(DataError) as refused:
            ingest_events(configured(files, workspace, **compute))
        said.append(str(refused.value))
    assert said[0] == said[1]
    assert not (files / "b" / "scratch").exists()


def test_local_workers_ingest_and_end_before_the_solve(files):
    config = configured(files, "w", cluster="local", workers=2, distributed_ingest_rows=0)
    events = []
    result = run(config, until="fit", on_event=events.append)
    assert "the workers ingest" in messages(events)
    assert result["stage_seconds"]["cluster start"] > 0
    solved = {event.pid for event in events if event["kind"] == "tile"}
    assert not processes(events) & solved
    ingest_events(configured(files, "here", cluster="synchronous"))
    assert stored(files / "w") == stored(files / "here")


def test_scratch_of_a_killed_ingest_is_emptied_by_the_next(files, dask_session):
    config = configured(files, "w", **on_workers(dask_session))
    Workspace.create(config.workspace)
    left = files / "w" / "scratch" / "another" / "pass" / "part"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(10))
    ingest_events(config)
    assert not (files / "w" / "scratch").exists()


def test_progress_counts_up_to_the_total(files, dask_session):
    for workspace, compute in (("a", {"cluster": "synchronous"}), ("b", on_workers(dask_session))):
        chunks = [e for e in ingest_events(configured(files, workspace, **compute)) if e["kind"] == "chunk"]
        assert {event.stage for event in chunks} == {"ingest"}
        assert [event.done for event in chunks] == list(range(1, len(chunks) + 1))
        assert chunks[-1].total == len(chunks)
