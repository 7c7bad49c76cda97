"""Two runs side by side: what differs in configuration, versions and data, and the figures of both."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from l3ae_dist.errors import ConfigError, StageMissingError
from l3ae_dist.report import tables
from l3ae_dist.report.cautions import cautions, reused_stages
from l3ae_dist.report.figures import metric_plot
from l3ae_dist.report.formatting import (
    PART_NAMES,
    figure_text,
    flat,
    iso_text,
    seconds_text,
    setting_text,
)
from l3ae_dist.report.html_page import render
from l3ae_dist.report.plots import BLUE, ORANGE, Plot
from l3ae_dist.report.result import MetricFigure
from l3ae_dist.report.run import RunRecord, find_run, known_runs, read_run
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.units import human_bytes

SIDES = ("A", "B")
_COLOURS = (BLUE, ORANGE)


# ---- finding the runs


def open_runs(runs: list[str], workspace: str | Path | None = None) -> tuple[RunRecord, RunRecord]:
    """Open the two runs that somebody names.

    Parameters
    ----------
    runs
        Two of: a workspace (its latest run), ``WORKSPACE#RUN``, or with ``workspace`` the beginning of a
        run's id. A single workspace, or ``workspace`` alone, stands for its last two runs that finished.
    workspace
        Workspace of runs that are named by their ids.

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
    first, second = (_open_run(run, workspace) for run in runs)
    return first, second


def _open_run(text: str, workspace: str | Path | None) -> RunRecord:
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


# ---- the comparison


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One side of a comparison: which run, how it ended, and what to know of it."""

    workspace: str
    run: str
    outcome: str
    finished: str
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Pair:
    """A named value of both runs; None where a run has none."""

    name: str
    a: object
    b: object


@dataclass(frozen=True, slots=True)
class FigurePair(Pair):
    """A figure of both runs; ``ratio`` is b / a where both are numbers other than 0."""

    ratio: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric with its interval where one was made."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class MetricPair:
    """A metric of one model in both runs; ``difference`` is b - a."""

    part: str
    metric: str
    model: str
    a: Estimate | None
    b: Estimate | None
    difference: float | None

    @property
    def figures(self) -> tuple[MetricFigure | None, MetricFigure | None]:
        """Figure of each run."""
        first, second = (
            None
            if side is None
            else MetricFigure(self.part, self.metric, self.model, side.value, side.low, side.high)
            for side in (self.a, self.b)
        )
        return first, second


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Two runs side by side."""

    runs: list[RunSummary]
    notes: list[str]
    """Reasons why figures of the two compare badly."""
    configuration: list[Pair]
    """Settings and picked hyper-parameters that differ."""
    versions: list[Pair]
    """Versions, and properties of the machine, that differ."""
    data: list[Pair]
    figures: list[FigurePair]
    """Seconds, bytes and certificate."""
    metrics: list[MetricPair]

    @classmethod
    def of(cls, first: RunRecord, second: RunRecord) -> "RunComparison":
        """Compare two runs."""
        both = (first, second)
        configs = (_config(record, all(r.config for r in both)) for record in both)
        environments = (_environment(record, all(r.machine for r in both)) for record in both)
        return cls(
            runs=[_summary(record) for record in both],
            notes=list(_notes(first, second)),
            configuration=_differences(*configs),
            versions=_differences(*environments),
            data=_pairs(*(_data(record) for record in both)),
            figures=[_with_ratio(pair) for pair in _pairs(*(_figures(record) for record in both))],
            metrics=_metrics(*(record.result.metric_figures() for record in both)),
        )


def compare_runs(first: RunRecord, second: RunRecord) -> dict[str, object]:
    """Compare two runs as JSON-like values.

    Returns
    -------
    dict
        ``runs`` (workspace, run, outcome, finished, warnings of each), ``notes``, ``configuration``,
        ``versions`` and ``data`` (lists of ``{"name", "a", "b"}``, the first two of what differs alone),
        ``figures`` (seconds, bytes, certificate, with ``ratio`` b / a) and ``metrics`` (``part``, ``metric``,
        ``model``, value and interval of both, ``difference``).
    """
    return asdict(RunComparison.of(first, second))


