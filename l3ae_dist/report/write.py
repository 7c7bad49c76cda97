"""Making the report of a run and keeping it in its workspace."""

from pathlib import Path
from typing import Any

from l3ae_dist.errors import ConfigError, L3AEError
from l3ae_dist.report import figures, tables
from l3ae_dist.report.cautions import cautions, reused_stages, started_text
from l3ae_dist.report.grid import best_rows, grid_plots, tried
from l3ae_dist.report.page import render
from l3ae_dist.report.plots import Plot
from l3ae_dist.report.profile import DataProfile, profile
from l3ae_dist.report.run import RunRecord, find_run, read_run
from l3ae_dist.report.words import (
    PARTS,
    date_text,
    figure_text,
    iso_text,
    params_text,
    seconds_text,
    signed_percent,
)
from l3ae_dist.runtime.event_store import attempts
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.units import human_bytes

# A model that takes more is not read for a few examples.
_MOST_MODEL_BYTES = 2**29
# Columns of a heat map that fit into a third of the page.
_FEW_COLUMNS = 5


def write_report(
    workspace: str | Path, run: str | None = None, output: str | Path | None = None
) -> dict[str, Any]:
    """Make the report of a run from its workspace alone: no engine is started, no source is read.

    Parameters
    ----------
    workspace
        Path or URL.
    run
        Id of the run or the beginning of it; the latest when None.
    output
        Where to write it, an HTML file; into the workspace when None.

    Returns
    -------
    ``{"workspace", "run", "report", "outcome", "warnings"}``; ``report`` is the path or URL of the page.

    Raises
    ------
    StageMissingError
        When the workspace holds no run.
    ConfigError
        For a run that is not there, and an output that cannot be written.
    """
    opened = Workspace.open(workspace)
    record = read_run(opened, find_run(opened, run))
    page = report_page(record).encode()
    if output is None:
        key = layout.run_report(record.name)
        opened.blobs.put(key, [page])
        where = f"{opened.url}/{key}"
    else:
        where = save_page(page, output)
    return {
        "workspace": opened.url,
        "run": record.run,
        "report": where,
        "outcome": record.outcome,
        "warnings": cautions(record),
    }


def kept_report(workspace: str | Path, run: str) -> str | None:
    """Where the report of a run's latest execution is; None when it has none."""
    opened = Workspace.open(workspace)
    names = [attempt.name for attempt in attempts(opened) if attempt.run == run][-1:] or [run]
    key = layout.run_report(names[0])
    return f"{opened.url}/{key}" if opened.blobs.size(key) is not None else None


def save_page(page: bytes, output: str | Path) -> str:
    """Write a page to a file; returns its path."""
    try:
        Path(output).write_bytes(page)
    except OSError as error:
        raise ConfigError(
            f"cannot write the report to {output} ({error.strerror}); choose another path."
        ) from error
    return str(output)


def report_page(record: RunRecord) -> str:
    """The report of a run as one HTML page."""
    result = record.result
    models = result.get("models", {})
    rows, metric = tried(result)
    data, no_data = _data(record)
    examples, no_examples = _examples(record)
    named, every = tables.settings_tables(record.config)
    sections: dict[str, list[Plot | None]] = {
        "metrics": _metric_plots(models, result),
        "grid": list(grid_plots(rows, metric)) if rows else [],
        "data": list(figures.data_plots(data)) if data else [],
        "stages": [figures.stages_plot(tables.stage_totals(record))],
        "timeline": [figures.timeline_plot(record.trace)],
        "memory": [figures.memory_plot(record.trace, record.plan, result.get("peak_memory_bytes", {}))],
    }
    plots = {name: [plot for plot in found if plot is not None] for name, found in sections.items()}
    facts = {
        "title": f"Run {record.run}",
        "record": record,
        "started": started_text(record),
        "finished": iso_text(result.get("finished")),
        "cards": _cards(record),
        "warnings": cautions(record),
        "reused": reused_stages(record),
        "models": _model_table(models),
        "metric_table": _metric_table(models),
        "all_metrics": tables.all_metrics(models),
        "groups": tables.group_tables(models),
        "intervals": next((m["intervals"] for m in models.values() if "intervals" in m), None),
        "comparisons": _comparisons(result),
        "grid": tables.Table(*best_rows(rows, metric), left=2) if rows else None,
        "grid_size": len(rows),
        "grid_metric": metric,
        "many_columns": len({row.get("reg_e") for row in rows if row["model"] == "L3AE"}) > _FEW_COLUMNS,
        "examples": examples,
        "no_examples": no_examples,
        "data": tables.data_table(data) if data else None,
        "no_data": no_data,
        "stages": tables.stage_table(record),
        "doing": tables.doing_table(record),
        "calibration": record.calibration,
        "memory": tables.memory_table(record),
        "processes": tables.process_table(record),
        "certificate": tables.certificate_table(result["certificate"]) if result.get("certificate") else None,
        "settings": named,
        "every_setting": every,
        "versions": tables.pairs_table(record.versions, "package"),
        "machine": tables.pairs_table(record.machine, "machine"),
        "messages": record.trace.messages,
        "sections": plots,
        "plots": [plot for found in plots.values() for plot in found],
    }
    return render("report.html.j2", facts)


