"""A score split over the history of a user, as a table for people."""

from collections.abc import Sequence

from rich.table import Table

from l3ae_dist.cli.documents import Document
from l3ae_dist.runtime.watch.terminal import plain_text

_PARTS = ("collaborative", "semantic", "total")


def explanation_table(user: str, item: str, rows: Sequence[Document], most: int) -> Table:
    """Draw what each item of a history adds to a score, and the score as the last line.

    Parameters
    ----------
    user, item
        Ids, for the title.
    rows
        One for each item of the history: ``item_id``, ``title``, ``collaborative``, ``semantic``, ``total``.
    most
        Rows that are drawn, those that add or take the most; the others are summed up in one.
    """
    table = Table(title=plain_text(f"Why item {item} scores as it does for user {user}"))
    table.add_column("because of")
    for name in _PARTS:
        table.add_column(name, justify="right")
    ranked = sorted(rows, key=lambda row: -abs(row["total"]))
    for row in ranked[:most]:
        label = f"{row['title']} ({row['item_id']})"
        table.add_row(plain_text(label), *(f"{row[name]:+.4f}" for name in _PARTS))
    if others := ranked[most:]:
        label = "1 other item" if len(others) == 1 else f"{len(others):,} other items"
        table.add_row(plain_text(label), *_sums(others))
    table.add_section()
    table.add_row("score", *_sums(rows), style="bold")
    return table


def _sums(rows: Sequence[Document]) -> list[str]:
    return [f"{sum(row[name] for row in rows):+.4f}" for name in _PARTS]
