"""The bytes of a workspace, and what a collection deleted, as tables and lines for people."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from l3ae_dist.cli.documents import Document
from l3ae_dist.units import human_bytes


def print_usage(console: Console, usage: Document) -> None:
    """Print the bytes of each kind of array, the largest first, and what the disk has left."""
    table = Table(title=None)
    for heading in ("what", "arrays", "chunks or files", "size"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for name, kind in sorted(usage["kinds"].items(), key=lambda item: -item[1]["bytes"]):
        table.add_row(name, str(kind["arrays"] or ""), f"{kind['chunks']:,}", human_bytes(kind["bytes"]))
    table.add_section()
    table.add_row("all", "", "", human_bytes(usage["bytes"]))
    console.print(table)
    if usage["free_bytes"] is not None:
        console.print(f"{human_bytes(usage['free_bytes'])} are free on its disk")


def collection_lines(collected: Document) -> Iterator[str]:
    """Yield one line for each artifact that was deleted, and a summary."""
    for path, count in collected["deleted"].items():
        yield f"{human_bytes(count):>12}  {path}"
    verb = "would be deleted" if collected["dry_run"] else "deleted"
    yield (
        f"{human_bytes(collected['bytes'])} in {len(collected['deleted'])} artifacts and "
        f"{collected['events']} event files {verb}; {len(collected['kept'])} artifacts are kept"
    )
    if collected["unfinished"]:
        yield (
            f"{len(collected['unfinished'])} of them are kept for runs that have not finished; --force "
            "deletes them"
        )
