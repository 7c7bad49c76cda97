"""The parts of a run's wall time, which add up to all of it, and the settings that would shorten them."""

from dataclasses import dataclass

from l3ae_dist.report.formatting import percent, seconds_text
from l3ae_dist.report.run import RunRecord
from l3ae_dist.report.tables import Table, stage_totals
from l3ae_dist.storage.stages import Stage

_RAY = "starting Ray, loading the encoder"
_DASK, _CONDITION = "starting the workers", "condition estimate"
_METRICS, _REST = "intervals and metrics", "everything else"
_SOLVE = "compute.workers and threads, a larger compute.memory_budget, fewer ridges, or data.core"
_SHORTER: dict[str, str] = {
    Stage.INGEST: "compute.threads, or workers for large files (compute.distributed_ingest_rows)",
    Stage.EMBED: "compute.actors, a GPU, or a smaller encoder; texts that were embedded once are not again",
    Stage.FACTOR: _SOLVE,
    Stage.LINV: _SOLVE,
    Stage.INVERT: _SOLVE,
    Stage.GRAM: "compute.workers",
    Stage.ASSEMBLE: "compute.workers, or fewer models",
    Stage.PRODUCT: "compute.workers, or compute.semantic_route: woodbury",
    Stage.SCORE: "evaluate.max_users, which measures a sample of the users",
    Stage.RANK: "evaluate.max_users, or fewer models",
    Stage.CERTIFY: "compute.workers",
    _RAY: "more texts in a run: it is paid once",
    _DASK: "compute.cluster: synchronous for small data: it is paid once",
    _METRICS: "evaluate.max_users",
}
"""Settings that shorten a part, by its name."""


@dataclass(frozen=True, slots=True)
class WallPart:
    """A part of the wall time of a run."""

    name: str
    seconds: float


def wall_parts(record: RunRecord) -> list[WallPart]:
    """Split the wall time of a run into its stages, starting its engines, and the rest; longest first.

    Nothing is told of a run that did not finish.
    """
    total = record.result.seconds
    if not total:
        return []
    parts = {stage.name: stage.seconds for stage in stage_totals(record) if stage.seconds > 0}
    took = record.result.stage_seconds
    if Stage.INGEST in took:  # its events include the start of workers that ingest
        parts[Stage.INGEST] = took[Stage.INGEST]
    if Stage.EMBED in parts:
        parts[_RAY] = max(0.0, took.get(Stage.EMBED, 0.0) - parts[Stage.EMBED])
    parts[_DASK], parts[_CONDITION] = took.get("cluster start", 0.0), took.get("condition estimate", 0.0)
    parts[_METRICS] = took.get("metrics", 0.0)
    parts[_REST] = max(0.0, total - sum(parts.values()))
    found = [WallPart(name, seconds) for name, seconds in parts.items() if seconds > 0]
    return sorted(found, key=lambda part: (part.name == _REST, -part.seconds))


def wall_table(record: RunRecord) -> Table | None:
    """Show every part of the wall time with its share, and what shortens it; None without times."""
    parts, rest = wall_parts(record), 0.0
    total = sum(part.seconds for part in parts)
    rows = []
    for part in parts:
        if part.name == _REST or part.seconds < 0.01 * total:
            rest += part.seconds
        else:
            shown = [seconds_text(part.seconds), percent(part.seconds / total), _SHORTER.get(part.name, "")]
            rows.append([part.name, *shown])
    if rest:
        rows.append([_REST, seconds_text(rest), percent(rest / total), ""])
    return Table(["part", "time", "share", "shortened by"], rows) if rows else None


def bottleneck(record: RunRecord) -> str:
    """Name the longest part of a run in a sentence, and the setting that changes it; empty without times."""
    parts = [part for part in wall_parts(record) if part.name != _REST]
    if not parts or record.result.seconds is None:
        return ""
    longest = parts[0]
    share = f"{longest.name} took {percent(longest.seconds / record.result.seconds, 0)} of the run"
    shorter = _SHORTER.get(longest.name)
    return f"The longest part: {share}" + (f"; shorter with {shorter}." if shorter else ".")
