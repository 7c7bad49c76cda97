"""The tables of a report as plain rows, which the templates and the command line show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.report.formatting import (
    PART_NAMES,
    STAGE_PRODUCTS,
    figure_text,
    flat,
    params_text,
    percent,
    seconds_text,
    setting_text,
)
from l3ae_dist.report.profile import DataProfile, Distribution
from l3ae_dist.report.result import MeasuredModel, MetricFigure
from l3ae_dist.report.run import RunRecord
from l3ae_dist.report.trace import StageTotals
from l3ae_dist.units import human_bytes

_GEMM = "gemm_nt"
Models = Mapping[str, MeasuredModel]


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and cells as text; the first ``left`` columns hold words, the others figures."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    caption: str = ""


# ---- metrics


def model_table(models: Models) -> Table | None:
    """List the models with their hyper-parameters; None without models."""
    rows = [[model.name, params_text(model.parameters)] for model in models.values()]
    return Table(["model", "parameters"], rows, left=2) if rows else None


def metric_table(figures: Sequence[MetricFigure]) -> Table | None:
    """Show figures with their intervals: a row for each part and metric, a column for each model."""
    if not figures:
        return None
    names = list(dict.fromkeys(figure.model for figure in figures))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for figure in figures:
        cells.setdefault((figure.part, figure.metric), {})[figure.model] = figure.text
    rows = [
        [PART_NAMES[part], metric, *(values.get(name, "") for name in names)]
        for (part, metric), values in cells.items()
    ]
    return Table(["test items", "metric", *names], rows, left=2)


def all_metrics_table(models: Models) -> Table | None:
    """Show every test metric: a row for each metric and model, a column for each cut-off."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for model in models.values():
        for name, value in flat(model.test).items():
            metric, at, cut = name.partition("@")
            if at:
                cells.setdefault((metric.replace(".", ", "), model.name), {})[cut] = figure_text(value)
    if not cells:
        return None
    cuts = sorted({cut for values in cells.values() for cut in values}, key=int)
    order = list(dict.fromkeys(metric for metric, _ in cells))
    rows = [
        [metric, model, *(values.get(cut, "") for cut in cuts)]
        for (metric, model), values in sorted(cells.items(), key=lambda item: order.index(item[0][0]))
    ]
    return Table(["metric", "model", *(f"@{cut}" for cut in cuts)], rows, left=2)


_GROUPED = {
    "by_item_popularity": "By item popularity: fifths of the training interactions",
    "by_user_activity": "By user activity: fifths of the users",
}


def group_tables(models: Models) -> list[Table]:
    """Show the metrics by item popularity and by user activity, where they were measured."""
    measured = {
        caption: {model.name: model.test[key] for model in models.values() if key in model.test}
        for key, caption in _GROUPED.items()
    }
    return [_group_table(groups, caption) for caption, groups in measured.items() if groups]


def _group_table(groups: Mapping[str, Sequence[Mapping[str, Any]]], caption: str) -> Table:
    """Show groups of users or items, a row each; ``groups`` has the figures of each model."""
    first = next(iter(groups.values()))
    usual = [metric for metric in ("recall@20", "ndcg@20") if metric in first[0]]
    metrics = usual or [name for name in first[0] if "@" in name][:2]
    sizes = [name for name in ("items", "users") if name in first[0]]
    rows = [
        [
            " to ".join(f"{bound:,}" for bound in group["interactions"]),
            *(f"{group[size]:,}" for size in sizes),
            *(figure_text(parts[i][metric]) for parts in groups.values() for metric in metrics),
        ]
        for i, group in enumerate(first)
    ]
    headings = [f"{name} {metric}" for name in groups for metric in metrics]
    return Table(["interactions", *sizes, *headings], rows, caption=caption)


# ---- data


