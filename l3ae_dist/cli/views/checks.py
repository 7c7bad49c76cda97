"""The doctor's checks as tables for people."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from l3ae_dist.messages import inline
from l3ae_dist.operations.checks.row import Check
from l3ae_dist.runtime.watch.terminal import plain_text

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def print_checks(console: Console, checks: Sequence[Check], seconds: float) -> None:
    """Print one table for each node, and a line that counts problems and warnings.

    Parameters
    ----------
    console
        Where to print.
    checks
        The rows, nodes in any order; a node's table stands where its first row does.
    seconds
        Time that the checks took.
    """
    for node in dict.fromkeys(check.node for check in checks):
        console.print(_node_table(node, [check for check in checks if check.node == node]))
        console.print()
    console.print(Text(_summary(checks, seconds)))


def _node_table(node: str, checks: Sequence[Check]) -> Table:
    table = Table(
        title=Text(inline(node), style="bold"), title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    for heading in ("", "check", "found"):
        table.add_column(heading, no_wrap=heading != "found")
    for check in checks:
        style = _STYLES[check.status]
        text = plain_text(check.found)
        if check.advice:
            text.append(f"\n-> {inline(check.advice)}", style=style)
        table.add_row(Text(check.status, style=style), plain_text(check.name), text)
    return table


def _summary(checks: Sequence[Check], seconds: float) -> str:
    problems, warnings = (
        sum(check.status == status for check in checks) for status in ("problem", "warning")
    )
    return (
        f"{_many(problems, 'problem')}, {_many(warnings, 'warning')} in {len(checks)} checks; {seconds:.1f} s"
    )


def _many(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'s' * (count != 1)}"
