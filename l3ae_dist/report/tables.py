"""The tables of a report as plain rows, which the templates show and the comparison subtracts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from l3ae_dist.report.profile import DataProfile
from l3ae_dist.report.run import RunRecord
from l3ae_dist.report.trace import StageTotals
from l3ae_dist.report.words import STAGES, figure_text, flat, percent, seconds_text, setting_text
from l3ae_dist.units import human_bytes

_GEMM = "gemm_nt"


@dataclass(frozen=True)
class Table:
    """Headings and cells as text; ``left`` columns from the left are words, the others figures."""

    headings: list[str]
    rows: list[list[str]]
    left: int = 1
    caption: str = ""


def metric_rows(models: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every figure of the test split that has an interval, or recall and NDCG at 20 where none has.

    ``part`` (all, head, tail), ``metric``, ``model``, ``value``, ``low``, ``high``.
    """
    found: list[dict[str, Any]] = []
    for part in ("all", "head", "tail"):
        for metric in _shown_metrics(models, part):
            for name, model in models.items():
                test = model.get("test", {})
                figures = test if part == "all" else test.get(part, {})
                bounds = model.get("intervals", {}).get(part, {}).get(metric) or (None, None)
                if figures.get(metric) is not None:
                    values = {"value": figures[metric], "low": bounds[0], "high": bounds[1]}
                    found.append({"part": part, "metric": metric, "model": name, **values})
    return found


def _shown_metrics(models: Mapping[str, Mapping[str, Any]], part: str) -> list[str]:
    known = dict.fromkeys(m for model in models.values() for m in model.get("intervals", {}).get(part, ()))
    if known:
        return list(known)
    tests = [model["test"] for model in models.values() if "test" in model]
    usual = [m for m in ("ndcg@20", "recall@20") if any(m in test for test in tests)]
    return usual or list(dict.fromkeys(m for test in tests for m in test if m.startswith(("ndcg", "recall"))))


