"""``l3ae-dist embed``: the data and the embeddings of the item text."""

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson, ComputeOptions, Settings, Target, WorkspaceOption
from l3ae_dist.cli.result import run_stages


@command
def embed(
    config: Target,
    settings: Settings = [],  # noqa: B006  (typer copies it)
    workspace: WorkspaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Read the data and embed the item text, no further."""
    chosen = ComputeOptions(workspace).configure(config, settings)
    run_stages(chosen, until="embed", as_json=as_json)