def data_table(data: DataProfile) -> Table:
    """Show the sizes of the data."""
    rows = [
        ["users", f"{data.users:,}"],
        ["items", f"{data.items:,}"],
        *([f"interactions, {split} split", f"{count:,}"] for split, count in data.interactions.items()),
        ["share of all pairs that interact", percent(data.density, 3)],
        ["interactions of a user: median, 90 %, largest", _quantiles(data.activity)],
        ["training interactions of an item: median, 90 %, largest", _quantiles(data.popularity)],
    ]
    if data.text_bytes is not None:
        rows.append(["bytes of an item's text: median, 90 %, largest", _quantiles(data.text_bytes)])
    return Table(["what", "figure"], rows)


def _quantiles(values: Distribution) -> str:
    return " / ".join(f"{values.quantile(share):,}" for share in (0.5, 0.9, 1.0)) if values.size else "none"


# ---- stages


def stage_table(record: RunRecord) -> Table:
    """Show time, work, rate and bytes of every stage."""
    peak = peak_gflops(record, _workers(record))
    share = ["of the calibrated peak"] if peak else []
    totals = stage_totals(record)
    tiers = [one for one in _TIERS if any(getattr(stage, one) for stage in totals)]
    names = ["read", *(_TIERS[one] for one in tiers), "written", "moved"]
    return Table(
        ["stage", "makes", "time", "passes", "tasks", "reused", "rate", *share, *names],
        [_stage_row(stage, peak, tiers) for stage in totals],
        left=2,
    )


# Where tiles are read from beside the workspace, by the attribute that counts their bytes.
_TIERS = {"bytes_from_peers": "from peers", "bytes_from_copies": "from local copies"}


def _stage_row(stage: StageTotals, peak: float | None, tiers: Sequence[str]) -> list[str]:
    rate = stage.flops / stage.seconds / 1e9 if stage.seconds and stage.flops else None
    moved = (stage.bytes_read + stage.bytes_written) / stage.seconds / 1e6 if stage.seconds else 0.0
    if rate:
        speed = f"{rate:,.1f} GFLOP/s"
    else:
        speed = f"{stage.rows / stage.seconds:,.0f} items/s" if stage.rows else ""
    return [
        stage.name,
        STAGE_PRODUCTS.get(stage.name, ""),
        seconds_text(stage.seconds),
        _count(stage.passes),
        f"{stage.written:,}" if stage.tasks else "",
        _count(stage.reused),
        speed,
        *([percent(rate / peak, 0) if rate else ""] if peak else []),
        _size(stage.bytes_read),
        *(_size(getattr(stage, one)) for one in tiers),
        _size(stage.bytes_written),
        f"{moved:,.0f} MB/s" if moved else "",
    ]


def _size(nbytes: float) -> str:
    return human_bytes(nbytes) if nbytes else ""


def _workers(record: RunRecord) -> int:
    """Return how many workers were asked for; on a cluster that decides it, how many had a tile."""
    if record.compute.get("cluster") in ("ray", "address"):
        return max(1, sum(name.startswith("worker") for name in record.trace.lane_names().values()))
    return int(record.compute.get("workers") or 1)


def stage_totals(record: RunRecord) -> list[StageTotals]:
    """Return the stages in the order of their first pass; from the result where the events are gone."""
    if record.has_events:
        return list(record.trace.stages.values())
    return [
        StageTotals(name, passes=1, **{key: value for key, value in totals.items() if key in _TOTALS})
        for name, totals in record.result.stages.items()
    ]


_TOTALS = (
    "seconds",
    "tasks",
    "written",
    "reused",
    "flops",
    "bytes_read",
    "bytes_written",
    "bytes_from_peers",
    "bytes_from_copies",
)


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def peak_gflops(record: RunRecord, workers: int) -> float | None:
    """Return the calibrated GFLOP/s of all workers at the tile size nearest to the run's.

    None without a calibration, and for one of other threads, device or precision than the run's.
    """
    calibration, plan = record.calibration or {}, record.plan
    wanted = {name: record.compute.get(name) for name in ("threads", "device")}
    other = any(value not in (None, "auto", calibration.get(name)) for name, value in wanted.items())
    if plan is None or other:
        return None
    try:
        by_tile = calibration["gflops"][plan.arithmetic or plan.dtype][_GEMM]
        nearest = min(by_tile, key=lambda tile: abs(int(tile) - int(plan.tile or 0)))
        return float(by_tile[nearest]) * workers
    except (TypeError, KeyError, ValueError):  # not calibrated, or for another precision
        return None


