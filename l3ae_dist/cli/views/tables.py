"""Results as tables for people. Ids and titles are data: they are never read as markup."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from l3ae_dist.units import human_bytes

_SHOWN = ("recall@20", "ndcg@20")
_GROUPS = {
    "by_item_popularity": "By item popularity: fifths of the training interactions (test split)",
    "by_user_activity": "By user activity: fifths of the users (test split)",
}


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else escape(str(value))


def model_table(models: Mapping[str, Mapping[str, Any]]) -> Table:
    """Each model's regularisers and its figures on the test split."""
    names = list(models)
    chosen = [dict(models[name].get("params", {})) for name in names]
    regularisers = list(dict.fromkeys(key for values in chosen for key in values))
    test = [dict(models[name].get("test", {})) for name in names]
    metrics = [name for name in _SHOWN if any(name in values for values in test)]
    metrics = metrics or list(
        dict.fromkeys(k for values in test for k, v in values.items() if isinstance(v, float))
    )
    table = Table(title="Models (figures of the test split)")
    table.add_column("model")
    for heading in [*regularisers, *metrics]:
        table.add_column(escape(heading), justify="right")
    for name, values, figures in zip(names, chosen, test, strict=True):
        cells = [f"{values[key]:g}" if key in values else "" for key in regularisers]
        cells += [_number(figures.get(key, "")) for key in metrics]
        table.add_row(escape(name), *cells)
    return table


def group_table(models: Mapping[str, Mapping[str, Any]], key: str, title: str) -> Table:
    """Every model's figures of the test split in each group of items or users."""
    groups = {name: figures["test"][key] for name, figures in models.items() if key in figures["test"]}
    first = next(iter(groups.values()))
    metrics = [name for name in _SHOWN if name in first[0]] or [k for k in first[0] if "@" in k][:2]
    table = Table(title=title)
    table.add_column("interactions")
    sizes = [name for name in ("items", "users") if name in first[0]]
    for heading in [*sizes, *(f"{name} {metric}" for name in groups for metric in metrics)]:
        table.add_column(escape(heading), justify="right")
    for i, group in enumerate(first):
        least, most = group["interactions"]
        cells = [f"{least:,}" if least == most else f"{least:,} to {most:,}"]
        cells += [f"{group[size]:,}" for size in sizes]
        cells += [_number(rows[i][metric]) for rows in groups.values() for metric in metrics]
        table.add_row(*cells)
    return table


def print_result(console: Console, result: Mapping[str, Any]) -> None:
    """The outcome of a run: grid, models, comparison, examples, certificate, memory, workspace."""
    if result.get("grid"):
        console.print(grid_table(result["grid"]))
    if result.get("models"):
        console.print(model_table(result["models"]))
        for key, title in _GROUPS.items():
            if any(key in figures.get("test", {}) for figures in result["models"].values()):
                console.print(group_table(result["models"], key, title))
    for comparison in result.get("comparisons") or filter(None, [result.get("comparison")]):
        console.print(comparison_sentence(comparison), soft_wrap=True)
    for example in result.get("examples", []):
        print_example(console, example)
    print_cost(console, result)
    if result.get("reused"):
        console.print("Everything was complete and has been reused.")
    if "report" in result:
        console.print(Text(f"Report: {result['report']}"), soft_wrap=True)
    console.print(Text(f"Workspace: {result['workspace']}"), soft_wrap=True)


def grid_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The best combination of each model and ridge on the validation split."""
    metric = list(rows[0])[-1]
    best: dict[tuple[Any, Any], Mapping[str, Any]] = {}
    for row in rows:
        key = (row["model"], row["ridge"])
        if key not in best or row[metric] > best[key][metric]:
            best[key] = row
    table = Table(title=f"Grid of {len(rows)} settings: the best of each ridge on the validation split")
    headings = [
        "model",
        "ridge",
        *(k for row in rows for k in row if k.startswith(("reg_", "alpha"))),
        metric,
    ]
    headings = list(dict.fromkeys(headings))
    for heading in headings:
        table.add_column(escape(heading), justify="left" if heading == "model" else "right")
    for _, row in sorted(best.items()):
        table.add_row(*(_setting(row.get(heading, "")) for heading in headings[:-1]), _number(row[metric]))
    return table


def _setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else escape(str(value))


def comparison_sentence(comparison: Mapping[str, Any]) -> Text:
    """The lift of one model over the other with its paired bootstrap interval, in words."""
    ours, other = comparison["models"]
    return Text(
        f"Lift of {ours} over {other} on test {comparison['metric']}: {comparison['lift']:+.2%} "
        f"(95 % interval {comparison['lift_low']:+.2%} to {comparison['lift_high']:+.2%}, "
        f"paired over {comparison['users']:.0f} users)"
    )


def append_sentence(report: Mapping[str, Any]) -> str:
    """Say in words what an appended log added."""
    if report["already"]:
        return "This log was appended before; nothing was done."
    return (
        f"Appended {report['interactions']:,} new interactions ({report['known']:,} were known, "
        f"{report['held_out']:,} are held out and stay so), {report['users']:,} new users and "
        f"{report['items']:,} new items; {report['gram_tiles_computed']:,} of {report['gram_tiles']:,} "
        "Gram tiles were computed."
    )


def print_example(console: Console, example: Mapping[str, Any]) -> None:
    """One user's recommendations and why."""
    liked = ", ".join(escape(str(title)) for title in example["liked"])
    table = Table(title=f"User {escape(str(example['user_id']))} liked {liked}", title_justify="left")
    table.add_column("recommended")
    table.add_column("score", justify="right")
    table.add_column("because of")
    for item in example["recommended"]:
        why = ", ".join(escape(str(title)) for title in item["why"])
        table.add_row(escape(str(item["title"])), f"{item['score']:.3f}", why)
    console.print(table)


def print_cost(console: Console, result: Mapping[str, Any]) -> None:
    """Certificate, peak memory against the budget, and time."""
    if result.get("certificate"):
        figures = ", ".join(f"{key} {_figure(value)}" for key, value in result["certificate"].items())
        console.print(Text(f"Certificate: {figures}"), soft_wrap=True)
    peak = result.get("peak_memory_bytes")
    if peak:
        budget = result.get("plan", {}).get("memory_budget")
        limit = f" of {human_bytes(budget)} allowed" if budget else ""
        rest = ", ".join(f"{name} {human_bytes(peak[name])}" for name in peak if name != "worker_max")
        console.print(
            f"Peak memory: largest worker {human_bytes(peak['worker_max'])}{limit}; {rest}", soft_wrap=True
        )
    if "seconds" in result:
        console.print(f"Time: {result['seconds']:.1f} s")


def _figure(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} {_figure(item)}" for key, item in value.items()) + "}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def print_status(console: Console, status: Mapping[str, Any]) -> None:
    """What a workspace holds: finished stages, then the arrays with their finished chunks."""
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


def record_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """Records with equal keys as a table."""
    table = Table()
    for heading in records[0] if records else ():
        table.add_column(escape(str(heading)))
    for record in records:
        table.add_row(*(_number(value) for value in record.values()))
    return table
