"""``l3ae-dist report`` and ``compare``, and the report that other commands end with."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l3ae_dist.cli.common import AsJson, WorkspaceArgument, guarded, output_to_stderr, print_json

if TYPE_CHECKING:
    from l3ae_dist.report.tables import Table


@guarded
def report(
    workspace: WorkspaceArgument,
    run: Annotated[str | None, typer.Option(help="Id of a run, or its beginning; else the latest.")] = None,
    output: Annotated[str | None, typer.Option(help="HTML file to write; else into the workspace.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make the report of a run again, from storage alone: one HTML file that needs no network."""
    from l3ae_dist.report import write_report

    with output_to_stderr():
        found = write_report(workspace, run, output)
    if as_json:
        print_json(found)
        return
    typer.echo(f"Run {found['run']}: {found['outcome']}")
    for text in found["warnings"]:
        typer.echo(f"Warning: {text}")
    typer.echo(f"Report: {found['report']}")


@guarded
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN RUN]", show_default=False,
            help="Workspaces (their latest run), WORKSPACE#RUN, or run ids with --workspace; a single "
            "workspace: its last two runs.",
        ),
    ] = None,
    workspace: Annotated[str | None, typer.Option(help="The workspace whose run ids are given.")] = None,
    output: Annotated[str | None, typer.Option(help="HTML file to write.")] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Set two runs side by side: configuration, data, metrics, times, memory."""
    from l3ae_dist.report import compare_page, compare_runs, open_runs
    from l3ae_dist.report.write import save_page

    with output_to_stderr():
        records = open_runs(runs or [], workspace)
        found = compare_runs(*records)
        if output is not None:
            found["report"] = save_page(compare_page(*records).encode(), output)
    if as_json:
        print_json(found)
    else:
        _print_comparison(found)


def _print_comparison(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    from l3ae_dist.report.compare import SIDES, difference_table, figure_table, metric_table

    console = Console(highlight=False)
    for side, run in zip(SIDES, found["runs"], strict=True):
        line = f"{side}: run {run['run']} of {run['workspace']}, {run['outcome']} {run['finished']}"
        console.print(Text(line.rstrip()), soft_wrap=True)
    for text in found["notes"]:
        console.print(Text(text, style="yellow"), soft_wrap=True)
    shown = (
        ("Metrics on the test split", metric_table(found)),
        ("What differs in the configuration", difference_table(found["configuration"])),
        ("Time, memory, bytes and certificate", figure_table(found)),
        ("What differs in versions and machine", difference_table(found["versions"])),
    )
    for title, table in shown:
        if table is not None:
            console.print(_rich(title, table))
    if "report" in found:
        console.print(Text(f"Report: {found['report']}"), soft_wrap=True)


def _rich(title: str, found: "Table") -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(found.headings):
        table.add_column(escape(heading), justify="left" if number < found.left else "right", overflow="fold")
    for row in found.rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def add_report(result: dict[str, Any], *, wanted: bool = True) -> dict[str, Any]:
    """The result with ``report``, where the run's report is; a report that fails is a sentence on stderr.

    A run that was reused keeps the report that it has.
    """
    if not wanted or "run" not in result:
        return result
    from l3ae_dist.errors import L3AEError
    from l3ae_dist.report.write import kept_report, write_report

    try:
        with output_to_stderr():
            where = kept_report(result["workspace"], result["run"]) if result.get("reused") else None
            where = where or write_report(result["workspace"], result["run"])["report"]
    except Exception as error:  # the run is complete, and its result more than its report
        reason = str(error) if isinstance(error, L3AEError) else f"{type(error).__name__}: {error}"
        print(f"The run is complete, but its report could not be made: {reason}", file=sys.stderr)
        return result
    return {**result, "report": where}
