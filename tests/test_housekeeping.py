"""``du``, ``gc`` and the preflight of storage."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from l3ae_dist import cli, preflight
from l3ae_dist.cli_verify import damaged_chunks
from l3ae_dist.config import make_config
from l3ae_dist.errors import WorkspaceError, WorkspaceLockedError
from l3ae_dist.housekeeping import collect_garbage, usage
from l3ae_dist.model import load_model
from l3ae_dist.pipeline import run
from l3ae_dist.preflight import StorageNeed
from l3ae_dist.prices import PriceConfig
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask
N = 40


def tables():
    rng = np.random.default_rng(3)
    log = pd.DataFrame({"user_id": rng.integers(0, 60, 500), "item_id": rng.integers(0, N, 500)})
    return log, pd.DataFrame({"item_id": range(N)}), rng.standard_normal((N, 8)).astype(np.float32)


def fit(where, until="fit", on_event=None, prices=None, **model):
    """One run in this process; returns its result."""
    compute = {"cluster": "synchronous", "threads": 1, "dtype": "float64", "tile_size": 16}
    values = {"workspace": str(where), "model": {"reg_x": 10, "reg_f": 5, "reg_e": 10, **model},
              "evaluate": {"ks": [3, 20]}, "compute": compute, "prices": prices}  # fmt: skip
    log, items, rows = tables()
    return run(make_config(values), interactions=log, items=items, embeddings=rows, until=until,
               on_event=on_event)  # fmt: skip


def files_below(where, *folders):
    found = (p for f in folders for p in (Path(where) / f).rglob("*") if p.is_file())
    return sum(p.stat().st_size for p in found if p.name != "zarr.json")


def answers(where):
    return load_model(str(where)).recommend(list(range(10)), n=5)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """A workspace in which two models were fitted and evaluated, the second of them the current one."""
    where = tmp_path_factory.mktemp("two") / "w"
    fit(where, until=None)
    fit(where, until=None, reg_x=20)
    return where


@pytest.fixture
def workspace(two_runs, tmp_path):
    where = tmp_path / "w"
    shutil.copytree(two_runs, where)
    return where


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_usage_is_what_the_files_take(workspace):
    found = usage(str(workspace))
    for kind in ("grams", "factors", "interactions", "crosses"):
        assert found["kinds"][kind]["bytes"] == files_below(workspace, kind), kind
    assert found["kinds"]["events"]["chunks"] == 4
    assert found["bytes"] == sum(kind["bytes"] for kind in found["kinds"].values())
    assert 0 < found["free_bytes"] <= shutil.disk_usage(workspace).total
    shown = invoke("du", workspace)
    assert shown.exit_code == 0
    assert "factors" in shown.stdout
    assert "are free on its disk" in shown.stdout
    assert json.loads(invoke("du", workspace, "--json").stdout)["kinds"] == found["kinds"]


def test_a_dry_run_tells_what_the_real_one_then_deletes(workspace):
    before = files_below(workspace, "factors", "crosses", "grams", "semantic", "models", "scores")
    planned = collect_garbage(str(workspace), dry_run=True)
    assert files_below(workspace, "factors", "crosses", "grams", "semantic", "models", "scores") == before
    done = collect_garbage(str(workspace))
    assert done["deleted"] == planned["deleted"]
    assert done["bytes"] > 0
    after = files_below(workspace, "factors", "crosses", "grams", "semantic", "models", "scores")
    assert before - after == done["bytes"]
    assert collect_garbage(str(workspace))["deleted"] == {}


def test_the_current_model_answers_as_before_and_nothing_is_damaged(workspace):
    want = answers(workspace)
    collect_garbage(str(workspace))
    pd.testing.assert_frame_equal(answers(workspace), want)
    assert damaged_chunks(str(workspace), lambda event: None)[1] == []
    assert load_model(str(workspace)).workspace.gram.done()


def test_a_run_whose_matrices_were_deleted_makes_them_again_in_the_same_bits(workspace, two_runs):
    collect_garbage(str(workspace))
    events = []
    assert not fit(workspace, until=None, on_event=events.append)["reused"]
    made = {(e["stage"], e["array"]) for e in events if e["kind"] == "tile" and not e["skipped"]}
    assert {("factor", "L"), ("invert", "P")} <= made
    assert ("gram", "gram") not in made
    for path in sorted((two_runs / "factors").rglob("P/c/*/*")):
        again = workspace / path.relative_to(two_runs)
        assert not again.exists() or again.read_bytes() == path.read_bytes()
    assert fit(workspace, until=None)["reused"]


def test_models_of_earlier_runs_are_kept_on_request(workspace):
    assert collect_garbage(str(workspace), keep_runs=1, dry_run=True)["bytes"] > 0
    kept = collect_garbage(str(workspace), keep_runs=2)["kept"]
    assert len([root for root in kept if root.startswith("factors/")]) == 2
    assert fit(workspace, until=None)["reused"]


def test_what_an_unfinished_run_would_go_on_with_is_kept(tmp_path):
    class Stop(Exception):
        pass

    def stop(event):
        if event["kind"] == "tile" and event["stage"] == "linv":
            raise Stop

    where = tmp_path / "w"
    fit(where, reg_x=20)
    with pytest.raises(Stop):
        fit(where, on_event=stop)
    collect_garbage(str(where))
    events = []
    fit(where, on_event=events.append)
    factor = [e for e in events if e["kind"] == "tile" and e["stage"] == "factor" and not e["skipped"]]
    assert factor == []


def test_events_of_old_runs_are_deleted_beyond_the_retention(workspace):
    assert len(list((workspace / "meta" / "events").iterdir())) == 4
    shown = invoke("gc", workspace, "--keep-events", 1, "--dry-run")
    assert "2 event files would be deleted" in " ".join(shown.stdout.split())
    assert collect_garbage(str(workspace), keep_events=1)["events"] == 2
    (name,) = {path.stem for path in (workspace / "meta" / "events").iterdir()}
    current = load_model(str(workspace)).workspace.read_doc("model")["run"]
    assert name.startswith(current)


def test_a_workspace_that_is_written_to_is_left_alone(workspace):
    with WorkspaceLock(Workspace.open(workspace), "somebody"):
        with pytest.raises(WorkspaceLockedError):
            collect_garbage(str(workspace))
        shown = invoke("gc", workspace)
    assert shown.exit_code == WorkspaceLockedError.exit_code
    assert shown.stderr.startswith("error: ")
    assert invoke("du", workspace.parent / "nothing").exit_code == WorkspaceError.exit_code


def test_a_disk_without_room_is_refused_before_the_tiles_with_the_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "free_bytes", lambda workspace: 1000)
    with pytest.raises(WorkspaceError, match=r"need another 0\.00 GiB of disk at .* are free; free space"):
        fit(tmp_path / "w")
    assert not (tmp_path / "w" / "grams").exists()


def test_the_need_is_what_the_stages_leave_at_their_fullest(tmp_path):
    most = 0

    def measure(event):
        nonlocal most
        if event["kind"] == "tile":
            most = max(most, files_below(tmp_path / "w", "grams", "factors"))

    result = fit(tmp_path / "w", on_event=measure)
    need = result["storage"]
    # the chunks of the last row and column are stored whole
    tiles = need["bytes"] // (16 * 16 * 8 + 4)
    assert need["bytes"] == tiles * (16 * 16 * 8 + 4)
    assert 0.9 * need["bytes"] <= most <= need["bytes"] + 4096
    assert need["objects"] == 2 * tiles
    assert (need["already"], need["cost"]) == (0, None)


def test_what_is_there_already_is_not_needed_again(tmp_path):
    fit(tmp_path / "w")
    again = fit(tmp_path / "w", reg_e=20, reg_x=0)  # the same ridge
    assert again["storage"]["already"] > 0


def test_a_price_is_told_where_prices_are_given(tmp_path):
    need = StorageNeed(bytes=2 * 2**30, objects=10, writes=2000, reads=5000, already=0)
    assert need.cost(PriceConfig(storage_gib_month=3.0, per_1000_writes=0.5, per_1000_reads=0.1)) == 7.5
    said = []
    prices = {"storage_gib_month": 1e6, "per_1000_writes": 5.0}
    found = fit(tmp_path / "w", prices=prices,
                on_event=lambda e: said.append(e.get("message", "")) if e["kind"] == "log" else None)  # fmt: skip
    assert found["storage"]["cost"] > 0
    assert any("storage for a month and requests cost about" in message for message in said)
