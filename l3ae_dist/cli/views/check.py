"""The profile of data as tables for people. Everything in the data is shown and nothing of it is obeyed."""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from l3ae_dist.cli.views.quantities import say
from l3ae_dist.data.dataset_summary import core_sentence, count_text, dropped_sentence, kept_sentence
from l3ae_dist.data.intake.profile import TableProfile
from l3ae_dist.messages import shown, visible
from l3ae_dist.pipeline.check import DataCheck, Spread, TextProfile
from l3ae_dist.runtime.watch.terminal import plain_text

_MOST_COLUMNS = 12
_NAME = 24
_NARROWEST = 8


def print_check(console: Console, found: DataCheck) -> None:
    """Print the profile of the data of a run: each table, and what the run would store."""
    for table in found.tables:
        _print_table(console, table)
    console.print(Text("Data of the run", style="bold"))
    console.print(_figures(_data_figures(found)))
    say(console, kept_sentence(found.dataset), dropped_sentence(found.dataset))
    if found.dataset.core is not None:
        say(console, core_sentence(found.dataset))
    say(console, f"Nothing was stored. Time: {found.seconds:.1f} s")


def _print_table(console: Console, table: TableProfile) -> None:
    source = shown(table.source, console.width - len(table.what) - 2)
    console.print(Text(f"{table.what.capitalize()}: {source}", style="bold"), soft_wrap=True)
    console.print(_figures(_table_figures(table)))
    used = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("column", "used as", "kind", "values"):
        used.add_column(heading, overflow="fold")
    for column in table.used:
        used.add_row(
            _cell(column.name), plain_text(column.used_as), plain_text(column.kind), plain_text(column.values)
        )
    console.print(used)
    if table.sample:
        console.print(Text(f"First {count_text(len(table.sample), 'row')}"))
        console.print(_sample(table, console.width))


def _table_figures(table: TableProfile) -> Iterator[tuple[str, str]]:
    yield "rows", f"{table.rows:,}"
    if table.files:
        yield "files", f"{table.files:,}"
    for words, count in table.formats.items():
        yield "format", visible(words) if len(table.formats) == 1 else f"{count:,} x {visible(words)}"
    names = [shown(name, _NAME)[1:-1] for name in table.columns[:_MOST_COLUMNS]]
    more = len(table.columns) - len(names)
    yield "columns", ", ".join(names) + (f" and {more:,} more" if more else "")
    for note in table.notes:
        yield "note", visible(note)


def _data_figures(found: DataCheck) -> Iterator[tuple[str, str]]:
    stats = found.dataset
    yield "users", f"{stats.n_users:,}"
    yield "items", f"{stats.n_items:,}, {stats.items_without_interactions:,} without training interactions"
    yield "interactions", f"{found.interactions:,} distinct pairs, density {found.density:.3g}"
    yield "of a user", _spread(found.per_user)
    yield "of an item", _spread(found.per_item)
    if found.texts is not None:
        yield from _text_figures(found.texts)
    else:
        yield "texts", f"none: {visible(found.no_text or 'the items have no text')}"
    if found.embeddings is not None:
        rows, dim = found.embeddings
        yield "embeddings", f"{rows:,} rows of {dim:,} dimensions"


def _text_figures(texts: TextProfile) -> Iterator[tuple[str, str]]:
    yield "characters", _spread(texts.characters)
    yield "texts", f"{texts.empty:,} empty, {texts.duplicates:,} repeat another"
    if texts.limit is not None:
        yield (
            "long texts",
            f"about {texts.over_limit:,} beyond the {texts.limit:,} tokens that the encoder reads",
        )


def _spread(spread: Spread) -> str:
    return f"{spread.least:,} / {spread.median:,} / {spread.largest:,} (least, median, largest)"


def _figures(rows: Iterator[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(plain_text(name), plain_text(value))
    return table


def _sample(table: TableProfile, room: int) -> Table:
    """Draw the first rows, one line for each: the widest columns are cut to the width of the terminal."""
    names = list(table.sample[0])
    cells = [[row.get(name, "").replace("\n", "\\n") for name in names] for row in table.sample]
    heads = [shown(name, _NAME)[1:-1] for name in names]
    natural = [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]
    widths = fitted_widths(natural, room - 2 * len(names) - 2)
    sample = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head, width in zip(heads, widths, strict=True):
        sample.add_column(Text(head), width=width, overflow="fold")
    for row in cells:
        sample.add_row(*(_cut(cell, width) for cell, width in zip(row, widths, strict=True)))
    return sample


def fitted_widths(natural: Sequence[int], room: int) -> list[int]:
    """Cut the widest of some widths until all fit side by side, or are narrow.

    >>> fitted_widths([3, 50, 9], 30), fitted_widths([3, 50, 9], 100)
    ([3, 18, 9], [3, 50, 9])
    """
    for level in range(max(natural), _NARROWEST, -1):
        widths = [min(width, level) for width in natural]
        if sum(widths) <= room:
            return widths
    return [min(width, _NARROWEST) for width in natural]


def _cut(words: str, most: int) -> Text:
    text = plain_text(words)
    text.truncate(most, overflow="ellipsis")
    return text


def _cell(text: str) -> Text:
    """Cut a name to the width of a column, with what cannot be seen escaped."""
    return Text(shown(text, _NAME)[1:-1])
