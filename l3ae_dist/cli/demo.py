"""``l3ae-dist demo``: the whole job on MovieLens."""

from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson
from l3ae_dist.cli.output import run_with_progress
from l3ae_dist.cli.result import add_report, show_result


@command
def demo(
    workspace: Annotated[str, typer.Option("--workspace", help="Where the demo keeps its results.")] = (
        "./demo-workspace"
    ),
    as_json: AsJson = False,
) -> None:
    """Run the whole job on MovieLens: embed, solve, compare L3AE with EASE, recommend."""
    from l3ae_dist.model.demo import run_demo

    result = run_with_progress(lambda on_event: run_demo(workspace, on_event=on_event))
    show_result(add_report(result), as_json)
