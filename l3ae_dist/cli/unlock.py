"""``l3ae-dist unlock``: a workspace whose run is dead."""

from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import WorkspaceArgument
from l3ae_dist.cli.output import tell


@command
def unlock(
    workspace: WorkspaceArgument,
    force: Annotated[bool, typer.Option("--force", help="Also when the run looks alive.")] = False,
) -> None:
    """Free a workspace whose run is dead."""
    from l3ae_dist.storage.lock import unlock as free
    from l3ae_dist.storage.workspace import Workspace

    holder = free(Workspace.open(workspace), force)
    tell("the workspace was not locked" if holder is None else f"freed from {holder.describe()}")
