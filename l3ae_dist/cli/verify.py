"""``l3ae-dist verify``: every finished chunk against its checksum."""

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson, WorkspaceArgument
from l3ae_dist.cli.output import print_json, run_with_progress, tell
from l3ae_dist.errors import DamagedTileError


@command
def verify(workspace: WorkspaceArgument, as_json: AsJson = False) -> None:
    """Read all documents and finished chunks and check their digests; exit code 6 when any is damaged."""
    from l3ae_dist.operations.verify import verify_workspace

    verified = run_with_progress(lambda on_event: verify_workspace(workspace, on_event))
    if as_json:
        print_json({"workspace": workspace, **verified.document()})
    else:
        for problem in [one.problem for one in verified.documents] + [one.problem for one in verified.damage]:
            tell(problem)
        damaged_documents = f", {len(verified.documents)} damaged documents" if verified.documents else ""
        tell(f"{verified.arrays} arrays read, {len(verified.damage)} damaged chunks{damaged_documents}")
    if verified.damage or verified.documents:
        raise typer.Exit(DamagedTileError.exit_code)