def _summary(record: RunRecord) -> RunSummary:
    return RunSummary(
        record.workspace.url, record.run, record.outcome, iso_text(record.result.finished), cautions(record)
    )


def _config(record: RunRecord, known: bool) -> dict[str, object]:
    """Return the settings, where they are known of both runs, and the hyper-parameters that were picked."""
    settings = {key: value for key, value in record.config.items() if known and key != "workspace"}
    picked = {f"picked.{name}": model.parameters for name, model in record.result.models.items()}
    return {**flat(settings), **flat(picked)}


def _environment(record: RunRecord, known: bool) -> dict[str, object]:
    """Return the versions, and the machine where it is known of both runs."""
    return {**record.versions, **(flat(record.machine, "machine.") if known else {})}


def _data(record: RunRecord) -> dict[str, object]:
    result = record.result
    names = ("id", "n_users", "n_items", "max_popularity", "items_without_interactions")
    known = result.dataset.known
    return {
        **{name: known[name] for name in names if name in known},
        **flat(result.dataset.nnz, "interactions."),
        "embedding": result.embedding,
    }


def _figures(record: RunRecord) -> dict[str, object]:
    result, plan, stages = record.result, record.plan, tables.stage_totals(record)
    seconds = {} if result.seconds is None else {"seconds, whole run": result.seconds}
    planned: dict[str, object] = {}
    peers = sum((stage.bytes_from_peers for stage in stages), 0.0)
    copies = sum((stage.bytes_from_copies for stage in stages), 0.0)
    if plan is not None:
        planned = {"projected peak bytes": plan.projected_peak_bytes, "memory budget": plan.memory_budget}
        planned |= {} if plan.tile is None else {"tile": plan.tile}
    return {
        **seconds,
        **{f"seconds of {stage.name}": round(stage.seconds, 3) for stage in stages},
        "bytes read": sum((stage.bytes_read for stage in stages), 0.0),
        **({"bytes read from peers": peers} if peers else {}),
        **({"bytes read from local copies": copies} if copies else {}),
        "bytes written": sum((stage.bytes_written for stage in stages), 0.0),
        **{f"peak bytes, {name}": value for name, value in result.peak_bytes.items()},
        **planned,
        **{f"certificate, {name}": value for name, value in result.certificate.items() if name != "ridge"},
    }


def _pairs(a: Mapping[str, object], b: Mapping[str, object]) -> list[Pair]:
    return [Pair(name, a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b])]


def _differences(a: Mapping[str, object], b: Mapping[str, object]) -> list[Pair]:
    return [pair for pair in _pairs(a, b) if pair.a != pair.b]


def _with_ratio(pair: Pair) -> FigurePair:
    a, b = pair.a, pair.b
    numbers = isinstance(a, int | float) and isinstance(b, int | float) and a and b
    return FigurePair(pair.name, a, b, b / a if numbers else None)  # type: ignore[operator]


def _metrics(a: Sequence[MetricFigure], b: Sequence[MetricFigure]) -> list[MetricPair]:
    """Pair the figures of both runs by part, metric and model, in the order of their first appearance."""
    first, second = ({(row.part, row.metric, row.model): row for row in rows} for rows in (a, b))
    keys = list(dict.fromkeys([*first, *second]))
    parts, metrics = (list(dict.fromkeys(key[i] for key in keys)) for i in (0, 1))
    keys.sort(key=lambda key: (parts.index(key[0]), metrics.index(key[1])))
    return [MetricPair(*key, *_estimates(first.get(key), second.get(key))) for key in keys]


def _estimates(
    a: MetricFigure | None, b: MetricFigure | None
) -> tuple[Estimate | None, Estimate | None, float | None]:
    """Return the figure of each run and their difference."""
    first, second = (None if one is None else Estimate(one.value, one.low, one.high) for one in (a, b))
    return first, second, None if first is None or second is None else second.value - first.value


