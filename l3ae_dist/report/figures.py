"""The plots of a report: the data, the stages, the tasks, memory and the metrics."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from l3ae_dist.report.formatting import PART_NAMES, listed, percent, seconds_text
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
from l3ae_dist.report.result import MetricFigure, PlanFigures
from l3ae_dist.report.trace import MOST_LANES, StageTotals, Trace
from l3ae_dist.runtime.events import WorkerKey
from l3ae_dist.storage.stages import Stage
from l3ae_dist.units import human_bytes

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource

_STAGE_COLOURS: Mapping[str, str] = {
    Stage.INGEST: GREY,
    Stage.EMBED: GREEN,
    Stage.GRAM: SKY,
    Stage.FACTOR: BLUE,
    Stage.LINV: ORANGE,
    Stage.INVERT: PINK,
    Stage.PRODUCT: "#8c6bb1",
    Stage.CERTIFY: "#8a8a8a",
    Stage.ASSEMBLE: "#666666",
    Stage.SCORE: YELLOW,
    Stage.RANK: "#003f5c",
}
_MIB = 2**20
# Passes of stages that a plot over time shows.
_MOST_SPANS = 2000


def data_plots(data: DataProfile) -> list[Plot]:
    """Draw the popularity of items, the interactions of users, and the lengths of texts if there are any."""
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
        260, x_scale="log", y_scale="log", x_label="item, by popularity",
        y_label="training interactions",
    )  # fmt: skip
    line = plot.line(ranks, counts, line_width=3, color=BLUE)
    hover(plot, line, [("item", "@x{0,0}"), ("interactions", "@y{0,0}")])
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
    plot = chart(260, x_scale="log", x_label=across, y_label=up)
    plot.y_range.start = 0
    bars = plot.quad(
        left=edges[:-1], right=edges[1:], bottom=0, top=counts, fill_color=colour, line_color="white"
    )
    hover(plot, bars, [(across, "@left{0,0} to @right{0,0}"), (up, "@top{0,0}")])
    low, middle, high = (found.quantile(share) for share in (0.1, 0.5, 0.9))
    alt = (
        f"Half of the {found.size:,} {up} have at most {middle:,}; 10 % at most {low:,}, 90 % at most "
        f"{high:,}, the largest {found.quantile(1):,}. The axis is logarithmic."
    )
    return Plot(name, title, plot, alt)


def stage_colour(stage: str) -> str:
    """Return the colour that a stage has in every plot."""
    return _STAGE_COLOURS.get(stage, GREY)


def stages_plot(stages: Sequence[StageTotals]) -> Plot | None:
    """Draw the wall time of every stage; None where no stage took any."""
    stages = [stage for stage in stages if stage.seconds > 0]
    if not stages:
        return None
    names = [stage.name for stage in stages]
    plot = chart(54 + 26 * len(names), y_range=names[::-1], x_label="seconds, all passes together")
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
    hover(plot, bars, [("stage", "@stage"), ("seconds", "@seconds{0.00}"), ("passes", "@passes")])
    ranked = sorted(stages, key=lambda stage: -stage.seconds)[:3]
    total = sum(stage.seconds for stage in stages)
    parts = [f"{s.name} ({seconds_text(s.seconds)}, {percent(s.seconds / total, 0)})" for s in ranked]
    alt = f"The stages took {seconds_text(total)} together; most of it {listed(parts)}."
    return Plot("stages", "Time of the stages", plot, alt)


class _Bar(NamedTuple):
    """Time in which a lane of the timeline was at a stage, in Unix time."""

    lane: str
    stage: str
    start: float
    stop: float


def timeline_plot(trace: Trace) -> Plot | None:
    """Draw a lane for each worker with the times of its tasks, below a lane of the stages themselves."""
    if not trace.stages or trace.last <= trace.first:
        return None
    shown = trace.workers[:MOST_LANES]
    lanes = {worker: name for worker, name in trace.lane_names().items() if worker in shown}
    bars = [*_stage_bars(trace), *_task_bars(trace, lanes)]
    order = ["stages", *lanes.values()]
    plot = chart(80 + 30 * len(order), y_range=order[::-1], x_label="seconds since the start")
    # a line as well, so that a task of a millisecond is seen
    drawn = plot.hbar(
        y="lane", left="left", right="right", height=0.72, fill_color="colour", line_color="colour",
        line_width=0.6, source=_bar_source(bars, trace.first),
    )  # fmt: skip
    plot.ygrid.visible = False
    plot.x_range.update(start=0, end=trace.last - trace.first)
    hover(plot, drawn, [("stage", "@stage"), ("from", "@left{0.0} s"), ("for", "@width{0.00} s")])
    seen = {bar.stage for bar in bars}
    legend = tuple((name, stage_colour(name)) for name in trace.stages if name in seen)
    return Plot("timeline", "What every process did", plot, _timeline_sentence(trace, len(shown)), legend)


def _stage_bars(trace: Trace) -> list[_Bar]:
    spans = [(name, span) for name, totals in trace.stages.items() for span in totals.spans]
    return [_Bar("stages", name, *span) for name, span in spans[-_MOST_SPANS:]]


def _task_bars(trace: Trace, lanes: Mapping[WorkerKey, str]) -> list[_Bar]:
    return [
        _Bar(lanes[worker], stage, start, stop)
        for (worker, stage), spans in trace.merged_bars().items()
        for start, stop in spans.tolist()
    ]


def _bar_source(bars: Sequence[_Bar], first: float) -> "ColumnDataSource":
    """Return the columns of the bars' glyph, in seconds since ``first``."""
    from bokeh.models import ColumnDataSource

    return ColumnDataSource(
        {
            "left": [round(bar.start - first, 3) for bar in bars],
            "right": [round(bar.stop - first, 3) for bar in bars],
            "width": [round(bar.stop - bar.start, 3) for bar in bars],
            "lane": [bar.lane for bar in bars],
            "stage": [bar.stage for bar in bars],
            "colour": [stage_colour(bar.stage) for bar in bars],
        }
    )


