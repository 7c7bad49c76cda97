"""Features of items that come after the fit: the catalog's encoder, prompt and transformation."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.config.embedding import EncoderConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.multi_hot_words import words_of
from l3ae_dist.embed.transform import transform_rows
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.linalg.arrays import Array, Matrix
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import Stage

if TYPE_CHECKING:
    from l3ae_dist.embed.encoders import Encoder


def features_of_new(identifier: str, dataset: Dataset, texts: list[str] | None, vectors: object) -> Matrix:
    """Make the features of items that are not in the catalog, as those of the catalog were made.

    Parameters
    ----------
    identifier
        Id of the features of the catalog.
    dataset
        Dataset with that catalog.
    texts
        Embedded in this process, without Ray, by the encoder recorded with the catalog's embeddings.
    vectors
        (m, d) embeddings instead, as the encoder (or the imported file) would give them.

    Returns
    -------
    (m, d) float64: sparse for words, else dense.

    Raises
    ------
    ConfigError
        When embeddings that were imported leave no encoder to use, or words are given as vectors.
    DataError
        For embeddings of another dimension, or with NaN or infinite values.
    """
    workspace = dataset.workspace
    if layout.are_words(identifier):
        if vectors is not None:
            raise ConfigError("the model was fitted on words, which are taken from texts; give texts.")
        return words_of(texts or [], identifier, dataset)
    source = workspace.require_stage(Stage.EMBED, identifier).params.get("source")
    record = workspace.require_stage(Stage.EMBED, source or identifier)
    if vectors is None:
        if record.params.get("imported"):
            raise ConfigError(
                "the embeddings of this workspace were imported, so no encoder is recorded for new texts; "
                "give embeddings=, one row for each item."
            )
        vectors = _encoder(EncoderConfig(**record.params).model_dump_json()).encode(texts or [])
    rows = _checked(vectors, int(record.stats["dim"]))
    return rows if source is None else transform_rows(rows, identifier, workspace)


def _checked(vectors: object, dim: int) -> Array:
    rows = np.asarray(vectors, np.float64)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise DataError(
            f"the embeddings have shape {rows.shape} and those of the catalog {dim} dimensions; "
            f"give an array of (items, {dim})."
        )
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad)} embedding(s) hold NaN or infinite values, first rows {bad[:5].tolist()}; "
            "mend or leave out these items."
        )
    return rows


@lru_cache(maxsize=1)
def _encoder(options: str) -> "Encoder":
    import torch

    from l3ae_dist.embed.encoders import load_encoder

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_encoder(EncoderConfig.model_validate_json(options), device)
