"""``l3ae-dist compare``: two runs side by side."""

from dataclasses import asdict
from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson
from l3ae_dist.cli.output import output_to_stderr, print_json, screen


@command
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN RUN]", show_default=False,
            help="Workspaces (their latest run), WORKSPACE#RUN, or run ids with --workspace; a single "
            "workspace: its last two runs. The name of a model stands for the run that made it.",
        ),
    ] = None,
    workspace: Annotated[str | None, typer.Option(help="The workspace whose run ids are given.")] = None,
    output: Annotated[str | None, typer.Option(help="HTML file to write.")] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Set two runs side by side: configuration, data, metrics, times, memory."""
    from l3ae_dist.report.compare import RunComparison, compare_page, open_runs
    from l3ae_dist.report.write import note_report, save_page
    from l3ae_dist.storage.output_files import PAGE, check_output

    with output_to_stderr():
        if output is not None:
            check_output(output, PAGE)
        records = open_runs(runs or [], workspace)
        comparison = RunComparison.of(*records)
        for record in records if output is not None else ():
            note_report(record, str(output))
        page = None if output is None else save_page(compare_page(*records).encode(), output)
    if as_json:
        print_json({**asdict(comparison), **({} if page is None else {"report": page})})
        return
    from l3ae_dist.cli.views.comparison import print_comparison

    print_comparison(screen(), comparison, page)
