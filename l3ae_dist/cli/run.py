"""``l3ae-dist run``: every stage of a configuration."""

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson, ComputeOptions, Settings, Target
from l3ae_dist.cli.result import run_stages


@command
def run(
    config: Target,
    *,
    settings: Settings = [],  # noqa: B006  (typer copies it)
    compute: ComputeOptions,
    as_json: AsJson = False,
) -> None:
    """Run every stage of a configuration; what is complete is reused."""
    run_stages(compute.configure(config, settings), until=None, as_json=as_json)
