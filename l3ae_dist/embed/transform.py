"""Embeddings that are transformed before they are used: the fit of the transformation, and its images.

Rows are streamed in blocks; beside them only d x d arrays are held in float64. What was learnt is stored
(:mod:`l3ae_dist.embed.stored_transform`), so that texts of new items go through it, and an append keeps it.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

import numpy as np

from l3ae_dist.config.embedding import TransformConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.embed.stored_transform import (
    KeptTransform,
    Transformation,
    has_transform,
    read_transform,
    transformed_id,
    write_transform,
)
from l3ae_dist.embed.text_digests import first_of_texts
from l3ae_dist.embed.value_range import ValueRange, refuse_lost_products
from l3ae_dist.errors import ConfigError, DamagedDocumentError, StageMissingError, WorkspaceError
from l3ae_dist.linalg.affine import affine_map
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.whitening import unit_rows, whitening_matrix
from l3ae_dist.runtime.events import Message, OnEvent, ignore
from l3ae_dist.storage import layout
from l3ae_dist.storage.array_sizes import free_bytes
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.rows import read_rows
from l3ae_dist.storage.stages import Stage
from l3ae_dist.units import GIB

# Entries of a block of rows, which is read as float32 and held as float64.
BLOCK_ENTRIES = 2**21


def transform_all(
    source: str,
    transforms: Mapping[str, TransformConfig],
    dataset: Dataset,
    kept: KeptTransform | None = None,
    *,
    on_event: OnEvent = ignore,
) -> dict[str, str]:
    """Store the rows of embeddings under each of some transformations, if the disk has room for all.

    Parameters
    ----------
    source, dataset, kept, on_event
        As for :func:`transform_embeddings`.
    transforms
        The transformations by names.

    Returns
    -------
    The ids of the transformed embeddings by these names.

    Raises
    ------
    WorkspaceError
        When the disk has no room.
    """
    if room := _room(source, transforms.values(), dataset, kept):
        on_event(Message(stage=Stage.TRANSFORM, message=room))
    return {
        name: transform_embeddings(source, one, dataset, kept, on_event=on_event)
        for name, one in transforms.items()
    }


def _room(
    source: str, transforms: Iterable[TransformConfig], dataset: Dataset, kept: KeptTransform | None
) -> str | None:
    """Tell what the images that are still to be made take of the disk; None where there are none."""
    workspace = dataset.workspace
    wanted = {transformed_id(source, one, kept): one for one in transforms}
    wanted.pop(source, None)
    missing = {name: one for name, one in wanted.items() if workspace.stage_done(Stage.EMBED, name) is None}
    if not missing:
        return None
    rows = ChunkArray.open(workspace, layout.embeddings(source))
    n, d = rows.shape
    columns = {name: one.columns(d, n if kept is None else None) for name, one in missing.items()}
    size = sum(8 * count * _rows_left(rows, name, count) for name, count in columns.items()) / GIB
    copies = "a transformed copy of the embeddings takes"
    if len(missing) > 1:
        copies = f"{len(missing)} transformed copies of the embeddings take"
    free = free_bytes(workspace)
    if free is None:
        return f"{copies} {size:,.2f} GiB"
    if size > free / GIB:
        raise WorkspaceError(
            f"{copies} {size:,.2f} GiB of disk at {workspace.url}, where {free / GIB:,.2f} GiB are free; "
            "free space (`l3ae-dist gc` deletes those that no model needs), try fewer transformations, or "
            "choose a workspace on a larger disk or on object storage."
        )
    return f"{copies} {size:,.2f} GiB; {free / GIB:,.2f} GiB are free"


def _rows_left(source: ChunkArray, identifier: str, columns: int) -> int:
    """Return how many images of rows are still to be written; a killed run may have finished some."""
    n, chunks = source.shape[0], (source.chunks[0], columns)
    with suppress(StageMissingError, DamagedDocumentError):
        begun = ChunkArray.open(source.workspace, layout.embeddings(identifier))
        if (begun.shape, begun.chunks) == ((n, columns), chunks):
            return n - sum(begun.valid_shape(i, j)[0] for i, j in begun.done())
    return n


def transform_embeddings(
    source: str,
    options: TransformConfig,
    dataset: Dataset,
    kept: KeptTransform | None = None,
    *,
    on_event: OnEvent = ignore,
) -> str:
    """Store the transformed rows of embeddings in float64; returns the id of the transformed ones.

    Parameters
    ----------
    source
        Id of the embeddings.
    options
        Steps of the transformation.
    dataset
        The items, in whose workspace the embeddings are; it tells which texts are distinct.
    kept
        The transformation of a model, which is not fitted again.
    on_event
        Told how many items have no text after it, and where too few texts are whitened.

    Raises
    ------
    ConfigError
        When fewer dimensions are there than are to be kept, there is no text to whiten, or float32 loses the
        products of the rows.
    StageMissingError
        When the transformation that is kept is gone.

    Notes
    -----
    Up to four passes over the rows, in blocks; beside one of them about five d x d float64 arrays are held.
    """
    workspace = dataset.workspace
    identifier = transformed_id(source, options, kept)
    if identifier == source:
        record = workspace.stage_done(Stage.EMBED, source)
        refuse_lost_products({} if record is None else record.stats)
        return identifier
    if kept is not None and not has_transform(workspace, kept.fitted, options):
        _refit(kept, options, dataset, on_event)
    record = workspace.stage_done(Stage.EMBED, identifier)
    if record is None:
        array = ChunkArray.open(workspace, layout.embeddings(source))
        fitted = identifier if kept is None else kept.fitted
        columns = options.columns(array.shape[1], array.shape[0] if kept is None else None)
        if has_transform(workspace, fitted, options):
            found = read_transform(workspace, fitted, options, array.shape[1])
        else:
            found = _fit(array, options, dataset, on_event)
            write_transform(workspace, fitted, found)
        stats = _write_images(array, found, identifier, columns)
        through = {} if kept is None or fitted == identifier else kept.record()
        record = workspace.mark_stage(
            Stage.EMBED, identifier, {"source": source, **options.record(), **through}, stats
        )
        if zero := stats["zero_rows"]:
            message = (
                f"items that the transformation leaves without text: {zero:,}, known by their interactions"
            )
            on_event(Message(stage=Stage.TRANSFORM, message=message))
    refuse_lost_products(record.stats)
    return identifier


def _write_images(
    array: ChunkArray, found: Transformation, identifier: str, columns: int
) -> dict[str, float]:
    """Write the images of all rows in float64; return the figures of the stage."""
    chunks, n, values, zero = (array.chunks[0], columns), array.shape[0], ValueRange(), 0
    target = ChunkArray.create(
        array.workspace, layout.embeddings(identifier), shape=(n, columns), chunks=chunks, dtype="f8"
    )
    for i in range(target.grid[0]):
        rows = _in_blocks(found, array.read(i, 0), columns)
        zero += int((~rows.any(axis=1)).sum())
        values.add(rows)
        target.write(i, 0, rows, anew=True)
    return {"rows": n, "dim": columns, "zero_rows": zero, **values.record()}


def _in_blocks(found: Transformation, rows: Array, columns: int) -> Array:
    """Transform the rows of a chunk, which may be large, in blocks; (m, columns) float64."""
    images = np.empty((len(rows), columns))
    step = max(1, BLOCK_ENTRIES // rows.shape[1])
    for start in range(0, len(rows), step):
        images[start : start + step] = found(rows[start : start + step])
    return images


def nothing_to_whiten(options: TransformConfig) -> ConfigError:
    """Say that whitening has no text to learn from."""
    return ConfigError(
        f"transform.whiten is {options.whiten:g}, but no item has a text with an embedding other than zero; "
        "give items with texts, or leave it out."
    )


def few_to_whiten(options: TransformConfig, texts: int, columns: int) -> str | None:
    """Say that there are too few texts for whitening to tell what they share; None where there are enough.

    Parameters
    ----------
    options
        With ``whiten``.
    texts, columns
        Distinct texts that are not empty, and dimensions of their embeddings.
    """
    if not options.whiten or texts > columns:
        return None
    return (
        f"only {texts:,} distinct texts, of {columns:,} dimensions, are whitened (transform.whiten "
        f"{options.whiten:g}): with no more texts than dimensions this takes out what texts have in common, "
        "and at 1 none is like another; lower it, or keep fewer dimensions (transform.truncate_dim)"
    )


def _refit(kept: KeptTransform, options: TransformConfig, dataset: Dataset, on_event: OnEvent) -> None:
    """Fit the lost transformation of a model again, where that gives the same one."""
    if transformed_id(kept.fitted_on, options) != kept.fitted:
        raise StageMissingError(
            f"the transformation of the embeddings {kept.features} is lost, and it was not fitted on this "
            "catalog alone; fit the model again with `l3ae-dist run`."
        )
    transform_embeddings(kept.fitted_on, options, dataset, on_event=on_event)


# ---- the fit


def _fit(array: ChunkArray, options: TransformConfig, dataset: Dataset, on_event: OnEvent) -> Transformation:
    """Fit the steps one after the other, each on the images under those before it."""
    found = Transformation(options.model_copy(update={"whiten": 0.0, "normalize": False}))
    affine = whitening = None
    if options.is_affine:
        compress = None if options.compress == "none" else (options.dim, options.compress == "pca")
        truncated = found
        affine = affine_map(
            lambda: _blocks(array, truncated),
            array.shape[0],
            standardize=options.standardize,
            compress=compress,
        )
        found = Transformation(found.options, affine)
    if options.whiten:
        texts = first_of_texts(dataset, array)
        whitening = whitening_matrix(_scatter(array, found, texts), options.whiten)
        if not whitening.any():
            raise nothing_to_whiten(options)
        if few := few_to_whiten(options, int(texts.sum()), len(whitening)):
            on_event(Message(stage=Stage.TRANSFORM, message=few))
    return Transformation(options, affine, whitening)


def _scatter(array: ChunkArray, found: Transformation, wanted: Array) -> Array:
    """Sum ``f f'`` over the unit images of some rows, (d', d') float64."""
    scatter, start = np.zeros(()), 0
    for block in _blocks(array, found):
        rows = unit_rows(block[wanted[start : start + len(block)]])
        scatter = scatter + rows.T @ rows
        start += len(block)
    return scatter


def _blocks(array: ChunkArray, found: Transformation) -> Iterator[Array]:
    """Yield the images of all rows in blocks, float64."""
    n, d = array.shape
    step = max(1, BLOCK_ENTRIES // d)
    for start in range(0, n, step):
        yield found(read_rows(array, start, min(start + step, n)))
