"""The report of a run and the comparison of two: made from storage alone, safe, and drawn in a browser."""

import base64
import hashlib
import html
import json
import os
import re
import shutil
import tempfile
import time
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import yaml
from browser import open_page
from dense_sweep import dense_metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import compute, text
from scipy import stats
from typer.testing import CliRunner

from l3ae_dist.cli import app as cli
from l3ae_dist.cli.result import add_report
from l3ae_dist.config.load import make_config
from l3ae_dist.errors import ConfigError, StageMissingError
from l3ae_dist.evaluation.significance import bootstrap_means
from l3ae_dist.evaluation.verdict import verdict
from l3ae_dist.operations.status import workspace_status
from l3ae_dist.pipeline.run import provenance, run
from l3ae_dist.report import compare_runs, open_runs, write_report
from l3ae_dist.report.cautions import cautions
from l3ae_dist.report.formatting import flat
from l3ae_dist.report.plots import script_json
from l3ae_dist.report.profile import distribution
from l3ae_dist.report.result import Result
from l3ae_dist.report.run import RunRecord, find_run, read_run
from l3ae_dist.report.run_page import run_page
from l3ae_dist.report.tables import changed_yaml, stage_table
from l3ae_dist.report.trace import MOST_BARS, Trace
from l3ae_dist.report.wall_time import bottleneck, wall_parts, wall_table
from l3ae_dist.report.write import kept_report
from l3ae_dist.runtime.event_store import EventStore, attempts, read_events, stream_events
from l3ae_dist.runtime.events import StageEnd, StageStart, TileDone, WorkerKey, WorkerLost, events_of
from l3ae_dist.storage.workspace import Workspace

ARTIFACTS = Path(os.environ.get("L3AE_ARTIFACTS") or Path(tempfile.gettempdir()) / "l3ae-artifacts")
EVIL = "</script><script>alert(1)</script>"
F = text(40, 8)


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def tables():
    rng = np.random.default_rng(3)
    pairs = {(u, int(i)) for u in range(60) for i in rng.choice(38, rng.integers(5, 14), replace=False)}
    items = pd.DataFrame({"item_id": range(40), "title": [f"{EVIL} & \"{i}'" for i in range(40)]})
    items["text"] = [f"{'red' if i % 2 else 'blue'} thing number {i}" for i in range(40)]
    return pd.DataFrame(sorted(pairs), columns=["user_id", "item_id"]), items


def config(where, session, **sections):
    evaluate = {"metric": "ndcg@5", "ks": [5, 20], "beside": ["ease", "ease_text"], "bootstrap": 200}
    return make_config(
        {
            "workspace": str(where),
            "data": {"options": {"text_separator": EVIL}},
            "compute": compute(session),
            "evaluate": evaluate,
            **sections,
        }
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory, dask_session):
    """A finished grid with its report, as the command leaves it, and the same model at another ridge."""
    where = tmp_path_factory.mktemp("report") / "w"
    log, items = tables()
    grid = {"ridges": [5, 50], "reg_f": [1, 5], "reg_e": [5, 10]}
    chosen = config(where, dask_session, grid=grid)
    run(
        config(where, dask_session, model={"reg_x": 10, "reg_e": 10}),
        interactions=log,
        items=items,
        embeddings=F,
    )
    result = run(chosen, interactions=log, items=items, embeddings=F)
    again = {**run(chosen, interactions=log, items=items, embeddings=F)}
    return Workspace.open(where), add_report(result), again


