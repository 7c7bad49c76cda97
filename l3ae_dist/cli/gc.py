"""``l3ae-dist gc``: matrices that no kept model needs."""

from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson, WorkspaceArgument
from l3ae_dist.cli.output import output_to_stderr, print_json, tell


@command
def gc(
    workspace: WorkspaceArgument,
    keep_runs: Annotated[
        int, typer.Option(min=1, help="Models to keep: the current one, then the latest.")
    ] = 1,
    keep_events: Annotated[int, typer.Option(min=0, help="Runs whose events and reports to keep.")] = 20,
    drop: Annotated[
        list[str], typer.Option("--drop", metavar="MODEL", help="A model not to keep; repeatable.")
    ] = [],  # noqa: B006  (typer copies it)
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also what unfinished runs would go on with.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete matrices and transformed embeddings that no kept model needs; never data or other embeddings.

    Models with a given name are kept, and what appends and sweeps made, until --drop names them.
    """
    from l3ae_dist.operations.garbage import collect_garbage

    with output_to_stderr():
        collected = collect_garbage(
            workspace, keep_runs=keep_runs, keep_events=keep_events, drop=drop, dry_run=dry_run, force=force
        )
    if as_json:
        print_json(collected.document())
        return
    from l3ae_dist.cli.views.usage import collection_lines

    for line in collection_lines(collected.document()):
        tell(line)
