"""Runs: what is wanted, whether it is there, and else a job under the lock."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from socket import gethostname
from typing import Any

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.words import words_id
from l3ae_dist.embed.transform import transformed_id
from l3ae_dist.errors import ConfigError
from l3ae_dist.pipeline.inputs import Inputs
from l3ae_dist.pipeline.job import Job
from l3ae_dist.pipeline.model_document import (
    config_of_model,
    model_of_run,
    raw_embeddings,
    read_model,
    write_model,
)
from l3ae_dist.pipeline.search import Specs
from l3ae_dist.runtime.event_log import EventLog
from l3ae_dist.runtime.event_store import EventStore
from l3ae_dist.runtime.events import BadTile, Event, MemorySample, OnEvent, RunEnd, RunStart, TileDone
from l3ae_dist.runtime.memory import MemorySampler, ProcessGroups
from l3ae_dist.runtime.versions import machine, versions
from l3ae_dist.storage import layout
from l3ae_dist.storage.credentials import without_secrets
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.local_blobs import storage_errors
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.open_blobs import open_blobs
from l3ae_dist.storage.repair import noted_damage, take_out_damage
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


def run(
    config: RunConfig,
    *,
    interactions: object = None,
    items: object = None,
    embeddings: object = None,
    source: Mapping[str, Any] | None = None,
    on_event: OnEvent | None = None,
    until: str | None = None,
) -> dict[str, Any]:
    """Run every stage that is missing or stale.

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
    """
    inputs = Inputs(interactions, items, embeddings)
    return run_job(Job, config, inputs, source=source, until=until, on_event=on_event)


def run_job(
    job: type[Job],
    config: RunConfig,
    inputs: Inputs,
    *,
    source: Mapping[str, Any] | None = None,
    until: str | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, Any]:
    """Run a job under the workspace's lock, or return its result when it is complete.

    Parameters
    ----------
    job
        Which stages: :class:`Job` or a subclass with another last stage.
    config, inputs
        What to run, and its sources; those of the configuration are used where ``inputs`` has None.
    source, until, on_event
        As :func:`run` takes them.

    Returns
    -------
    The result, as :func:`run` returns it.
    """
    started = time.perf_counter()
    inputs = inputs.or_configured(config)
    workspace = _workspace(config, inputs, source)
    dataset, embedding = _identify(config, inputs, workspace, source)
    run_id = _run_id(config, dataset, embedding, until, job.models(config))
    found = workspace.read_doc(layout.result(run_id))
    if found is not None and not noted_damage(workspace) and _is_current(workspace, run_id, found):
        seconds = round(time.perf_counter() - started, 3)
        return {**found, "seconds": seconds, "reused": True, "tiles_written": 0}
    events, processes = EventLog(on_event), ProcessGroups()
    with (
        storage_errors(workspace.url),
        WorkspaceLock(workspace, run_id) as lock,
        _kept(events, workspace, run_id, told := provenance(config)),
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
            data = (dataset, inputs.interactions, inputs.items)
            result = this.execute(data, (embedding, inputs.embeddings), until)
        memory.sample()
        result |= {
            **told,
            "workspace": workspace.url,
            "run": run_id,
            "seconds": round(time.perf_counter() - started, 3),
            "reused": False,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "peak_memory_bytes": asdict(memory.peak),
            "tiles_written": sum(isinstance(e, TileDone) and not e.skipped for e in events.kept),
        }
        workspace.write_doc(layout.result(run_id), result)
    return result


def evaluate_workspace(config: RunConfig, *, on_event: OnEvent | None = None) -> dict[str, Any]:
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
    own = {"dtype": document["dtype"], "semantic_route": document["route"]}
    compute = {**own, **config.compute.model_dump(exclude_unset=True)}
    fitted = config_of_model(workspace, document, compute=compute, evaluate=config.evaluate)
    if config.grid or ("model" in config.model_fields_set and config.model.spec() != fitted.model.spec()):
        raise ConfigError(
            f"evaluate measures the fitted model of {workspace.url}, which is {document['name']} with "
            f"{document['params']}; use `l3ae-dist run` to fit and measure another."
        )
    dataset = Dataset(workspace, document["dataset"])
    if not dataset.nnz("valid") and not dataset.nnz("test"):
        raise ConfigError(
            f"{workspace.url} was fitted on every interaction, so nothing is held out to measure it on; "
            f"fit with data.options.split random instead of {dataset.options['split']}."
        )
    embedding = raw_embeddings(workspace, document["embedding"])
    return run(fitted, source={"dataset": document["dataset"], "embedding": embedding}, on_event=on_event)


def _workspace(config: RunConfig, inputs: Inputs, source: Mapping[str, Any] | None) -> Workspace:
    """The workspace; only a run with interactions may make one."""
    durable = config.compute.durable
    if inputs.interactions is not None and source is None:
        _dataset_id(config, inputs)  # what cannot be read leaves no workspace behind
        return Workspace.create(config.workspace, durable=durable)
    if open_blobs(config.workspace).get("zarr.json") is None:
        raise ConfigError(
            f"no interactions are given, and there is no workspace at {config.workspace} to go on with; "
            "set data.interactions to a path or URL, or correct the workspace."
        )
    workspace = Workspace.open(config.workspace, durable=durable)
    if source is None:
        _refuse_other_data(config, inputs, workspace)
    return workspace


def _refuse_other_data(config: RunConfig, inputs: Inputs, workspace: Workspace) -> None:
    """A run without interactions goes on with the workspace's data, and cannot change them."""
    last = workspace.read_doc(layout.LAST_RUN)
    if last is None:
        raise ConfigError("no interactions are given; set data.interactions to a path or URL.")
    options = config.data.options.model_dump(mode="json", exclude_unset=True)
    recorded = Dataset(workspace, last["dataset"]).options
    changed = [f"data.options.{name}" for name, value in options.items() if recorded.get(name) != value]
    if inputs.items is not None:
        changed.append("data.items")
    if changed:
        raise ConfigError(
            f"{', '.join(changed)} would change the data of {workspace.url}, but data.interactions is not "
            "given; give all of the data, or none to go on with those of the workspace."
        )


