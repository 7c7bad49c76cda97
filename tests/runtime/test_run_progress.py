"""Progress of a whole run: weighted by the plan, scaled by the pace so far, never over its end."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from l3ae_dist.cli.views.watch import PanelSize, view_panel
from l3ae_dist.runtime.events import (
    Message,
    PlanMade,
    RunEnd,
    RunStart,
    StageEnd,
    StageStart,
    TileDone,
    TileMap,
)
from l3ae_dist.runtime.watch import progress as printed
from l3ae_dist.runtime.watch.progress import progress_printer
from l3ae_dist.runtime.watch.run_view import RunView

PLAN = PlanMade(
    memory_budget=2**30,
    projected_peak_bytes=2**29,
    time=0.0,
    work={"gram": 10.0, "factor": 60.0, "invert": 30.0},
    repeats={"gram": 1, "factor": 2, "invert": 2},
)


def viewed(*events):
    view = RunView()
    view.take_all([RunStart(run="r", time=0.0), *events])
    return view


def stage(name, begins, ends, tiles=4, before=0):
    """Events of a stage that is done from its beginning to its end."""
    length = (ends - begins) / (tiles - before) if tiles > before else 0
    return [
        StageStart(stage=name, total=tiles, done=before, time=begins),
        *(
            TileDone(stage=name, done=at + 1, total=tiles, time=begins + length * (at + 1 - before))
            for at in range(before, tiles)
        ),
        StageEnd(stage=name, time=ends),
    ]


def test_there_is_none_before_the_plan_or_without_estimates():
    assert viewed().progress(1.0) is None
    assert viewed(PlanMade(memory_budget=1)).progress(1.0) is None


def test_the_work_of_stages_counts_by_its_estimate():
    view = viewed(PLAN, *stage("gram", 0, 20), *stage("factor", 20, 80))
    found = view.progress(80.0)
    assert found.done == pytest.approx(0.4)  # 10 of gram and one of two factors, of 100
    assert found.seconds_left == pytest.approx(60 * 2)  # all took twice as long as estimated
    half = viewed(PLAN, *stage("gram", 0, 20), *stage("factor", 20, 80)[:3])
    assert half.progress(50.0).done == pytest.approx(0.25)


def test_the_estimate_counts_until_there_is_a_pace():
    found = viewed(PLAN, StageStart(stage="gram", total=4, time=0.0)).progress(1.0)
    assert (found.done, found.seconds_left) == (0.0, 100.0)


def test_what_was_there_before_takes_no_time():
    view = viewed(PLAN, *stage("gram", 0, 0, before=4), *stage("factor", 0, 30))
    found = view.progress(30.0)
    assert found.done == pytest.approx(0.4)
    assert found.seconds_left == pytest.approx(60)
    resumed = viewed(PLAN, *stage("factor", 0, 15, before=2)).progress(15.0)
    assert resumed.done == pytest.approx(0.4)  # the gram, which factor goes on from, was there
    assert resumed.seconds_left == pytest.approx(60)


def test_the_headline_names_the_run_the_stage_and_the_end():
    view = viewed(PLAN, *stage("gram", 0, 10), *stage("factor", 10, 40)[:-1])
    assert view.headline(40.0) == "Run r: 40 %, about 1:00 left; now factor 1 of 2"
    view.take_all(stage("factor", 40, 70)[:3])
    assert view.headline(55.0) == "Run r: 55 %, about 0:45 left; now factor 2 of 2 (0:15 left)"
    view.take(RunEnd(run="r", outcome="finished", time=125.0))
    assert view.headline(1000.0) == "Run r: finished after 2:05"
    assert view.document()["headline"] == view.headline(1.0)
    assert view.document()["progress"] is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["gram", "factor", "invert", "other"]), st.integers(0, 9)), max_size=8
    ),
    st.integers(0, 9),
    st.booleans(),
)
def test_progress_never_falls_and_never_passes_the_end(stages, last, cut):
    view, now, before = viewed(PLAN), 0.0, 0.0
    for name, length in stages:
        events = stage(name, now, now + length, before=last % 5)
        for event in events[:-1] if cut else events:
            view.take(event)
            found = view.progress(event.time)
            assert before <= found.done <= 1
            assert found.seconds_left >= 0
            before = found.done
        now += length


def test_a_model_with_text_begins_with_parts_of_its_assembly():
    """These come before the Gram matrix, which they do not go on from."""
    view = viewed(PLAN, *stage("assemble", 0, 1), *stage("assemble", 1, 2))
    assert view.progress(2.0).done == 0.0
    view.take_all([*stage("gram", 2, 12), *stage("factor", 12, 42)])
    assert view.progress(42.0).done == pytest.approx(0.4)


def test_a_stage_that_is_run_again_counts_once():
    view = viewed(PLAN, *stage("gram", 0, 10), *stage("factor", 10, 40), *stage("factor", 40, 70))
    again = stage("factor", 70, 100)
    assert view.progress(70.0).done == pytest.approx(0.7)
    for event in again:
        view.take(event)
        assert view.progress(event.time).done == pytest.approx(0.7)


def printed_of(events, monkeypatch, *, terminal):
    monkeypatch.setattr(printed, "LINE_SECONDS", 0.0)
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    if terminal:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
    with progress_printer(stream) as on_event:
        for event in events:
            on_event(event)
    return stream.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_have_the_whole_run_and_leave_out_what_is_quick(monkeypatch, terminal):
    ended = [*stage("gram", 0, 0.1)[:-1], StageEnd(stage="gram", seconds=0.1, time=0.1)]
    events = [RunStart(run="r", time=0.0), PLAN, *ended, *stage("factor", 10, 40)[:-1]]
    text = printed_of(
        [*events, StageEnd(stage="factor", seconds=30.0, time=40.0)], monkeypatch, terminal=terminal
    )
    assert "factor 1 of 2: done in 30.0 s" in text
    assert "gram: done" not in text
    assert ("whole run" if terminal else "whole run: ") in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 30), (200, 60), (40, 10), (20, 5)])
@pytest.mark.parametrize("tiles", [3, 100])
def test_a_panel_fits_its_terminal(width, height, tiles):
    view = viewed(PLAN, *(Message(message=f"message {number}", time=0.0) for number in range(8)))
    for name in ("gram", "factor", "linv", "invert", "assemble", "certify", "score"):
        tile_map = TileMap(array=name, rows=tiles, columns=tiles, lower=True)
        view.take(StageStart(stage=name, total=9, map=tile_map, time=1.0))
        view.take(TileDone(stage=name, array=name, done=1, total=9, flops=1e12, bytes=10**9, time=2.0))
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, force_terminal=True, color_system=None)
    console.print(view_panel(view, PanelSize.of(width, height, view)))
    lines = stream.getvalue().splitlines()
    assert "■" in stream.getvalue()
    assert "running" not in stream.getvalue()  # which a workspace does not tell
    if height >= 24:
        assert len(lines) <= height
        assert all(len(line) <= width for line in lines)
