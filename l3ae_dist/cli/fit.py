"""``l3ae-dist fit``: every stage up to the fitted model."""

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson, ComputeOptions, Settings, Target
from l3ae_dist.cli.result import run_stages


@command
def fit(
    config: Target,
    *,
    settings: Settings = [],  # noqa: B006  (typer copies it)
    compute: ComputeOptions,
    as_json: AsJson = False,
) -> None:
    """Run every stage up to the fitted model, without evaluating it."""
    run_stages(compute.configure(config, settings), until="fit", as_json=as_json)
