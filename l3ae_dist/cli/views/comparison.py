"""Two runs side by side, as tables for people."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from l3ae_dist.messages import inline
from l3ae_dist.report import tables
from l3ae_dist.report.compare import SIDES, RunComparison, difference_table, figure_table, metric_table
from l3ae_dist.runtime.watch.terminal import plain_text


def print_comparison(console: Console, comparison: RunComparison, page: str | None) -> None:
    """Print two runs and their differences in metrics, configuration, figures and versions.

    Parameters
    ----------
    console
        Where to print.
    comparison
        The two runs.
    page
        Path of the comparison as an HTML file; None when none was written.
    """
    for side, run in zip(SIDES, comparison.runs, strict=True):
        line = f"{side}: run {run.run} of {run.workspace}, {run.outcome} {run.finished}"
        console.print(plain_text(line.rstrip()), soft_wrap=True)
    for text in comparison.notes:
        console.print(Text(inline(text), style="yellow"), soft_wrap=True)
    shown = (
        ("Metrics on the test split", metric_table(comparison.metrics)),
        ("What differs in the configuration", difference_table(comparison.configuration)),
        ("Time, memory, bytes and certificate", figure_table(comparison.figures)),
        ("What differs in versions and machine", difference_table(comparison.versions)),
    )
    for title, table in shown:
        if table is not None:
            console.print(_drawn(title, table))
    if page is not None:
        console.print(plain_text(f"Report: {page}"), soft_wrap=True)


def _drawn(title: str, content: tables.Table) -> Table:
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(content.headings):
        words = number < content.left
        table.add_column(plain_text(heading), justify="left" if words else "right", overflow="fold")
    for row in content.rows:
        table.add_row(*(plain_text(cell) for cell in row))
    return table
