"""The outcome of a run as tables for people. Ids and titles are data: they are never read as markup."""

import shlex
from collections.abc import Mapping, Sequence
from math import isfinite

from rich.console import Console
from rich.table import Table
from rich.text import Text

from l3ae_dist.cli.documents import Document
from l3ae_dist.cli.views.models import model_lines
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.data.dataset_summary import data_lines
from l3ae_dist.evaluation.significance import PairedComparison
from l3ae_dist.evaluation.verdict import evidence, verdict
from l3ae_dist.linalg.arithmetic import precision_text
from l3ae_dist.pipeline.result import comparisons_of
from l3ae_dist.runtime.watch.terminal import plain_text
from l3ae_dist.units import human_bytes

# Processes beside the workers, by their names in a result.
_PROCESSES = {"scheduler": "scheduler", "client": "client", "ray": "Ray"}
_SHOWN = ("recall@20", "ndcg@20")
# Hyper-parameters beside the ridge weights that a grid varies.
_OTHER_AXES = ("p", "beta", "alpha", "xi")
_GROUPS = {
    "by_item_popularity": "By item popularity: fifths of the training interactions (test split)",
    "by_user_activity": "By user activity: fifths of the users (test split)",
}


def cell_text(value: object) -> Text:
    """Write a figure with four digits, nothing for one that was not measured, and anything else as it is."""
    if isinstance(value, float):
        return plain_text(f"{value:.4f}" if isfinite(value) else "")
    return plain_text(value)


def model_table(models: Mapping[str, Document]) -> Table:
    """Draw each model's regularisers and its figures on the test split."""
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
        table.add_column(plain_text(heading), justify="right")
    for name, values, figures in zip(names, chosen, test, strict=True):
        cells = [_setting(values.get(key, "")) for key in regularisers]
        cells += [cell_text(figures.get(key, "")) for key in metrics]
        table.add_row(plain_text(name), *cells)
    return table


def group_table(models: Mapping[str, Document], key: str, title: str) -> Table:
    """Draw every model's figures of the test split in each group of items or users.

    Parameters
    ----------
    models
        Figures by model.
    key
        The grouping, such as ``"by_user_activity"``.
    title
        Of the table.
    """
    groups = {name: figures["test"][key] for name, figures in models.items() if key in figures["test"]}
    first = next(iter(groups.values()))
    metrics = [name for name in _SHOWN if name in first[0]] or [k for k in first[0] if "@" in k][:2]
    table = Table(title=title)
    table.add_column("interactions")
    sizes = [name for name in ("items", "users") if name in first[0]]
    for heading in [*sizes, *(f"{name} {metric}" for name in groups for metric in metrics)]:
        table.add_column(plain_text(heading), justify="right")
    for i, group in enumerate(first):
        least, most = group["interactions"]
        cells = [plain_text(f"{least:,}" if least == most else f"{least:,} to {most:,}")]
        cells += [plain_text(f"{group[size]:,}") for size in sizes]
        cells += [cell_text(rows[i][metric]) for rows in groups.values() for metric in metrics]
        table.add_row(*cells)
    return table


def print_result(console: Console, result: Document) -> None:
    """Print the outcome of a run: the verdict, and data, grid, models, comparison, examples, cost, place."""
    print_verdict(console, result)
    print_data(console, result.get("dataset") or {})
    if result.get("grid"):
        console.print(grid_table(result["grid"]))
    if result.get("models"):
        console.print(model_table(result["models"]))
        for key, title in _GROUPS.items():
            if any(key in figures.get("test", {}) for figures in result["models"].values()):
                console.print(group_table(result["models"], key, title))
    nnz = (result.get("dataset") or {}).get("nnz") or {}
    if result.get("models") and nnz and not nnz.get("test"):
        console.print("Nothing is held out for a test, so nothing was measured.", soft_wrap=True)
    for comparison in comparisons_of(result):
        console.print(comparison_sentence(comparison), soft_wrap=True)
    for example in result.get("examples", []):
        print_example(console, example)
    print_model(console, result)
    print_cost(console, result)
    if result.get("reused"):
        console.print("Everything was complete and has been reused.")
    if "report" in result:
        console.print(plain_text(f"Report: {result['report']}"), soft_wrap=True)
    console.print(plain_text(f"Workspace: {result['workspace']}"), soft_wrap=True)
    print_next(console, result)


def print_verdict(console: Console, result: Document) -> None:
    """Print in one sentence what a run found, and what that rests on; nothing where it measured nothing."""
    told, compared = result.get("models") or {}, comparisons_of(result)
    said, rests_on = verdict(told, compared), evidence(told, compared)
    if said:
        console.print(Text(said + (f" ({rests_on})." if rests_on else "."), style="bold"), soft_wrap=True)