def _data(record: RunRecord) -> tuple[DataProfile | None, str]:
    """The profile of the data, or why there is none."""
    identifier = record.result.get("dataset", {}).get("id") or (
        (record.workspace.read_doc(layout.LAST_RUN) or {}).get("dataset")
    )
    if identifier is None:
        return None, "The run read no data."
    try:
        return profile(record.workspace, str(identifier)), ""
    except L3AEError as error:
        return None, f"The data cannot be read: {error}"


def _examples(record: RunRecord) -> tuple[list[dict[str, Any]], str]:
    """A few recommendations: those of the result, else made now when the model is at hand and small."""
    if "examples" in record.result:
        return record.result["examples"], ""
    fitted, current = record.fitted, record.workspace.read_doc(layout.CURRENT_MODEL)
    if fitted is None:
        return [], "The run fitted no model."
    if fitted != current:
        return [], "Another run has made the current model since."
    size = _model_bytes(record)
    if size > _MOST_MODEL_BYTES:
        return [], f"The model takes {human_bytes(size)}; `l3ae-dist recommend` shows recommendations."
    from l3ae_dist.model.demo import examples
    from l3ae_dist.model.fitted import load_model

    try:
        return examples(load_model(record.workspace.url)), ""
    except L3AEError as error:
        return [], f"The model cannot be read: {error}"


def _model_bytes(record: RunRecord) -> int:
    """Bytes of the n x n tiles of the model."""
    items, plan = int(record.result.get("dataset", {}).get("n_items", 0)), record.plan
    matrices = len((record.fitted or {}).get("head", {}).get("matrices", ()))
    return matrices * items * items * (8 if plan.get("dtype") == "float64" else 4) // 2


def _metric_plots(models: dict[str, Any], result: dict[str, Any]) -> list[Plot | None]:
    rows = tables.metric_rows(models)
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    return [
        figures.metrics_plot([row for row in rows if row["metric"] == metric], f"metric-{number}", metric)
        for number, metric in enumerate(metrics)
    ]


def _model_table(models: dict[str, Any]) -> tables.Table | None:
    if not models:
        return None
    rows = [[name, params_text(model.get("params", {}))] for name, model in models.items()]
    return tables.Table(["model", "parameters"], rows, left=2)


def _metric_table(models: dict[str, Any]) -> tables.Table | None:
    """Main figures with their intervals: a row for each part and metric, a column for each model."""
    found = tables.metric_rows(models)
    if not found:
        return None
    names = list(dict.fromkeys(row["model"] for row in found))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in found:
        interval = "" if row["low"] is None else f" ({row['low']:.4f} to {row['high']:.4f})"
        cells.setdefault((row["part"], row["metric"]), {})[row["model"]] = f"{row['value']:.4f}{interval}"
    rows = [
        [PARTS[part], metric, *(values.get(name, "") for name in names)]
        for (part, metric), values in cells.items()
    ]
    return tables.Table(["test items", "metric", *names], rows, left=2)


def _comparisons(result: dict[str, Any]) -> list[str]:
    return [comparison_text(one) for one in _compared(result)]


def _compared(result: dict[str, Any]) -> list[dict[str, Any]]:
    return result.get("comparisons") or [one for one in [result.get("comparison")] if one]


def comparison_text(one: dict[str, Any]) -> str:
    """A paired comparison in words."""
    ours, other = one["models"]
    return (
        f"{ours} over {other} on test {one['metric']}: {signed_percent(one['lift'])} (95 % interval "
        f"{signed_percent(one['lift_low'])} to {signed_percent(one['lift_high'])}), "
        f"difference {one['difference']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f}), p = "
        f"{one['p_value']:.2g}, paired over {one['users']:,.0f} users."
    )


def _cards(record: RunRecord) -> list[tuple[str, str, str]]:
    """The figures that a reader looks for first: what, figure, and what it is to be seen against."""
    result, cards = record.result, []
    compared = _compared(result)
    first = next(iter(result.get("models", {}).items()), None)
    metric = compared[0]["metric"] if compared else "ndcg@20"
    if first and metric in first[1].get("test", {}):
        name, model = first
        bounds = model.get("intervals", {}).get("all", {}).get(metric)
        note = f"95 % interval {bounds[0]:.4f} to {bounds[1]:.4f}" if bounds else ""
        cards.append((f"{name}, test {metric}", f"{model['test'][metric]:.4f}", note))
    cards += [
        (
            f"over {one['models'][1]}",
            signed_percent(one["lift"]),
            f"95 % interval {signed_percent(one['lift_low'])} to {signed_percent(one['lift_high'])}",
        )
        for one in compared
    ]
    if "seconds" in result:
        cards.append(("time", seconds_text(result["seconds"]), date_text(record.started)))
    peak, plan = result.get("peak_memory_bytes", {}).get("worker_max"), record.plan
    if peak and plan:
        projected, budget = (human_bytes(plan[key]) for key in ("projected_peak_bytes", "memory_budget"))
        note = f"{projected} projected, {budget} allowed"
        cards.append(("largest worker", human_bytes(peak), note))
    found = result.get("certificate")
    if found:
        note = f"tolerance {figure_text(found['tolerance'])}, {found['dtype']}"
        cards.append(("residual", figure_text(found["residual"]), note))
    return cards
