"""``l3ae-dist du``: what the arrays of a workspace take."""

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson, WorkspaceArgument
from l3ae_dist.cli.output import output_to_stderr, print_json, screen


@command
def du(workspace: WorkspaceArgument, as_json: AsJson = False) -> None:
    """Show what the arrays of a workspace take, by kind; reads no chunk."""
    from l3ae_dist.operations.usage import workspace_usage

    with output_to_stderr():
        taken = workspace_usage(workspace).document()
    if as_json:
        print_json(taken)
        return
    from l3ae_dist.cli.views.usage import print_usage

    print_usage(screen(), taken)
