"""Recommendations, neighbours and the like as a table for people."""

from collections.abc import Sequence

from rich.table import Table

from l3ae_dist.cli.documents import Document
from l3ae_dist.cli.views.result import cell_text
from l3ae_dist.runtime.watch.terminal import plain_text


def record_table(records: Sequence[Document]) -> Table:
    """Draw records with equal keys as a table, one row each."""
    table = Table()
    for heading in records[0] if records else ():
        table.add_column(plain_text(heading))
    for record in records:
        table.add_row(*(cell_text(_of_reasons(value)) for value in record.values()))
    return table


def _of_reasons(value: object) -> object:
    """Write the items that a recommendation is because of as their titles; any other value stays."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return value
    return "; ".join(str(one.get("title") or one.get("item_id")) for one in value)
