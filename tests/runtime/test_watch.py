"""``l3ae-dist watch`` and the page ``/l3ae``, during real runs."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest
from browser import open_page
from typer.testing import CliRunner

from l3ae_dist.cli import app as cli
from l3ae_dist.config.load import make_config
from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime.events import event_of
from l3ae_dist.storage.workspace import Workspace

ARTIFACTS = Path(os.environ.get("L3AE_ARTIFACTS") or Path(tempfile.gettempdir()) / "l3ae-artifacts")
N = 640


def tables():
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, 300, 8000), "item_id": rng.integers(0, N, 8000)})
    return log, pd.DataFrame({"item_id": range(N)})


def config(where, **compute):
    values = {"workers": 2, "threads": 1, "dtype": "float32", "tile_size": 32, "memory_budget": "1GiB"}
    model = {"name": "ease", "reg_x": 5}
    return make_config({"workspace": str(where), "model": model, "compute": {**values, **compute}})


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.mark.dask
@pytest.mark.timeout(180)
def test_the_page_shows_the_tiles_of_a_run_while_it_runs(tmp_path):
    log, items = tables()
    address, seen, at_work, looked = [], {}, threading.Event(), threading.Event()

    def look():
        assert at_work.wait(60)
        with urlopen(f"{address[0]}.json") as answer:
            seen["document"] = json.load(answer)
        with open_page(address[0], tmp_path / "profile") as page:
            seen["text"] = page.wait_for("linv")
            time.sleep(0.5)  # drawn
            page.screenshot(ARTIFACTS / "tiles-page.png")
            page.call("Emulation.setDeviceMetricsOverride", width=420, height=1600, deviceScaleFactor=1,
                      mobile=True)  # fmt: skip
            time.sleep(0.5)
            page.screenshot(ARTIFACTS / "tiles-page-narrow.png")

    def watch_and_go_on():
        try:
            look()
        except BaseException as error:  # a skip or a failure, raised again below
            seen["error"] = error
        finally:
            looked.set()

    def on_event(event):
        if event["kind"] == "log" and event["message"].startswith("Tiles: "):
            address.append(event["message"].removeprefix("Tiles: "))
        if event["kind"] == "tile" and event["stage"] == "linv":
            time.sleep(0.04)  # so that batches of events are sent
            if event["done"] == 120:
                at_work.set()
                assert looked.wait(100)

    watcher = threading.Thread(target=watch_and_go_on)
    watcher.start()
    result = run(config(tmp_path / "w"), interactions=log, items=items, until="fit", on_event=on_event)
    watcher.join()
    if "error" in seen:
        raise seen["error"]
    document = seen["document"]
    by_name = {stage["stage"]: stage for stage in document["stages"]}
    tiles = N // 32 * (N // 32 + 1) // 2
    assert by_name["gram"]["tiles"]["done"] == by_name["factor"]["tiles"]["done"] == tiles
    assert 55 <= by_name["linv"]["tiles"]["done"] < tiles
    assert sum(by_name["linv"]["tiles"].values()) == tiles
    assert [shown["stage"] for shown in document["maps"]] == ["gram", "factor", "linv"]
    assert document["plan"]["projected_peak_bytes"] == result["plan"]["projected_peak_bytes"]
    for words in (f"Run {result['run']}", "pending", "recomputed", "factor", "GFLOP/s", "projected at most"):
        assert words in seen["text"]
    assert (ARTIFACTS / "tiles-page.png").read_bytes()[1:4] == b"PNG"
    (report,) = (tmp_path / "w" / "meta" / "reports").iterdir()
    text = report.read_text()
    assert "Task Stream" in text
    assert not re.search(r"<(script|img)[^>]*src=.?http", text)  # needs no network


@pytest.mark.dask
def test_the_page_is_empty_before_a_run_and_escapes_what_it_shows():
    from l3ae_dist.runtime.watch.dashboard_page import head_html, stages_html
    from l3ae_dist.runtime.watch.run_view import RunView

    view = RunView()
    assert "No run has begun" in head_html(view)
    assert stages_html(view) == ""
    hostile = "<script>alert(1)</script>"
    view.take(event_of({"kind": "run_start", "time": 1.0, "run": hostile}))
    view.take(event_of({"kind": "log", "time": 2.0, "message": hostile}))
    view.take(event_of({"kind": "stage_start", "time": 2.0, "stage": hostile, "done": 0, "total": 1}))
    shown = head_html(view) + stages_html(view)
    assert "<script>" not in shown
    assert shown.count("&lt;script&gt;") >= 3


def test_the_page_tells_the_tiles_of_each_host_where_there_are_several():
    from l3ae_dist.runtime.watch.dashboard_page import stages_html
    from l3ae_dist.runtime.watch.run_view import RunView

    view = RunView()
    view.take(event_of({"kind": "run_start", "time": 1.0, "run": "r"}))
    view.take(event_of({"kind": "stage_start", "time": 2.0, "stage": "factor", "done": 0, "total": 3}))

    def tile(host, i):
        record = {"kind": "tile", "time": 3.0, "stage": "factor", "array": "L", "i": i, "j": 0, "host": host}
        view.take(event_of({**record, "done": i, "total": 3}))

    tile("a", 0)
    assert "by host" not in stages_html(view)
    tile("<b>", 1)
    tile("a", 2)
    assert "Tiles made by host: &lt;b&gt; 1, a 2" in stages_html(view)
    assert view.document()["hosts"] == {"a": 2, "<b>": 1}


@pytest.mark.dask
def test_watch_shows_a_run_that_is_over(tmp_path):
    log, items = tables()
    run(config(tmp_path / "w", cluster="synchronous"), interactions=log, items=items, until="fit")
    shown = invoke("watch", tmp_path / "w")
    assert shown.exit_code == 0
    assert "finished" in shown.stdout
    assert re.search(r"linv +│ 210/210", shown.stdout)
    assert "· pending" in shown.stdout
    found = json.loads(invoke("watch", tmp_path / "w", "--json").stdout)
    assert found["outcome"] == "finished"
    assert [stage["tiles"]["done"] for stage in found["stages"] if stage["stage"] == "factor"] == [210]


SCRIPT = """
import sys, time
sys.path[:0] = {folders!r}
from test_watch import config, run, tables

