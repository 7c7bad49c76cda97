"""The view of a run as text for a terminal."""

import time

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from l3ae_dist.messages import inline
from l3ae_dist.runtime.watch.run_view import STATE_NAMES, RunView, StageView, TileState
from l3ae_dist.runtime.watch.stage_progress import clock
from l3ae_dist.runtime.watch.terminal import plain_text
from l3ae_dist.units import human_bytes

_MARKS = {  # a sign beside the colour, for eyes and terminals without it
    TileState.ABSENT: (" ", ""),
    TileState.DONE: ("■", "blue"),
    TileState.PENDING: ("·", "bright_black"),
    TileState.AGAIN: ("□", "cyan"),
    TileState.RUNNING: ("▸", "yellow"),
    TileState.BAD: ("✗", "bold red"),
}


def view_panel(view: RunView, most: int) -> Group:
    """Draw a run's stages, the tiles of the latest one, memory and messages, with maps of ``most`` rows."""
    now = time.time() if not view.outcome else view.seen
    title = view.headline(now) if view.run else "No run has begun yet"
    table = Table(title_justify="left")
    summaries = [stage.summary(now) for stage in view.stages[-10:]]
    copies = ["copies MB/s"] if any(one.bytes_from_copies for one in summaries) else []
    for heading in ("stage", "done", "time", "rate", "MB/s", "peers MB/s", *copies, "recomputed", "bad"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for summary in summaries:
        table.add_row(
            plain_text(summary.stage),
            f"{summary.done:,}/{summary.total:,}" if summary.total else "",
            clock(summary.seconds),
            summary.rate,
            f"{summary.bytes_per_second / 1e6:,.0f}" if summary.bytes else "",
            f"{summary.bytes_from_peers_per_second / 1e6:,.0f}" if summary.bytes_from_peers else "",
            *([f"{summary.bytes_from_copies_per_second / 1e6:,.0f}"] if copies else []),
            str(summary.tiles["recomputed"] or ""),
            str(summary.tiles["bad"] or ""),
        )
    parts: list[RenderableType] = [Text(inline(title), style="bold"), table]
    maps = view.maps()[-1:]
    if maps:
        parts += [
            plain_text(f"Tiles of {maps[0].array} ({maps[0].name})"),
            _tile_text(maps[0], most),
            _legend(),
        ]
    if view.memory and view.memory.worker_max and view.plan:
        largest, allowed = human_bytes(view.memory.worker_max), human_bytes(view.plan.memory_budget)
        projected = human_bytes(view.plan.projected_peak_bytes)
        parts.append(Text(f"Largest worker {largest} of {allowed} allowed, {projected} projected at most"))
    if view.workers_lost:
        parts.append(Text(f"{view.workers_lost} workers were lost"))
    return Group(*parts, *(Text(inline(message), style="bright_black") for message in view.messages))


def _tile_text(stage: StageView, most: int) -> Text:
    text = Text()
    for line in stage.matrix(most):
        for state in line:
            mark, style = _MARKS[TileState(state)]
            text.append(f"{mark} ", style=style)
        text.append("\n")
    text.rstrip()
    return text


def _legend() -> Text:
    text = Text()
    for state, name in STATE_NAMES.items():
        mark, style = _MARKS[state]
        text.append(f"{mark} ", style=style)
        text.append(f"{name}   ")
    return text
