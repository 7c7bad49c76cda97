"""Runs: what is wanted, whether it is there, and else a job under the lock."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from socket import gethostname
from typing import Any

from l3ae_dist.config.load import checked_config
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.errors import (
    DamagedDocumentError,
    DamagedTileError,
    StageMissingError,
    WorkspaceError,
)
from l3ae_dist.pipeline.corrections import changed_by
from l3ae_dist.pipeline.identity import (
    fitted_dataset,
    identify,
    open_workspace,
    refuse_other_data,
    require_engines,
    require_items,
    require_packages,
    run_identifier,
)
from l3ae_dist.pipeline.inputs import Inputs, Source, Until, checked_until
from l3ae_dist.pipeline.job import Job
from l3ae_dist.pipeline.model_document import (
    has_records,
    model_of_run,
)
from l3ae_dist.pipeline.model_search import Specs
from l3ae_dist.pipeline.named_models import (
    answers_already,
    go_on_with,
    keep_model,
    known_models,
    name_is_taken,
    read_model,
    refuse_forgotten,
)
from l3ae_dist.pipeline.result import ResultDocument, RunFacts
from l3ae_dist.runtime.event_log import EventLog, told_as_events
from l3ae_dist.runtime.event_store import EventStore
from l3ae_dist.runtime.events import (
    BadTile,
    Event,
    MemorySample,
    Message,
    OnEvent,
    RunEnd,
    RunStart,
    TileDone,
)
from l3ae_dist.runtime.main_guard import end_if_imported_by_worker
from l3ae_dist.runtime.memory import MemorySampler, ProcessGroups
from l3ae_dist.runtime.spans import with_spans
from l3ae_dist.runtime.versions import machine, versions
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.completeness import damaged_chunks
from l3ae_dist.storage.credentials import without_secrets
from l3ae_dist.storage.damage_notes import noted_damage
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.mend import mend_documents
from l3ae_dist.storage.os_errors import storage_errors
from l3ae_dist.storage.patience import set_default_seconds
from l3ae_dist.storage.repair import find_lost, take_out_damage
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

FINISHED: list[Callable[[str, str], None]] = []
"""Functions that are told of every run of this process that has ended: its workspace and its id."""


def run(
    config: RunConfig,
    *,
    interactions: object = None,
    items: object = None,
    embeddings: object = None,
    source: Mapping[str, str | None] | None = None,
    on_event: OnEvent | None = None,
    until: Until | None = None,
) -> ResultDocument:
    """Run the stages of a configuration, from the data to the metrics; what is complete is not repeated.

    Parameters
    ----------
    config
        What to run; its sources are used where the arguments are None.
    interactions, items, embeddings
        DataFrames, arrays, paths or URLs.
    source
        Ids of a ``dataset`` and its ``embedding`` in the workspace, instead of these.
    on_event
        Called with every event.
    until
        Stop after ``"ingest"``, ``"embed"`` or ``"fit"``.

    Returns
    -------
    The result: workspace, seconds, peak_memory_bytes, certificate, models, and more. A run that was
    complete is not repeated; its model is the current one again.

    Raises
    ------
    ConfigError
        For a parameter out of range or an unknown option, or without interactions and without a workspace.
    DataError
        For interactions, items or embeddings that cannot be used.
    BudgetError
        When the plan does not fit ``compute.memory_budget``, with the smallest change that does.
    NumericalError
        When the system cannot be solved to the tolerance.
    WorkspaceLockedError
        While another run writes to the workspace.
    """
    config, inputs = checked_config(config), Inputs(interactions, items, embeddings)
    known = None if source is None else Source.of(source)
    return run_job(Job, config, inputs, source=known, until=checked_until(until), on_event=on_event)


def run_job(
    job: type[Job],
    config: RunConfig,
    inputs: Inputs,
    *,
    source: Source | None = None,
    until: str | None = None,
    on_event: OnEvent | None = None,
) -> ResultDocument:
    """Run a job under the workspace's lock, or return its result when it is complete.

    A run that meets damage begins again with its repair, once for each array.

    Parameters
    ----------
    job
        Which stages: :class:`Job` or a subclass with another last stage.
    config, inputs
        What to run, and its sources; those of the configuration are used where ``inputs`` has None.
    source
        A dataset and its features in the workspace, instead of ``inputs``.
    until, on_event
        As :func:`run` takes them.

    Returns
    -------
    The result, as :func:`run` returns it.
    """
    end_if_imported_by_worker()
    met: set[str] = set()
    while True:
        try:
            return _attempt(job, config, inputs, source=source, until=until, on_event=on_event)
        except (DamagedTileError, DamagedDocumentError, StageMissingError) as error:
            what = str(error) if isinstance(error, StageMissingError) else error.path
            if what in met or not _can_be_repaired(config.workspace, error):
                raise
            met.add(what)
            if on_event is not None:
                on_event(Message(stage=Stage.REPAIR, message=f"begun again to repair what was met: {error}"))


def _can_be_repaired(url: str, error: WorkspaceError) -> bool:
    """Tell whether a run that met this damage may get on when it begins again; notes all of the array's."""
    workspace = Workspace.open(url)
    if isinstance(error, DamagedTileError):
        with contextlib.suppress(StageMissingError, DamagedDocumentError):
            damaged_chunks(ChunkArray.open(workspace, error.path))
        return _is_open_again(workspace, error.path) or not shows_no_damage(workspace, "")
    return isinstance(error, DamagedDocumentError) or not shows_no_damage(workspace, "")


