"""Two runs side by side: what differs in configuration, versions and data, and every figure of both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l3ae_dist.errors import ConfigError, StageMissingError
from l3ae_dist.report import figures, tables
from l3ae_dist.report.cautions import cautions, reused_stages
from l3ae_dist.report.page import render
from l3ae_dist.report.plots import BLUE, ORANGE, Plot
from l3ae_dist.report.run import RunRecord, find_run, known_runs, read_run
from l3ae_dist.report.words import PARTS, figure_text, flat, iso_text, seconds_text, setting_text
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.units import human_bytes

SIDES = ("A", "B")


def open_runs(runs: list[str], workspace: str | Path | None = None) -> tuple[RunRecord, RunRecord]:
    """The two runs that somebody names.

    Parameters
    ----------
    runs
        Two of: a workspace (its latest run), ``WORKSPACE#RUN``, or with ``workspace`` the beginning of a
        run's id. A single workspace, or ``workspace`` alone, stands for its last two runs that finished.
    workspace
        Whose runs are named by their ids.

    Raises
    ------
    ConfigError
        For any other number of runs, and a run that is not there.
    StageMissingError
        When a workspace holds too few runs.
    """
    if len(runs) + (workspace is not None and not runs) == 1:
        return _last_two(Workspace.open(workspace or runs[0]))
    if len(runs) != 2:
        raise ConfigError(
            f"compare takes two runs, and {len(runs)} are given; name a workspace or WORKSPACE#RUN."
        )
    first, second = (_one(run, workspace) for run in runs)
    return first, second


def _one(text: str, workspace: str | Path | None) -> RunRecord:
    if workspace is not None:
        opened = Workspace.open(workspace)
        return read_run(opened, find_run(opened, text.removeprefix("#")))
    where, mark, run = text.rpartition("#") if "#" in text else (text, "", "")
    opened = Workspace.open(where)
    return read_run(opened, find_run(opened, run if mark else None))


def _last_two(workspace: Workspace) -> tuple[RunRecord, RunRecord]:
    finished = [run for run in known_runs(workspace) if workspace.read_doc(layout.result(run)) is not None]
    if len(finished) < 2:
        raise StageMissingError(
            f"{workspace.url} holds {len(finished)} finished run{'s' * (len(finished) != 1)}, and a "
            "comparison takes two; name another workspace as well."
        )
    first, second = (read_run(workspace, run) for run in finished[-2:])
    return first, second


def compare_runs(first: RunRecord, second: RunRecord) -> dict[str, Any]:
    """Both runs as JSON-like values.

    Returns
    -------
    ``runs`` (workspace, run, outcome, finished, warnings of each), ``notes``, ``configuration``, ``versions``
    and ``data`` (lists of ``{"name", "a", "b"}``, the first two of what differs alone), ``figures`` (seconds,
    bytes, certificate, with ``ratio`` b / a) and ``metrics`` (``part``, ``metric``, ``model``, value and
    interval of both, ``difference``).
    """
    both = (first, second)
    return {
        "runs": [
            {
                "workspace": record.workspace.url,
                "run": record.run,
                "outcome": record.outcome,
                "finished": iso_text(record.result.get("finished")),
                "warnings": cautions(record),
            }
            for record in both
        ],
        "notes": _notes(first, second),
        "configuration": _differences(*(_config(record, all(r.config for r in both)) for record in both)),
        "versions": _differences(*(_environment(r, all(r.machine for r in both)) for r in both)),
        "data": _pairs(*(_data(record) for record in both)),
        "figures": [_with_ratio(row) for row in _pairs(*(_figures(record) for record in both))],
        "metrics": _metrics(*(tables.metric_rows(record.result.get("models", {})) for record in both)),
    }


def _config(record: RunRecord, known: bool) -> dict[str, Any]:
    """The settings, where they are known of both runs, and the regularisers that were picked."""
    settings = {key: value for key, value in record.config.items() if known and key != "workspace"}
    picked = {
        f"picked.{name}": model.get("params", {}) for name, model in record.result.get("models", {}).items()
    }
    return {**flat(settings), **flat(picked)}


def _environment(record: RunRecord, known: bool) -> dict[str, Any]:
    """Versions, and the machine where it is known of both runs."""
    return {**record.versions, **(flat(record.machine, "machine.") if known else {})}


def _data(record: RunRecord) -> dict[str, Any]:
    found = record.result.get("dataset", {})
    names = ("id", "n_users", "n_items", "max_popularity", "items_without_interactions")
    return {**{n: found[n] for n in names if n in found}, **flat(found.get("nnz", {}), "interactions."),
            "embedding": record.result.get("embedding")}  # fmt: skip


def _figures(record: RunRecord) -> dict[str, Any]:
    result, plan = record.result, record.plan
    certificate = {key: value for key, value in (result.get("certificate") or {}).items() if key != "ridge"}
    moved = {"read": 0.0, "written": 0.0}
    stages: dict[str, float] = {}
    for stage in tables.stage_totals(record):
        stages[f"seconds of {stage.name}"] = round(stage.seconds, 3)
        moved["read"] += stage.bytes_read
        moved["written"] += stage.bytes_written
    return {
        **({"seconds, whole run": result["seconds"]} if "seconds" in result else {}),
        **stages,
        "bytes read": moved["read"],
        "bytes written": moved["written"],
        **{f"peak bytes, {name}": value for name, value in result.get("peak_memory_bytes", {}).items()},
        **({"projected peak bytes": plan["projected_peak_bytes"]} if plan else {}),
        **({"memory budget": plan["memory_budget"]} if plan else {}),
        **({"tile": plan["tile"]} if "tile" in plan else {}),
        **{f"certificate, {name}": value for name, value in certificate.items()},
    }


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "a": a.get(name), "b": b.get(name)} for name in dict.fromkeys([*a, *b])]


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for row in _pairs(a, b) if row["a"] != row["b"]]


def _with_ratio(row: dict[str, Any]) -> dict[str, Any]:
    numbers = all(isinstance(row[side], (int, float)) and row[side] for side in ("a", "b"))
    return {**row, "ratio": row["b"] / row["a"] if numbers else None}


def _metrics(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> list[dict[str, Any]]:
    sides = [{(row["part"], row["metric"], row["model"]): row for row in rows} for rows in (a, b)]
    found = []
    every = list(dict.fromkeys([*sides[0], *sides[1]]))
    parts, metrics = (list(dict.fromkeys(key[i] for key in every)) for i in (0, 1))
    for key in sorted(every, key=lambda key: (parts.index(key[0]), metrics.index(key[1]))):
        one, two = (side.get(key) for side in sides)
        both = one is not None and two is not None
        found.append(
            {
                **dict(zip(("part", "metric", "model"), key, strict=True)),
                **{
                    side: None if row is None else {name: row[name] for name in ("value", "low", "high")}
                    for side, row in (("a", one), ("b", two))
                },
                "difference": two["value"] - one["value"] if both else None,  # type: ignore[index]
            }
        )
    return found


def _notes(first: RunRecord, second: RunRecord) -> list[str]:
    """What makes figures hard to compare."""
    found = []
    data = [record.result.get("dataset", {}).get("id") for record in (first, second)]
    if None not in data and data[0] != data[1]:
        found.append("The runs have different data or splits: their metrics are of different held-out items.")
    users = [record.result.get("users") for record in (first, second)]
    if data[0] == data[1] and None not in users and users[0] != users[1]:
        found.append("The runs evaluated different numbers of users.")
    if first.machine and second.machine and first.machine != second.machine:
        found.append("The runs were on different machines: their times do not compare.")
    if not first.config or not second.config:
        found.append("A run did not keep its configuration: what differs there is not known.")
    for side, record in zip(SIDES, (first, second), strict=True):
        if record.outcome != "finished":
            found.append(f"Run {side}: {record.outcome}.")
        if reused := reused_stages(record):
            found.append(
                f"Run {side} reused {', '.join(reused)} of an earlier one: its times and bytes are of "
                "the rest."
            )
    return found


def compare_page(first: RunRecord, second: RunRecord) -> str:
    """Both runs as one HTML page."""
    found = compare_runs(first, second)
    plots = [plot for plot in _plots(found) if plot is not None]
    facts = {
        "title": f"Run {first.run} and run {second.run}",
        "found": found,
        "sides": SIDES,
        "metrics": metric_table(found),
        "figures": figure_table(found),
        "configuration": difference_table(found["configuration"]),
        "versions": difference_table(found["versions"]),
        "data": difference_table(found["data"]),
        "plots": plots,
    }
    return render("compare.html.j2", facts)


def _plots(found: Mapping[str, Any]) -> list[Plot | None]:
    rows = [
        {**row, **row[side], "side": f"{label} {row['model']}", "colour": colour}
        for row in found["metrics"]
        for side, label, colour in (("a", "A", BLUE), ("b", "B", ORANGE))
        if row[side] is not None
    ]
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    return [
        figures.metrics_plot([row for row in rows if row["metric"] == m], f"metric-{n}", m, "side")
        for n, m in enumerate(metrics)
    ]


def metric_table(found: Mapping[str, Any]) -> tables.Table | None:
    """Metrics of both with their intervals."""
    rows = [
        [PARTS[row["part"]], row["metric"], row["model"], _value(row["a"]), _value(row["b"]),
         "" if row["difference"] is None else f"{row['difference']:+.4f}"]
        for row in found["metrics"]
    ]  # fmt: skip
    return tables.Table(["test items", "metric", "model", *SIDES, "B - A"], rows, left=3) if rows else None


def _value(side: Mapping[str, Any] | None) -> str:
    if side is None:
        return ""
    interval = "" if side["low"] is None else f" ({side['low']:.4f} to {side['high']:.4f})"
    return f"{side['value']:.4f}{interval}"


def figure_table(found: Mapping[str, Any]) -> tables.Table:
    """Times, bytes and certificates of both."""
    rows = [
        [row["name"], *(_figure(row["name"], row[side]) for side in ("a", "b")),
         "" if row["ratio"] is None else f"{row['ratio']:.2f}"]
        for row in found["figures"]
    ]  # fmt: skip
    return tables.Table(["figure", *SIDES, "B / A"], rows)


def _figure(name: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if name.startswith("seconds"):
        return seconds_text(value)
    return human_bytes(value) if "bytes" in name or name == "memory budget" else figure_text(value)


def difference_table(rows: list[dict[str, Any]]) -> tables.Table | None:
    """Settings or versions of both."""
    cells = [[row["name"], *(_setting(row[side]) for side in ("a", "b"))] for row in rows]
    return tables.Table(["name", *SIDES], cells, left=3) if cells else None


def _setting(value: Any) -> str:
    return "" if value is None else figure_text(value) if isinstance(value, int) else setting_text(value)
