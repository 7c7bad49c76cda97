"""``l3ae-dist du`` and ``l3ae-dist gc``."""

from typing import Annotated

import typer

from l3ae_dist.cli.common import AsJson, WorkspaceArgument, guarded, output_to_stderr, print_json


@guarded
def du(workspace: WorkspaceArgument, as_json: AsJson = False) -> None:
    """Show what the arrays of a workspace take, by kind; reads no chunk."""
    from l3ae_dist.operations.housekeeping import usage

    with output_to_stderr():
        found = usage(workspace)
    if as_json:
        print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    from l3ae_dist.units import human_bytes

    table = Table(title=None)
    for heading in ("what", "arrays", "chunks or files", "size"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for name, kind in sorted(found["kinds"].items(), key=lambda item: -item[1]["bytes"]):
        table.add_row(name, str(kind["arrays"] or ""), f"{kind['chunks']:,}", human_bytes(kind["bytes"]))
    table.add_section()
    table.add_row("all", "", "", human_bytes(found["bytes"]))
    console = Console(highlight=False)
    console.print(table)
    if found["free_bytes"] is not None:
        console.print(f"{human_bytes(found['free_bytes'])} are free on its disk")


@guarded
def gc(
    workspace: WorkspaceArgument,
    keep_runs: Annotated[
        int, typer.Option(min=1, help="Models to keep: the current one, then the latest.")
    ] = 1,
    keep_events: Annotated[int, typer.Option(min=0, help="Runs whose events and reports to keep.")] = 20,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also what unfinished runs would go on with.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete matrices that no kept model needs; never data or embeddings."""
    from l3ae_dist.operations.housekeeping import collect_garbage

    with output_to_stderr():
        found = collect_garbage(
            workspace, keep_runs=keep_runs, keep_events=keep_events, dry_run=dry_run, force=force
        )
    if as_json:
        print_json(found)
        return
    from l3ae_dist.units import human_bytes

    verb = "would be deleted" if dry_run else "deleted"
    for path, count in found["deleted"].items():
        typer.echo(f"{human_bytes(count):>12}  {path}")
    typer.echo(
        f"{human_bytes(found['bytes'])} in {len(found['deleted'])} artifacts and {found['events']} event "
        f"files {verb}; {len(found['kept'])} artifacts are kept"
    )
    if found["unfinished"]:
        typer.echo(
            f"{len(found['unfinished'])} of them are kept for runs that have not finished; --force deletes "
            "them"
        )
