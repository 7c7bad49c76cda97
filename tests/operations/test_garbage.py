"""``du`` and ``gc``."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from small_fits import N, Stop, fit, stop_in
from typer.testing import CliRunner

from l3ae_dist.cli import app as cli
from l3ae_dist.embed.core_order import order_embeddings
from l3ae_dist.errors import WorkspaceError, WorkspaceLockedError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.operations.garbage import collect_garbage
from l3ae_dist.operations.usage import workspace_usage
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask
GFCF = {"name": "gfcf", "rank": 4}


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


def factors_of(roots):
    return [root for root in roots if root.startswith("factors/")]


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_usage_is_what_the_files_take(workspace):
    found = workspace_usage(str(workspace))
    for kind in ("grams", "factors", "interactions", "crosses"):
        assert found.kinds[kind].bytes == files_below(workspace, kind), kind
    assert found.kinds["events"].chunks == 4
    assert found.bytes == sum(kind.bytes for kind in found.kinds.values())
    assert 0 < found.free_bytes <= shutil.disk_usage(workspace).total
    shown = invoke("du", workspace)
    assert shown.exit_code == 0
    assert "factors" in shown.stdout
    assert "are free on its disk" in shown.stdout
    assert json.loads(invoke("du", workspace, "--json").stdout)["kinds"] == found.document()["kinds"]


def test_a_dry_run_tells_what_the_real_one_then_deletes(workspace):
    before = files_below(workspace, "factors", "crosses", "grams", "semantic", "models", "scores")
    planned = collect_garbage(str(workspace), dry_run=True)
    assert files_below(workspace, "factors", "crosses", "grams", "semantic", "models", "scores") == before
    done = collect_garbage(str(workspace))
    assert done.deleted == planned.deleted
    assert done.freed_bytes > 0
    after = files_below(workspace, "factors", "crosses", "grams", "semantic", "models", "scores")
    assert before - after == done.freed_bytes
    assert collect_garbage(str(workspace)).deleted == {}


def test_the_current_model_answers_as_before_and_nothing_is_damaged(workspace):
    want = answers(workspace)
    collect_garbage(str(workspace))
    pd.testing.assert_frame_equal(answers(workspace), want)
    assert verify_workspace(str(workspace), lambda event: None).damage == []
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
    assert collect_garbage(str(workspace), keep_runs=1, dry_run=True).freed_bytes > 0
    kept = collect_garbage(str(workspace), keep_runs=2).kept
    assert len(factors_of(kept)) == 2
    assert fit(workspace, until=None)["reused"]


def test_what_an_unfinished_run_would_go_on_with_is_kept(tmp_path):
    where = tmp_path / "w"
    fit(where, reg_x=30)
    fit(where, reg_x=20)
    with pytest.raises(Stop):
        fit(where, on_event=stop_in("linv"))
    found = collect_garbage(str(where))
    assert found.freed_bytes > 0  # the first model's
    assert any(root.startswith("factors/") for root in found.unfinished)
    events = []
    fit(where, on_event=events.append)
    factor = [e for e in events if e["kind"] == "tile" and e["stage"] == "factor" and not e["skipped"]]
    assert factor == []


def test_what_an_abandoned_run_left_is_deleted_on_request(tmp_path):
    where = tmp_path / "w"
    fit(where, reg_x=20)
    with pytest.raises(Stop):
        fit(where, on_event=stop_in("linv"))
    fit(where, reg_x=20, reg_e=30)  # a later run does not make the first one finished
    assert len(factors_of(collect_garbage(str(where), dry_run=True).kept)) == 2
    shown = invoke("gc", where)
    assert "are kept for runs that have not finished; --force deletes them" in shown.stdout
    assert len(factors_of(collect_garbage(str(where), force=True).kept)) == 1
    assert verify_workspace(str(where), lambda event: None).damage == []


def test_a_finished_run_that_is_repeated_and_killed_is_unfinished_again(workspace):
    collect_garbage(str(workspace))
    time.sleep(1.1)  # results tell their second
    with pytest.raises(Stop):
        fit(workspace, until=None, on_event=stop_in("linv"))
    found = collect_garbage(str(workspace))
    assert len(factors_of(found.unfinished)) == 1


def test_events_of_old_runs_are_deleted_beyond_the_retention(workspace):
    assert len(list((workspace / "meta" / "events").iterdir())) == 4
    shown = invoke("gc", workspace, "--keep-events", 1, "--dry-run")
    assert "2 event files would be deleted" in " ".join(shown.stdout.split())
    assert collect_garbage(str(workspace), keep_events=1).events == 2
    (name,) = {path.stem for path in (workspace / "meta" / "events").iterdir()}
    current = load_model(str(workspace)).workspace.read_doc("model")["run"]
    assert name.startswith(current)


def test_eigenvectors_and_roots_are_kept_for_the_model_that_filters_and_deleted_after_it(tmp_path):
    where = tmp_path / "w"
    fit(where, **GFCF)
    want = answers(where)
    assert collect_garbage(str(where)).deleted == {}
    pd.testing.assert_frame_equal(answers(where), want)
    fit(where)
    deleted = collect_garbage(str(where)).deleted
    assert {path.split("/")[0] for path in deleted} == {"grams", "roots", "spectral"}
    assert verify_workspace(str(where), lambda event: None).damage == []
    fit(where, **GFCF)  # their records went with them, so they are made again
    pd.testing.assert_frame_equal(answers(where), want)


def test_what_a_filter_that_was_interrupted_would_go_on_with_is_kept(tmp_path):
    where = tmp_path / "w"
    fit(where)
    with pytest.raises(Stop):
        fit(where, on_event=stop_in("gram"), **GFCF)
    kept = collect_garbage(str(where))
    assert {path.split("/")[0] for path in kept.unfinished} >= {"roots", "spectral"}
    gone = collect_garbage(str(where), force=True).deleted
    assert {path.split("/")[0] for path in gone} >= {"roots", "spectral"}


def test_a_transformation_is_kept_for_the_model_on_its_embeddings_and_deleted_after_it(tmp_path):
    where = tmp_path / "w"
    fit(where, transform={"standardize": True})
    (path,) = (path for path in collect_garbage(str(where)).kept if path.startswith("transforms/"))
    want = answers(where)
    fit(where)
    collected = collect_garbage(str(where))
    assert path in collected.deleted
    transformed = path.replace("transforms/", "embeddings/")  # the given ones stay
    assert [one for one in collected.deleted if one.startswith("embeddings/")] == [transformed]
    assert verify_workspace(str(where), lambda event: None).damage == []
    fit(where, transform={"standardize": True})
    assert path in collect_garbage(str(where)).kept
    pd.testing.assert_frame_equal(answers(where), want)


def features_of(where):
    """Id of the embeddings of the current model."""
    return load_model(str(where)).document.embedding


def test_copies_of_embeddings_without_a_record_are_deleted_and_rows_on_their_way_are_not(tmp_path):
    """A killed run leaves them so, and damage that is taken out."""
    where = tmp_path / "w"
    fit(where, transform={"standardize": True})
    transformed = features_of(where)
    fit(where)
    given, workspace = features_of(where), Workspace.open(where)
    dataset = load_model(str(where)).document.dataset
    other = SimpleNamespace(workspace=workspace, id=dataset, order=np.arange(N)[::-1])
    ordered = order_embeddings(given, other)
    for copy in (transformed, ordered):
        workspace.reopen_stage(Stage.EMBED, copy)
    begun = ChunkArray.create(workspace, layout.embeddings("begun"), shape=(2, 2), chunks=(1, 2), dtype="f4")
    begun.write(0, 0, np.ones((1, 2)))
    deleted = collect_garbage(str(where)).deleted
    found = {path for path in deleted if path.startswith("embeddings/")}
    assert found == {layout.embeddings(transformed), layout.embeddings(ordered)}
    assert begun.done() == {(0, 0)}
    assert not workspace.has(layout.embeddings(transformed))
    assert verify_workspace(str(where), lambda event: None).damage == []


def test_copies_and_transformations_are_kept_while_the_record_of_a_kept_model_is_missing(tmp_path):
    where = tmp_path / "w"
    fit(where, transform={"whiten": 0.5})
    other = features_of(where)
    fit(where, transform={"standardize": True})
    features, want = features_of(where), answers(where)
    fit(where)
    workspace = Workspace.open(where)
    workspace.reopen_stage(Stage.EMBED, features)
    kept = collect_garbage(str(where), keep_runs=2).kept
    for one in (features, other):
        assert {layout.transform(one), layout.embeddings(one)} <= set(kept)
    fit(where, transform={"standardize": True})
    pd.testing.assert_frame_equal(answers(where), want)
    deleted = collect_garbage(str(where)).deleted
    assert {layout.transform(other), layout.embeddings(other)} <= set(deleted)


def test_a_workspace_that_is_written_to_is_left_alone(workspace):
    with WorkspaceLock(Workspace.open(workspace), "somebody"):
        with pytest.raises(WorkspaceLockedError):
            collect_garbage(str(workspace))
        shown = invoke("gc", workspace)
    assert shown.exit_code == WorkspaceLockedError.exit_code
    assert shown.stderr.startswith("error: ")
    assert invoke("du", workspace.parent / "nothing").exit_code == WorkspaceError.exit_code


def test_scratch_of_a_killed_ingest_is_counted_and_deleted(workspace):
    for name in ("a", "b"):
        path = workspace / "scratch" / "datasetid" / "pass" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))
    found = workspace_usage(str(workspace))
    assert (found.kinds["scratch"].chunks, found.kinds["scratch"].bytes) == (2, 200)
    assert collect_garbage(str(workspace), dry_run=True).deleted["scratch/datasetid"] == 200
    assert (workspace / "scratch").exists()
    assert collect_garbage(str(workspace)).deleted["scratch/datasetid"] == 200
    assert not list((workspace / "scratch").rglob("*/*"))
    assert "scratch" not in workspace_usage(str(workspace)).kinds


def test_on_object_storage_gc_says_that_it_knows_no_reader(s3_environment, monkeypatch, workspace):
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    url = "s3://bucket/collected"
    for ridge in (10, 20):
        fit(url, name="ease", reg_x=ridge)
    told = " ".join(invoke("gc", url, "--dry-run").output.split())
    assert "who has a model of this workspace open is not known on object storage" in told
    assert not json.loads(invoke("gc", url, "--json").output)["readers_known"]
    assert "not known" not in invoke("gc", url).output  # nothing is deleted
    done = invoke("gc", workspace, "--json")
    assert json.loads(done.output)["readers_known"]
    assert json.loads(done.output)["deleted"]
    assert "not known" not in invoke("gc", workspace, "--dry-run").output
