"""SIGKILL of one of two workers that ingest, at several moments: the dataset is the same to the byte."""

import functools
import os
import signal

import numpy as np
import pandas as pd
import pytest

from l3ae_dist.config.load import make_config
from l3ae_dist.pipeline.run import run

pytestmark = [pytest.mark.faults, pytest.mark.dask]

PARTS, ROWS = 12, 40_000
CORE = {"min_user_interactions": 4, "min_item_interactions": 200}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder with a catalog and a log in twelve files."""
    folder = tmp_path_factory.mktemp("tables")
    pd.DataFrame({"item_id": range(500)}).to_parquet(folder / "items.parquet")
    (folder / "log").mkdir()
    for part in range(PARTS):
        rng = np.random.default_rng(part)
        log = {"user_id": rng.integers(0, 200_000, ROWS), "item_id": rng.integers(0, 500, ROWS)}
        pd.DataFrame(log).to_parquet(folder / "log" / f"{part}.parquet")
    return folder


def configured(tables, where, options, **compute):
    return make_config(
        {
            "workspace": str(where),
            "data": {
                "interactions": str(tables / "log"),
                "items": str(tables / "items.parquet"),
                "options": options,
            },
            "model": {"name": "ease", "reg_x": 10},
            "compute": {
                "memory_budget": "390MiB",
                "threads": 1,
                "dashboard": False,
                "distributed_ingest_rows": 0,
                **compute,
            },
        }
    )


def stored(where):
    """Return the bytes of every file of the dataset of a workspace."""
    paths = (path for kind in ("items", "users", "interactions") for path in (where / kind).rglob("*"))
    return {str(path.relative_to(where)): path.read_bytes() for path in paths if path.is_file()}


@pytest.fixture(scope="module")
def alone(tables, tmp_path_factory):
    """The dataset as one process stores it for some options, and after how many tasks."""

    @functools.cache
    def made(core):
        where, events = tmp_path_factory.mktemp("alone") / "w", []
        options = CORE if core else {}
        run(configured(tables, where, options, cluster="synchronous"), until="ingest", on_event=events.append)
        return stored(where), sum(event["kind"] == "chunk" for event in events)

    return made


@pytest.mark.parametrize(
    ("core", "share"),
    [(False, 0.05), (False, 0.3), (False, 0.55), (False, 0.8), (False, 0.95), (True, 0.4), (True, 0.6)],
)
def test_a_killed_worker_changes_no_byte(tables, tmp_path, alone, on_cluster, core, share):
    dataset, tasks = alone(core)
    killed = []

    def kill_at_the_moment(event):
        if event["kind"] == "chunk" and event["done"] >= share * tasks and not killed:
            killed.append(event["pid"])
            os.kill(event["pid"], signal.SIGKILL)

    where = tmp_path / "w"
    options = CORE if core else {}
    run(configured(tables, where, options, **on_cluster), until="ingest", on_event=kill_at_the_moment)
    assert killed
    assert killed[0] != os.getpid()
    assert stored(where) == dataset
    assert not (where / "scratch").exists()
