"""The bytes of a workspace, and what a collection deleted, as tables and lines for people."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from l3ae_dist.cli.documents import Document
from l3ae_dist.runtime.watch.terminal import plain_text
from l3ae_dist.units import human_bytes


def print_usage(console: Console, usage: Document) -> None:
    """Print the bytes of each kind of array, the largest first, and what the disk has left."""
    table = Table(title=None)
    for heading in ("what", "arrays", "chunks or files", "size"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for name, kind in sorted(usage["kinds"].items(), key=lambda item: -item[1]["bytes"]):
        table.add_row(
            plain_text(name), str(kind["arrays"] or ""), f"{kind['chunks']:,}", human_bytes(kind["bytes"])
        )
    table.add_section()
    table.add_row("all", "", "", human_bytes(usage["bytes"]))
    console.print(table)
    for model in usage["models"]:
        current = ", the current one" if model["current"] else ""
        console.print(
            plain_text(f"{human_bytes(model['bytes']):>12}  model {model['name']}{current}"), soft_wrap=True
        )
    if usage["free_bytes"] is not None:
        console.print(f"{human_bytes(usage['free_bytes'])} are free on its disk")
    if usage["temporary"]:
        console.print(left_line(usage["temporary"]))


def left_line(temporary: dict[str, int]) -> str:
    """Say what killed processes left in the temporary folder of this machine."""
    folders, size = len(temporary), human_bytes(sum(temporary.values()))
    return f"{size} in {folders} temporary folders of killed processes; the next run or gc deletes them"


def collection_lines(collected: Document) -> Iterator[str]:
    """Yield one line for each artifact that was deleted, and a summary."""
    for path, count in collected["deleted"].items():
        yield f"{human_bytes(count):>12}  {path}"
    verb = "would be deleted" if collected["dry_run"] else "deleted"
    if collected["given_up"]:
        yield f"models {verb}: {', '.join(collected['given_up'])}"
    if collected["models"]:
        yield f"models kept: {', '.join(collected['models'])} (--drop MODEL gives one up)"
    yield (
        f"{human_bytes(collected['bytes'])} in {len(collected['deleted'])} artifacts and "
        f"{collected['events']} event files {verb}; {len(collected['kept'])} artifacts are kept"
    )
    if collected["left_over"]:
        count, size = len(collected["left_over"]), human_bytes(sum(collected["left_over"].values()))
        yield f"{size} in {count} files and temporary folders of killed processes {verb}"
    if collected["deleted"] and not collected["readers_known"]:
        yield (
            "who has a model of this workspace open is not known on object storage: calls that need what is "
            "deleted fail from then on, until they load a model that is kept"
        )
    if collected["read"]:
        yield (
            f"models kept because a process of this machine has them open: {', '.join(collected['read'])}; "
            "--force deletes what they read, and their calls fail from then on"
        )
    if collected["unfinished"]:
        yield (
            f"{len(collected['unfinished'])} of them are kept for runs that have not finished; --force "
            "deletes them"
        )