if __name__ == "__main__":
    log, items = tables()
    run(config(sys.argv[1], cluster="synchronous", tile_size=16), interactions=log, items=items, until="fit",
        on_event=lambda event: time.sleep(0.02))
"""


@pytest.mark.timeout(120)
def test_watch_follows_a_run_of_another_process_and_tells_when_it_was_killed(tmp_path):
    script, where = tmp_path / "job.py", tmp_path / "w"
    script.write_text(SCRIPT.format(folders=[str(folder) for folder in Path(__file__).parents[:2]]))
    process = subprocess.Popen([sys.executable, str(script), str(where)], start_new_session=True)
    try:
        deadline = time.monotonic() + 100
        while not list((where / "meta").glob("done/factors/**/L/*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        watcher = subprocess.Popen(
            [sys.executable, "-c", "from l3ae_dist.cli.app import main; main()", "watch", str(where)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        first = watcher.stdout.readline()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    out, _ = watcher.communicate(timeout=60)
    assert re.match(r"Run [0-9a-f]+: \d+ %, about [0-9:]+ left; now (gram|factor)", first)
    assert "ended without a word" in out
    assert watcher.returncode == 0


def test_what_cannot_be_watched_is_a_sentence(tmp_path):
    Workspace.create(tmp_path / "w")
    for where in (tmp_path / "w", tmp_path / "nothing"):
        shown = invoke("watch", where)
        assert shown.exit_code == 4
        assert shown.stderr.startswith("error: ")
        assert "l3ae-dist run" in shown.stderr


def test_the_history_of_a_run_is_bounded_and_skips_what_was_there():
    from l3ae_dist.runtime.watch.run_view import RunView

    view = RunView()
    view.take(event_of({"kind": "run_start", "time": 0.0, "run": "r"}))
    tiles = {"array": "L", "rows": 2, "columns": 2, "lower": True}
    view.take(event_of({"kind": "stage_start", "time": 1.0, "stage": "factor", "total": 3, "map": tiles}))
    tile = {"kind": "tile", "stage": "factor", "array": "L", "total": 3, "host": "h"}
    made = {"i": 0, "j": 0, "pid": 7, "started": 1.0, "seconds": 0.5, "bytes": 4_000_000, "done": 1}
    view.take(event_of({**tile, **made, "time": 1.5}))
    view.take(event_of({**tile, "i": 1, "j": 0, "pid": 8, "skipped": True, "done": 2, "time": 1.6}))
    peers = {
        "bytes_from_peers": 2_000_000,
        "i": 1,
        "j": 1,
        "pid": 9,
        "started": 3.0,
        "seconds": 1.0,
        "done": 3,
    }
    view.take(event_of({**tile, **peers, "time": 4.0}))
    (stage,) = view.stages
    assert stage.told[:, 0, 0].tolist() == [1, 500, 0]
    assert stage.told[:, 1, 0].tolist() == [0, 0, 0]
    assert stage.told[:, 1, 1].tolist() == [2, 1000, 1]
    assert [(task.worker, task.started, task.ended) for task in view.history.tasks] == [
        (1, 1.0, 1.5),
        (2, 3.0, 4.0),
    ]
    assert list(view.history.traffic) == [(3.5, 2_000_000.0)]
    for number in range(3000):
        view.take(event_of({**tile, **made, "time": 10.0 + 3 * number}))
        view.take(event_of({"kind": "memory", "time": 10.0 + number, "worker_max": 5}))
    for kept in (view.history.tasks, view.history.memory, view.history.traffic):
        assert len(kept) == 600
    view.take(event_of({**tile, **made, "time": 1e9}))  # a clock that jumps is no endless loop


@pytest.mark.dask
def test_the_page_says_that_the_run_ended_and_has_a_place_in_the_menu(tmp_path):
    log, items = tables()
    address, at_work, ended, seen = [], threading.Event(), threading.Event(), {}

    def look():
        try:
            assert at_work.wait(60)
            with urlopen(address[0].replace("/l3ae", "/status")) as answer:
                seen["menu"] = answer.read().decode()
            with open_page(address[0], tmp_path / "profile") as page:
                page.wait_for("linv")
                seen["open"] = True
                assert ended.wait(60)
                page.wait_for("The run has ended")
                seen["errors"] = [event for event in page.events if "exceptionThrown" in str(event)]
        except BaseException as error:  # raised again below
            seen["error"] = error
        finally:
            at_work.set()

    def on_event(event):
        if event["kind"] == "log" and event["message"].startswith("Tiles: "):
            address.append(event["message"].removeprefix("Tiles: "))
        if event["kind"] == "tile" and event["stage"] == "linv":
            time.sleep(0.02)
            at_work.set()
            while not seen.get("open") and "error" not in seen and event["done"] == 150:
                time.sleep(0.1)

    watcher = threading.Thread(target=look)
    watcher.start()
    run(config(tmp_path / "w"), interactions=log, items=items, until="fit", on_event=on_event)
    ended.set()
    watcher.join()
    if "error" in seen:
        raise seen["error"]
    assert 'href="l3ae"' in seen["menu"] or "/l3ae" in seen["menu"]
    assert seen["errors"] == []
