"""``l3ae-dist watch``: a run in a terminal, from its workspace alone, from any machine that reads it."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import WorkspaceArgument
from l3ae_dist.cli.output import print_json, screen

if TYPE_CHECKING:
    from rich.console import Group

    from l3ae_dist.runtime.watch.run_view import RunView


@command
def watch(
    workspace: WorkspaceArgument,
    once: Annotated[bool, typer.Option("--once", help="Show what is there and end.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and end.")] = False,
) -> None:
    """Show stages, tiles, rates and memory of the run that a workspace is made by; ends with the run."""
    from rich.live import Live

    from l3ae_dist.cli.views.watch import PanelSize, view_panel
    from l3ae_dist.runtime.watch.run_view import RunView

    view = RunView()
    updates = _updates(workspace, view, interval, once=once or as_json)
    next(updates)
    if as_json:
        print_json(view.document())
        return
    console = screen()
    if once or not console.is_terminal:
        console.print(view_panel(view, PanelSize()))
        for _ in updates:
            console.print(view_panel(view, PanelSize()))
        return

    def panel() -> Group:
        return view_panel(view, PanelSize.of(console.width, console.height, view))

    with Live(panel(), console=console, auto_refresh=False) as live:
        for _ in updates:
            live.update(panel(), refresh=True)


def _updates(url: str, view: "RunView", interval: float, *, once: bool) -> Iterator[None]:
    """Bring ``view`` up to date and yield, again and again while a run goes on."""
    from l3ae_dist.errors import StageMissingError
    from l3ae_dist.runtime.event_store import EventReader
    from l3ae_dist.storage.lock import LockWatch
    from l3ae_dist.storage.workspace import Workspace

    opened = Workspace.open(url)
    reader, lock = EventReader(opened), LockWatch(opened)
    while True:
        writing = lock.look() is not None
        another, events = reader.poll()
        if another:
            view.clear()
        view.take_all(events)
        if reader.name is None and not writing:
            raise StageMissingError(f"{opened.url} holds no events of a run; start one with `l3ae-dist run`.")
        if not writing and not view.outcome:
            view.outcome = "ended without a word (killed, or its machine was lost)"
        yield
        if once or not writing:
            return
        time.sleep(interval)
