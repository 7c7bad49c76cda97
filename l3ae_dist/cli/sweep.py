"""The command ``l3ae-dist sweep``."""

from typing import Annotated, Any

import typer

from l3ae_dist.cli.common import AsJson, Insecure, build_config, guarded, print_json, run_with_progress
from l3ae_dist.cli.report import add_report

_SHOWN_ROWS = 12


@guarded
def sweep(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="YAML file, or a workspace to use with defaults.")
    ],
    settings: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Set any value, as in sweep.ridge=[20,100]."),
    ] = [],  # noqa: B006  (typer copies it)
    workspace: Annotated[
        str | None, typer.Option("--workspace", help="Path or URL of the workspace.")
    ] = None,
    memory_budget: Annotated[
        str | None, typer.Option("--memory-budget", help="Bytes per Dask worker, such as 2GiB.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Dask worker processes.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="auto, float32 or float64.")] = None,
    insecure: Insecure = False,
    plot: Annotated[
        str | None, typer.Option("--plot", help="Write the plot (HTML) here too; the workspace has it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try a grid or random samples of regularisers, one factorisation per ridge, and keep the best L3AE."""
    chosen = build_config(
        config,
        settings,
        workspace=workspace,
        memory_budget=memory_budget,
        workers=workers,
        dtype=dtype,
        insecure=insecure,
    )
    from l3ae_dist.report.sweep_page import sweep as run_sweep

    result = run_with_progress(lambda on_event: run_sweep(chosen, on_event=on_event, plot=plot))
    result = add_report(result, wanted=chosen.report)
    if as_json:
        print_json(result)
    else:
        _print(result)


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    from l3ae_dist.cli.views.tables import comparison_sentence, model_table, print_cost

    console = Console(highlight=False)
    console.print(_table(result["sweep"]))
    console.print(model_table(result["models"]))
    for comparison in result["comparisons"]:
        sentence = comparison_sentence(comparison).append(f"; p = {comparison['p_value']:.2g}")
        console.print(sentence, soft_wrap=True)
    print_cost(console, result)
    if result["reused"]:
        console.print("Everything was complete and has been reused.")
    console.print(Text(f"Plot: {result['plot']}"), soft_wrap=True)
    if "report" in result:
        console.print(Text(f"Report: {result['report']}"), soft_wrap=True)
    console.print(Text(f"Workspace: {result['workspace']}"), soft_wrap=True)


def _table(found: dict[str, Any]) -> Any:
    """The best models on the validation split, and the best of each kind and ridge among the others."""
    from rich.markup import escape
    from rich.table import Table

    metric = found["metric"]
    ordered = sorted(found["table"], key=lambda row: -float(row[metric]))
    kinds: set[tuple[Any, Any]] = set()
    shown = []
    for place, row in enumerate(ordered):
        kind = (row["model"], row.get("ridge"))
        if place < _SHOWN_ROWS or kind not in kinds:
            shown.append((place + 1, row))
        kinds.add(kind)
    title = f"{len(ordered)} models on {found['ridges']} ridges, by validation {metric}"
    if len(shown) < len(ordered):
        title += f": the best {_SHOWN_ROWS}, and the best of each kind and ridge"
    table = Table(title=title)
    table.add_column("place", justify="right")
    table.add_column("model")
    parameters = [
        name for name in ("ridge", "reg_x", "reg_f", "reg_e") if any(name in row for row in ordered)
    ]
    metrics = [name for name in ordered[0] if "@" in name]
    for name in [*parameters, *metrics]:
        table.add_column(escape(name), justify="right")
    for place, row in shown:
        cells = [f"{row[name]:g}" if name in row else "" for name in parameters]
        table.add_row(str(place), row["model"], *cells, *(f"{row[name]:.4f}" for name in metrics))
    return table