def print_model(console: Console, result: Document) -> None:
    """Print which model a run made or measured, and which one it replaced."""
    for line in model_lines(result):
        console.print(line, soft_wrap=True)


def print_data(console: Console, dataset: Document) -> None:
    """Print what was read, kept and dropped; nothing for a result that does not tell."""
    if "n_users" in dataset:
        for line in data_lines(DatasetStats.of_record(dataset)):
            console.print(plain_text(line), soft_wrap=True)


def grid_table(rows: Sequence[Document]) -> Table:
    """Draw the best combination of each model and ridge on the validation split."""
    metric = list(rows[0])[-1]
    best: dict[tuple[str, float], Document] = {}
    for row in rows:
        key = (row["model"], row["ridge"])
        if key not in best or row[metric] > best[key][metric]:
            best[key] = row
    table = Table(title=f"Grid of {len(rows)} settings: the best of each ridge on the validation split")
    headings = [
        "model",
        "ridge",
        *(k for row in rows for k in row if k.startswith("reg_") or k in _OTHER_AXES),
        metric,
    ]
    headings = list(dict.fromkeys(headings))
    for heading in headings:
        table.add_column(plain_text(heading), justify="left" if heading == "model" else "right")
    for _, row in sorted(best.items()):
        table.add_row(*(_setting(row.get(heading, "")) for heading in headings[:-1]), cell_text(row[metric]))
    return table


def _setting(value: object) -> Text:
    return plain_text(f"{value:g}" if isinstance(value, (int, float)) else value)


def comparison_sentence(comparison: PairedComparison) -> Text:
    """Say in words the lift of one model over the other, with its paired bootstrap interval."""
    ours, other = comparison.models
    return Text(
        f"Lift of {ours} over {other} on test {comparison.metric}: {comparison.lift:+.2%} "
        f"({comparison.interval} {comparison.lift_low:+.2%} to {comparison.lift_high:+.2%}, "
        f"paired over {comparison.users:.0f} users)"
    )


def print_example(console: Console, example: Document) -> None:
    """Print one user's recommendations and the items that they come from."""
    liked = ", ".join(map(str, example["liked"]))
    table = Table(title=plain_text(f"User {example['user_id']} liked {liked}"), title_justify="left")
    table.add_column("recommended")
    table.add_column("score", justify="right")
    table.add_column("because of")
    for item in example["recommended"]:
        why = ", ".join(map(str, item["why"]))
        table.add_row(plain_text(item["title"]), f"{item['score']:.3f}", plain_text(why))
    console.print(table)


def print_cost(console: Console, result: Document) -> None:
    """Print the accuracy that is certified, peak memory against the budget, and time."""
    certificate = result.get("certificate")
    if certificate and {"residual", "tolerance", "dtype"} <= certificate.keys():
        bounds = f"residual {certificate['residual']:.2g} of {certificate['tolerance']:.2g} allowed"
        precision = precision_text(certificate["dtype"], certificate.get("arithmetic"))
        console.print(plain_text(f"Accuracy: certified ({bounds}, {precision})"), soft_wrap=True)
    peak = result.get("peak_memory_bytes")
    if peak:
        budget = result.get("plan", {}).get("memory_budget")
        limit = f" of {human_bytes(budget)} allowed" if budget else ""
        others = ((title, peak.get(name, 0)) for name, title in _PROCESSES.items())
        rest = [f"{title} {human_bytes(nbytes)}" for title, nbytes in others if nbytes]
        worker = peak.get("worker_max", 0)
        told = "; ".join([*([f"largest worker {human_bytes(worker)}{limit}"] if worker else []), *rest])
        console.print(f"Memory: {told}", soft_wrap=True)
    if "seconds" in result:
        console.print(f"Time: {result['seconds']:.1f} s")


def print_next(console: Console, result: Document) -> None:
    """Print three commands that go on from a run with a model."""
    model = result.get("model")
    if not model or not result.get("workspace"):
        return
    where = shlex.quote(str(result["workspace"]))
    console.print("Next:")
    for line in (
        f"l3ae-dist recommend {where} USER -n 10",
        f"l3ae-dist explain {where} USER ITEM",
        f"l3ae-dist export {where} export --k 100",
    ):
        console.print(plain_text(f"  {line}"), soft_wrap=True)
    held = sum(((result.get("dataset") or {}).get("nnz") or {}).get(split, 0) for split in ("valid", "test"))
    if held:
        told = (
            f"The model has not seen the {held:,} interactions that were held out to measure it; one on all: "
        )
        console.print(f"{told}l3ae-dist fit CONFIG --set data.options.split=none", soft_wrap=True)
