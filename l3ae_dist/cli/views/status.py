"""Tables of the artifacts that a workspace holds."""

from rich.console import Console
from rich.table import Table

from l3ae_dist.cli.documents import Document
from l3ae_dist.cli.views.forgotten import state_sentence
from l3ae_dist.cli.views.models import current_lines, other_lines
from l3ae_dist.cli.views.result import print_data, print_result
from l3ae_dist.runtime.watch.terminal import plain_text
from l3ae_dist.storage.stages import Stage


def print_status(console: Console, status: Document) -> None:
    """Print what a workspace holds: its models, finished stages, arrays with their chunks, and results."""
    for told in (*current_lines(status["current"]), *other_lines(status["models"])):
        console.print(told, soft_wrap=True)
    console.print(plain_text(f"Workspace: {status['workspace']}"), soft_wrap=True)
    if status.get("forgotten"):
        console.print(plain_text(state_sentence(status["forgotten"])), soft_wrap=True)
    lock = status.get("lock")
    if lock:
        line = f"Held by run {lock['run_id']} (host {lock['host']}, pid {lock['pid']})"
        silent = lock.get("silent_seconds")
        line += ", last heartbeat " + (
            "unknown: it is of another machine, and only `l3ae-dist watch` or a run can tell whether it lives"
            if silent is None
            else f"{silent:.0f} s ago"
        )
        console.print(plain_text(line), soft_wrap=True)
    stages = Table(title="Finished stages")
    for heading in ("stage", "id", "finished"):
        stages.add_column(heading)
    for stage, records in status.get("stages", {}).items():
        for record in records:
            stages.add_row(*(plain_text(cell) for cell in (stage, record["id"], record["finished"])))
    arrays = Table(title="Arrays")
    arrays.add_column("array", overflow="fold")
    arrays.add_column("chunks done", justify="right")
    for path, counts in status.get("arrays", {}).items():
        arrays.add_row(plain_text(path), f"{counts['done']}/{counts['total']}")
    console.print(stages)
    for record in status.get("stages", {}).get(Stage.INGEST, []):
        console.print(plain_text(f"Data {record['id']}"), soft_wrap=True)
        print_data(console, record.get("stats") or {})
    console.print(arrays)
    for one in status.get("lost", []):
        console.print(plain_text(f"Lost: {one['problem']}"), soft_wrap=True)
    for result in status.get("results", []):
        hidden = dict.fromkeys(("grid", "replaced", "dataset"))
        print_result(console, {**result, **hidden, "examples": [], "reused": False})
