"""Embeddings standardised or compressed before they are used, through dask_ml on their Dask form."""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from l3ae_dist.config.embedding import TransformConfig
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

if TYPE_CHECKING:
    import dask.array as da


class _Step(Protocol):
    """A fitted transformer of dask_ml."""

    def transform(self, rows: "da.Array") -> "da.Array": ...


def transformed_id(source: str, options: TransformConfig) -> str:
    """Return the id of embeddings after a transformation; their own when there is none."""
    return fingerprint([source, options.model_dump()]) if options.active else source


def transform_embeddings(source: str, options: TransformConfig, workspace: Workspace) -> str:
    """Store the transformed rows of embeddings; returns the id of the transformed ones.

    Parameters
    ----------
    source
        Id of the embeddings.
    options
        Standardisation and compression to apply.
    workspace
        Workspace of the embeddings.

    Raises
    ------
    ConfigError
        When ``dim`` is not below the number of dimensions and of items.

    Notes
    -----
    Two passes over the rows in this process, chunk by chunk; fitting holds n x d float64 at most.
    """
    identifier = transformed_id(source, options)
    if identifier == source or workspace.stage_done(Stage.EMBED, identifier) is not None:
        return identifier
    array = ChunkArray.open(workspace, layout.embeddings(source))
    n, d = array.shape
    if options.compress != "none" and options.dim >= min(n, d):
        raise ConfigError(
            f"transform.dim is {options.dim}, but {n} embeddings of {d} dimensions compress to at most "
            f"{min(n, d) - 1}; choose a smaller one."
        )
    import dask

    with dask.config.set(scheduler="synchronous"):
        rows, steps = _fitted(array.as_dask(symmetric=False).astype(np.float64), options)
        columns = options.dim if options.compress != "none" else d
        target = ChunkArray.create(
            workspace,
            layout.embeddings(identifier),
            shape=(n, columns),
            chunks=(array.chunks[0], columns),
            dtype="f4",
        )
        for i in range(target.grid[0]):
            target.write(i, 0, np.asarray(rows.blocks[i].compute(), np.float32))
    _write_map(workspace, identifier, steps, d)
    params = {"source": source, **options.model_dump()}
    workspace.mark_stage(Stage.EMBED, identifier, params, {"rows": n, "dim": columns})
    return identifier


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
    shift, *matrix = ChunkArray.open(workspace, layout.transform(identifier)).read(0, 0)
    return np.asarray(rows @ np.asarray(matrix) + shift)


def _write_map(workspace: Workspace, identifier: str, steps: list[_Step], d: int) -> None:
    """Store the affine map of all steps: the image of zero, then that of each unit vector less the first."""
    import dask.array as da

    probe = da.from_array(np.vstack([np.zeros(d), np.eye(d)]), chunks=(d + 1, d))
    for step in steps:
        probe = step.transform(probe)
    found = np.asarray(probe.compute(scheduler="synchronous"), np.float64)
    found[1:] -= found[0]
    shape = (d + 1, found.shape[1])
    path = layout.transform(identifier)
    ChunkArray.create(workspace, path, shape=shape, chunks=shape, dtype="f8").write(0, 0, found)


def _fitted(rows: "da.Array", options: TransformConfig) -> tuple["da.Array", list[_Step]]:
    """Fit the steps of the transformation on a Dask array; returns the lazy image of it, and the steps."""
    steps: list[_Step] = []
    if options.standardize:
        from dask_ml.preprocessing import StandardScaler

        scaler = StandardScaler().fit(rows)
        scaler.scale_[scaler.scale_ == 0] = 1  # a constant dimension stays zero
        steps.append(scaler)
        rows = scaler.transform(rows)
    if options.compress != "none":
        from dask_ml.decomposition import PCA, TruncatedSVD

        pca = options.compress == "pca"
        step = PCA(options.dim, svd_solver="full") if pca else TruncatedSVD(options.dim, algorithm="tsqr")
        steps.append(step.fit(rows))
        rows = step.transform(rows)
    return rows, steps
