"""``l3ae-dist doctor``: what a run needs, on this machine and on every node of its cluster."""

import time
from itertools import groupby
from typing import Annotated, Any

import typer

from l3ae_dist.cli.common import AsJson, Insecure, build_config, guarded, output_to_stderr, print_json

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "problem": ("problem", "bold red")}


@guarded
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
    ] = [],  # noqa: B006
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """Check packages, BLAS, memory, disks, clocks, GPUs, Ray, Dask and the store, on every node."""
    chosen = None
    if config is not None or settings:
        chosen = build_config(config, settings, insecure=insecure)
    from rich.console import Console

    from l3ae_dist.operations.doctor import examine, report

    started = time.perf_counter()
    with output_to_stderr():
        console = Console(stderr=True, highlight=False)
        with console.status("looking") as status:
            checks = examine(chosen, say=lambda text: status.update(f"looking at {text}"))
    found = report(checks, time.perf_counter() - started)
    if as_json:
        print_json(found)
    else:
        print_report(Console(highlight=False), found)
    if found["exit_code"]:
        raise typer.Exit(found["exit_code"])


def print_report(console: Any, found: dict[str, Any]) -> None:
    """One table for each node, and a line that counts."""
    from rich.table import Table
    from rich.text import Text

    ordered = sorted(found["checks"], key=lambda check: _order(found["checks"], check["node"]))
    for node, checks in groupby(ordered, key=lambda check: check["node"]):
        table = Table(title=Text(node, style="bold"), title_justify="left", box=None, padding=(0, 2, 0, 0))
        for heading in ("", "check", "found"):
            table.add_column(heading, no_wrap=heading != "found")
        for check in checks:
            mark, style = _MARKS[check["status"]]
            text = Text(check["found"])
            if check["advice"]:
                text.append(f"\n-> {check['advice']}", style=style)
            table.add_row(Text(mark, style=style), check["name"], text)
        console.print(table)
        console.print()
    console.print(Text(_summary(found)))


def _order(checks: list[dict[str, Any]], node: str) -> int:
    return next(k for k, check in enumerate(checks) if check["node"] == node)


def _summary(found: dict[str, Any]) -> str:
    def many(count: int, what: str) -> str:
        return f"{count or 'no'} {what}{'s' * (count != 1)}"

    return (
        f"{many(found['problems'], 'problem')}, {many(found['warnings'], 'warning')} in "
        f"{len(found['checks'])} checks; {found['seconds']:.1f} s"
    )
