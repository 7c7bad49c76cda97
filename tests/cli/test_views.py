"""Views of documents: figures and words are shown as they are, and nothing in them is obeyed."""

import io
import json

from rich.console import Console

from l3ae_dist.cli.views.records import record_table
from l3ae_dist.cli.views.result import print_data, print_result
from l3ae_dist.cli.views.status import print_everything, print_status
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.operations.status import workspace_status
from l3ae_dist.storage import layout
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

STATS = DatasetStats(
    n_users=2,
    n_items=3,
    nnz={"train": 4},
    read={"interactions": {"files": 2, "rows": 9}, "items": {"files": 0, "rows": 3}},
    dropped={"zero_weights": 2, "duplicates": 3},
    notes=("[bold]x[/bold]\x1b[2J was left out",),
)
LINES = [
    "Read 9 rows of interactions in 2 files and 3 rows of items.",
    "Kept 4 interactions of 2 users and 3 items.",
    "Dropped 2 rows of weight 0; merged 3 duplicates.",
    "Note: [bold]x[/bold]\\x1b[2J was left out",
]


def printed(view, *values):
    out = io.StringIO()
    view(Console(file=out, width=80), *values)
    return out.getvalue().splitlines()


def test_what_was_read_kept_and_dropped_stands_in_the_outcome_of_a_run():
    assert printed(print_data, STATS.record()) == LINES
    told = printed(print_result, {"dataset": {"id": "d", **STATS.record()}, "workspace": "w"})
    assert told[: len(LINES)] == LINES
    assert printed(print_data, {}) == []


def test_status_shows_it_for_every_dataset_of_the_workspace(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    workspace.mark_stage(Stage.INGEST, "d", {}, STATS.record())
    workspace.mark_stage(Stage.GRAM, "g", {}, {"tasks": 1})
    found = workspace_status(workspace.url).document()
    assert found["stages"]["ingest"][0]["stats"]["dropped"] == STATS.dropped
    assert "stats" not in found["stages"]["gram"][0]
    told = printed(print_everything, found)
    first = told.index("Data d")
    assert told[first + 1 : first + 1 + len(LINES)] == LINES
    short = printed(print_status, found)
    assert [line for line in short if line.startswith("Data: ")] == [f"Data: {line}" for line in LINES]


def test_status_is_a_dozen_lines_with_what_is_missing(tmp_path):
    result = {
        "run": "r1",
        "finished": "2026-11-28T08:09:10+00:00",
        "seconds": 75.0,
        "peak_memory_bytes": {"worker_max": 2**30},
        "models": {"EASE": {"test": {"ndcg@20": 0.25}}},
        "model": {"name": "ease-1"},
    }
    current = {"name": "ease-1", "member": "EASE", "params": {}, "by": "run", "figures": {"ndcg@20": 0.25}}
    arrays = {f"factors/a/{number}": {"done": 2, "total": 3 + number} for number in range(6)}
    found = workspace_status(Workspace.create(tmp_path).url).document()
    told = printed(
        print_status,
        found | {"results": [result, {"run": "r0"}], "arrays": arrays, "current": current},
        "w/report.html",
    )
    assert told[0] == "EASE has a test ndcg@20 of 0.2500."
    assert any(line.startswith("Current model: ease-1, EASE") for line in told)
    assert "Last run: r1, finished 2026-11-28 08:09 UTC after 1:15, largest worker 1.00 GiB" in told
    assert "Report: w/report.html" in told
    assert any(line.startswith("Not finished: factors/a/0 (2 of 3), ") and "3 more" in line for line in told)
    assert len(told) <= 12
    bare = printed(print_status, found)
    assert "Last run: none has finished" in bare
    assert "Current model: none was fitted yet" in bare
    other = printed(print_status, found | {"results": [result], "current": current | {"name": "ease-2"}})
    assert not other[0].startswith("EASE has")  # the figures of another model
    lost = [{"array": "a", "i": 0, "j": 0, "problem": f"chunk {number} is gone"} for number in range(50)]
    assert "Lost: 47 more chunks" in printed(print_status, found | {"lost": lost})


def test_status_says_what_one_look_at_a_lock_can_tell(tmp_path):
    workspace = Workspace.create(tmp_path)
    with WorkspaceLock(workspace, "run-1"):
        told = " ".join(printed(print_status, workspace_status(str(tmp_path)).document()))
        assert "Held by run run-1 (host " in told
        assert "last heartbeat 0 s ago" in told
        record = json.loads(workspace.blobs.get(layout.LOCK)) | {"host": "elsewhere"}
        kept = workspace.blobs.get(layout.LOCK)
        workspace.blobs.put(layout.LOCK, [json.dumps(record).encode()])
        told = " ".join(printed(print_status, workspace_status(str(tmp_path)).document()))
        assert "host elsewhere" in told
        assert "last heartbeat unknown: it is of another machine" in told
        workspace.blobs.put(layout.LOCK, [kept])
    assert "Held by" not in " ".join(printed(print_status, workspace_status(str(tmp_path)).document()))


def test_a_result_without_a_test_split_says_so_and_shows_no_nan():
    test = {"ndcg@20": float("nan"), "recall@20": float("nan")}
    nothing = {"models": ["EASE", "L3AE"], "metric": "ndcg@20", "users": 0.0, "lift": float("nan")}
    result = {"models": {"EASE": {"test": test}}, "comparisons": [nothing], "workspace": "w"}
    told = printed(print_result, result | {"dataset": {"id": "d", **STATS.record(), "nnz": {"train": 9}}})
    assert "Nothing is held out for a test, so nothing was measured." in told
    assert "nan" not in " ".join(told)


def test_reasons_are_told_by_their_titles():
    reasons = [{"item_id": 1, "title": "Alien", "total": 0.1}, {"item_id": 2, "title": "", "total": 0.1}]
    told = " ".join(printed(lambda console, rows: console.print(record_table(rows)), [{"reasons": reasons}]))
    assert "Alien; 2" in told
