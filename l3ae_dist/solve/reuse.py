"""Gram tiles of an appended dataset that are those of its parent: taken over, not computed.

A chunk is verified, linked (copied on object storage) and gets a done-mark of its own, so that the stage
which makes the Gram matrix finds it finished. Nothing is ever written into a chunk, so a link is safe.
"""

from dataclasses import replace

import numpy as np

from l3ae_dist.config.data import WordsConfig
from l3ae_dist.data.changes import touched_tiles
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.linear_systems import System, gram_name
from l3ae_dist.data.multi_hot_words import words_id
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.runtime.events import Message, OnEvent
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


def reuse_tiles(
    dataset: Dataset, system: System, target: ChunkArray, plan_dtype: str, epoch: int, on_event: OnEvent
) -> int:
    """Take over every lower tile of G that is the same for the dataset's parent.

    Parameters
    ----------
    dataset, system
        Which G.
    target
        Its array, whose finished tiles are left alone.
    plan_dtype
        Dtype of the solve.
    epoch
        The lock's epoch, kept in the done-marks.
    on_event
        Told what is reused, or why nothing is.

    Returns
    -------
    How many tiles of ``target`` are the parent's.
    """
    workspace, parent_id = dataset.workspace, dataset.stats.parent
    if parent_id is None or workspace.stage_done(Stage.INGEST, parent_id) is None:
        return 0
    parent, tile = Dataset(workspace, parent_id), target.chunks[0]
    before = _system_before(parent, dataset, system)
    reason = "the item features changed" if before is None else None
    if before is not None:
        name, dtype = gram_name(parent, before, tile, plan_dtype)
        source = layout.gram(name)
        if dtype != target.dtype:
            reason = f"its exact entries need {target.dtype} where {dtype} was enough"
        elif not workspace.has(source):
            reason = f"the dataset appended to has none in tiles of {tile}"
    if reason is not None:
        on_event(Message(message=f"all tiles of the Gram matrix are computed: {reason}"))
        return 0
    touched = np.zeros((target.grid[0],) * 2, bool)
    if system.interactions:
        touched = touched_tiles(
            parent, dataset, TileGrid(dataset.n_items, tile), whole_histories=system.beta != 0
        )
    if system.features is not None and dataset.n_items > parent.n_items:
        touched[:, parent.n_items // tile :] = touched[parent.n_items // tile :] = True
    count = _adopt(ChunkArray.open(workspace, source), target, touched, epoch)
    total = target.grid[0] * (target.grid[0] + 1) // 2
    message = f"{count} of {total} tiles of the Gram matrix are those of the dataset appended to"
    on_event(Message(message=message))
    return count


def _adopt(source: ChunkArray, target: ChunkArray, touched: np.ndarray, epoch: int) -> int:
    finished, buffer, count = target.done(), source.buffer(), 0
    for i, j in sorted(source.marked()):
        if not touched[i, j]:
            count += (i, j) in finished or target.adopt(source, i, j, buffer, epoch=epoch)
    return count


def _system_before(parent: Dataset, dataset: Dataset, system: System) -> System | None:
    """Return the same system of the parent, or None when the features of its items are not the same."""
    if system.features is None:
        return system
    features = _features_before(dataset.workspace, parent, dataset, system.features)
    return None if features is None else replace(system, features=features)


def _features_before(workspace: Workspace, parent: Dataset, dataset: Dataset, features: str) -> str | None:
    grown = dataset.n_items > parent.n_items
    if layout.are_words(features):
        # the words of a larger catalog are other words
        options = WordsConfig(**workspace.require_stage(Stage.WORDS, features).params)
        return None if grown else words_id(parent.id, options)
    if not grown:
        return features
    found: str | None = workspace.require_stage(Stage.EMBED, features).stats.get("parent")
    return found
