"""The Bokeh document of ``/l3ae``: the run, maps of tiles, lanes of the workers, memory, stages, messages."""

import html
import time
from typing import TYPE_CHECKING

from bokeh.events import ConnectionLost
from bokeh.layouts import column, row
from bokeh.models import CustomJS, Div

from l3ae_dist.runtime.watch.run_progress import RunProgress
from l3ae_dist.runtime.watch.run_view import MAPS, STATE_NAMES, RunView
from l3ae_dist.runtime.watch.stage_progress import clock
from l3ae_dist.runtime.watch.tile_figure import COLOURS, TileFigure
from l3ae_dist.runtime.watch.timelines import Timelines

if TYPE_CHECKING:
    from bokeh.document import Document

UPDATE_MS = 500
_LARGE, _SMALL = 520, 170
_STYLE = (
    "<style>.l3ae{font:14px/1.5 system-ui,sans-serif;color:#222;overflow-x:auto}.l3ae h1{font-size:20px;"
    "line-height:1.3;margin:4px 0}.l3ae table{border-collapse:collapse}.l3ae td,.l3ae th{padding:2px 14px "
    "2px 0;text-align:right;white-space:nowrap}.l3ae td:first-child,.l3ae th:first-child{text-align:left}"
    ".l3ae th{color:#555;font-weight:600;border-bottom:1px solid #bbb}.l3ae i{display:inline-block;"
    "width:12px;height:12px;margin:0 5px -1px 12px;border:1px solid #888}.l3ae .bar{background:#ddd;"
    "height:10px;max-width:700px;margin:6px 0}.l3ae .bar b{background:#0072b2;height:10px;display:block}"
    "</style>"
)
# Bokeh's own template, for narrow screens too.
_TEMPLATE = (
    '{% block preamble %}<meta name="viewport" content="width=device-width, initial-scale=1">{% endblock %}'
)
# Shown by the browser itself when the scheduler is gone, which is how most runs end.
_GONE = """
head.text = style + "<div class='l3ae'><h1>The run has ended, or its scheduler is gone</h1><div>What is "
  + "below is its last state. <code>l3ae-dist status</code> on its workspace tells how it ended, and where "
  + "its report is.</div></div>"
"""


def tiles_document(view: RunView, document: "Document") -> None:
    """Fill a Bokeh document that follows ``view`` while somebody looks at it."""
    head, foot = Div(sizing_mode="stretch_width"), Div(sizing_mode="stretch_width")
    large, lines = TileFigure(_LARGE), Timelines()
    small = [TileFigure(_SMALL, thumbnail=True) for _ in range(MAPS - 1)]

    def update() -> None:
        head.text, foot.text = head_html(view), stages_html(view)
        stages = view.maps()[::-1]
        for shown, stage in zip([large, *small], stages, strict=False):
            shown.show(stage, view.stage_name(stage) if shown is large else stage.name)
        for idle in [large, *small][len(stages) :]:
            idle.hide()
        lines.update(view, time.time() if not view.outcome else view.seen)

    document.title, document.template = "l3ae_dist: tiles", _TEMPLATE
    document.js_on_event(ConnectionLost, CustomJS(args={"head": head, "style": _STYLE}, code=_GONE))
    wrap = {"flex-wrap": "wrap", "gap": "12px"}
    beside = column(
        lines.lanes, lines.memory, lines.traffic, sizing_mode="stretch_width", styles={"flex": "1 1 340px"}
    )
    earlier = row([shown.figure for shown in small], spacing=8, sizing_mode="stretch_width", styles=wrap)
    maps = column(
        large.figure, earlier, sizing_mode="stretch_width", styles={"flex": f"1 1 {_LARGE - 120}px"}
    )
    middle = row(maps, beside, sizing_mode="stretch_width", styles=wrap)
    document.add_root(column(head, middle, foot, sizing_mode="stretch_width", spacing=12))
    document.add_periodic_callback(update, UPDATE_MS)
    update()


def head_html(view: RunView) -> str:
    """Render the head of the page: the run, how far it is, and the legend of the colours."""
    if not view.run:
        return f"{_STYLE}<div class='l3ae'><h1>l3ae_dist</h1>No run has begun on this cluster.</div>"
    legend = "".join(f"<i style='background:{COLOURS[s]}'></i>{name}" for s, name in STATE_NAMES.items())
    now = time.time()
    return (
        f"{_STYLE}<div class='l3ae'><h1>{html.escape(view.headline(now))}</h1>"
        f"{_bar(None if view.outcome else view.progress(now))}{_end(view)}<div>Tiles:{legend}</div></div>"
    )


def _bar(progress: RunProgress | None) -> str:
    """Draw the progress of the whole run; nothing where it is not known."""
    if progress is None:
        return ""
    return f"<div class='bar'><b style='width:{100 * progress.done:.1f}%'></b></div>"


def _end(view: RunView) -> str:
    """Tell where the outcome of a run that has ended is found."""
    if not view.outcome:
        return ""
    where = html.escape(view.workspace or "WORKSPACE")
    return f"<div>Its result and report: <code>l3ae-dist status {where}</code></div>"


def stages_html(view: RunView) -> str:
    """Render the stages with their rates, the memory against the plan, and the last messages."""
    if not view.run:
        return ""
    messages = "".join(f"<div>{html.escape(text)}</div>" for text in view.messages)
    lost = f"<div>{view.workers_lost} workers were lost.</div>" if view.workers_lost else ""
    return (
        f"{_STYLE}<div class='l3ae'>{_stage_table(view)}<p>{memory_html(view)}</p>"
        f"{hosts_html(view)}{lost}"
        f"<div style='color:#555'>{messages}</div></div>"
    )


def _stage_table(view: RunView) -> str:
    """Render the latest stages as a table; columns without any value are left out."""
    now = time.time() if not view.outcome else view.seen
    found = [stage.summary(now) for stage in view.stages[-12:]]
    columns = {
        "stage": [one.stage for one in found],
        "done": [f"{one.done:,} / {one.total:,}" if one.total else "" for one in found],
        "time": [clock(one.seconds) for one in found],
        "rate": [one.rate for one in found],
        "data": [_rate(one.bytes_per_second, one.bytes) for one in found],
        "from peers": [_rate(one.bytes_from_peers_per_second, one.bytes_from_peers) for one in found],
        "local copies": [_rate(one.bytes_from_copies_per_second, one.bytes_from_copies) for one in found],
        "left": [one.left.removesuffix(" left") for one in found],
        "recomputed": [str(one.tiles["recomputed"] or "") for one in found],
        "bad": [str(one.tiles["bad"] or "") for one in found],
    }
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    head = "".join(f"<th>{name}</th>" for name in shown)
    rows = [
        "".join(f"<td>{html.escape(x)}</td>" for x in cells) for cells in zip(*shown.values(), strict=True)
    ]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in (head, *rows))}</table>"


def _rate(per_second: int, nbytes: int) -> str:
    return f"{per_second / 1e6:,.0f} MB/s" if nbytes else ""


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
    now = 0 if view.memory is None else view.memory.worker_max
    told = f"{now / 2**20:,.0f} MiB now, " if now else ""  # before the first sample nothing is known
    return (
        f"Memory of the largest worker: {told}{view.plan.projected_peak_bytes / 2**20:,.0f} MiB projected at "
        f"most, {view.plan.memory_budget / 2**20:,.0f} MiB allowed"
    )