def _dataset_id(config: RunConfig, inputs: Inputs) -> str:
    from l3ae_dist.data.ingest import dataset_id

    return dataset_id(inputs.interactions, inputs.items, config.data.options)


def _identify(
    config: RunConfig, inputs: Inputs, workspace: Workspace, source: Mapping[str, Any] | None
) -> tuple[str, str | None]:
    """Ids of the dataset and of the embeddings or words, as they are or will be in the workspace."""
    last = source or (workspace.read_doc(layout.LAST_RUN) if inputs.interactions is None else None)
    dataset = _dataset_id(config, inputs) if last is None else str(last["dataset"])
    if config.model.uses is None:
        return dataset, None
    if config.model.uses == "words":
        return dataset, words_id(dataset, config.words)
    asked = source is None and (inputs.embeddings is not None or "encoder" in config.model_fields_set)
    known = None if last is None or asked else last["embedding"]
    if known:
        return dataset, str(known)
    from l3ae_dist.embed.imports import import_id
    from l3ae_dist.embed.run import embedding_id

    catalog = _catalog_id(config, inputs) if last is None else Dataset(workspace, dataset).catalog
    if inputs.embeddings is None:
        return dataset, embedding_id(catalog, config.encoder)
    return dataset, import_id(inputs.embeddings, catalog)


def _catalog_id(config: RunConfig, inputs: Inputs) -> str:
    from l3ae_dist.data.ingest import catalog_id

    return catalog_id(inputs.interactions, inputs.items, config.data.options)


def _run_id(config: RunConfig, dataset: str, embedding: str | None, until: str | None, specs: Specs) -> str:
    compute = config.compute
    parts = {
        "dataset": dataset,
        "embedding": embedding and transformed_id(embedding, config.transform),
        "specs": [asdict(spec) for spec in specs],
        "evaluate": config.evaluate.model_dump(exclude={"beside"}),  # it is in the models
        "compute": [
            *(compute.dtype, compute.tile_size, compute.memory_budget, compute.workers),
            *(compute.semantic_route, compute.keep, compute.device, compute.threads),
        ],
        "until": until,
    }
    return fingerprint(parts)


def _is_current(workspace: Workspace, run_id: str, result: Mapping[str, Any]) -> bool:
    """Whether a complete run need not be repeated; its model is made the current one."""
    if "certificate" not in result:  # it ended before a model
        return True
    document = model_of_run(workspace, run_id)
    if document is None:
        return False
    if workspace.read_doc(layout.CURRENT_MODEL) != document:
        with WorkspaceLock(workspace, run_id):
            write_model(workspace, document)
    return True


def provenance(config: RunConfig) -> dict[str, Any]:
    """What a result was made with: the configuration without secrets, the versions, this machine."""
    return {
        "config": without_secrets(config.model_dump(mode="json")),
        "versions": versions(),
        "machine": machine(),
    }


@contextlib.contextmanager
def _kept(events: EventLog, workspace: Workspace, run_id: str, told: Mapping[str, Any]) -> Any:
    """Keep the events in the workspace: segments while the run goes on, all of them when it ends or fails."""
    store = EventStore(workspace, run_id)
    events.name = store.name

    def append(new: list[Event]) -> None:
        with contextlib.suppress(OSError):  # written once more at the end; the store may be what fails
            store.append(new)

    end = events.follow(append, store.seconds)
    events(RunStart(run=run_id, workspace=workspace.url, **told))
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
