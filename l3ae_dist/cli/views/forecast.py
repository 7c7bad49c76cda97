"""The forecast of a run as tables for people."""

from collections.abc import Sequence

from rich.console import Console

from l3ae_dist.cli.views.quantities import figure_table, human_flops, human_seconds, say
from l3ae_dist.cli.views.rates import rates_sentence
from l3ae_dist.planning.forecast import Forecast
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.rates import Rates
from l3ae_dist.units import human_bytes, short_bytes


def print_forecast(console: Console, found: Forecast, explanation: Sequence[str]) -> None:
    """Print a plan, its stages, limits, advice and formulas.

    Parameters
    ----------
    console
        Where to print.
    found
        The forecast.
    explanation
        Formulas with their numbers, line by line; none when empty.
    """
    plan, grid, size = found.plan, found.plan.grid, found.size
    say(
        console,
        f"{_items(size)}, {size.users:,} users, {size.interactions:,} interactions, "
        f"{size.dim:,} columns of features",
        f"{plan.workers} worker(s) of {human_bytes(plan.memory_budget)} and {_cores(found.resources.rates)}, "
        f"{plan.precision}",
        f"tiles of {grid.tile:,}, {grid.count:,} a side: {found.tile_reason}",
        plan.intermediates,
    )
    table = figure_table(
        "Stages (times are estimates)",
        "stage", "tasks", "flops", "read", "written", "memory", "time", "bound by",
    )  # fmt: skip
    for stage in found.stages:
        table.add_row(
            stage.name,
            f"{stage.tasks:,}",
            human_flops(stage.flops),
            short_bytes(stage.bytes_read),
            short_bytes(stage.bytes_written),
            short_bytes(stage.peak_bytes) if stage.peak_bytes else "",
            human_seconds(stage.seconds),
            "in the workspace already" if stage.bound == "ready" else stage.bound,
        )
    console.print(table)
    say(
        console,
        f"Estimated in all: {human_seconds(found.seconds)} without starting Ray and Dask; "
        f"workers read and write {human_bytes(found.network_bytes)}, up to "
        f"{human_bytes(found.worker_bytes_s)} a second each",
    )
    if found.cost is not None:
        say(
            console,
            f"Estimated cost: {found.cost:,.2f} (storage for the time of the run, requests, workers, actors)",
        )
    else:
        say(console, "No cost is estimated: the configuration has no prices (section `prices`)")
    for title, lines in (("Limits", found.limits), ("Advice", found.advice), ("Formulas", explanation)):
        if lines:
            say(console, f"{title}:", *(f"  {line}" for line in lines))
    say(console, rates_sentence(found.resources.rates))


def _items(size: DataSize) -> str:
    return f"{size.items:,} items" + (f" in the core, {size.tail:,} outside" if size.tail else "")


def _cores(rates: Rates) -> str:
    return "a GPU" if rates.device == "cuda" else f"{rates.threads} thread(s)"
