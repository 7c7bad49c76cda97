"""``l3ae-dist sweep``: many models on few factorisations."""

from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson, ComputeOptions, Target
from l3ae_dist.cli.output import print_json, run_with_progress, screen
from l3ae_dist.cli.result import add_report


@command
def sweep(
    config: Target,
    *,
    settings: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Set any value, as in sweep.ridge=[20,100]."),
    ] = [],  # noqa: B006  (typer copies it)
    compute: ComputeOptions,
    plot: Annotated[
        str | None, typer.Option("--plot", help="Write the plot (HTML) here too; the workspace has it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try a grid or random samples of parameters, one factorisation per inverse, and keep the best model."""
    chosen = compute.configure(config, settings)
    from l3ae_dist.report.sweep_page import sweep as run_sweep

    found = run_with_progress(lambda on_event: run_sweep(chosen, on_event=on_event, plot=plot))
    result = add_report(found, wanted=chosen.report)
    if as_json:
        print_json(result)
        return
    from l3ae_dist.cli.views.sweep import print_sweep

    print_sweep(screen(), result)
