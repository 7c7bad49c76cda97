"""The state of a workspace: a dozen lines, or every artifact that it holds."""

from rich.console import Console
from rich.table import Table

from l3ae_dist.cli.documents import Document
from l3ae_dist.cli.views.forgotten import state_sentence
from l3ae_dist.cli.views.models import current_lines, other_lines
from l3ae_dist.cli.views.result import print_data, print_result, print_verdict
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.data.dataset_summary import data_lines
from l3ae_dist.runtime.watch.stage_progress import clock
from l3ae_dist.runtime.watch.terminal import plain_text
from l3ae_dist.storage.stages import Stage
from l3ae_dist.units import human_bytes

# Arrays with missing chunks that the short form names.
_NAMED = 3


def print_status(console: Console, status: Document, report: str | None = None) -> None:
    """Print the current model, its data, the last run, and what is missing.

    Parameters
    ----------
    console, status
        Where to print, and what.
    report
        Path or URL of the report of the last run, where it has one.
    """
    last, told_of = latest_result(status), _of_current(status)
    if told_of:
        print_verdict(console, told_of)
    for told in (*current_lines(status["current"]), *other_lines(status["models"])):
        console.print(told, soft_wrap=True)
    for line in (
        *_data_lines(status),
        *_run_lines(last, report),
        *_missing_lines(status),
        *_lock_lines(status),
    ):
        console.print(plain_text(line), soft_wrap=True)
    if status.get("forgotten"):
        console.print(plain_text(state_sentence(status["forgotten"])), soft_wrap=True)
    console.print(plain_text(f"Workspace: {status['workspace']}"), soft_wrap=True)
    console.print("`l3ae-dist status --all` lists every stage, array and result.", soft_wrap=True)


def latest_result(status: Document) -> Document | None:
    """Return the result of the run that finished last; None where none has."""
    found = [one for one in status.get("results", []) if one.get("finished")]
    return max(found, key=lambda one: str(one["finished"]), default=None)


def _of_current(status: Document) -> Document | None:
    """Return the latest result that measured the current model; None where none did."""
    name = (status.get("current") or {}).get("name")
    own = [one for one in status.get("results", []) if (one.get("model") or {}).get("name") == name]
    return latest_result({"results": own}) if name else None


def _data_lines(status: Document) -> list[str]:
    """Tell the data of the current model, or those that were ingested last."""
    wanted = (status.get("model") or {}).get("dataset")
    records = status.get("stages", {}).get(Stage.INGEST, [])
    chosen = [one for one in records if one["id"] == wanted] or records[-1:]
    stats = (chosen[-1].get("stats") or {}) if chosen else {}
    return [f"Data: {line}" for line in data_lines(DatasetStats.of_record(stats))] if stats else []


def _run_lines(last: Document | None, report: str | None) -> list[str]:
    if last is None:
        return ["Last run: none has finished"]
    told = f"Last run: {last['run']}, finished {str(last['finished'])[:16].replace('T', ' ')} UTC"
    if "seconds" in last:
        told += f" after {clock(last['seconds'])}"
    peak = (last.get("peak_memory_bytes") or {}).get("worker_max")
    told += f", largest worker {human_bytes(peak)}" if peak else ""
    return [told, *([f"Report: {report}"] if report else [])]


def _missing_lines(status: Document) -> list[str]:
    """Name what is lost, and what a run that was ended has not finished."""
    begun = [
        f"{path} ({counts['done']:,} of {counts['total']:,})"
        for path, counts in status.get("arrays", {}).items()
        if counts["done"] < counts["total"]
    ]
    named = begun[:_NAMED] + ([f"{len(begun) - _NAMED:,} more"] if len(begun) > _NAMED else [])
    lost = [one["problem"] for one in status.get("lost", [])]
    lines = [f"Lost: {problem}" for problem in lost[:_NAMED]]
    lines += [f"Lost: {len(lost) - _NAMED:,} more chunks"] if len(lost) > _NAMED else []
    return lines + ([f"Not finished: {', '.join(named)}; a run goes on with them"] if begun else [])


def _lock_lines(status: Document) -> list[str]:
    lock = status.get("lock")
    if not lock:
        return []
    silent = lock.get("silent_seconds")
    heard = (
        "unknown: it is of another machine, and only `l3ae-dist watch` or a run can tell whether it lives"
        if silent is None
        else f"{silent:.0f} s ago"
    )
    return [f"Held by run {lock['run_id']} (host {lock['host']}, pid {lock['pid']}), last heartbeat {heard}"]


def print_everything(console: Console, status: Document) -> None:
    """Print every finished stage, the data, the arrays with their chunks, and the results of all runs."""
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
    for result in status.get("results", []):
        hidden = dict.fromkeys(("grid", "replaced", "dataset", "model"))
        print_result(console, {**result, **hidden, "examples": [], "reused": False})
