"""The prices of cores as a table for people."""

from collections.abc import Sequence

from rich.console import Console

from l3ae_dist.cli.views.quantities import figure_table, human_flops, human_seconds
from l3ae_dist.planning.core_prices import CorePrice
from l3ae_dist.units import human_bytes


def print_core_prices(console: Console, prices: Sequence[CorePrice], configured: int | None) -> None:
    """Print what a run takes with each core.

    Parameters
    ----------
    console
        Where to print.
    prices
        The cores, from none to the smallest.
    configured
        The one that the run has.
    """
    table = figure_table(
        "Cores (data.core.min_interactions; times are estimates)",
        "k", "items", "interactions", "flops", "storage", "time",
    )  # fmt: skip
    for price in prices:
        name = "no core" if price.min_interactions is None else f"{price.min_interactions:,}"
        mark = " (this run)" if price.min_interactions == configured else ""
        table.add_row(name + mark, f"{price.items:,}", f"{price.interactions:.1%}", *_figures(price))
    console.print(table)


def _figures(price: CorePrice) -> tuple[str, str, str]:
    if price.flops is None or price.bytes is None or price.seconds is None:
        return "", "does not fit", ""
    return human_flops(price.flops), human_bytes(price.bytes), human_seconds(price.seconds)