def _is_open_again(workspace: Workspace, path: str) -> bool:
    """Tell whether a stage that makes an array is incomplete, be it since damage was taken out just now."""
    return any(workspace.stage_done(*maker) is None for maker in layout.makers(path))


def _attempt(
    job: type[Job],
    config: RunConfig,
    inputs: Inputs,
    *,
    source: Source | None,
    until: str | None,
    on_event: OnEvent | None,
) -> ResultDocument:
    """Run a job as far as it comes: to its end, or to the first damage that its stages do not mend."""
    started = time.perf_counter()
    set_default_seconds(config.compute.store_patience)
    require_engines(config)
    inputs = inputs.or_configured(config)
    if source is None and until != "ingest":
        require_items(config, inputs)
    workspace = open_workspace(config, inputs, source)
    mended = mend_documents(workspace)
    if source is None:
        refuse_other_data(config, inputs, workspace)
    wanted, specs = identify(config, inputs, workspace, source), job.models(config)
    wanted = replace(wanted, model=None if source is None else source.model)
    require_packages(config, inputs, workspace, wanted)
    run_id = run_identifier(config, wanted, _step(job, workspace, wanted, until), specs)
    _check_name(workspace, config.name, fitted_dataset(config, wanted), specs)
    stored = workspace.read_doc(layout.result(run_id))
    if stored is not None and not mended and shows_no_damage(workspace, run_id):
        label = wanted.model if job.measures else config.name
        told = _told_again(job, workspace, run_id, stored, label, on_event)
        if told is not None:
            stored.pop("replaced", None)
            return {
                **stored,
                **told,
                "workspace": workspace.url,  # it may have been copied or moved
                "seconds": round(time.perf_counter() - started, 3),
                "reused": True,
                "tiles_written": 0,
            }
    events, processes = EventLog(with_spans(on_event)), ProcessGroups()
    with (
        storage_errors(workspace.url),
        WorkspaceLock(workspace, run_id, told_as_events(on_event)) as lock,
        _kept(events, workspace, run_id, made_with := provenance(config)),
        MemorySampler(
            processes.groups(),
            elsewhere=lambda: processes.elsewhere(),
            tell=lambda sizes: events.later(MemorySample(host=gethostname(), **asdict(sizes))),
        ) as memory,
    ):
        events.check = lock.check
        for one in mended:
            events(Message(stage=Stage.REPAIR, message=f"mended: {one.problem}"))
        for path, i, j in take_out_damage(workspace, _models_of(workspace, run_id)):
            events(BadTile(stage=Stage.REPAIR, array=path, i=i, j=j))
        this = job(config, workspace, events, processes, lock.epoch, run_id)
        lock.kept = this.kept
        # one Ray for both engines; within it the embedding actors end before Dask's workers are placed
        with this.ray() if config.compute.cluster == "ray" else contextlib.nullcontext():
            if not job.measures:  # what is ingested now is without them
                refuse_forgotten(workspace, wanted.dataset, "the data of this run")
            try:
                result = this.execute(wanted, inputs, until)
            except KeyboardInterrupt as error:
                error.add_note(str(this.kept))
                raise
        memory.sample()
        result.facts = _facts(this, made_with, started, memory)
        document = result.document()
        workspace.write_doc(layout.result(run_id), document)
    for tell in FINISHED:
        tell(workspace.url, run_id)
    return document


