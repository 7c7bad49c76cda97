"""Features of items that come after the fit: the catalog's encoder, prompt and transformation."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.config.embedding import EncoderConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.multi_hot_words import words_of
from l3ae_dist.embed.encoder_identity import identity, names_its_model, recorded_encoder
from l3ae_dist.embed.stored_transform import transform_rows
from l3ae_dist.embed.value_range import TOO_SMALL, ValueRange, out_of_range, refuse_lost_products
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.linalg.arrays import Array, Matrix
from l3ae_dist.messages import shown
from l3ae_dist.storage import layout
from l3ae_dist.storage.forked import in_children
from l3ae_dist.storage.stages import Stage

if TYPE_CHECKING:
    from l3ae_dist.embed.encoders import Encoder


def features_of_new(
    identifier: str,
    dataset: Dataset,
    texts: list[str] | None,
    vectors: object,
    *,
    trust_remote_code: bool = False,
) -> Matrix:
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
    trust_remote_code
        Whether the user lets code of the model run; the record alone does not.

    Returns
    -------
    (m, d) float64: sparse for words, else dense.

    Raises
    ------
    ConfigError
        When embeddings that were imported leave no encoder to use, words are given as vectors, or the
        encoder is not the one that embedded the catalog, or runs code that was not allowed; and where float32
        loses the products of the features, after the transformation.
    DataError
        For embeddings of another dimension, or with values that float32 does not hold.
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
        encoder = recorded_encoder(record.params, trust_remote_code=trust_remote_code)
        _require_same(encoder, record.stats.get("encoder"))
        vectors = _encoder(encoder.model_dump_json()).encode(texts or [])
    rows = _checked(vectors, int(record.stats["dim"]))
    if source is not None:
        rows = transform_rows(rows, identifier, workspace)
    values = ValueRange()
    values.add(rows)
    refuse_lost_products(values.record())
    return rows


def _require_same(encoder: EncoderConfig, made_with: object) -> None:
    """Raise :class:`ConfigError` unless a recorded encoder is the one that embedded the catalog."""
    if not names_its_model(encoder):
        raise ConfigError(
            f"the workspace records no commit of the encoder {shown(encoder.model)}, so its vectors might be "
            "mixed with those of another; give embeddings=, or embed the catalog again with `l3ae-dist run`."
        )
    if made_with is not None and identity(encoder) != made_with:
        raise ConfigError(
            f"the encoder {shown(encoder.model)} is not the one that the catalog was embedded with; put its "
            "files back, give embeddings=, or embed the catalog again with `l3ae-dist run`."
        )


def _checked(vectors: object, dim: int) -> Array:
    rows = np.asarray(vectors, np.float64)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise DataError(
            f"the embeddings have shape {rows.shape} and those of the catalog {dim} dimensions; "
            f"give an array of (items, {dim})."
        )
    bad, small = map(np.flatnonzero, out_of_range(rows))
    if len(bad):
        raise DataError(
            f"{len(bad)} embedding(s) hold NaN or infinite values, first rows {bad[:5].tolist()} (float32 "
            "ends at 3.4e38); mend or leave out these items."
        )
    if len(small):
        raise DataError(
            f"{len(small)} embedding(s) are {TOO_SMALL}, first rows {small[:5].tolist()}; scale all by the "
            "factor of those of the catalog."
        )
    return rows


@lru_cache(maxsize=1)
def _encoder(options: str) -> "Encoder":
    import torch

    from l3ae_dist.embed.encoders import load_encoder

    in_children(_one_thread)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_encoder(EncoderConfig.model_validate_json(options), device)


def _one_thread() -> None:
    """Let torch compute with one thread: in a child of a fork it waits for ever for those of the parent."""
    import torch

    torch.set_num_threads(1)
