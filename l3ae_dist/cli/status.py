"""``l3ae-dist status``: what a workspace holds."""

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson, WorkspaceArgument
from l3ae_dist.cli.output import output_to_stderr, print_json, screen


@command
def status(workspace: WorkspaceArgument, as_json: AsJson = False) -> None:
    """Show what a workspace holds; reads storage alone."""
    from l3ae_dist.operations.status import workspace_status

    with output_to_stderr():
        result = workspace_status(workspace).document()
    if as_json:
        print_json(result)
        return
    from l3ae_dist.cli.views.status import print_status

    print_status(screen(), result)
