"""``l3ae-dist calibrate``: the rates of a cluster."""

from pathlib import Path
from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AnySettings, AsJson
from l3ae_dist.cli.output import print_json, run_with_progress, screen
from l3ae_dist.cli.plan_options import WorkerOptions


@command
def calibrate(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file, or a workspace with defaults.")],
    *,
    settings: AnySettings = [],  # noqa: B006  (typer copies it)
    worker: WorkerOptions,
    texts: Annotated[bool, typer.Option(help="Embed some texts too, which loads the encoder.")] = True,
    output: Annotated[Path | None, typer.Option("--output", help="File for the rates too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure this cluster's kernels, storage, tasks and texts per second, for plan and simulate."""
    chosen = worker.configure(config, settings)
    from l3ae_dist.planning.calibrate import calibrate
    from l3ae_dist.storage.output_files import RATES, check_output, write_output

    if output is not None:
        check_output(output, RATES)
    rates = run_with_progress(lambda on_event: calibrate(chosen, texts=texts, on_event=on_event))
    if output is not None:
        write_output(output, f"{rates.model_dump_json(indent=1)}\n".encode(), RATES)
    if as_json:
        print_json(rates.model_dump(mode="json"))
        return
    from l3ae_dist.cli.views.rates import print_rates

    print_rates(screen(), rates)
