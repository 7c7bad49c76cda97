"""Durations, flops and tables of figures, as forecasts, simulations and rates share them."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from l3ae_dist.runtime.watch.terminal import plain_text


def human_seconds(seconds: float) -> str:
    """Write a duration in the unit that fits.

    >>> human_seconds(42), human_seconds(5400), human_seconds(200_000)
    ('42.0 s', '1.5 h', '2.3 days')
    """
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:,.1f} days"


def human_flops(flops: float) -> str:
    """Write flops with a prefix; nothing for none.

    >>> human_flops(3.3e17), human_flops(0)
    ('330.0 P', '')
    """
    for size, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G")):
        if flops >= size:
            return f"{flops / size:.1f} {prefix}"
    return f"{flops / 1e6:.1f} M" if flops else ""


def figure_table(title: str, *headings: str) -> Table:
    """Begin a table of figures: the first column is words, the others are aligned on the right."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(plain_text(heading), justify="right" if number else "left", no_wrap=not number)
    return table


def say(console: Console, *lines: str) -> None:
    """Print lines as plain text, longer than the terminal is wide where they are."""
    for line in lines:
        console.print(plain_text(line), soft_wrap=True)