def worker_time_table(record: RunRecord) -> Table | None:
    """Show the shares of the workers' time that each stage computed, read, wrote and waited."""
    rows = []
    for stage in stage_totals(record):
        total = sum(stage.doing.values())
        if total:
            rows.append([stage.name, *(percent(seconds / total) for seconds in stage.doing.values())])
    return Table(["stage", "computing", "reading", "writing", "waiting"], rows) if rows else None


# ---- memory and the certificate


def memory_table(record: RunRecord) -> Table | None:
    """Show projected beside measured peaks of the largest worker, by stage and of the whole run."""
    plan = record.plan
    if plan is None:
        return None
    sampled = {stage.name: stage.worker_peak for stage in stage_totals(record)}
    # the events call the tile stages of the text as those of the interactions
    sampled |= {f"semantic {name}": peak for name, peak in sampled.items()}
    rows = [
        [name, human_bytes(projected), human_bytes(sampled[name]) if sampled.get(name) else "not sampled"]
        for name, projected in plan.stages.items()
    ]
    largest = record.result.largest_worker
    measured = human_bytes(largest) if largest else "not measured"
    rows.append(["whole run, largest worker", human_bytes(plan.projected_peak_bytes), measured])
    return Table(["stage", "projected", "measured"], rows)


_GROUPS = {
    "workers_sum": "all workers together",
    "scheduler": "scheduler",
    "client": "this process (the client)",
    "ray": "Ray, all its processes",
}


def process_table(peak_bytes: Mapping[str, int]) -> Table | None:
    """Show the peak memory of each group of processes."""
    rows = [[text, human_bytes(peak_bytes[name])] for name, text in _GROUPS.items() if peak_bytes.get(name)]
    return Table(["processes", "peak"], rows) if rows else None


_CERTIFICATE = {
    "residual": "largest relative residual of (X'X + ridge I) P z = z on random probes z",
    "tolerance": "its tolerance, from the precision and the condition estimate",
    "condition": "condition estimate of the system",
    "dtype": "precision of the tiles",
    "arithmetic": "precision that they were computed in",
    "ridge": "ridge of the least certain system",
    "diagonal": "largest |B_jj|, relative; 0 in exact arithmetic",
    "diagonal_tolerance": "its tolerance",
    "semantic": "estimated error of the semantic model by woodbury, relative",
    "semantic_tolerance": "its tolerance",
}


def certificate_table(certificate: Mapping[str, object]) -> Table | None:
    """Show a certificate and the meaning of its figures; None for a run that solved no system."""
    rows = [[name, _CERTIFICATE.get(name, ""), figure_text(value)] for name, value in certificate.items()]
    return Table(["figure", "meaning", "value"], rows, left=2) if rows else None


# ---- settings


def changed_yaml(config: Mapping[str, object]) -> str:
    """Write the settings that differ from the defaults as the YAML of a configuration, to be copied."""
    found = _changed(config, RunConfig(workspace="").model_dump(mode="json"))
    return yaml.safe_dump(found, sort_keys=False, allow_unicode=True) if found else ""


def _changed(values: Mapping[str, object], usual: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in values.items():
        default = usual.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            if inner := _changed(value, default):
                found[key] = inner
        elif value is not None and value != default:
            found[key] = value
    return found


def settings_tables(config: Mapping[str, object]) -> tuple[Table, Table]:
    """Show the settings that differ from the defaults, and in a second table every setting."""
    usual = flat(RunConfig(workspace="").model_dump(mode="json"))
    every = {key: value for key, value in flat(config).items() if value is not None}
    other = {key: value for key, value in every.items() if usual.get(key) != value}
    return pairs_table(other, "setting"), pairs_table(every, "setting")


def pairs_table(values: Mapping[str, object], heading: str) -> Table:
    """Show a mapping as two columns of words, of names and of values."""
    return Table([heading, "value"], [[key, setting_text(value)] for key, value in values.items()], left=2)