def _timeline_sentence(trace: Trace, shown: int) -> str:
    more = len(trace.workers) - shown
    return (
        f"{len(trace.workers)} {'processes' if len(trace.workers) != 1 else 'process'} worked in the "
        f"{seconds_text(trace.last - trace.first)} of the run. A bar is a time in which a process computed; "
        "the top lane shows which stage went on. Gaps are waiting, reading, writing, starting, or the "
        "client's own work." + (f" {more} more processes are left out." if more else "")
    )


def memory_plot(trace: Trace, plan: PlanFigures | None, largest: int) -> Plot | None:
    """Draw the largest worker over time, beside the projection for each stage and the budget.

    Parameters
    ----------
    trace
        Samples of memory, and times of the stages.
    plan
        Projections and the budget.
    largest
        Peak bytes of the largest worker of the whole run; 0 when it was not measured.

    Returns
    -------
    Plot | None
        None without samples or without a plan.
    """
    from bokeh.models import Span

    samples = [(time - trace.first, worker) for time, worker, _ in trace.memory if worker]
    if not samples or plan is None:
        return None
    plot = chart(280, x_label="seconds since the start", y_label="MiB")
    left, right, top = _projections(trace, plan)
    plot.quad(left=left, right=right, bottom=0, top=top, fill_color="#d9e8f5", line_color="#5b8db8")
    budget = plan.memory_budget
    plot.add_layout(Span(location=budget / _MIB, dimension="width", line_color=RED, line_dash="dashed"))
    dots = plot.scatter(
        [time for time, _ in samples], [worker / _MIB for _, worker in samples], size=7, color=BLUE
    )
    hover(plot, dots, [("after", "@x{0} s"), ("largest worker", "@y{0,0} MiB")])
    plot.y_range.update(start=0, end=1.06 * budget / _MIB)
    plot.x_range.update(start=0, end=trace.last - trace.first)
    reached = largest or max(worker for _, worker in samples)
    alt = (
        f"The largest worker reached {human_bytes(reached)}; the plan projects at most "
        f"{human_bytes(plan.projected_peak_bytes)} and {human_bytes(budget)} are allowed. Dots are "
        "samples, every 5 s."
    )
    legend = (("largest worker, measured", BLUE), ("projected for the stage", "#5b8db8"), ("budget", RED))
    return Plot("memory", "Memory of the largest worker", plot, alt, legend)


def _projections(trace: Trace, plan: PlanFigures) -> tuple[list[float], list[float], list[float]]:
    """Return the start, end and projected MiB of the latest passes of stages."""
    spans = sorted(
        (start - trace.first, stop - trace.first, plan.stages[name] / _MIB)
        for name, totals in trace.stages.items()
        if name in plan.stages
        for start, stop in totals.spans
    )[-_MOST_SPANS:]
    left, right, top = (list(column) for column in zip(*spans, strict=True)) if spans else ([], [], [])
    return left, right, top


def metric_plot(
    figures: Sequence[MetricFigure],
    name: str,
    labels: Sequence[str] = (),
    colours: Sequence[str] = (),
) -> Plot | None:
    """Draw one metric with its intervals, a row for each part of the catalog and label.

    Parameters
    ----------
    figures
        Figures of one metric, those of a part together.
    name
        Name of the plot, unique on its page.
    labels
        Label of each figure; the models when empty.
    colours
        Colour of each figure; one for each label when empty.

    Returns
    -------
    Plot | None
        None without figures.
    """
    from bokeh.models import ColumnDataSource, FactorRange

    if not figures:
        return None
    metric = figures[0].metric
    labels = labels or [figure.model for figure in figures]
    by_label = _colours(labels)
    rows = [(PART_NAMES[figure.part], label) for figure, label in zip(figures, labels, strict=True)]
    plot = chart(60 + 26 * len(rows), y_range=FactorRange(*rows[::-1]), x_label=metric)
    source = ColumnDataSource(
        {
            "label": rows,
            "who": labels,
            "value": [figure.value for figure in figures],
            "low": [figure.value if figure.low is None else figure.low for figure in figures],
            "high": [figure.value if figure.high is None else figure.high for figure in figures],
            "colour": colours or [by_label[label] for label in labels],
        }
    )
    plot.segment(x0="low", x1="high", y0="label", y1="label", line_width=3, color="colour", source=source)
    dots = plot.scatter("value", "label", size=11, color="colour", line_color="white", source=source)
    hover(plot, dots, [("", "@who"), ("mean", "@value{0.0000}"), ("from", "@low{0.0000}"),
                       ("to", "@high{0.0000}")])  # fmt: skip
    plot.yaxis.group_text_color = "#333333"
    plot.yaxis.group_text_font_size = "12px"
    plot.x_range.start = 0
    overall = [
        f"{label} {figure.text}"
        for figure, label in zip(figures, labels, strict=True)
        if figure.part == "all"
    ]
    return Plot(name, metric, plot, f"{metric} on the test split, all items: {listed(overall)}.")


def _colours(labels: Sequence[str]) -> dict[str, str]:
    rest = iter((BLUE, RED, GREEN, PINK, ORANGE, SKY) * 4)
    return {label: MODEL_COLOURS.get(label) or next(rest) for label in dict.fromkeys(labels)}