class Elements(HTMLParser):
    """Start tags with attributes, text outside of scripts, and what scripts hold."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words, self.scripts, self._in_script = [], [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._in_script = True
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        else:
            self.words.append(data)

    def of(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page_of(workspace, run_id=None):
    return run_page(read_run(workspace, find_run(workspace, run_id)))


@pytest.mark.dask
def test_titles_and_settings_are_text_and_nothing_comes_from_the_network(job):
    _, result, _ = job
    page = Path(result["report"]).read_text()
    assert len(page) < 3e6
    found = Elements(page)
    assert f'{EVIL} & "' in found.text  # shown as it is
    assert "because of" in found.text
    assert re.search(r"Read [0-9,]+ rows of interactions.* Kept [0-9,]+ interactions of .* users", found.text)
    data = [script for attrs, script in found.scripts if attrs.get("type") == "application/json"]
    code = [script for attrs, script in found.scripts if "type" not in attrs]
    assert len(data) == len(found.of("figure")) > 8
    assert all(json.loads(script)["doc"] for script in data)
    # only what the policy names by its digest can run, and nothing can be fetched
    (policy,) = (meta["content"] for meta in found.of("meta") if "http-equiv" in meta)
    digests = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in code}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == digests
    assert "default-src 'none'" in policy
    assert not any("alert(1)" in script for script in code)
    for tag, attrs in found.tags:
        for name in ("src", "href", "action", "data", "srcset"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
        assert not any(name.startswith("on") for name in attrs)


@pytest.mark.dask
def test_the_page_can_be_heard_and_found_through(job):
    found = Elements(page_of(job[0]))
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    plots = [attrs for attrs in found.of("div") if attrs.get("role") == "img"]
    assert len(plots) == len({attrs["id"] for attrs in plots}) == len(found.of("figure"))
    assert all(len(attrs["aria-label"]) > 40 for attrs in plots)
    ids = {attrs["id"] for _, attrs in found.tags if "id" in attrs}
    assert all(attrs["href"][1:] in ids for attrs in found.of("a"))
    assert all("scope" in attrs for attrs in found.of("th"))
    assert found.of("html")[0]["lang"] == "en"


@pytest.mark.dask
def test_the_report_is_made_again_from_storage_alone_byte_for_byte(job, tmp_path):
    workspace, result, again = job
    written = Path(result["report"]).read_bytes()
    assert add_report(again)["report"] == result["report"]
    os.utime(result["report"], (1, 1))
    assert add_report(again)["report"] == kept_report(workspace.url, result["run"])
    assert Path(result["report"]).stat().st_mtime == 1  # a run that was reused keeps its report
    shown = invoke("report", workspace.url, "--run", result["run"][:8], "--output", tmp_path / "r.html")
    assert shown.exit_code == 0, shown.stderr
    assert f"Report: {tmp_path / 'r.html'}" in shown.stdout
    assert (tmp_path / "r.html").read_bytes() == written
    found = json.loads(invoke("report", workspace.url, "--json").stdout)
    assert set(found) == {"workspace", "run", "report", "outcome", "warnings"}
    assert found["outcome"] == "finished"


@pytest.mark.dask
def test_the_report_tells_what_ran_and_how_well(job):
    workspace, result, _ = job
    shown = Elements(page_of(workspace)).text
    for model, found in result["models"].items():
        low, high = found["intervals"]["all"]["ndcg@5"]
        assert low <= found["test"]["ndcg@5"] <= high
        assert f"{found['test']['ndcg@5']:.4f} ({low:.4f} to {high:.4f})" in shown, model
        head = found["intervals"]["head"]["recall@5"]
        assert head[0] <= found["test"]["head"]["recall@5"] <= head[1]
    for name, version in result["versions"].items():
        assert f"{name} {version}" in shown
    assert "grid.ridges 5, 50" in shown
    assert "not calibrated" in shown
    assert "Only 60 users have test items" in shown
    trace = read_run(workspace, result["run"]).trace
    assert {"factor", "linv", "invert", "score"} <= set(trace.stages)
    assert "Found complete and reused: gram (all of it)." in shown  # the embeddings were given
    assert trace.stages["factor"].passes == trace.stages["invert"].passes >= 2
    assert sum(trace.stages["factor"].doing.values()) > 0


@pytest.mark.dask
def test_warnings_tell_what_a_careful_reader_would_ask(job):
    record = read_run(job[0], job[1]["run"])
    document = job[0].read_doc(f"results/{record.run}")
    # the run's only process is this one, which other tests have filled
    found, plan = {**document, "peak_memory_bytes": {"worker_max": 1}}, record.plan
    quiet = cautions(replace(record, result=Result.of(found)))
    near = {**found["certificate"], "residual": 0.6 * found["certificate"]["tolerance"], "condition": 1e13}
    rows = [
        {"model": "L3AE", "ridge": r, "reg_f": 1, "reg_e": 5, "ndcg@5": v}
        for r, v in ((5, 1), (6, 2), (7, 3))
    ]
    chance = {**found["comparison"], "low": -0.1, "high": 0.1}
    cases = [
        ("over the projection", {"peak_memory_bytes": {"worker_max": plan.projected_peak_bytes + 1}}),
        ("over the budget", {"peak_memory_bytes": {"worker_max": plan.memory_budget + 1}}),
        ("is near its tolerance", {"certificate": near}),
        ("is high for float64", {"certificate": near}),
        ("a sample of 30 of 60 users", {"users": 30}),
        ("edge of the values that were tried: ridge 7 (largest)", {"grid": rows}),
        ("it may be chance", {"comparisons": [chance]}),
    ]
    for words, changed in cases:
        assert not any(words in text for text in quiet) or words == "it may be chance"
        assert any(
            words in text for text in cautions(replace(record, result=Result.of({**found, **changed})))
        ), words
    older = replace(record, earlier_versions=({**record.versions, "numpy": "1.0"},))
    assert any("other versions: numpy 1.0" in text for text in cautions(older))
    stopped = cautions(replace(record, outcome="failed: KeyboardInterrupt", result=Result()))
    assert stopped[0] == (
        "The run is not complete: failed: KeyboardInterrupt. Figures of what it did not reach are missing."
    )


@pytest.mark.dask
def test_ease_text_beside_l3ae_has_the_figures_of_the_dense_formulas(job):
    _, result, _ = job
    assert list(result["models"]) == ["L3AE", "EASE", "EASEText"]
    assert [one["models"] for one in result["comparisons"]] == [["L3AE", "EASE"], ["L3AE", "EASEText"]]
    assert result["comparison"] == result["comparisons"][0]
    found = result["models"]["EASEText"]
    want = dense_metrics(result, {"model": "EASEText", **found["params"]}, F, "test")
    assert found["test"]["ndcg@5"] == pytest.approx(want["ndcg@5"], abs=1e-12)
    assert found["test"]["tail"]["recall@20"] == pytest.approx(want["tail"]["recall@20"], abs=1e-12)


@pytest.mark.dask
def test_a_calibration_in_the_workspace_sets_rates_against_the_peak(job):
    workspace = job[0]
    rates = {"float64": {"gemm_nt": {"8": 50.0, "1024": 80.0}}}
    calibration = {"gflops": rates, "assumed": True, "date": "2026-11-25", "device": "cpu", "threads": 2}
    workspace.write_doc("calibration", calibration)
    try:
        shown = Elements(page_of(workspace)).text
        workspace.write_doc("calibration", calibration | {"device": "cuda"})
        assert "of the calibrated peak" not in Elements(page_of(workspace)).text
        workspace.write_doc("calibration", {"gflops": "damaged"})
        assert "of the calibrated peak" not in Elements(page_of(workspace)).text
    finally:
        workspace.delete_doc("calibration")
    assert "of the calibrated peak" in shown
    assert "(assumed, not measured)" in shown


@pytest.mark.dask
def test_two_runs_side_by_side(job, tmp_path):
    workspace, result, _ = job
    other, own = (record.run for record in open_runs([workspace.url]))
    assert own == result["run"]
    spellings = [
        [workspace.url],
        [f"{workspace.url}#{other[:6]}", workspace.url],
        ["--workspace", workspace.url, other[:6], own],
    ]
    for arguments in spellings:
        shown = json.loads(invoke("compare", *arguments, "--json").stdout)
        assert [side["run"] for side in shown["runs"]] == [other, own]
    changed = {row["name"]: (row["a"], row["b"]) for row in shown["configuration"]}
    assert changed["grid.reg_f"] == (None, [1.0, 5.0])
    assert "workspace" not in changed
    assert shown["versions"] == []
    models = {row["model"] for row in shown["metrics"]}
    assert models == {"L3AE", "EASE", "EASEText"}
    first = next(row for row in shown["metrics"] if (row["part"], row["model"]) == ("all", "L3AE"))
    assert first["difference"] == pytest.approx(first["b"]["value"] - first["a"]["value"])
    assert first["b"]["value"] == result["models"]["L3AE"]["test"]["ndcg@5"]
    told = invoke("compare", workspace.url, "--output", tmp_path / "c.html")
    assert told.exit_code == 0, told.stderr
    assert "What differs in the configuration" in told.stdout
    page = Elements((tmp_path / "c.html").read_text())
    assert f"A: run {other}" in page.text
    assert len(page.of("figure")) == 2


@pytest.mark.dask
def test_a_killed_run_is_shown_as_far_as_it_came(job, tmp_path):
    workspace, result, _ = job
    (attempt,) = (one for one in attempts(workspace) if one.run == result["run"])
    events = read_events(workspace, attempt)
    assert list(stream_events(workspace, attempt)) == events
    killed = Workspace.create(tmp_path / "killed")
    store = EventStore(killed, result["run"])
    half = next(
        i for i, event in enumerate(events) if event.get("stage") == "linv" and event["kind"] == "tile"
    )
    store.append(events[: half // 2])
    store.append([*events[half // 2 : half + 1], WorkerLost(time=events[half].time, worker="w")])
    found = write_report(killed.url)
    assert found["outcome"].startswith("ended without a word")
    assert any("1 worker was lost" in warning for warning in found["warnings"])
    shown = Elements(Path(found["report"]).read_text()).text
    assert "The run measured nothing" in shown
    assert "Cholesky factor L" in shown
    assert "grid.ridges 5, 50" in shown  # its first event keeps the configuration
    # gc takes the report with the events of the execution
    assert invoke("gc", killed.url, "--keep-events", "0", "--force").exit_code == 0
    assert kept_report(killed.url, result["run"]) is None


@pytest.mark.dask
def test_runs_without_models_and_reports_that_cannot_be_written(tmp_path, dask_session):
    log, items = tables()
    result = run(config(tmp_path / "w", dask_session), interactions=log, items=items, until="ingest")
    shown = Elements(Path(write_report(tmp_path / "w")["report"]).read_text()).text
    for words in (
        "The run measured nothing",
        "The run fitted no model",
        "The run solved no system",
        "items 40",
    ):
        assert words in shown
    for file in (tmp_path / "w" / "meta" / "reports").iterdir():
        file.unlink()
    (tmp_path / "w" / "meta" / "reports").rmdir()
    (tmp_path / "w" / "meta" / "reports").write_text("in the way")
    assert "report" not in add_report(result)  # the run is complete all the same


def test_what_is_not_there_is_a_sentence_and_an_exit_code(tmp_path):
    empty = Workspace.create(tmp_path / "w").url
    cases = [
        (["report", empty], 4, "holds no runs yet"),
        (["report", tmp_path / "nowhere"], 4, "no workspace at"),
        (["compare", empty], 4, "0 finished runs"),
        (["compare", empty, empty, empty], 2, "takes two runs"),
    ]
    for arguments, code, words in cases:
        done = invoke(*arguments)
        assert (done.exit_code, words in done.stderr) == (code, True), done.stderr
        assert "Traceback" not in done.stderr
    workspace = Workspace.open(empty)
    for name in ("ab12", "ab34"):
        workspace.write_doc(f"results/{name}", {"finished": "2026-11-25T16:18:01+00:00"})
    with pytest.raises(ConfigError, match="no run 'zz'; its runs, the latest first: ab34, ab12"):
        find_run(workspace, "zz")
    with pytest.raises(ConfigError, match="2 runs whose ids begin with 'ab'"):
        find_run(workspace, "ab")
    assert find_run(workspace, "ab1") == "ab12"
    with pytest.raises(StageMissingError):
        open_runs([str(Workspace.create(tmp_path / "v").url)])
    # results alone, of another version: shown as far as it goes
    bare = compare_runs(*open_runs([empty]))
    assert bare["metrics"] == []
    assert "keep its configuration" in bare["notes"][0]
    assert invoke("report", empty, "--output", tmp_path / "no" / "r.html").exit_code == 2


def test_secrets_in_urls_are_not_kept():
    url = "s3://me:hush@bucket/log.parquet?X-Amz-Signature=hush"
    kept = provenance(make_config({"workspace": "w", "data": {"interactions": url, "items": "a@b.csv"}}))
    assert "hush" not in json.dumps(kept)
    assert kept["config"]["data"]["items"] == "a@b.csv"
    assert set(kept) == {"config", "versions", "machine"}


def test_intervals_of_means_are_those_of_scipy():
    rng = np.random.default_rng(1)
    values = np.column_stack([rng.beta(0.5, 2, 400), rng.random(400) < 0.3])
    found = bootstrap_means(values, repeats=4000)
    assert (found == bootstrap_means(values, repeats=4000)).all()
    for column, (low, high) in zip(values.T, found, strict=True):
        want = stats.bootstrap((column,), np.mean, n_resamples=4000, method="percentile", rng=rng)
        error = column.std() / 20
        np.testing.assert_allclose([low, high], want.confidence_interval, atol=0.15 * error)
        np.testing.assert_allclose(
            [low, high], column.mean() + error * np.array([-1.96, 1.96]), atol=0.2 * error
        )
    assert np.isnan(bootstrap_means(np.empty((0, 2)))).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=200), st.integers(1, 50))
def test_counts_of_counts_tell_the_distribution(values, block):
    every = np.array(values)
    found = distribution(every[i : i + block] for i in range(0, len(every), block))
    assert (found.size, found.total) == (len(every), every.sum())
    for share in (0.1, 0.5, 0.9, 1.0):
        assert found.quantile(share) == np.quantile(every, share, method="inverted_cdf")
    top = np.sort(every)[::-1]
    want = top[: int(0.2 * len(top))].sum() / max(top.sum(), 1)
    assert found.share_of_largest(0.2) == pytest.approx(want)
    ranks, heights = found.rank_curve()
    assert heights == top[np.array(ranks, int) - 1].tolist()
    edges, counts = found.bins()
    assert sum(counts) == (every > 0).sum()
    assert edges == sorted(set(edges))


def test_a_long_run_has_few_bars_which_cover_its_tasks():
    tasks = 20_000
    event = {
        "kind": "tile",
        "stage": "factor",
        "skipped": False,
        "staged": 0.0,
        "loaded": 0.0,
        "stalled": 0.0,
    }
    rng = np.random.default_rng(0)
    starts = np.sort(rng.uniform(0, 5000, tasks))
    begin = {"kind": "stage_start", "stage": "factor", "time": 1e9}
    tiles = (
        {**event, "time": 1e9 + s + 0.2, "pid": i % 3, "started": 1e9 + s, "seconds": 0.2, "began": 1e9 + s,
         "computed": 0.2}
        for i, s in enumerate(starts.tolist())
    )  # fmt: skip
    trace = Trace.of(events_of([begin, *tiles]))
    bars = trace.merged_bars()
    assert sum(len(spans) for spans in bars.values()) <= MOST_BARS + 3
    assert trace.stages["factor"].written == tasks
    spans = bars[WorkerKey("", 0), "factor"] - 1e9
    own = starts[::3]
    assert (np.diff(spans.ravel()) > 0).all()
    assert (spans[np.searchsorted(spans[:, 0], own + 1e-6) - 1, 1] >= own + 0.2 - 1e-6).all()


def test_workers_of_two_hosts_with_the_same_process_id_have_a_lane_each():
    def tile(host, start, computed):
        times = {"started": start, "staged": start, "began": start, "seconds": computed, "computed": computed}
        return TileDone(time=start + computed, stage="factor", array="L", pid=7, host=host, **times)

    trace = Trace.of([StageStart(time=1.0, stage="factor"), tile("a", 1.0, 4.0), tile("b", 2.0, 3.0)])
    first, second = trace.workers
    assert trace.lane_names() == {first: "worker 1 on a", second: "worker 2 on b"}
    bars = trace.merged_bars()
    assert [bars[one, "factor"].tolist() for one in (first, second)] == [[[1.0, 5.0]], [[2.0, 5.0]]]
    assert trace.stages["factor"].doing == {"computing": 7.0, "reading": 0.0, "writing": 0.0, "waiting": 1.0}


def test_bytes_from_peers_have_a_column_where_there_are_any():
    def stages(**totals):
        ended = StageEnd(time=2.0, stage="factor", seconds=1.0, bytes_read=10**9, **totals)
        trace = Trace.of([StageStart(time=1.0, stage="factor"), ended])
        record = Mock(spec=RunRecord, trace=trace, has_events=True, calibration=None, plan=None, compute={})
        return stage_table(record)

    assert "from peers" not in stages().headings
    table = stages(bytes_from_peers=3 * 2**30)
    assert table.rows[0][table.headings.index("from peers")] == "3.00 GiB"


def test_json_in_a_script_cannot_end_it():
    value = {"title": f"<!-- {EVIL} \u2028 &amp;"}
    safe = script_json(json.dumps(value, ensure_ascii=False))
    assert not set("<>&\u2028") & set(safe)
    assert json.loads(safe) == value


# The least contrast (WCAG 2.2, 1.4.3) of any text of the page with the first background behind it.
CONTRAST = """
(function () {
  const rgb = text => text.match(/[0-9.]+/g).map(Number);
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  let least = [99, ""];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.closest("script, noscript")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least[0]) least = [ratio, e.outerHTML.slice(0, 80)];
  }
  return least;
})()
"""


@pytest.mark.dask
def test_a_browser_draws_every_plot_without_errors_and_without_scrolling_sideways(job, tmp_path):
    _, result, _ = job
    found = Elements(Path(result["report"]).read_text())
    count = len(found.of("figure"))
    drawn = "[...document.querySelectorAll('.plot')].filter(p => p.firstElementChild?.shadowRoot)"
    with open_page("about:blank", tmp_path / "profile") as page:
        page.call("Log.enable")
        page.call("Runtime.enable")
        page.call("Page.navigate", url=f"file://{result['report']}")
        for width in (1320, 390):
            page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
                      mobile=width < 500)  # fmt: skip
            deadline = time.monotonic() + 30
            while page.evaluate(f"{drawn}.filter(p => p.offsetHeight > 80).length") != count:
                assert time.monotonic() < deadline, page.evaluate(f"{drawn}.length")
                time.sleep(0.1)
            time.sleep(0.3)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.screenshot(ARTIFACTS / f"report-{width}.png")
        least, where = page.evaluate(CONTRAST)
        assert 4.5 <= least < 99, where
        assert page.evaluate("document.querySelectorAll('script').length") == len(found.scripts)
        shown = page.text()
    assert EVIL in shown
    told = [
        event for event in page.events if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")
    ]
    assert told == []
    assert "P = inverse" in shown


def test_a_copied_workspace_tells_its_own_place(tmp_path):
    """Results of a workspace that was copied or moved name where it is now."""
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, 90, 900), "item_id": rng.integers(0, 40, 900)})

    def fit_at(where):
        config = make_config({
            "workspace": str(where), "model": {"name": "ease", "reg_x": 5.0},
            "data": {"options": {"split": "random"}}, "evaluate": {"bootstrap": 0},
            "compute": {"cluster": "synchronous", "memory_budget": "1GiB"},
        })  # fmt: skip
        return run(config, interactions=log.drop_duplicates())

    fit_at(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    again = fit_at(tmp_path / "b")
    assert again["reused"]
    assert again["workspace"] == str(tmp_path / "b")
    document = workspace_status(str(tmp_path / "b")).document()
    assert {one["workspace"] for one in document["results"]} == {str(tmp_path / "b")}


@pytest.mark.dask
def test_the_parts_of_the_time_add_up_to_the_run_and_name_what_shortens_them(job):
    workspace, _, _ = job
    record = read_run(workspace, find_run(workspace, None))
    parts = wall_parts(record)
    assert sum(part.seconds for part in parts) == pytest.approx(record.result.seconds, rel=0.05)
    assert all(part.seconds > 0 for part in parts)
    table = wall_table(record)
    assert sum(float(row[2].removesuffix(" %")) for row in table.rows) == pytest.approx(100, abs=0.5)
    assert bottleneck(record).startswith("The longest part: ")
    assert "shortened by" in page_of(workspace)


@pytest.mark.dask
def test_a_run_without_a_result_has_no_parts(job):
    workspace, _, _ = job
    record = replace(read_run(workspace, find_run(workspace, None)), result=Result())
    assert (wall_parts(record), wall_table(record), bottleneck(record)) == ([], None, "")


@pytest.mark.dask
def test_the_configuration_of_a_run_can_be_copied(job):
    workspace, _, _ = job
    record = read_run(workspace, find_run(workspace, None))
    copied = yaml.safe_load(changed_yaml(record.config))
    again, ours = (flat(make_config(one).model_dump(mode="json")) for one in (copied, record.config))
    assert again == ours
    page = page_of(workspace)
    assert "l3ae-dist run config.yaml" in page
    assert '<a href="#stages">Stages</a>' in page


@pytest.mark.dask
def test_a_report_opens_with_its_verdict(job):
    workspace, result, _ = job
    record = read_run(workspace, find_run(workspace, None))
    said = verdict(result["models"], record.result.comparisons)
    assert said
    assert f"<h1>{html.escape(said)}</h1>" in page_of(workspace)
