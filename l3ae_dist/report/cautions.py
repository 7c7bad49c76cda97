"""Cautions: what a careful reader should know of a run before trusting its figures, from storage alone."""

from collections.abc import Iterator

from l3ae_dist.pipeline.named_models import read_current
from l3ae_dist.report.formatting import figure_text, iso_text, listed, percent
from l3ae_dist.report.hyperparameters import values_at_the_edge
from l3ae_dist.report.run import RunRecord
from l3ae_dist.storage import layout
from l3ae_dist.storage.damage_notes import noted_damage
from l3ae_dist.storage.stages import Stage
from l3ae_dist.units import human_bytes

# Shares of a limit from which on a figure is near it.
_NEAR_TOLERANCE = 0.5
_HIGH_CONDITION = {"float32": 1e3, "float64": 1e12}
_FEW_USERS = 100


def cautions(record: RunRecord) -> list[str]:
    """List what a reader should know of a run, a sentence each, the gravest first; empty for a good run."""
    parts = (_ending, _losses, _memory, _certificate, _evaluation, _sources)
    return [sentence for part in parts for sentence in part(record)]


def _ending(record: RunRecord) -> Iterator[str]:
    if record.outcome != "finished":
        yield (
            f"The run {record.outcome}; figures of what it did not reach are missing."
            if (record.outcome.startswith("ended"))
            else f"The run is not complete: {record.outcome}. Figures of what it did not reach are missing."
        )
    if record.earlier_result:
        yield (
            f"An earlier execution of this run finished at {iso_text(record.earlier_result)}; this page is "
            "of the later one."
        )


def _losses(record: RunRecord) -> Iterator[str]:
    trace = record.trace
    if trace.lost:
        tail = (
            "were lost; the tiles they held were"
            if len(trace.lost) > 1
            else "was lost; the tiles it held were"
        )
        yield f"{len(trace.lost)} worker{'s' * (len(trace.lost) > 1)} {tail} computed again by others."
    for array, count in sorted(trace.bad.items()):
        what = f"{count} tiles of {array} were" if count > 1 else f"A tile of {array} was"
        yield f"{what} damaged and made again from the inputs."
    damaged = noted_damage(record.workspace)
    if damaged:
        yield (
            f"{len(damaged)} chunks of the workspace have been found damaged since; `l3ae-dist verify` lists "
            "them and the next run mends them."
        )


def _memory(record: RunRecord) -> Iterator[str]:
    plan, peak = record.plan, record.result.largest_worker
    if plan is None or not peak:
        return
    if peak > plan.memory_budget:
        budget = human_bytes(plan.memory_budget)
        yield f"The largest worker took {human_bytes(peak)}, over the budget of {budget}."
    elif peak > plan.projected_peak_bytes:
        yield (
            f"The largest worker took {human_bytes(peak)}, over the projection of "
            f"{human_bytes(plan.projected_peak_bytes)} but within the budget."
        )


def _certificate(record: RunRecord) -> Iterator[str]:
    certificate = record.result.certificate
    for name, limit in (
        ("residual", "tolerance"),
        ("diagonal", "diagonal_tolerance"),
        ("semantic", "semantic_tolerance"),
    ):
        value, bound = certificate.get(name), certificate.get(limit)
        if value and bound and value > _NEAR_TOLERANCE * bound:
            yield f"The {name} {figure_text(value)} is near its tolerance {figure_text(bound)}."
    condition = certificate.get("condition", 0.0)
    if condition > _HIGH_CONDITION.get(str(certificate.get("dtype")), 1e12):
        yield (
            f"The condition estimate {figure_text(condition)} is high for {certificate['dtype']}: a larger "
            "ridge, or float64, keeps more digits."
        )


def _evaluation(record: RunRecord) -> Iterator[str]:
    result = record.result
    users, known = result.users, result.dataset.n_users
    if users and known and users < known:
        yield f"The metrics are of a sample of {users:,} of {known:,} users ({percent(users / known)})."
    tested = min((model.test["users"] for model in result.models.values() if model.test), default=None)
    if tested is not None and tested < _FEW_USERS:
        yield f"Only {tested} users have test items: the intervals are wide and may be too narrow still."
    for one in result.comparisons:
        if one.low <= 0 <= one.high:
            ours, other = one.models
            yield (
                f"The interval of the difference between {ours} and {other} on {one.metric} holds 0: it "
                "may be chance."
            )
    edge = values_at_the_edge(result.trials) if result.trials is not None else []
    if edge:
        yield (
            f"The best L3AE lies at the edge of the values that were tried: {listed(edge)}. Values beyond "
            "may be better."
        )


def _sources(record: RunRecord) -> Iterator[str]:
    for earlier in record.earlier_versions:
        differ = [f"{name} {earlier[name]}" for name in earlier if earlier[name] != record.versions.get(name)]
        if differ and record.versions:
            yield f"An earlier execution of this run used other versions: {', '.join(differ)}."
            break
    for told in ("different BLAS builds", "distinct texts, of "):
        yield from (f"{m[0].upper()}{m[1:]}." for m in record.trace.messages if told in m)
    current = read_current(record.workspace)
    ours = None if record.fitted is None else record.fitted.get("label")
    if record.result.certificate and current is not None and ours != current.model.label:
        model = current.model
        finished = (record.workspace.read_doc(layout.result(model.run)) or {}).get("finished")
        when = f", which finished at {iso_text(finished)}" if finished else ""
        yield (
            f"Another run, {model.run}{when}, made the current model of this workspace, {model.label}"
            + (f"; that of this run is {ours}." if ours else ".")
        )
    if not record.has_events:
        yield "The events of this run have been deleted: stages, timeline and memory over time are not shown."


def reused_stages(record: RunRecord) -> list[str]:
    """List the stages of which something was found complete and not made again, each with its extent."""
    partly = [
        f"{totals.name} ({totals.reused:,} of {totals.tasks:,} tasks)"
        for totals in record.trace.stages.values()
        if totals.reused
    ]
    result, plan = record.result, record.plan
    if not record.has_events or not result.found:
        return partly
    wanted: list[str] = [Stage.EMBED] if result.embedding and _made_of_texts(record) else []
    measured = result.users is not None
    planned = plan.stages if plan is not None else ()
    wanted += [name for name in planned if measured or name not in (Stage.SCORE, Stage.RANK)]
    # the plan tells the tile stages of the text apart, the events call them as those of the interactions
    missing = [name for name in wanted if name.removeprefix("semantic ") not in record.trace.stages]
    return partly + [f"{name} (all of it)" for name in missing]


def _made_of_texts(record: RunRecord) -> bool:
    """Tell whether an encoder made the embeddings of a run, and nobody gave them."""
    made = record.workspace.stage_done(Stage.EMBED, str(record.result.embedding))
    source = None if made is None else made.params.get("source")
    if source is not None:
        made = record.workspace.stage_done(Stage.EMBED, str(source))
    return made is not None and not made.params.get("imported")
