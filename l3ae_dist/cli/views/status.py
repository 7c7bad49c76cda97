"""Tables of the artifacts that a workspace holds."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from l3ae_dist.cli.documents import Document
from l3ae_dist.cli.views.result import print_result


def print_status(console: Console, status: Document) -> None:
    """Print what a workspace holds: finished stages, the arrays with their finished chunks, the results."""
    console.print(Text(f"Workspace: {status['workspace']}"), soft_wrap=True)
    lock = status.get("lock")
    if lock:
        line = f"Being written by run {lock['run_id']} (host {lock['host']}, pid {lock['pid']})"
        console.print(Text(line), soft_wrap=True)
    stages = Table(title="Finished stages")
    for heading in ("stage", "id", "finished"):
        stages.add_column(heading)
    for stage, records in status.get("stages", {}).items():
        for record in records:
            stages.add_row(*(escape(str(cell)) for cell in (stage, record["id"], record["finished"])))
    arrays = Table(title="Arrays")
    arrays.add_column("array", overflow="fold")
    arrays.add_column("chunks done", justify="right")
    for path, counts in status.get("arrays", {}).items():
        arrays.add_row(escape(path), f"{counts['done']}/{counts['total']}")
    console.print(stages)
    console.print(arrays)
    for result in status.get("results", []):
        print_result(console, {**result, "grid": None, "examples": [], "reused": False})
