"""New interactions for a fitted model: what they touch is made again, the rest is taken over.

The new dataset names its parent. Gram tiles that no new interaction touches are the parent's
(:mod:`l3ae_dist.solve.reuse`), item embeddings are kept and only those of new items are made; the system is
then factored again, with the parameters of the model. The result is a fit of all interactions from scratch.
"""

import time
from collections.abc import Mapping

import numpy as np

from l3ae_dist.config.embedding import EncoderConfig
from l3ae_dist.data.append import append_interactions, appended_before, log_id
from l3ae_dist.data.columns import write_column
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.embed.imports import import_embeddings, import_id
from l3ae_dist.embed.run import embed_items, embedding_id
from l3ae_dist.errors import DataError
from l3ae_dist.pipeline.inputs import Inputs, Source
from l3ae_dist.pipeline.job import Job
from l3ae_dist.pipeline.model_document import ModelDocument, config_of_model, raw_embeddings, read_model
from l3ae_dist.pipeline.result import ResultDocument
from l3ae_dist.pipeline.run import run_job
from l3ae_dist.runtime.events import OnEvent, ignore
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.local_blobs import storage_errors
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.rows import read_rows
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
    on_event: OnEvent | None = None,
) -> ResultDocument:
    """Add interactions to the data of a workspace's model and fit the model again.

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
        For an unknown option.
    WorkspaceLockedError
        While another run writes to the workspace.
    StageMissingError
        Without a fitted model.

    Notes
    -----
    Cost: O(nnz) for the new dataset, the products of the touched tiles, and one factorisation.
    """
    started = time.perf_counter()
    opened = Workspace.open(workspace)
    document = read_model(opened)
    if appended_before(opened, document.dataset, log_id(interactions, items)):
        result = opened.read_doc(layout.result(document.run)) or {"workspace": opened.url}
        result |= {"reused": True, "tiles_written": 0, "seconds": round(time.perf_counter() - started, 3)}
        return result | {"append": _report(opened, document) | {"already": True}}
    parent = Dataset(opened, document.dataset)
    config = config_of_model(opened, document, options=options, compute=compute)
    with storage_errors(opened.url), WorkspaceLock(opened, f"append to {parent.id}") as lock:
        dataset = Dataset(opened, append_interactions(parent, interactions, items, config.data.options))
        lock.check()
        embedding = raw_embeddings(opened, document.embedding)
        if embedding is not None and dataset.n_items > parent.n_items:
            embedding = _extend(embedding, dataset, config.encoder, embeddings, on_event)
    source = Source(dataset.id, embedding)
    result = run_job(Job, config, Inputs(), source=source, until="fit", on_event=on_event)
    document = read_model(opened)
    report = _report(opened, document) | {"already": False}
    return result | {"append": report, "seconds": round(time.perf_counter() - started, 3)}


def _report(workspace: Workspace, document: ModelDocument) -> dict[str, object]:
    """Count what the model's dataset has more than its parent, and its Gram tiles."""
    stats = workspace.require_stage(Stage.INGEST, document.dataset).stats
    report = {"dataset": document.dataset, "parent": stats.get("parent"), **stats.get("appended", {})}
    gram = document.arrays["gram"]
    record = None if gram is None else workspace.stage_done(Stage.GRAM, layout.identifier_of(gram))
    tiles = 0 if record is None else int(record.stats["tasks"])
    reused = 0 if record is None else int(record.params.get("parent_tiles", 0))
    return report | {"gram_tiles": tiles, "gram_tiles_computed": tiles - reused}


def _extend(
    before: str, dataset: Dataset, encoder: EncoderConfig, embeddings: object, on_event: OnEvent | None
) -> str:
    """The rows that are there and those of the new items, which alone are embedded or imported."""
    workspace = dataset.workspace
    record = workspace.require_stage(Stage.EMBED, before)
    known = ChunkArray.open(workspace, layout.embeddings(before))
    catalog, rows = _new_items(dataset, known.shape[0]), None
    try:
        if not record.params.get("imported"):
            identifier = embedding_id(dataset.catalog, encoder)
            new = embedding_id(catalog.catalog, encoder)
            embed_items(catalog, encoder, new, on_event=on_event or ignore)
            rows = new
        elif embeddings is None:
            raise DataError(
                f"the model's embeddings were given, and those of {catalog.n_items} new item(s) are missing; "
                "give their rows as embeddings."
            )
        else:
            identifier = import_id(embeddings, dataset.catalog)
            new = import_id(embeddings, catalog.catalog)
            import_embeddings(embeddings, catalog, new)
            rows = new
        _join(known, ChunkArray.open(workspace, layout.embeddings(rows)), layout.embeddings(identifier))
        stats = {**record.stats, "rows": dataset.n_items, "embedded": catalog.n_items, "parent": before}
        workspace.mark_stage(Stage.EMBED, identifier, record.params, stats)
    except DataError:
        _delete(workspace, Stage.INGEST, dataset.id)
        raise
    finally:
        _delete(workspace, Stage.INGEST, catalog.id)
        if rows is not None:
            _delete(workspace, Stage.EMBED, rows)
    return identifier


def _delete(workspace: Workspace, stage: Stage, identifier: str) -> None:
    """Delete what a stage made under an id, its completion record first."""
    workspace.reopen_stage(stage, identifier)
    for path in layout.made_by(stage, identifier):
        workspace.delete(path)


def _new_items(dataset: Dataset, first: int) -> Dataset:
    """The items from row ``first`` on as a catalog of their own, as embedding takes it."""
    workspace, identifier = dataset.workspace, fingerprint(["new items", dataset.id])
    paths = layout.DatasetPaths(identifier)
    write_column(workspace, paths.item_ids, dataset.item_ids(first))
    write_column(workspace, paths.texts, np.array(dataset.texts(first), object))
    whole = dataset.stats
    stats = DatasetStats(
        n_users=0, n_items=dataset.n_items - first, has_text=whole.has_text, no_text=whole.no_text
    )
    workspace.mark_stage(Stage.INGEST, identifier, {}, stats.record())
    return Dataset(workspace, identifier)


def _join(known: ChunkArray, new: ChunkArray, path: str) -> None:
    """Rows of two arrays one below the other, in the chunks of the first, whose full ones are taken over."""
    if known.shape[1] != new.shape[1]:
        raise DataError(
            f"the embeddings of the new items have {new.shape[1]} dimensions and those there have "
            f"{known.shape[1]}; embed them with the same model."
        )
    n, (rows, d) = known.shape[0], known.chunks
    joined = ChunkArray.create(
        known.workspace, path, shape=(n + new.shape[0], d), chunks=(rows, d), dtype=known.dtype
    )
    buffer = known.buffer()
    for chunk in range(joined.grid[0]):
        part = joined.row_range(chunk)
        if part.stop <= n and joined.adopt(known, chunk, 0, buffer):
            continue
        old = read_rows(known, part.start, min(part.stop, n)) if part.start < n else None
        more = read_rows(new, max(part.start, n) - n, part.stop - n) if part.stop > n else None
        joined.write(chunk, 0, np.concatenate([block for block in (old, more) if block is not None]))