def all_metrics(models: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """Every figure of the test split: a row for each metric and model, a column for each cut-off."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for model, found in models.items():
        for name, value in flat(dict(found.get("test", {}))).items():
            metric, at, cut = name.partition("@")
            if at:
                cells.setdefault((metric.replace(".", ", "), model), {})[cut] = figure_text(value)
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


def group_tables(models: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """The metrics by item popularity and by user activity, where they were measured."""
    found = []
    for key, caption in _GROUPED.items():
        groups = {name: model["test"][key] for name, model in models.items() if key in model.get("test", {})}
        if not groups:
            continue
        first = next(iter(groups.values()))
        metrics = [m for m in ("recall@20", "ndcg@20") if m in first[0]] or [m for m in first[0] if "@" in m][
            :2
        ]
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
        found.append(Table(["interactions", *sizes, *headings], rows, caption=caption))
    return found


def data_table(data: DataProfile) -> Table:
    """Sizes of the data."""
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


def _quantiles(found: Any) -> str:
    return " / ".join(f"{found.quantile(share):,}" for share in (0.5, 0.9, 1.0)) if found.size else "none"


def stage_table(record: RunRecord) -> Table:
    """Time, work, rate and bytes of every stage."""
    peak = peak_rate(record, _workers(record))
    rows = []
    for stage in stage_totals(record):
        rate = stage.flops / stage.seconds / 1e9 if stage.seconds and stage.flops else None
        moved = (stage.bytes_read + stage.bytes_written) / stage.seconds / 1e6 if stage.seconds else 0.0
        rows.append(
            [
                stage.name,
                STAGES.get(stage.name, ""),
                seconds_text(stage.seconds),
                _count(stage.passes),
                f"{stage.written:,}" if stage.tasks else "",
                _count(stage.reused),
                f"{rate:,.1f} GFLOP/s"
                if rate
                else f"{stage.rows / stage.seconds:,.0f} items/s"
                if stage.rows
                else "",
                *([percent(rate / peak, 0) if rate else ""] if peak else []),
                human_bytes(stage.bytes_read) if stage.bytes_read else "",
                human_bytes(stage.bytes_written) if stage.bytes_written else "",
                f"{moved:,.0f} MB/s" if moved else "",
            ]
        )
    share = ["of the calibrated peak"] if peak else []
    return Table(
        ["stage", "makes", "time", "passes", "tasks", "reused", "rate", *share, "read", "written", "moved"],
        rows,
        left=2,
    )


def _workers(record: RunRecord) -> int:
    """How many were asked for; on a cluster that decides it, how many had a tile."""
    compute = record.config.get("compute", {})
    if compute.get("cluster") in ("ray", "address"):
        return max(1, sum(name.startswith("worker") for name in record.trace.lane_names().values()))
    return int(compute.get("workers") or 1)


def stage_totals(record: RunRecord) -> list[StageTotals]:
    """The stages in the order of their first pass; from the result where the events are gone."""
    if record.has_events:
        return list(record.trace.stages.values())
    return [
        StageTotals(name, passes=1, **{key: value for key, value in found.items() if key in _TOTALS})
        for name, found in record.result.get("stages", {}).items()
    ]


_TOTALS = ("seconds", "tasks", "written", "reused", "flops", "bytes_read", "bytes_written")


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def peak_rate(record: RunRecord, workers: int) -> float | None:
    """GFLOP/s of all workers by the calibration of this workspace, at the tile size nearest to the run's.

    None without a calibration, and for one of other threads, device or precision than the run's.
    """
    calibration = record.calibration or {}
    plan, rates = record.plan, calibration.get("gflops")
    compute = record.config.get("compute", {})
    wanted = {name: compute.get(name) for name in ("threads", "device")}
    if any(value not in (None, "auto", calibration.get(name)) for name, value in wanted.items()):
        return None
    try:
        by_tile = rates[plan["dtype"]][_GEMM]  # type: ignore[index]
        nearest = min(by_tile, key=lambda tile: abs(int(tile) - int(plan["tile"])))
        return float(by_tile[nearest]) * workers
    except (TypeError, KeyError, ValueError):  # not calibrated, or for another precision
        return None


def doing_table(record: RunRecord) -> Table | None:
    """Where the workers' time of the tile stages went."""
    rows = []
    for stage in stage_totals(record):
        total = sum(stage.doing.values())
        if total:
            rows.append([stage.name, *(percent(seconds / total) for seconds in stage.doing.values())])
    return Table(["stage", "computing", "reading", "writing", "waiting"], rows) if rows else None


def memory_table(record: RunRecord) -> Table | None:
    """Projected against measured, by stage, then the groups of processes."""
    plan = record.plan
    if not plan:
        return None
    seen = {stage.name: stage.worker_peak for stage in stage_totals(record)}
    # the events call the tile stages of the text as those of the interactions
    seen |= {f"semantic {name}": peak for name, peak in seen.items()}
    rows = [
        [name, human_bytes(projected), human_bytes(seen[name]) if seen.get(name) else "not sampled"]
        for name, projected in plan["stages"].items()
    ]
    largest = record.result.get("peak_memory_bytes", {}).get("worker_max")
    rows.append(
        [
            "whole run, largest worker",
            human_bytes(plan["projected_peak_bytes"]),
            human_bytes(largest) if largest else "not measured",
        ]
    )
    return Table(["stage", "projected", "measured"], rows)


_GROUPS = {
    "workers_sum": "all workers together",
    "scheduler": "scheduler",
    "client": "this process (the client)",
    "ray": "Ray, all its processes",
}


def process_table(record: RunRecord) -> Table | None:
    """Peaks of the groups of processes."""
    peaks = record.result.get("peak_memory_bytes") or {}
    rows = [[text, human_bytes(peaks[name])] for name, text in _GROUPS.items() if peaks.get(name)]
    return Table(["processes", "peak"], rows) if rows else None


_CERTIFICATE = {
    "residual": "largest relative residual of (X'X + ridge I) P z = z on random probes z",
    "tolerance": "its tolerance, from the precision and the condition estimate",
    "condition": "condition estimate of the system",
    "dtype": "precision of the tiles",
    "ridge": "ridge of the least certain system",
    "diagonal": "largest |B_jj|, relative; 0 in exact arithmetic",
    "diagonal_tolerance": "its tolerance",
}


def certificate_table(found: Mapping[str, Any]) -> Table:
    """The certificate with what its figures mean."""
    rows = [[name, _CERTIFICATE.get(name, ""), figure_text(value)] for name, value in found.items()]
    return Table(["figure", "meaning", "value"], rows, left=2)


def settings_tables(config: Mapping[str, Any]) -> tuple[Table, Table]:
    """What differs from the defaults, and everything."""
    from l3ae_dist.config.run_config import RunConfig

    usual = flat(RunConfig(workspace="").model_dump(mode="json"))
    every = {key: value for key, value in flat(dict(config)).items() if value is not None}
    other = {key: value for key, value in every.items() if usual.get(key) != value}

    def table(values: Mapping[str, Any]) -> Table:
        return Table(
            ["setting", "value"], [[key, setting_text(value)] for key, value in values.items()], left=2
        )

    return table(other), table(every)


def pairs_table(values: Mapping[str, Any], what: str) -> Table:
    """A mapping as two columns of words."""
    return Table([what, "value"], [[key, setting_text(value)] for key, value in values.items()], left=2)
