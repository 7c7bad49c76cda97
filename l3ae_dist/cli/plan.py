"""``l3ae-dist plan``: what a run takes, before it runs."""

from dataclasses import asdict
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
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Show the formulas with their numbers, blocks, tiers and alternatives."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what a run takes before it runs: tasks, bytes, memory, time; refuse what cannot run."""
    config = run.configure()
    from l3ae_dist.planning.block_choice import alternatives, stage_blocks
    from l3ae_dist.planning.forecast import forecast
    from l3ae_dist.planning.formulas import explanation

    size = run.size(config)
    resources = speed.resources(config, actors, disk)
    expected = forecast(config, size, resources)
    prices = run.core_prices(config, size, resources) if explain or config.data.core is not None else ()
    if not explain:
        lines, blocks, others = [], [], []
    else:
        lines, blocks = explanation(expected), stage_blocks(expected.plan)
        others = alternatives(config, size, resources, expected.plan)
    if as_json:
        found = {
            "explanation": lines,
            "blocks": [asdict(one) for one in blocks],
            "alternatives": [asdict(one) for one in others],
        }
        cores = {"cores": [price.document() for price in prices]} if prices else {}
        print_json({**expected.summary(), **cores, **(found if explain else {})})
        return
    from l3ae_dist.cli.views.block_choice import print_blocks
    from l3ae_dist.cli.views.forecast import print_forecast

    print_forecast(screen(), expected, lines)
    if prices:
        from l3ae_dist.cli.views.core_prices import print_core_prices

        core = config.data.core
        print_core_prices(screen(), prices, None if core is None else core.min_interactions)
    if explain:
        print_blocks(screen(), blocks, expected.stages, others)
