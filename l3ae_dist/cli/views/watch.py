"""The view of a run as text for a terminal."""

import time
from dataclasses import dataclass

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


# Lines of a terminal that a panel of few stages and messages is made for, and of what stands around the map.
_TALL, _AROUND = 40, 6


@dataclass(frozen=True)
class PanelSize:
    """Size of a panel: rows and columns of its map at most, stages, and messages."""

    map_side: int = 24
    stages: int = 10
    messages: int = 6

    @classmethod
    def of(cls, width: int, height: int, view: RunView) -> "PanelSize":
        """Fit a view into a terminal.

        Parameters
        ----------
        width, height
            Columns and lines of the terminal.
        view
            What is shown.
        """
        tall = height >= _TALL
        stages = min(len(view.stages), cls.stages if tall else 4)
        messages = min(len(view.messages), cls.messages if tall else 2)
        lines = height - _AROUND - (stages + 4) - messages - bool(view.workers_lost)
        # a tile takes two columns
        return cls(max(1, min(lines, width // 2)), stages, messages)


def view_panel(view: RunView, size: PanelSize) -> Group:
    """Draw a run's stages, the tiles of the latest one, memory and messages.

    Parameters
    ----------
    view
        What is shown.
    size
        How much of it.
    """
    now = time.time() if not view.outcome else view.seen
    title = view.headline(now) if view.run else "No run has begun yet"
    parts: list[RenderableType] = [Text(inline(title), style="bold"), _stage_table(view, size.stages, now)]
    maps = view.maps()[-1:]
    if maps:
        parts += [
            plain_text(f"Tiles of {maps[0].array} ({maps[0].name})"),
            _tile_text(maps[0], size.map_side),
            _legend(maps[0]),
        ]
    if view.memory and view.memory.worker_max and view.plan:
        largest, allowed = human_bytes(view.memory.worker_max), human_bytes(view.plan.memory_budget)
        projected = human_bytes(view.plan.projected_peak_bytes)
        parts.append(Text(f"Largest worker {largest} of {allowed} allowed, {projected} projected at most"))
    if view.workers_lost:
        parts.append(Text(f"{view.workers_lost} workers were lost"))
    messages = list(view.messages)[len(view.messages) - size.messages :] if size.messages else []
    told = (Text(inline(message), style="bright_black", overflow="ellipsis") for message in messages)
    return Group(*parts, *told)


def _stage_table(view: RunView, most: int, now: float) -> Table:
    """Make the table of the latest stages; columns without any value are left out."""
    table = Table(title_justify="left")
    summaries = [stage.summary(now) for stage in view.stages[-most:]]
    columns = {
        "done": [f"{one.done:,}/{one.total:,}" if one.total else "" for one in summaries],
        "time": [clock(one.seconds) for one in summaries],
        "rate": [one.rate for one in summaries],
        "MB/s": [_megabytes(one.bytes_per_second, one.bytes) for one in summaries],
        "peers MB/s": [
            _megabytes(one.bytes_from_peers_per_second, one.bytes_from_peers) for one in summaries
        ],
        "copies MB/s": [
            _megabytes(one.bytes_from_copies_per_second, one.bytes_from_copies) for one in summaries
        ],
        "recomputed": [str(one.tiles["recomputed"] or "") for one in summaries],
        "bad": [str(one.tiles["bad"] or "") for one in summaries],
    }
    shown = {name: cells for name, cells in columns.items() if any(cells) or name in ("done", "time")}
    table.add_column("stage")
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for place, one in enumerate(summaries):
        table.add_row(plain_text(one.stage), *(cells[place] for cells in shown.values()))
    return table


def _megabytes(per_second: int, nbytes: int) -> str:
    return f"{per_second / 1e6:,.0f}" if nbytes else ""


def _tile_text(stage: StageView, most: int) -> Text:
    text = Text()
    for line in stage.matrix(most):
        for state in line:
            mark, style = _MARKS[TileState(state)]
            text.append(f"{mark} ", style=style)
        text.append("\n")
    text.rstrip()
    return text


def _legend(stage: StageView) -> Text:
    """Explain the signs; which tiles are being made is not in a workspace, and told where it is known."""
    text, counts = Text(), stage.tile_counts()
    for state, name in STATE_NAMES.items():
        if state == TileState.RUNNING and not counts[state]:
            continue
        mark, style = _MARKS[state]
        text.append(f"{mark} ", style=style)
        text.append(f"{name}   ")
    return text
