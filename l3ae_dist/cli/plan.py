"""``l3ae-dist plan``: what a run takes, before it runs."""

from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson
from l3ae_dist.cli.output import print_json, screen
from l3ae_dist.cli.plan_options import PlannedRun, SpeedOptions


@command
def plan(
    run: PlannedRun,
    *,
    actors: Annotated[int, typer.Option("--actors", min=1, help="Embedding actors.")] = 1,
    speed: SpeedOptions,
    disk: Annotated[str | None, typer.Option("--disk", help="Bytes that the workspace may take.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the formulas with their numbers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what a run takes before it runs: tasks, bytes, memory, time; refuse what cannot run."""
    config = run.configure()
    from l3ae_dist.planning.forecast import forecast
    from l3ae_dist.planning.formulas import explanation

    size = run.size(config)
    expected = forecast(config, size, speed.resources(config, actors, disk))
    lines = explanation(expected) if explain else []
    if as_json:
        print_json({**expected.summary(), **({"explanation": lines} if explain else {})})
        return
    from l3ae_dist.cli.views.forecast import print_forecast

    print_forecast(screen(), expected, lines)
