"""Runs: what is wanted, whether it is there, and else a job under the lock."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from socket import gethostname
from typing import Any

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import ConfigError
from l3ae_dist.pipeline.identity import identify, open_workspace, run_identifier
from l3ae_dist.pipeline.inputs import Inputs, Source, Until, checked_until
from l3ae_dist.pipeline.job import Job
from l3ae_dist.pipeline.model_document import (
    config_of_model,
    is_current,
    model_of_run,
    raw_embeddings,
    read_model,
    write_model,
)
from l3ae_dist.pipeline.result import ResultDocument, RunFacts
from l3ae_dist.runtime.event_log import EventLog
from l3ae_dist.runtime.event_store import EventStore
from l3ae_dist.runtime.events import BadTile, Event, MemorySample, OnEvent, RunEnd, RunStart, TileDone
from l3ae_dist.runtime.memory import MemorySampler, ProcessGroups
from l3ae_dist.runtime.versions import machine, versions
from l3ae_dist.storage import layout
from l3ae_dist.storage.credentials import without_secrets
from l3ae_dist.storage.local_blobs import storage_errors
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.repair import noted_damage, take_out_damage
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


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
    inputs = Inputs(interactions, items, embeddings)
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
    started = time.perf_counter()
    inputs = inputs.or_configured(config)
    workspace = open_workspace(config, inputs, source)
    wanted = identify(config, inputs, workspace, source)
    run_id = run_identifier(config, wanted, until, job.models(config))
    stored = workspace.read_doc(layout.result(run_id))
    if stored is not None and not noted_damage(workspace) and _is_current(workspace, run_id, stored):
        return {**stored, "seconds": _since(started), "reused": True, "tiles_written": 0}
    events, processes = EventLog(on_event), ProcessGroups()
    with (
        storage_errors(workspace.url),
        WorkspaceLock(workspace, run_id) as lock,
        _kept(events, workspace, run_id, made_with := provenance(config)),
        MemorySampler(
            processes.groups(),
            elsewhere=lambda: processes.elsewhere(),
            tell=lambda sizes: events.later(MemorySample(host=gethostname(), **asdict(sizes))),
        ) as memory,
    ):
        events.check = lock.check
        for path, i, j in take_out_damage(workspace):
            events(BadTile(stage=Stage.REPAIR, array=path, i=i, j=j))
        this = job(config, workspace, events, processes, lock.epoch, run_id)
        # one Ray for both engines; within it the embedding actors end before Dask's workers are placed
        with this.ray() if config.compute.cluster == "ray" else contextlib.nullcontext():
            result = this.execute(wanted, inputs, until)
        memory.sample()
        result.facts = _facts(this, made_with, started, memory)
        document = result.document()
        workspace.write_doc(layout.result(run_id), document)
    return document


def _facts(job: Job, made_with: Mapping[str, Any], started: float, memory: MemorySampler) -> RunFacts:
    """Note what a job that has ended was made with and took."""
    kept = job.events.kept
    return RunFacts(
        **made_with,
        workspace=job.workspace.url,
        run=job.run_id,
        seconds=_since(started),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        peak_memory_bytes=asdict(memory.peak),
        tiles_written=sum(isinstance(event, TileDone) and not event.skipped for event in kept),
    )


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


def evaluate_workspace(config: RunConfig, *, on_event: OnEvent | None = None) -> ResultDocument:
    """Measure the fitted model of a workspace, beside EASE at its ridge, on the validation and test splits.

    With interactions in the configuration it is :func:`run`.

    Raises
    ------
    StageMissingError
        When the workspace holds no model.
    ConfigError
        When the configuration names another model, or nothing is held out.
    """
    if config.data.interactions is not None:
        return run(config, on_event=on_event)
    workspace = Workspace.open(config.workspace)
    document = read_model(workspace)
    own = {"dtype": document.dtype, "semantic_route": document.route}
    compute = {**own, **config.compute.model_dump(exclude_unset=True)}
    fitted = config_of_model(workspace, document, compute=compute, evaluate=config.evaluate)
    if config.grid or ("model" in config.model_fields_set and config.model.spec() != fitted.model.spec()):
        raise ConfigError(
            f"evaluate measures the fitted model of {workspace.url}, which is {document.name} with "
            f"{document.params}; use `l3ae-dist run` to fit and measure another."
        )
    dataset = Dataset(workspace, document.dataset)
    if not dataset.nnz("valid") and not dataset.nnz("test"):
        raise ConfigError(
            f"{workspace.url} was fitted on every interaction, so nothing is held out to measure it on; "
            f"fit with data.options.split random instead of {dataset.options['split']}."
        )
    embedding = raw_embeddings(workspace, document.embedding)
    return run_job(Job, fitted, Inputs(), source=Source(document.dataset, embedding), on_event=on_event)


def _is_current(workspace: Workspace, run_id: str, result: ResultDocument) -> bool:
    """Tell whether a complete run need not be repeated; its model is made the current one."""
    if "certificate" not in result:  # it ended before a model
        return True
    document = model_of_run(workspace, run_id)
    if document is None:
        return False
    if not is_current(workspace, document):
        with WorkspaceLock(workspace, run_id):
            write_model(workspace, document)
    return True


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
