"""Embeddings standardised or compressed before they are used, through dask_ml on their Dask form."""

from typing import Any

import numpy as np

from l3ae_dist.embed.options import TransformOptions
from l3ae_dist.errors import ConfigError
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.workspace import Workspace


def transformed_id(source: str, options: TransformOptions) -> str:
    """Name of embeddings after the transformation; their own when there is none."""
    return fingerprint([source, options.model_dump()]) if options.active else source


def transform_embeddings(source: str, options: TransformOptions, workspace: Workspace) -> str:
    """Store the transformed rows of the embeddings ``source``; returns their id.

    Raises
    ------
    ConfigError
        When ``dim`` is not below the number of dimensions and of items.

    Notes
    -----
    Two passes over the rows in this process, chunk by chunk; fitting holds n x d float64 at most.
    """
    identifier = transformed_id(source, options)
    if identifier == source or workspace.stage_done("embed", identifier) is not None:
        return identifier
    array = ChunkArray.open(workspace, f"embeddings/{source}")
    n, d = array.shape
    if options.compress != "none" and options.dim >= min(n, d):
        raise ConfigError(
            f"transform.dim is {options.dim}, but {n} embeddings of {d} dimensions compress to at most "
            f"{min(n, d) - 1}; choose a smaller one."
        )
    import dask

    with dask.config.set(scheduler="synchronous"):
        rows = _fitted(array.as_dask(symmetric=False).astype(np.float64), options)
        columns = options.dim if options.compress != "none" else d
        target = ChunkArray.create(
            workspace,
            f"embeddings/{identifier}",
            shape=(n, columns),
            chunks=(array.chunks[0], columns),
            dtype="f4",
        )
        for i in range(target.grid[0]):
            target.write(i, 0, np.asarray(rows.blocks[i].compute(), np.float32))
    params = {"source": source, **options.model_dump()}
    workspace.mark_stage("embed", identifier, params, {"rows": n, "dim": columns})
    return identifier


def _fitted(rows: Any, options: TransformOptions) -> Any:
    """The transformation of a Dask array, fitted on it; lazy."""
    if options.standardize:
        from dask_ml.preprocessing import StandardScaler

        scaler = StandardScaler().fit(rows)
        scaler.scale_[scaler.scale_ == 0] = 1  # a constant dimension stays zero
        rows = scaler.transform(rows)
    if options.compress == "none":
        return rows
    from dask_ml.decomposition import PCA, TruncatedSVD

    if options.compress == "pca":
        return PCA(options.dim, svd_solver="full").fit(rows).transform(rows)
    return TruncatedSVD(options.dim, algorithm="tsqr").fit(rows).transform(rows)
