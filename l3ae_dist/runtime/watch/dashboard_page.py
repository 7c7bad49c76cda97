"""The Bokeh document of ``/l3ae``: maps of tiles, a table of stages, memory, messages."""

import html
import time
from typing import TYPE_CHECKING

from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, Div, LinearColorMapper
from bokeh.plotting import figure

from l3ae_dist.runtime.watch.run_view import MAPS, STATE_NAMES, RunView, StageView, TileState
from l3ae_dist.runtime.watch.stage_progress import clock

if TYPE_CHECKING:
    from bokeh.document import Document

UPDATE_MS = 500
# Okabe and Ito's colours, which colour-blind people tell apart, on white where there is no tile.
COLOURS = {
    TileState.ABSENT: "#ffffff",
    TileState.DONE: "#0072b2",
    TileState.PENDING: "#dddddd",
    TileState.AGAIN: "#56b4e9",
    TileState.RUNNING: "#f0e442",
    TileState.BAD: "#d55e00",
}
_STYLE = (
    "<style>.l3ae{font:14px/1.5 system-ui,sans-serif;color:#222}.l3ae h1{font-size:20px;margin:4px 0}"
    ".l3ae table{border-collapse:collapse}.l3ae td,.l3ae th{padding:2px 14px 2px 0;text-align:right;"
    "white-space:nowrap}.l3ae td:first-child,.l3ae th:first-child{text-align:left}.l3ae th{color:#555;"
    "font-weight:600;border-bottom:1px solid #bbb}.l3ae i{display:inline-block;width:12px;height:12px;"
    "margin:0 5px -1px 16px;border:1px solid #888}.l3ae .bar{background:#ddd;width:220px;height:10px;"
    "display:inline-block}.l3ae .bar b{background:#0072b2;height:10px;display:block}</style>"
)


class TileHeatMap:
    """One heat map; its figure is kept and shows another stage when there is one."""

    def __init__(self) -> None:
        self.source = ColumnDataSource({"image": [], "dw": [], "dh": []})
        self.figure = figure(
            width=310, height=330, toolbar_location=None, x_axis_location="above", title=" ",
            x_axis_label="column of tiles", y_axis_label="row of tiles", x_range=(0, 1), y_range=(1, 0),
        )  # fmt: skip
        mapper = LinearColorMapper(palette=[COLOURS[state] for state in TileState], low=-0.5, high=5.5)
        # the first row of an image lies at y = 0, which the reversed range puts at the top
        self.figure.image("image", x=0, y=0, dw="dw", dh="dh", color_mapper=mapper, source=self.source)
        self.figure.grid.visible = False
        self.figure.visible = False

    def show(self, stage: StageView) -> None:
        """Draw the tiles of a stage."""
        if stage.states is None:
            return
        states, (rows, columns) = stage.matrix(), stage.states.shape
        self.source.data = {"image": [states], "dw": [columns], "dh": [rows]}
        self.figure.title.text = f"{stage.name}: {stage.done:,} of {stage.total:,} tasks"
        self.figure.x_range.update(start=0, end=columns)
        self.figure.y_range.update(start=rows, end=0)
        self.figure.visible = True


def tiles_document(view: RunView, document: "Document") -> None:
    """Fill a Bokeh document that follows ``view`` while somebody looks at it."""
    head, foot = Div(sizing_mode="stretch_width"), Div(sizing_mode="stretch_width")
    maps = [TileHeatMap() for _ in range(MAPS)]

    def update() -> None:
        head.text, foot.text = head_html(view), stages_html(view)
        stages = view.maps()
        for shown, stage in zip(maps, stages, strict=False):
            shown.show(stage)
        for idle in maps[len(stages) :]:
            idle.figure.visible = False

    document.title = "l3ae_dist: tiles"
    figures = row([shown.figure for shown in maps], spacing=8, styles={"flex-wrap": "wrap"})
    document.add_root(column(head, figures, foot, sizing_mode="stretch_width", spacing=12))
    document.add_periodic_callback(update, UPDATE_MS)
    update()


def head_html(view: RunView) -> str:
    """Render the head of the page: the run, how far it is, and the legend of the colours."""
    if not view.run:
        return f"{_STYLE}<div class='l3ae'><h1>l3ae_dist</h1>No run has begun on this cluster.</div>"
    legend = "".join(f"<i style='background:{COLOURS[s]}'></i>{name}" for s, name in STATE_NAMES.items())
    return (
        f"{_STYLE}<div class='l3ae'><h1>{html.escape(view.headline(time.time()))}</h1>"
        f"<div>Tiles:{legend}</div></div>"
    )


def stages_html(view: RunView) -> str:
    """Render the stages with their rates, the memory against the plan, and the last messages."""
    if not view.run:
        return ""
    now = time.time()
    headings = (
        "stage",
        "done",
        "time",
        "rate",
        "data",
        "from peers",
        "local copies",
        "left",
        "recomputed",
        "bad",
    )
    lines = ["<tr>" + "".join(f"<th>{name}</th>" for name in headings) + "</tr>"]
    for stage in view.stages[-12:]:
        summary = stage.summary(now)
        cells = (
            summary.stage,
            f"{summary.done:,} / {summary.total:,}" if summary.total else "",
            clock(summary.seconds),
            summary.rate,
            f"{summary.bytes_per_second / 1e6:,.0f} MB/s" if summary.bytes else "",
            f"{summary.bytes_from_peers_per_second / 1e6:,.0f} MB/s" if summary.bytes_from_peers else "",
            f"{summary.bytes_from_copies_per_second / 1e6:,.0f} MB/s" if summary.bytes_from_copies else "",
            summary.left.removesuffix(" left"),
            summary.tiles["recomputed"] or "",
            summary.tiles["bad"] or "",
        )
        lines.append("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>")
    messages = "".join(f"<div>{html.escape(text)}</div>" for text in view.messages)
    lost = f"<div>{view.workers_lost} workers were lost.</div>" if view.workers_lost else ""
    return (
        f"{_STYLE}<div class='l3ae'><table>{''.join(lines)}</table><p>{memory_html(view)}</p>"
        f"{hosts_html(view)}{lost}"
        f"<div style='color:#555'>{messages}</div></div>"
    )


def hosts_html(view: RunView) -> str:
    """Render the tiles that were made on each host, where there are several."""
    if len(view.hosts) < 2:
        return ""
    counts = (f"{html.escape(host or 'unknown')} {count:,}" for host, count in sorted(view.hosts.items()))
    return f"<div>Tiles made by host: {', '.join(counts)}</div>"


def memory_html(view: RunView) -> str:
    """Render the bytes of the largest worker now, beside the projection and the budget."""
    if view.plan is None:
        return ""
    budget = view.plan.memory_budget
    now = 0 if view.memory is None else view.memory.worker_max
    share = min(100.0, 100 * now / budget)
    return (
        f"Memory of the largest worker: <span class='bar'><b style='width:{share:.0f}%'></b></span> "
        f"{now / 2**20:,.0f} MiB now, {view.plan.projected_peak_bytes / 2**20:,.0f} MiB projected at "
        f"most, {budget / 2**20:,.0f} MiB allowed"
    )
