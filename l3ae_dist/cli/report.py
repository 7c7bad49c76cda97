"""``l3ae-dist report``: the page of a run, from storage alone."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson, ModelOption, WorkspaceArgument
from l3ae_dist.cli.output import output_to_stderr, print_json, tell


@command
def report(
    workspace: WorkspaceArgument,
    run: Annotated[str | None, typer.Option(help="Id of a run, or its beginning; else the latest.")] = None,
    output: Annotated[str | None, typer.Option(help="HTML file to write; else into the workspace.")] = None,
    model: ModelOption = None,
    card: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a model card in Markdown instead.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the report of a run again, from storage alone: one HTML file that needs no network."""
    from l3ae_dist.report import write_card, write_report

    if card is not None:
        with output_to_stderr():
            path = write_card(workspace, card, run=run, model=model)
        print_json({"card": path}) if as_json else tell(f"Model card: {path}")
        return
    with output_to_stderr():
        written = write_report(workspace, run, output, model=model)
    if show and (page := Path(written["report"])).is_file():
        webbrowser.open(page.resolve().as_uri())
    if as_json:
        print_json(written)
        return
    tell(f"Run {written['run']}: {written['outcome']}")
    for text in written["warnings"]:
        tell(f"Warning: {text}")
    tell(f"Report: {written['report']}")
