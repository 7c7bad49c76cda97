"""The plots of a report: the data, the stages, the tasks, memory and the metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

from l3ae_dist.report.plots import (
    BLUE,
    GREEN,
    GREY,
    MODEL_COLOURS,
    ORANGE,
    PINK,
    RED,
    SKY,
    YELLOW,
    Plot,
    chart,
    hover,
)
from l3ae_dist.report.profile import HEAD_SHARE, DataProfile, Distribution
from l3ae_dist.report.trace import MOST_LANES, StageTotals, Trace
from l3ae_dist.report.words import PARTS, listed, percent, seconds_text
from l3ae_dist.units import human_bytes

_STAGE_COLOURS = {
    "ingest": GREY,
    "embed": GREEN,
    "gram": SKY,
    "factor": BLUE,
    "linv": ORANGE,
    "invert": PINK,
    "product": "#8c6bb1",
    "certify": "#8a8a8a",
    "assemble": "#666666",
    "score": YELLOW,
    "rank": "#003f5c",
}
_MIB = 2**20


def data_plots(data: DataProfile) -> list[Plot]:
    """The long tail, interactions per user, and text lengths where there is text."""
    plots = [_long_tail(data), _histogram_plot(
        "activity", "Interactions of each user", data.activity, "known interactions of a user", "users", BLUE,
    )]  # fmt: skip
    if data.text_bytes is not None:
        plots.append(
            _histogram_plot(
                "text", "Length of the items' text", data.text_bytes, "bytes of text (UTF-8)", "items", GREEN
            )
        )
    return [plot for plot in plots if plot is not None]


def _long_tail(data: DataProfile) -> Plot | None:
    from bokeh.models import Span

    ranks, counts = data.popularity.rank_curve()
    if not ranks:
        return None
    plot = chart(
        260, x_axis_type="log", y_axis_type="log", x_axis_label="item, by popularity",
        y_axis_label="training interactions",
    )  # fmt: skip
    line = plot.line(ranks, counts, line_width=3, color=BLUE)
    hover(plot, [line], [("item", "@x{0,0}"), ("interactions", "@y{0,0}")])
    head = int(HEAD_SHARE * data.items)
    if head:
        plot.add_layout(Span(location=head, dimension="height", line_color=RED, line_dash="dashed"))
    held = data.popularity.share_of_largest(HEAD_SHARE)
    without = data.items - ranks[-1]
    alt = (
        f"The most popular item has {counts[0]:,} training interactions, the median one "
        f"{data.popularity.quantile(0.5):,}. The {head:,} head items (20 % of the catalog, left of the "
        f"dashed line) hold {percent(held)} of all; {without:,} items have none."
    )
    return Plot("long-tail", "Popularity: the long tail", plot, alt)


def _histogram_plot(
    name: str, title: str, found: Distribution, across: str, up: str, colour: str
) -> Plot | None:
    edges, counts = found.bins()
    if not edges:
        return None
    plot = chart(260, x_axis_type="log", x_axis_label=across, y_axis_label=up)
    plot.y_range.start = 0
    bars = plot.quad(
        left=edges[:-1], right=edges[1:], bottom=0, top=counts, fill_color=colour, line_color="white"
    )
    hover(plot, [bars], [(across, "@left{0,0} to @right{0,0}"), (up, "@top{0,0}")])
    low, middle, high = (found.quantile(share) for share in (0.1, 0.5, 0.9))
    alt = (
        f"Half of the {found.size:,} {up} have at most {middle:,}; 10 % at most {low:,}, 90 % at most "
        f"{high:,}, the largest {found.quantile(1):,}. The axis is logarithmic."
    )
    return Plot(name, title, plot, alt)


def stage_colour(stage: str) -> str:
    """The same colour for a stage in every plot."""
    return _STAGE_COLOURS.get(stage, GREY)


def stages_plot(stages: Sequence[StageTotals]) -> Plot | None:
    """Wall time of every stage."""
    stages = [stage for stage in stages if stage.seconds > 0]
    if not stages:
        return None
    names = [stage.name for stage in stages]
    plot = chart(54 + 26 * len(names), y_range=names[::-1], x_axis_label="seconds, all passes together")
    source = {
        "stage": names,
        "seconds": [stage.seconds for stage in stages],
        "passes": [stage.passes for stage in stages],
        "colour": [stage_colour(name) for name in names],
    }
    from bokeh.models import ColumnDataSource

    bars = plot.hbar(y="stage", right="seconds", height=0.7, color="colour", source=ColumnDataSource(source))
    plot.x_range.start = 0
    plot.ygrid.visible = False
    hover(plot, [bars], [("stage", "@stage"), ("seconds", "@seconds{0.00}"), ("passes", "@passes")])
    ranked = sorted(stages, key=lambda stage: -stage.seconds)[:3]
    total = sum(stage.seconds for stage in stages)
    parts = [f"{s.name} ({seconds_text(s.seconds)}, {percent(s.seconds / total, 0)})" for s in ranked]
    alt = f"The stages took {seconds_text(total)} together; most of it {listed(parts)}."
    return Plot("stages", "Time of the stages", plot, alt)


def timeline_plot(trace: Trace) -> Plot | None:
    """When each worker had a task of which stage; the top lane shows the stages themselves."""
    from bokeh.models import ColumnDataSource

    bars = trace.merged_bars()
    if not trace.stages or trace.last <= trace.first:
        return None
    shown = trace.workers[:MOST_LANES]
    lanes = {pid: name for pid, name in trace.lane_names().items() if pid in shown}
    rows: dict[str, list[Any]] = {key: [] for key in ("left", "right", "width", "lane", "stage", "colour")}

    def add(lane: str, stage: str, start: float, stop: float) -> None:
        times = (round(value, 3) for value in (start - trace.first, stop - trace.first, stop - start))
        for key, value in zip(rows, (*times, lane, stage, stage_colour(stage)), strict=True):
            rows[key].append(value)

    spans = [(name, span) for name, totals in trace.stages.items() for span in totals.spans]
    for name, (start, stop) in spans[-2000:]:
        add("stages", name, start, stop)
    for (pid, stage), spans_of in bars.items():
        for start, stop in spans_of.tolist():
            add(lanes[pid], stage, start, stop)
    order = ["stages", *lanes.values()]
    plot = chart(80 + 30 * len(order), y_range=order[::-1], x_axis_label="seconds since the start")
    # a line as well, so that a task of a millisecond is seen
    drawn = plot.hbar(
        y="lane", left="left", right="right", height=0.72, fill_color="colour", line_color="colour",
        line_width=0.6, source=ColumnDataSource(rows),
    )  # fmt: skip
    plot.ygrid.visible = False
    plot.x_range.update(start=0, end=trace.last - trace.first)
    hover(plot, [drawn], [("stage", "@stage"), ("from", "@left{0.0} s"), ("for", "@width{0.00} s")])
    used = [name for name in trace.stages if name in set(rows["stage"])]
    more = len(trace.workers) - len(shown)
    alt = (
        f"{len(trace.workers)} {'processes' if len(trace.workers) != 1 else 'process'} worked in the "
        f"{seconds_text(trace.last - trace.first)} of the run. A bar is a time in which a process computed; "
        "the top lane shows which stage went on. Gaps are waiting, reading, writing, starting, or the "
        "client's own work." + (f" {more} more processes are left out." if more else "")
    )
    return Plot("timeline", "What every process did", plot, alt, tuple((n, stage_colour(n)) for n in used))


def memory_plot(trace: Trace, plan: Mapping[str, Any], peak: Mapping[str, int]) -> Plot | None:
    """The largest worker over time, beside what the plan projects for the stage and the budget."""
    from bokeh.models import Span

    samples = [(time - trace.first, worker) for time, worker, _ in trace.memory if worker]
    if not samples or not plan:
        return None
    plot = chart(280, x_axis_label="seconds since the start", y_axis_label="MiB")
    spans = sorted(
        (start - trace.first, stop - trace.first, plan["stages"][name] / _MIB)
        for name, totals in trace.stages.items()
        if name in plan["stages"]
        for start, stop in totals.spans
    )[-2000:]
    left, right, top = (list(part) for part in zip(*spans, strict=True)) if spans else ([], [], [])
    plot.quad(left=left, right=right, bottom=0, top=top, fill_color="#d9e8f5", line_color="#5b8db8")
    budget = plan["memory_budget"]
    plot.add_layout(Span(location=budget / _MIB, dimension="width", line_color=RED, line_dash="dashed"))
    dots = plot.scatter(
        [time for time, _ in samples], [worker / _MIB for _, worker in samples], size=7, color=BLUE
    )
    hover(plot, [dots], [("after", "@x{0} s"), ("largest worker", "@y{0,0} MiB")])
    plot.y_range.update(start=0, end=1.06 * budget / _MIB)
    plot.x_range.update(start=0, end=trace.last - trace.first)
    largest = peak.get("worker_max") or max(worker for _, worker in samples)
    alt = (
        f"The largest worker reached {human_bytes(largest)}; the plan projects at most "
        f"{human_bytes(plan['projected_peak_bytes'])} and {human_bytes(budget)} are allowed. Dots are "
        "samples, every 5 s."
    )
    legend = (("largest worker, measured", BLUE), ("projected for the stage", "#5b8db8"), ("budget", RED))
    return Plot("memory", "Memory of the largest worker", plot, alt, legend)


def metrics_plot(
    rows: Sequence[Mapping[str, Any]], name: str, title: str, groups: str = "model"
) -> Plot | None:
    """Figures with their intervals, one panel row for each part; ``rows`` as ``metric_rows`` gives them."""
    from bokeh.models import ColumnDataSource, FactorRange

    rows = [row for row in rows if row["value"] is not None]
    if not rows:
        return None
    labels = [(PARTS[row["part"]], str(row[groups])) for row in rows]
    plot = chart(60 + 26 * len(rows), y_range=FactorRange(*labels[::-1]), x_axis_label=str(rows[0]["metric"]))
    colours = _colours([str(row[groups]) for row in rows])
    source = ColumnDataSource(
        {
            "label": labels,
            "who": [str(row[groups]) for row in rows],
            "value": [row["value"] for row in rows],
            "low": [row["low"] if row["low"] is not None else row["value"] for row in rows],
            "high": [row["high"] if row["high"] is not None else row["value"] for row in rows],
            "colour": [row.get("colour") or colours[str(row[groups])] for row in rows],
        }
    )
    plot.segment(x0="low", x1="high", y0="label", y1="label", line_width=3, color="colour", source=source)
    dots = plot.scatter("value", "label", size=11, color="colour", line_color="white", source=source)
    hover(plot, [dots], [("", "@who"), ("mean", "@value{0.0000}"), ("from", "@low{0.0000}"),
                         ("to", "@high{0.0000}")])  # fmt: skip
    plot.yaxis.group_text_color = "#333333"
    plot.yaxis.group_text_font_size = "12px"
    plot.x_range.start = 0
    overall = [row for row in rows if row["part"] == "all"]
    said = [f"{row[groups]} {row['value']:.4f}{_interval(row)}" for row in overall]
    return Plot(name, title, plot, f"{rows[0]['metric']} on the test split, all items: {listed(said)}.")


def _colours(names: Sequence[str]) -> dict[str, str]:
    rest = iter((BLUE, RED, GREEN, PINK, ORANGE, SKY) * 4)
    return {name: MODEL_COLOURS.get(name) or next(rest) for name in dict.fromkeys(names)}


def _interval(row: Mapping[str, Any]) -> str:
    return "" if row["low"] is None else f" ({row['low']:.4f} to {row['high']:.4f})"
