"""Embeddings of a catalog that has grown: those that are there, and the rows of the new items below them."""

import numpy as np

from l3ae_dist.data.columns import write_column
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.embed.encoder_identity import recorded_encoder
from l3ae_dist.embed.imports import import_embeddings, import_id
from l3ae_dist.embed.run import embed_items, embedding_id
from l3ae_dist.embed.value_range import ValueRange
from l3ae_dist.errors import DataError
from l3ae_dist.runtime.events import OnEvent
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.rows import read_rows
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


def extended(
    before: str, dataset: Dataset, embeddings: object, *, trust_remote_code: bool, on_event: OnEvent
) -> str:
    """Make the embeddings of a larger catalog: new texts alone are embedded, or their rows imported.

    Parameters
    ----------
    before
        Id of those of the catalog as it was.
    dataset
        With the larger catalog.
    embeddings
        Rows that are given for the new items.
    trust_remote_code
        Let code of the encoder run.
    on_event
        Called with every event.

    Raises
    ------
    DataError, ConfigError
        Where they cannot be made.
    """
    record = dataset.workspace.require_stage(Stage.EMBED, before)
    if record.params.get("imported"):
        return _extend_imported(before, dataset, embeddings)
    encoder = recorded_encoder(record.params, trust_remote_code=trust_remote_code)
    identifier = embedding_id(dataset.catalog, encoder)
    embed_items(dataset, encoder, identifier, parent=before, on_event=on_event)
    return identifier


def _extend_imported(before: str, dataset: Dataset, embeddings: object) -> str:
    """Put the rows of new items below those that were imported before."""
    workspace = dataset.workspace
    record = workspace.require_stage(Stage.EMBED, before)
    if workspace.stage_held(Stage.EMBED, before) is None:
        raise DataError(
            "this copy of a model was saved without its embeddings from before their transformation, which "
            "those of new items are put below; append in the workspace that it was saved from, "
            "or fit a model here."
        )
    known = ChunkArray.open(workspace, layout.embeddings(before))
    catalog, rows = _new_items(dataset, known.shape[0]), None
    try:
        if embeddings is None:
            raise DataError(
                f"the model's embeddings were given, and those of {catalog.n_items} new item(s) are missing; "
                "give their rows as embeddings."
            )
        identifier = fingerprint(["extended", before, import_id(embeddings, dataset.catalog)])
        if workspace.stage_done(Stage.EMBED, identifier) is not None:
            return identifier
        rows = import_id(embeddings, catalog.catalog)
        import_embeddings(embeddings, catalog, rows)
        _join(known, ChunkArray.open(workspace, layout.embeddings(rows)), layout.embeddings(identifier))
        values = ValueRange.joined(record.stats, workspace.require_stage(Stage.EMBED, rows).stats)
        counts = {"rows": dataset.n_items, "embedded": catalog.n_items, "parent": before}
        stats = {**record.stats, **counts, **values.record()}
        workspace.mark_stage(Stage.EMBED, identifier, record.params, stats)
    finally:
        delete_made(workspace, Stage.INGEST, catalog.id)
        if rows is not None:
            delete_made(workspace, Stage.EMBED, rows)
    return identifier


def delete_made(workspace: Workspace, stage: Stage, identifier: str) -> None:
    """Delete what a stage made under an id, its completion record first.

    Parameters
    ----------
    workspace, stage, identifier
        Where, and which.
    """
    workspace.reopen_stage(stage, identifier)
    for path in layout.made_by(stage, identifier):
        workspace.delete(path)


def _new_items(dataset: Dataset, first: int) -> Dataset:
    """The items from row ``first`` on as a catalog of their own, as embedding takes it."""
    workspace, identifier = dataset.workspace, fingerprint(["new items", dataset.id])
    paths = layout.DatasetPaths(identifier)
    write_column(workspace, paths.item_ids, dataset.item_ids(first))
    whole = dataset.stats
    stats = DatasetStats(
        n_users=0,
        n_items=dataset.n_items - first,
        has_text=whole.has_text,
        no_text=whole.no_text,
        catalog=identifier,
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
