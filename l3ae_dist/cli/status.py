"""``l3ae-dist status``: what a workspace holds."""

from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson, WorkspaceArgument
from l3ae_dist.cli.output import output_to_stderr, print_json, screen


@command
def status(
    workspace: WorkspaceArgument,
    *,
    everything: Annotated[bool, typer.Option("--all", help="List every stage, array and result.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the model, data and last run of a workspace, and what is missing; reads storage alone."""
    from l3ae_dist.operations.status import workspace_status
    from l3ae_dist.report.write import kept_report

    with output_to_stderr():
        result = workspace_status(workspace).document()
    if as_json:
        print_json(result)
        return
    from l3ae_dist.cli.views.status import latest_result, print_everything, print_status

    last = latest_result(result)
    report = None if last is None else kept_report(workspace, last["run"])
    print_status(screen(), result, report)
    if everything:
        print_everything(screen(), result)
