"""The report of a run as one HTML page: its sections, and what each shows."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from l3ae_dist.data.dataset_summary import data_lines
from l3ae_dist.errors import L3AEError
from l3ae_dist.evaluation.significance import PairedComparison
from l3ae_dist.linalg.arithmetic import precision_text
from l3ae_dist.pipeline.named_models import known_models
from l3ae_dist.report import figures, tables
from l3ae_dist.report.cautions import cautions, reused_stages
from l3ae_dist.report.formatting import date_text, figure_text, iso_text, seconds_text, signed_percent
from l3ae_dist.report.html_page import render
from l3ae_dist.report.hyperparameters import best_trials, search_plots
from l3ae_dist.report.plots import Plot
from l3ae_dist.report.profile import DataProfile, profile
from l3ae_dist.report.result import Result
from l3ae_dist.report.run import RunRecord
from l3ae_dist.report.trials import Trials
from l3ae_dist.report.wall_time import bottleneck, wall_table
from l3ae_dist.storage import layout
from l3ae_dist.units import human_bytes

# A model that takes more is not read for a few examples.
_MOST_MODEL_BYTES = 2**29
# Columns of a heat map that fit into a third of the page.
_FEW_COLUMNS = 5


def run_page(record: RunRecord) -> str:
    """Render the report of a run as one HTML page."""
    plots: dict[str, list[Plot]] = {}
    facts = {
        **_overview(record),
        **_metrics(record.result, plots),
        **_search(record.result.trials, plots),
        **_examples_facts(record),
        **_data_facts(record, plots),
        **_stages(record, plots),
        **_memory(record, plots),
        **_configuration(record),
        "certificate": tables.certificate_table(record.result.certificate),
    }
    every = [plot for section in plots.values() for plot in section]
    return render("report.html.j2", {**facts, "sections": plots}, every)


def _drawn(*plots: Plot | None) -> list[Plot]:
    """Return those of some plots that there are."""
    return [plot for plot in plots if plot is not None]


# ---- the top of the page


class Card(NamedTuple):
    """Figure that a reader looks for first, and what it is to be seen against."""

    name: str
    figure: str
    note: str


def _overview(record: RunRecord) -> dict[str, object]:
    return {
        "title": record.result.verdict or f"Run {record.run}",
        "evidence": record.result.evidence,
        "record": record,
        "started": date_text(record.started),
        "finished": iso_text(record.result.finished),
        "cards": [*_metric_cards(record.result), *_cost_cards(record)],
        "warnings": cautions(record),
    }


def _metric_cards(result: Result) -> list[Card]:
    """Return the main metric of the first model, and its lift over every other."""
    first = next(iter(result.models.values()), None)
    metric = result.comparisons[0].metric if result.comparisons else "ndcg@20"
    figure = first.figure("all", metric) if first is not None else None
    cards = []
    if figure is not None:
        note = "" if figure.low is None else f"95 % interval {figure.low:.4f} to {figure.high:.4f}"
        cards.append(Card(f"{figure.model}, test {metric}", f"{figure.value:.4f}", note))
    return cards + [
        Card(
            f"over {one.models[1]}",
            signed_percent(one.lift),
            f"{one.interval} {signed_percent(one.lift_low)} to {signed_percent(one.lift_high)}",
        )
        for one in result.comparisons
    ]


def _cost_cards(record: RunRecord) -> list[Card]:
    """Return the time, the memory and the residual."""
    result, plan, cards = record.result, record.plan, []
    if result.seconds is not None:
        cards.append(Card("time", seconds_text(result.seconds), date_text(record.started)))
    if result.largest_worker and plan is not None:
        projected, budget = human_bytes(plan.projected_peak_bytes), human_bytes(plan.memory_budget)
        note = f"{projected} projected, {budget} allowed"
        cards.append(Card("largest worker", human_bytes(result.largest_worker), note))
    certificate = result.certificate
    if certificate:
        precision = precision_text(certificate["dtype"], certificate.get("arithmetic"))
        residual, tolerance = figure_text(certificate["residual"]), figure_text(certificate["tolerance"])
        cards.append(
            Card("accuracy", "certified", f"residual {residual} of {tolerance} allowed, {precision}")
        )
    return cards


# ---- the sections: the facts that the template shows, and their plots by section


def _metrics(result: Result, plots: dict[str, list[Plot]]) -> dict[str, object]:
    found = result.metric_figures()
    metrics = dict.fromkeys(figure.metric for figure in found)
    plots["metrics"] = _drawn(
        *(
            figures.metric_plot([figure for figure in found if figure.metric == metric], f"metric-{number}")
            for number, metric in enumerate(metrics)
        )
    )
    return {
        "models": tables.model_table(result.models),
        "metric_table": tables.metric_table(found),
        "all_metrics": tables.all_metrics_table(result.models),
        "groups": tables.group_tables(result.models),
        "intervals": next((model.intervals for model in result.models.values() if model.intervals), None),
        "comparisons": [comparison_text(one) for one in result.comparisons],
    }


def comparison_text(comparison: PairedComparison) -> str:
    """Describe a paired comparison in a sentence."""
    ours, other = comparison.models
    low, high = signed_percent(comparison.lift_low), signed_percent(comparison.lift_high)
    return (
        f"{ours} over {other} on test {comparison.metric}: {signed_percent(comparison.lift)} "
        f"({comparison.interval} {low} to {high}), difference {comparison.difference:+.4f} "
        f"({comparison.low:+.4f} to {comparison.high:+.4f}), {comparison.p_text}, "
        f"paired over {comparison.users:,.0f} users."
    )


def _search(trials: Trials | None, plots: dict[str, list[Plot]]) -> dict[str, object]:
    plots["grid"] = [] if trials is None else search_plots(trials)
    if trials is None:
        return {"grid": None}
    return {
        "grid": tables.Table(*best_trials(trials), left=2),
        "grid_size": len(trials.all),
        "grid_metric": trials.metric,
        "many_columns": len(trials.of("L3AE").values("reg_e")) > _FEW_COLUMNS,
    }


def _examples_facts(record: RunRecord) -> dict[str, object]:
    examples, reason = _examples(record)
    return {"examples": examples, "no_examples": reason}


def _examples(record: RunRecord) -> tuple[Sequence[Mapping[str, Any]], str]:
    """Return a few recommendations, made now where the result holds none, or why there are none."""
    if record.result.examples is not None:
        return record.result.examples, ""
    fitted = record.fitted
    if fitted is None:
        return [], "The run fitted no model."
    if all(model.label != fitted.get("label") for model in known_models(record.workspace)):
        return [], "Another run has made the current model since."
    size = _model_bytes(record, fitted)
    if size > _MOST_MODEL_BYTES:
        return [], f"The model takes {human_bytes(size)}; `l3ae-dist recommend` shows recommendations."
    from l3ae_dist.model.demo import examples
    from l3ae_dist.model.fitted import load_model

    try:
        return examples(load_model(record.workspace.url, str(fitted["label"]))), ""
    except L3AEError as error:
        return [], f"The model cannot be read: {error}"


def _model_bytes(record: RunRecord, fitted: Mapping[str, Any]) -> int:
    """Return the bytes of the n x n tiles of a fitted model, of which symmetric ones store a half."""
    items, plan = record.result.dataset.n_items, record.plan
    matrices = len(fitted.get("terms", {}).get("matrices", ()))
    itemsize = 8 if plan is not None and plan.dtype == "float64" else 4
    return matrices * items * items * itemsize // 2


def _data_facts(record: RunRecord, plots: dict[str, list[Plot]]) -> dict[str, object]:
    data, reason = _data_profile(record)
    plots["data"] = [] if data is None else figures.data_plots(data)
    if data is None:
        return {"data": None, "no_data": reason, "data_lines": []}
    return {"data": tables.data_table(data), "data_lines": data_lines(data.stats)}


def _data_profile(record: RunRecord) -> tuple[DataProfile | None, str]:
    """Return the profile of the data, or why there is none."""
    last_run = record.workspace.read_doc(layout.LAST_RUN) or {}
    identifier = record.result.dataset.id or last_run.get("dataset")
    if identifier is None:
        return None, "The run read no data."
    try:
        return profile(record.workspace, str(identifier)), ""
    except L3AEError as error:
        return None, f"The data cannot be read: {error}"


def _stages(record: RunRecord, plots: dict[str, list[Plot]]) -> dict[str, object]:
    plots["stages"] = _drawn(figures.stages_plot(tables.stage_totals(record)))
    plots["timeline"] = _drawn(figures.timeline_plot(record.trace))
    return {
        "wall": wall_table(record),
        "bottleneck": bottleneck(record),
        "reused": reused_stages(record),
        "stages": tables.stage_table(record),
        "doing": tables.worker_time_table(record),
        "calibration": record.calibration,
    }


def _memory(record: RunRecord, plots: dict[str, list[Plot]]) -> dict[str, object]:
    result = record.result
    plots["memory"] = _drawn(figures.memory_plot(record.trace, record.plan, result.largest_worker))
    return {
        "memory": tables.memory_table(record),
        "processes": tables.process_table(result.peak_bytes),
    }


def _configuration(record: RunRecord) -> dict[str, object]:
    changed, every = tables.settings_tables(record.config)
    return {
        "settings": changed,
        "yaml": tables.changed_yaml(record.config),
        "every_setting": every,
        "versions": tables.pairs_table(record.versions, "package"),
        "machine": tables.pairs_table(record.machine, "machine"),
        "messages": record.trace.messages,
    }