def _notes(first: RunRecord, second: RunRecord) -> Iterator[str]:
    """Yield what makes figures hard to compare."""
    data = [record.result.dataset.id for record in (first, second)]
    if None not in data and data[0] != data[1]:
        yield "The runs have different data or splits: their metrics are of different held-out items."
    users = [record.result.users for record in (first, second)]
    if data[0] == data[1] and None not in users and users[0] != users[1]:
        yield "The runs evaluated different numbers of users."
    if first.machine and second.machine and first.machine != second.machine:
        yield "The runs were on different machines: their times do not compare."
    if not first.config or not second.config:
        yield "A run did not keep its configuration: what differs there is not known."
    for side, record in zip(SIDES, (first, second), strict=True):
        if record.outcome != "finished":
            yield f"Run {side}: {record.outcome}."
        if reused := reused_stages(record):
            yield (
                f"Run {side} reused {', '.join(reused)} of an earlier one: its times and bytes are of "
                "the rest."
            )


# ---- the page and its tables


def compare_page(first: RunRecord, second: RunRecord) -> str:
    """Render the comparison of two runs as one HTML page."""
    comparison = RunComparison.of(first, second)
    facts = {
        "title": f"Run {first.run} and run {second.run}",
        "runs": comparison.runs,
        "notes": comparison.notes,
        "sides": SIDES,
        "metrics": metric_table(comparison.metrics),
        "figures": figure_table(comparison.figures),
        "configuration": difference_table(comparison.configuration),
        "versions": difference_table(comparison.versions),
        "data": difference_table(comparison.data),
    }
    return render("compare.html.j2", facts, _plots(comparison.metrics))


def _plots(pairs: Sequence[MetricPair]) -> list[Plot]:
    """Draw one plot for each metric, with both runs of every model."""
    metrics = dict.fromkeys(pair.metric for pair in pairs)
    plots = (
        _metric_plot([pair for pair in pairs if pair.metric == metric], f"metric-{number}")
        for number, metric in enumerate(metrics)
    )
    return [plot for plot in plots if plot is not None]


def _metric_plot(pairs: Sequence[MetricPair], name: str) -> Plot | None:
    drawn = [
        (figure, f"{side} {pair.model}", colour)
        for pair in pairs
        for side, colour, figure in zip(SIDES, _COLOURS, pair.figures, strict=True)
        if figure is not None
    ]
    figures, labels, colours = (list(column) for column in zip(*drawn, strict=True))
    return metric_plot(figures, name, labels, colours)


def metric_table(pairs: Sequence[MetricPair]) -> tables.Table | None:
    """Show the metrics of both runs with their intervals; None where neither measured any."""
    rows = [
        [PART_NAMES[pair.part], pair.metric, pair.model,
         *("" if figure is None else figure.text for figure in pair.figures),
         "" if pair.difference is None else f"{pair.difference:+.4f}"]
        for pair in pairs
    ]  # fmt: skip
    return tables.Table(["test items", "metric", "model", *SIDES, "B - A"], rows, left=3) if rows else None


def figure_table(pairs: Sequence[FigurePair]) -> tables.Table:
    """Show times, bytes and certificates of both runs."""
    rows = [
        [pair.name, _figure(pair.name, pair.a), _figure(pair.name, pair.b),
         "" if pair.ratio is None else f"{pair.ratio:.2f}"]
        for pair in pairs
    ]  # fmt: skip
    return tables.Table(["figure", *SIDES, "B / A"], rows)


def _figure(name: str, value: object) -> str:
    """Format a figure in the unit that its name tells."""
    if not isinstance(value, int | float):
        return str(value or "")
    if name.startswith("seconds"):
        return seconds_text(value)
    return human_bytes(value) if "bytes" in name or name == "memory budget" else figure_text(value)


def difference_table(pairs: Sequence[Pair]) -> tables.Table | None:
    """Show settings, versions or properties of the data of both runs; None without any."""
    rows = [[pair.name, _setting(pair.a), _setting(pair.b)] for pair in pairs]
    return tables.Table(["name", *SIDES], rows, left=3) if rows else None


def _setting(value: object) -> str:
    return "" if value is None else figure_text(value) if isinstance(value, int) else setting_text(value)
