"""Fitted transformations of embeddings, and where they are stored: once, with what they were fitted for.

Later embeddings that go through the same transformation name it in their completion records.
"""

from dataclasses import dataclass

import numpy as np

from l3ae_dist.config.embedding import TransformConfig
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.whitening import unit_rows, whitened
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True, slots=True)
class KeptTransform:
    """The transformation of a model, which embeddings of more items go through as they are.

    Parameters
    ----------
    features
        Id of the transformed embeddings of the model.
    source
        Id of the embeddings that they were made from.
    fitted, fitted_on
        Ids of the transformed embeddings that it was fitted for, with which it is stored, and of those that
        it was fitted on; of a model that nothing was appended to, the same.
    """

    features: str
    source: str
    fitted: str
    fitted_on: str

    def record(self) -> dict[str, object]:
        """Return what embeddings that went through it tell of it."""
        return {"fitted": self.fitted, "fitted_on": self.fitted_on}


@dataclass(frozen=True, slots=True)
class Transformation:
    """A fitted transformation.

    Parameters
    ----------
    options
        Its steps.
    affine
        (1 + d, d') shift, and below it the matrix, of standardisation and compression; None without.
    whitening
        (d', d') symmetric T; None without.
    """

    options: TransformConfig
    affine: Array | None = None
    whitening: Array | None = None

    def __call__(self, rows: Array) -> Array:
        """Transform rows, (m, d) of any floating dtype, to (m, d') float64."""
        rows = np.asarray(rows, np.float64)
        if self.options.truncate_dim is not None:
            rows = unit_rows(rows[:, : self.options.truncate_dim])
        if self.affine is not None:
            rows = rows @ self.affine[1:] + self.affine[0]
        if self.whitening is not None:
            return whitened(unit_rows(rows), self.whitening)
        return unit_rows(rows) if self.options.normalize else rows


def kept_transform(workspace: Workspace, features: str | None) -> KeptTransform | None:
    """Return the transformation of a model's features; None where they were not transformed, or are words."""
    if features is None or layout.are_words(features):
        return None
    params = workspace.require_stage(Stage.EMBED, features).params
    if "source" not in params:
        return None
    source = str(params["source"])
    return KeptTransform(
        features, source, str(params.get("fitted", features)), str(params.get("fitted_on", source))
    )


def fitted_for(workspace: Workspace, features: str) -> str | None:
    """Return the id of the embeddings that the transformation of some features is stored with, if any."""
    record = None if layout.are_words(features) else workspace.stage_done(Stage.EMBED, features)
    if record is None or "source" not in record.params:
        return None
    return str(record.params.get("fitted", features))


def transformed_id(source: str, options: TransformConfig, kept: KeptTransform | None = None) -> str:
    """Return the id of embeddings after a transformation; their own when there is none.

    Parameters
    ----------
    source
        Id of the embeddings.
    options
        Steps of the transformation.
    kept
        The transformation of a model, which is not fitted again.
    """
    if kept is None:
        return fingerprint([source, options.record()]) if options.active else source
    return kept.features if source == kept.source else fingerprint([source, "through", kept.features])


def transform_rows(rows: Array, identifier: str, workspace: Workspace) -> Array:
    """Transform rows of items that are not in the catalog.

    Parameters
    ----------
    rows
        (m, d) embeddings before the transformation, of any floating dtype.
    identifier
        Id of the transformed embeddings of the catalog.
    workspace
        Workspace that holds them.

    Returns
    -------
    (m, d') float64.
    """
    params = workspace.require_stage(Stage.EMBED, identifier).params
    fitted = str(params.get("fitted", identifier))
    return read_transform(workspace, fitted, recorded_options(params), rows.shape[1])(rows)


def recorded_options(params: dict[str, object]) -> TransformConfig:
    """Return the steps of a transformation as the completion record of its embeddings has them."""
    known = TransformConfig.model_fields
    return TransformConfig.model_validate({name: params[name] for name in known if name in params})


# ---- the array: the affine map and, below it, T, as one chunk


def write_transform(workspace: Workspace, fitted: str, found: Transformation) -> None:
    """Store what a transformation learnt.

    Parameters
    ----------
    workspace, fitted
        The embeddings that it was fitted for.
    found
        The transformation.
    """
    parts = [part for part in (found.affine, found.whitening) if part is not None]
    if not parts:
        return
    values, path = np.concatenate(parts), layout.transform(fitted)
    shape = values.shape[0], values.shape[1]
    array = ChunkArray.create(workspace, path, shape=shape, chunks=shape, dtype="f8")
    array.write(0, 0, values, anew=True)


def read_transform(workspace: Workspace, fitted: str, options: TransformConfig, dim: int) -> Transformation:
    """Read a transformation of embeddings with ``dim`` columns.

    Parameters
    ----------
    workspace, fitted
        The embeddings that it is stored with.
    options, dim
        Its steps, and the columns of the embeddings before it.
    """
    if not options.learns:
        return Transformation(options)
    values = ChunkArray.open(workspace, layout.transform(fitted)).read(0, 0)
    rows = 1 + (options.truncate_dim or dim) if options.is_affine else 0
    affine, whitening = values[:rows], values[rows:]
    return Transformation(options, affine if len(affine) else None, whitening if len(whitening) else None)


def has_transform(workspace: Workspace, fitted: str, options: TransformConfig) -> bool:
    """Tell whether all that a transformation learnt is stored.

    Parameters
    ----------
    workspace, fitted
        The embeddings that it was fitted for.
    options
        Its steps.
    """
    path = layout.transform(fitted)
    return not options.learns or (workspace.has(path) and bool(ChunkArray.open(workspace, path).done()))
