"""The outcome of a sweep as tables for people."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from l3ae_dist.cli.documents import Document
from l3ae_dist.cli.views.result import (
    comparison_sentence,
    model_table,
    print_cost,
    print_model,
    print_next,
    print_verdict,
)
from l3ae_dist.config.transformed_spec import VARIED
from l3ae_dist.pipeline.result import comparisons_of
from l3ae_dist.report.sweep_page import inverses_text
from l3ae_dist.runtime.watch.terminal import plain_text

_SHOWN_ROWS = 12
_PARAMETERS = ("ridge", "reg_x", "reg_f", "reg_e", "p", "beta", "alpha", "diagonal", "xi", "a", "b")


def print_sweep(console: Console, result: Document) -> None:
    """Print the best models of a sweep, the measured ones, their comparisons and the cost."""
    print_verdict(console, result)
    console.print(sweep_table(result["sweep"]))
    console.print(model_table(result["models"]))
    for comparison in comparisons_of(result):
        sentence = comparison_sentence(comparison).append(f"; {comparison.p_text}")
        console.print(sentence, soft_wrap=True)
    print_model(console, result)
    print_cost(console, result)
    if result["reused"]:
        console.print("Everything was complete and has been reused.")
    console.print(plain_text(f"Plot: {result['plot']}"), soft_wrap=True)
    if "report" in result:
        console.print(plain_text(f"Report: {result['report']}"), soft_wrap=True)
    console.print(plain_text(f"Workspace: {result['workspace']}"), soft_wrap=True)
    print_next(console, result)


def sweep_table(sweep: Document) -> Table:
    """Draw the best models on the validation split, and the best of each kind and ridge among the others."""
    metric = sweep["metric"]
    ordered = sorted(sweep["table"], key=lambda row: -float(row[metric]))
    shown = _best(ordered)
    inverses = inverses_text(sweep["ridges"], sweep.get("inverses", 0))
    stopped = len(sweep.get("stopped", ()))
    title = f"{len(ordered) + stopped} models on {inverses}, by validation {metric}"
    if stopped:
        title += f"; {stopped} were given up early"
    if len(shown) < len(ordered):
        title += f": the best {_SHOWN_ROWS}, and the best of each kind and ridge"
    table = Table(title=title)
    table.add_column("place", justify="right")
    table.add_column("model")
    parameters = [name for name in _PARAMETERS if any(name in row for row in ordered)]
    parameters += [name for name in VARIED if len({row[name] for row in ordered if name in row}) > 1]
    metrics = [name for name in ordered[0] if "@" in name]
    for name in [*parameters, *metrics]:
        table.add_column(plain_text(name), justify="right")
    for place, row in shown:
        cells = [_cell(row[name]) if name in row else "" for name in parameters]
        table.add_row(str(place), plain_text(row["model"]), *cells, *(f"{row[name]:.4f}" for name in metrics))
    return table


def _best(ordered: Sequence[Document]) -> list[tuple[int, Document]]:
    """Return the first rows, and the first row of each kind and ridge, with their places."""
    seen: set[tuple[str, float | None]] = set()
    shown = []
    for place, row in enumerate(ordered, start=1):
        kind = (row["model"], row.get("ridge"))
        if place <= _SHOWN_ROWS or kind not in seen:
            shown.append((place, row))
        seen.add(kind)
    return shown


def _cell(value: object) -> str:
    """Write a value of a hyper-parameter; null is all dimensions."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:g}"
    return "all" if value is None else str(plain_text(value))
