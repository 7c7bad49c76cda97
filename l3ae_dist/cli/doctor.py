"""``l3ae-dist doctor``: what a run needs, on this machine and on every node of its cluster."""

import sys
import time
from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.configuration import build_config
from l3ae_dist.cli.options import AsJson, Insecure
from l3ae_dist.cli.output import output_to_stderr, print_json, screen


@command
def doctor(
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONFIG|WORKSPACE]",
            help="YAML file of a run, or its workspace; neither for this machine.",
        ),
    ] = None,
    settings: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Set any value, as in compute.workers=2.")
    ] = [],  # noqa: B006  (typer copies it)
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """Check packages, BLAS, memory, disks, clocks, GPUs, Ray, Dask and the store, on every node."""
    chosen = None
    if config is not None or settings:
        chosen = build_config(config, settings, {"compute.insecure": "true" if insecure else None})
    from l3ae_dist.cli.views.checks import print_checks
    from l3ae_dist.operations.doctor import examine, report
    from l3ae_dist.runtime.watch.terminal import PlainConsole

    started = time.perf_counter()
    with (
        output_to_stderr(),
        PlainConsole(sys.stderr).status("looking") as status,
    ):
        checks = examine(chosen, say=lambda text: status.update(f"looking at {text}"))
    summary = report(checks, time.perf_counter() - started)
    if as_json:
        print_json(summary)
    else:
        print_checks(screen(), checks, summary["seconds"])
    if summary["exit_code"]:
        raise typer.Exit(summary["exit_code"])
