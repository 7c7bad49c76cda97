"""New interactions for a fitted model: what they touch is made again, the rest is taken over.

The new dataset names its parent. Gram tiles that no new interaction touches are the parent's
(:mod:`l3ae_dist.solve.reuse`), item embeddings are kept and only those of new items are made; the system is
then factored again, with the parameters of the model. The result is a fit of all interactions from scratch.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.append import append_interactions
from l3ae_dist.data.appended_logs import appended_before, appended_id, log_id
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.intake.objects import kept
from l3ae_dist.data.items_table import items_table
from l3ae_dist.embed.stored_transform import kept_transform
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.pipeline.erasure import erase_when_due
from l3ae_dist.pipeline.extended_embeddings import delete_made, extended
from l3ae_dist.pipeline.ingest_place import in_this_process
from l3ae_dist.pipeline.inputs import Inputs, Source
from l3ae_dist.pipeline.job import Job
from l3ae_dist.pipeline.model_document import MadeBy, ModelDocument, config_of_model, raw_embeddings
from l3ae_dist.pipeline.named_models import (
    check_appended_name,
    known_models,
    read_model,
    refuse_forgotten,
    use_model,
)
from l3ae_dist.pipeline.result import ResultDocument
from l3ae_dist.pipeline.run import run_job, shows_no_damage
from l3ae_dist.runtime.event_log import told_as_events
from l3ae_dist.runtime.events import BadTile, OnEvent, ignore
from l3ae_dist.runtime.main_guard import end_if_imported_by_worker
from l3ae_dist.storage import layout
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.os_errors import storage_errors
from l3ae_dist.storage.repair import take_out_damage
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


def append(
    workspace: str,
    interactions: object,
    items: object = None,
    *,
    embeddings: object = None,
    options: Mapping[str, object] | None = None,
    compute: Mapping[str, object] | None = None,
    model: str | None = None,
    name: str | None = None,
    trust_remote_code: bool = False,
    on_event: OnEvent | None = None,
) -> ResultDocument:
    """Add interactions to the data of a workspace's model and fit the model again.

    The new model becomes the current one; the old one is kept under its name.

    Parameters
    ----------
    workspace
        Path or URL; it holds a fitted model.
    interactions
        DataFrame, path or URL with the columns of the log that was fitted. They are trained on, whatever
        the split was; but a pair that is in a user's validation or test split stays there, and new
        interactions of users that the strong split holds out are known at prediction time only. Where
        the log has the split column that the data were ingested with, new pairs follow it.
    items
        Catalog rows of new items (known ones are left as they are); they come last in the item order.
    embeddings
        Rows for the new items, where the model's embeddings were given too.
    options
        Changes to the ingest options, such as column names or ``unknown_items="drop"``.
    compute
        Section of the configuration. The tile size is the model's unless it is given here.
    model
        Name of the model that is appended to; the current one when None.
    name
        Name of the new model; its kind, the date and a number when None.
    trust_remote_code
        Let code of the encoder run for the texts of new items; that the workspace records it is not enough.
    on_event
        Called with every event.

    Returns
    -------
    The result of the fit, with ``append``: what was new, and how many Gram tiles were computed of how many.
    A log that was appended before is not appended again (``already`` is true then).

    Raises
    ------
    DataError
        For data that cannot be used; everything is as it was then.
    ConfigError
        For an unknown option, a model that is not there, a name that stands for another model, an encoder
        whose code was not allowed, or a model of users who were forgotten since.
    WorkspaceLockedError
        While another run writes to the workspace.
    StageMissingError
        Without a fitted model.

    Notes
    -----
    Rows of users who were forgotten are left out. Where the deadline of :func:`l3ae_dist.forget` has come
    they are erased at the end (``forget`` of the result).

    Cost: O(nnz) for the new dataset, the products of the touched tiles, and one factorisation.
    """
    how = Growth(options, compute, model, name, trust_remote_code, on_event)
    return append_named(workspace, Inputs(interactions, items, embeddings), how)


def append_named(workspace: str, new: Inputs, how: "Growth") -> ResultDocument:
    """Append as :func:`append` does, with the new data and the options as one argument each.

    Parameters
    ----------
    workspace
        Path or URL.
    new
        The new log, catalog rows and embeddings.
    how
        Options of :func:`append`.
    """
    result, opened = grown(workspace, new, how), Workspace.open(workspace)
    document = read_model(opened, str(result["model"]["name"]))
    return result | {"append": result["append"] | _gram_tiles(opened, document)}


@dataclass(frozen=True, slots=True)
class Growth:
    """Options of an append, and the job that fits.

    Parameters
    ----------
    options, compute, model, name, trust_remote_code, on_event
        As :func:`append` takes them.
    job
        Fits the model.
    """

    options: Mapping[str, object] | None = None
    compute: Mapping[str, object] | None = None
    model: str | None = None
    name: str | None = None
    trust_remote_code: bool = False
    on_event: OnEvent | None = None
    job: "type[Job] | None" = None


def grown(workspace: str, new: Inputs, how: Growth) -> ResultDocument:
    """Fit a model on its data and new ones; ``append`` of the result says what was new.

    Parameters
    ----------
    workspace
        Path or URL.
    new
        The new log, catalog rows and embeddings.
    how
        Options, and the job that fits.
    """
    started = time.perf_counter()
    end_if_imported_by_worker()
    opened = Workspace.open(workspace)
    target = _base(opened, how, how.model)
    new = target.read_twice(new)
    log = log_id(new.interactions, new.items, target.config.data.options)
    already = appended_before(opened, target.document.dataset, log)
    parent = _begun_again(target, log) if already else None
    if already and parent is None:
        result = _as_before(target)
    else:
        result = _fitted_again(target if parent is None else _base(opened, how, parent), new, log)
    document = read_model(opened, str(result["model"]["name"]))
    result |= {"append": _report(opened, document) | {"already": already}}
    erased = erase_when_due(opened, how.compute, how.on_event)
    if erased is not None:
        result.pop("replaced", None)
        if document.label in erased["models"]:  # it was solved anew
            result |= {"model": read_model(opened).summary()}
        result |= {"forget": erased}
    return result | {"seconds": round(time.perf_counter() - started, 3)}


def _base(workspace: Workspace, how: Growth, label: str | None) -> "_Base":
    """Return the model of a name, checked, with the configuration of the fit that follows."""
    document = read_model(workspace, label)
    _refuse_core(workspace, document)
    refuse_forgotten(workspace, document.dataset, f"the model {document.label}")
    check_appended_name(workspace, how.name, document.label)
    config = config_of_model(
        workspace,
        document,
        options=how.options,
        compute=how.compute,
        trust_remote_code=how.trust_remote_code,
    )
    return _Base(workspace, document, config.model_copy(update={"name": how.name}), how)


@contextlib.contextmanager
def trial_data(
    workspace: str, new: Inputs, how: Growth
) -> Iterator[tuple[ModelDocument, RunConfig, Dataset | None]]:
    """Provide the data that a model would grow to, without features of new items; they are deleted again.

    Parameters
    ----------
    workspace, new, how
        As :func:`grown` takes them.

    Yields
    ------
    The model, the configuration of the fit that would follow, and the data; None for a log that they have.
    """
    end_if_imported_by_worker()
    base = _base(Workspace.open(workspace), how, how.model)
    new, options = base.read_twice(new), base.config.data.options
    with storage_errors(base.workspace.url), base.locked("look ahead"):
        parent = Dataset(base.workspace, base.document.dataset)
        log = log_id(new.interactions, new.items, options)
        if appended_before(base.workspace, parent.id, log):
            yield base.document, base.config, None
            return
        refuse_forgotten(base.workspace, parent.id, f"the model {base.document.label}")
        there = base.workspace.stage_done(Stage.INGEST, appended_id(parent, log, options)) is not None
        execution = in_this_process(base.config.compute)
        made = append_interactions(parent, new.interactions, new.items, options, execution=execution)
        try:
            yield base.document, base.config, Dataset(base.workspace, made)
        finally:
            if not there:
                delete_made(base.workspace, Stage.INGEST, made)


def _refuse_core(workspace: Workspace, document: ModelDocument) -> None:
    """Refuse a model whose core would have to be chosen again."""
    core = Dataset(workspace, document.dataset).stats.core
    if core is not None:
        raise ConfigError(
            f"the model {document.label} was fitted with data.core.min_interactions "
            f"{core.min_interactions:,}, and new interactions would move items into the core; fit again with "
            "`l3ae-dist run` on the whole log, or append to a model without data.core."
        )


class AppendJob(Job):
    """A fit of the data of a model and of what was appended to them."""

    made_by: ClassVar[MadeBy] = "append"


@dataclass(frozen=True, slots=True)
class _Base:
    """A model that is appended to, and the configuration of the fit that follows."""

    workspace: Workspace
    document: ModelDocument
    config: RunConfig
    how: Growth

    @property
    def on_event(self) -> OnEvent | None:
        """Told of every event."""
        return self.how.on_event

    def read_twice(self, new: Inputs) -> Inputs:
        """Return sources that can be read more than once."""
        items = None if new.items is None else kept(items_table(new.items, self.config.data.options))
        return replace(new, interactions=kept(new.interactions), items=items)

    def locked(self, purpose: str) -> WorkspaceLock:
        """Return the lock of the workspace; waiting for it is told."""
        return WorkspaceLock(self.workspace, purpose, told_as_events(self.on_event))


def _as_before(base: _Base) -> ResultDocument:
    """Return the result of the model that has the log already, under the name that is asked for."""
    workspace, document, name = base.workspace, base.document, base.config.name
    result = workspace.read_doc(layout.result(document.run)) or {"workspace": workspace.url}
    result.pop("replaced", None)
    result |= {"workspace": workspace.url, "model": document.summary(), "reused": True, "tiles_written": 0}
    if name in (None, document.label):
        return result
    return result | use_model(workspace.url, document.label, name=name)


def _fitted_again(base: _Base, new: Inputs, log: str) -> ResultDocument:
    """Append the data to those of the model, and fit."""
    with storage_errors(base.workspace.url), base.locked(f"append to {base.document.dataset}") as lock:
        source = _with_new_data(base, new, log, lock)
    job = base.how.job or AppendJob
    return run_job(job, base.config, Inputs(), source=source, until="fit", on_event=base.on_event)


def _with_new_data(base: _Base, new: Inputs, log: str, lock: WorkspaceLock) -> Source:
    """Store the larger dataset and its embeddings; a dataset whose embeddings cannot be made is deleted."""
    workspace, options = base.workspace, base.config.data.options
    parent = Dataset(workspace, base.document.dataset)
    refuse_forgotten(workspace, parent.id, f"the model {base.document.label}")  # now that nobody writes
    identifier = appended_id(parent, log, options)
    there = workspace.stage_done(Stage.INGEST, identifier) is not None
    execution = in_this_process(base.config.compute)
    append_interactions(parent, new.interactions, new.items, options, execution=execution)
    lock.check()
    dataset, embedding = Dataset(workspace, identifier), raw_embeddings(workspace, base.document.embedding)
    try:
        if embedding is not None and dataset.n_items > parent.n_items:
            trusts, told = base.how.trust_remote_code, base.on_event or ignore
            embedding = extended(embedding, dataset, new.embeddings, trust_remote_code=trusts, on_event=told)
    except (ConfigError, DataError):
        if not there:  # else it is another model's
            delete_made(workspace, Stage.INGEST, identifier)
        raise
    kept = kept_transform(workspace, base.document.embedding)
    return Source(dataset.id, embedding, base.document.label, kept)


def _begun_again(model: _Base, log: str) -> str | None:
    """Take damage out where a log was appended before, so that appending it again makes what is lost.

    Returns
    -------
    The name of the model to append the log to again; None where there is no damage, where that model is
    gone, or where more was appended since.
    """
    workspace, document = model.workspace, model.document
    if shows_no_damage(workspace, document.run) or Dataset(workspace, document.dataset).stats.log != log:
        return None
    if all(one.label != document.parent for one in known_models(workspace)):
        return None
    with model.locked("repair"):
        for path, i, j in take_out_damage(workspace, (layout.fitted_model(document.run),)):
            (model.on_event or ignore)(BadTile(stage=Stage.REPAIR, array=path, i=i, j=j))
    return document.parent


def _report(workspace: Workspace, document: ModelDocument) -> dict[str, object]:
    """Count what the model's dataset has more than its parent."""
    stats = workspace.require_stage(Stage.INGEST, document.dataset).stats
    return {"dataset": document.dataset, "parent": stats.get("parent"), **stats.get("appended", {})}


def _gram_tiles(workspace: Workspace, document: ModelDocument) -> dict[str, object]:
    """Count the tiles of the Gram matrix, and those that were not the parent's."""
    gram = document.arrays["gram"]
    record = None if gram is None else workspace.stage_done(Stage.GRAM, layout.identifier_of(gram))
    tiles = 0 if record is None else int(record.stats["tasks"])
    reused = 0 if record is None else int(record.params.get("parent_tiles", 0))
    return {"gram_tiles": tiles, "gram_tiles_computed": tiles - reused}