def _step(job: type[Job], workspace: Workspace, wanted: Source, until: str | None) -> str | None:
    """Name the last stage of a run, and the change of an inverse that it makes or measures."""
    if job.made_by in ("update", "forget"):
        return f"{until}, {'change' if job.takes_updates else 'solve'} of {wanted.model}"
    change = changed_by(read_model(workspace, wanted.model)) if job.measures and wanted.model else None
    return until if change is None else f"{until}, {change}"


def shows_no_damage(workspace: Workspace, run_id: str) -> bool:
    """Tell whether no damage is known, and nothing that completed stages made is lost."""
    return not noted_damage(workspace) and not find_lost(workspace, _models_of(workspace, run_id))


def _models_of(workspace: Workspace, run_id: str) -> tuple[str]:
    """Return the key of the document of the model that a run must find whole: its own, else the current."""
    own = layout.fitted_model(run_id)
    return (own if workspace.read_doc(own) is not None else layout.CURRENT_MODEL,)


def _facts(job: Job, made_with: Mapping[str, Any], started: float, memory: MemorySampler) -> RunFacts:
    """Note what a job that has ended was made with and took."""
    kept = job.events.kept
    return RunFacts(
        **made_with,
        workspace=job.workspace.url,
        run=job.run_id,
        seconds=round(time.perf_counter() - started, 3),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        peak_memory_bytes=asdict(memory.peak),
        tiles_written=sum(isinstance(event, TileDone) and not event.skipped for event in kept),
    )


def _told_again(
    job: type[Job],
    workspace: Workspace,
    run_id: str,
    result: ResultDocument,
    name: str | None,
    on_event: OnEvent | None,
) -> dict[str, object] | None:
    """Make the model of a complete run the current one, and tell so; None when it must be repeated.

    Parameters
    ----------
    job, workspace, run_id, result
        The run.
    name
        Name that the model is to have, or has where it is measured.
    on_event
        Told of the model that is replaced.
    """
    if "certificate" not in result:  # it ended before a model
        return {}
    model = model_of_run(workspace, run_id)
    if model is None or not has_records(workspace, model) or workspace.read_doc(layout.LAST_RUN) is None:
        return None
    if job.measures:
        return {"model": read_model(workspace, name).summary()}
    current = answers_already(workspace, model, name)
    if current is not None:
        return {"model": current.model.summary()}
    with WorkspaceLock(workspace, run_id, told_as_events(on_event)):
        current = keep_model(workspace, model, name)
        go_on_with(workspace, current.model)
    if current.replaced is not None and on_event is not None:
        on_event(Message(message=current.replaced.message))
    return current.told()


def _check_name(workspace: Workspace, name: str | None, dataset: str, specs: Specs) -> None:
    """Refuse a name that stands for a model which this run cannot make, before it computes anything."""
    if name is None:
        return
    made = [(dataset, spec.name, spec.params()) for spec in specs]
    for one in known_models(workspace):
        if one.label.lower() == name.lower() and (one.dataset, one.name, one.params) not in made:
            raise name_is_taken(one)


def provenance(config: RunConfig) -> dict[str, Any]:
    """Describe what a result is made with: configuration without secrets, versions, this machine."""
    return {
        "config": without_secrets(config.model_dump(mode="json")),
        "versions": versions(),
        "machine": machine(),
    }


@contextlib.contextmanager
def _kept(
    events: EventLog, workspace: Workspace, run_id: str, made_with: Mapping[str, Any]
) -> Iterator[None]:
    """Keep the events in the workspace: segments while the run goes on, all of them when it ends or fails."""
    store = EventStore(workspace, run_id)
    events.name = store.name

    def append(new: list[Event]) -> None:
        with contextlib.suppress(OSError):  # written once more at the end; the store may be what fails
            store.append(new)

    end = events.follow(append, store.seconds)
    events(RunStart(run=run_id, workspace=workspace.url, **made_with))
    try:
        yield
    except BaseException as error:
        events.later(RunEnd(run=run_id, outcome=f"failed: {type(error).__name__}"))
        with contextlib.suppress(Exception):  # who is told, or the store, may be what failed
            end()
        with contextlib.suppress(OSError):
            store.finish(events.kept)
        raise
    events.later(RunEnd(run=run_id, outcome="finished"))
    end()
    store.finish(events.kept)
