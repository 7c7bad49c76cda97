"""Rows of embeddings in the order of a dataset whose core comes first."""

import numpy as np

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

_FROM = "in_catalog_order"


def ordered_id(source: str, dataset: str) -> str:
    """Return the id of embeddings in the order of a dataset, by its id."""
    return fingerprint(["core first", source, dataset])


def order_embeddings(source: str, dataset: Dataset) -> str:
    """Store the rows of embeddings in the order of a dataset, and return the id of the ordered ones.

    They keep the record of how they were made, so that texts of new items are embedded likewise.
    """
    workspace, identifier = dataset.workspace, ordered_id(source, dataset.id)
    if workspace.stage_held(Stage.EMBED, identifier) is not None:
        return identifier
    record = workspace.require_stage(Stage.EMBED, source)
    rows = ChunkArray.open(workspace, layout.embeddings(source))
    ordered = ChunkArray.create(
        workspace, layout.embeddings(identifier), shape=rows.shape, chunks=rows.chunks, dtype=rows.dtype
    )
    for i in range(ordered.grid[0]):
        ordered.write(i, 0, _gathered(rows, dataset.order[ordered.row_range(i)]), anew=True)
    workspace.mark_stage(Stage.EMBED, identifier, record.params, {**record.stats, _FROM: source})
    return identifier


def in_catalog_order(workspace: Workspace, embedding: str | None) -> str | None:
    """Return the id of the embeddings in catalog order that some were made from; their own where they are."""
    record = None if embedding is None else workspace.stage_done(Stage.EMBED, embedding)
    return embedding if record is None else str(record.stats.get(_FROM, embedding))


def _gathered(rows: ChunkArray, wanted: Array) -> Array:
    """Read rows in any order, each chunk that holds some of them once."""
    out = np.empty((len(wanted), rows.shape[1]), rows.dtype)
    chunks = wanted // rows.chunks[0]
    for chunk in np.unique(chunks).tolist():
        here = chunks == chunk
        out[here] = rows.read(chunk, 0)[wanted[here] - chunk * rows.chunks[0]]
    return out
